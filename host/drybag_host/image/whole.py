"""Whole flash images as files: made of MicroPython, table and modules; looked into; compared."""

import re
from pathlib import Path
from shlex import quote

from drybag_host.board_errors import BoardFileError, ImageProblem

from . import dumpfile, filesystem, firmware, partitions, stock


def parts(model, files, micropython=None, combined=False):
    """[(name, address, bytes)] of what a flash needs, ascending; never anything of `pim`.

    `files`: {"/path": bytes} for `vfs`; `micropython`: a Stock, None leaves it out; `combined`:
    it must have a bootloader. Raises ImageProblem for the wrong chip, or what does not fit.
    """
    found = []
    if combined and not micropython.bootloader:
        raise ImageProblem(
            "this MicroPython is an application alone, without its bootloader",
            "give the .bin of the board's page at micropython.org, not the .app-bin",
        )
    if micropython is not None:
        found += _stock_parts(model, micropython)
    table = partitions.to_binary(model.partitions_csv, model.partitions_file)
    found.append(("table", partitions.TABLE_ADDR, table))
    row = partitions.find(model.partitions, "vfs")
    found.append(("vfs", row.offset, filesystem.build(row.size, files)))
    return sorted(found, key=lambda part: part[1])


def _stock_parts(model, micropython):
    if micropython.chip != model.chip:
        raise ImageProblem(
            "this MicroPython is for %s, %s has an %s"
            % (micropython.chip, model.name, model.chip),
            "name the firmware for the board's chip",
        )
    row = partitions.find(model.partitions, "factory")
    if len(micropython.app) > row.size:
        raise ImageProblem(
            "MicroPython's application has %d bytes, 'factory' on %s %d"
            % (len(micropython.app), model.name, row.size),
            "use a plainer variant of the firmware, or a board file with a larger 'factory'",
        )
    if not micropython.bootloader:
        return [("app", row.offset, micropython.app)]
    return [
        (
            "bootloader",
            model.bootloader_offset,
            stock.with_flash_size(micropython.bootloader, model.flash_bytes),
        ),
        ("app", row.offset, micropython.app),
    ]


def micropython_for(model, wanted, folder):
    """The Stock to use and its path. `wanted`: a file, a version such as "1.27", or None.

    Raises ImageProblem; `folder` is the cache, as in stock.from_cache.
    """
    if wanted and not re.fullmatch(r"v?\d+\.\d+(\.\d+)?", wanted):
        path = wanted
    else:
        path = stock.from_cache(model, folder, wanted)
    return stock.read(path), path


def join(model, found):
    """The parts as one image of the board's flash size, the rest erased."""
    image = bytearray(b"\xff" * model.flash_bytes)
    for _, address, data in found:
        image[address : address + len(data)] = data
    return bytes(image)


def info(path):
    """What lies in an image: a dict for --json. Raises ImageProblem if it is none.

    Keys: size_bytes, chip, micropython, partitions, files ({path: bytes}), journal.
    """
    raw = _read(path)
    micropython = _micropython(raw, path)
    found = {
        "size_bytes": len(raw),
        "chip": micropython.chip if micropython else None,
        "micropython": micropython.version if micropython else None,
        "partitions": [],
        "files": {},
        "journal": None,
    }
    rows = _table(raw)
    if rows is None and micropython is None:
        raise ImageProblem(
            "%s: neither a flash image nor MicroPython's firmware" % path,
            "drybag inspect %s looks into a dump of 'pim'" % quote(str(path)),
        )
    for row in rows if rows is not None else micropython.rows:
        found["partitions"].append(row._asdict())
    if rows is not None:
        found["files"] = {name: len(data) for name, data in _files(raw, rows).items()}
        found["journal"] = _journal(raw, rows)
    return found


def diff(path_a, path_b):
    """[(partition, path or None, what)] in which two images differ; `what`: a short text."""
    a, b = _read(path_a), _read(path_b)
    rows_a, rows_b = _table(a), _table(b)
    for path, rows in ((path_a, rows_a), (path_b, rows_b)):
        if rows is None:
            raise ImageProblem("%s: no partition table at 0x8000" % path)
    found = []
    here = {row.label: row for row in rows_a}
    there = {row.label: row for row in rows_b}
    head = min(partitions.TABLE_ADDR, len(a), len(b))
    if a[:head] != b[:head]:
        found.append(("bootloader", None, _bytes_differ(a[:head], b[:head])))
    for label in list(here) + [label for label in there if label not in here]:
        if label not in there or label not in here:
            only = path_a if label in here else path_b
            found.append((label, None, "only in %s" % only))
            continue
        one, other = here[label], there[label]
        if one != other:
            places = (_place(one), _place(other))
            found.append((label, None, "laid out differently: %s, %s" % places))
        found += _differences(label, _cut(a, one), _cut(b, other))
    return found


def _differences(label, a, b):
    if a == b:
        return []
    if label == "vfs":
        try:
            files_a, files_b = filesystem.read_files(a), filesystem.read_files(b)
        except ImageProblem:
            return [(label, None, _bytes_differ(a, b))]
        names = sorted(set(files_a) | set(files_b))
        changed = [(label, n, _file(files_a.get(n), files_b.get(n))) for n in names]
        changed = [row for row in changed if row[2]]
        return changed or [(label, None, "same files, laid down differently")]
    return [(label, None, _bytes_differ(a, b))]


def _file(a, b):
    if a == b:
        return ""
    if a is None:
        return "added, %d bytes" % len(b)
    if b is None:
        return "removed, %d bytes" % len(a)
    return "%d and %d bytes" % (len(a), len(b))


def _bytes_differ(a, b):
    if len(a) != len(b):
        return "%d and %d bytes" % (len(a), len(b))
    step = partitions.SECTOR_BYTES
    count = sum(a[at : at + step] != b[at : at + step] for at in range(0, len(a), step))
    return "%d of %d sectors differ" % (count, -(-len(a) // step))


def _place(row):
    return "0x%x+0x%x" % (row.offset, row.size)


def _cut(raw, row):
    return raw[row.offset : row.offset + row.size]


def _read(path):
    return dumpfile.read_bytes(path, ImageProblem, "name a flash image")


def _table(raw):
    start = partitions.TABLE_ADDR
    if raw[start : start + 2] != b"\xaa\x50":
        return None
    try:
        return partitions.from_bytes(raw[start : start + partitions.TABLE_BYTES])
    except BoardFileError:
        return None


def _micropython(raw, path):
    if b"\xe9" not in (raw[:1], raw[0x1000:0x1001]):
        return None
    try:
        return stock.parse(raw, str(path))
    except ImageProblem:
        if _table(raw) is None:
            raise
        return None


def _files(raw, rows):
    for row in rows:
        if row.label == "vfs":
            try:
                return filesystem.read_files(_cut(raw, row))
            except ImageProblem:
                return {}
    return {}


def _journal(raw, rows):
    """What `pim` holds: "erased", "files", or "not mountable"; None without a `pim`."""
    for row in rows:
        if row.label == "pim":
            data = _cut(raw, row)
            if data.count(0xFF) == len(data):
                return "erased"
            try:
                return "journal" if filesystem.read_files(data) else "empty file system"
            except ImageProblem:
                return "not mountable"
    return None


def firmware_files(home):
    """The firmware's {"/path": bytes}, compiled, with a cache below `home`."""
    return firmware.firmware_files(cache_dir=Path(home) / "cache" / "mpy")
