"""A hub in a hundred lines, in memory: enough of SPEC.md "Sync" to drive a handset's engine.

Runs on both interpreters. Of two edits the later counts, unless it shall merge them; an edit beats
a deletion. The real hub is drybag_host.hub.
"""

import hashlib
import json
from binascii import unhexlify

from drybag import layout, syncwirehost
from drybag import syncwire as w


class ToyHub:
    """log: [(Item, stream)], position 1 first; heads: {(kind, uid): position}; merges: two edits
    of one version become one, property by property."""

    merges = False

    def __init__(self, name=b"toy hub1"):
        self.name = name
        self.log = []
        self.heads = {}
        self.checks = [w.NO_CHECK]
        self.streams = {}
        self.blobs = {}
        self.partial = {}
        self.time = 0
        self.offsite = False
        self.quarantined = []
        self.requests = 0

    def copy(self):
        """As this one is now, with a future of its own."""
        other = ToyHub(self.name)
        other.merges = self.merges
        other.log, other.checks = list(self.log), list(self.checks)
        other.heads, other.blobs = dict(self.heads), dict(self.blobs)
        other.partial, other.quarantined = dict(self.partial), list(self.quarantined)
        other.time, other.offsite, other.requests = self.time, self.offsite, self.requests
        for key, stream in self.streams.items():
            mine = dict(stream)
            mine["checks"], mine["seen"] = dict(stream["checks"]), dict(stream["seen"])
            other.streams[key] = mine
        return other

    def edit(self, kind, uid, body=b"", deleted=False, blobs=(), stamp=1, big=None, stream=None):
        """A version from elsewhere; returns its position."""
        item = w.Item(0, kind, uid, body, stamp, 1, deleted, 0, 0, tuple(blobs), big)
        return self._append(item, stream)

    def blob(self, data):
        sha = hashlib.sha256(data).digest()
        self.blobs[sha] = bytes(data)
        return sha

    def head(self, kind, uid):
        """The Item that counts, or None."""
        at = self.heads.get((kind, uid))
        return self.log[at - 1][0] if at else None

    def live(self):
        """{(kind, uid): Item} of what is not deleted."""
        found = {}
        for key in self.heads:
            item = self.head(*key)
            if not item.deleted:
                found[key] = item
        return found

    def _append(self, item, stream):
        self.log.append((item, stream))
        self.heads[item.kind, item.uid] = len(self.log)
        said = self.checks[-1] + repr([getattr(item, n) for n in w.Item.__slots__]).encode()
        self.checks.append(hashlib.sha256(said).digest()[:8])
        return len(self.log)

    # -- requests -----------------------------------------------------------------------------
    def post(self, device, data):
        """(status, body) of POST /v1/sync."""
        self.requests += 1
        try:
            request, items = syncwirehost.parse_request(bytes(data))
        except w.BadMessage as error:
            return 400, _error("BadRequest", str(error))
        key = (device, request.epoch, request.life)
        stream = self.streams.setdefault(
            key, {"ack": 0, "checks": {0: w.NO_CHECK}, "seen": {}, "last": w.NO_CHECK, "told": 0}
        )
        reply = w.Reply()
        if request.acked < stream["told"]:
            reply.flags |= w.SET_BACK
        agrees = stream["checks"].get(request.acked) == request.ack_check
        if agrees:
            stream["told"] = max(stream["told"], request.acked)
        if not agrees:
            reply.flags |= w.ACK_RESET
        upto = self._take(stream, key, items, request.upto, reply)
        if agrees and upto > stream["ack"]:
            stream["ack"] = upto
            stream["last"] = hashlib.sha256(stream["last"] + b"%d" % upto).digest()[:8]
            stream["checks"][upto] = stream["last"]
        reply.nonce, reply.hub = request.nonce, self.name
        reply.ack, reply.ack_check = stream["ack"], stream["checks"][stream["ack"]]
        reply.time = self.time
        if self.offsite:
            reply.flags |= w.OFFSITE
            reply.offsite = reply.ack
        return 200, self._page(key, request, reply)

    def _take(self, stream, key, items, upto, reply):
        for item in items:
            missing = [name for name in item.names() if name not in self.blobs]
            if missing:
                have = [len(self.partial.get(name, b"")) for name in missing]
                reply.wanted = tuple(zip(missing, have))  # noqa: B905, MicroPython's zip
                return item.number - 1
            sha = syncwirehost.item_sha(item)
            if item.number in stream["seen"]:
                if stream["seen"][item.number] != sha:
                    self.quarantined.append(item)
                continue
            stream["seen"][item.number] = sha
            self._merge(item, key)
        return upto

    def _merge(self, item, key):
        head = self.head(item.kind, item.uid)
        if head is None or self._is_base(head, item, key) and not _same(head, item):
            self._append(item, key)
        elif item.deleted and not head.deleted:
            self._append(head, None)  # an edit meanwhile: it stays, and the handset hears of it
        elif item.resend and (head.stamp >= item.stamp or _same(head, item)):
            pass
        elif not _same(head, item):
            self._append(item, key)
            if self.merges and not head.deleted:
                self._merge_edits(item, head)

    def _merge_edits(self, item, head):
        """Write what both edits make of the version that `item` replaced."""
        from drybag.merge import merge

        base = None
        for other, _ in self.log:
            if (other.kind, other.uid) == (item.kind, item.uid) and not other.deleted:
                if layout.content_id(other.parent, other.blobs, other.body) == item.base:
                    base = other
        sides = (item, head) if item.stamp >= head.stamp else (head, item)
        made = merge(item.kind, base, *sides)
        self.edit(item.kind, item.uid, made.body, False, made.blobs, sides[0].stamp)

    def _is_base(self, head, item, key):
        """True if the item is a change of this version."""
        if head.deleted:
            return item.base == 0
        if self.log[self.heads[item.kind, item.uid] - 1][1] == key:
            return True
        body = self.blobs[head.big[0]] if head.big else head.body
        return item.base == layout.content_id(head.parent, head.blobs, body)

    def _page(self, key, request, reply):
        cursor = request.cursor
        if cursor >= len(self.checks) or self.checks[cursor] != request.cursor_check:
            reply.flags |= w.CURSOR_RESET
            cursor = 0
        items, at = [], cursor
        while at < len(self.log) and request.room:
            item, origin = self.log[at]
            at += 1
            if origin != key and self.heads[item.kind, item.uid] == at:
                items.append(_numbered(item, at))
                if syncwirehost.fit(items, request.room) < len(items):
                    items.pop()
                    at -= 1
                    break
        if request.room:
            cursor = at
        if cursor < len(self.log):
            reply.flags |= w.MORE
        reply.cursor, reply.cursor_check = cursor, self.checks[cursor]
        return syncwirehost.pack_reply(reply, items, request.room)[0]

    # -- blobs --------------------------------------------------------------------------------
    def put(self, path, data):
        """(status, body) of PUT /v1/blobs/HEX?size=N&offset=O."""
        name, _, query = path[len("/v1/blobs/") :].partition("?")
        wanted = dict([pair.split("=") for pair in query.split("&")])
        sha, size, offset = unhexlify(name), int(wanted["size"]), int(wanted["offset"])
        have = self.partial.get(sha, b"")
        if sha in self.blobs:
            return 200, json.dumps({"have": size, "complete": True}).encode()
        if offset != len(have):
            return 409, json.dumps({"class": "WrongOffset", "have": len(have)}).encode()
        have += bytes(data)
        self.partial[sha] = have
        if len(have) < size:
            return 200, json.dumps({"have": len(have), "complete": False}).encode()
        self.partial.pop(sha)
        if hashlib.sha256(have).digest() != sha or len(have) != size:
            return 422, _error("BadBlob", "these are other bytes")
        self.blobs[sha] = have
        return 200, json.dumps({"have": size, "complete": True}).encode()

    def get(self, path, offset):
        """(status, body) of GET /v1/blobs/HEX from byte `offset` on."""
        data = self.blobs.get(unhexlify(path[len("/v1/blobs/") :]))
        if data is None:
            return 404, _error("NotFound", "no such blob")
        return 206, data[offset:]


