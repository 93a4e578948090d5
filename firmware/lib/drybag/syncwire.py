"""What a handset and its hub say to each other: requests, replies, items. Pure; SPEC.md "Sync".

Both ends use this file; what only a hub needs is in drybag.syncwirehost. Numbers are little
endian. Whoever reads foreign bytes gets BadMessage for anything that is not exactly right.
"""

import struct

from drybag import layout
from drybag.errors import BadInput, FormatNewer
from drybag.port import const

VERSION = const(1)
REQUEST_MAGIC = const(0xD5)
REPLY_MAGIC = const(0xD6)
_REQUEST = "<BBIIIII8sII8sIHH"
REQUEST_BYTES = const(54)
_REPLY = "<BBBI8sI8sIII8sHB"
REPLY_BYTES = const(50)
_BLOB = "<32sI"
BLOB_BYTES = const(36)
ITEMS_BYTES = const(65536)  # of items in one message
MAX_ITEMS = const(0xFFFF)
BODY_BYTES = const(1400)  # a longer body travels as a blob
ITEM_BYTES = const(3600)  # no item is longer
NO_CHECK = b"\0" * 8

# Flags of an item
DELETED = const(1)
BASE = const(2)
PARENT = const(4)
BLOBS = const(8)
BIG = const(16)
NO_TIME = const(32)
_RESERVED = const(64)
RESEND = const(128)

# Flags of a reply
MORE = const(1)
ACK_RESET = const(2)
CURSOR_RESET = const(4)
HELD = const(8)
OFFSITE = const(16)
SET_BACK = const(32)
_REPLY_FLAGS = const(63)

_U32 = const(0xFFFFFFFF)
_ESCAPE = const(0x1F)
_UID = b"\x01"
_UID_LEAST = const(4)


class BadMessage(BadInput):
    """Bytes that are no request, reply or item of this protocol."""


class SyncNewer(FormatNewer):
    """A message of a later version of the protocol: whoever reads it needs an update."""


# --- packed bodies ----------------------------------------------------------------------------

# Part of the format: SPEC.md "Packed bodies". Octet and phrase, in the order in which a packer
# looks for them; one string, as each object more costs a handset's heap 64 bytes.
_PHRASES = (
    b"\x00;ENCODING=QUOTED-PRINTABLE:\xff"
    b"\x02\nEMAIL;TYPE=INTERNET:\xff"
    b"\x03\nSTATUS:NEEDS-ACTION\n\xff"
    b"\x04\nIMAGE:drybag:blob/\xff"
    b"\x05\nLAST-MODIFIED:20\xff"
    b"\x06\nMEDIATYPE:image/\xff"
    b"\x07VERSION:3.0\nUID:\xff"
    b"\x08\nTEL;TYPE=CELL:\xff"
    b"\x0b\nBEGIN:VALARM\n\xff"
    b"\x0c;VALUE=DATE:20\xff"
    b"\x0d\nDESCRIPTION:\xff"
    b"\x0e\nCREATED:20\xff"
    b"\x0f\nDTSTAMP:20\xff"
    b"\x10.X-ABLabel:\xff"
    b"\x11\nLOCATION:\xff"
    b"\x12\nSUMMARY:\xff"
    b"\x13\nDTSTART\xff"
    b"\x14\nEMAIL:\xff"
    b"\x15\nDTEND\xff"
    b"\x16;TYPE=\xff"
    b"\x17\nORG:\xff"
    b"\x18\nitem\xff"
    b"\x19.com\n\xff"
    b"\x1a\nFN:\xff"
    b"\x1b\nTEL\xff"
    b"\x1cUID:\xff"
    b"\x1d\nN:\xff"
    b"\x1e;;;"
)


def phrases():
    """(octet, phrase) of each, in order."""
    return [(entry[:1], entry[1:]) for entry in _PHRASES.split(b"\xff")]


def pack_body(body, uid):
    """`body` with its phrases replaced by single octets."""
    if min(body.replace(b"\n", b"~").replace(b"\t", b"~") + b"~") < 0x20:
        body = _escaped(body)
    if _is_short_for(uid):
        body = body.replace(uid, _UID)
    for entry in _PHRASES.split(b"\xff"):
        phrase = entry[1:]
        if body.find(phrase) >= 0:
            body = body.replace(phrase, entry[:1])
    return body


