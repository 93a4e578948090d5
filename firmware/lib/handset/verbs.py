"""What the handset answers to each request of drybag.protocol."""

import gc
import hashlib
import json
import struct
from binascii import hexlify

from drybag import layout
from drybag import protocol as p
from drybag.errors import DrybagError, NotFound
from handset.looking import matching


class Verbs:
    """Answers from `app.journal`, `app.info()` and the clock. `app.fault`: why there is none."""

    def __init__(self, app):
        self._app = app
        self._writer = None
        self._writing = None

    def start(self, request):
        """A generator of the answer's pieces, None for "still at it". `request`: a memoryview.

        Raises what is wrong with the request, or why there is no journal.
        """
        verb = request[0] if len(request) else 0
        if verb == p.HELLO:
            return self._hello(request)
        if verb == p.SET_TIME:
            return self._set_time(request)
        if verb == p.SET_BAUD:
            return self._set_baud(request)
        if verb == p.READ_FLASH:
            return self._read_flash(request, self._app.board.partition())
        if verb == p.READ_CHIP:
            return self._read_flash(request, self._app.board.chip_flash())
        if verb == p.BOARD:
            return self._board()
        make = _VERBS.get(verb)
        if make is None:
            raise p.BadRequest("unknown request %d" % verb)
        if self._app.journal is None:
            raise self._app.fault
        return make(self, self._app.journal, request)

    @property
    def at_rest(self):
        """No blob is on its way."""
        return self._writer is None

    # -- about the handset --------------------------------------------------------------------
    def _hello(self, request):
        low, high, _, _, now = p.parse_hello(request)
        if not low <= p.VERSION <= high:
            raise p.BadRequest(
                "this handset speaks version %d of the protocol, the host %d to %d"
                % (p.VERSION, low, high)
            )
        if now and not self._app.board.clock():
            self._app.board.set_clock(now)
        yield json.dumps(self._app.info()).encode()

    def _set_time(self, request):
        self._app.board.set_clock(p.parse_number(request))
        yield b""

    def _set_baud(self, request):
        self._app.set_baud(p.parse_number(request))
        yield b""

    def _board(self):
        yield json.dumps(self._app.board.hardware()).encode()

    def _read_flash(self, request, device):
        """`count` sectors of `device` from the first on, raw, then their SHA-256; works without a
        journal. With count 0: how many sectors there are, u32."""
        first, count = p.parse_number(request, 1), p.parse_number(request, 5)
        total = device.ioctl(4, 0)
        if not count:
            yield struct.pack("<I", total)
            return
        if first + count > total:
            raise p.BadRequest("sectors %d to %d of %d" % (first, first + count - 1, total))
        digest, buf = hashlib.sha256(), bytearray(1024)
        for sector in range(first, first + count):
            for at in range(0, layout.SECTOR, len(buf)):
                device.readblocks(sector, buf, at)
                digest.update(buf)
                yield buf
        yield digest.digest()

    def _stats(self, journal, request):
        stats = journal.stats()
        stats["sync"] = self._app.sync_info()
        yield json.dumps(_plain(stats)).encode()

    def _scrub(self, journal, request):
        for finding in journal.scrub():
            if finding is None or finding.get("kind") == "progress":
                yield None
            else:
                yield json.dumps(_plain(finding)).encode() + b"\n"

    # -- records ------------------------------------------------------------------------------
    def _get(self, journal, request):
        _, seq, done, rest = p.parse_range(request)
        kind, uid, _ = _key(rest)
        yield from p.stream(_lone(journal, kind, uid), seq, done)

    def _changes(self, journal, request):
        cursor, seq, done, rest = p.parse_range(request)
        short = len(rest) > 4 and rest[4] == p.SHORT_HEADS
        yield from p.stream(_after(journal, p.parse_number(rest, 0), cursor), seq, done, short)

    def _find(self, journal, request):
        skip, seq, done, rest = p.parse_range(request)
        if not rest:
            raise p.BadRequest("a request is cut short")
        kind, text = rest[0], bytes(rest[1:])
        _check_kind(kind)
        yield from p.stream(_matching(journal, text, kind, skip), seq, done)

    def _history(self, journal, request):
        skip, seq, done, rest = p.parse_range(request)
        kind, uid, _ = _key(rest)
        versions = journal.history(kind, uid)[skip:]
        yield from p.stream([(0, record) for record in versions], seq, done)

    def _digest(self, journal, request):
        """As journal.digest(), a few records at a time."""
        while True:
            acc = count = 0
            seq = journal.last_seq
            for record in journal.records():
                acc = layout.digest_step(acc, record)
                count += 1
                yield None
                if journal.last_seq != seq:
                    break
            else:
                break
        if count != journal.count():
            journal.digest()  # raises Damaged with its own words
        yield struct.pack("<I", count) + acc.to_bytes(32, "big")

    def _compare(self, journal, request):
        states = bytearray()
        data = request[1:]
        while len(data):
            kind, uid, data = _key(data)
            sha, data = bytes(data[:32]), data[32:]
            try:
                record = journal.get(kind, uid)
                states.append(p.SAME if _content_sha(record) == sha else p.DIFFERS)
            except NotFound:
                states.append(p.ABSENT)
            except DrybagError:
                states.append(p.DIFFERS)
            yield None
        yield states

    def _write(self, journal, request):
        """All operations or none. The seq of the last, and how many."""
        ops = p.parse_ops(request)
        for op in ops:
            _check_kind(op[1])
        yield None
        seq = _apply(journal, ops)
        yield struct.pack("<II", seq, len(ops))

    # -- blobs --------------------------------------------------------------------------------
    def _blob_sizes(self, journal, request):
        """A u32 a name: its size, or NO_BLOB."""
        answer = bytearray()
        for at in range(1, len(request) - 31, 32):
            sha = bytes(request[at : at + 32])
            size = journal.blob_size(sha) if journal.has_blob(sha) else p.NO_BLOB
            answer += struct.pack("<I", size)
            yield None
        yield answer

    def _read_blob(self, journal, request):
        skip = p.parse_number(request)
        sha = bytes(request[5:37])
        for piece in journal.read_blob(sha):
            if skip >= len(piece):
                skip -= len(piece)
                yield None
            else:
                yield memoryview(piece)[skip:]
                skip = 0

    def _blob_begin(self, journal, request):
        """How much of the blob is here already, u32, and whether it is complete, u8."""
        size, sha = p.parse_number(request), bytes(request[5:37])
        if self._writing != (sha, size) or self._writer is None:
            self._drop_writer()
            if journal.has_blob(sha):
                yield struct.pack("<IB", size, 1)
                return
            self._writer = journal.blob_writer(sha, size)
            self._writing = (sha, size)
        yield struct.pack("<IB", self._writer.received, 0)

    def _blob_data(self, journal, request):
        """How much there is now; the same as before if the piece does not belong there."""
        if self._writer is None:
            raise p.BadRequest("no blob is being received")
        if p.parse_number(request) == self._writer.received:
            try:
                self._writer.write(request[5:])
            except Exception:
                self._drop_writer()
                raise
        yield struct.pack("<I", self._writer.received)

    def _blob_end(self, journal, request):
        writer, self._writer = self._writer, None
        if writer is None:
            raise p.BadRequest("no blob is being received")
        writer.finish()
        yield b""

    # -- the hub ------------------------------------------------------------------------------
    def _pair(self, journal, request):
        """Secrets go in here; no answer ever has them."""
        from drybag import syncsettings
        from drybag.port import random_u32

        syncsettings.pair(journal, _hub(request), random_u32)
        self._app.pairing_changed()
        yield b""

    def _unpair(self, journal, request):
        from drybag import syncsettings

        syncsettings.unpair(journal)
        self._app.pairing_changed()
        yield b""

    def _network(self, journal, request):
        from drybag import syncsettings

        what, priority, ssid, password = p.parse_network(request)
        if what == p.NETWORK_FORGET:
            syncsettings.remove_network(journal, ssid)
        else:
            syncsettings.set_network(journal, ssid, password, priority)
        yield b""

    def _sync(self, journal, request):
        """The person's word about it; without one, how it stands (JSON)."""
        word = request[1] if len(request) > 1 else p.SYNC_TELL
        sync = self._app.sync
        if word == p.SYNC_TELL:
            yield json.dumps(self._app.sync_info()).encode()
            return
        if sync is None:
            raise NotFound("no hub is paired with this handset")
        if word == p.SYNC_NOW:
            sync.now()
        elif word == p.SYNC_OFF:
            sync.turn(False)
        elif word not in (p.SYNC_ACCEPT, p.SYNC_REFUSE):
            raise p.BadRequest("unknown word %d about sync" % word)
        elif not (sync.accept() if word == p.SYNC_ACCEPT else sync.refuse()):
            raise NotFound("no deletions wait for a word")
        yield b""

    def _drop_writer(self):
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                writer.abort()
            except (DrybagError, OSError):
                pass  # the journal closes itself; what is left of the blob is reclaimed later


