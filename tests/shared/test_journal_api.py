"""The journal's calls, one by one: what they return, what they refuse, what a reboot keeps."""

import pytest
from pim_flash import Clock, Flash, bodies, colliding, digest_of, text

from drybag import errors, layout
from drybag.layout import CALENDAR, CONTACT, EVENT, NOTE, PHOTO, TODO

KINDS = (CONTACT, EVENT, TODO, NOTE, PHOTO, CALENDAR)
ADA = "VERSION:3.0\nFN:Ada Łovelace\nN:Łovelace;Ada;;;\nTEL:+44 (0)20 7946 0123\n".encode()
JOSE = "VERSION:3.0\nFN:José Ñuñez\nEMAIL:jose@acme.example\nORG:ACME\\, Inc.\n".encode()


# --- put, get, update, delete ------------------------------------------------------------------


def test_a_new_partition_is_formatted_and_says_so(flash):
    j = flash.mount()
    assert j.report["formatted"] and j.count() == 0 and j.last_seq == 0
    assert not flash.mount().report["formatted"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_put_is_what_one_gets(flash, j, kind):
    body = bytes(range(256)) * 3
    seq = j.put(kind, b"a uid", body, (), 77)
    for journal in (j, flash.copy().mount()):
        record = journal.get(kind, b"a uid")
        assert (record.kind, record.uid, record.body) == (kind, b"a uid", body)
        assert (record.seq, record.rev, record.parent, record.deleted) == (seq, 1, 77, False)
        assert record.body_size == len(body) and record.blobs == ()
        assert journal.seq_of(kind, b"a uid") == seq


def test_the_same_uid_in_each_kind_is_another_record(flash, j):
    for kind in KINDS:
        j.put(kind, b"same", b"%d" % kind)
    j.delete(TODO, b"same")
    for journal in (j, flash.copy().mount()):
        assert bodies(journal) == {(k, b"same"): b"%d" % k for k in KINDS if k != TODO}
        assert [journal.count(kind) for kind in KINDS] == [1, 1, 0, 1, 1, 1]


def test_a_newer_version_replaces_and_counts(flash, j):
    seqs = [j.put(CONTACT, b"x", b"%d" % n) for n in range(5)]
    seqs.append(j.update(CONTACT, b"x", b"last"))
    assert seqs == sorted(set(seqs))
    for journal in (j, flash.copy().mount()):
        assert journal.get(CONTACT, b"x").body == b"last"
        assert journal.get(CONTACT, b"x").rev == 6
        assert journal.count() == 1


def test_update_and_delete_want_a_record_that_is_there(j):
    j.put(NOTE, b"x", b"")
    for call in (j.get, j.delete, lambda k, u: j.update(k, u, b"")):
        with pytest.raises(errors.NotFound, match="contact x"):
            call(CONTACT, b"x")
    j.delete(NOTE, b"x")
    for call in (j.get, j.delete, lambda k, u: j.update(k, u, b"")):
        with pytest.raises(errors.NotFound, match="note x"):
            call(NOTE, b"x")
    assert j.count() == 0 and j.seq_of(NOTE, b"x") == 0


def test_nothing_deleted_comes_back(flash, j):
    for n in range(30):
        j.put(NOTE, b"n%d" % n, text(n, 50))
    for n in range(0, 30, 2):
        j.delete(NOTE, b"n%d" % n)
    want = {(NOTE, b"n%d" % n): text(n, 50) for n in range(1, 30, 2)}
    assert bodies(j) == want
    assert bodies(flash.mount()) == want
    assert bodies(flash.mount()) == want


def test_uids_with_one_hash_are_different_records(flash, j):
    uids = colliding(3)
    for n, uid in enumerate(uids):
        j.put(CONTACT, uid, b"%d" % n)
    j.delete(CONTACT, uids[0])
    j.put(CONTACT, uids[2], b"again")
    for journal in (j, flash.copy().mount()):
        assert bodies(journal) == {(CONTACT, uids[1]): b"1", (CONTACT, uids[2]): b"again"}
        assert journal.get(CONTACT, uids[2]).rev == 2
        with pytest.raises(errors.NotFound):
            journal.get(CONTACT, uids[0])
    j.put(CONTACT, uids[0], b"back")
    assert [flash.mount().get(CONTACT, uid).body for uid in uids] == [b"back", b"1", b"again"]


def test_uids_with_one_hash_are_found_after_a_checkpoint(flash, j):
    uids = colliding(2)
    for uid in uids:
        j.put(CONTACT, uid, uid)
    j.checkpoint()
    j = flash.mount()
    assert j.report["checkpoint"]
    assert [j.get(CONTACT, uid).body for uid in uids] == uids
    j.put(CONTACT, uids[1], b"new")
    assert j.get(CONTACT, uids[1]).rev == 2
    assert flash.mount().count() == 2


def test_more_records_than_salts_with_one_hash_are_refused_by_name(j, monkeypatch):
    from drybag import journal, log

    for module in (journal, log):
        monkeypatch.setattr(module, "key_hash", lambda kind, uid, salt=0: salt << 10)
    for n in range(4):
        j.put(CONTACT, b"%d" % n, b"%d" % n)
    with pytest.raises(errors.Damaged, match="another uid"):
        j.put(CONTACT, b"fifth", b"")
    assert [j.get(CONTACT, b"%d" % n).body for n in range(4)] == [b"0", b"1", b"2", b"3"]


# --- undelete and history -----------------------------------------------------------------------


def test_undelete_puts_the_last_version_back(flash, j):
    j.put(NOTE, b"x", b"old", (), 3)
    j.put(NOTE, b"x", b"newer", (), 4)
    deleted = j.delete(NOTE, b"x")
    seq = j.undelete(NOTE, b"x")
    assert seq > deleted
    record = flash.mount().get(NOTE, b"x")
    assert (record.body, record.parent, record.seq) == (b"newer", 4, seq)


def test_undelete_refuses_what_is_not_deleted_or_never_was(j):
    j.put(NOTE, b"x", b"")
    with pytest.raises(errors.BadInput, match="not deleted"):
        j.undelete(NOTE, b"x")
    with pytest.raises(errors.NotFound, match="older version"):
        j.undelete(NOTE, b"y")


def test_undelete_ends_with_compaction():
    flash = Flash(18)
    j = flash.mount()
    j.put(NOTE, b"x", b"gone soon")
    j.delete(NOTE, b"x")
    for n in range(1500):
        j.put(NOTE, b"n%d" % (n % 10), text(n, 200))
    with pytest.raises(errors.NotFound, match="older version"):
        j.undelete(NOTE, b"x")
    assert j.history(NOTE, b"x") == []


def test_history_is_newest_first_with_tombstones(flash, j):
    j.put(NOTE, b"x", b"1")
    j.put(NOTE, b"y", b"other")
    j.put(NOTE, b"x", b"2")
    j.delete(NOTE, b"x")
    j.put(NOTE, b"x", b"3")
    for journal in (j, flash.copy().mount()):
        versions = journal.history(NOTE, b"x")
        assert [(v.body, v.deleted) for v in versions] == [
            (b"3", False), (b"", True), (b"2", False), (b"1", False)]  # fmt: skip
        assert [v.seq for v in versions] == sorted((v.seq for v in versions), reverse=True)
    assert j.history(NOTE, b"nobody") == []


# --- batch --------------------------------------------------------------------------------------


def test_a_batch_is_there_whole(flash, j):
    j.put(NOTE, b"gone", b"")
    j.put(NOTE, b"kept", b"old")
    last = j.batch([
        ("put", CONTACT, b"a", b"A"),
        ("delete", NOTE, b"gone"),
        ("put", NOTE, b"kept", b"new", (), 9),
        ("put", NOTE, b"big", text(1, 5000)),
    ])  # fmt: skip
    want = {(CONTACT, b"a"): b"A", (NOTE, b"kept"): b"new", (NOTE, b"big"): text(1, 5000)}
    assert j.get(NOTE, b"big").seq == last and j.get(NOTE, b"kept").parent == 9
    assert bodies(j) == want
    assert bodies(flash.mount()) == want


def test_the_last_of_several_operations_on_one_record_counts(flash, j):
    j.put(NOTE, b"was", b"")
    j.batch([
        ("put", NOTE, b"x", b"1"), ("put", NOTE, b"x", b"2"),
        ("delete", NOTE, b"was"), ("put", NOTE, b"was", b"again"),
    ])  # fmt: skip
    for journal in (j, flash.copy().mount()):
        assert bodies(journal) == {(NOTE, b"x"): b"2", (NOTE, b"was"): b"again"}


def test_new_records_of_one_batch_may_share_a_hash(flash, j):
    uids = colliding(3)
    j.batch([("put", CONTACT, uid, uid) for uid in uids] + [("put", CONTACT, uids[1], b"twice")])
    for journal in (j, flash.copy().mount()):
        assert [journal.get(CONTACT, uid).body for uid in uids] == [uids[0], b"twice", uids[2]]


@pytest.mark.parametrize(
    ("op", "error"),
    [
        (("delete", NOTE, b"nobody"), errors.NotFound),
        (("put", NOTE, b"", b"x"), errors.TooLarge),
        (("put", 8, b"x", b"x"), errors.BadInput),
        (("put", NOTE, b"x", b"x" * 65537), errors.TooLarge),
        (("put", NOTE, b"x", b"x", [b"\0" * 32]), errors.MissingBlob),
        (("move", NOTE, b"x"), errors.BadInput),
        (("put", NOTE, b"x", b"x" * 65536, [], 0), errors.NoSpace),
    ],
)
def test_a_refused_batch_leaves_nothing(op, error):
    flash = Flash(24)
    j = flash.mount()
    j.put(NOTE, b"old", b"old")
    before = bytes(flash.memory), j.last_seq, j.free_bytes()
    with pytest.raises(error):
        j.batch([("put", NOTE, b"first", b"1"), ("delete", NOTE, b"old"), op])
    assert (bytes(flash.memory), j.last_seq, j.free_bytes()) == before
    assert bodies(j) == bodies(flash.mount()) == {(NOTE, b"old"): b"old"}


def test_a_refused_batch_gives_back_what_its_bodies_took(j):
    free = j.free_bytes()
    for n in range(3):
        with pytest.raises(errors.TooLarge):
            j.batch([("put", NOTE, b"big", text(n, 40000)), ("put", NOTE, b"", b"")])
    assert j.free_bytes() == free
    assert j.stats()["blob_sectors"] == 0


def test_a_batch_cut_short_shows_nowhere(flash, j):
    j.put(NOTE, b"x", b"old")
    flash.nor.cut_at(4, "prefix")
    with pytest.raises(OSError):
        j.batch([("put", NOTE, b"x", b"new %d" % n) for n in range(6)])
    flash.nor.power_on()
    j = flash.mount()
    assert j.get(NOTE, b"x").body == b"old"
    assert [v.body for v in j.history(NOTE, b"x")] == [b"old"]
    j.put(NOTE, b"later", b"")
    assert [v.body for v in flash.mount().history(NOTE, b"x")] == [b"old"]
    j.delete(NOTE, b"x")
    j.undelete(NOTE, b"x")
    assert j.get(NOTE, b"x").body == b"old"


def test_an_empty_batch_is_nothing(j):
    seq = j.put(NOTE, b"x", b"")
    assert j.batch([]) == seq


# --- reading many -------------------------------------------------------------------------------


def test_records_by_kind_in_the_order_of_the_log(flash, j):
    for n in range(40):
        j.put(KINDS[n % 6], b"r%d" % n, text(n, n * 9))
    j.put(CONTACT, b"r0", b"moved to the end")
    for journal in (j, flash.copy().mount()):
        seqs = [r.seq for r in journal.records()]
        assert len(seqs) == 40 and seqs == sorted(seqs)
        for kind in KINDS:
            found = [r.uid for r in journal.records(kind)]
            assert len(found) == journal.count(kind)
            assert all(int(uid[1:]) % 6 + 1 == kind for uid in found)


def test_the_journal_may_be_written_while_it_is_read(j):
    for n in range(50):
        j.put(NOTE, b"n%02d" % n, text(n, 100))
    seen = set()
    for record in j.records(NOTE):
        if not record.body.startswith(b"done"):
            seen.add(record.uid)
            j.put(NOTE, record.uid, b"done " + record.uid)
    assert len(seen) == 50
    assert all(body == b"done " + uid for (_, uid), body in bodies(j).items())


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("ada", {b"ada"}), ("LOVELACE", {b"ada"}), ("lovelace ada", {b"ada"}),
        ("jose", {b"jose"}), ("NUNEZ", {b"jose"}), ("ñuñez", {b"jose"}),
        ("acme.example", {b"jose"}), ("acme, inc", {b"jose"}), ("0207946", {b"ada"}),
        ("+442079460123", {b"ada"}), ("7946 01", {b"ada"}), ("cafe", {b"lunch", b"memo"}),
        ("mueller", set()), ("", {b"ada", b"jose", b"lunch", b"memo"}),
    ],
)  # fmt: skip
def test_find(j, query, found):
    j.put(CONTACT, b"ada", ADA)
    j.put(CONTACT, b"jose", JOSE)
    j.put(EVENT, b"lunch", "SUMMARY:Lunch at Café Noir\nDTSTART:20250301T120000\n".encode())
    j.put(NOTE, b"memo", b"SUMMARY:CAFE\n" + text(1, 3000))
    j.put(NOTE, b"gone", b"SUMMARY:cafe ada jose\n")
    j.delete(NOTE, b"gone")
    assert {r.uid for r in j.find(query)} == found
    assert {r.uid for r in j.find(query, CONTACT)} == found & {b"ada", b"jose"}


