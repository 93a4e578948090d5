"""Every byte of the journal on flash: constants, headers, entries. Pure; SPEC.md says it in words.

All numbers little endian. A log segment is one 4 KiB sector of 64 units of 64 bytes, used column
by column (SPEC.md, "Columns"), so that no program touches the 256-byte page of the previous one.
"""

import hashlib
import struct
from binascii import crc32

from drybag.errors import Damaged, NotFound, TooLarge
from drybag.port import const

SECTOR = const(4096)
UNIT = const(64)
UNITS = const(64)
DATA_UNITS = const(60)
MAX_ENTRY_UNITS = const(24)

VERSION = const(1)
MAGIC = const(0xDB53)
LOG = const(1)
BLOB = const(2)
SPARE = const(3)
PREFIX_BYTES = const(16)
_PREFIX = "<HBBII"
_LOG_REST = "<IIIBBHIIIIHHII"
_BLOB_REST = "<32sIHHI"

ENTRY_MAGIC = const(0xE5)
ENTRY_BYTES = const(22)
_ENTRY = "<BBHIIHBBHI"
OP_PUT = const(1)
OP_DELETE = const(2)
OP_INDEX = const(3)
OP_SEAL = const(4)
OP_PUT_BIG = const(5)
OP_COMMIT = const(6)
OP_MASK = const(7)
F_BATCH = const(8)
F_BASE = const(16)
F_PARENT = const(32)
F_NO_TIME = const(64)
F_BLOBS_HIGH = const(128)
F_KEEP = const(128)  # of a DELETE, which has no blobs: the hub had still to learn of it

MAX_UID = const(200)
MAX_BODY = const(65536)
MAX_BLOBS = const(14)  # an entry holds 15 names: one is for a body that is stored as a blob
MAX_SALT = const(3)
BLOB_DATA = const(4032)
MAX_BLOB_CHUNKS = const(4096)
MAX_NUMBER = const(0x3FFFFFF)
MAX_SEQ = 0xFFFFFFFF  # never given to an entry: as the next one it says that all are used
INDEX_BYTES = const(12)
INDEX_PER_CHUNK = const(120)
BLANK = b"\xff" * 64

CONTACT, EVENT, TODO, NOTE, PHOTO, CALENDAR = 1, 2, 3, 4, 5, 6
SETTING = 7  # the handset's own: no PIM record, never shown, sent or exported
KIND_NAMES = {1: "contact", 2: "event", 3: "todo", 4: "note", 5: "photo", 6: "calendar"}


def unit_offset(position):
    """Byte offset in its sector of the unit written as number `position` (0..63)."""
    return ((position & 15) << 8) | ((position >> 4) << 6)


def next_position(position):
    """The data position after `position`; 64 when the segment is full."""
    position += 1
    if position & 15 == 15 and position != 63:
        position += 1
    return position


def units_left(position):
    """Data units from `position` (a data position, or 64) to the end of the segment."""
    return 64 - position - (3 - ((position + 1) >> 4) if position < 48 else 0)


def units_for(payload_bytes):
    """Units an entry with so many payload bytes takes."""
    return (ENTRY_BYTES + payload_bytes + UNIT - 1) // UNIT


def pack_prefix(segment_type, epoch, number):
    """The first 16 bytes of a segment: what the boot scan reads."""
    head = struct.pack(_PREFIX, MAGIC, VERSION, segment_type, epoch, number)
    return head + struct.pack("<I", crc32(head))


def parse_prefix(buf):
    """(version, type, epoch, number) of a segment's first 16 bytes, or None."""
    magic, version, kind, epoch, number, crc = struct.unpack_from("<HBBIII", buf, 0)
    if magic != MAGIC or crc32(bytes(buf[:12])) != crc:
        return None
    return version, kind, epoch, number


class LogHeader:
    """Header unit of a log segment; SPEC.md "Log segment header"."""

    __slots__ = (
        "epoch", "number", "first", "ckpt", "resume", "copy_units", "prev_units", "copy_crc",
        "next_seq", "stamp", "next_blob", "ckpt_chunks", "ckpt_id", "source",
    )  # fmt: skip

    def __init__(self):
        for name in ("epoch", "number", "first", "ckpt", "resume", "copy_units", "prev_units",
                     "copy_crc", "next_seq", "stamp", "next_blob", "ckpt_chunks",
                     "ckpt_id", "source"):  # fmt: skip
            setattr(self, name, 0)

    def pack(self):
        """64 bytes, ready to program."""
        rest = struct.pack(
            _LOG_REST, self.first, self.ckpt, self.resume, self.copy_units, self.prev_units, 0,
            self.copy_crc, self.next_seq, self.stamp, self.next_blob, self.ckpt_chunks, 0,
            self.ckpt_id, self.source,
        )  # fmt: skip
        return pack_prefix(LOG, self.epoch, self.number) + rest + struct.pack("<I", crc32(rest))


