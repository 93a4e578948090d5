"""Newest versions that rot beyond parity: no older one passes for the record, nothing deleted
comes back, and both readers, the journal and the one written from SPEC.md alone, say the same.
"""

import functools
import itertools
import random

import pytest
import spec_reader
from pim_flash import EPOCH, SECTOR, Flash, findings, text, where_is

from drybag import errors, layout, unread
from drybag.layout import CONTACT, NOTE, SETTING
from drybag_host.rig.device import damage

ROW, UNIT = 256, 64
SMALL = 16


@functools.cache
def story(paired):
    """(memory, {key: (body, seq)}): updates, deletions, batches; two segments, shut down."""
    flash = Flash(SMALL)
    j = flash.mount()
    if paired:
        j.set_agreed(0)
    for n in range(10):
        j.put(NOTE, b"n%d" % n, text(n, 30))
    for n in range(4):
        j.put(CONTACT, b"a longer uid %d " % n * 5, text(n, 90))
    for n in range(0, 10, 2):
        j.put(NOTE, b"n%d" % n, text(n + 100, 60 + 60 * (n % 3)))
    for key in ((NOTE, b"n1"), (CONTACT, b"a longer uid 3 " * 5), (NOTE, b"n4")):
        j.delete(*key)
    j.batch([("put", NOTE, b"n%d" % n, text(n + 200, 40 + 70 * (n % 2))) for n in (5, 6)]
            + [("delete", NOTE, b"n9")])  # fmt: skip
    j.put(NOTE, b"n4", b"again")
    j.put(CONTACT, b"a longer uid 0 " * 5, text(300, 400))
    j.put(NOTE, b"n0", text(7, 90))
    for n in range(10, 22):
        j.put(NOTE, b"n%d" % n, text(n, 30))
    j.close()
    assert len(flash.numbers()) == 2
    return bytes(flash.memory), shown(j)


def shown(j):
    return {(r.kind, r.uid): (r.body, r.seq) for r in j.records()}


def as_specified(flash):
    records, _ = spec_reader.read(bytes(flash.memory))
    return {key: (r.body, r.seq) for key, r in records.items()}


def both_agree(flash, places, held):
    """The same from both readers, now and at the next boot; what is known is not passed over."""
    what = damage.harm(flash.memory, places)[0]
    known = damage.named(flash.memory, places)
    wanted = as_specified(flash)
    j = flash.mount()
    got = shown(j)
    assert got == wanted, places
    for key, seq in known.items():
        assert key not in got or got[key][1] > seq, (places, key)
        if key in held and held[key][1] == seq:
            with pytest.raises((errors.Damaged, errors.NotFound)):  # a new record: nobody's
                j.get(*key)
        elif key not in held:
            assert not j.find_uid(*key)
    if got != held and what in (damage.LOG, damage.TAIL):
        assert findings(j)[-1]["damaged"], places
    assert shown(flash.mount()) == got, places
    return got, known


@pytest.mark.parametrize("column", range(4))
def test_two_units_of_one_column(column):
    """All pairs in the first segment, some in the last."""
    rng = random.Random(column)
    hidden = old = 0
    for n, rows in enumerate(itertools.combinations(range(16), 2)):
        memory, held = story(bool(n & 1))
        for number in (1, 2) if n % 8 == 0 else (1,):
            flash = Flash(SMALL, bytearray(memory))
            places, sector = [], flash.numbers()[number]
            for row in rows:
                at = sector * SECTOR + row * ROW + column * UNIT
                byte = rng.randrange(22 if rng.random() < 0.7 else 0, UNIT)
                places.append((at + byte, rng.randrange(8)))
                flash.flip(*places[-1])
            got, known = both_agree(flash, places, held)
            hidden += any(key in held and key not in got for key in known)
            old += any(got[key] != held.get(key) for key in got)
    assert hidden > 8 and old < 2 * hidden  # hits in the same bytes, or without parity in the uid


