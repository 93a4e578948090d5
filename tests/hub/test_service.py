"""A hub's service over a storage in memory: acks, checks, changes, blobs, restores."""

import pytest
from hub_kit import STAMP, Device, add_owner, make_hub, roles, sha256, shown

from drybag import syncwire
from drybag.layout import CONTACT, content_id
from drybag_host.hub import owneractions
from drybag_host.hub.memory import MemoryStorage
from drybag_host.hub.refusals import Unsound, UpdateNeeded
from drybag_host.hub.service import EPOCH_S

CARD = b"VERSION:3.0\nFN:Ada\nTEL:1\n"


def cid(body):
    return content_id(0, (), body)


@pytest.fixture
def hub():
    return make_hub()


def test_a_batch_is_acknowledged_and_shown(hub):
    service, storage, _ = hub
    a = Device(service)
    reply, changes = a.sync(a.item(b"u1", CARD), a.item(b"u2", CARD + b"NOTE:n\n"))
    assert (reply.ack, changes, reply.flags) == (2, [], 0)
    assert reply.hub == service.hub and reply.nonce == 5 and reply.time == STAMP
    assert shown(service) == {(CONTACT, b"u1"): CARD, (CONTACT, b"u2"): CARD + b"NOTE:n\n"}
    assert storage.get("owners", [("ada",)])[0]["live"] == 2
    assert storage.get("heads", [("ada", CONTACT, b"u1")])[0]["title"] == "Ada"


def test_a_request_that_came_twice_does_nothing_twice(hub):
    service, _, _ = hub
    a = Device(service)
    data = a.request([a.item(b"u1", CARD), a.item(b"u2", CARD)])
    first, _ = a.read(service.sync(a.row, data), keep=False)
    again, _ = a.read(service.sync(a.row, data))
    assert (first.ack, first.ack_check) == (again.ack, again.ack_check)
    assert roles(service) == [("pushed", 1)] * 2


def test_a_lost_reply_is_no_reset(hub):
    service, _, _ = hub
    a = Device(service)
    a.sync(a.item(b"u1", CARD))
    again = a.item(b"u2", CARD)
    a.sync(again, keep=False)
    reply, _ = a.sync(again, a.item(b"u3", CARD))
    assert (reply.ack, reply.flags) == (3, 0)


def test_a_journal_that_lacks_what_it_sent_was_set_back(hub):
    """Also before it has told that it knew of the later ack, and whatever its seqs are."""
    service, _, _ = hub
    a = Device(service)
    a.sync(a.item(b"u1", CARD))
    a.sync(a.item(b"u2", CARD), keep=False)
    a.seq += 64  # an old image was written to its flash, and booted
    reply, _ = a.sync(a.item(b"u3", CARD), keep=False)
    assert reply.flags & syncwire.SET_BACK and (CONTACT, b"u3") not in shown(service)
    a.life += 1
    a.acked, a.ack_check = 0, syncwire.NO_CHECK
    reply, changes = a.sync(a.item(b"u1", CARD, resend=True), a.item(b"u3", CARD))
    assert not reply.flags and [item.uid for item in changes] == [b"u2"]


def test_an_old_request_casts_no_doubt_that_lasts(hub):
    service, _, _ = hub
    a = Device(service)
    a.sync(a.item(b"u1", CARD))
    late = a.request([a.item(b"u2", CARD)], room=0)
    a.sync(a.item(b"u2", CARD + b"NOTE:2\n"))
    service.sync(a.row, late)
    reply, _ = a.sync(a.item(b"u3", CARD))
    assert not reply.flags
    assert shown(service)[CONTACT, b"u2"] == CARD + b"NOTE:2\n"


def test_an_old_image_that_remembers_another_hub_was_set_back(hub):
    service, _, _ = hub
    a = Device(service)
    a.acked, a.ack_check, a.seq = 1, b"of a hub", 1  # that is gone
    before = a.acked, a.ack_check
    assert a.sync(upto=1)[0].flags & syncwire.ACK_RESET
    a.sync(a.item(b"u1", CARD, seq=1, resend=True), a.item(b"u2", CARD))
    a.acked, a.ack_check = before
    a.seq = 70
    reply, _ = a.sync(a.item(b"u3", CARD, seq=70))
    assert reply.flags & syncwire.ACK_RESET and reply.ack == 0
    assert (CONTACT, b"u3") not in shown(service)
    reply, _ = a.sync(a.item(b"u1", CARD, seq=1, resend=True))
    assert reply.flags & syncwire.SET_BACK


