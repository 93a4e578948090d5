"""Consoles of boards: emulated, in QEMU or at a serial port. An open console is a few calls:

read(timeout_s) -> bytes   what has come, b"" after the time
write(data)                all of it
reset()                    the EN button
close()
name                       what to call it in messages
baud, set_baud(baud)       the speed of a line that has one
has_speed                  it is a UART's line: speed is worth a try (not a pty, not a socket)
pace                       where it is there: so many times slower than a board is what answers
"""

import os
import select
import socket
import termios
import time
import urllib.parse

import serial

from drybag_host.board.qemu import QemuBoard
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.errors import LinkError, LinkLost, NoSuchTarget, PortBusy

_CHUNK_BYTES = 4096
_CONNECT_S = 10
_URL_POLL_S = 0.02
_END_S = 1.0


class SerialConsole:
    """A board at a serial port, a pty or a URL of pyserial: `rfc2217://...`."""

    def __init__(self, path, baud=115200, name=None, reset=None):
        self.name = name or path
        self._reset = reset
        self._is_url = "://" in path
        self.has_speed = not path.startswith("/dev/pts/")
        if not self._is_url and not os.path.exists(path):
            raise NoSuchTarget("%s: no such port" % self.name)
        try:
            if self._is_url:
                self._port = serial.serial_for_url(path, baudrate=baud, timeout=_URL_POLL_S)
            else:
                self._port = serial.Serial(path, baudrate=baud, timeout=0, exclusive=True)
        except (serial.SerialException, OSError, ValueError, termios.error) as error:
            raise self._unopened(error) from None

    def _unopened(self, error):
        """Why it does not open: no server, no serial port, or somebody else has it."""
        message = "%s: %s" % (self.name, error)
        if self._is_url and _is_not_served(error):
            return NoSuchTarget(message, "does its server run?")
        if self._is_url:
            return PortBusy(message, "does its server run, and has nobody else its port?")
        if "25" in str(error) and "ioctl" in str(error):  # ENOTTY
            return NoSuchTarget("%s is no serial port" % self.name, "drybag doctor lists them")
        return PortBusy(message)

    @property
    def baud(self):
        return self._port.baudrate

    def set_baud(self, baud):
        """Change the speed of this end. Raises OSError or ValueError where the port cannot."""
        self._port.baudrate = baud

    def read(self, timeout_s=0.0):
        try:
            if self._is_url:
                return self._read_url(timeout_s)
            self._port.timeout = timeout_s
            data = self._port.read(1)
            waiting = self._port.in_waiting if data else 0
            return data + self._port.read(min(waiting, _CHUNK_BYTES)) if waiting else data
        except (serial.SerialException, OSError) as error:
            raise LinkLost("%s: the connection is gone: %s" % (self.name, error)) from None

    def _read_url(self, timeout_s):
        """A change of the time-out is a negotiation over rfc2217: it stays, and we come again."""
        deadline = time.monotonic() + timeout_s
        while True:
            waiting = self._port.in_waiting
            data = self._port.read(min(waiting, _CHUNK_BYTES) or 1)
            if data or time.monotonic() >= deadline:
                return data

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


class EmulatedConsole(SerialConsole):
    """The pty of an EmulatedBoard, and of no other. Raises NotRunning, PortBusy, LinkLost."""

    def __init__(self, board, name=None):
        path = board.console
        super().__init__(path, name=name or "emu:" + board.name, reset=board.reset)
        if not board.has_console(path):
            self.close()
            raise LinkLost("%s: the board was stopped just now" % self.name)


class SocketConsole:
    """A board behind a plain TCP port, `socket://HOST:PORT`: ser2net, QEMU's serial line.

    Not by pyserial, whose socket:// gives one byte a call.
    """

    has_speed = False
    baud = 115200
    pace = 1.0

    def __init__(self, url, name=None, reset=None):
        self.name = name or url
        self.unread = b""
        self._reset = reset
        try:
            parts = urllib.parse.urlsplit(url)
            self._socket = socket.create_connection((parts.hostname, parts.port), _CONNECT_S)
        except (OSError, ValueError, TypeError) as error:
            kind = NoSuchTarget if _is_not_served(error) else PortBusy
            raise kind(
                "%s: %s" % (self.name, error), "does its server run? socket://HOST:PORT"
            ) from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self, timeout_s=0.0):
        if self.unread:
            data, self.unread = self.unread, b""
            return data
        try:
            if not select.select([self._socket], [], [], timeout_s)[0]:
                return b""
            data = self._socket.recv(_CHUNK_BYTES)
        except (OSError, ValueError) as error:
            raise LinkLost("%s: the connection is gone: %s" % (self.name, error)) from None
        if not data:
            raise LinkLost("%s: the connection was closed" % self.name)
        return data

    def write(self, data):
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise LinkLost("%s: the connection is gone: %s" % (self.name, error)) from None

    def reset(self):
        """Only where something beside the line does it."""
        if self._reset is None:
            raise LinkError("%s: a plain socket cannot reset a board" % self.name)
        self._reset()

    def close(self):
        self._socket.close()


def _is_not_served(error):
    """Is nobody at that address, by the exception that opening it raised?"""
    while error is not None:
        if isinstance(error, (ConnectionRefusedError, socket.gaierror, TimeoutError)):
            return True
        error = error.__context__
    return False


def _open_emulated(target, _tell):
    return EmulatedConsole(EmulatedBoard(target.partition(":")[2]))


def _open_qemu(target, tell):
    board = QemuBoard(target.partition(":")[2])
    board.check_alive()
    if board.is_running and not board.is_powered:
        raise LinkLost("%s has no power" % target)
    try:
        console = SocketConsole(board.console, target, board.reset)
    except (PortBusy, NoSuchTarget) as error:
        why = error if board.is_powered else "%s has no power" % target
        raise LinkLost(str(why)) from None
    try:
        console.unread = board.await_prompt(console.read, tell)
        console.pace = board.pace
    except LinkLost:
        console.close()
        board.check_alive(_END_S)
        raise
    except BaseException:
        console.close()
        raise
    return console


def _open_socket(target, _tell):
    return SocketConsole(target)


def _open_serial(target, _tell):
    return SerialConsole(target)


BACKENDS = {"emu": _open_emulated, "qemu": _open_qemu, "socket": _open_socket}


def open_console(target, tell=None):
    """The console of `emu:NAME`, `qemu:NAME`, of a serial port's path or of a URL of pyserial.

    `tell(text)`: called now and then while it boots, where it cannot be spoken to before. Raises
    UnknownBoardName, NotRunning, NoSuchTarget, PortBusy; the console itself LinkLost.
    """
    kind = target.partition(":")[0]
    return BACKENDS.get(kind, _open_serial)(target, tell)
