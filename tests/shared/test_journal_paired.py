"""What the hub sync stands on: bases, pending tombstones, what is unsent."""

from zlib import crc32

import pytest
from pim_flash import Flash, bodies, colliding, findings, store_blob, text, where_is

from drybag import errors, layout
from drybag.layout import CONTACT, NOTE, SETTING, content_id


@pytest.fixture
def flash():
    return Flash(24)


def paired(flash, agreed=0):
    j = flash.mount()
    j.set_agreed(agreed)
    return j


def unsent(j, after=None, limit=10000):
    after = j.agreed if after is None else after
    found = [(r.kind, r.uid, r.seq, r.deleted, r.base) for r in j.unsent(after, limit)]
    if limit == 10000:
        assert j.unsent_count(after) == len(found)
    assert [f[2] for f in found] == sorted(f[2] for f in found)
    return found


def pending(j):
    """{uid: base} of the pending tombstones."""
    return {uid: base for _, uid, _, deleted, base in unsent(j) if deleted}


def churn(j, turns, live=8, size=250):
    """Puts until the log has turned over; the hub learns of them all but not of deletions."""
    for n in range(turns):
        j.put(CONTACT, b"churn%d" % (n % live), text(n, size))


# --- content ids and bases -----------------------------------------------------------------------


def test_content_id_is_as_specified():
    shas = (b"\1" * 32, b"\2" * 32)
    want = crc32((7).to_bytes(4, "little") + b"\1" * 32 + b"\2" * 32 + b"body")
    assert content_id(7, shas, b"body") == content_id(7, shas, [b"bo", memoryview(b"dy")]) == want
    assert content_id(0, (), b"") == crc32(bytes(4))
    body = next(b for b in (crc_to_zero(n) for n in range(4)) if crc32(bytes(4) + b) == 0)
    assert content_id(0, (), body) == 1


def crc_to_zero(n):
    """Four bytes that bring CRC32 of four zero bytes to 0, found by its linearity."""
    want = crc32(bytes(8))
    basis = [crc32(bytes(4) + (1 << i).to_bytes(4, "little")) ^ want for i in range(32)]
    rows = [(basis[i], 1 << i) for i in range(32)]
    answer = 0
    for bit in range(31, -1, -1):
        pivot = next(r for r in rows if r[0] >> bit & 1)
        rows = [(r[0] ^ pivot[0], r[1] ^ pivot[1]) if r[0] >> bit & 1 else r
                for r in rows if r is not pivot]  # fmt: skip
        if want >> bit & 1:
            want, answer = want ^ pivot[0], answer ^ pivot[1]
    return answer.to_bytes(4, "little") if n == 0 else bytes(4)


def test_without_a_hub_nothing_bears_a_base(flash):
    j = flash.mount()
    assert j.agreed == -1
    j.put(NOTE, b"x", b"1")
    j.put(NOTE, b"x", b"2")
    j.delete(NOTE, b"x")
    assert [v.base for v in j.history(NOTE, b"x")] == [0, 0, 0]
    assert unsent(j, 0) == []
    other = Flash(24)
    k = paired(other)
    k.put(NOTE, b"x", b"1", from_hub=True)
    k.put(NOTE, b"x", b"2", from_hub=True)
    k.delete(NOTE, b"x", from_hub=True)
    assert other.memory == flash.memory