def test_a_deletion_of_what_a_restored_hub_has_lost(hub):
    service, storage, _ = hub
    a, b = Device(service, "a"), Device(service, "b")
    a.sync(a.item(b"u1", CARD), a.item(b"u2", CARD))
    storage.commit([("meta", {"name": "hub_id", "value": "11" * 8})])
    service.__init__(storage, service.blobs, service.clock)
    a.sync(a.item(b"u2", CARD + b"NOTE:new\n", base=cid(CARD)))
    lost = cid(CARD + b"NOTE:lost\n")
    b.sync(b.item(b"u1", None, base=lost), b.item(b"u2", None, base=lost))
    assert shown(service) == {(CONTACT, b"u1"): None, (CONTACT, b"u2"): CARD + b"NOTE:new\n"}


def test_an_idle_poll_writes_nothing(hub):
    service, storage, _ = hub
    a = Device(service)
    a.sync(a.item(b"u1", CARD))
    a.sync()  # which tells how far it has taken the changes
    before = storage.last_lsn()
    reply, _ = a.sync()
    assert storage.last_lsn() == before and reply.ack == 1


def test_another_handset_gets_it_once_and_the_sender_never(hub):
    service, _, _ = hub
    a, b = Device(service, "a"), Device(service, "b")
    a.sync(a.item(b"u1", CARD), a.item(b"u2", CARD))
    reply, changes = b.sync()
    assert [i.uid for i in changes] == [b"u1", b"u2"] and reply.cursor == 2
    assert b.sync()[1] == [] and a.sync()[1] == []
    a.sync(a.item(b"u2", None, base=cid(CARD)))
    _, changes = b.sync()
    assert [(i.uid, i.deleted) for i in changes] == [(b"u2", True)]


def test_changes_come_in_pages_that_fit(hub):
    service, _, _ = hub
    a, b = Device(service, "a"), Device(service, "b")
    a.sync(*[a.item(b"u%03d" % n, CARD + b"NOTE:%03d%s\n" % (n, b"x" * 200)) for n in range(150)])
    pages = 0
    while True:
        reply, changes = b.sync(room=4000)
        pages += 1
        assert changes and changes[-1].number <= reply.cursor
        if not reply.flags & syncwire.MORE:
            break
    assert pages > 5 and b.records == shown(service)


def test_without_room_there_are_no_changes_and_more_is_said(hub):
    service, _, _ = hub
    a, b = Device(service, "a"), Device(service, "b")
    a.sync(a.item(b"u1", CARD))
    reply, changes = b.sync(room=0)
    assert (changes, reply.cursor, reply.flags) == ([], 0, syncwire.MORE)


def test_two_edits_of_one_contact_are_both_there_on_both_handsets(hub):
    service, _, _ = hub
    a, b = Device(service, "a"), Device(service, "b")
    a.sync(a.item(b"u", CARD))
    b.sync()
    a.sync(a.item(b"u", CARD.replace(b":1", b":2")))
    b.sync(b.item(b"u", CARD + b"NOTE:n\n", base=cid(CARD)))
    a.sync()
    body = shown(service)[CONTACT, b"u"]
    assert b"TEL:2" in body and b"NOTE:n" in body and b"TEL:1" not in body
    assert a.records == b.records == shown(service)


def test_a_conflict_is_kept_and_listed(hub):
    service, storage, _ = hub
    a, b = Device(service, "a"), Device(service, "b")
    a.sync(a.item(b"u", CARD))
    b.sync()
    a.sync(a.item(b"u", CARD.replace(b"Ada", b"Bea"), stamp=STAMP + 1))
    b.sync(b.item(b"u", CARD.replace(b"Ada", b"Cid"), base=cid(CARD), stamp=STAMP))
    assert b.records[CONTACT, b"u"] == shown(service)[CONTACT, b"u"]
    (row,) = storage.scan("conflicts", "", ("ada",))
    assert row["names"] == "N" and not row["resolved_ms"]
    assert b"Cid" in storage.get("versions", [("ada", row["pos"])])[0]["body"]
    assert b"Bea" in storage.get("versions", [("ada", row["with_pos"])])[0]["body"]


def test_an_edit_beats_a_deletion_both_ways(hub):
    service, _, _ = hub
    a, b = Device(service, "a"), Device(service, "b")
    a.sync(a.item(b"u", CARD), a.item(b"w", CARD))
    b.sync()
    new = CARD + b"NOTE:n\n"
    a.sync(a.item(b"u", None), a.item(b"w", new))
    b.sync(b.item(b"u", new, base=cid(CARD)), b.item(b"w", None, base=cid(CARD)))
    a.sync()
    assert a.records == b.records == shown(service)
    assert set(shown(service).values()) == {new}