def test_what_needs_parity_to_be_told():
    """A header that rotted, and a uid that did, is read from the other units where that helps."""
    for hits in ((3, 40), (25, 60), (23, 2)):
        memory, held = story(False)
        flash = Flash(SMALL, bytearray(memory))
        sector, at = where_is(flash.copy().mount(), NOTE, b"n2")
        assert at % ROW < 3 * UNIT
        flash.flip(sector * SECTOR + at + hits[0], 4)
        other = (at // ROW + 5) % 15 or 1
        flash.flip(sector * SECTOR + other * ROW + at % ROW // UNIT * UNIT + hits[1])
        assert as_specified(flash).get((NOTE, b"n2")) is None
        with pytest.raises(errors.Damaged):
            flash.mount().get(NOTE, b"n2")


def rotten(key=(NOTE, b"a"), paired=False, delete=False, batch=False):
    """A flash on which the newest version of `key` rotted, or its tombstone."""
    flash = Flash(24)
    j = flash.mount()
    if paired:
        j.set_agreed(0)
    j.put(*key, b"old")
    for n in range(30):
        j.put(NOTE, b"x%d" % n, text(n, 60))
    before = j._log.writer.number << 6 | j._log.writer.position
    if delete:
        op = ("delete", *key)
    else:
        op = ("put", *key, text(5, 110))
    if batch:
        j.batch([("put", NOTE, b"b1", b"1"), op, ("put", NOTE, b"b2", b"2")])
        before += 1
    elif delete:
        j.delete(*key)
    else:
        j.put(*op[1:])
    for n in range(60):
        j.put(NOTE, b"y%d" % n, text(n, 60))
    j.close()
    at = j._log.sectors[before >> 6] * SECTOR + layout.unit_offset(before & 63)
    entry = layout.Entry(EPOCH)
    assert entry.parse(flash.memory[at : at + UNIT]) and entry.kind == key[0]
    flash.flip(at + 22 + len(key[1]) + 4 if not delete else at + 19, 3)
    if delete:  # no body: its uid is spared if the whole CRC is what rotted
        layout_fix(flash, at)
    row = (at % SECTOR // ROW + 3) % 15
    flash.flip(at - at % SECTOR + row * ROW + at % ROW + (18 if delete else 60), 1)
    return flash


def layout_fix(flash, at):
    """The header's CRC is right: what was written had this whole CRC."""
    from binascii import crc32

    head = flash.memory[at : at + 22]
    low = crc32(head[4:22], crc32(head[0:2], EPOCH)) & 0xFFFF
    flash.harm(at + 2, low.to_bytes(2, "little"))


@pytest.mark.parametrize("batch", [False, True])
def test_a_version_that_cannot_be_read_is_the_live_one(batch):
    flash = rotten(batch=batch)
    assert (NOTE, b"a") not in as_specified(flash)
    j = flash.mount()
    with pytest.raises(errors.Damaged):
        j.get(NOTE, b"a")
    assert j.find_uid(NOTE, b"a") and j.seq_of(NOTE, b"a") > 1
    assert b"a" not in [r.uid for r in j.records()]
    assert b"a" not in [r.uid for _, r in j.changes(0)]
    assert b"a" not in [r.uid for r in j.unsent(0, 1000)]
    assert [r.body for r in j.history(NOTE, b"a")] == [b"old"]
    assert (b"b2" in [r.uid for r in j.records()]) == batch
    with pytest.raises(errors.Damaged):
        j.digest()
    said = [f for f in findings(j) if f["kind"] == "record"]
    assert [(f["record_kind"], f["uid"]) for f in said] == [(NOTE, b"a")]
    place = said[0]["sector"], said[0]["offset"]
    assert place in j.report["damaged"]
    assert not [f for f in findings(j) if f["kind"] == "unreadable" and f["offset"] == place[1]]
    j.put(NOTE, b"a", b"new")
    for k in (j, flash.mount()):
        assert k.get(NOTE, b"a").body == b"new"
    assert as_specified(flash)[NOTE, b"a"][0] == b"new"


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("batch", [False, True])
def test_a_tombstone_that_cannot_be_read_keeps_its_record_deleted(paired, batch):
    flash = rotten(paired=paired, delete=True, batch=batch)
    assert (NOTE, b"a") not in as_specified(flash)
    j = flash.mount()
    if paired:
        j.set_agreed(0)
    with pytest.raises(errors.NotFound):
        j.get(NOTE, b"a")
    assert b"a" not in [r.uid for r in j.records()]
    assert b"a" not in [r.uid for r in j.unsent(0, 1000)]
    assert findings(j)[-1]["damaged"]
    j.undelete(NOTE, b"a")
    assert flash.mount().get(NOTE, b"a").body == b"old"


def test_a_setting_is_no_other():
    flash = rotten((SETTING, b"wifi"))
    j = flash.mount()
    with pytest.raises(errors.Damaged):
        j.get(SETTING, b"wifi")
    assert "wifi" not in str(findings(j))


@pytest.mark.parametrize("delete", [False, True])
def test_it_can_be_deleted_and_compaction_does_not_bring_it_back(delete):
    flash = rotten()
    j = flash.mount()
    if delete:
        j.delete(NOTE, b"a")
    for n in range(900):
        j.put(NOTE, b"y%d" % (n % 30), text(n, 200))
        if n % 100 == 0:
            k = flash.copy().mount()
            assert b"a" not in [r.uid for r in k.records()]
            assert (NOTE, b"a") not in as_specified(flash)
    assert j._log.first > 3
    assert bool(j.stats()["lost_records"]) != delete
    assert not flash.mount().find_uid(NOTE, b"a")


def test_an_entry_that_the_flash_did_not_take_is_no_version():
    """Its header reads, but its seq was never used up: the next header says so."""
    flash = Flash(SMALL)
    j = flash.mount()
    j.put(NOTE, b"a", b"old")
    j.put(NOTE, b"b", text(1, 300))
    log = j._log
    units = layout.pack_entry(log.scratch, log.epoch, layout.OP_PUT, log.next_seq, 0, NOTE, b"a",
                              text(2, 100), rev=2)  # fmt: skip
    log.scratch[50] ^= 1
    assert log.writer.append(log.scratch, units) > 0
    log.open_segment()  # and there the power goes
    for _ in range(3):
        assert as_specified(flash)[NOTE, b"a"][0] == b"old"
        j = flash.mount()
        assert j.get(NOTE, b"a").body == b"old"
        j.put(NOTE, b"c", b"more")
    j.put(NOTE, b"a", b"new")
    assert flash.mount().get(NOTE, b"a").body == b"new"


def test_whose_it_is_must_be_sure():
    """A uid that rotted into that of another record, whose rev does not fit, hides nothing; what
    is nobody's is told with kind and seq."""
    flash = Flash(SMALL)
    j = flash.mount()
    for n in range(3):
        j.put(NOTE, b"n0", text(n, 20))
    j.put(NOTE, b"n1", text(3, 20))
    j.put(NOTE, b"n1", text(4, 20))
    sector, at = where_is(j, NOTE, b"n1")
    for n in range(60):
        j.put(NOTE, b"y%d" % n, text(n, 60))
    j.close()
    flash.flip(sector * SECTOR + at + 23)  # n1 is n0 now
    flash.flip(sector * SECTOR + 14 * ROW + at % ROW + 23)
    j = flash.mount()
    assert shown(j) == as_specified(flash)
    assert j.get(NOTE, b"n0").seq == 3 and j.get(NOTE, b"n1").seq == 4
    said = [f for f in findings(j) if f["kind"] == "unreadable" and f["offset"] == at]
    assert said[0]["seq"] == 5 and "note" in said[0]["problem"]


def test_a_journal_full_of_such_entries_boots():
    """Each unit of the body of all that was written: as many as there can be."""
    flash = Flash(SMALL)
    j = flash.mount()
    for n in range(300):
        j.put(NOTE, b"n%d" % (n % 40), text(n, 30))
    j.close()
    tail = max(flash.numbers().values())
    for sector in flash.numbers().values():
        for position in range(1, 64):
            at = sector * SECTOR + layout.unit_offset(position)
            if sector != tail and flash.memory[at] == layout.ENTRY_MAGIC:
                flash.flip(at + 40)
    j = flash.mount()
    assert shown(j) == as_specified(flash)
    assert len(j._log.damaged) == 32 == len(j._log.unread)
    j.put(NOTE, b"n1", b"new")
    assert flash.mount().get(NOTE, b"n1").body == b"new"


def test_an_image_is_left_as_it_was():
    memory, _ = story(False)
    sector = min(Flash(SMALL, bytearray(memory)).numbers().values())
    image = bytearray(memory[sector * SECTOR : (sector + 1) * SECTOR])
    for position in range(1, 64):
        before = bytes(image)
        unread.shown(image, position, EPOCH)
        assert image == before


@pytest.mark.parametrize("op", [layout.OP_PUT, layout.OP_SEAL, layout.OP_DELETE, layout.OP_COMMIT])
def test_a_made_up_entry_with_the_number_that_is_never_given_is_none(op):
    flash = Flash(SMALL)
    j = flash.mount()
    j.put(NOTE, b"a", b"old")
    log = j._log
    kind, uid = (NOTE, b"a") if op in (layout.OP_PUT, layout.OP_DELETE) else (0, b"")
    last = layout.MAX_SEQ
    log.append(layout.pack_entry(log.scratch, log.epoch, op, last, 0, kind, uid, b"bad!"))
    j.put(NOTE, b"b", b"behind it")
    for _ in range(3):
        j = flash.mount()
        assert shown(j) == as_specified(flash)
        assert j.get(NOTE, b"a").body == b"old" and j.get(NOTE, b"b").body == b"behind it"
        j.put(NOTE, b"c", b"more")


def test_the_last_entry_of_a_segment_stays_unread_from_boot_to_boot():
    """Only the next header tells it from one that the flash did not take, and boots copy that."""
    flash = Flash(SMALL)
    j = flash.mount()
    for n in range(3):
        j.put(NOTE, b"a", text(n, 30))
    while j._log.writer.left() > 3:
        j.put(NOTE, b"b", text(1, 10))
    while j._log.writer.left():
        j.put(NOTE, b"a", text(9, 20))
    sector, at = where_is(j, NOTE, b"a")
    j.put(NOTE, b"c", b"in the next segment")
    flash.flip(sector * SECTOR + at + 30)  # the last column has no parity
    for n in range(4):
        assert (NOTE, b"a") not in as_specified(flash)
        j = flash.mount()
        with pytest.raises(errors.Damaged):
            j.get(NOTE, b"a")
        j.put(NOTE, b"d", text(n, 50))