def test_an_edit_bears_the_content_id_of_what_was_agreed(flash):
    j = paired(flash)
    sha = store_blob(j, b"picture")
    first = j.put(NOTE, b"x", b"one", [sha], 9)
    assert j.get(NOTE, b"x").base == 0  # new
    j.put(NOTE, b"x", b"two", [sha])
    assert j.get(NOTE, b"x").base == 0  # the hub has not even the first
    j.set_agreed(first)  # late: of a version that is gone
    j.put(NOTE, b"x", b"three", [sha])
    assert j.get(NOTE, b"x").base == 0
    j.set_agreed(j.last_seq)
    want = content_id(0, [sha], b"three")
    for body in (b"four", b"five"):
        j.put(NOTE, b"x", body, [sha], 4)
        assert j.get(NOTE, b"x").base == want
    j = paired(flash, j.agreed)
    j.put(NOTE, b"x", b"six", [sha], 4)
    assert j.get(NOTE, b"x").base == want
    j.set_agreed(j.last_seq)
    j.put(NOTE, b"x", b"seven")
    assert j.get(NOTE, b"x").base == content_id(4, [sha], b"six")
    assert [r.base for _, r in j.changes(0)] == [content_id(4, [sha], b"six")]
    assert [v.body for v in j.history(NOTE, b"x")][0] == b"seven"


def test_what_was_sent_and_not_acknowledged_is_the_base_of_what_follows(flash):
    j = paired(flash)
    j.put(NOTE, b"x", b"one")
    j.put(NOTE, b"y", b"one")
    j.note_sent(j.last_seq - 1)
    j.delete(NOTE, b"x")
    j.put(NOTE, b"y", b"two")
    want = content_id(0, (), b"one")
    assert pending(j) == {b"x": want} and j.get(NOTE, b"y").base == 0
    j = paired(flash)  # who knows what was sent before
    j.put(NOTE, b"x", b"again")
    j.delete(NOTE, b"y")
    assert j.get(NOTE, b"x").base == want
    assert pending(j) == {b"y": content_id(0, (), b"two")}
    j.set_agreed(j.last_seq)
    j.put(NOTE, b"z", b"one", from_hub=True)
    j.set_agreed(j.last_seq)
    j.set_agreed(0)  # the hub was set back: it had this all the same
    j.put(NOTE, b"z", b"two")
    assert j.get(NOTE, b"z").base == want


def test_a_large_body_is_its_own_and_not_its_blobs_name(flash):
    j = paired(flash)
    sha = store_blob(j, b"picture")
    j.put(NOTE, b"big", text(1, 9000), [sha])
    j.set_agreed(j.last_seq)
    j.put(NOTE, b"big", text(2, 5000), [sha], 3)
    assert j.get(NOTE, b"big").base == content_id(0, [sha], text(1, 9000))
    record = j.get(NOTE, b"big")
    assert (record.body, record.parent, record.blobs) == (text(2, 5000), 3, (sha,))
    j.set_agreed(j.last_seq)
    j.delete(NOTE, b"big")
    assert pending(j) == {b"big": content_id(3, [sha], text(2, 5000))}


@pytest.mark.parametrize("size", range(1495, 1520))
def test_the_longest_bodies_have_room_for_the_base(flash, size):
    j = paired(flash)
    for n in range(3):
        j.put(NOTE, b"edge", text(n, size), (), n)
        j.set_agreed(j.last_seq)
        assert j.batch([("put", NOTE, b"edge", text(9, size), (), n)]) == j.last_seq - 1
    assert j.get(NOTE, b"edge").body == text(9, size)
    assert bodies(flash.mount()) == {(NOTE, b"edge"): text(9, size)}


def test_a_damaged_version_gives_no_base_and_does_not_stop_the_put(flash):
    j = paired(flash)
    j.put(NOTE, b"big", text(1, 5000))
    j.set_agreed(j.last_seq)
    for sector in flash.segments(layout.BLOB):
        flash.flip(sector * 4096 + 200)
    j.put(NOTE, b"big", b"new")
    assert (j.get(NOTE, b"big").body, j.get(NOTE, b"big").base) == (b"new", 0)


