"""What the frames on the serial line say: the handset's end. Pure; SPEC.md "Messages" in words.

The host sends one request at a time, in fragments; the handset answers with a stream of chunks,
an error, or both in that order. A request that changes something is carried out once, however
often its frames arrive. Numbers are little endian.
"""

import struct

from drybag import errors
from drybag.frame import STATE, WORKING  # noqa: F401, two of those below
from drybag.port import const

VERSION = const(1)

# Kinds of frames towards the board. LAST is added to the final fragment or chunk.
REQUEST = const(1)
ACK = const(2)
ASK = const(3)
CANCEL = const(4)
# Kinds of frames from the board.
GOT = const(0x11)
CHUNK = const(0x12)
ERROR = const(0x13)
LAST = const(0x80)

# What a STATE says of the request it is asked about.
UNKNOWN = const(0)
LOST = const(1)

# First byte of a request.
HELLO = const(1)
STATS = const(2)
GET = const(3)
CHANGES = const(4)
FIND = const(5)
HISTORY = const(6)
BLOB_SIZES = const(7)
READ_BLOB = const(8)
DIGEST = const(9)
COMPARE = const(10)
SCRUB = const(11)
SET_TIME = const(12)
READ_FLASH = const(13)
BOARD = const(14)
READ_CHIP = const(15)
WRITE = const(20)
BLOB_BEGIN = const(21)
BLOB_DATA = const(22)
BLOB_END = const(23)
SET_BAUD = const(30)
PAIR = const(40)
NETWORK = const(41)
UNPAIR = const(42)
SYNC = const(43)

NETWORK_KNOW = const(1)
NETWORK_FORGET = const(2)
SYNC_TELL = const(0)
SYNC_NOW = const(1)
SYNC_ACCEPT = const(2)
SYNC_REFUSE = const(3)
SYNC_OFF = const(4)

OP_PUT = const(1)
OP_DELETE = const(2)
OP_UNDELETE = const(3)
BODY_IS_BLOB = const(1)

DELETED = const(1)
INTACT = const(0)
BODY_DAMAGED = const(1)

ABSENT = const(0)
SAME = const(1)
DIFFERS = const(2)
TOMBSTONE = const(3)
NO_BLOB = const(0xFFFFFFFF)

REQUEST_BYTES = const(2080)
BLOB_DATA_BYTES = const(2048)
CACHED_REPLY_BYTES = const(256)
FEATURES = (
    "blobs", "compare", "history", "scrub", "time", "body-blob", "short-heads", "sync",
)  # fmt: skip

_HELLO = "<BBBBHI"
_RANGE = "<BIII"
_RECORD = "<IIIHBBBBII"
RECORD_BYTES = const(26)
_SHORT = "<BBBHhhh"
SHORT_BYTES = const(11)
LONG_HEAD = const(0xFF)
SHORT_HEADS = const(1)
_FAR = const(0x8000)
_MESSAGE_BYTES = const(200)


class NoSession(errors.DrybagError):
    """The handset does not know this session: it was restarted, or another host spoke to it."""

    exit_code = 14


class BadRequest(errors.BadInput):
    """A request that makes no sense to this version of the handset."""


# --- requests, as the handset reads them ------------------------------------------------------


def parse_hello(data):
    """(lowest version, highest version, window in chunks, chunk in bytes, host's time).

    The time is seconds since 2000, or 0.
    """
    return _take(_HELLO, data, 0)[1:]


def parse_range(data):
    """(start, seq, done, rest): where a stream of records begins, and what follows in `data`.

    `start`: records to skip (CHANGES: the cursor); `done`: bytes the host has of the first
    record, if that is still version `seq`.
    """
    _, start, seq, done = _take(_RANGE, data, 0)
    return start, seq, done, data[13:]


def parse_key(data):
    """(kind, uid, rest) where `data` begins with kind u8, length u8, uid."""
    kind, length = _take("<BB", data, 0)
    uid = bytes(data[2 : 2 + length])
    if len(uid) != length:
        raise BadRequest("a key is cut short")
    return kind, uid, data[2 + length :]


def parse_number(data, at=1):
    """The u32 at byte `at`."""
    return _take("<I", data, at)[0]


def parse_ops(data):
    """The operations of a WRITE request, as `journal.batch` takes them.

    A body that is stored as a blob comes as (sha, size) in the place of bytes.
    """
    data = data[1:]
    ops = []
    while len(data):
        op = data[0]
        kind, uid, data = parse_key(data[1:])
        if op == OP_DELETE:
            ops.append(("delete", kind, uid))
        elif op == OP_UNDELETE:
            ops.append(("undelete", kind, uid))
        elif op == OP_PUT:
            body, blobs, parent, data = _parse_put(data)
            ops.append(("put", kind, uid, body, blobs, parent))
        else:
            raise BadRequest("unknown operation %d" % op)
    return ops