def _escaped(body):
    """Each control octet but LF and tab behind an escape."""
    out = bytearray()
    for c in body:
        if c < 0x20 and c != 9 and c != 10:
            out.append(_ESCAPE)
        out.append(c)
    return bytes(out)


def unpack_body(data, uid):
    """The body that `data` (bytes) stands for, at most BODY_BYTES of it. Raises BadMessage."""
    if data.find(b"\x1f") >= 0:
        return _unpack_escaped(data, uid)
    size = len(data) + data.count(_UID) * (len(uid) - 1)
    for entry in _PHRASES.split(b"\xff"):
        size += data.count(entry[:1]) * (len(entry) - 2)
    if size > BODY_BYTES:
        raise BadMessage("a body of %d bytes: more than %d travel as a blob" % (size, BODY_BYTES))
    for entry in _PHRASES.split(b"\xff"):
        octet = entry[:1]
        if data.find(octet) >= 0:
            data = data.replace(octet, entry[1:])
    if data.find(_UID) >= 0:
        if not _is_short_for(uid):
            raise BadMessage("this uid has no short form")
        data = data.replace(_UID, uid)
    return data


def _unpack_escaped(data, uid):
    """As unpack_body, octet by octet, for a body that has control octets of its own."""
    by_octet = {octet[0]: phrase for octet, phrase in phrases()}
    out = bytearray()
    at = 0
    while at < len(data):
        c = data[at]
        at += 1
        if c == _ESCAPE:
            if at == len(data):
                raise BadMessage("a body ends within an escape")
            out.append(data[at])
            at += 1
        elif c == 1 and not _is_short_for(uid):
            raise BadMessage("this uid has no short form")
        elif c == 1:
            out.extend(uid)
        elif c < 0x20 and c != 9 and c != 10:
            out.extend(by_octet[c])
        else:
            out.append(c)
        if len(out) > BODY_BYTES:
            raise BadMessage("a body of more than %d bytes travels as a blob" % BODY_BYTES)
    return bytes(out)


def _is_short_for(uid):
    """True if octet 1 stands for the uid."""
    return len(uid) >= _UID_LEAST and min(uid) >= 0x20


# --- items ------------------------------------------------------------------------------------


class Item:
    """One version of a record on its way.

    number (the seq, or the position in the owner's log), kind, uid, stamp, rev, deleted, base,
    parent, blobs (tuple of 32-byte names), body (bytes; b"" of a tombstone, None if it is a blob),
    big ((SHA-256, size) of a body that is one, else None), no_time, resend.
    """

    __slots__ = ("number", "kind", "uid", "stamp", "rev", "deleted", "base", "parent", "blobs",
                 "body", "big", "no_time", "resend")  # fmt: skip

    def __init__(self, number, kind, uid, body=b"", stamp=0, rev=1, deleted=False, base=0,
                 parent=0, blobs=(), big=None, no_time=False, resend=False):  # fmt: skip
        self.number = number
        self.kind = kind
        self.uid = uid
        self.body = None if big else body
        self.stamp = stamp
        self.rev = rev
        self.deleted = deleted
        self.base = base
        self.parent = parent
        self.blobs = blobs
        self.big = big
        self.no_time = no_time
        self.resend = resend

    def names(self):
        """Every blob that must be there before this version counts."""
        return tuple(self.blobs) + (self.big[:1] if self.big else ())

    def _flags(self):
        return (
            (DELETED if self.deleted else 0)
            | (BASE if self.base else 0)
            | (PARENT if self.parent else 0)
            | (BLOBS if self.blobs else 0)
            | (BIG if self.big else 0)
            | (NO_TIME if self.no_time else 0)
            | (RESEND if self.resend else 0)
        )


