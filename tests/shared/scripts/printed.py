"""What the scripts print of bytes, and of an error in place of what was asked for."""

from binascii import hexlify

from drybag import errors


def text(data):
    return hexlify(data).decode()


def refusal(function, *args):
    try:
        return function(*args)
    except errors.DrybagError as error:
        return "%s: %s" % (type(error).__name__, error)
