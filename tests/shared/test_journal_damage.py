"""Damage at rest: what rots, is overwritten or wears out is found, named, repaired if it can be.

Whatever is harmed: the journal mounts, intact records are served, no body is ever wrong, and what
is missing or old is reported with its place.
"""

import random

import pytest
from pim_flash import (
    PAGE,
    SECTOR,
    Flash,
    blob,
    bodies,
    findings,
    noise,
    store_blob,
    text,
    where_is,
)

from drybag import errors, layout
from drybag.layout import CONTACT, NOTE, PHOTO
from drybag.pool import Pool

UNITS = 64
SMALL = 24


def build(clean=True):
    """(flash, what it holds, what it ever held) with sectors of every type."""
    flash = Flash(SMALL)
    j = flash.mount()
    sha = store_blob(j, noise(1, 5000))
    j.put(PHOTO, b"photo", b"FN:p\n", [sha])
    j.put(NOTE, b"large", text(1, 4500))
    for n in range(24):
        j.put(CONTACT, b"c%d" % n, text(n, 40 + 60 * (n % 5)))
    j.batch([("put", NOTE, b"b%d" % n, text(n, 100)) for n in range(6)])
    j.checkpoint()
    for n in range(0, 24, 3):
        j.put(CONTACT, b"c%d" % n, text(n + 100, 90))
    j.delete(CONTACT, b"c1")
    for n in range(30):
        j.put(NOTE, b"n%d" % n, text(n, 150))
    held = bodies(j)
    if clean:
        j.close()
    return flash, held


def check(flash, held, last=None):
    """Mount, compare, scrub: (journal, findings, keys that differ, all of them reported).

    `last`: records whose loss nothing tells from a write that was cut short.
    """
    j = flash.mount()
    found, unread = {}, set()
    for record in j.records():
        key = record.kind, record.uid
        try:
            found[key] = record.body
        except errors.Damaged:
            unread.add(key)
    different = {key for key in held if found.get(key) != held[key]}
    returned = {key for key in found if key not in held}
    reported = findings(j)
    summary = reported[-1]
    assert summary["kind"] == "summary"
    if (different or returned) and not (last and different <= last):
        assert summary["damaged"] + summary["lost"] > 0, (different, returned)
        assert any({"sector", "segment", "sha"} & set(f) for f in reported[:-1]), reported
    for key in different:
        if key in found:  # a version that was replaced later, never anything else
            assert found[key] in [v.body for v in j.history(*key) if not v.deleted]
        try:
            assert j.get(*key).body == found.get(key)
        except (errors.Damaged, errors.NotFound):
            assert key not in found
    j.put(NOTE, b"probe", b"works")
    assert flash.mount().get(NOTE, b"probe").body == b"works"
    return j, reported, different | returned


