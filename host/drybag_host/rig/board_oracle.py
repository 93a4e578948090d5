"""What must be on a board's flash, learnt from its acknowledgements alone; and what to write.

The oracle never looks at a flash or at the journal's code. It knows the rig's own records, which
all have a uid that begins with PREFIX; others are none of its business.
"""

import hashlib
from collections import namedtuple

from drybag import layout
from drybag import protocol as p
from drybag import protocolhost as ph
from drybag.errors import DrybagError
from drybag_host.errors import LinkError

PREFIX = b"drybag-rig-"
Content = namedtuple("Content", "body blobs")
Content.__doc__ = "What a record says: body (bytes) and blobs (tuple of SHA-256)."
Mismatch = namedtuple("Mismatch", "what expected found")

_UIDS = 90
_MOST_RECORDS = 60
_MOST_PHOTOS = 4
_FIELDS = (b"NOTE", b"SUMMARY", b"SUMMARY", b"SUMMARY", b"FN")


class BoardOracle:
    """The records that must be there. `flight`: the operations sent and not acknowledged."""

    def __init__(self):
        self.live = {}
        self.ever = {}
        self.blobs = {}
        self.last_seq = 0
        self.flight = None
        self.acknowledged = self.acknowledged_bytes = 0

    def begin(self, ops):
        """These operations (as `HandsetLink.put_records` takes them) are about to be sent."""
        self.flight = list(ops)

    def ack(self, seq):
        """They are acknowledged, the last as `seq`."""
        self.acknowledged += len(self.flight)
        for op in self.flight:
            self.acknowledged_bytes += _size_bytes(op, self.blobs)
        self._settle(self._after())
        self.last_seq = max(self.last_seq, seq)

    def refused(self):
        """The board said no: nothing has changed."""
        self.flight = None

    def _after(self):
        live = dict(self.live)
        for op in self.flight:
            if op[0] == "delete":
                live.pop(op[1:3], None)
            else:
                live[op[1:3]] = Content(op[3], tuple(op[4]))
        return live

    def _settle(self, live):
        for op in self.flight or ():
            if op[0] == "put":
                self.ever.setdefault(op[1:3], set()).add(Content(op[3], tuple(op[4])))
        self.live = live
        self.flight = None

    def judge(self, found, last_seq):
        """Compare with `found`, {(kind, uid): Content}, after a boot; a list of Mismatch.

        What was in flight may be there whole or not at all. Whatever was found counts from here
        on, so that one loss is reported once.
        """
        problems = []
        if last_seq < self.last_seq:
            problems.append(
                Mismatch("record lost", "change %d" % self.last_seq, "change %d" % last_seq)
            )
            self.last_seq = last_seq
        candidates = [self.live] + ([self._after()] if self.flight else [])
        if found in candidates:
            self._settle(found)
            return problems
        flying = {op[1:3]: op for op in self.flight or ()}
        lists = [self._differences(want, found, flying) for want in candidates]
        problems += min(lists, key=len)
        self._settle(dict(found))
        return problems

    def expects(self):
        """What must be there, as lines of text."""
        lines = [_text(key, self.live) for key in sorted(self.live)]
        if self.flight:
            flight = ", ".join(map(say_op, self.flight))
            lines.append("in flight, all or nothing: " + flight)
        return lines

    def _differences(self, want, found, flying):
        problems = []
        for key in sorted(set(want) | set(found)):
            if want.get(key) != found.get(key):
                what = self._what(key, want, found, flying)
                problems.append(Mismatch(what, _text(key, want), _text(key, found)))
        return problems

    def _what(self, key, want, found, flying):
        known = self.ever.get(key, ())
        if key in flying and (key not in found or found[key] in known or key not in want):
            return "torn record shown"
        if key not in found:
            return "record lost"
        if key in want:
            return "record lost" if found[key] in known else "torn record shown"
        return "deleted came back" if found[key] in known else "never written appears"


def _size_bytes(op, blobs):
    """What an operation writes: uid, body and photos."""
    if op[0] == "delete":
        return len(op[2])
    return len(op[2]) + len(op[3]) + sum(len(blobs.get(sha, b"")) for sha in op[4])


def _text(key, records):
    kind, uid = key
    name = "%s %s" % (layout.KIND_NAMES.get(kind, kind), uid.decode("utf-8", "replace"))
    if key not in records:
        return name + ": not there"
    body = records[key].body
    sha = hashlib.sha256(body).hexdigest()[:8]
    return "%s: %d bytes, %s" % (name, len(body), sha)


