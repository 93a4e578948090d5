"""What the tests of `drybag flash` share: a home with firmware, used boards, an oracle."""

import functools
import sys
from pathlib import Path

import stock_images

from drybag import journal, layout
from drybag_host.board_errors import BoardFileError, ImageProblem
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.image import board_model, dumpfile, filesystem, firmware, partitions, stock, whole

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from pim_flash import Flash  # noqa: E402

MODEL = board_model.load("esp32-generic")
PIM = partitions.find(MODEL.partitions, "pim")
VFS = partitions.find(MODEL.partitions, "vfs")
APP = partitions.find(MODEL.partitions, "factory")
OLD, NEW = "v1.22.2", "v1.28.0"
MINE = {"/mine.py": b"x = 1\n", "/data/notes.txt": b"n" * 5000}
OLD_FILES = {
    "/boot.py": b"# none\n",
    "/main.py": b"print('an older firmware')\n",
    "/lib/drybag/gone.mpy": b"M\x06old",
    **MINE,
}


@functools.cache
def firmware_of(version, chip="esp32"):
    return stock_images.firmware(chip, version, body_bytes=30000 if version == NEW else 50000)


def home_with_firmware(folder, monkeypatch, mpy_cache):
    """A DRYBAG_HOME with MicroPython in its cache."""
    cache = folder / "cache" / "micropython"
    cache.mkdir(parents=True)
    (folder / "cache" / "mpy").symlink_to(mpy_cache)
    (cache / "ESP32_GENERIC-20260101-v1.28.0.bin").write_bytes(firmware_of(NEW))
    monkeypatch.setenv("DRYBAG_HOME", str(folder))
    return folder


@functools.cache
def used_pim(size=PIM.size):
    """A partition with 30 contacts, of which some were changed and one deleted."""
    flash = Flash(size // 4096)
    j = flash.mount()
    for n in range(30):
        j.put(layout.CONTACT, b"uid-%d" % n, b"VERSION:3.0\nFN:Person %d\n" % n)
    for n in range(0, 30, 7):
        j.put(layout.CONTACT, b"uid-%d" % n, b"VERSION:3.0\nFN:Person %d, married\n" % n)
    j.delete(layout.CONTACT, b"uid-3")
    return bytes(flash.memory)


def used_flash(model=MODEL, files=None):
    """A whole flash: older MicroPython, the person's files, records in the model's `pim`."""
    row = partitions.find(model.partitions, "pim")
    parts = whole.parts(model, files or OLD_FILES, stock.parse(firmware_of(OLD), "old"))
    image = bytearray(whole.join(model, parts))
    image[row.offset : row.offset + row.size] = used_pim(row.size)
    return image


def board_with(home, raw, name="b", board="esp32-generic"):
    """An emulated board, started, on a flash with these bytes."""
    path = Path(home) / (name + ".bin")
    path.write_bytes(raw)
    made = EmulatedBoard.create(name, board, image=path)
    made.start()
    return made


def records(pim):
    """{(kind, uid): body} of a partition's bytes, mounted on a copy."""
    found = journal.mount(dumpfile.Memory(pim)).records()
    return {(r.kind, bytes(r.uid)): bytes(r.body) for r in found}


def cut(raw, row):
    return bytes(raw[row.offset : row.offset + row.size])


def starts(raw, model=MODEL):
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
    row = next(row for row in found.rows if row.label == "vfs")
    return found.version, filesystem.read_files(cut(raw, row))


@functools.cache
def wanted_files(mpy_cache, mine=True):
    ours = firmware.firmware_files(cache_dir=mpy_cache)
    return {**(MINE if mine else {}), **ours}
