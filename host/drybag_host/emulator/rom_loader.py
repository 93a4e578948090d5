"""The serial loader in the chip's ROM, and the stub esptool puts in its place, as a protocol.

SLIP frames of commands and answers, as Espressif's "Serial Protocol" describes them; the flash
behind it is a `NorFlash`. The stub's machine code is received and thrown away: from then on the
answers are the stub's.
"""

import hashlib
import zlib

from .rom.nor import SECTOR_BYTES, NorRuleError

FLASH_BEGIN, FLASH_DATA, FLASH_END, MEM_BEGIN, MEM_END, MEM_DATA, SYNC = range(2, 9)
WRITE_REG, READ_REG, SPI_SET_PARAMS, SPI_ATTACH, READ_FLASH_SLOW = 9, 10, 11, 13, 14
CHANGE_BAUDRATE, DEFL_BEGIN, DEFL_DATA, DEFL_END, FLASH_MD5, SECURITY_INFO = range(15, 21)
ERASE_FLASH, ERASE_REGION, READ_FLASH, RUN_USER_CODE = range(0xD0, 0xD4)
_ROM_ONLY = (READ_FLASH_SLOW, SECURITY_INFO)
_STUB_ONLY = (ERASE_FLASH, ERASE_REGION, READ_FLASH, RUN_USER_CODE)
_INVALID, _FAILED, _BAD_CHECKSUM, _BAD_DATA = 5, 6, 7, 11
_SYNC_VALUE = 0x20120707  # anything but 0, which would say that the stub runs
_SLOW_BYTES = 64
_END, _ESC = b"\xc0", b"\xdb"
_MOST_FRAME_BYTES = 1 << 17
_USER_COMMAND = 1 << 18
_READ_JEDEC_ID, _READ_SFDP, _SFDP = 0x9F, 0x5A, 0x50444653
_WINBOND = 0x40EF
_MAGIC_REG, _MAGIC = 0x40001000, {"esp32": 0x00F01D83, "esp32s2": 0x000007C6}
_CHIP_ID = {"esp32s3": 9, "esp32c3": 5}
_MAC_REG = {
    "esp32": 0x3FF5A004,
    "esp32s2": 0x3F41A044,
    "esp32s3": 0x60007044,
    "esp32c3": 0x60008844,
}
# SPI1: base, offset of USR2, offset of the first data word
_SPI = {
    "esp32": (0x3FF42000, 0x24, 0x80),
    "esp32s2": (0x3F402000, 0x20, 0x58),
    "esp32s3": (0x60002000, 0x20, 0x58),
    "esp32c3": (0x60002000, 0x20, 0x58),
}
# what the 40 MHz crystal is told by: calibration, 8 MHz clock, divider of the UART
_CRYSTAL = {"esp32": {0x3FF5F06C: 800 << 7, 0x3FF5A010: 128, 0x3FF40014: 40000000 // 115200}}


def _word(data, at):
    return int.from_bytes(data[at : at + 4], "little")


def _bytes(value, size=4):
    return value.to_bytes(size, "little")


def slip(data):
    """A SLIP frame of `data`."""
    return _END + data.replace(_ESC, b"\xdb\xdd").replace(_END, b"\xdb\xdc") + _END


class RomLoader:
    """`feed(bytes)` -> the bytes the chip answers. `flash`: NorFlash; `unique_id`: 6 bytes.

    `run()` is called when the loader starts the application, `baud(n)` at a new line speed.
    """

    def __init__(self, chip, flash, unique_id, run=None, baud=None):
        self.chip = chip
        self.flash = flash
        self.stub = False
        self._run = run
        self._baud = baud
        self._pending = b""
        self._reading = None  # [address, end, acknowledged to, packet, most under way, start]
        self._at = self._inflate = None
        self._end_at = 0
        self._registers = self._identity(unique_id)

    def _identity(self, unique_id):
        registers = dict(_CRYSTAL.get(self.chip, {}))
        mac = int.from_bytes(unique_id, "big")
        registers[_MAC_REG[self.chip]] = mac & 0xFFFFFFFF
        registers[_MAC_REG[self.chip] + 4] = mac >> 32
        if self.chip in _MAGIC:
            registers[_MAGIC_REG] = _MAGIC[self.chip]
        return registers

    # -- frames -------------------------------------------------------------------------------
    def feed(self, data):
        """Take bytes from the line; returns what the chip sends."""
        *frames, self._pending = (self._pending + data).split(_END)
        self._pending = self._pending[-_MOST_FRAME_BYTES:]
        answers = []
        for frame in frames:
            if frame:
                frame = frame.replace(b"\xdb\xdc", _END).replace(b"\xdb\xdd", _ESC)
                answers.append(self._frame(frame))
        return b"".join(answers)

    def _frame(self, frame):
        if self._reading:
            return self._read_on(frame) if len(frame) == 4 else b""
        size = int.from_bytes(frame[2:4], "little")
        if len(frame) != 8 + size or frame[0] != 0:
            return b""
        return self._command(frame[1], frame[8:], _word(frame, 4))

    def _answer(self, command, data=b"", value=0, error=0):
        status = bytes([1, error] if error else [0, 0])
        if not self.stub and command != SECURITY_INFO:
            status += b"\0\0"
        body = data + status
        return slip(bytes([1, command]) + _bytes(len(body), 2) + _bytes(value) + body)

    def _command(self, command, data, checksum):
        barred = _ROM_ONLY if self.stub else _STUB_ONLY
        handler = _HANDLERS.get(command)
        if handler is None or command in barred:
            return self._answer(command, error=0xFF if self.stub else _INVALID)
        if command in (FLASH_DATA, MEM_DATA, DEFL_DATA):
            if _checksum(data[16:]) != checksum & 0xFF or _word(data, 0) != len(data) - 16:
                return self._answer(command, error=0xC1 if self.stub else _BAD_CHECKSUM)
        try:
            return handler(self, command, data)
        except zlib.error:
            return self._answer(command, error=_BAD_DATA)
        except (NorRuleError, OSError):
            return self._answer(command, error=_FAILED)

    # -- what does little ---------------------------------------------------------------------
    def _accept(self, command, data):
        return self._answer(command)

    def _sync(self, command, data):
        return self._answer(command, value=0 if self.stub else _SYNC_VALUE) * 8

    def _change_baud(self, command, data):
        answer = self._answer(command)
        if self._baud:
            self._baud(_word(data, 0))
        return answer

    def _mem_end(self, command, data):
        """Entry into the uploaded code: from here on the stub answers."""
        starts = _word(data, 0) == 0 and _word(data, 4) != 0
        answer = self._answer(command)
        self.stub = self.stub or starts
        return answer + slip(b"OHAI") if starts else answer

    def _security_info(self, command, data):
        if self.chip not in _CHIP_ID:
            return self._answer(command, error=_INVALID)
        return self._answer(command, bytes(12) + _bytes(_CHIP_ID[self.chip]) + bytes(4))

    # -- registers ----------------------------------------------------------------------------
    def _read_reg(self, command, data):
        return self._answer(command, value=self._registers.get(_word(data, 0), 0))

    def _write_reg(self, command, data):
        for at in range(0, len(data) - 15, 16):
            address, value, mask = _word(data, at), _word(data, at + 4), _word(data, at + 8)
            base, usr2, word = _SPI[self.chip]
            if address == base and value & mask & _USER_COMMAND:
                self._registers[base + word] = self._spi(self._registers.get(base + usr2, 0))
                continue
            old = self._registers.get(address, 0)
            self._registers[address] = (old & ~mask) | (value & mask)
        return self._answer(command)

    def _spi(self, usr2):
        """What the flash chip shifts out for a command other than reading and writing."""
        command = usr2 & 0xFF
        if command == _READ_JEDEC_ID:
            return _WINBOND | (self.flash.size_bytes.bit_length() - 1) << 16
        return _SFDP if command == _READ_SFDP else 0

    # -- flash --------------------------------------------------------------------------------
    def _erase(self, start, size):
        first = start // SECTOR_BYTES * SECTOR_BYTES
        for address in range(first, start + size, SECTOR_BYTES):
            self.flash.erase(address)

    def _begin(self, command, data):
        self._at = _word(data, 12)
        self._inflate = zlib.decompressobj() if command == DEFL_BEGIN else None
        self._erase(self._at, _word(data, 0))
        self._end_at = -(-(self._at + _word(data, 0)) // SECTOR_BYTES) * SECTOR_BYTES
        return self._answer(command)

    def _data(self, command, data):
        if self._at is None or (command == DEFL_DATA) != (self._inflate is not None):
            return self._answer(command, error=_FAILED)
        body = data[16:]
        if self._inflate:
            body = self._inflate.decompress(body)
        elif body[max(0, self._end_at - self._at) :].strip(b"\xff") == b"":
            body = body[: max(0, self._end_at - self._at)]  # the last block is filled up
        self.flash.program(self._at, body)
        self._at += len(body)
        return self._answer(command)

    def _end(self, command, data):
        """0 restarts the chip, into the ROM as IO0 is latched; 1 told the ROM: the application."""
        self._at = self._inflate = None
        answer = self._answer(command)
        if _word(data, 0) == 0:
            self.stub = False
        elif not self.stub and self._run:
            self._run()
        return answer

    def _erase_all(self, command, data):
        self._erase(0, self.flash.size_bytes)
        return self._answer(command)

    def _erase_region(self, command, data):
        if _word(data, 0) % SECTOR_BYTES or _word(data, 4) % SECTOR_BYTES:
            return self._answer(command, error=_FAILED)
        self._erase(_word(data, 0), _word(data, 4))
        return self._answer(command)

    def _take(self, address, size):
        data = bytearray(size)
        self.flash.read_into(address, data)
        return bytes(data)

    def _md5(self, command, data):
        digest = hashlib.md5(self._take(_word(data, 0), _word(data, 4)))
        return self._answer(
            command, digest.digest() if self.stub else digest.hexdigest().encode()
        )

    def _read_slow(self, command, data):
        size = min(_word(data, 4), _SLOW_BYTES)
        return self._answer(command, self._take(_word(data, 0), size).ljust(_SLOW_BYTES, b"\xff"))

    def _read(self, command, data):
        start, size, packet, window = (_word(data, at) for at in (0, 4, 8, 12))
        if not packet or not window or start + size > self.flash.size_bytes:
            return self._answer(command, error=_FAILED)
        self._reading = [start, start + size, 0, packet, window, start]
        return self._answer(command) + self._read_on(_bytes(0))

    def _read_on(self, acknowledged):
        """Packets until the window is full; after the last acknowledgement the MD5."""
        at, end, _, packet, window, start = self._reading
        known = start + _word(acknowledged, 0)
        out = []
        while at < end and at - known < window * packet:
            out.append(slip(self._take(at, min(packet, end - at))))
            at += min(packet, end - at)
        self._reading[0] = at
        if known >= end:
            self._reading = None
            out.append(slip(hashlib.md5(self._take(start, end - start)).digest()))
        return b"".join(out)

    def _run_user_code(self, command, data):
        if self._run:
            self._run()
        return b""


def _checksum(data):
    value = 0xEF
    for byte in data:
        value ^= byte
    return value


_HANDLERS = {
    FLASH_BEGIN: RomLoader._begin,
    FLASH_DATA: RomLoader._data,
    FLASH_END: RomLoader._end,
    MEM_BEGIN: RomLoader._accept,
    MEM_END: RomLoader._mem_end,
    MEM_DATA: RomLoader._accept,
    SYNC: RomLoader._sync,
    WRITE_REG: RomLoader._write_reg,
    READ_REG: RomLoader._read_reg,
    SPI_SET_PARAMS: RomLoader._accept,
    SPI_ATTACH: RomLoader._accept,
    READ_FLASH_SLOW: RomLoader._read_slow,
    CHANGE_BAUDRATE: RomLoader._change_baud,
    DEFL_BEGIN: RomLoader._begin,
    DEFL_DATA: RomLoader._data,
    DEFL_END: RomLoader._end,
    FLASH_MD5: RomLoader._md5,
    SECURITY_INFO: RomLoader._security_info,
    ERASE_FLASH: RomLoader._erase_all,
    ERASE_REGION: RomLoader._erase_region,
    READ_FLASH: RomLoader._read,
    RUN_USER_CODE: RomLoader._run_user_code,
}