def parse_log_header(buf):
    """LogHeader of a 64-byte unit, or None where a CRC does not match."""
    prefix = parse_prefix(buf)
    if prefix is None or prefix[1] != LOG:
        return None
    if crc32(bytes(buf[16:60])) != struct.unpack_from("<I", buf, 60)[0]:
        return None
    h = LogHeader()
    h.epoch, h.number = prefix[2], prefix[3]
    (h.first, h.ckpt, h.resume, h.copy_units, h.prev_units, _, h.copy_crc, h.next_seq, h.stamp,
     h.next_blob, h.ckpt_chunks, _, h.ckpt_id, h.source) = struct.unpack_from(
        _LOG_REST, buf, 16)  # fmt: skip
    return h


def pack_blob_header(epoch, number, sha, size, length, data_crc):
    """64 bytes before a blob chunk: `size` of the whole blob, `length` of this chunk, bytes."""
    rest = struct.pack(_BLOB_REST, sha, size, length, 0xFFFF, data_crc)
    return pack_prefix(BLOB, epoch, number) + rest + struct.pack("<I", crc32(rest))


def parse_blob_header(buf):
    """(epoch, number, sha, size, length, data_crc) of a blob chunk's header, or None."""
    prefix = parse_prefix(buf)
    if prefix is None or prefix[1] != BLOB:
        return None
    if crc32(bytes(buf[16:60])) != struct.unpack_from("<I", buf, 60)[0]:
        return None
    sha, size, length, _, data_crc = struct.unpack_from(_BLOB_REST, buf, 16)
    return prefix[2], prefix[3], sha, size, length, data_crc


def pack_entry(buf, epoch, op, seq, stamp, kind, uid, body=b"", blobs=(), parent=0, rev=0,
               salt=0, base=0):  # fmt: skip
    """Write an entry into `buf` (preallocated) and return its length in units.

    The CRCs start from `epoch`, so that bytes of another journal never pass for entries. `op`
    carries the flags; padding is 0xFF. Raises TooLarge beyond MAX_ENTRY_UNITS.
    """
    if parent:
        op |= F_PARENT
    if base:
        op |= F_BASE
    length = len(uid) + _numbers_bytes(op) + 32 * len(blobs) + len(body)
    units = units_for(length)
    if units > MAX_ENTRY_UNITS:
        raise TooLarge("entry of %d bytes exceeds %d" % (length, MAX_ENTRY_UNITS * UNIT))
    at = ENTRY_BYTES
    buf[at : at + len(uid)] = uid
    at += len(uid)
    if parent:
        struct.pack_into("<I", buf, at, parent)
        at += 4
    if base:
        struct.pack_into("<I", buf, at, base)
        at += 4
    for sha in blobs:
        buf[at : at + 32] = sha
        at += 32
    buf[at : at + len(body)] = body
    at += len(body)
    buf[at : units * UNIT] = BLANK[: units * UNIT - at]
    what = kind | (salt << 3) | ((len(blobs) & 7) << 5)
    if len(blobs) & 8:
        op |= F_BLOBS_HIGH
    struct.pack_into(
        _ENTRY, buf, 0, ENTRY_MAGIC, op, 0, seq, stamp, length, len(uid), what, rev, 0
    )
    sign_entry(buf, epoch, length)
    return units


def _numbers_bytes(op):
    """Bytes of the payload between uid and blob names: parent and base."""
    return (4 if op & F_PARENT else 0) + (4 if op & F_BASE else 0)


def sign_entry(buf, epoch, length):
    """Write both CRCs of the entry whose other header bytes and payload are in `buf`."""
    view = memoryview(buf)
    crc = crc32(view[ENTRY_BYTES : ENTRY_BYTES + length], _header_crc(view, 18, epoch))
    struct.pack_into("<I", buf, 18, crc)
    struct.pack_into("<H", buf, 2, _header_crc(view, 22, epoch) & 0xFFFF)


def _header_crc(view, end, epoch):
    return crc32(view[4:end], crc32(view[0:2], epoch))