def test_events_between(j):
    for day in range(1, 29):
        j.put(EVENT, b"e%02d" % day, b"DTSTART;VALUE=DATE:202502%02d\n" % day)
    j.put(EVENT, b"hour", b"DTSTART:20250210T233000\nDURATION:PT1H\n")
    j.put(EVENT, b"weekly", b"DTSTART:20250101T080000\nRRULE:FREQ=WEEKLY\n")
    j.put(TODO, b"todo", b"DTSTART:20250210T100000\n")

    def between(*when):
        return {r.uid for r in j.events_between(*when)}

    assert between(b"20250211", b"20250213") == {b"e11", b"e12", b"hour", b"weekly"}
    assert between(b"20250210T220000", b"20250210T230000") == {b"e10", b"weekly"}
    assert between(b"20240101", b"20240201") == set()
    assert between(b"20300101", b"20300102") == {b"weekly"}


def test_changes_give_what_is_new_and_the_tombstones(flash, j):
    for n in range(20):
        j.put(NOTE, b"n%d" % n, text(n, 100))
    mark = j.last_seq
    j.put(NOTE, b"n3", b"new")
    j.delete(NOTE, b"n4")
    j.batch([("put", NOTE, b"b", b"B"), ("delete", NOTE, b"n5")])
    j.put(NOTE, b"n6", b"gone again")
    j.delete(NOTE, b"n6")
    j.put(NOTE, b"n4", b"and back")
    want = {b"n3": b"new", b"n4": b"and back", b"b": b"B", b"n5": None, b"n6": None}
    for journal in (j, flash.copy().mount()):
        found = {r.uid: None if r.deleted else r.body for _, r in journal.changes(mark)}
        assert found == want
        assert len(list(journal.changes(0))) == 20 + 1
    assert list(j.changes(j.last_seq)) == []