_VERBS = {
    p.STATS: Verbs._stats,
    p.GET: Verbs._get,
    p.CHANGES: Verbs._changes,
    p.FIND: Verbs._find,
    p.HISTORY: Verbs._history,
    p.BLOB_SIZES: Verbs._blob_sizes,
    p.READ_BLOB: Verbs._read_blob,
    p.DIGEST: Verbs._digest,
    p.COMPARE: Verbs._compare,
    p.SCRUB: Verbs._scrub,
    p.WRITE: Verbs._write,
    p.BLOB_BEGIN: Verbs._blob_begin,
    p.BLOB_DATA: Verbs._blob_data,
    p.BLOB_END: Verbs._blob_end,
    p.PAIR: Verbs._pair,
    p.NETWORK: Verbs._network,
    p.UNPAIR: Verbs._unpair,
    p.SYNC: Verbs._sync,
}


def _hub(request):
    """The syncstate.Hub of a PAIR request. Raises BadRequest, BadInput; neither tells a secret."""
    from binascii import a2b_base64

    from drybag.syncsettings import Hub

    try:
        told = json.loads(bytes(request[1:]).decode())
        hub = Hub(
            told["host"], told["port"], told["owner"], told["device"], told["secret"],
            a2b_base64(told["ca"]),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError):
        raise p.BadRequest("the pairing makes no sense")
    hub.check()
    return hub


