"""Partitions that are not ours or of a newer firmware are refused, not one byte changed."""

import struct
import time

import pytest
from pim_flash import SECTOR, Flash, bodies, noise, text

from drybag import errors, layout, port
from drybag.checkpoint import load_piece
from drybag.index import Index
from drybag.layout import NOTE

SECTORS = 24


def ext4_like(size):
    """1,024 bytes of zeros, a superblock with its magic, tables, and data far behind."""
    image = bytearray(size)
    image[1024:1080] = noise(1, 56)
    image[1080:1082] = b"\x53\xef"
    image[8192:20000] = noise(2, 11808)
    image[60000:70000] = noise(3, 10000)
    return image


CONTENTS = {
    "random": lambda size: bytearray(noise(1, size)),
    "zeros": bytearray,
    "ext4": ext4_like,
    "one byte in the last sector": lambda size: bytearray(b"\xff" * (size - 1) + b"x"),
    "text from the fifth sector on": lambda size: bytearray(
        b"\xff" * 4 * SECTOR + b"precious" + b"\xff" * (size - 4 * SECTOR - 8)
    ),
}


@pytest.mark.parametrize("content", CONTENTS)
def test_what_is_not_ours_is_never_formatted(content):
    flash = Flash(SECTORS, CONTENTS[content](SECTORS * SECTOR))
    before = bytes(flash.memory)
    for _ in range(2):
        with pytest.raises(errors.NotMountable, match="nothing was written") as caught:
            flash.mount()
        assert caught.value.exit_code == 7
    assert bytes(flash.memory) == before
    assert flash.nor.programs == flash.nor.erases == 0


def test_a_journal_destroyed_whole_is_kept_as_it_is():
    flash = Flash(SECTORS)
    j = flash.mount()
    for n in range(100):
        j.put(NOTE, b"n%d" % n, text(n, 200))
    for sector in range(SECTORS):
        flash.harm(sector * SECTOR, noise(sector, SECTOR))
    before = bytes(flash.memory)
    with pytest.raises(errors.NotMountable):
        flash.mount()
    assert bytes(flash.memory) == before


@pytest.mark.parametrize("kind", [layout.LOG, layout.BLOB, layout.SPARE])
def test_a_newer_format_is_refused_and_not_damaged(kind, monkeypatch):
    flash = Flash(SECTORS)
    j = flash.mount()
    for n in range(100):
        j.put(NOTE, b"n%d" % n, text(n, 100))
    j.put(NOTE, b"large", text(1, 5000))
    held = bodies(j)
    sector = min(flash.segments(kind))
    prefix = layout.parse_prefix(flash.memory[sector * SECTOR : sector * SECTOR + 16])
    old = bytes(flash.memory)
    monkeypatch.setattr(layout, "VERSION", 2)
    newer = layout.pack_prefix(kind, prefix[2], prefix[3])
    monkeypatch.undo()
    flash.harm(sector * SECTOR, newer)
    before = bytes(flash.memory)
    with pytest.raises(errors.FormatNewer, match="update the firmware") as caught:
        flash.mount()
    assert caught.value.exit_code == 7 and "version 2 in sector %d" % sector in str(caught.value)
    assert bytes(flash.memory) == before
    assert bodies(Flash(SECTORS, bytearray(old)).mount()) == held


def test_a_segment_of_another_journal_is_refused():
    flash = Flash(SECTORS)
    flash.mount().put(NOTE, b"n", b"")
    free = next(s for s in range(2, SECTORS) if s not in flash.segments())
    flash.harm(free * SECTOR, layout.pack_prefix(layout.LOG, 77, 5) + noise(1, 200))
    before = bytes(flash.memory)
    with pytest.raises(errors.NotMountable, match="another journal"):
        flash.mount()
    assert bytes(flash.memory) == before


