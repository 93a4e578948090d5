"""A handset at the other end of a console: its records, blobs and state as Python calls.

    with HandsetLink(board.open_console("emu:demo")) as link:
        print(link.hello()["counts"])
        for cursor, record in link.changes(0):
            ...

Lost, damaged and doubled bytes on the line are dealt with below these calls. Errors of the
handset come as the classes of drybag.errors; errors of the line as LinkTimeout, LinkLost,
BoardRebooted, NotAHandset, PortBusy. After BoardRebooted or LinkLost make a new HandsetLink: what
was yielded or acknowledged stands.
"""

import contextlib
import hashlib
import json
import time
from collections import namedtuple

from drybag import errors, layout
from drybag import protocol as p
from drybag import protocolhost as ph
from drybag_host.errors import BoardRebooted, LinkError, LinkLost, LinkTimeout
from drybag_host.linkline import Broken, Line

_EPOCH_2000 = 946684800
_MAX_FAILURES = 12
_PAUSE_S = 0.05
_SHA_BYTES = 32
_FIRST_BAUD = 115200
_BAUD_CHANGE_S = 0.05
_TRIAL_S = 1.0

Ack = namedtuple("Ack", "done seq")
Ack.__doc__ = "`done`: how many operations are on the flash so far; `seq`: that of the last one."


