"""`esp32`: partitions of the flash, as the table at 0x8000 lists them."""
# mypy: ignore-errors

import chip
import nor

_TABLE_ADDR = 0x8000
_TABLE_BYTES = 0xC00
_ENTRY_BYTES = 32

HEAP_DATA = 4
HEAP_EXEC = 1


def _u32(raw, at):
    return int.from_bytes(raw[at : at + 4], "little")


def _read_table():
    """Rows (type, subtype, offset, size, label, encrypted) up to the first that is no entry."""
    rows = []
    raw = chip.flash_read(_TABLE_ADDR, _TABLE_BYTES)
    for at in range(0, _TABLE_BYTES, _ENTRY_BYTES):
        if raw[at] != 0xAA or raw[at + 1] != 0x50:
            break
        label = bytes(raw[at + 12 : at + 28]).split(b"\0")[0].decode()
        encrypted = bool(_u32(raw, at + 28) & 1)
        rows.append(
            (raw[at + 2], raw[at + 3], _u32(raw, at + 4), _u32(raw, at + 8), label, encrypted)
        )
    return rows


_table = _read_table()


class Partition:
    """`esp32.Partition`: a block device of 4096-byte sectors; errors are negative errno."""

    TYPE_APP = 0
    TYPE_DATA = 1
    BOOT = 0
    RUNNING = 1

    def __init__(self, which, block_size=4096):
        if isinstance(which, str):
            rows = [row for row in _table if row[4] == which]
        elif isinstance(which, tuple):
            rows = [which]
        else:
            rows = [row for row in _table if row[0] == self.TYPE_APP]
        if not rows:
            raise OSError(2)
        if block_size != nor.SECTOR_BYTES:
            raise ValueError("block size is 4096")
        self._info = rows[0]
        self._addr = rows[0][2]
        self._device = nor.NorPartition(chip.flash, self._info[2], self._info[3], raise_cut=True)

    @staticmethod
    def find(type=0, subtype=0xFF, label=None, block_size=4096):
        """The partitions that match, as a list."""
        return [
            Partition(row, block_size)
            for row in _table
            if row[0] == type
            and (subtype == 0xFF or row[1] == subtype)
            and (label is None or row[4] == label)
        ]

    def info(self):
        """(type, subtype, address, size, label, encrypted)."""
        return self._info

    def readblocks(self, block, buf, off=0):
        try:
            return chip.guarded(chip.read_counted, self._device, block, buf, off)
        except MemoryError:
            return chip.locked_read(self._addr + block * nor.SECTOR_BYTES + off, buf)

    def writeblocks(self, block, buf, off=None):
        try:
            return chip.guarded(self._device.writeblocks, block, buf, off)
        except MemoryError:
            return chip.locked_program(self._addr + block * nor.SECTOR_BYTES + (off or 0), buf)

    def ioctl(self, op, arg=0):
        try:
            return chip.guarded(self._device.ioctl, op, arg)
        except MemoryError:
            if op != 6:
                return 0
            return chip.locked_erase(self._addr + arg * nor.SECTOR_BYTES)

    @classmethod
    def mark_app_valid_cancel_rollback(cls):
        pass

    def __repr__(self):
        return "<Partition type=%d, subtype=%d, address=%d, size=%d, label=%s, encrypted=%d>" % (
            self._info
        )


def mcu_temperature():
    return 31


def idf_heap_info(capabilities):
    """One region: (total, free, largest free, minimum free ever) bytes."""
    return [(163840, 98304, 65536, 90112)]
