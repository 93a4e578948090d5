"""What to write to a board, in which order. Pure: bytes read in, pieces out.

The application's first sector is the keystone: without it the chip starts nothing. It is emptied
before anything else and written last, so that a flash cut short anywhere either starts what was
there before or nothing, and the same command completes it. `pim` is never among the pieces.
"""

from collections import namedtuple

from drybag.layout import SECTOR
from drybag_host.board_errors import BoardFileError, ImageProblem
from drybag_host.flash_errors import DiskTooNew, RecordsElsewhere, WrongChip, WrongFlash
from drybag_host.image import filesystem, partitions, stock

KEYSTONE_SECTORS = 1
SUPERBLOCKS = 2  # LittleFS keeps its root in the first two sectors
_BLANK = b"\xff" * SECTOR
_APP = 0  # the type of a partition with an application

Piece = namedtuple("Piece", "part address data")
Present = namedtuple("Present", "rows table blank")
Present.__doc__ = "`rows` of the table on the board, None without one; `table` its sector, raw."


def check_chip(chip, model):
    """Raises WrongChip, WrongFlash where the Chip found is not that of the BoardModel."""
    if chip.chip != model.chip:
        raise WrongChip(
            "this is an %s; %s has an %s" % (chip.model, model.name, model.chip),
            "",
            chip=chip.chip,
        )
    if chip.flash_bytes < model.flash_bytes:
        raise WrongFlash(
            "the flash has %d MiB; %s has %d: nothing was written"
            % (chip.flash_bytes >> 20, model.name, model.flash_mib),
            "",
            flash_bytes=chip.flash_bytes,
        )


def present(sector):
    """The Present table in the 4096 bytes at 0x8000."""
    try:
        rows = partitions.from_bytes(sector[: partitions.TABLE_BYTES])
    except BoardFileError:
        rows = None
    return Present(rows, sector, sector == _BLANK)


def pim_elsewhere(found, model):
    """The row of a `pim` that the new table would leave behind; None if it stays where it is."""
    ours = partitions.find(model.partitions, "pim")
    for row in found.rows or ():
        if row.label == "pim" and (row.offset, row.size) != (ours.offset, ours.size):
            return row
    return None


def root_of(found, flash_bytes):
    """(address, size) of the file system that MicroPython mounts at `/`, None if there is none.

    Without a row `vfs` MicroPython from 1.26 on takes what lies behind the last partition.
    """
    for row in found.rows or ():
        if row.label == "vfs":
            return row.offset, row.size
    end = max((row.offset + row.size for row in found.rows or ()), default=0)
    return (end, flash_bytes - end) if 0 < end < flash_bytes else None


def check_app_only(found, model):
    """Raises ImageProblem where the modules alone cannot be replaced."""
    here = {(row.label, row.type, row.offset, row.size) for row in found.rows or ()}
    ours = {(row.label, row.type, row.offset, row.size) for row in model.partitions}
    if here != ours:
        other = sorted(label for label, *_ in here ^ ours)
        raise ImageProblem(
            "the board's partition table is not that of %s (%s)"
            % (model.name, "it has none" if not here else "differs: %s" % ", ".join(other)),
            "run it without --app-only, or name the right board",
        )


def check_application(head, model):
    """MicroPython's version in the start of an application, stock.telling_bytes of it; "" if it
    cannot be told.

    Raises ImageProblem where there is no MicroPython that Drybag runs on.
    """
    found = stock.application_at(head)
    if found is None or found[0] != "micropython":
        there = "it has %s" % found[0] if found and found[0] else "what it has names no project"
        raise ImageProblem(
            "the board has no MicroPython (%s)"
            % ("'factory' holds no application" if found is None else there),
            "run it without --app-only",
        )
    if not stock.runs_drybag(found[1]):
        raise ImageProblem(
            "the board has MicroPython %s; Drybag runs on 1.20 to 1.29" % found[1],
            "run it without --app-only, with a version between these",
        )
    return found[1]


def check_disk(superblocks, version, name):
    """Raises DiskTooNew where that MicroPython does not mount the LittleFS of `pim`.

    `superblocks`: the first two sectors of `pim`; `name`: the handset's.
    """
    there, mounts = filesystem.disk_version(superblocks), stock.newest_disk_version(version)
    if there > mounts:
        raise DiskTooNew(
            "the records' partition was written by a newer MicroPython: its LittleFS has disk "
            "version %d.%d, and MicroPython %s mounts only %d.%d. The records could be read, but "
            "their space could not grow: no new photos. Nothing was written"
            % (there >> 16, there & 0xFFFF, version, mounts >> 16, mounts & 0xFFFF),
            "take MicroPython 1.22 or newer; or make a backup first (drybag pull TARGET DIR), "
            "then the same command with --erase-pim %s, and drybag restore DIR TARGET; or go on "
            "without growth: --no-growth" % name,
            disk_version="%d.%d" % (there >> 16, there & 0xFFFF),
        )


def clearing(found, model):
    """Pieces that empty the keystone, the roots of `/`, and whatever else the chip could start."""
    app = partitions.find(model.partitions, "factory").offset
    vfs = partitions.find(model.partitions, "vfs").offset
    starts = [app] + [row.offset for row in found.rows or () if row.type == _APP]
    starts += [vfs + n * SECTOR for n in range(SUPERBLOCKS)]
    kept = [row for row in found.rows or () if row.label == "pim"]
    return [
        Piece("start", address, _BLANK)
        for address in dict.fromkeys(starts)
        if not any(row.offset <= address < row.offset + row.size for row in kept)
    ]


def writes(parts, found, head=None):
    """Pieces in the order to write them, from whole.parts' [(name, address, bytes)].

    A table that is there already is left alone. `head`: (address, bytes) of the first sector of
    the application that stays on the board, for an update of the modules alone.
    """
    by_name = {name: (address, data) for name, address, data in parts}
    vfs = _last_first("vfs", *by_name["vfs"], SUPERBLOCKS)
    if head is not None:
        return [*vfs, Piece("app", *head)]
    pieces = [Piece("bootloader", *by_name["bootloader"])]
    address, data = by_name["table"]
    if found.table[: len(data)] != data:
        pieces.append(Piece("table", address, data))
    return [*pieces, *vfs, *_last_first("app", *by_name["app"], KEYSTONE_SECTORS)]


def _last_first(part, address, data, sectors):
    """The first `sectors` of a part behind the rest of it."""
    cut = sectors * SECTOR
    rest = [Piece(part, address + cut, data[cut:])] if len(data) > cut else []
    return [*rest, Piece(part, address, data[:cut])]


def guard(pieces, found, model):
    """Raises RecordsElsewhere if a piece would touch a sector of `pim`, of either table."""
    rows = [partitions.find(model.partitions, "pim")]
    rows += [row for row in found.rows or () if row.label == "pim"]
    for piece in pieces:
        end = -(-(piece.address + len(piece.data)) // SECTOR) * SECTOR
        for row in rows:
            if piece.address < row.offset + row.size and end > row.offset:
                raise RecordsElsewhere(
                    "%s at 0x%x would overwrite 'pim'" % (piece.part, piece.address),
                    "nothing was written; name the right board",
                )