def say_op(op):
    """An operation as text: 'put note drybag-rig-3 (120 bytes)'."""
    size = "" if op[0] == "delete" else " (%d bytes)" % len(op[3])
    kind = layout.KIND_NAMES.get(op[1], op[1])
    return "%s %s %s%s" % (op[0], kind, op[2].decode("utf-8", "replace"), size)


class Writer:
    """Batches for a board, drawn from `rng`: puts of all sizes, updates, deletes, photos."""

    def __init__(self, rng, oracle):
        self._rng = rng
        self._oracle = oracle
        self._count = 0

    def next(self):
        """(operations of one request, blob that must be there before or None)."""
        live = self._oracle.live
        photos = [key for key in live if key[0] == layout.PHOTO]
        if len(live) > _MOST_RECORDS or (live and self._rng.random() < 0.12):
            return self.deletes(len(live) // 4 + 1), None
        if len(photos) > _MOST_PHOTOS:
            return [("delete", *photos[0])], None
        chance = self._rng.random()
        if chance < 0.1:
            return self._photo()
        if chance < 0.45:
            return self._batch(), None
        return [self._put()], None

    def deletes(self, count):
        """Deletes of some live records, in one batch that fits."""
        keys = sorted(self._oracle.live)
        return [("delete", *key) for key in self._rng.sample(keys, min(count, len(keys), 12))]

    def _batch(self):
        ops, used, size = [], set(), 1
        for _ in range(self._rng.randrange(2, 13)):
            op = self._put(most=400)
            live = self._oracle.live.get(op[1:3])
            if live is not None and self._rng.random() < 0.2:
                op = ("delete", *op[1:3])
            data = ph.delete(*op[1:]) if op[0] == "delete" else ph.put(*op[1:])
            if op[1:3] in used or size + len(data) > p.REQUEST_BYTES:
                continue
            used.add(op[1:3])
            ops.append(op)
            size += len(data)
        return ops

    def _put(self, most=1600):
        number = self._rng.randrange(_UIDS)
        kind = 1 + number % 4
        size = self._rng.choice((0, 60, 200, 400, most))
        if most > 400 and self._rng.random() < 0.05:
            size = 6000
        return ("put", kind, PREFIX + b"%d" % number, self._body(kind, size), (), 0)

    def _photo(self):
        data = self._rng.randbytes(self._rng.randrange(100, 7000))
        sha = hashlib.sha256(data).digest()
        uid = PREFIX + b"p%d" % self._rng.randrange(8)
        body = self._body(layout.PHOTO, 60) + b"IMAGE:drybag:blob/%s\n" % sha.hex().encode()
        return [("put", layout.PHOTO, uid, body, (sha,), 0)], (sha, data)

    def _body(self, kind, most):
        """A body that no other has."""
        self._count += 1
        filler = self._rng.randbytes(self._rng.randrange(most // 2 + 1)).hex().encode()
        return b"%s:power-cut test %d %s\n" % (_FIELDS[kind - 1], self._count, filler)


def read_records(link, since):
    """{(kind, uid): Content} of the rig's own live records, of the changes after seq `since`."""
    found = {}
    for _, record in link.changes(since):
        if record.uid.startswith(PREFIX):
            key = record.kind, bytes(record.uid)
            if record.deleted:
                found.pop(key, None)
            else:
                found[key] = Content(record.body, tuple(bytes(sha) for sha in record.blobs))
    return found


def judge_boot(link, info, oracle, baseline):
    """What is wrong after a boot, a list of Mismatch. `info`: what HELLO said; `baseline`: the seq
    after which the rig's own records begin. Raises LinkError."""
    fault = info.get("error")
    if fault:
        return [Mismatch("mount lost", "a journal", fault["message"])]
    try:
        found = read_records(link, baseline)
        problems = oracle.judge(found, info["last_seq"])
        for content in found.values():
            problems += _blob_problems(link, content)
    except LinkError:
        raise
    except DrybagError as error:
        problems = [Mismatch("record lost", "%d records" % len(oracle.live), str(error))]
    return problems


def _blob_problems(link, content):
    """What is wrong with the blobs of one record: a list of Mismatch."""
    problems = []
    for sha in content.blobs:
        try:
            data = b"".join(link.read_blob(sha))
            found = hashlib.sha256(data).hexdigest()[:8]
        except LinkError:
            raise
        except DrybagError as error:
            found = str(error)
        if found != sha.hex()[:8]:
            problems.append(Mismatch("record lost", "photo %s" % sha.hex()[:8], found))
    return problems
