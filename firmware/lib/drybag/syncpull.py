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
_PUT = const(1)
_DELETE = const(2)


class _Page:
    """The changes of a reply as operations of a batch, decoded one by one, as often as wanted:
    decoded they would take five times the room."""

    def __init__(self, data, reply):
        self._data = data
        self._at = reply.items_at
        self._marks = bytearray(reply.n)
        self.cursor = reply.cursor
        self.last = None  # an operation behind them all

    def mark(self, i, what):
        self._marks[i] = what

    def items(self, what=None):
        """The items that are marked so, or all."""
        i = 0
        for item in w.parse_items(self._data, self._at, len(self._marks)):
            if what is None or self._marks[i] == what:
                yield item
            i += 1

    def __len__(self):
        more = 1 if self.last else 0
        return len(self._marks) - self._marks.count(b"\0") + more

    def __iter__(self):
        i = 0
        for item in w.parse_items(self._data, self._at, len(self._marks)):
            if self._marks[i] == _DELETE:
                yield "delete", item.kind, item.uid, item.stamp, item.no_time
            elif self._marks[i] == _PUT:
                body = item.big or item.body
                yield ("put", item.kind, item.uid, body, item.blobs, item.parent, item.stamp,
                       item.no_time)  # fmt: skip
            i += 1
        if self.last:
            yield self.last


class Pull:
    """For SyncEngine, which counts in `taken` what was done, and has the blob under way."""

    def __init__(self, engine):
        self._engine = engine
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
        page = _Page(data, reply)
        try:
            deleted = yield from self._look(page, new.cursor)
            if not new.may_delete(deleted, journal.count(), engine.clock()):
                yield from self._hold(page, deleted, new)
                return False
            for item in page.items(_PUT):
                if item.big:
                    yield from self._fetch(item.big[0], item.big[1])
                for name in item.blobs:
                    yield from self._fetch(name, None)
            if journal.last_seq != seq:  # the person wrote meanwhile: that goes first
                self._engine.taken += 1
                return False
            taken = new.copy()
            taken.cursor, taken.cursor_check = reply.cursor, reply.cursor_check
            taken.note_deleted(deleted, engine.clock())
            if len(page):
                engine.store(taken, page)
            else:
                engine.keep(taken)
        except JournalClosed:
            raise
        except DrybagError as error:
            engine.stopped = "changes wait: %s" % error
            return False
        return True

    def _look(self, page, low):
        """Mark what is to be done with each item; how many records would be deleted."""
        journal = self._engine.journal
        deleted = 0
        at = 0
        for item in page.items():
            if not low < item.number <= page.cursor:
                raise Stop(BROKEN, "a change that is not of this page")
            if item.deleted:
                if journal.find_uid(item.kind, item.uid):
                    page.mark(at, _DELETE)
                    deleted += 1
            elif not self._is_here(item):
                page.mark(at, _PUT)
            at += 1
            if at % _BREATH == 0:
                yield _PAUSE
        return deleted

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
    def _hold(self, page, deleted, new):
        """More deletions than the hub's word alone is good for."""
        engine = self._engine
        journal = engine.journal
        if not new.has(REFUSED):
            engine.held = (deleted, journal.count())
            return
        for item in page.items(_DELETE):  # the person has said no: put again, they come back
            if journal.find_uid(item.kind, item.uid):
                self._put_again(journal.get(item.kind, item.uid))
            yield _PAUSE
        new.set(REFUSED, False)
        self._engine.taken += 1

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
            if self._engine.part and self._engine.part[1] != name:
                self._drop()
            got = self._engine.part[0].received if self._engine.part else 0
            if self._engine.part and got == self._engine.part[2]:
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
        if self._engine.part is None or self._engine.part[2] != total or start != got:
            self._drop()
            if start:
                return False
            self._engine.part = (self._engine.journal.blob_writer(name, total), name, total)
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
                self._engine.part[0].write(piece)
            except BadBlob:
                self._engine.part = None
                return False
            except DrybagError:
                self._engine.part = None
                raise

    def _finish(self, name):
        """True if what has come is the blob."""
        part, self._engine.part = self._engine.part, None
        try:
            part[0].finish()
        except BadBlob:
            return False
        self._whole.add(name)
        self._engine.taken += 1
        return True

    def _drop(self):
        part, self._engine.part = self._engine.part, None
        if part is not None:
            part[0].abort()