class Packer:
    """Items into `buf` from byte `at` on, never beyond `end`. `n`: how many; `at`: behind them."""

    def __init__(self, buf, at, end):
        self._buf = buf
        self._end = min(end, at + ITEMS_BYTES, len(buf))
        self._number = self._stamp = 0
        self.at = at
        self.n = 0

    def add(self, item):
        """False, and nothing is written, if it does not fit. The numbers of items must grow."""
        head = bytearray((item._flags(), item.kind))
        put_varint(head, item.number - self._number)
        put_zigzag(head, item.stamp - self._stamp)
        put_varint(head, item.rev)
        head.append(len(item.uid))
        head.extend(item.uid)
        for number in (item.base, item.parent):
            if number:
                head.extend(struct.pack("<I", number))
        if item.blobs:
            head.append(len(item.blobs))
            for sha in item.blobs:
                head.extend(sha)
        body = b""
        if item.big:
            head.extend(item.big[0])
            head.extend(struct.pack("<I", item.big[1]))
        elif not item.deleted:
            body = pack_body(item.body, item.uid)
            put_varint(head, len(body))
        end = self.at + len(head) + len(body)
        if end > self._end or self.n == MAX_ITEMS:
            return False
        middle = self.at + len(head)
        self._buf[self.at : middle] = head
        self._buf[middle:end] = body
        self.at = end
        self.n += 1
        self._number, self._stamp = item.number, item.stamp
        return True


def parse_items(data, at, n):
    """Yields the `n` items from byte `at` of `data` on, which they fill. Raises BadMessage."""
    if len(data) - at > ITEMS_BYTES:
        raise BadMessage("%d bytes of items: at most %d" % (len(data) - at, ITEMS_BYTES))
    reader = Reader(data, at)
    number = stamp = 0
    for _ in range(n):
        item = _parse_item(reader, number, stamp)
        number, stamp = item.number, item.stamp
        yield item
    if reader.at != len(data):
        raise BadMessage("%d bytes behind the last item" % (len(data) - reader.at))


def _parse_item(reader, number, stamp):
    flags, kind = reader.octet(), reader.octet()
    if kind not in layout.KIND_NAMES:
        raise BadMessage("an item of kind %d" % kind)
    if flags & _RESERVED or (flags & DELETED and flags & (PARENT | BLOBS | BIG)):
        raise BadMessage("an item with flags %d" % flags)
    delta = reader.varint()
    number += delta
    stamp += reader.zigzag()
    rev = reader.varint()
    if not delta or number > _U32 or not 0 <= stamp <= _U32 or rev > 0xFFFF:
        raise BadMessage("an item whose number, stamp or revision is out of range")
    size = reader.octet()
    if not 1 <= size <= layout.MAX_UID:
        raise BadMessage("a uid of %d bytes" % size)
    uid = reader.take(size)
    base = reader.u32() if flags & BASE else 0
    parent = reader.u32() if flags & PARENT else 0
    if (flags & BASE and not base) or (flags & PARENT and not parent):
        raise BadMessage("a base or parent of 0")
    blobs = ()
    if flags & BLOBS:
        size = reader.octet()
        if not 1 <= size <= layout.MAX_BLOBS:
            raise BadMessage("%d blobs in one item" % size)
        blobs = tuple([reader.take(32) for _ in range(size)])
    body, big = b"", None
    if flags & BIG:
        big = reader.take(32), reader.u32()
        if not BODY_BYTES < big[1] <= layout.MAX_BODY:
            raise BadMessage("a body of %d bytes as a blob" % big[1])
    elif not flags & DELETED:
        body = unpack_body(reader.take(reader.varint()), uid)
    return Item(
        number, kind, uid, body, stamp, rev, bool(flags & DELETED), base, parent, blobs, big,
        bool(flags & NO_TIME), bool(flags & RESEND),
    )  # fmt: skip


# --- numbers ----------------------------------------------------------------------------------


def put_varint(out, value):
    """Append `value` (0 or more) to a bytearray, seven bits an octet, lowest first."""
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)


def put_zigzag(out, value):
    """Append a number that may be negative."""
    put_varint(out, value << 1 if value >= 0 else (-value << 1) - 1)


class Reader:
    """Takes a message apart; never goes beyond its end. Raises BadMessage."""

    def __init__(self, data, at=0):
        self._data = data
        self.at = at

    def octet(self):
        if self.at >= len(self._data):
            raise BadMessage("a message is cut short")
        self.at += 1
        return self._data[self.at - 1]

    def take(self, size):
        """`size` bytes, as bytes."""
        start = self.at
        if size > len(self._data) - start:
            raise BadMessage("a message is cut short")
        self.at += size
        return bytes(self._data[start : self.at])

    def u32(self):
        return int.from_bytes(self.take(4), "little")

    def varint(self):
        """At most 5 octets, in their shortest form: 35 bits."""
        value = shift = 0
        while True:
            c = self.octet()
            value |= (c & 127) << shift
            if c < 128:
                break
            shift += 7
            if shift > 28:
                raise BadMessage("a number of more than 35 bits")
        if not c and shift:
            raise BadMessage("a number that is not in its shortest form")
        return value

    def zigzag(self):
        value = self.varint()
        return -(value + 1 >> 1) if value & 1 else value >> 1