def test_batches_bear_bases_too(flash):
    j = paired(flash)
    j.put(NOTE, b"a", b"a1")
    j.put(NOTE, b"b", b"b1")
    j.set_agreed(j.last_seq)
    j.batch([("put", NOTE, b"a", b"a2"), ("put", NOTE, b"a", b"a3"), ("delete", NOTE, b"b"),
             ("put", NOTE, b"new", b"n"), ("put", SETTING, b"sync", b"s")])  # fmt: skip
    for journal in (j, paired(flash, j.agreed)):
        assert journal.get(NOTE, b"a").base == content_id(0, (), b"a1")
        assert journal.get(NOTE, b"new").base == 0
        assert pending(journal) == {b"b": content_id(0, (), b"b1")}
        assert journal.get(SETTING, b"sync").base == 0
    before = j.last_seq
    j = paired(flash, j.agreed)
    seq = j.batch([("put", NOTE, b"a", b"hub"), ("delete", NOTE, b"new")], from_hub=True)
    assert j.get(NOTE, b"a").base == 0 and set(pending(j)) == {b"b"}
    assert before < seq - 1


# --- pending tombstones --------------------------------------------------------------------------


def test_a_deletion_lasts_until_the_hub_has_it(flash):
    j = paired(flash)
    for n in range(12):
        j.put(NOTE, b"n%d" % n, text(n, 150))
    j.set_agreed(j.last_seq)
    want = {}
    for n in range(12):
        want[b"n%d" % n] = content_id(0, (), text(n, 150))
        j.delete(NOTE, b"n%d" % n)
    for turn in range(10):
        churn(j, 150)
        if turn % 3 == 1:
            j.checkpoint()
        if turn % 2:
            if turn % 4 == 1:
                j.close()
            j = paired(flash, j.agreed)
        assert pending(j) == want
        assert j.count() == 8 and j.digest()[0] == 8 and j.count(NOTE) == 0
        assert findings(j)[-1]["damaged"] == 0
        assert {r.uid for r in j.records()} == {b"churn%d" % n for n in range(8)}
    assert j.history(NOTE, b"n0")[0].deleted
    free = j.free_bytes()
    j.set_agreed(j.last_seq)
    assert not pending(j) and j.free_bytes() >= free
    churn(j, 400)
    assert j.history(NOTE, b"n0") == []
    assert not any(r.deleted for _, r in j.changes(0))


def test_part_of_the_deletions_is_acknowledged(flash):
    j = paired(flash)
    for n in range(9):
        j.put(NOTE, b"n%d" % n, b"")
    j.set_agreed(j.last_seq)
    seqs = [j.delete(NOTE, b"n%d" % n) for n in range(9)]
    j.set_agreed(seqs[4])
    assert list(pending(j)) == [b"n%d" % n for n in range(5, 9)]
    churn(j, 600)
    j = paired(flash, j.agreed)
    assert list(pending(j)) == [b"n%d" % n for n in range(5, 9)]


def test_a_record_put_again_takes_the_place_and_the_base_of_its_tombstone(flash):
    j = paired(flash)
    j.put(NOTE, b"x", b"agreed")
    j.set_agreed(j.last_seq)
    j.delete(NOTE, b"x")
    churn(j, 600)
    seq = j.put(NOTE, b"x", b"again")
    base = content_id(0, (), b"agreed")
    for journal in (j, paired(flash, j.agreed)):
        assert not pending(journal)
        assert journal.get(NOTE, b"x").base == base and journal.get(NOTE, b"x").rev == 1
        assert (NOTE, b"x", seq, False, base) in unsent(journal)
    j = paired(flash, j.agreed)
    j.delete(NOTE, b"x")
    assert pending(j) == {b"x": base}
    churn(j, 600)
    assert pending(paired(flash, j.agreed)) == {b"x": base}
    j = paired(flash, j.agreed)
    seq = j.put(NOTE, b"x", b"again")
    j.delete(NOTE, b"x")
    j.undelete(NOTE, b"x")
    assert j.get(NOTE, b"x").body == b"again" and j.get(NOTE, b"x").base == base
    j.delete(NOTE, b"x")
    j.put(NOTE, b"x", b"hub's", from_hub=True)
    assert not pending(j) and j.get(NOTE, b"x").base == 0