def _key(data):
    """As protocol.parse_key, of a record that others may see."""
    key = p.parse_key(data)
    _check_kind(key[0])
    return key


def _check_kind(kind):
    if kind == layout.SETTING:
        raise p.BadRequest("kind %d is the handset's own" % kind)


def _apply(journal, ops):
    """Carry out the operations of one request; returns the last seq."""
    if len(ops) == 1:
        op = ops[0]
        if op[0] == "delete":
            return journal.delete(op[1], op[2])
        if op[0] == "undelete":
            return journal.undelete(op[1], op[2])
        if isinstance(op[3], tuple):
            return journal.put_blob_body(op[1], op[2], op[3][0], op[3][1], op[4], op[5])
        return journal.put(*op[1:])
    for op in ops:
        if op[0] == "undelete" or (op[0] == "put" and isinstance(op[3], tuple)):
            raise p.BadRequest("an operation that must stand alone in its request does not")
    return journal.batch(ops)


def _lone(journal, kind, uid):
    yield 0, journal.get(kind, uid)


def _after(journal, since, cursor):
    """The changes after the item at `cursor`, which the host has."""
    for place, record in journal.changes(since, cursor):
        if place != cursor:
            yield place, record


def _matching(journal, text, kind, skip):
    """As journal.find(), giving way while nothing matches; see matching()."""
    gc.collect()
    for found in matching(journal, text, kind):
        if found is None:
            yield None
        elif skip:
            skip -= 1
        else:
            yield 0, found[0]


def _content_sha(record):
    """SHA-256 of what a record says: its canonical form with seq, stamp and rev 0."""
    seq, stamp, rev = record.seq, record.stamp, record.rev
    record.seq = record.stamp = record.rev = 0
    h = hashlib.sha256(layout.canonical_head(record))
    record.seq, record.stamp, record.rev = seq, stamp, rev
    for piece in record.body_chunks():
        h.update(piece)
    return h.digest()


def _plain(value):
    """For JSON: bytes as text, or hex: and their digits if they are none."""
    if isinstance(value, dict):
        return {str(key): _plain(value[key]) for key in value}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (bytes, bytearray)):
        try:
            return bytes(value).decode()
        except UnicodeError:
            return "hex:" + hexlify(value).decode()
    return value
