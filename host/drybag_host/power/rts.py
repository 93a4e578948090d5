"""The RTS line of a serial port as a switch."""

from ._line import KEYS, NOTES, open_line

SUMMARY = "the RTS line of a serial adapter, with the polarity you wired"
TRIED = "at an RFC 2217 server of pyserial, a whole campaign behind it; no wired transistor."
EXAMPLE = '[rts]\nport = "/dev/ttyUSB1"\nasserted = "on"\n'
__all__ = ["EXAMPLE", "KEYS", "NOTES", "SUMMARY", "TRIED", "open"]


def open(settings, target):
    return open_line("rts", settings, target)