def test_what_the_hub_deleted_is_not_told_to_it(flash):
    j = paired(flash)
    j.put(NOTE, b"x", b"1")
    j.put(NOTE, b"y", b"1")
    j.set_agreed(j.last_seq)
    j.delete(NOTE, b"x", from_hub=True)
    j.delete(NOTE, b"y")
    assert set(pending(j)) == {b"y"}
    assert set(pending(paired(flash, j.agreed))) == {b"y"}
    assert {r.uid for _, r in j.changes(0) if r.deleted} == {b"x", b"y"}  # a pull hears of both


def test_who_never_says_what_is_agreed_keeps_none(flash):
    j = paired(flash)
    j.put(NOTE, b"x", b"1")
    j.delete(NOTE, b"x")
    j = flash.mount()
    assert j.count() == 0 and unsent(j, 0) == [(NOTE, b"x", 2, True, 0)]
    churn(j, 600)
    assert not [u for u in unsent(j, 0) if u[3]] and j.history(NOTE, b"x") == []
    j = paired(flash)
    j.delete(CONTACT, b"churn0")
    j.set_agreed(-1)
    assert not [u for u in unsent(j, 0) if u[3]]


def test_records_with_one_hash_are_told_apart_from_pending_tombstones(flash):
    uids = colliding(3, NOTE)
    j = paired(flash)
    j.put(NOTE, uids[0], b"0")
    j.delete(NOTE, uids[0])
    j.put(NOTE, uids[1], b"1")
    for _ in range(3):
        assert set(pending(j)) == {uids[0]} and j.get(NOTE, uids[1]).body == b"1"
        churn(j, 300)
        j = paired(flash)
    j.put(NOTE, uids[0], b"again")
    j.put(NOTE, uids[2], b"2")
    j.delete(NOTE, uids[1])
    for _ in range(3):
        assert set(pending(j)) == {uids[1]}
        assert bodies(j, NOTE) == {(NOTE, uids[0]): b"again", (NOTE, uids[2]): b"2"}
        churn(j, 300)
        j = paired(flash)


def test_salts_of_acknowledged_tombstones_are_used_again(flash):
    uids = colliding(2, NOTE)
    j = paired(flash)
    j.put(NOTE, uids[0], b"0")
    j.delete(NOTE, uids[0])
    j.set_agreed(j.last_seq)
    j.put(NOTE, uids[1], b"1")
    j.delete(NOTE, uids[1])
    j.set_agreed(j.last_seq)
    for n in range(6):
        j.put(NOTE, uids[n % 2], b"%d" % n)
        j = paired(flash, j.agreed)
    assert bodies(j) == {(NOTE, uids[0]): b"4", (NOTE, uids[1]): b"5"}


def test_a_full_flash_takes_deletions_that_must_last():
    flash = Flash(20)
    j = paired(flash)
    uids = []
    with pytest.raises(errors.NoSpace):
        for n in range(100000):
            uid = b"%038d" % n  # with a base a tombstone would be longer than such a record
            j.put(NOTE, uid, b"" if n % 2 else text(n, 60))
            uids.append(uid)
    j.set_agreed(j.last_seq)
    for n, uid in enumerate(uids):
        j.delete(NOTE, uid)
        if n % 100 == 99:
            j = paired(flash, j.agreed)
    assert set(pending(j)) == set(uids) and j.count() == 0
    assert any(pending(j).values())
    j.set_agreed(j.last_seq)
    j.put(NOTE, b"room", text(1, 1400))


def test_settings_can_be_kept_up_to_date_on_a_full_flash():
    flash = Flash(20)
    j = paired(flash)
    j.put(SETTING, b"sync", b"0" * 80)
    with pytest.raises(errors.NoSpace):
        for n in range(100000):
            j.put(NOTE, b"%d" % n, text(n, 60))
    for n in range(500):
        j.put(SETTING, b"sync", b"%080d" % n)
    assert flash.mount().get(SETTING, b"sync").body == b"%080d" % 499
    with pytest.raises(errors.NoSpace):
        for n in range(1000):
            j.put(SETTING, b"new%d" % n, b"")


