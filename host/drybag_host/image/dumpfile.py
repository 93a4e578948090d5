"""Dump files: raw bytes of `pim` or of the whole flash, read into memory, never written."""

import os
from shlex import quote

from drybag import journal, layout
from drybag.errors import NotMountable
from drybag_host.board_errors import BoardFileError
from drybag_host.errors import HostFile, with_hint
from drybag_host.flash_errors import DumpTruncated
from drybag_host.image import filesystem, partitions

MAX_BYTES = 256 << 20


def read_bytes(path, kind=HostFile, hint="name a dump: drybag dump TARGET FILE"):
    """The bytes of a regular file. Raises `kind` where it is none, or larger than any flash."""
    try:
        if not os.path.isfile(path):
            there = os.path.lexists(path)
            raise kind("%s: %s" % (path, "no regular file" if there else "no such file"), hint)
        if os.path.getsize(path) > MAX_BYTES:
            raise kind("%s: larger than any flash (%d MiB)" % (path, MAX_BYTES >> 20), hint)
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise kind("%s: %s" % (path, error.strerror), hint) from error


def table_of(path):
    """Rows of the partition table of a whole flash image, or None where it has none."""
    try:
        rows = partitions.from_image(path)
    except BoardFileError:
        return None
    return rows if any(row.label == "pim" for row in rows) else None


def pim_of(path):
    """(bytes of `pim`, its offset in the file, rows of the partition table or None).

    Without a table the file is `pim` itself; what a truncated one lacks is missing at the end.
    """
    data = read_bytes(path)
    rows = table_of(path)
    if rows is None:
        return data, 0, None
    row = partitions.find(rows, "pim")
    return data[row.offset : row.offset + row.size], row.offset, rows


def mount(path):
    """The Journal of a dump, on a copy in memory.

    Raises NotMountable, FormatNewer, HostFile; DumpTruncated for a file that lacks its end, since
    a journal on the rest would look whole.
    """
    data, offset, rows = pim_of(path)
    hint = "drybag salvage %s DIR takes what is there" % quote(str(path))
    whole = partitions.find(rows, "pim").size if rows else filesystem.declared_bytes(data)
    if len(data) < whole:
        raise DumpTruncated(
            "%s: %d of the %d bytes of 'pim' are there" % (path, len(data), whole),
            hint + "; a whole one: drybag dump TARGET FILE",
        )
    if len(data) < 8 * layout.SECTOR:
        raise _unfit("%s: %d bytes are no image of a journal" % (path, len(data)), hint)
    usable = len(data) - len(data) % layout.SECTOR
    try:
        return journal.mount(Memory(data[:usable]))
    except NotMountable as error:
        raise _unfit("%s: %s" % (path, error), hint) from error
    except OSError as error:
        raise _unfit("%s: the file system cannot be used (%s)" % (path, error), hint) from error


def _unfit(message, hint):
    return with_hint(NotMountable(message), hint)


class Memory:
    """A block device over a copy of the bytes, in RAM. MicroPython's block protocol."""

    def __init__(self, data):
        self.data = bytearray(data)

    def readblocks(self, block, buf, offset=0):
        at = block * layout.SECTOR + offset
        buf[:] = self.data[at : at + len(buf)]
        return 0

    def writeblocks(self, block, buf, offset=0):
        at = block * layout.SECTOR + offset
        self.data[at : at + len(buf)] = buf
        return 0

    def ioctl(self, op, arg):
        if op == 4:
            return len(self.data) // layout.SECTOR
        if op == 5:
            return layout.SECTOR
        if op == 6:
            at = arg * layout.SECTOR
            self.data[at : at + layout.SECTOR] = b"\xff" * layout.SECTOR
        return 0