def test_files_of_other_people_are_left_alone():
    """A LittleFS that is somebody's: the journal moves in beside the files, for good."""
    flash = Flash(48)
    port.mkfs(flash.partition(), 48)
    fs = port.open_fs(flash.partition(), 48)
    files = {
        "/photos/a.bin": noise(1, SECTOR), "/dead/l1": noise(2, SECTOR), "/l2": noise(3, SECTOR),
        "/notes/l3.txt": noise(4, 3 * SECTOR), "/small": b"hello", "/photos/s4x": noise(5, SECTOR),
    }  # fmt: skip
    for directory in ("/photos", "/dead", "/notes"):
        fs.mkdir(directory)
    for path, data in files.items():
        f = fs.open(path, "wb")
        f.write(data)
        f.close()
    held = {}
    for turn in range(4):
        j = flash.mount()
        assert not j.report["formatted"]
        for n in range(300):
            uid = b"%d" % (n % 40)
            j.put(NOTE, uid, text(turn + n, 300))
            held[NOTE, uid] = text(turn + n, 300)
    with pytest.raises(errors.NoSpace):
        for n in range(1000):
            j.put(NOTE, b"fill%d" % n, text(n, 500))
            held[NOTE, b"fill%d" % n] = text(n, 500)
    assert bodies(flash.mount()) == held
    fs = port.open_fs(flash.partition(), 48)
    for path, data in files.items():
        f = fs.open(path, "rb")
        assert f.read(len(data) + 1) == data, path
        f.close()


def test_sectors_of_another_size_are_refused():
    class Odd:
        def ioctl(self, op, arg):
            return {4: 10, 5: 512}.get(op, 0)

    from drybag import journal

    with pytest.raises(errors.NotMountable, match="512"):
        journal.mount(Odd())


@pytest.mark.parametrize("sector", [0, 1, 3, 14, 15])
def test_a_few_bytes_at_the_start_are_somebodys_data(sector):
    flash = Flash(16)
    flash.harm(sector * SECTOR + 700, b"a note that somebody left here")
    before = bytes(flash.memory)
    with pytest.raises(errors.NotMountable):
        flash.mount()
    assert bytes(flash.memory) == before


def relabelled(number, **fields):
    """A small journal whose first segment's header says something else, with right CRCs."""
    flash = Flash(SECTORS)
    j = flash.mount()
    for n in range(40):
        j.put(NOTE, b"n%d" % n, text(n, 150))
    at = min(flash.numbers().items())[1] * SECTOR
    header = layout.parse_log_header(flash.memory[at : at + 64])
    header.number = number
    for name, value in fields.items():
        setattr(header, name, value)
    flash.harm(at, header.pack())
    return flash


@pytest.mark.parametrize("number", [0, layout.MAX_NUMBER + 1, 2**32 - 1])
def test_a_segment_number_that_no_journal_gives_is_refused(number):
    flash = relabelled(number)
    before = bytes(flash.memory)
    with pytest.raises(errors.NotMountable, match="segment number"):
        flash.mount()
    assert bytes(flash.memory) == before


def test_a_gap_of_millions_of_numbers_is_passed_at_once():
    """Such as an image that somebody made up: not one number after the other is tried."""
    flash = relabelled(layout.MAX_NUMBER - 1, first=1)
    began = time.process_time()
    j = flash.mount()
    assert len(list(j.changes(0))) > 5
    assert time.process_time() - began < 5


def test_a_piece_of_a_checkpoint_that_makes_no_sense_is_left_out():
    index = Index(16)
    buf = b"\xff" * 22 + struct.pack("<IIIIII", 0xABCDEC00 | 1 << 4 | 4, 5, 70, 0xABCDEFF4, 6, 71)
    load_piece(index, buf + b"12345", 22, 22 + 29)
    assert list(index.triples()) == [(0xABCDEC14, 5, 70)]


def test_the_index_counts_more_than_65535_records_of_one_length():
    index = Index(1024)
    index.sizes[1] = 65535
    index.load(0xABCDEC14, 5, 70)
    assert index.sizes[1] == 65536


def test_a_copy_that_names_itself_as_its_source_is_a_segment_as_any():
    flash = Flash(SECTORS)
    flash.mount().put(NOTE, b"n", b"x")
    number, sector = max(flash.numbers().items())
    header = layout.parse_log_header(flash.memory[sector * SECTOR : sector * SECTOR + 64])
    header.source = number
    flash.harm(sector * SECTOR, header.pack())
    j = flash.mount()
    assert j.report["read_only"] is None and bodies(j) == {(NOTE, b"n"): b"x"}


def test_a_large_body_without_its_name_is_no_entry():
    buf, entry = bytearray(64 * layout.MAX_ENTRY_UNITS), layout.Entry(7)
    layout.pack_entry(buf, 7, layout.OP_PUT_BIG, 1, 0, NOTE, b"n", b"\0\0\1\0")
    assert not entry.parse(buf)
    layout.pack_entry(buf, 7, layout.OP_PUT_BIG, 1, 0, NOTE, b"n", b"\0\0\1\0", [bytes(32)])
    assert entry.parse(buf) and entry.intact(buf)