def test_changes_go_on_from_a_cursor(j):
    for n in range(300):
        j.put(NOTE, b"n%d" % n, text(n, 100))
    whole = [(cursor, r.uid) for cursor, r in j.changes(0)]
    for at in (0, 1, 57, 150, 299):
        rest = [r.uid for _, r in j.changes(0, whole[at][0])]
        assert rest == [uid for _, uid in whole[at:]]  # the last one seen comes once more
    assert [r.uid for _, r in j.changes(0, 1 << 30)] == [uid for _, uid in whole]


# --- digest, stats, clock -----------------------------------------------------------------------


def test_digest_says_what_the_specification_says(flash, j):
    assert j.digest() == (0, bytes(32))
    j.put(NOTE, b"big", text(1, 9000), (), 5)
    for n in range(60):
        j.put(KINDS[n % 6], b"r%d" % n, text(n, n * 40))
    j.delete(CONTACT, b"r0")
    count, digest = j.digest()
    assert (count, digest) == digest_of(j) and count == 60
    assert flash.copy().mount().digest() == (count, digest)
    j.put(NOTE, b"r3", text(3, 120))
    assert j.digest()[1] != digest  # the seq is part of it


def test_stats_say_what_is_there(flash, j):
    for n in range(12):
        j.put(KINDS[n % 6], b"r%d" % n, text(n, 100))
    s = j.stats()
    assert s["records"] == dict.fromkeys(layout.KIND_NAMES.values(), 2)
    assert (s["sectors"], s["last_seq"], s["writable"]) == (64, 12, True)
    assert (s["blob_sectors"], s["bad_sectors"], s["lost_records"]) == (0, 0, 0)
    assert s["format_version"] == layout.VERSION and s["filesystem"] == "ok"
    assert s["free_bytes"] == j.free_bytes() > 100000
    j.put(NOTE, b"big", text(1, 9000))
    assert j.stats()["blob_sectors"] == 3
    assert j.free_bytes() < s["free_bytes"]
    assert flash.mount().stats()["epoch"] == s["epoch"]


