"""The `pim` partition: raw access for the journal, and the block device that LittleFS sees.

Both go to one flash. Sectors that the journal owns are guarded: LittleFS may never erase them,
whatever its metadata believes after a torn write. A refused erase answers -84 (LFS_ERR_CORRUPT),
which makes LittleFS take another block.
"""

from drybag.errors import NotMountable
from drybag.layout import SECTOR, UNIT
from drybag.port import const

_IOCTL_COUNT = const(4)
_IOCTL_SIZE = const(5)
_IOCTL_ERASE = const(6)
_REFUSED = const(-84)
_IO_ERROR = const(-5)
_BLANK = b"\xff" * UNIT


class Device:
    """Wraps a block device (readblocks, writeblocks with offset, ioctl) of 4096-byte sectors, that
    answers with an error number or, as a chip's does, raises OSError.

    Raises OSError where nothing can be read. `seen_header` is the last sector whose start
    LittleFS programmed with `expect`, `last_read` the sector it read last: that is how a
    container's place becomes known.
    """

    def __init__(self, bdev):
        if bdev.ioctl(_IOCTL_SIZE, 0) != SECTOR:
            raise NotMountable("sectors of %d bytes: expected 4096" % bdev.ioctl(_IOCTL_SIZE, 0))
        self.bdev = bdev
        self.sectors = bdev.ioctl(_IOCTL_COUNT, 0)
        self._guard = bytearray((self.sectors + 7) // 8)
        self._check = bytearray(UNIT)
        self.expect = None
        self.seen_header = -1
        self.last_read = -1
        self.refused_erases = 0

    def guard(self, sector):
        """From now on LittleFS cannot erase `sector`."""
        self._guard[sector >> 3] |= 1 << (sector & 7)

    def guarded(self, sector):
        return self._guard[sector >> 3] & (1 << (sector & 7))

    def read(self, sector, offset, buf):
        """Fill `buf` from byte `offset` of `sector`."""
        result = self.bdev.readblocks(sector, buf, offset)
        if result:
            raise OSError(-result if isinstance(result, int) else 5)

    def program(self, sector, offset, buf):
        """Program `buf` (multiples of 64 bytes, aligned) and read it back.

        Returns False where the flash does not hold what was programmed (worn out).
        """
        view = memoryview(buf)
        for at in range(0, len(view), UNIT):
            unit = view[at : at + UNIT]
            try:
                failed = self.bdev.writeblocks(sector, unit, offset + at)
            except OSError:
                failed = True
            self.read(sector, offset + at, self._check)  # raises where the whole chip is dead
            if failed or self._check != unit:
                return False
        return True

    def erase(self, sector):
        """Erase `sector`; False where the flash says that it failed."""
        if _as_bad_block(self.bdev.ioctl, _IOCTL_ERASE, sector):
            self.read(sector, 0, self._check)
            return False
        return True

    def readblocks(self, block, buf, offset=0):
        """For LittleFS, through whose C code no exception may go."""
        self.last_read = block
        try:
            return self.bdev.readblocks(block, buf, offset)
        except OSError:
            return _IO_ERROR

    def writeblocks(self, block, buf, offset=0):
        """LittleFS programs; 0xFF is what erased flash holds already, so it is not sent."""
        if self.expect is not None and offset == 0:
            if bytes(buf[: len(self.expect)]) == self.expect:
                self.seen_header = block
        if len(buf) % UNIT or offset % UNIT:
            return _as_bad_block(self.bdev.writeblocks, block, buf, offset)
        view = memoryview(buf)
        for at in range(0, len(view), UNIT):
            unit = view[at : at + UNIT]
            if unit != _BLANK:
                result = _as_bad_block(self.bdev.writeblocks, block, unit, offset + at)
                if result:
                    return result
        return 0

    def ioctl(self, op, arg):
        if op == _IOCTL_ERASE and self.guarded(arg):
            self.refused_erases += 1
            return _REFUSED
        if op in (1, 2, 3):
            return 0
        if op == _IOCTL_ERASE:
            return _as_bad_block(self.bdev.ioctl, op, arg)
        return self.bdev.ioctl(op, arg)


def _as_bad_block(call, *args):
    """0, or for whatever error the answer that makes LittleFS take another block."""
    try:
        failed = call(*args)
    except OSError:
        failed = True
    return _REFUSED if failed else 0
