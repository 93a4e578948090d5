"""A hub and a handset of which nobody can tell whether it missed a reply, or is an old image."""

import pytest
from hub_kit import Device, make_hub, roles, shown

from drybag import syncwire
from drybag.layout import CONTACT, content_id
from drybag_host.hub import continuity

CARD = b"VERSION:3.0\nFN:Ada\nTEL:1\n"
NEW = CARD + b"NOTE:1\n"


def cid(body):
    return content_id(0, (), body)


@pytest.fixture
def hub():
    return make_hub()


@pytest.mark.parametrize(
    ("body", "kept"),
    ((CARD + b"ORG:o\n", 1), (CARD + b"NOTE:2\n", 1), (None, 1), (CARD, 1),
     (NEW + b"REV:2\n", 0), (NEW.replace(b"Ada", b"Bea"), 0)),
)  # fmt: skip
def test_an_edit_that_may_not_know_the_one_before_it(hub, body, kept):
    """A reply that was lost, or an old image: it counts, and what it may not know is kept."""
    service, storage, _ = hub
    a = Device(service)
    a.sync(a.item(b"u", CARD))
    a.sync(a.item(b"u", NEW, base=cid(CARD)), keep=False)
    a.seq += 64
    reply, _ = a.sync(a.item(b"u", body, base=cid(CARD)))
    assert not reply.flags and shown(service)[CONTACT, b"u"] == body
    found = storage.scan("conflicts", "", ("ada",))
    assert [(row["pos"], row["names"]) for row in found] == [(2, "*")] * kept


def test_after_a_reply_that_came_the_next_edit_is_known(hub):
    service, storage, _ = hub
    a = Device(service)
    a.sync(a.item(b"u", CARD), keep=False)
    a.sync(a.item(b"u", CARD, seq=1), a.item(b"w", CARD))
    a.sync()
    a.sync(a.item(b"u", NEW))  # no hub knows a base that is damaged on the flash
    assert not storage.counts("conflicts") and shown(service)[CONTACT, b"u"] == NEW


def test_what_may_not_be_known_beneath_the_edit_of_another(hub):
    """The merge takes it away again, as if it had been known: it is kept."""
    service, storage, _ = hub
    a, b = Device(service, "a"), Device(service, "b")
    a.sync(a.item(b"u", CARD))
    a.sync(a.item(b"u", NEW, base=cid(CARD)), keep=False)
    b.sync()
    b.sync(b.item(b"u", NEW + b"ORG:b\n", base=cid(NEW)))
    a.seq += 64
    a.sync(a.item(b"u", CARD + b"EMAIL:a\n", base=cid(CARD)))
    text = shown(service)[CONTACT, b"u"]
    assert b"ORG:b" in text and b"EMAIL:a" in text
    (row,) = storage.scan("conflicts", "", ("ada",))
    assert (row["pos"], row["names"]) == (2, "*")


def test_an_old_image_is_told_no_ack_beyond_what_it_has_sent(hub):
    """Else its later pages would pass for knowing what the hub has acknowledged; the hub forgets
    nothing of that when it is started again."""
    service, storage, _ = hub
    a = Device(service)
    a.sync(a.item(b"u", CARD))
    a.seq += 9
    a.sync(a.item(b"u", NEW, base=cid(CARD)), keep=False)
    a.seq -= 5
    reply, _ = a.sync(a.item(b"w", CARD), room=0)
    assert reply.ack == a.seq == 7 and reply.flags == syncwire.MORE
    a.service = type(service)(storage, service.blobs, service.clock)
    a.seq += 64
    reply, _ = a.sync(a.item(b"x", CARD), room=0)
    assert reply.ack == a.seq
    a.service = type(service)(storage, service.blobs, service.clock)
    a.sync(a.item(b"u", CARD + b"ORG:o\n", base=cid(CARD)))
    (row,) = storage.scan("conflicts", "", ("ada",))
    assert row["uid"] == b"u" and row["pos"] == 2


