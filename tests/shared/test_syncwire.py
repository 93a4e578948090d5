"""Sync messages: what is packed is read again, what is not exactly right is refused."""

import random
import re
import uuid
from pathlib import Path

import pytest
from both_interpreters import ROOT, run_both
from hypothesis import given, settings
from hypothesis import strategies as st

from drybag import layout, syncwirehost
from drybag import syncwire as w

SCRIPT = Path(__file__).parent / "scripts" / "sync_vectors.py"
VECTORS = ROOT / "tests" / "vectors" / "sync.txt"
SPEC = ROOT / "firmware" / "SPEC.md"

u32 = st.integers(0, 0xFFFFFFFF)
shas = st.binary(min_size=32, max_size=32)
uids = st.binary(min_size=1, max_size=layout.MAX_UID)
octets = st.sampled_from([bytes([c]) for c in range(32)])
phrases = st.sampled_from([phrase for _, phrase in w.phrases()])
texts = st.lists(st.one_of(octets, phrases, st.binary(max_size=20)), max_size=20).map(b"".join)
bodies = texts.filter(lambda body: len(body) <= w.BODY_BYTES)


@st.composite
def items(draw):
    number, made = 0, []
    for _ in range(draw(st.integers(0, 6))):
        number += draw(st.integers(1, 1 << 28))
        deleted = draw(st.booleans())
        big = None if deleted else draw(st.none() | st.tuples(shas, st.integers(1401, 65536)))
        made.append(
            w.Item(
                number, draw(st.integers(1, 6)), draw(uids),
                b"" if deleted else draw(bodies), draw(u32), draw(st.integers(0, 65535)),
                deleted, draw(u32), 0 if deleted else draw(u32),
                () if deleted else tuple(draw(st.lists(shas, max_size=layout.MAX_BLOBS))),
                big, draw(st.booleans()), draw(st.booleans()),
            )
        )  # fmt: skip
    return made


def fields(item):
    return [getattr(item, name) for name in w.Item.__slots__]


def request_of(made):
    request = w.Request()
    request.nonce = 7
    request.upto = request.last_seq = made[-1].number if made else 0
    return syncwirehost.pack_request(request, made)


def reply_of(made, wanted=()):
    reply = w.Reply()
    reply.nonce, reply.wanted = 7, wanted
    return syncwirehost.pack_reply(reply, made, w.ITEMS_BYTES)[0]


def read_reply(data):
    reply = w.parse_reply(data)
    return reply, list(w.parse_items(memoryview(data), reply.items_at, reply.n))


def test_the_bytes_are_those_of_the_vectors():
    assert run_both(SCRIPT, "messages") == VECTORS.read_text().splitlines()


def test_both_interpreters_agree():
    assert len(run_both(SCRIPT)) > 250


def test_the_specification_has_the_same_phrases():
    table = re.findall(r"^\| ([0-9A-F]{2}) \| `(.+)` \|$", SPEC.read_text(), re.M)
    told = tuple((bytes.fromhex(c), p.replace("<LF>", "\n").encode()) for c, p in table)
    assert list(told) == w.phrases()
    assert len({octet for octet, _ in told}) == 28
    assert not {octet[0] for octet, _ in told} & {1, 9, 10, 31}


@given(bodies, uids)
def test_a_packed_body_is_the_body(body, uid):
    packed = w.pack_body(body, uid)
    assert w.unpack_body(packed, uid) == body
    assert len(packed) <= 2 * len(body)


@given(st.binary(max_size=60), uids)
def test_any_packed_body_is_read_or_refused(data, uid):
    try:
        body = w.unpack_body(data, uid)
    except w.BadMessage:
        return
    assert len(body) <= w.BODY_BYTES
    assert w.unpack_body(w.pack_body(body, uid), uid) == body


@given(items(), st.lists(st.tuples(shas, u32), max_size=5))
def test_messages_survive(made, wanted):
    request, read = syncwirehost.parse_request(request_of(made))
    assert [fields(item) for item in read] == [fields(item) for item in made]
    assert request.nonce == 7 and request.n == len(made)
    reply, read = read_reply(reply_of(made, wanted))
    assert [fields(item) for item in read] == [fields(item) for item in made]
    assert reply.wanted == tuple(wanted)


@settings(max_examples=300)
@given(items(), st.data())
def test_damaged_messages_are_read_or_refused(made, data):
    for wire, parse in (
        (request_of(made), syncwirehost.parse_request),
        (reply_of(made, ((bytes(32), 1),)), read_reply),
    ):
        wire = bytearray(wire)
        for _ in range(data.draw(st.integers(1, 3))):
            wire[data.draw(st.integers(0, len(wire) - 1))] = data.draw(st.integers(0, 255))
        del wire[data.draw(st.integers(0, len(wire))) :]
        try:
            parse(bytes(wire))
        except (w.BadMessage, w.SyncNewer):
            pass


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data):
    w.parse_error(500, data)
    for start in (b"", b"\xd5\x01", b"\xd6\x01"):
        for parse in (syncwirehost.parse_request, read_reply):
            try:
                parse(start + data)
            except (w.BadMessage, w.SyncNewer):
                pass