def test_stamps_never_go_backwards(flash):
    clock = Clock(5000)
    j = flash.mount(clock)
    stamps = []
    for now in (5000, 5010, 4000, 0, 5005, 6000):
        clock.now = now
        j.put(NOTE, b"%d" % now, b"")
        stamps.append(j.get(NOTE, b"%d" % now).stamp)
    assert stamps == [5000, 5010, 5010, 5010, 5010, 6000]
    clock.now = 100
    j = flash.mount(clock)
    j.put(NOTE, b"after", b"")
    assert j.get(NOTE, b"after").stamp == 6000
    j.delete(NOTE, b"after")
    assert j.history(NOTE, b"after")[0].stamp == 6000


def test_an_unknown_clock_is_flagged_on_flash(flash):
    clock = Clock(0)
    j = flash.mount(clock)
    flags = []
    for now in (0, 7, 0):
        clock.now = now
        j.put(NOTE, b"x", b"")
        flags.append(bool(j._log.entry.flags & layout.F_NO_TIME) if j.get(NOTE, b"x") else None)
    assert flags == [True, False, True]
    assert [v.stamp for v in j.history(NOTE, b"x")] == [7, 7, 0]
    flash.mount().put(NOTE, b"y", b"")
    assert flash.mount().get(NOTE, b"y").stamp == 7
