"""Messages on the line: the same bytes on both interpreters, streams that go on anywhere."""

from pathlib import Path

import pytest
from both_interpreters import run_both
from hypothesis import given, settings
from hypothesis import strategies as st

from drybag import errors, layout
from drybag import protocol as p
from drybag import protocolhost as ph

SCRIPTS = Path(__file__).parent / "scripts"
uids = st.binary(min_size=1, max_size=200)
shas = st.lists(st.binary(min_size=32, max_size=32), max_size=3).map(tuple)
u32 = st.integers(0, 0xFFFFFFFF)
puts = st.tuples(
    st.just("put"), st.integers(1, 6), uids, st.binary(max_size=600), shas, u32
)  # fmt: skip
others = st.tuples(st.sampled_from(["delete", "undelete"]), st.integers(1, 6), uids)
drafts = st.builds(
    layout.Record, st.integers(1, 6), uids, st.binary(max_size=5000), shas, u32,
    st.integers(1, 0xFFFFFFFF), u32, st.integers(0, 65535),
)  # fmt: skip


def encode(op):
    if op[0] == "put":
        return ph.put(*op[1:])
    return (ph.delete if op[0] == "delete" else ph.undelete)(*op[1:])


def fields(record):
    return (
        record.kind, record.uid, record.body, record.blobs, record.parent, record.seq,
        record.stamp, record.rev, record.deleted,
    )  # fmt: skip


READERS = [ph.RecordReader, ph.ShortReader]


def stream_of(records, reader=None, far=False):
    """The stream as a board sends it to `reader`, which has had a part of it."""
    items = [((i + 1) << 20 if far else i + 1, r) for i, r in enumerate(records)]
    seq, done = (reader.seq, reader.done) if reader else (0, 0)
    short = isinstance(reader, ph.ShortReader)
    return b"".join(bytes(x) for x in p.stream(items, seq, done, short))


def test_both_interpreters_agree():
    assert len(run_both(SCRIPTS / "protocol_vectors.py")) > 250


@given(st.lists(st.one_of(puts, others), max_size=6))
def test_operations_survive(ops):
    data = bytes((p.WRITE,)) + b"".join(map(encode, ops))
    read = p.parse_ops(memoryview(data))
    assert read == [op[:4] + (list(op[4]), op[5]) if op[0] == "put" else op for op in ops]


@given(st.binary(max_size=400))
def test_any_request_is_read_or_refused(data):
    for parse in (p.parse_ops, p.parse_range, p.parse_key, p.parse_number, p.parse_hello):
        try:
            parse(memoryview(data))
        except p.BadRequest:
            pass


@pytest.mark.parametrize("far", [False, True])
@pytest.mark.parametrize("kind", READERS)
@given(st.lists(drafts, max_size=5), st.integers(1, 2048))
def test_a_stream_of_records_survives(kind, far, records, step):
    reader = kind()
    data = reader.begin(stream_of(records, reader, far))
    found = []
    for start in range(0, len(data), step):
        found += reader.feed(data[start : start + step])
    assert [fields(r) for _, r in found] == [fields(r) for r in records]
    assert reader.count == len(records) and reader.done == 0


@pytest.mark.parametrize("kind", READERS)
@settings(max_examples=200)
@given(st.lists(drafts, min_size=1, max_size=4), st.data())
def test_a_stream_goes_on_wherever_it_broke(kind, records, data):
    """Break anywhere, ask for the rest as HandsetLink does; every record comes once, whole."""
    reader = kind()
    found = []
    for _ in range(20):
        rest = records[reader.count :]
        wire = reader.begin(stream_of(rest, reader))
        cut = data.draw(st.integers(0, len(wire)))
        found += reader.feed(wire[:cut])
        if cut == len(wire):
            break
    else:
        found += reader.feed(wire[cut:])
    assert [fields(r) for _, r in found] == [fields(r) for r in records]


@pytest.mark.parametrize("kind", READERS)
def test_another_version_meanwhile_starts_the_record_anew(kind):
    old = layout.Record(1, b"u", b"old" * 100, seq=4)
    new = layout.Record(1, b"u", b"new", seq=5)
    reader = kind()
    reader.feed(reader.begin(stream_of([old], reader))[:99])
    assert reader.seq == 4 and reader.done > 80
    found = reader.feed(reader.begin(stream_of([new], reader)))
    assert [r.body for _, r in found] == [b"new"]


@pytest.mark.parametrize("kind", READERS)
def test_a_body_that_cannot_be_read_is_marked_and_the_next_record_comes(kind):
    class Torn(layout.Record):
        def body_chunks(self):
            yield b"x" * 100
            raise errors.Damaged("sector 7")

    torn = Torn(1, b"torn", b"x" * 300, seq=4)
    whole = layout.Record(1, b"whole", b"FN:B\n", seq=5)
    reader = kind()
    found = reader.feed(reader.begin(stream_of([torn, whole], reader)))
    assert [r.uid for _, r in found] == [b"whole"]
    assert reader.damaged == [(1, b"torn", 4)]


@pytest.mark.parametrize("kind", READERS)
def test_a_stream_of_nonsense_is_refused(kind):
    reader = kind()
    with pytest.raises(p.BadRequest):
        reader.feed(reader.begin(b"\0\0\0\0" + b"\xff" * 100))


@pytest.mark.parametrize(
    "error", [errors.NoSpace("full", 4096), errors.NotFound("no"), p.NoSession("x")]
)
def test_errors_keep_class_message_and_number(error):
    name, message, number = ph.parse_error(p.pack_error(error))
    assert (name, message) == (type(error).__name__, str(error))
    assert number == getattr(error, "missing_bytes", 0)


def test_long_messages_are_cut_between_characters():
    name, message, _ = ph.parse_error(p.pack_error(errors.Damaged("\u00e9" * 300)))
    assert name == "Damaged" and set(message) <= {"\u00e9"} and len(message) <= 100
    assert len(p.pack_error(errors.Damaged("x" * 999))) <= p.CACHED_REPLY_BYTES


def test_a_request_fits_the_handset_as_promised():
    """One piece of a blob is one request."""
    assert len(ph.numbered(p.BLOB_DATA, 0, bytes(p.BLOB_DATA_BYTES))) <= p.REQUEST_BYTES


def test_short_heads_are_short():
    """15 bytes less a record; what does not fit has a long head."""
    records = [layout.Record(1, b"u%d" % n, b"x" * 99, seq=n + 1, rev=1) for n in range(50)]
    reader = ph.ShortReader()
    assert len(stream_of(records)) - len(stream_of(records, reader)) == 50 * 15
    for odd in ({"parent": 1}, {"rev": 256}, {"stamp": 1 << 30}, {"seq": 1 << 31}):
        record = layout.Record(1, b"u", b"x", **{"seq": 1, "rev": 1, **odd})
        assert p.short_head(record, 1, (0, 0, 0))[0] == p.LONG_HEAD
        found = reader.feed(reader.begin(stream_of([record], reader)))
        assert fields(found[0][1]) == fields(record)


@pytest.mark.parametrize("kind", READERS)
@given(st.binary(max_size=300))
def test_any_stream_is_read_or_refused(kind, data):
    reader = kind()
    try:
        reader.feed(reader.begin(bytes(4) + data))
    except (p.BadRequest, errors.DrybagError):
        pass