def test_a_request_with_a_seq_that_was_given_twice_is_an_old_images(hub):
    service, storage, _ = hub
    a = Device(service)
    a.sync(a.item(b"u", CARD))
    reply, _ = a.sync(a.item(b"new", CARD, seq=1), a.item(b"w", CARD), keep=False)
    assert reply.flags & syncwire.SET_BACK and set(shown(service)) == {(CONTACT, b"u")}
    assert storage.counts("conflicts") == 1  # nothing that was acknowledged is lost with it
    again, _ = a.sync(a.item(b"new", CARD, seq=1), keep=False)
    assert again.flags & syncwire.SET_BACK and len(roles(service)) == 2
    a.life, a.acked, a.ack_check = 8, 0, syncwire.NO_CHECK
    reply, _ = a.sync(a.item(b"new", CARD, resend=True), a.item(b"w", CARD, resend=True))
    assert not reply.flags and (CONTACT, b"new") in shown(service)


def sealed_image(hub, edits=2):
    """(handset, its cards): an image that was sealed before `edits` were sent, acknowledged
    through seq 15; a boot of it skips no seqs, so its own first page may end with that seq."""
    service, _, _ = hub
    a = Device(service)
    a.sync(*[a.item(b"u%d" % i, CARD) for i in range(4)])
    a.seq = 10
    a.sync(upto=10)
    a.sync()
    image = a.acked, a.ack_check, a.cursor, a.cursor_check
    a.seq = 15  # 14 and 15 are no records: what the engine keeps of its sync
    a.sync(*[a.item(b"u%d" % i, NEW, cid(CARD), seq=12 + i) for i in range(edits)])
    a.acked, a.ack_check, a.cursor, a.cursor_check = image
    a.seq = 90
    assert a.acked == 10 and service.storage.scan("streams")[0]["ack"] == 15
    return a


@pytest.mark.parametrize("pages", (1, 2, 3))
def test_a_page_that_ends_with_an_ack_proves_nothing(hub, pages):
    """The hub itself has just given that ack to the image: it is no word of what went before."""
    a = sealed_image(hub)
    for page in range(pages):
        seq = 15 + 10 * page
        reply, _ = a.sync(a.item(b"p%d" % page, CARD, seq=seq), room=0, upto=seq)
        assert reply.ack == seq and not reply.flags & syncwire.SET_BACK
    reply, _ = a.sync(a.item(b"last", CARD, seq=90), upto=90)
    assert reply.flags & syncwire.SET_BACK


def test_how_much_is_looked_through_has_an_end(hub, monkeypatch):
    """Else one handset could keep the hub busy with requests that remember nothing."""
    monkeypatch.setattr(continuity, "MOST_SENT", 512)
    service, storage, _ = hub
    a = Device(service)
    for page in range(6):
        a.sync(*[a.item(b"u%d" % (100 * page + i), CARD) for i in range(100)], keep=page < 5)
    a.acked, a.ack_check, looked = 0, syncwire.NO_CHECK, []
    real = storage.scan
    monkeypatch.setattr(storage, "scan", lambda *a, **k: looked.append(1) or real(*a, **k))
    reply, _ = a.sync(a.item(b"new", CARD))
    assert reply.flags & syncwire.SET_BACK and len(looked) < 12


def test_an_edit_behind_such_a_page_takes_nothing_back(hub):
    service, storage, _ = hub
    a = sealed_image(hub, edits=1)
    a.sync(a.item(b"p", CARD, seq=15), room=0, upto=15)
    a.sync(a.item(b"u0", CARD + b"ORG:o\n", cid(CARD), seq=16), room=0, upto=16)
    (row,) = storage.scan("conflicts", "", ("ada",))
    assert row["uid"] == b"u0" and row["names"] == "*"
    assert storage.get("versions", [("ada", row["pos"])])[0]["body"] == NEW


def test_a_handset_that_sends_all_of_it_again_goes_on(hub):
    """It had missed the reply: its first page ends with that ack too."""
    service, storage, _ = hub
    a = sealed_image(hub)
    again = [a.item(b"u%d" % i, NEW, cid(CARD), seq=12 + i) for i in range(2)]
    reply, _ = a.sync(*again, a.item(b"p", CARD, seq=15), room=0, upto=15)
    assert reply.ack == 15
    reply, _ = a.sync(a.item(b"last", CARD, seq=90), upto=90)
    assert not reply.flags and reply.ack == 90 and not storage.counts("conflicts")