def test_a_stream_edits_its_own_version_again_before_it_is_told(hub):
    service, _, _ = hub
    a = Device(service)
    a.sync(a.item(b"u", CARD), keep=False)
    a.sync(a.item(b"u", CARD.replace(b"Ada", b"Bea"), base=cid(CARD)))
    assert roles(service) == [("pushed", 1)] * 2 and service.storage.counts("conflicts") == 0


def test_same_seq_with_another_content_is_kept_apart_and_told(hub):
    service, storage, _ = hub
    a = Device(service)
    a.sync(a.item(b"u", CARD))
    reply, _ = a.sync(a.item(b"u", CARD + b"NOTE:clone\n", seq=1))
    assert reply.ack == 1
    assert roles(service)[:2] == [("pushed", 1), ("quarantine", 0)]
    assert shown(service)[CONTACT, b"u"] == CARD == a.records[CONTACT, b"u"]
    assert storage.scan("audits")[0]["what"] == "quarantine"
    before = len(roles(service))
    a.sync(a.item(b"u", CARD + b"NOTE:clone\n", seq=1))
    assert len(roles(service)) == before


def test_a_stamp_from_the_future_is_not_believed(hub):
    service, storage, clock = hub
    a = Device(service)
    a.sync(a.item(b"u", CARD, stamp=STAMP + 10_000_000), a.item(b"w", CARD, stamp=STAMP + 299))
    stamps = [row["stamp"] for row in storage.scan("versions", "", ("ada",))]
    assert stamps == [clock.now - EPOCH_S, STAMP + 299]
    assert storage.scan("versions")[0]["received_ms"] == clock.now * 1000


# --- bad requests ----------------------------------------------------------------------------


def test_a_request_that_makes_no_sense_stores_nothing(hub):
    service, storage, _ = hub
    a = Device(service)
    good = a.request([a.item(b"u", CARD)])
    lsn = storage.last_lsn()
    for data in (b"", b"\xd5", good[:-1], good + b"x", b"\xd6" + good[1:], good[:50]):
        with pytest.raises(Unsound):
            service.sync(a.row, data)
    with pytest.raises(UpdateNeeded):
        service.sync(a.row, good[:1] + b"\x02" + good[2:])
    with pytest.raises(Unsound):
        service.sync(a.row, a.request([a.item(b"u", CARD), a.item(b"v", CARD)], upto=1))
    assert storage.last_lsn() == lsn and roles(service) == []


# --- blobs -----------------------------------------------------------------------------------


def test_an_item_waits_for_its_blob_and_those_behind_it_too(hub):
    service, storage, _ = hub
    a = Device(service)
    picture = b"picture" * 100
    name = sha256(picture)
    items = [
        a.item(b"u1", CARD), a.item(b"u2", CARD + b"PHOTO:x\n", blobs=(name,)),
        a.item(b"u3", CARD),
    ]  # fmt: skip
    service.blobs.append(name, len(picture), 0, [picture[:30]])
    reply, _ = a.sync(*items)
    assert (reply.ack, reply.wanted) == (1, ((name, 30),))
    service.blobs.append(name, len(picture), 30, [picture[30:]])
    storage.commit([("blobs", {"owner": "ada", "sha": name, "size": len(picture)})])
    reply, _ = a.sync(*items[1:])
    assert (reply.ack, reply.wanted) == (3, ())


def test_another_owners_blob_is_not_there(hub):
    service, storage, _ = hub
    a = Device(service)
    name = sha256(b"secret")
    service.blobs.append(name, 6, 0, [b"secret"])
    storage.commit([("blobs", {"owner": "eve", "sha": name, "size": 6})])
    reply, _ = a.sync(a.item(b"u", CARD, blobs=(name,)))
    assert (reply.ack, reply.wanted) == (0, ((name, 0),))


def test_a_long_body_travels_as_a_blob_and_so_does_a_merged_one(hub):
    service, storage, _ = hub
    a, b = Device(service, "a"), Device(service, "b")

    def long(body):
        name = sha256(body)
        if storage.get("blobs", [("ada", name)])[0] is None:
            service.blobs.append(name, len(body), 0, [body])
            storage.commit([("blobs", {"owner": "ada", "sha": name, "size": len(body)})])
        return {"big": (name, len(body))}

    base = CARD + b"NOTE:" + b"x" * 3000 + b"\n"
    a.sync(a.item(b"u", base, **long(base)))
    assert shown(service)[CONTACT, b"u"] == base
    _, (item,) = b.sync()
    assert item.big == (sha256(base), len(base))
    one, two = base.replace(b"TEL:1", b"TEL:2"), base + b"EMAIL:e\n"
    a.sync(a.item(b"u", one, **long(one)))
    _, (item,) = b.sync(b.item(b"u", two, base=cid(base), **long(two)))
    merged = shown(service)[CONTACT, b"u"]
    assert b"TEL:2" in merged and b"EMAIL:e" in merged
    assert item.big == (sha256(merged), len(merged))
    assert storage.get("blobs", [("ada", item.big[0])])[0]
    assert b"".join(service.blobs.open(item.big[0])) == merged


