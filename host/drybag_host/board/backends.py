"""Consoles of boards: emulated or at a serial port. An open console is a few calls:

read(timeout_s) -> bytes   what has come, b"" after the time
write(data)                all of it
reset()                    the EN button
close()
name                       what to call it in messages
"""

import os
import termios

import serial

from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.errors import LinkLost, NoSuchTarget, PortBusy

_CHUNK_BYTES = 4096


class SerialConsole:
    """A board at a serial port or pty."""

    def __init__(self, path, baud=115200, name=None, reset=None):
        self.name = name or path
        self._reset = reset
        if not os.path.exists(path):
            raise NoSuchTarget("%s: no such port" % self.name)
        try:
            self._port = serial.Serial(path, baudrate=baud, timeout=0, exclusive=True)
        except (serial.SerialException, OSError, ValueError, termios.error) as error:
            raise PortBusy("%s: %s" % (self.name, error)) from None

    def read(self, timeout_s=0.0):
        try:
            self._port.timeout = timeout_s
            data = self._port.read(1)
            waiting = self._port.in_waiting if data else 0
            return data + self._port.read(min(waiting, _CHUNK_BYTES)) if waiting else data
        except (serial.SerialException, OSError) as error:
            raise LinkLost("%s: the connection is gone: %s" % (self.name, error)) from None

    def write(self, data):
        try:
            self._port.write(data)
        except (serial.SerialException, OSError) as error:
            raise LinkLost("%s: the connection is gone: %s" % (self.name, error)) from None

    def reset(self):
        """EN is low while RTS is set and DTR is not."""
        if self._reset:
            self._reset()
            return
        self._port.dtr = False
        self._port.rts = True
        self._port.rts = False

    def close(self):
        self._port.close()


def _open_emulated(target):
    board = EmulatedBoard(target.partition(":")[2])
    return SerialConsole(board.console, name=target, reset=board.reset)


BACKENDS = {"emu": _open_emulated, "serial": SerialConsole}


def open_console(target):
    """The console of `emu:NAME` or of a serial port's path.

    Raises UnknownBoardName, NotRunning, NoSuchTarget, PortBusy; the console itself LinkLost.
    """
    kind = "emu" if target.startswith("emu:") else "serial"
    return BACKENDS[kind](target)
