"""What the tests of `drybag flash` share: a home with firmware, used boards, an oracle."""

import functools
import re
import sys
from pathlib import Path

import stock_images

from drybag import journal, layout
from drybag_host.board_errors import BoardFileError, ImageProblem
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.image import board_model, dumpfile, filesystem, firmware, partitions, stock, whole

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from pim_flash import Flash  # noqa: E402

GENERIC = board_model.load("esp32-generic")
# a board whose parts are small, so that each is read and written in a second
SMALL = """
nvs,      data, nvs,      0x9000,   0x6000
phy_init, data, phy,      0xf000,   0x1000
factory,  app,  factory,  0x10000,  0x20000
vfs,      data, fat,      0x30000,  0x60000
pim,      data, littlefs, 0x90000,  0x80000
"""
OLD, NEW = "v1.22.2", "v1.28.0"
MINE = {"/mine.py": b"x = 1\n", "/data/notes.txt": b"n" * 5000}
OLD_FILES = {
    "/boot.py": b"# none\n",
    "/main.py": b"print('an older firmware')\n",
    "/lib/drybag/gone.mpy": b"M\x06old",
    **MINE,
}


def board_file(folder, table, name="small", **changes):
    """Path of a board file like esp32-generic's with another table."""
    text = GENERIC.file.read_text().replace('"partitions/4mib.csv"', '"""%s"""' % table)
    for key, value in changes.items():
        text = re.sub(r"(?m)^%s = .*$" % key, "%s = %s" % (key, value), text)
    path = Path(folder) / (name + ".toml")
    path.write_text(text)
    return str(path)


@functools.cache
def firmware_of(version, chip="esp32", project="micropython"):
    size = 30000 if version == NEW else 50000
    return stock_images.firmware(chip, version, project=project, body_bytes=size)


def row(model, label):
    return partitions.find(model.partitions, label)


def home_with_firmware(folder, monkeypatch, mpy_cache):
    """A DRYBAG_HOME with MicroPython in its cache."""
    cache = folder / "cache" / "micropython"
    cache.mkdir(parents=True)
    (folder / "cache" / "mpy").symlink_to(mpy_cache)
    (cache / "ESP32_GENERIC-20260101-v1.28.0.bin").write_bytes(firmware_of(NEW))
    monkeypatch.setenv("DRYBAG_HOME", str(folder))
    return folder


@functools.cache
def used_pim(size=0x80000):
    """A partition with 30 contacts, of which some were changed and one deleted."""
    flash = Flash(size // 4096)
    j = flash.mount()
    for n in range(30):
        j.put(layout.CONTACT, b"uid-%d" % n, b"VERSION:3.0\nFN:Person %d\n" % n)
    for n in range(0, 30, 7):
        j.put(layout.CONTACT, b"uid-%d" % n, b"VERSION:3.0\nFN:Person %d, married\n" % n)
    j.delete(layout.CONTACT, b"uid-3")
    return bytes(flash.memory)


def used_flash(model, files=None):
    """A whole flash: older MicroPython, the person's files, records in the model's `pim`."""
    pim = row(model, "pim")
    parts = whole.parts(model, files or OLD_FILES, stock.parse(firmware_of(OLD), "old"))
    image = bytearray(whole.join(model, parts))
    image[pim.offset : pim.offset + pim.size] = used_pim(pim.size)
    return image


def board_with(home, model, raw, name="b"):
    """An emulated board, started, on a flash with these bytes."""
    path = Path(home) / (name + ".bin")
    path.write_bytes(raw)
    made = EmulatedBoard.create(name, str(model.file), image=path)
    made.start()
    return made


def records(pim):
    """{(kind, uid): body} of a partition's bytes, mounted on a copy."""
    found = journal.mount(dumpfile.Memory(pim)).records()
    return {(r.kind, bytes(r.uid)): bytes(r.body) for r in found}


def cut(raw, part):
    return bytes(raw[part.offset : part.offset + part.size])


def starts(raw, model):
    """What a chip with this flash would run: (MicroPython's version, files), or None: nothing.

    Its loader checks bootloader, table and application by their hashes, as the ROM and the
    bootloader do. An application over a `/` that cannot be read fails the test: MicroPython
    would make a new one there.
    """
    try:
        found = stock.parse(bytes(raw[model.bootloader_offset :]), "flash")
    except (ImageProblem, BoardFileError):
        return None
    if not found.bootloader:
        return None
    vfs = next(part for part in found.rows if part.label == "vfs")
    return found.version, filesystem.read_files(cut(raw, vfs))


@functools.cache
def wanted_files(mpy_cache, mine=True):
    ours = firmware.firmware_files(cache_dir=mpy_cache)
    return {**(MINE if mine else {}), **ours}