class Entry:
    """A parsed entry header. `units` is its length in flash units."""

    __slots__ = ("epoch", "op", "flags", "seq", "stamp", "length", "uid_len", "kind", "salt",
                 "nblobs", "rev", "crc", "units")  # fmt: skip

    def __init__(self, epoch=0):
        self.epoch = epoch

    def parse(self, buf):
        """Fill in from the first 22 bytes of `buf`; False where no valid header stands there."""
        if buf[0] != ENTRY_MAGIC:
            return False
        (_, op, hcrc, self.seq, self.stamp, self.length, self.uid_len, what, self.rev,
         self.crc) = struct.unpack_from(_ENTRY, buf, 0)  # fmt: skip
        if _header_crc(memoryview(buf), 22, self.epoch) & 0xFFFF != hcrc:
            return False
        self.op = op & OP_MASK
        self.flags = op
        self.kind = what & 7
        self.salt = (what >> 3) & 3
        self.nblobs = (what >> 5) | (8 if op & F_BLOBS_HIGH else 0)
        if self.op == OP_DELETE:
            self.nblobs = 0
        self.units = units_for(self.length)
        if self.op == 0 or (self.op == OP_PUT_BIG and not self.nblobs):
            return False  # nobody writes such
        if self.seq == MAX_SEQ and self.op != OP_INDEX:
            return False
        return self.units <= MAX_ENTRY_UNITS

    def intact(self, buf):
        """True if header and payload in `buf` (whole units) match the CRC."""
        view = memoryview(buf)
        end = ENTRY_BYTES + self.length
        return crc32(view[ENTRY_BYTES:end], _header_crc(view, 18, self.epoch)) == self.crc

    def uid(self, buf):
        return bytes(buf[ENTRY_BYTES : ENTRY_BYTES + self.uid_len])

    def parent(self, buf):
        if not self.flags & F_PARENT:
            return 0
        return struct.unpack_from("<I", buf, ENTRY_BYTES + self.uid_len)[0]

    def base(self, buf):
        """Content id of the version that this one replaces, as agreed with the hub; 0 none."""
        if not self.flags & F_BASE:
            return 0
        at = ENTRY_BYTES + self.uid_len + (4 if self.flags & F_PARENT else 0)
        return struct.unpack_from("<I", buf, at)[0]

    def blob(self, buf, i):
        at = ENTRY_BYTES + self.uid_len + _numbers_bytes(self.flags) + 32 * i
        return bytes(buf[at : at + 32])

    def body_span(self):
        """(start, end) of the body in the entry's bytes."""
        start = ENTRY_BYTES + self.uid_len + _numbers_bytes(self.flags)
        return start + 32 * self.nblobs, ENTRY_BYTES + self.length

    def commits_from(self, buf):
        """First seq of the batch that this commit entry closes."""
        return struct.unpack_from("<I", buf, ENTRY_BYTES)[0]

    def is_put(self):
        return self.op == OP_PUT or self.op == OP_PUT_BIG

    def is_kept(self):
        """A tombstone of a PIM record that is pending until the hub has it."""
        return self.op == OP_DELETE and self.flags & F_KEEP and self.kind != SETTING


class Record:
    """One version of a PIM record.

    kind (1..6), uid (bytes), body (bytes; see `load`), blobs (tuple of 32-byte SHA-256), parent
    (u32, 0 none), seq, stamp (seconds since 2000-01-01, 0 unknown), rev, deleted, base (content id
    of the version that it replaces, as last agreed with the hub; 0 none), no_time (the clock was
    not set when it was made).
    """

    __slots__ = ("kind", "uid", "_body", "load", "body_size", "blobs", "parent", "seq", "stamp",
                 "rev", "deleted", "base", "no_time")  # fmt: skip

    def __init__(self, kind, uid, body, blobs=(), parent=0, seq=0, stamp=0, rev=0, deleted=False,
                 base=0, no_time=False):  # fmt: skip
        self.kind = kind
        self.uid = uid
        self._body = body
        self.load = None
        self.body_size = 0 if body is None else len(body)
        self.blobs = tuple(blobs)
        self.parent = parent
        self.seq = seq
        self.stamp = stamp
        self.rev = rev
        self.deleted = deleted
        self.base = base
        self.no_time = no_time

    def body_in_blob(self, read, size):
        """The body is the first blob: `read(sha)` gives its pieces, together `size` bytes."""
        sha, self.blobs = self.blobs[0], self.blobs[1:]
        self._body = None
        self.body_size = size
        self.load = lambda: read(sha)

    @property
    def body(self):
        """The whole body; one that is stored as a blob is read now (up to 64 KiB of RAM)."""
        if self._body is None:
            return b"".join([bytes(piece) for piece in self.load()])
        return self._body

    def body_if_intact(self):
        """The body; None where it is damaged, which scrub reports."""
        try:
            return self.body
        except (Damaged, NotFound):
            return None

    def body_chunks(self):
        """The body in pieces of at most 4032 bytes, each valid until the next."""
        if self._body is None:
            yield from self.load()
        else:
            yield self._body


def content_id(parent, blobs, body):
    """u32, not 0, of what a version says: CRC32 of parent, blob names (the record's own, in
    order) and body (bytes, or an iterable of its pieces).
    """
    crc = crc32(struct.pack("<I", parent))
    for sha in blobs:
        crc = crc32(sha, crc)
    if isinstance(body, (bytes, bytearray, memoryview)):
        body = (body,)
    for piece in body:
        crc = crc32(piece, crc)
    return crc or 1


def canonical_head(record):
    """The bytes of a record's canonical form that come before its body."""
    return (
        struct.pack("<BB", record.kind, len(record.uid))
        + record.uid
        + struct.pack(
            "<IIIHB", record.parent, record.seq, record.stamp, record.rev, len(record.blobs)
        )
        + b"".join(record.blobs)
    )


def canonical(record):
    """A record as one string of bytes, the same on handset and host; SPEC.md "Digest"."""
    return canonical_head(record) + record.body


def digest_step(acc, record):
    """XOR the SHA-256 of a record's canonical form into `acc` (an int, 256 bits)."""
    h = hashlib.sha256(canonical_head(record))
    for piece in record.body_chunks():
        h.update(piece)
    return acc ^ int.from_bytes(h.digest(), "big")
