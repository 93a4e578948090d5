"""USB relay boards of the LCUS-1 kind."""

import serial

from drybag_host.power_errors import SwitchFailed

from ._settings import choice
from ._switch import Key, Switch

SUMMARY = "a USB relay that speaks the LCUS-1 protocol (a CH340 at 9600 baud)"
NOTES = "Put the relay into the board's 5 V, and take the board's data lines from another port."
KEYS = {
    "port": Key(str, None, "the relay's serial port"),
    "channel": Key(int, 1, "which relay, from 1"),
    "energised": Key(str, "on", '"on": an energised relay feeds the board (NO); or "off" (NC)'),
}
TRIED = "the protocol at a serial port, a whole campaign behind it; no relay of metal."
EXAMPLE = '[relay]\nport = "/dev/ttyUSB1"\nchannel = 1\nenergised = "off"\n'
BAUD = 9600


def message(channel, energised):
    """The four bytes: A0, channel, 1 or 0, and their sum."""
    head = bytes((0xA0, channel, 1 if energised else 0))
    return head + bytes((sum(head) & 0xFF,))


class Relay(Switch):
    def __init__(self, path, channel, energised):
        self._path, self._channel, self._energised = path, channel, energised
        try:
            self._port = serial.serial_for_url(path, baudrate=BAUD, write_timeout=2)
        except (serial.SerialException, OSError, ValueError) as error:
            raise SwitchFailed(
                "the relay at %s does not open: %s" % (path, error), "is it the right port?"
            ) from None

    def off(self, seed=None):
        self._send(self._energised == "off")

    def on(self):
        self._send(self._energised == "on")

    def _send(self, energised):
        try:
            self._port.write(message(self._channel, energised))
            self._port.flush()
        except (serial.SerialException, OSError) as error:
            raise SwitchFailed(
                "the relay at %s is gone: %s" % (self._path, error), "plug it in again"
            ) from None

    def close(self):
        self._port.close()


def open(settings, target):
    if not 1 <= settings["channel"] <= 255:
        raise SwitchFailed("the relay has no channel %d" % settings["channel"], "1 is the first")
    energised = choice(settings, "energised", ("on", "off"))
    return Relay(settings["port"], settings["channel"], energised)
