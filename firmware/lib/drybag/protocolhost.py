"""What the frames on the serial line say: the host's end of drybag.protocol. Pure."""

import json
import struct
from binascii import b2a_base64

from drybag import errors, layout
from drybag import protocol as p
from drybag.frame import MAX_FROM_BOARD


def hello(window, now=0, chunk_bytes=MAX_FROM_BOARD):
    """Request HELLO. `window`: chunks of at most `chunk_bytes` that the host takes unacknowledged.

    `now`: seconds since 2000, 0 if not known.
    """
    return struct.pack(p._HELLO, p.HELLO, p.VERSION, p.VERSION, window, chunk_bytes, now)


def ranged(verb, start=0, seq=0, done=0, rest=b""):
    """Request for a stream of records from `start` on (see protocol.parse_range)."""
    return struct.pack(p._RANGE, verb, start, seq, done) + rest


def key(kind, uid):
    """kind, length, uid. Raises TooLarge."""
    if len(uid) > layout.MAX_UID:
        raise errors.TooLarge("a uid of %d bytes: at most %d" % (len(uid), layout.MAX_UID))
    return struct.pack("<BB", kind, len(uid)) + uid


def numbered(verb, number, rest=b""):
    """Request that begins with a u32."""
    return struct.pack("<BI", verb, number) + rest


def pair(host, port, owner, device, secret, ca):
    """Request PAIR. `ca`: the DER of the hub's CA certificate. Raises TooLarge."""
    fields = {"host": host, "port": port, "owner": owner, "device": device, "secret": secret}
    fields["ca"] = b2a_base64(ca).decode().strip()
    data = bytes((p.PAIR,)) + json.dumps(fields).encode()
    if len(data) > p.REQUEST_BYTES:
        raise errors.TooLarge("the hub's certificate and names do not fit one request")
    return data


def network(what, ssid, password=b"", priority=0):
    """Request NETWORK: know or forget the network `ssid`. Raises TooLarge."""
    if len(ssid) > 32 or len(password) > 64:
        raise errors.TooLarge("a network has a name of 32 bytes and a password of 64 at most")
    return struct.pack("<BBBB", p.NETWORK, what, priority, len(ssid)) + ssid + password


def put(kind, uid, body, blobs=(), parent=0, size=None):
    """Operation PUT; with `size`, `body` is the SHA-256 of a blob of so many bytes that holds it.

    Raises TooLarge.
    """
    if len(blobs) > layout.MAX_BLOBS:
        raise errors.TooLarge("%d blobs in a record: at most %d" % (len(blobs), layout.MAX_BLOBS))
    flags = 0 if size is None else p.BODY_IS_BLOB
    size = len(body) if size is None else size
    return (
        bytes((p.OP_PUT,))
        + key(kind, uid)
        + struct.pack("<BBII", flags, len(blobs), parent, size)
        + b"".join(blobs)
        + body
    )


def delete(kind, uid):
    """Operation DELETE."""
    return bytes((p.OP_DELETE,)) + key(kind, uid)


def undelete(kind, uid):
    """Operation UNDELETE."""
    return bytes((p.OP_UNDELETE,)) + key(kind, uid)


def parse_numbers(data):
    """All of `data` as a list of u32."""
    return [struct.unpack_from("<I", data, at)[0] for at in range(0, len(data) - 3, 4)]


def parse_digest(data):
    """(count, 32 bytes) of the answer to DIGEST."""
    return struct.unpack_from("<I", data, 0)[0], bytes(data[4:36])


def parse_error(data):
    """(class name, message, number) of an ERROR frame's payload."""
    number, length = struct.unpack_from("<IB", data, 0)
    name = bytes(data[5 : 5 + length])
    text = bytes(data[5 + length :])
    return _text(name), _text(text), number


def _text(data):
    try:
        return data.decode()
    except UnicodeError:
        return "".join([chr(c) if 32 <= c < 127 else "?" for c in data])