@pytest.mark.parametrize("parse", [syncwirehost.parse_request, read_reply])
def test_a_later_version_is_told_from_rubbish(parse):
    magic = w.REQUEST_MAGIC if parse != read_reply else w.REPLY_MAGIC
    with pytest.raises(w.SyncNewer, match="update"):
        parse(bytes((magic, 2)) + bytes(100))


def test_what_may_not_be_in_an_item():
    good = w.Item(5, 1, b"uid", b"FN:A\n")
    for name, value in (
        ("kind", 7), ("kind", 0), ("uid", b""), ("number", 0), ("body", b"x" * 1401),
        ("big", (bytes(32), 1400)), ("big", (bytes(32), 65537)), ("rev", 65536),
        ("blobs", (bytes(32),) * 15), ("deleted", True),
    ):  # fmt: skip
        item = w.Item(*[getattr(good, n) for n in ("number", "kind", "uid", "body")])
        item.parent = 1  # which a tombstone has not
        setattr(item, name, value)
        with pytest.raises(w.BadMessage):
            read_reply(reply_of([item]))


def test_numbers_grow_and_no_message_is_too_long():
    with pytest.raises(w.BadMessage):
        list(w.parse_items(bytes(w.ITEMS_BYTES + 1), 0, 0))
    one, same = b"\0\x01\x05\0\x01\x01u\0", b"\0\x01\0\0\x01\x01v\0"
    assert [item.number for item in w.parse_items(one + one, 0, 2)] == [5, 10]
    with pytest.raises(w.BadMessage):
        list(w.parse_items(one + same, 0, 2))
    for longer in (b"\x85\0", b"\x85\x80\x80\x80\x80\0"):
        with pytest.raises(w.BadMessage):
            list(w.parse_items(one[:2] + longer + one[3:], 0, 1))


def test_an_item_that_does_not_fit_leaves_no_trace():
    buf = bytearray(40)
    packer = w.Packer(buf, 0, 40)
    assert packer.add(w.Item(1, 1, b"a", b"FN:A\n"))
    before = bytes(buf), packer.at
    assert not packer.add(w.Item(2, 1, b"b", b"x" * 40))
    assert (bytes(buf), packer.at) == before and packer.n == 1
    assert packer.add(w.Item(3, 1, b"c", b"FN:C\n"))


def test_the_longest_item_is_as_long_as_promised():
    body = b"\x01" * w.BODY_BYTES
    item = w.Item(
        0xFFFFFFFF, 1, b"u" * 200, body, 0xFFFFFFFF, 65535, False, 1, 1, (bytes(32),) * 14
    )
    packer, _ = syncwirehost.packed([item], 0, w.ITEM_BYTES)
    assert packer.n == 1 and packer.at > w.ITEM_BYTES - 200


def contact(n, rng):
    """A vCard of 171 bytes: BEGIN, VERSION, UID, FN, N, TEL, EMAIL, END."""
    given, family = rng.choice(["Ada", "Grace", "Hiro"]), rng.choice(["Lovelace", "Hopper"])
    uid = str(uuid.UUID(int=rng.getrandbits(128)))
    lines = ["VERSION:3.0", "UID:" + uid, "FN:%s %s" % (given, family),
             "N:%s;%s;;;" % (family, given), "TEL:+44 20 %07d" % rng.randrange(10**7),
             "EMAIL:"]  # fmt: skip
    size = sum(len(line) + 2 for line in ["BEGIN:VCARD", *lines, "END:VCARD"])
    lines[-1] += ("%s.%d@" % (given.lower(), n)).ljust(171 - size - 4, "x") + ".org"
    assert sum(len(line) + 2 for line in ["BEGIN:VCARD", *lines, "END:VCARD"]) == 171
    return w.Item(
        n, 1, uid.encode(), "".join(line + "\n" for line in lines).encode(), 800000000 + n
    )


def test_two_hundred_contacts_are_one_request_under_24_kb():
    rng = random.Random(1)
    data = request_of([contact(n + 1, rng) for n in range(200)])
    assert syncwirehost.parse_request(data)[0].n == 200
    head = len(
        "POST /v1/sync HTTP/1.1\r\nHost: drybag-hub\r\nAuthorization: Bearer \r\n"
        "Content-Length: 24000\r\n\r\n"
    ) + 16 + 1 + 43  # fmt: skip
    records = 2 * 22  # of TLS 1.3; 2 * 29 in 1.2
    assert len(data) + head + records < 24000
