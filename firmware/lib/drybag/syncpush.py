"""What a handset sends: the unsent versions in a request, and the blobs that they name."""

import hashlib
from binascii import hexlify

from drybag import syncwire as w
from drybag.errors import Damaged, NotFound
from drybag.port import const
from drybag.syncoutcome import BROKEN, UNREACHABLE, Stop

_AT_ONCE = const(64)
_BREATH = const(8)
_TRIES = const(4)
_PAUSE = ("pause",)


def blob_path(sha):
    return "/v1/blobs/" + hexlify(sha).decode()


def body_sha(record):
    """SHA-256 of a body, piece by piece. Raises Damaged, NotFound."""
    h = hashlib.sha256()
    for piece in record.body_chunks():
        h.update(piece)
    return h.digest()


class Push:
    """`done`: blobs that the hub has got in this sync."""

    def __init__(self, engine):
        self._engine = engine
        self.session_begins()

    def session_begins(self):
        self.done = 0
        self._there = set()  # blobs that the hub is known to have
        self._bad = set()  # blobs that cannot be sent
        self._bodies = {}  # SHA-256 of a body that travels as a blob: (kind, uid)
        self.named = ()  # by the last version of the request, not known to be there
        self.cleared = []  # seqs of the request that had been stuck

    # -- the request --------------------------------------------------------------------------
    def request(self, buf, room):
        """Fill `buf` with the next request: (Request, its bytes). A generator of pauses.

        A version that names blobs of which it is not known that the hub has them is the last one.
        """
        engine = self._engine
        journal, state = engine.journal, engine.state
        head = w.Request()
        head.nonce = engine.random()
        head.epoch, head.life, head.last_seq = journal.epoch, state.life, journal.last_seq
        head.acked, head.ack_check = state.acked, state.ack_check
        head.cursor, head.cursor_check = state.cursor, state.cursor_check
        head.time = engine.clock()
        packer = w.Packer(buf, w.REQUEST_BYTES, len(buf))
        head.upto, whole = yield from self._items(packer)
        head.last_seq = max(head.last_seq, head.upto)
        journal.note_sent(head.upto)
        head.n = packer.n
        head.room = room if whole else 0
        head.pack_into(buf)
        return head, packer.at

    def _items(self, packer):
        """(the seq that they go up to, whether nothing else is unsent)."""
        journal, after = self._engine.journal, self._engine.state.agreed
        last = journal.last_seq
        self._bodies = {}
        self.named = ()
        self.cleared = []
        if self._engine.retry and not self._stuck_ones(packer):
            return max(after, self._engine.state.acked), False
        if not journal.unsent_count(after):
            return max(after, self._engine.state.acked), True
        while True:
            seen = 0
            for record in journal.unsent(after, _AT_ONCE):
                seen += 1
                item = self._item(record)
                if item is not None:
                    if not packer.add(item):
                        return after, False
                    if not self._all_there(item):
                        self.named = item.names()
                        return record.seq, False
                after = record.seq
                if seen % _BREATH == 0:
                    yield _PAUSE
            if seen < _AT_ONCE:  # damaged ones are left out, scrub names them
                return max(after, last), True

    def _stuck_ones(self, packer):
        """Those of earlier times once more; False if one of them must be the last."""
        for seq in sorted(self._engine.stuck):
            for record in self._engine.journal.unsent(seq - 1, 1):
                item = self._item(record) if record.seq == seq else None
                if item is None:
                    continue
                if not packer.add(item):
                    return False
                self.cleared.append(seq)
                if not self._all_there(item):
                    self.named = item.names()
                    return False
        return True

    def took(self, wanted):
        """The hub has answered the request, and wants these blobs."""
        if wanted:
            self.cleared = []
        else:
            self._there.update(self.named)

    def _item(self, record):
        """The Item of a record; None if it is damaged, which is noted."""
        body, big = b"", None
        try:
            if record.body_size > w.BODY_BYTES:
                big = body_sha(record), record.body_size
                self._bodies[big[0]] = (record.kind, record.uid)
            elif not record.deleted:
                body = record.body
        except (Damaged, NotFound):
            return self._stuck(record)
        item = w.Item(
            record.seq, record.kind, record.uid, body, record.stamp, record.rev, record.deleted,
            record.base, record.parent, record.blobs, big, record.no_time,
            record.seq <= self._engine.state.resend_below,
        )  # fmt: skip
        for name in item.names():
            if name in self._bad:
                return self._stuck(record)
        return item

    def _stuck(self, record):
        if record.seq not in self._engine.stuck:
            self._engine.stuck.append(record.seq)

    def _all_there(self, item):
        for name in item.names():
            if name not in self._there:
                return False
        return True

    # -- blobs --------------------------------------------------------------------------------
    def blobs(self, wanted):
        """Send the blobs of `wanted`: (name, bytes that the hub has). A generator of actions."""
        for name, have in wanted:
            if name not in self._there:
                yield from self._blob(name, have)

    def _blob(self, name, have):
        try:
            size = self._size(name)
        except (Damaged, NotFound):  # lost on the flash, or replaced meanwhile
            self._bad.add(name)
            self.done += 1
            return
        for _ in range(_TRIES):
            if not 0 <= have <= size:
                raise Stop(BROKEN, "the hub has %d of %d bytes of a photo" % (have, size))
            self._failed = False
            path = "%s?size=%d&offset=%d" % (blob_path(name), size, have)
            answer = yield ("put", path, size - have, self._pieces(name, have))
            if self._failed or answer[0] == 413:  # damaged here, or more than the hub takes
                self._bad.add(name)
                self.done += 1
                return
            if answer[0] == 422:
                have = 0
                continue
            said = self._engine.json(answer)
            if answer[0] == 200 and said.get("complete") is True:
                self._there.add(name)
                self.done += 1
                return
            have = said.get("have")
            if not isinstance(have, int):
                have = -1
        raise Stop(UNREACHABLE, "a photo does not get through")

    def _size(self, name):
        key = self._bodies.get(name)
        journal = self._engine.journal
        return journal.get(*key).body_size if key else journal.blob_size(name)

    def _pieces(self, name, skip):
        """The blob's bytes from byte `skip` on; fewer where they are damaged."""
        key = self._bodies.get(name)
        journal = self._engine.journal
        try:
            for piece in journal.get(*key).body_chunks() if key else journal.read_blob(name):
                if skip >= len(piece):
                    skip -= len(piece)
                else:
                    yield memoryview(piece)[skip:]
                    skip = 0
        except (Damaged, NotFound):
            self._failed = True