def _numbered(item, number):
    return w.Item(
        number, item.kind, item.uid, item.body, item.stamp, item.rev, item.deleted, 0,
        item.parent, item.blobs, item.big, item.no_time,
    )  # fmt: skip


def _same(one, other):
    names = ("deleted", "parent", "blobs", "body", "big")
    return [getattr(one, n) for n in names] == [getattr(other, n) for n in names]


def _error(name, message):
    return json.dumps({"class": name, "message": message}).encode()


class Driver:
    """Carries out an engine's actions at a ToyHub. Override `answer` to harm what comes back.

    `seen`: the actions; `meanwhile(action)` is called before each is answered.
    """

    def __init__(self, hub, device="d0", piece_bytes=1000):
        self.hub = hub
        self.device = device
        self.seen = []
        self._piece_bytes = piece_bytes
        self._rest = b""

    def meanwhile(self, action):
        pass

    def answer(self, action, answer):
        return answer

    def run(self, engine):
        """One sync; its Outcome."""
        gen = engine.run()
        result = None
        try:
            while True:
                action = gen.send(result)
                self.meanwhile(action)
                result = self.answer(action, self._do(action))
        except StopIteration as end:
            return end.value

    def _do(self, action):
        what = action[0]
        if what == "pause":
            return None
        if what == "more":
            piece, self._rest = self._rest[: self._piece_bytes], self._rest[self._piece_bytes :]
            return piece
        self.seen.append(action[:2])
        if what == "post":
            status, body = self.hub.post(self.device, action[2])
            return status, {"content-length": str(len(body))}, body
        if what == "put":
            data = b"".join([bytes(piece) for piece in action[3]])
            if len(data) != action[2]:
                return 0, {}, "the blob ended early"
            status, body = self.hub.put(action[1], data)
            return status, {"content-length": str(len(body))}, body
        status, body = self.hub.get(action[1], action[2])
        head = {"content-length": str(len(body))}
        if status == 206:
            self._rest = body
            return status, head, None
        return status, head, body


