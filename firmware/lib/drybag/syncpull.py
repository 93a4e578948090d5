"""What a handset takes from its hub: a page of changes in one batch, and the blobs they name."""

from drybag import syncwire as w
from drybag.errors import BadBlob, DrybagError, JournalClosed, NotFound
from drybag.port import const
from drybag.syncoutcome import BROKEN, UNREACHABLE, Stop
from drybag.syncpush import blob_path, body_sha
from drybag.syncstate import REFUSED

_BREATH = const(8)
_TRIES = const(3)
_PAUSE = ("pause",)
_MORE = ("more",)


class Pull:
    """`done` counts what has been done in this sync: it goes on as long as that grows."""

    def __init__(self, engine):
        self._engine = engine
        self.part = None  # of a blob that is on its way: (writer, name, size)
        self._whole = set()
        self.done = 0

    def session_begins(self):
        self.done = 0
        self._whole = set()

    # -- a page -------------------------------------------------------------------------------
    def page(self, reply, data, new):
        """Take the changes of a reply; `new`, the state that its acks have made, is kept too.

        A generator of actions. False if the page was dropped and nothing was kept: it comes again.
        When changes must wait, the engine's `held` or `stopped` says why.
        """
        engine = self._engine
        journal = engine.journal
        seq = journal.last_seq
        try:
            deleted, names = yield from self._look(reply, data, new.cursor)
            if not new.may_delete(len(deleted), journal.count(), engine.clock()):
                yield from self._hold(deleted, new)
                return False
            for name, size in names:
                yield from self._fetch(name, size)
            ops = yield from self._ops(reply, data)
            if journal.last_seq != seq:  # the person wrote meanwhile: that goes first
                self.done += 1
                return False
            taken = new.copy()
            taken.cursor, taken.cursor_check = reply.cursor, reply.cursor_check
            taken.note_deleted(len(deleted), engine.clock())
            if ops:
                engine.store(taken, ops)
            else:
                engine.keep(taken)
        except JournalClosed:
            raise
        except DrybagError as error:
            engine.stopped = "changes wait: %s" % error
            return False
        return True

    def _look(self, reply, data, low):
        """(keys that would be deleted, [(name, size or None) of the blobs that are named])."""
        journal = self._engine.journal
        deleted, names = [], []
        seen = 0
        for item in w.parse_items(data, reply.items_at, reply.n):
            if not low < item.number <= reply.cursor:
                raise Stop(BROKEN, "a change that is not of this page")
            if item.deleted:
                if journal.find_uid(item.kind, item.uid):
                    deleted.append((item.kind, item.uid))
            elif not self._is_here(item):
                if item.big:
                    names.append(item.big)
                for name in item.blobs:
                    names.append((name, None))
            seen += 1
            if seen % _BREATH == 0:
                yield _PAUSE
        return deleted, names

    def _ops(self, reply, data):
        """What a batch has to do."""
        journal = self._engine.journal
        ops = []
        for item in w.parse_items(data, reply.items_at, reply.n):
            key = (item.kind, item.uid)
            if item.deleted:
                if journal.find_uid(*key):
                    ops.append(("delete",) + key + (item.stamp, item.no_time))
            elif not self._is_here(item):
                body = item.big or item.body
                ops.append(
                    ("put",) + key + (body, item.blobs, item.parent, item.stamp, item.no_time)
                )
            if len(ops) % _BREATH == 0:
                yield _PAUSE
        return ops

    def _is_here(self, item):
        """True if the record says that already."""
        try:
            record = self._engine.journal.get(item.kind, item.uid)
        except DrybagError:
            return False
        if record.parent != item.parent or record.blobs != item.blobs:
            return False
        if not item.big:
            return record.body_size == len(item.body) and record.body_if_intact() == item.body
        if record.body_size != item.big[1]:
            return False
        try:
            return body_sha(record) == item.big[0]
        except DrybagError:
            return False

    # -- many deletions -----------------------------------------------------------------------
    def _hold(self, deleted, new):
        """More deletions than the hub's word alone is good for."""
        engine = self._engine
        journal = engine.journal
        if not new.has(REFUSED):
            engine.held = (len(deleted), journal.count())
            return
        for key in deleted:  # the person has said no: put again, they come back at the hub
            if journal.find_uid(*key):
                self._put_again(journal.get(*key))
            yield _PAUSE
        new.set(REFUSED, False)
        self.done += 1

    def _put_again(self, record):
        journal = self._engine.journal
        more = record.blobs, record.parent
        if record.load is None:
            journal.put(record.kind, record.uid, record.body, *more)
        else:
            sha = body_sha(record)
            journal.put_blob_body(record.kind, record.uid, sha, record.body_size, *more)

    # -- blobs --------------------------------------------------------------------------------
    def _fetch(self, name, size):
        """Have the blob; `size`: what it must be, None if any. A generator of actions."""
        journal = self._engine.journal
        if name in self._whole or journal.has_blob(name):
            self._whole.add(name)
            return
        for _ in range(_TRIES):
            if self.part and self.part[1] != name:
                self._drop()
            got = self.part[0].received if self.part else 0
            if self.part and got == self.part[2]:
                if self._finish(name):
                    return
                got = 0
            answer = yield ("get", blob_path(name), got)
            if answer[0] == 404:
                raise NotFound("the hub has lost a photo that it names")
            if answer[0] != 206:
                self._engine.accepted(answer)
            if self._begin(name, answer, got, size) and (yield from self._receive(name)):
                return
        raise Stop(BROKEN, "a photo comes damaged again and again")

    def _begin(self, name, answer, got, size):
        """A writer that goes on at the first byte of the answer."""
        start = got if answer[0] == 206 else 0
        try:
            total = start + int(answer[1]["content-length"])
        except (KeyError, ValueError, TypeError):
            raise Stop(BROKEN, "the hub does not say how long a photo is")
        if size is not None and total != size:
            raise Stop(BROKEN, "the hub's photo has another size than it said")
        if self.part is None or self.part[2] != total or start != got:
            self._drop()
            if start:
                return False
            self.part = (self._engine.journal.blob_writer(name, total), name, total)
        return True

    def _receive(self, name):
        """Take the pieces; False if they were not that blob."""
        while True:
            piece = yield _MORE
            if piece is None:
                raise Stop(UNREACHABLE, "the link broke within a photo")
            if not len(piece):
                return self._finish(name)
            try:
                self.part[0].write(piece)
            except BadBlob:
                self.part = None
                return False
            except DrybagError:
                self.part = None
                raise

    def _finish(self, name):
        """True if what has come is the blob."""
        part, self.part = self.part, None
        try:
            part[0].finish()
        except BadBlob:
            return False
        self._whole.add(name)
        self.done += 1
        return True

    def _drop(self):
        part, self.part = self.part, None
        if part is not None:
            part[0].abort()