def test_a_hub_that_was_set_back_is_told_again_what_the_log_still_has(flash):
    j = paired(flash)
    for n in range(6):
        j.put(NOTE, b"n%d" % n, b"%d" % n)
    early = j.last_seq
    j.set_agreed(early)
    for n in range(4):
        j.delete(NOTE, b"n%d" % n)
    j.put(NOTE, b"n3", b"again")
    j.delete(NOTE, b"n4", from_hub=True)
    j.delete(NOTE, b"n5")
    j.put(NOTE, b"n5", b"again")
    j.delete(NOTE, b"n5", from_hub=True)
    j.set_agreed(j.last_seq)
    assert unsent(j) == []
    j = paired(flash, j.last_seq)
    j.set_agreed(early)
    assert set(pending(j)) == {b"n0", b"n1", b"n2"} == set(pending(paired(flash, early)))
    j = paired(flash, early)
    assert [u[1] for u in unsent(j)] == [b"n0", b"n1", b"n2", b"n3"]
    churn(j, 500)
    assert set(pending(paired(flash, early))) == {b"n0", b"n1", b"n2"}


# --- unsent -----------------------------------------------------------------------------------


def test_unsent_comes_by_seq_and_in_portions(flash):
    j = paired(flash)
    order = {}
    for n in range(300):
        uid = b"n%d" % (n * n % 71)
        if n % 7 == 3 and j.seq_of(NOTE, uid):
            order[uid] = j.delete(NOTE, uid), True
        else:
            order[uid] = j.put(NOTE, uid, text(n, n % 90)), False
        j.put(SETTING, b"sync", b"%d" % n)
    want = sorted((seq, uid, deleted) for uid, (seq, deleted) in order.items())
    assert [(s, u, d) for _, u, s, d, _ in unsent(j)] == want
    assert j.unsent_count(want[10][0]) == len(want) - 11
    after, got = 0, []
    while part := list(j.unsent(after, 9)):
        assert len(part) <= 9
        got += [(r.seq, r.uid, r.deleted) for r in part]
        after = part[-1].seq
    assert got == want
    assert list(j.unsent(0, 0)) == [] == list(j.unsent(j.last_seq, 9))
    by_seq = {r.seq: r.body for r in j.unsent(0, 1000)}
    assert all(by_seq[seq] == j.get(NOTE, uid).body for seq, uid, gone in want if not gone)


def test_unsent_goes_on_while_the_journal_is_used(flash):
    j = paired(flash)
    for n in range(40):
        j.put(NOTE, b"n%d" % n, text(n, 100))
    j.delete(NOTE, b"n5")
    got = []
    for n, record in enumerate(j.unsent(0, 1000)):
        got.append(record.uid)
        churn(j, 30)  # moves whole segments
        if n == 2:
            j.put(NOTE, b"n20", b"changed meanwhile")
            j.delete(NOTE, b"n21")
    assert got == [b"n%d" % n for n in range(40) if n not in (5, 20, 21)] + [b"n5"]


def test_unsent_leaves_out_what_is_damaged_and_goes_on(flash):
    j = paired(flash)
    for n in range(60):
        j.put(NOTE, b"n%d" % n, text(n, 100))
    sector, offset = where_is(j, NOTE, b"n50")
    for unit in (offset, offset + 256):  # two pages: no parity brings them back
        flash.harm(sector * 4096 + unit, bytes(64))
    got = [r.uid for r in j.unsent(0, 1000)]
    assert len(got) == 59 and b"n50" not in got and j.unsent_count(0) == 60
    assert [r.uid for r in j.unsent(50, 1)] == [b"n51"]