class RecordReader:
    """Puts records together from chunks of a stream.

    After a break: `cursor` of the last complete record, `count` of complete ones, and `seq` and
    `done` of the one under way, so that the stream can go on in its middle.
    """

    def __init__(self, cursor=0):
        self.cursor = cursor
        self.count = 0
        self.damaged = []
        self._buf = bytearray()
        self._size = 0

    @property
    def seq(self):
        return struct.unpack_from("<I", self._buf, 4)[0] if len(self._buf) >= 8 else 0

    @property
    def done(self):
        return len(self._buf) if len(self._buf) >= 8 else 0

    def begin(self, data):
        """The first chunk of a stream, which says where it begins; gives the rest of it.

        A stream begins with a u32: how much of its first record is left out. If that is not
        what was asked for, the record under way is another version now.
        """
        if struct.unpack_from("<I", data, 0)[0] != len(self._buf):
            self._buf = bytearray()
            self._size = 0
        return data[4:]

    def feed(self, data):
        """The records that are complete now: [(cursor, Record)]. A damaged body's is left out.

        Raises BadRequest where the stream makes no sense.
        """
        self._buf += data
        found = []
        while True:
            if not self._size and len(self._buf) >= p.RECORD_BYTES:
                uid_len, nblobs, _, body = struct.unpack_from("<BBII", self._buf, 16)
                if body > layout.MAX_BODY:
                    raise p.BadRequest("a record of %d bytes in the stream" % body)
                self._size = p.RECORD_BYTES + uid_len + 32 * nblobs + body + 1
            if not self._size or len(self._buf) < self._size:
                return found
            item = bytes(self._buf[: self._size])
            self._buf = self._buf[self._size :]
            self._size = 0
            self.count += 1
            self.cursor, record = parse_record(item)
            if item[-1] == p.INTACT:
                found.append((self.cursor, record))
            else:
                self.damaged.append((record.kind, record.uid, record.seq))


class ShortReader:
    """As RecordReader, for a stream with short heads: `done` counts what is behind the head."""

    def __init__(self, cursor=0):
        self.cursor = cursor
        self.count = 0
        self.damaged = []
        self._buf = bytearray()
        self._head = None
        self._kept = None
        self._before = (0, 0, 0)

    @property
    def seq(self):
        return self._head[1] if self._head else 0

    @property
    def done(self):
        return len(self._buf) if self._head else 0

    def begin(self, data):
        """As RecordReader.begin; the record under way comes with its head again."""
        left_out = struct.unpack_from("<I", data, 0)[0]
        if left_out and left_out != self.done:
            raise p.BadRequest("the stream leaves out %d bytes nobody has" % left_out)
        self._kept = self._buf if left_out else bytearray()
        self._buf, self._head, self._before = bytearray(), None, (0, 0, 0)
        return data[4:]

    def feed(self, data):
        """As RecordReader.feed."""
        self._buf += data
        found = []
        while True:
            if self._head is None and not self._take_head():
                return found
            _, _, _, _, _, _, uid_len, nblobs, _, size = self._head
            total = uid_len + 32 * nblobs + size + 1
            if len(self._buf) < total:
                return found
            item = bytes(self._buf[:total])
            head, self._head, self._buf = self._head, None, self._buf[total:]
            self.count += 1
            self.cursor, record = _record(head, item, 0)
            if item[-1] == p.INTACT:
                found.append((self.cursor, record))
            else:
                self.damaged.append((record.kind, record.uid, record.seq))

    def _take_head(self):
        """True once the head is there. Raises BadRequest where it makes no sense."""
        buf = self._buf
        if len(buf) < p.SHORT_BYTES or (buf[0] == p.LONG_HEAD and len(buf) <= p.RECORD_BYTES):
            return False
        if buf[0] == p.LONG_HEAD:
            head = struct.unpack_from(p._RECORD, buf, 1)
            size = 1 + p.RECORD_BYTES
        else:
            what, uid_len, rev, body, seq, cursor, stamp = struct.unpack_from(p._SHORT, buf, 0)
            cursor, seq, stamp = (
                self._before[0] + cursor, self._before[1] + seq, self._before[2] + stamp,
            )  # fmt: skip
            flags = p.DELETED if what & 8 else 0
            head = (cursor, seq, stamp, rev, what & 7, flags, uid_len, what >> 4, 0, body)
            size = p.SHORT_BYTES
        if head[9] > layout.MAX_BODY or min(head[:3]) < 0:
            raise p.BadRequest("a record of %d bytes in the stream" % head[9])
        self._head, self._before = head, head[:3]
        self._buf = self._kept + buf[size:]
        self._kept = bytearray()
        return True


def parse_record(item):
    """(cursor, Record) of one whole item of a stream of records."""
    return _record(struct.unpack_from(p._RECORD, item, 0), item, p.RECORD_BYTES)


def _record(head, item, at):
    """(cursor, Record) of a head's fields and the item that has uid, names and body from `at`."""
    cursor, seq, stamp, rev, kind, flags, uid_len, nblobs, parent, size = head
    uid = item[at : at + uid_len]
    at += uid_len
    blobs = [item[at + 32 * i : at + 32 * i + 32] for i in range(nblobs)]
    at += 32 * nblobs
    body = item[at : at + size]
    deleted = bool(flags & p.DELETED)
    return cursor, layout.Record(kind, uid, body, blobs, parent, seq, stamp, rev, deleted)