# --- deletions -------------------------------------------------------------------------------


def test_many_deletions_wait_and_the_handset_is_told(hub):
    service, storage, clock = hub
    a = Device(service)
    a.sync(*[a.item(b"u%d" % n, CARD) for n in range(20)])
    reply, _ = a.sync(*[a.item(b"u%d" % n, None) for n in range(8)])
    assert reply.ack == 28 and reply.flags == syncwire.HELD
    assert sum(body is None for body in shown(service).values()) == 5
    assert storage.get("owners", [("ada",)])[0]["live"] == 15
    waiting = owneractions.held(storage, "ada")
    assert [row["uid"] for row in waiting] == [b"u5", b"u6", b"u7"]
    b = Device(service, "b")
    assert not b.sync()[0].flags & syncwire.HELD
    clock.now += 86400
    a.sync(a.item(b"u9", None))
    assert shown(service)[CONTACT, b"u9"] is None


# --- stores that came back -------------------------------------------------------------------


def test_an_empty_hub_gets_everything_again():
    service, _, _ = make_hub()
    a = Device(service)
    items = [a.item(b"u%d" % n, CARD) for n in range(5)]
    a.sync(*items)
    old = a.records.copy()
    fresh, _, _ = make_hub()
    a.service = fresh
    a.row = Device(fresh).row
    reply, _ = a.sync(keep=False)
    assert reply.flags == syncwire.ACK_RESET | syncwire.CURSOR_RESET
    assert reply.ack == 0 and reply.hub != service.hub
    a.read(fresh.sync(a.row, a.request()))
    for item in items:
        item.resend = True
    reply, _ = a.sync(*items)
    assert reply.ack == 5 and shown(fresh) == old


def test_a_restored_hub_says_both_resets_whatever_the_handset_remembers():
    service, storage, clock = make_hub()
    a, b, c = Device(service, "a"), Device(service, "b"), Device(service, "c")
    a.sync(a.item(b"u", CARD))
    b.sync()
    yesterday = storage.copy()
    a.sync(a.item(b"w", CARD))
    yesterday.commit([("meta", {"name": "hub_id", "value": "11" * 8})])
    again, _, _ = make_hub(yesterday)
    for device in (a, b):
        device.service = again
        reply, _ = device.sync()
        assert reply.flags == syncwire.ACK_RESET | syncwire.CURSOR_RESET
        assert device.sync()[0].flags == 0
    c.service = again
    assert c.sync()[0].flags == 0


def test_what_a_restored_hub_lost_comes_back_without_doubles():
    service, storage, _ = make_hub()
    a, b = Device(service, "a"), Device(service, "b")
    a.sync(a.item(b"u", CARD), a.item(b"w", CARD))
    b.sync()
    b.sync()  # by its cursor the hub knows now what b has taken
    yesterday = storage.copy()
    edit = a.item(b"u", CARD + b"NOTE:new\n", stamp=STAMP + 9)
    a.sync(edit)
    gone = a.item(b"w", None, stamp=STAMP + 9)
    a.sync(gone)
    b.sync()
    want = shown(service)
    yesterday.commit([("meta", {"name": "hub_id", "value": "11" * 8})])
    again, _, _ = make_hub(yesterday)
    # b had it from the hub and sends it again under its own seqs, before a does
    for device in (b, a):
        device.service = again
        device.sync()
    b.sync(
        b.item(b"u", CARD + b"NOTE:new\n", stamp=STAMP + 9, resend=True),
        b.item(b"w", None, stamp=STAMP + 9, resend=True),
    )
    edit.resend = gone.resend = True
    a.sync(edit, gone)
    b.sync()
    assert shown(again) == want == a.records == b.records
    assert again.storage.counts("conflicts") == 0


