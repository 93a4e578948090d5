"""Numbers on the command line of `drybag rig`, with words for those that are none."""

import argparse

MOST_DEPTH = 8


def number(text):
    """A seed."""
    return _number(text, int, 0, (1 << 31) - 1, "a whole number from 0 to 2147483647")


def positive(text):
    return _number(text, int, 1, 1 << 31, "a whole number above 0")


def minutes(text):
    return _number(text, float, 1e-9, 1e6, "minutes, a number above 0")


def seconds(text):
    return _number(text, float, 1e-9, 1e6, "seconds, a number above 0")


def depth(text):
    """How often in a row the power goes; 0: until that brings no news."""
    if text == "until-stable":
        return 0
    return _number(text, int, 1, MOST_DEPTH, "1 to %d, or until-stable" % MOST_DEPTH)


def _number(text, kind, least, most, wanted):
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not least <= value <= most:
        raise argparse.ArgumentTypeError("'%s': give %s" % (text, wanted))
    return value