def _parse_put(data):
    flags, nblobs, parent, size = _take("<BBII", data, 0)
    data = data[10:]
    blobs = [bytes(data[32 * i : 32 * i + 32]) for i in range(nblobs)]
    data = data[32 * nblobs :]
    if flags & BODY_IS_BLOB:
        body = (bytes(data[:32]), size)
        size = 32
    else:
        body = bytes(data[:size])
    if len(data) < size or (nblobs and len(blobs[-1]) != 32):
        raise BadRequest("an operation is cut short")
    return body, blobs, parent, data[size:]


def parse_network(data):
    """(what: NETWORK_KNOW or NETWORK_FORGET, priority, SSID, password) of a NETWORK request."""
    _, what, priority, length = _take("<BBBB", data, 0)
    ssid = bytes(data[4 : 4 + length])
    if len(ssid) != length or what not in (NETWORK_KNOW, NETWORK_FORGET):
        raise BadRequest("a network makes no sense")
    return what, priority, ssid, bytes(data[4 + length :])


def _take(form, data, at):
    if len(data) < at + struct.calcsize(form):
        raise BadRequest("a request is cut short")
    return struct.unpack_from(form, data, at)


# --- answers, as the handset writes them ------------------------------------------------------


def record_head(record, cursor=0):
    """What comes before a record's body in a stream of records."""
    return _long_head(record, cursor) + _names(record)


def _long_head(record, cursor):
    return struct.pack(
        _RECORD,
        cursor,
        record.seq,
        record.stamp,
        record.rev,
        record.kind,
        DELETED if record.deleted else 0,
        len(record.uid),
        len(record.blobs),
        record.parent,
        0 if record.deleted else record.body_size,
    )


def _names(record):
    return record.uid + b"".join(record.blobs)


def short_head(record, cursor, before):
    """The head of a record in a stream of short heads; uid and blob names come behind it.

    `before`: (cursor, seq, stamp) of the record before it in the stream, zeros for the first.
    """
    size = 0 if record.deleted else record.body_size
    steps = (record.seq - before[1], cursor - before[0], record.stamp - before[2])
    near = min(steps) >= -_FAR and max(steps) < _FAR
    if not near or record.parent or record.rev > 255 or size > 65535:
        return bytes((LONG_HEAD,)) + _long_head(record, cursor)
    what = record.kind | (8 if record.deleted else 0) | len(record.blobs) << 4
    return struct.pack(_SHORT, what, len(record.uid), record.rev, size, *steps)


def record_pieces(record, cursor=0):
    """A record for the stream, piece by piece; each piece is valid until the next.

    A body that cannot be read to its end is filled up with zeros and marked.
    """
    yield _long_head(record, cursor)
    yield from rest_pieces(record)


def rest_pieces(record):
    """As record_pieces, without the head: uid, blob names, body, status."""
    yield _names(record)
    left = 0 if record.deleted else record.body_size
    status = INTACT
    try:
        if left:
            for piece in record.body_chunks():
                piece = memoryview(piece)[:left]
                left -= len(piece)
                yield piece
    except errors.Damaged:
        status = BODY_DAMAGED
    if left:
        status = BODY_DAMAGED
    while left:
        piece = bytes(min(left, 64))
        left -= len(piece)
        yield piece
    yield bytes((status,))


def stream(items, seq, done, short=False):
    """Pieces of the stream of (cursor, record); None stays None.

    Begins with how many bytes of the first record are left out: `done`, if it is version `seq`.
    `short`: with short heads, of which nothing is left out.
    """
    before = None
    for item in items:
        if item is None:
            yield None
            continue
        cursor, record = item
        skip = 0
        if before is None:
            before = (0, 0, 0)
            skip = done if seq and record.seq == seq else 0
            yield struct.pack("<I", skip)
        if short:
            yield short_head(record, cursor, before)
            before = (cursor, record.seq, record.stamp)
        for piece in rest_pieces(record) if short else record_pieces(record, cursor):
            if skip >= len(piece):
                skip -= len(piece)
            else:
                yield memoryview(piece)[skip:]
                skip = 0
    if before is None:
        yield b"\0\0\0\0"


def pack_error(error):
    """An exception as the payload of an ERROR frame: number u32, length u8, class, message.

    The number is `missing_bytes` of NoSpace, `boot` of NoSession.
    """
    name = type(error).__name__.encode()
    number = getattr(error, "missing_bytes", 0) or getattr(error, "boot", 0)
    text = error.args[0] if error.args and isinstance(error.args[0], str) else str(error)
    text = text.encode()
    if len(text) > _MESSAGE_BYTES:
        text = text[:_MESSAGE_BYTES]
        while text and text[-1] > 127:
            text = text[:-1]
    return struct.pack("<IB", number & 0xFFFFFFFF, len(name)) + name + text
