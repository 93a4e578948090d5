"""Golden vectors: today's code reads and writes what the format version promised, bit by bit."""

import re
from hashlib import sha256
from pathlib import Path
from zlib import crc32

import pytest
import spec_reader
from both_interpreters import ROOT, run_both
from pim_flash import Flash, store_blob, text

from drybag_host.emulator.rom import nor

GOLDEN = Path(__file__).parent / "golden.py"
VECTORS = ROOT / "tests" / "vectors"
IMAGES = sorted(path.stem for path in VECTORS.glob("*.image"))
MAX_BYTES = 50 << 10


def golden(*args):
    """Lines of golden.py, the same from both interpreters."""
    return run_both(GOLDEN, *args, heap="4M")


def stored(name):
    return (VECTORS / name).read_text().splitlines()


def image_of(name):
    """A stored image; written apart from golden.py's own."""
    image = bytearray(b"\xff" * 16 * 4096)
    for line in stored(name + ".image"):
        at, data, times = line.split()
        whole = bytes.fromhex(data) * int(times)
        image[int(at, 16) : int(at, 16) + len(whole)] = whole
    return bytes(image)


@pytest.mark.parametrize("name", IMAGES)
def test_stored_image_reads_to_its_records(name):
    assert golden("read", str(VECTORS / (name + ".image"))) == stored(name + ".records")


@pytest.mark.parametrize("name", IMAGES)
def test_same_records_make_the_same_sectors(name):
    image = image_of(name)
    lines = []
    for at in range(0, len(image), 4096):
        found = spec_reader.prefix(image[at : at + 16])
        if found:
            hashed = sha256(image[at : at + 4096]).hexdigest()
            lines.append("%d %06x %s" % (found[1], found[3], hashed))
    assert len(lines) > 5
    assert golden("make", name) == sorted(lines)


@pytest.mark.parametrize("name", IMAGES)
def test_a_reader_from_the_spec_alone_agrees(name):
    records, blobs = spec_reader.read(image_of(name))
    live, graves, _ = spec_reader.read_all(image_of(name))
    settings = [e for e in live.values() if e.kind == spec_reader.SETTING]
    lines = []
    for r in [*records.values(), *settings]:
        body = r.body if len(r.body) <= 400 else sha256(r.body).digest()
        lines.append(
            "%d %s %d %d %d %d %s %s"
            % (r.kind, r.uid.hex(), r.seq, r.stamp, r.rev, r.parent,
               ",".join(sha.hex() for sha in r.blobs) or "-", body.hex())
            + (" base %08x" % r.base if r.base else "")
        )  # fmt: skip
    for e in graves.values():
        lines.append("deleted %d %s %d base %08x" % (e.kind, e.uid.hex(), e.seq, e.base))
    lines += ["blob %d %s" % (len(data), sha.hex()) for sha, data in blobs.items()]
    count, digest = spec_reader.digest(records)
    assert [*sorted(lines), "digest %d %s" % (count, digest.hex())] == stored(name + ".records")


def test_the_cut_image_needs_repair():
    """Else it would be no vector for parity and for copies that do not count."""
    sectors = [image_of("cut")[at : at + 4096] for at in range(0, 16 * 4096, 4096)]
    logs = {}
    for sector in sectors:
        found = spec_reader.prefix(sector[:16])
        if found and found[1] == 1:
            logs[found[3]], epoch = sector, found[2]
    newest = max(logs)
    source = spec_reader.header(logs[newest]).source
    assert spec_reader.find_tail(dict(logs), epoch)[0] == source != newest
    assert not spec_reader.in_order(logs[source], epoch)


@pytest.mark.parametrize("name", IMAGES)
def test_a_newer_version_is_refused_and_untouched(name):
    assert golden("newer", str(VECTORS / (name + ".image"))) == ["refused", "untouched"]


def test_frames_and_messages():
    assert golden("frames") == stored("frames.txt")


def test_frames_are_those_of_the_specification():
    """Taken apart by hand, as SPEC.md "Frames" says."""
    seen = 0
    for line in stored("frames.txt"):
        way, *numbers, payload, wire = line.split()
        if way not in ("to-board", "from-board"):
            continue
        wire = bytes.fromhex(wire)
        frame = wire[1:]
        assert wire[0] == (0xFE if way == "to-board" else 0xFB)
        if way == "to-board":
            assert min(wire) >= 32 and 127 not in wire
            frame, escaped = bytearray(), 0
            for c in wire[1:]:
                if c != 0xFD:
                    frame.append(c ^ escaped ^ 0x80)
                escaped = 0x40 if c == 0xFD else 0
        kind, ident, session, index = map(int, numbers)
        payload = bytes.fromhex(payload.strip("-"))
        head = bytes([kind, ident]) + b"".join(
            number.to_bytes(2, "little") for number in (session, index, len(payload))
        )
        head += (crc32(head) & 0xFFFF).to_bytes(2, "little")
        assert frame == head + payload + crc32(head + payload).to_bytes(4, "little")
        seen += 1
    assert seen == 6