class HandsetLink:
    """One session with a handset. `console`: read(timeout_s) -> bytes, write(bytes), close()."""

    def __init__(self, console, patience_s=12.0):
        self._line = Line(console, patience_s)
        self.damaged = []
        self._info = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
        return False

    def close(self):
        self.slow_down()
        self._line.close()

    # -- the handset --------------------------------------------------------------------------
    def hello(self, allow_fault=False):
        """What the handset is: id, name, versions, epoch, last_seq, counts, free, heap ...

        Connects first, if need be. Raises NotMountable or FormatNewer where the handset cannot
        open its journal; with `allow_fault` that is under "error" instead.
        """
        now = max(0, int(time.time()) - _EPOCH_2000)
        if self._info is None:
            info = json.loads(self._line.connect(now))
        else:
            info = json.loads(self._once(self._line.hello(now)))
            if info["boot"] != self._line.boot:
                raise BoardRebooted("%s: the handset restarted" % self._line.name)
        self._line.boot = info["boot"]
        self._info = info
        fault = info.get("error")
        if fault and not allow_fault:
            kind = getattr(errors, fault["class"], errors.DrybagError)
            raise kind(fault["message"])
        return info

    def stats(self):
        """The journal's counts, sizes and health as a dict."""
        return json.loads(self._whole(bytes((p.STATS,))))

    def board(self):
        """Flash, partition table and version, a dict; {} of a firmware that does not tell."""
        try:
            return json.loads(self._whole(bytes((p.BOARD,))))
        except p.BadRequest:
            return {}

    def set_time(self, seconds=None):
        """Set the handset's clock; `seconds` since 2000-01-01 UTC, None for this computer's."""
        seconds = int(time.time()) - _EPOCH_2000 if seconds is None else seconds
        self._once(ph.numbered(p.SET_TIME, seconds))

    def pair(self, host, port, owner, device, secret, ca):
        """Make this hub the handset's. `ca`: DER of its CA. Everything will be sent to it.

        Raises BadInput, NoSpace. The secret is never told again.
        """
        self._once(ph.pair(host, port, owner, device, secret, ca))

    def unpair(self):
        """The handset forgets hub and secret; records and networks stay."""
        self._once(bytes((p.UNPAIR,)))

    def know_network(self, ssid, password, priority=0):
        """A Wi-Fi network (bytes; no password: an open one); higher priorities come first."""
        self._once(ph.network(p.NETWORK_KNOW, ssid, password, priority))

    def forget_network(self, ssid):
        """Raises NotFound."""
        self._once(ph.network(p.NETWORK_FORGET, ssid))

    def sync(self, word=p.SYNC_TELL):
        """How sync stands (a dict), after a word to it: SYNC_NOW, _ACCEPT, _REFUSE, _OFF.

        Raises NotFound: no hub is paired, or nothing waits for that word.
        """
        if word != p.SYNC_TELL:
            self._once(bytes((p.SYNC, word)))
        return json.loads(self._whole(bytes((p.SYNC, p.SYNC_TELL))))

    @property
    def console(self):
        return self._line.console

    @property
    def damaged_frames(self):
        """Frames that came with a wrong CRC so far."""
        return self._line.damaged

    def speed_up(self, baud):
        """Run the line at `baud` if both ends can; True if it does now.

        Where nothing whole comes through at it, this end goes back; so does the handset, 3 s
        after the change. Raises LinkError if it is not heard at the old speed either.
        """
        console = self._line.console
        if getattr(console, "set_baud", None) is None:
            return False
        self._connected()
        old, damaged = console.baud, self._line.damaged
        try:  # does this end take it at all? Nothing is on its way now.
            console.set_baud(baud)
            console.set_baud(old)
        except (OSError, ValueError):
            return False
        self._change_both(baud)
        self._line.deadline = time.monotonic() + _TRIAL_S
        try:
            self._once(self._line.hello())
            if self._line.damaged == damaged:
                return True
            self._once(ph.numbered(p.SET_BAUD, old))
        except (LinkTimeout, LinkLost):
            pass  # the handset goes back by itself
        finally:
            self._line.deadline = float("inf")
        time.sleep(_BAUD_CHANGE_S)
        try:
            console.set_baud(old)
        except (OSError, ValueError) as error:
            raise LinkLost("%s: the connection is gone: %s" % (self._line.name, error)) from None
        self._info = self._line.boot = None  # noise may have been a Ctrl-C: connect anew
        self.hello(allow_fault=True)
        return False

    def _change_both(self, baud):
        self._once(ph.numbered(p.SET_BAUD, baud))
        time.sleep(_BAUD_CHANGE_S)
        self._line.console.set_baud(baud)

    def slow_down(self):
        """115200 baud again, as every session begins; what does not answer is left alone."""
        console = self._line.console
        if self._info is None or getattr(console, "baud", _FIRST_BAUD) == _FIRST_BAUD:
            return
        self._line.deadline = time.monotonic() + _TRIAL_S
        with contextlib.suppress(errors.DrybagError, OSError, ValueError):
            self._change_both(_FIRST_BAUD)

    def scrub(self):
        """Findings as dicts, a summary last. After a break on the line it starts over."""
        told = set()
        for line in self._lines(bytes((p.SCRUB,))):
            if line not in told:
                told.add(line)
                yield json.loads(line)

    # -- reading records ----------------------------------------------------------------------
    def get(self, kind, uid):
        """The live record. Raises NotFound, Damaged."""
        for _, record in self._records(p.GET, ph.key(kind, uid)):
            return record
        raise errors.Damaged("the body of %r is damaged on the flash" % uid)

    def changes(self, since, cursor=0):
        """(cursor, Record) of each change after seq `since`, in the order of the log.

        After a break go on with the last cursor in a new link. Records whose body is damaged on
        the flash are left out and named in `damaged`: [(kind, uid, seq)].
        """
        self._connected()
        short = "short-heads" in self._info.get("features", ())
        rest = since.to_bytes(4, "little") + bytes((p.SHORT_HEADS,) if short else ())
        yield from self._records(p.CHANGES, rest, cursor, ph.ShortReader if short else None)

    def find(self, text, kind=0):
        """Live records (of one kind) that match `text` (str or UTF-8)."""
        text = text.encode() if isinstance(text, str) else bytes(text)
        for _, record in self._records(p.FIND, bytes((kind,)) + text):
            yield record

    def history(self, kind, uid):
        """The versions the handset still has, newest first, as a list."""
        return [record for _, record in self._records(p.HISTORY, ph.key(kind, uid))]

    def digest(self):
        """(count, 32 bytes) over all live records. Raises Damaged."""
        return ph.parse_digest(self._whole(bytes((p.DIGEST,))))

    def compare(self, items):
        """For each (kind, uid, sha): 0 not there, 1 the same, 2 another, 3 known as deleted.

        sha: SHA-256 of the record's canonical form with seq, stamp and rev 0.
        """
        states = []
        for group in _groups((ph.key(kind, uid) + sha for kind, uid, sha in items)):
            states += self._whole(bytes((p.COMPARE,)) + group)
        return states

    # -- writing records ----------------------------------------------------------------------
    def put_records(self, ops):
        """Carry out operations as of `journal.batch`; yields an Ack after each durable batch.

        A batch is what fits one request (about 2 KiB); it is applied whole or not at all. Raises
        the handset's refusal of a batch; those acknowledged before stand.
        """
        done = 0
        for data, count in self._batches(ops):
            seq = int.from_bytes(self._once(bytes((p.WRITE,)) + data)[:4], "little")
            done += count
            yield Ack(done, seq)

    def _batches(self, ops):
        """(encoded operations, how many), each fit for one request."""
        group, count = b"", 0
        for op in ops:
            data, lone = self._encoded(op)
            if count and (lone or 1 + len(group) + len(data) > p.REQUEST_BYTES):
                yield group, count
                group, count = b"", 0
            if lone:
                yield data, 1
                continue
            group += data
            count += 1
        if count:
            yield group, count

    def _encoded(self, op):
        """(bytes of an operation, must it stand alone?); a large body goes ahead as a blob."""
        what, kind, uid = op[:3]
        if what == "delete":
            return ph.delete(kind, uid), False
        if what != "put":
            raise errors.BadInput("unknown operation %r" % (what,))
        body = op[3]
        blobs = op[4] if len(op) > 4 else ()
        parent = op[5] if len(op) > 5 else 0
        data = ph.put(kind, uid, body, blobs, parent)
        if 1 + len(data) <= p.REQUEST_BYTES:
            return data, False
        sha = self._body_blob(body)
        return ph.put(kind, uid, sha, blobs, parent, len(body)), True

    def _body_blob(self, body):
        sha = hashlib.sha256(body).digest()
        if len(body) > layout.MAX_BODY:
            raise errors.TooLarge("a body of %d bytes: at most %d" % (len(body), layout.MAX_BODY))
        self.put_blob(sha, len(body), body)
        return sha

    def delete(self, kind, uid):
        """Commit a tombstone; returns its seq. Raises NotFound."""
        return self._lone(ph.delete(kind, uid))

    def undelete(self, kind, uid):
        """Bring the last version back; returns its seq. Raises NotFound, BadInput."""
        return self._lone(ph.undelete(kind, uid))

    def _lone(self, data):
        return int.from_bytes(self._once(bytes((p.WRITE,)) + data)[:4], "little")

    # -- blobs --------------------------------------------------------------------------------
    def has_blobs(self, shas):
        """Those of the SHA-256 names (32 bytes each) that are stored, as a set."""
        return {sha for sha, size in self._blob_sizes(shas) if size is not None}

    def blob_size(self, sha):
        """Size in bytes. Raises NotFound."""
        for _, size in self._blob_sizes([sha]):
            if size is not None:
                return size
        raise errors.NotFound("no blob %s" % sha.hex())

    def _blob_sizes(self, shas):
        shas = [bytes(sha) for sha in shas]
        step = (p.REQUEST_BYTES - 1) // _SHA_BYTES
        for start in range(0, len(shas), step):
            group = shas[start : start + step]
            answer = self._whole(bytes((p.BLOB_SIZES,)) + b"".join(group))
            for sha, size in zip(group, ph.parse_numbers(answer), strict=True):
                yield sha, None if size == p.NO_BLOB else size

    def put_blob(self, sha, size, data):
        """Store a blob of `size` bytes; `data`: bytes, or a file to read it from.

        Goes on where a broken transfer stopped, if the handset still has that. Raises BadBlob,
        NoSpace, TooLarge.
        """
        source = _Source(data)
        answer = self._once(ph.numbered(p.BLOB_BEGIN, size, sha))
        at = int.from_bytes(answer[:4], "little")
        if answer[4]:
            return
        stuck = 0
        while at < size:
            piece = source.at(at, min(p.BLOB_DATA_BYTES, size - at))
            if not piece:
                raise errors.BadBlob("the file ends after %d of %d bytes" % (at, size))
            reply = self._once(ph.numbered(p.BLOB_DATA, at, piece))
            now = int.from_bytes(reply, "little")
            stuck = stuck + 1 if now <= at else 0
            if stuck > 3:
                raise LinkError("%s: the handset does not take the blob" % self._line.name)
            at = now
        self._once(bytes((p.BLOB_END,)))

    def read_blob(self, sha, offset=0):
        """The blob's bytes from `offset` on, piece by piece. Raises NotFound, Damaged."""
        failures = 0
        while True:
            try:
                for piece in self._line.stream(ph.numbered(p.READ_BLOB, offset, sha)):
                    failures = 0
                    offset += len(piece)
                    if piece:
                        yield piece
                return
            except Broken:
                failures = self._again(failures)

    # -- below --------------------------------------------------------------------------------
    def _connected(self):
        if self._info is None:
            self.hello()

    def _once(self, request):
        """The answer to a request that is carried out once."""
        self._connected()
        try:
            return self._line.request(request)
        except Broken:
            raise LinkLost("%s: the answer was lost" % self._line.name) from None

    def _whole(self, request):
        """The whole answer to a request that may be repeated."""
        self._connected()
        failures = 0
        while True:
            try:
                return b"".join(self._line.stream(request))
            except Broken:
                failures = self._again(failures)

    def _again(self, failures):
        """Count a break of a stream; a little patience before the next try."""
        failures += 1
        if failures > _MAX_FAILURES:
            raise LinkTimeout("%s: the line is too noisy, nothing gets through" % self._line.name)
        if failures > 2:
            time.sleep(_PAUSE_S * failures)
        if failures > 1:
            self._line.shorter_chunks()
        return failures

    def _lines(self, request):
        """The lines of an answer, complete ones as they come; from the start after a break."""
        self._connected()
        failures = 0
        while True:
            rest = b""
            try:
                for piece in self._line.stream(request):
                    *lines, rest = (rest + piece).split(b"\n")
                    yield from lines
                return
            except Broken:
                failures = self._again(failures)

    def _records(self, verb, rest, cursor=0, reader=None):
        """(cursor, Record) of a stream, which goes on in the middle of a record after a break."""
        self._connected()
        reader = (reader or ph.RecordReader)(cursor)
        failures = 0
        while True:
            start = reader.cursor if verb == p.CHANGES else reader.count
            request = ph.ranged(verb, start, reader.seq, reader.done, rest)
            first = True
            try:
                for piece in self._line.stream(request):
                    failures = 0
                    if first:
                        piece, first = reader.begin(piece), False
                    yield from reader.feed(piece)
                self.damaged += reader.damaged
                return
            except Broken:
                failures = self._again(failures)


class _Source:
    """Bytes, or a file, to be read at any place; a pipe only forwards."""

    def __init__(self, data):
        self._data = data
        self._at = 0
        self._seeks = hasattr(data, "seek") and getattr(data, "seekable", lambda: True)()

    def at(self, place, size):
        if isinstance(self._data, (bytes, bytearray, memoryview)):
            return bytes(self._data[place : place + size])
        if place != self._at:
            if self._seeks:
                self._data.seek(place)
            elif place > self._at:
                self._data.read(place - self._at)
            else:
                raise errors.BadInput("the source of the blob cannot go back")
            self._at = place
        piece = b""
        while len(piece) < size:
            more = self._data.read(size - len(piece))
            if not more:
                break
            piece += more
        self._at += len(piece)
        return piece


def _groups(items):
    """`items` (bytes) joined as far as they fit a request behind its first byte."""
    group = b""
    for item in items:
        if group and 1 + len(group) + len(item) > p.REQUEST_BYTES:
            yield group
            group = b""
        group += item
    if group:
        yield group