# --- requests, as the handset writes them -----------------------------------------------------


class Request:
    """The head of a request; the items stand behind it."""

    __slots__ = ("nonce", "epoch", "life", "last_seq", "acked", "ack_check", "upto", "cursor",
                 "cursor_check", "time", "room", "n")  # fmt: skip

    def __init__(self):
        for name in ("nonce", "epoch", "life", "last_seq", "acked", "upto", "cursor", "time",
                     "room", "n"):  # fmt: skip
            setattr(self, name, 0)
        self.ack_check = self.cursor_check = NO_CHECK

    def pack_into(self, buf):
        """Write the head into the first REQUEST_BYTES of `buf`, before the items."""
        struct.pack_into(
            _REQUEST, buf, 0, REQUEST_MAGIC, VERSION, self.nonce, self.epoch, self.life,
            self.last_seq, self.acked, self.ack_check, self.upto, self.cursor, self.cursor_check,
            self.time, self.room, self.n,
        )  # fmt: skip


# --- replies, as the handset reads them -------------------------------------------------------


class Reply:
    """The head of a reply. `wanted`: (name, bytes there) of the blobs the hub lacks; `items_at`:
    where the items begin."""

    __slots__ = ("flags", "nonce", "hub", "ack", "ack_check", "offsite", "time", "cursor",
                 "cursor_check", "wait_s", "wanted", "n", "items_at")  # fmt: skip

    def __init__(self):
        for name in ("flags", "nonce", "ack", "offsite", "time", "cursor", "wait_s", "n",
                     "items_at"):  # fmt: skip
            setattr(self, name, 0)
        self.hub = self.ack_check = self.cursor_check = NO_CHECK
        self.wanted = ()


def parse_reply(data):
    """A Reply of the head of `data`. Raises BadMessage, SyncNewer."""
    check_start(data, REPLY_MAGIC, REPLY_BYTES)
    r = Reply()
    (_, _, r.flags, r.nonce, r.hub, r.ack, r.ack_check, r.offsite, r.time, r.cursor,
     r.cursor_check, r.wait_s, wanted) = struct.unpack_from(_REPLY, data, 0)  # fmt: skip
    if r.flags & ~_REPLY_FLAGS:
        raise BadMessage("a reply with flags %d" % r.flags)
    r.items_at = REPLY_BYTES + BLOB_BYTES * wanted + 2
    if len(data) < r.items_at:
        raise BadMessage("a message is cut short")
    r.wanted = tuple(
        [struct.unpack_from(_BLOB, data, REPLY_BYTES + BLOB_BYTES * i) for i in range(wanted)]
    )
    r.n = int.from_bytes(bytes(data[r.items_at - 2 : r.items_at]), "little")
    return r


def check_start(data, magic, size):
    """Raises BadMessage or SyncNewer unless `data` begins as a message of this version."""
    if len(data) < 2 or data[0] != magic:
        raise BadMessage("these bytes are no sync message")
    if data[1] > VERSION:
        raise SyncNewer("sync version %d: this side knows %d and needs an update"
                        % (data[1], VERSION))  # fmt: skip
    if data[1] != VERSION or len(data) < size:
        raise BadMessage("a message is cut short")


def parse_error(status, body):
    """(class, message, wait_s) of an answer of status 400 or more, fit to be shown."""
    try:
        import json

        said = json.loads(bytes(body).decode())
        name, text, wait_s = said["class"], said["message"], said.get("wait_s", 0)
        if not (isinstance(name, str) and isinstance(text, str)):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", "it answered with status %d" % status, 0
    if not isinstance(wait_s, int) or not 0 <= wait_s <= 86400:
        wait_s = 0
    return _printable(name, 30), _printable(text, 200), wait_s


def _printable(text, size):
    return "".join([c if " " <= c < "\x7f" else "?" for c in text[:size]])