def is_column_with_parity(flash, sector, unit):
    """True for a unit of a log segment that finished parity covers."""
    if unit // 16 == 3 or sector not in flash.segments(layout.LOG):
        return False
    parity = sector * SECTOR + 15 * PAGE + (unit // 16) * 64
    return flash.memory[parity : parity + 64] != b"\xff" * 64


@pytest.mark.parametrize("clean", [True, False])
def test_one_flipped_bit_anywhere(clean):
    """Every unit of every sector; the bit in it goes round with the unit."""
    base, held = build(clean)
    rng = random.Random(5)
    kinds = set()
    for sector in range(SMALL):
        for unit in range(UNITS):
            flash = base.copy()
            at = sector * SECTOR + (unit & 15) * PAGE + (unit >> 4) * 64
            flash.flip(at + rng.randrange(64), rng.randrange(8))
            covered = is_column_with_parity(base, sector, unit)
            try:
                last = None if clean else {(NOTE, b"n29")}
                _, reported, different = check(flash, held, last)
            except Exception as error:
                raise AssertionError("sector %d, unit %d: %r" % (sector, unit, error)) from error
            kinds.update(f["kind"] for f in reported)
            if covered:
                assert not different, (sector, unit, reported)
            for finding in reported:
                if finding["kind"] in ("record", "unreadable", "repaired") and clean:
                    assert finding["sector"] == sector
    assert {"repaired", "record", "blob", "summary"} <= kinds


def test_a_repaired_record_is_written_afresh_and_lasts():
    flash, held = build()
    j = flash.mount()
    sector, at = where_is(j, NOTE, b"b3")
    flash.flip(sector * SECTOR + at + 30, 2)
    j = flash.mount()
    assert j.get(NOTE, b"b3").body == held[NOTE, b"b3"]
    found = findings(j)
    assert [(f["kind"], f.get("uid"), f.get("sector"), f.get("offset")) for f in found[:-1]] == [
        ("repaired", b"b3", sector, at)]  # fmt: skip
    assert found[-1]["repaired"] == 1 and found[-1]["damaged"] == 0
    assert findings(j)[:-1] == []
    flash.harm(sector * SECTOR + SECTOR // 2, b"\0" * (SECTOR // 2))  # the old copy may go now
    j = flash.mount()
    assert j.get(NOTE, b"b3").body == held[NOTE, b"b3"]


def test_a_record_of_a_batch_that_scrub_repaired_survives_compaction():
    flash = Flash(SMALL)
    j = flash.mount()
    j.batch([("put", NOTE, b"b%d" % n, text(n, 150)) for n in range(18)])
    for n in range(12):
        j.put(CONTACT, b"c%d" % n, text(n, 200))
    sector, at = where_is(j, NOTE, b"b4")
    flash.flip(sector * SECTOR + at + 40)
    assert findings(j)[-1]["repaired"] == 1
    for n in range(600):
        j.put(CONTACT, b"c%d" % (n % 12), text(n, 200))
        if n % 20 == 0:
            copy = flash.copy().mount()
            assert [r.uid for r in copy.records(NOTE) if r.uid == b"b4"] == [b"b4"]
            assert copy.count(NOTE) == 18


def test_scrub_of_a_full_flash_with_much_to_repair():
    flash = Flash(SMALL)
    j = flash.mount()
    held = {}
    for n in range(1000):
        try:
            j.put(NOTE, b"n%03d" % n, text(n, 60))
        except errors.NoSpace:
            break
        held[NOTE, b"n%03d" % n] = text(n, 60)
    harmed = set()
    for key in held:  # one unit a sector
        sector, at = where_is(j, *key)
        if sector not in harmed and is_column_with_parity(flash, sector, at % PAGE // 64 * 16):
            harmed.add(sector)
            flash.flip(sector * SECTOR + at + 25)
    assert len(harmed) > 8
    assert findings(j)[-1]["damaged"] == 0
    assert bodies(j) == held
    for key in list(held)[:5]:
        j.delete(*key)
        del held[key]
    j = flash.mount()
    assert j.report["read_only"] is None and bodies(j) == held


def test_two_harmed_units_in_one_column():
    base, held = build()
    for sector, kind in base.segments(layout.LOG).items():
        assert kind == layout.LOG
        for first, second in ((0, 1), (2, 9), (13, 14), (4, 15)):
            flash = base.copy()
            for page in (first, second):
                flash.flip(sector * SECTOR + page * PAGE + 40, 3)
            check(flash, held)


@pytest.mark.parametrize("what", ["random", "zeros", "erased", "other journal"])
def test_a_whole_sector_gone(what):
    base, held = build()
    seen_damage = 0
    tail = max(base.numbers().items())[1]
    newest = {key for key in held if where_is(base.copy().mount(), *key)[0] == tail}
    for sector in range(SMALL):
        flash = base.copy()
        data = {
            "random": noise(sector, SECTOR),
            "zeros": bytes(SECTOR),
            "erased": b"\xff" * SECTOR,
            "other journal": layout.pack_prefix(layout.LOG, 77, 3) + noise(1, SECTOR - 16),
        }[what]
        flash.harm(sector * SECTOR, data)
        try:
            different = check(flash, held, newest if sector == tail else None)[2]
        except errors.NotMountable as error:
            assert "nothing was written" in str(error)
            assert what == "other journal"
            continue
        except Exception as error:
            raise AssertionError("sector %d: %r" % (sector, error)) from error
        seen_damage += bool(different)
    assert seen_damage or what == "other journal"


def test_one_damaged_body_does_not_end_a_search():
    flash = Flash(64)
    j = flash.mount()
    j.put(NOTE, b"large", b"SUMMARY:wanted\n" + text(1, 9000))
    j.put(NOTE, b"small", b"SUMMARY:wanted\n")
    j.put(layout.EVENT, b"big event", b"DTSTART:20250101\n" + text(2, 5000))
    j.put(layout.EVENT, b"event", b"DTSTART:20250101\n")
    for sector in flash.segments(layout.BLOB):
        flash.flip(sector * SECTOR + 2000)
    for journal in (j, flash.mount()):
        assert [r.uid for r in journal.find("wanted")] == [b"small"]
        assert [r.uid for r in journal.events_between(b"20250101", b"20250102")] == [b"event"]
        with pytest.raises(errors.Damaged, match="sector"):
            assert journal.get(NOTE, b"large").body
        with pytest.raises(errors.Damaged):
            journal.digest()
        found = findings(journal)
        assert {f["uid"] for f in found if f["kind"] == "blob"} == {b"large", b"big event"}
        assert found[-1]["damaged"] == 2


def test_a_body_whose_blob_is_gone_is_damage():
    flash = Flash(64)
    j = flash.mount()
    j.put(NOTE, b"large", text(1, 9000))
    flash.harm(min(flash.segments(layout.BLOB)) * SECTOR, bytes(SECTOR))
    j = flash.mount()
    with pytest.raises(errors.Damaged):
        assert j.get(NOTE, b"large").body
    with pytest.raises(errors.Damaged):
        j.digest()
    assert list(j.find("quick")) == []
    assert findings(j)[0]["uid"] == b"large"
    j.put(NOTE, b"large", text(2, 9000))
    assert flash.mount().get(NOTE, b"large").body == text(2, 9000)


def test_a_damaged_photo_is_stored_again_and_whole():
    flash = Flash(64)
    j = flash.mount()
    sha = store_blob(j, noise(1, 9000))
    j.put(PHOTO, b"p", b"", [sha])
    for sector in flash.segments(layout.BLOB):
        flash.flip(sector * SECTOR + 100)
    j = flash.mount()
    with pytest.raises(errors.Damaged):
        blob(j, sha)
    assert findings(j)[0]["kind"] == "blob"
    store_blob(j, noise(1, 9000))
    assert blob(j, sha) == noise(1, 9000)
    assert blob(flash.mount(), sha) == noise(1, 9000)


class Raising:
    """A partition as a chip has it: what fails raises OSError."""

    def __init__(self, bdev):
        self._bdev = bdev

    def readblocks(self, *args):
        self._check(self._bdev.readblocks(*args))

    def writeblocks(self, *args):
        self._check(self._bdev.writeblocks(*args))

    def ioctl(self, op, arg):
        result = self._bdev.ioctl(op, arg)
        if op == 6:
            self._check(result)
        return result

    def _check(self, result):
        if result:
            raise OSError(-result)


class ChipFlash(Flash):
    def partition(self):
        return Raising(Flash.partition(self))


@pytest.mark.parametrize(
    ("reported", "kind"), [(True, Flash), (False, Flash), (True, ChipFlash), (False, ChipFlash)]
)
def test_worn_out_sectors_are_left_alone(reported, kind):
    for worn in range(0, SMALL, 2):
        flash = kind(SMALL)
        j = flash.mount()
        held = {}
        for n in range(200):
            if n == 60:
                flash.nor.wear_out(worn * SECTOR, reported)
            uid = b"n%d" % (n % 25)
            j.put(NOTE, uid, text(n, 200))
            held[NOTE, uid] = text(n, 200)
            if n % 70 == 69:
                j = flash.mount()
        assert bodies(j) == held, worn
        assert bodies(flash.mount()) == held


def test_sectors_wear_out_one_after_the_other_until_the_flash_is_full():
    flash = Flash(SMALL)
    j = flash.mount()
    held = {}
    order = list(range(4, SMALL))
    random.Random(3).shuffle(order)
    for n in range(1200):
        if n % 100 == 99 and len(order) > 12:
            flash.nor.wear_out(order.pop() * SECTOR, n % 200 == 99)
        uid = b"n%d" % (n % 20)
        try:
            j.put(NOTE, uid, text(n, 200))
        except errors.NoSpace:
            break
        held[NOTE, uid] = text(n, 200)
    assert n > 600
    assert bodies(j) == held
    assert bodies(flash.mount()) == held


def test_a_chip_that_dies_closes_the_journal():
    """Not one sector after the other is given up then."""
    flash = ChipFlash(SMALL)
    j = flash.mount()
    j.put(NOTE, b"a", b"1")
    flash.nor.cut_at(2, "prefix")
    with pytest.raises(OSError):
        j.put(NOTE, b"b", text(1, 300))
    assert j.stats()["bad_sectors"] == 0
    with pytest.raises(errors.JournalClosed):
        j.delete(NOTE, b"a")
    flash.nor.power_on()
    assert bodies(flash.mount()) == {(NOTE, b"a"): b"1"}


def test_directories_that_cannot_be_read_leave_a_journal_without_new_sectors(monkeypatch):
    """Where no sector is free the files are looked through: their directory may be damaged."""
    flash, held = build(clean=False)
    before = bytes(flash.memory)

    def broken(pool):
        raise OSError(84)

    monkeypatch.setattr(Pool, "_directories", broken)
    monkeypatch.setattr(Pool, "_next", lambda pool, state: -1)
    j = flash.mount()
    assert j.report["read_only"] and bodies(j) == held
    assert bytes(flash.memory) == before


@pytest.mark.parametrize("harm", [b"\xff", b"\0", None])
def test_without_its_file_system_the_journal_goes_on(harm):
    """Both superblocks destroyed: it never formats, and works with the sectors it has."""
    flash, _ = build()
    j = flash.mount()
    for n in range(600):  # until all the sectors there are have been asked for
        j.put(NOTE, b"n%d" % (n % 30), text(n, 150))
    held = bodies(j)
    for sector in (0, 1):
        flash.harm(sector * SECTOR, harm * SECTOR if harm else noise(sector, SECTOR))
    before = bytes(flash.memory[: 2 * SECTOR])
    for turn in range(4):
        j = flash.mount()
        assert "not mountable" in j.report["filesystem"]
        assert j.stats()["filesystem"] == j.report["filesystem"]
        assert not j.report["formatted"]
        assert bodies(j) == held
        for n in range(150):
            j.put(NOTE, b"n%d" % (n % 20), text(n + turn, 180))
            held[NOTE, b"n%d" % (n % 20)] = text(n + turn, 180)
        j.delete(CONTACT, b"c%d" % (2 + turn))
        del held[CONTACT, b"c%d" % (2 + turn)]
        assert findings(j)[-1]["damaged"] == 0
    assert bytes(flash.memory[: 2 * SECTOR]) == before
    with pytest.raises(errors.NoSpace):
        for n in range(1000):
            j.put(NOTE, b"fill%d" % n, text(n, 500))
    assert flash.mount().count() >= len(held)


@pytest.mark.parametrize("clean", (True, False))
def test_a_segment_that_is_gone_is_missed_also_where_a_boot_came_behind_it(clean):
    """The header of the next one, or of the copy of it, says that there was one before."""
    flash = Flash(SMALL)
    j = flash.mount()
    j.put(CONTACT, b"early", text(1, 90))
    for n in range(3):
        j.close()
        j = flash.mount()
        j.put(CONTACT, b"later", text(n, 90))
    gone = min(flash.numbers())
    if clean:
        j.close()
    for _ in range(1 if clean else 3):
        j = flash.mount()
        assert j.report["missing"] == []
        j.put(CONTACT, b"last", text(9, 90))
    for sector, number in sectors(flash):
        if number == gone:
            flash.harm(sector * SECTOR, noise(1, SECTOR))
    j = flash.mount()
    assert j.report["missing"] == [gone] and not j.find_uid(CONTACT, b"early")
    assert {"kind": "missing", "segment": gone} in [
        {name: f.get(name) for name in ("kind", "segment")} for f in findings(j)
    ]


def sectors(flash):
    """(sector, number) of the log segments."""
    for sector in range(SMALL):
        prefix = layout.parse_prefix(flash.memory[sector * SECTOR :][:16])
        if prefix and prefix[1] == layout.LOG:
            yield sector, prefix[3]
