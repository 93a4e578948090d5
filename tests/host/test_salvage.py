"""Salvage: what no byte was lost of comes back, from whatever is left of the flash."""

import random
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from salvage_flash import full_pim, overwrite, unhit

from drybag import layout
from drybag.errors import DrybagError
from drybag_host.backup.store import Backup
from drybag_host.image import salvage_scan
from drybag_host.image.salvage_write import APART, salvage_bytes, salvage_file

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
import spec_reader  # noqa: E402

VECTORS = Path(__file__).parents[1] / "vectors"
SECTOR = layout.SECTOR


def vector(name):
    """A golden image: offset, 64 bytes, how often they follow one another; the rest is 0xFF."""
    image = bytearray(b"\xff" * 16 * SECTOR)
    for line in (VECTORS / (name + ".image")).read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            at, data, times = line.split()
            unit = bytes.fromhex(data) * int(times)
            image[int(at, 16) : int(at, 16) + len(unit)] = unit
    return bytes(image)


@pytest.fixture(scope="module")
def full():
    return full_pim(sectors=96)


def live(result):
    out = {}
    for record in result.versions:
        out.pop((record.kind, record.uid), None)
        if not record.deleted:
            out[record.kind, record.uid] = record
    return out


def same(found, expected):
    return {key: (r.seq, r.body, tuple(r.blobs)) for key, r in found.items()} == {
        key: (r.seq, r.body, tuple(r.blobs)) for key, r in expected.items()
    }


@pytest.mark.parametrize("name", ["life", "cut", "paired"])
def test_an_undamaged_image_gives_what_the_format_says(name):
    image = vector(name)
    records, blobs = spec_reader.read(image)
    _, results, found = salvage_bytes(image)
    assert len(results) == 1 and not results[0].lost
    assert all("batch" in why for why, _ in results[0].doubtful)
    assert len(results[0].doubtful) == (3 if name == "cut" else 0)
    assert same(live(results[0]), records)
    assert all(found.whole(sha) == data for sha, data in blobs.items())


@pytest.mark.parametrize("percent", [5, 10, 20, 40, 60, 80])
def test_every_record_that_was_not_hit_comes_back(full, percent):
    image, journal = full
    for seed in range(2):
        harmed, hit = overwrite(image, percent, seed)
        expected = unhit(journal, hit)
        found = live(salvage_bytes(bytes(harmed))[1][0])
        assert expected and not [key for key in expected if key not in found]
        assert all(
            (found[key].seq, found[key].body) == (r.seq, r.body) for key, r in expected.items()
        )


@pytest.mark.parametrize("cut", [1, 63, 64, 1000, 4095, 20000])
def test_a_piece_at_any_offset(full, cut):
    image, journal = full
    rest = bytes(image[cut : len(image) - cut])
    lost = set(range(-(-cut // SECTOR)))
    lost |= {s for s in range(len(image) // SECTOR) if (s + 1) * SECTOR > len(image) - cut}
    found = live(salvage_bytes(rest)[1][0])
    expected = unhit(journal, lost)
    assert expected and all(key in found and found[key].body == r.body
                            for key, r in expected.items())  # fmt: skip


def test_a_harmed_row_in_every_sector_costs_at_most_its_last_column(full):
    image, journal = full
    harmed = bytearray(image)
    rng = random.Random(5)
    for at in range(0, len(harmed), SECTOR):
        row = at + 256 * rng.randrange(16)
        harmed[row : row + 192] = rng.randbytes(192)
    found = live(salvage_bytes(bytes(harmed))[1][0])
    expected = {r.uid: r.body for r in journal.records() if not r.blobs and r.body_size < 1400}
    have = {key[1]: r.body for key, r in found.items()}
    assert sum(have.get(uid) == body for uid, body in expected.items()) > 0.85 * len(expected)


def test_without_any_header_the_entries_tell_their_epoch(full):
    image, journal = full
    harmed = bytearray(image)
    for at in range(0, len(harmed), SECTOR):
        harmed[at : at + 64] = bytes(64)
        harmed[at + 3840 : at + 4096] = bytes(256)
    scan, results, _ = salvage_bytes(bytes(harmed[777:]))
    assert results[0].epoch == journal._log.epoch
    found = live(results[0])
    plain = [r for r in journal.records() if not r.blobs and r.body_size < 1400]
    assert sum((r.kind, r.uid) in found for r in plain) > 0.9 * len(plain)


def test_crc_can_be_unwound():
    from binascii import crc32

    for start in (0, 1, 0x0DB00001, 0xFFFFFFFF):
        assert salvage_scan.unwind(crc32(b"any bytes", start), b"any bytes") == start


def test_deleted_records_stay_deleted(full):
    image, journal = full
    found = live(salvage_bytes(bytes(image))[1][0])
    assert set(found) == {(r.kind, r.uid) for r in journal.records()}


def test_the_folder_is_a_backup(full, tmp_path):
    image, _ = full
    harmed, _ = overwrite(image, 40, 3)
    done = salvage_file(bytes(harmed), "dead.bin", str(tmp_path / "out"))
    backup = Backup(str(tmp_path / "out"))
    assert backup.verify().ok and len(list(backup.records())) == done.records > 10
    assert backup.manifest.written_by == "drybag salvage" and not backup.manifest.verified
    assert any(row["what"] == "segments" for row in done.missing)
    assert (tmp_path / "out" / APART / "README.txt").is_file()
    assert (tmp_path / "out" / APART / "missing.jsonl").read_text().count("\n")


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=9000))
def test_arbitrary_bytes_never_give_a_traceback(data):
    try:
        salvage_bytes(data)
    except DrybagError as error:
        assert str(error)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_patched_images_never_give_a_traceback(data):
    image = bytearray(vector("life"))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(image) - 1))
        patch = data.draw(st.binary(min_size=1, max_size=64))
        image[at : at + len(patch)] = patch
    start = data.draw(st.integers(0, 5000))
    try:
        salvage_bytes(bytes(image[start : start + data.draw(st.integers(0, len(image)))]))
    except DrybagError as error:
        assert str(error)