def test_sections_that_the_code_names_are_there():
    spec = (ROOT / "firmware" / "SPEC.md").read_text()
    titles = set(re.findall(r"^#+ (?:\d )?(.+)$", spec, re.MULTILINE))
    reference = r'SPEC\.md((?:(?:,| and)? "[A-Z][\w ]+")+)'
    named = set()
    for folder in ("firmware/lib", "host/drybag_host"):
        for path in (ROOT / folder).rglob("*.py"):
            for found in re.findall(reference, path.read_text()):
                named.update(re.findall('"([^"]+)"', found))
    assert len(named) > 6
    assert named <= titles


def test_vectors_are_small():
    assert sum(path.stat().st_size for path in VECTORS.iterdir()) < MAX_BYTES


# --- the reader from the specification, on torn flash --------------------------------------------


def _before(flash, agreed):
    j = flash.mount()
    j.set_agreed(agreed)
    for n in range(5):
        j.put(1 + n % 4, b"old%d" % n, text(n, 60 + 90 * n), parent=n)
    return j


def _torn(flash, j):
    sha = store_blob(j, text(1, 5000))
    j.put(5, b"photo", b"FN:sea.jpg\n", [sha])
    for n in range(12):
        j.put(1, b"new%d" % n, text(n, 40 * n))
        if n == 8 and j.agreed >= 0:
            j.set_agreed(j.last_seq)
    ops = [("put", 1, b"b%d" % n, text(n, 90)) for n in range(4)]
    j.batch([*ops, ("delete", 1, b"new3"), ("put", 7, b"sync", b"agreed")])
    j.put(1, b"new4", b"FN:edited\n")
    j.put(4, b"big", text(3, 3000))
    agreed = j.agreed
    j = flash.mount()  # unclean: copies the tail
    j.set_agreed(agreed)
    j.delete(4, b"big")
    j.put(1, b"new3", b"FN:again\n")
    j.close()
    flash.mount().put(1, b"last", b"FN:Last\n")


def _journal_says(flash):
    """What the journal reads from these bytes, in the form of spec_reader: PIM records; seqs of
    settings and of pending tombstones, by key."""
    pages = range(0, len(flash.memory), 256)  # may all be programmed over, as after a cut
    faults = {"unstable": [], "touched": pages, "worn": []}
    twin = Flash(flash.sectors, bytearray(flash.memory), faults)
    j = twin.mount()
    records = {
        (r.kind, r.uid): spec_reader.Record(
            r.kind, r.uid, r.body, r.blobs, r.parent, r.seq, r.stamp, r.rev, r.base
        )
        for r in j.records()
    }
    apart = {(r.kind, r.uid): r.seq for r in j.records(spec_reader.SETTING)}
    apart.update({(r.kind, r.uid): r.seq for r in j.unsent(0, 1000) if r.deleted})
    return records, apart


@pytest.mark.parametrize("agreed", [-1, 0])
def test_reader_and_journal_agree_on_torn_flash(agreed):
    flash = Flash(24)
    j = _before(flash, agreed)
    chip, commands = flash.copy(), []
    flash.nor.on_command = lambda op, addr, data: commands.append((op, addr, data and bytes(data)))
    _torn(flash, j)
    assert len(commands) > 150
    for n, (op, addr, data) in enumerate(commands):
        states = nor.ERASE_STATES if op == "erase" else nor.PROGRAM_STATES
        if n % 3 == agreed + 1:
            torn = chip.copy()
            state = states[n // 2 % len(states)]
            torn.nor.tear(op, addr, data, state, n)
            records, blobs = spec_reader.read(torn.memory)
            live, graves, _ = spec_reader.read_all(torn.memory)
            apart = {key: e.seq for key, e in live.items() if key[0] == spec_reader.SETTING}
            apart.update({key: e.seq for key, e in graves.items()})
            assert (records, apart) == _journal_says(torn), "command %d, %s" % (n, state)
            assert None not in blobs.values()
        if op == "erase":
            chip.nor.erase(addr)
        else:
            chip.nor.program(addr, data)