def test_two_that_a_restored_hub_lost_are_both_kept():
    """Nobody can tell whether one knew the other: the later is shown, the other is a conflict."""
    service, storage, _ = make_hub()
    a, b = Device(service, "a"), Device(service, "b")
    yesterday = storage.copy()
    mine = a.item(b"u", CARD + b"NOTE:a\n", stamp=STAMP + 9)
    a.sync(mine)
    yesterday.commit([("meta", {"name": "hub_id", "value": "11" * 8})])
    again, _, _ = make_hub(yesterday)
    b.service = a.service = again
    b.sync(b.item(b"u", CARD + b"NOTE:b\n", stamp=STAMP))
    a.sync()
    mine.resend = True
    a.sync(mine)
    assert shown(again)[CONTACT, b"u"] == CARD + b"NOTE:a\n"
    row = again.storage.scan("conflicts", "", ("ada",))[0]
    assert again.storage.get("versions", [("ada", row["pos"])])[0]["body"] == CARD + b"NOTE:b\n"


def test_an_old_request_that_comes_after_a_newer_one_brings_nothing_back(hub):
    service, storage, _ = hub
    a = Device(service)
    a.sync(a.item(b"w", CARD))
    first = a.request([a.item(b"u", CARD)])
    a.sync(a.item(b"u", None))
    service.sync(a.row, first)
    assert shown(service)[CONTACT, b"u"] is None
    assert roles(service)[-1] == ("pushed", 1)


def test_an_old_image_on_a_handset_is_told_and_takes_nothing(hub):
    service, _, _ = hub
    a = Device(service)
    a.sync(a.item(b"u", CARD))
    image = a.acked, a.ack_check, a.cursor, a.cursor_check, a.seq
    a.sync(a.item(b"w", CARD))
    a.sync()
    a.acked, a.ack_check, a.cursor, a.cursor_check, a.seq = image
    before = len(roles(service))
    reply, _ = a.sync(a.item(b"x", CARD), keep=False)
    assert reply.flags & syncwire.SET_BACK and len(roles(service)) == before
    service.write_seen()
    fresh = type(service)(service.storage, service.blobs, service.clock)  # the hub was restarted
    a.service = fresh
    assert a.sync(a.item(b"x", CARD), keep=False)[0].flags & syncwire.SET_BACK
    a.life, a.seq, a.acked, a.cursor = 8, 0, 0, 0
    a.ack_check = a.cursor_check = syncwire.NO_CHECK
    reply, changes = a.sync(a.item(b"u", CARD, resend=True), a.item(b"x", CARD))
    assert reply.ack == 2 and [i.uid for i in changes] == [b"u", b"w"] and not reply.flags


def test_an_ack_that_waits_for_the_offsite_copy():
    service, storage, _ = make_hub(offsite=True, ack_offsite=True)
    a = Device(service)
    reply, _ = a.sync(a.item(b"u", CARD))
    assert (reply.ack, reply.offsite, reply.flags) == (0, 0, syncwire.OFFSITE)
    key = {"device": "d1", "epoch": 99, "life": 7}
    storage.commit([("offsite", {**key, "ack": 1})])
    reply, _ = a.sync(a.item(b"u", CARD, seq=1), a.item(b"w", CARD))
    assert (reply.ack, reply.offsite, reply.flags) == (1, 1, syncwire.OFFSITE)
    reply, _ = a.sync(a.item(b"w", CARD, seq=2))
    assert (reply.ack, reply.flags) == (1, syncwire.OFFSITE)
    storage.commit([("offsite", {**key, "ack": 2})])
    assert a.sync(a.item(b"w", CARD, seq=2))[0].ack == 2


def test_owners_do_not_see_each_other():
    service, storage, _ = make_hub(MemoryStorage())
    add_owner(storage, "eve")
    a, e = Device(service, "a"), Device(service, "e", owner="eve")
    a.sync(a.item(b"u", CARD))
    assert e.sync()[1] == []
    e.sync(e.item(b"u", CARD + b"NOTE:eve\n"))
    assert a.sync()[1] == [] and shown(service)[CONTACT, b"u"] == CARD


def test_a_request_reads_the_history_of_a_record_once(hub, monkeypatch):
    """However many of its items name a base that nobody knows: the hub must stay up."""
    service, storage, _ = hub
    a, b = Device(service), Device(service, "d2")
    for n in range(0, 200, 20):
        a.sync(*[a.item(b"u", CARD + b"NOTE:%d\n" % m) for m in range(n, n + 20)])
    rows = []
    scan = storage.scan

    def counted(table, *args, **how):
        found = scan(table, *args, **how)
        rows.extend(found if table == "versions" else ())
        return found

    monkeypatch.setattr(storage, "scan", counted)
    # a new stream for each look-up: without one of its own in the log, all of it is searched
    items = [b.item(b"u", CARD + b"NOTE:b%d\n" % n, base=1, resend=True) for n in range(30)]
    assert b.sync(*items)[0].ack == 30
    assert len(rows) < 2 * 200 + 100
