"""The DTR line of a serial port as a switch."""

from ._line import KEYS, NOTES, open_line

SUMMARY = "the DTR line of a serial adapter, with the polarity you wired"
EXAMPLE = '[dtr]\nport = "/dev/ttyUSB1"\nasserted = "on"\n'
__all__ = ["EXAMPLE", "KEYS", "NOTES", "SUMMARY", "open"]


def open(settings, target):
    return open_line("dtr", settings, target)
