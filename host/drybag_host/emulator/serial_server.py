"""An emulated board at an rfc2217:// URL: the line a USB bridge makes, with DTR and RTS.

The usual auto-reset circuit: EN is low while RTS is set and DTR is not, IO0 is low while DTR is
set and RTS is not. Leaving reset with IO0 low starts the ROM's loader, else the application.
"""

import contextlib
import select
import socket
import time
from shlex import quote

import serial
from serial.rfc2217 import PortManager

from drybag_host.board_errors import NotRunning
from drybag_host.errors import EmulatorError, PortBusy

from .rom.nor import NorFlash
from .rom_loader import RomLoader

_CHUNK_BYTES = 4096
_BOOT_DELAY_S = 0.3  # EN rises slowly: IO0 may still go low so long after both lines are set
_SEND_TIMEOUT_S = 10
_ROM_SAYS = b"\r\nwaiting for download\r\n"


class _Line:
    """What PortManager takes for a serial port; `dtr` and `rts` reach the circuit."""

    cts = dsr = cd = True
    ri = xonxoff = rtscts = break_condition = False
    baudrate, bytesize, parity, stopbits = 115200, 8, "N", 1

    def __init__(self, changed, purge):
        self._dtr = self._rts = False
        self._changed = changed
        self.reset_input_buffer = purge
        self.reset_output_buffer = lambda: None

    @property
    def dtr(self):
        return self._dtr

    @dtr.setter
    def dtr(self, on):
        self._dtr = on
        self._changed(self._dtr, self._rts)

    @property
    def rts(self):
        return self._rts

    @rts.setter
    def rts(self, on):
        self._rts = on
        self._changed(self._dtr, self._rts)


class SerialServer:
    """Serves one EmulatedBoard, which is started, to one client at a time.

    `url` is there at once; `serve()` runs until `stop()`. Raises EmulatorError if the port of
    this computer is taken, or for a board made before this was known of its chip.
    """

    def __init__(self, board, port=0):
        if "chip" not in board.settings:
            raise EmulatorError(
                "'%s' was made by an older Drybag: its chip is not known" % board.name,
                "make a new one on its flash: drybag emu create NAME --board B --image %s"
                % quote(str(board.image)),
            )
        self.board = board
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._listener.bind(("127.0.0.1", port))
        except OSError as error:
            self._listener.close()
            raise EmulatorError("port %d: %s" % (port, error.strerror)) from None
        self._listener.listen(1)
        self.url = "rfc2217://127.0.0.1:%d" % self._listener.getsockname()[1]
        self._wake, self._wake_in = socket.socketpair()

    def stop(self):
        """End `serve()`, from another thread; it may have ended by itself."""
        with contextlib.suppress(OSError):
            self._wake_in.send(b"x")

    def serve(self):
        """Take clients until stopped."""
        try:
            while True:
                ready, _, _ = select.select([self._listener, self._wake], [], [])
                if self._wake in ready:
                    return
                peer, _ = self._listener.accept()
                with peer:
                    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    peer.settimeout(_SEND_TIMEOUT_S)
                    if not _Client(self.board, peer, self._wake).serve():
                        return
        finally:
            self._listener.close()
            self._wake.close()
            self._wake_in.close()


class _Client:
    """One connection: telnet with RFC 2217 on one side, console or ROM on the other."""

    def __init__(self, board, peer, wake):
        self._board = board
        self._peer = peer
        self._wake = wake
        self._console = None
        self._rom = None
        self._image = None
        self._in_reset = False
        self._boots_at = None
        self._line = _Line(self._lines_changed, self._purge)
        self._manager = PortManager(self._line, self)

    def write(self, data):
        """To the client, as it is; PortManager calls this for its own answers."""
        self._peer.sendall(data)

    def serve(self):
        """Until the client goes (True) or the server is stopped (False)."""
        try:
            if self._board.state()["held"]:
                self._enter_rom()
            while True:
                self._boot_if_due()
                timeout_s = 0.02 if self._boots_at else 1.0
                fds = [self._peer, self._wake]
                if self._console_there():
                    fds.append(self._console.fileno())
                ready, _, _ = select.select(fds, [], [], timeout_s)
                if self._wake in ready:
                    return False
                if self._peer in ready:
                    data = self._peer.recv(_CHUNK_BYTES)
                    if not data:
                        return True
                    self._from_client(b"".join(self._manager.filter(data)))
                elif len(fds) > 2 and fds[2] in ready:
                    self._to_client(self._console.read(_CHUNK_BYTES))
        except (OSError, serial.SerialException, NotRunning):
            return True  # the client is gone, or the board has lost its power just now
        finally:
            self._leave_rom()
            if self._console:
                self._console.close()

    def _console_there(self):
        if self._console is None and self._board.is_running:
            try:
                self._console = serial.Serial(self._board.console, timeout=0, exclusive=True)
            except serial.SerialException as error:
                raise PortBusy("%s: %s" % (self._board.name, error)) from None
            if not self._board.has_console(self._console.port):
                raise NotRunning("'%s' was stopped just now" % self._board.name)
        return self._console is not None and self._rom is None and not self._in_reset

    def _to_client(self, data):
        if data:
            self.write(b"".join(self._manager.escape(data)))

    def _from_client(self, data):
        if not data or self._in_reset:
            return
        if self._rom is None:
            if self._console is not None:
                self._console.write(data)
            return
        if not self._board.state()["held"]:  # power was cut, or the button pressed
            self._leave_rom()
            return
        self._to_client(self._rom.feed(data))

    def _purge(self):
        if self._console is not None and self._rom is None:
            self._console.reset_input_buffer()

    # -- the circuit --------------------------------------------------------------------------
    def _lines_changed(self, dtr, rts):
        if rts and not dtr:
            self._boots_at = None
            self._leave_rom()
            if self._board.is_powered:
                self._board.hold()
                self._in_reset = True
        elif self._in_reset and dtr and not rts:
            self._enter_rom()
        elif self._in_reset and not dtr:
            self._boots_at = 0
            self._boot_if_due()
        elif self._in_reset:
            self._boots_at = time.monotonic() + _BOOT_DELAY_S

    def _boot_if_due(self):
        if self._boots_at is not None and time.monotonic() >= self._boots_at:
            self._boots_at = None
            self._in_reset = False
            self._board.reset()

    def _enter_rom(self):
        self._in_reset = False
        self._boots_at = None
        chip = self._board.settings
        self._image = open(self._board.image, "r+b", buffering=0)
        flash = NorFlash(chip["flash_bytes"], self._image)
        flash.restore_faults(self._board.faults)
        flash.on_fault = lambda: self._board.set_faults(flash.fault_state())
        unique_id = bytes.fromhex(chip["unique_id"])
        self._rom = RomLoader(chip["chip"], flash, unique_id, run=self._run)
        self._to_client(_ROM_SAYS)

    def _run(self):
        """The loader was told to start the application."""
        self._boots_at = 0
        self._in_reset = True

    def _leave_rom(self):
        if self._image is not None:
            self._image.close()
        self._rom = self._image = None
