"""An emulated board's ROM loader at a terminal of this computer, for esptool without DTR and RTS.

The processor is held in the loader while the port is open; each program that opens the terminal
finds the loader as after a reset. esptool is told `--before no-reset --after no-reset`.
"""

import errno
import os
import pty
import select
import threading
import time
import tty

from drybag_host.board_errors import NotRunning

from .rom.nor import NorFlash, PowerCut
from .rom_loader import RomLoader

_CHUNK_BYTES = 4096
_POLL_S = 0.01


class LoaderPort:
    """A context manager; `path` is the terminal, `flash` the NorFlash behind the loader.

    `board`: an EmulatedBoard with power. It stays held at the end: `board.reset()` starts it.
    When a cut armed in `flash` comes the terminal is gone (`cut`), as that of a board which has
    its power from the cable; without power nothing answers. Until the end no other terminal gets
    its number, so that who opens `path` again never finds another board there. Raises NotRunning.
    """

    def __init__(self, board):
        self.board = board
        self.cut = False

    def __enter__(self):
        self.board.hold()
        chip = self.board.settings
        self._image = open(self.board.image, "r+b", buffering=0)
        self.flash = NorFlash(chip["flash_bytes"], self._image)
        self.flash.restore_faults(self.board.faults)
        self.flash.on_fault = lambda: self.board.set_faults(self.flash.fault_state())
        self._chip, self._unique_id = chip["chip"], bytes.fromhex(chip["unique_id"])
        self._master, slave = pty.openpty()
        tty.setraw(slave)
        self.path = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(self._master, False)
        self._number_fd = None
        self._wake, self._wake_in = os.pipe()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc):
        os.write(self._wake_in, b"x")
        self._thread.join()
        for fd in (self._wake, self._wake_in, self._number_fd):
            if fd is not None:
                os.close(fd)
        self._image.close()
        return False

    def _serve(self):
        try:
            self._pump()
        finally:
            if self.cut:  # an open end keeps the number from the next terminal
                self._number_fd = os.open(self.path, os.O_RDWR | os.O_NOCTTY)
            os.close(self._master)

    def _pump(self):
        rom = None
        out = b""
        while not self.cut:
            writing = [self._master] if out else []
            ready, free, _ = select.select([self._master, self._wake], writing, [])
            if self._wake in ready:
                return
            try:
                if free:
                    out = out[os.write(self._master, out) :]
                data = os.read(self._master, _CHUNK_BYTES) if self._master in ready else b""
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                rom, out = None, b""  # nobody has the terminal open
                time.sleep(_POLL_S)
                continue
            if data:
                rom = rom or RomLoader(self._chip, self.flash, self._unique_id)
                out += self._answer(rom, data)

    def _answer(self, rom, data):
        """What the chip says to `data`; nothing for a chip without power."""
        try:
            if not self.board.state()["held"]:
                return b""
            return rom.feed(data)
        except PowerCut:
            self.cut = True
        except NotRunning:
            pass
        return b""
