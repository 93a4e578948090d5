"""RTS or DTR of a serial port as a switch: the work behind rts.py and dtr.py."""

import os

import serial

from drybag_host.power_errors import SwitchFailed

from ._settings import choice
from ._switch import Key, Switch

NOTES = (
    "The line drives a transistor or relay in the board's supply; the adapter needs power of its "
    "own. An asserted line is at 0 V on most adapters. On the board's own port the lines are EN "
    "and BOOT: that is a reset, the flash keeps its power, and the rig refuses it unless told "
    "--reset-is-enough. The port stays open meanwhile, as closing it moves the line."
)
KEYS = {
    "port": Key(str, None, "the serial port with the line, or an rfc2217:// address"),
    "asserted": Key(str, "on", '"on": the board has power while the line is asserted; or "off"'),
}


class ModemLine(Switch):
    def __init__(self, line, path, asserted, reset_only):
        self._line, self._path, self._asserted = line, path, asserted
        self.reset_only = reset_only
        try:
            self._port = serial.serial_for_url(path, do_not_open=True)
            setattr(self._port, line, asserted == "on")  # so that opening it is no cut
            self._port.open()
        except (serial.SerialException, OSError, ValueError) as error:
            raise SwitchFailed(
                "%s of %s: the port does not open: %s" % (line.upper(), path, error),
                "is it the right port?",
            ) from None

    def off(self, seed=None):
        self._set(self._asserted == "off")

    def on(self):
        self._set(self._asserted == "on")

    def _set(self, asserted):
        try:
            if self.reset_only:
                self._port.dtr = False  # EN is low while RTS is set and DTR is not
            setattr(self._port, self._line, asserted)
        except (serial.SerialException, OSError) as error:
            raise SwitchFailed(
                "%s of %s cannot be set: %s" % (self._line.upper(), self._path, error),
                "a pty or a USB port of the chip itself has no such line: take an adapter's",
            ) from None

    def close(self):
        self._port.close()


def open_line(line, settings, target):
    asserted = choice(settings, "asserted", ("on", "off"))
    own = os.path.realpath(settings["port"]) == os.path.realpath(target)
    return ModemLine(line, settings["port"], "off" if own else asserted, own)
