"""What the journal reads: records, their history, changes, what the hub has not, blobs."""

from drybag import layout, pending
from drybag.errors import Damaged, NotFound
from drybag.index import key_hash
from drybag.layout import SETTING, Record


class Readings:
    """The reading half of Journal. `_log`: Log, `_blobs`: Blobs.

    Records of kind SETTING are the handset's own: only what asks for that kind shows them.
    """

    def seq_of(self, kind, uid):
        """Seq of the live version of a record, 0 if there is none."""
        slot, _, _ = self._log.lookup(kind, uid)
        return self._log.index.seq(slot) if slot >= 0 else 0

    def find_uid(self, kind, uid):
        return self.seq_of(kind, uid) != 0

    def get(self, kind, uid):
        """The live version. Raises NotFound, Damaged."""
        slot, _, _ = self._log.lookup(kind, uid)
        if slot < 0:
            raise missing(kind, uid)
        self._log.read(self._log.index.where(slot))
        return self._record(True)

    def _live_body(self, sha):
        try:
            yield from self._blobs.read(sha)
        except NotFound as error:
            raise Damaged("the body is gone: %s" % error)

    def _record(self, live=False):
        """A Record of the entry in scratch."""
        entry, buf = self._log.entry, self._log.scratch
        start, end = entry.body_span()
        blobs = [entry.blob(buf, i) for i in range(entry.nblobs)]
        body = bytes(memoryview(buf)[start:end])
        record = Record(
            entry.kind, entry.uid(buf), body, blobs, entry.parent(buf), entry.seq, entry.stamp,
            entry.rev, entry.op == layout.OP_DELETE, entry.base(buf),
            bool(entry.flags & layout.F_NO_TIME),
        )  # fmt: skip
        if entry.op == layout.OP_PUT_BIG:
            read = self._live_body if live else self._blobs.read
            record.body_in_blob(read, int.from_bytes(body, "little"))
        return record

    def _is_live(self, where):
        entry = self._log.entry
        h = key_hash(entry.kind, entry.uid(self._log.scratch), entry.salt)
        slot = self._log.index.find(h, entry.kind)
        return slot >= 0 and self._log.index.where(slot) == where

    def records(self, kind=0):
        """Every live PIM record (or those of one kind) in the order of the log.

        Damaged ones are left out (scrub names them); one that compaction moves meanwhile may come
        twice.
        """
        for where in self._log.walk():
            entry = self._log.entry
            wanted = entry.kind == kind if kind else entry.kind != SETTING
            if wanted and entry.is_put() and self._is_live(where):
                yield self._record(True)

    def find(self, text, kind=0):
        """Live PIM records in which `text` occurs: names, numbers, e-mail, titles."""
        from drybag.search import Query

        if kind == SETTING:
            return
        query = Query(text)
        for record in self.records(kind):
            body = record.body_if_intact()
            if body is not None and query.matches(record.kind, body):
                yield record

    def events_between(self, start, end):
        """Events that touch start <= t < end (b"YYYYMMDD" or b"YYYYMMDDTHHMMSS").

        One that recurs counts from its start until its UNTIL, or for ever.
        """
        from drybag import records

        for record in self.records(layout.EVENT):
            body = record.body_if_intact()
            if body is not None and records.overlaps(records.span(body), start, end):
                yield record

    def history(self, kind, uid):
        """What the log still holds of a record, tombstones included, newest first."""
        found = self._log.versions(kind, uid, self._record)
        return [found[seq] for seq in sorted(found, reverse=True)]

    def changes(self, since_seq, cursor=0):
        """(cursor, Record) of each change after `since_seq`: live versions, valid tombstones; of
        PIM records alone.

        Give the last cursor to go on after a break; the same record may then come twice.
        """
        log = self._log
        if cursor >> 6 not in log.sectors:
            cursor = 0
        for where in log.walk(cursor):
            entry = log.entry
            if entry.seq <= since_seq or entry.kind == SETTING or entry.op in (
                layout.OP_INDEX, layout.OP_SEAL, layout.OP_COMMIT,
            ):  # fmt: skip
                continue
            if entry.is_put():
                wanted = self._is_live(where)
            else:
                h = key_hash(entry.kind, entry.uid(log.scratch), entry.salt)
                wanted = log.index.find(h, entry.kind) < 0
            if wanted:
                yield where, self._record()

    def digest(self):
        """(count, 32 bytes) over all live PIM records: SPEC.md "Digest". Raises Damaged."""
        acc = count = 0
        for record in self.records():
            acc = layout.digest_step(acc, record)
            count += 1
        if count != len(self._log.index):
            raise Damaged(
                "%d of %d records cannot be read: run scrub"
                % (len(self._log.index) - count, len(self._log.index))
            )
        return count, acc.to_bytes(32, "big")

    def settings(self):
        """The uids of the live settings, in no order."""
        log = self._log
        found = []
        for slot in log.index.slots():
            if log.index.kind(slot) != SETTING:
                continue
            try:
                log.read(log.index.where(slot))
                found.append(log.entry.uid(log.scratch))
            except Damaged:
                pass  # scrub names it
        return found

    # --- what the hub has not ----------------------------------------------------------------

    @property
    def agreed(self):
        """The hub has everything through this seq; -1: no hub is paired. See set_agreed."""
        return self._log.agreed

    def unsent(self, after_seq, limit):
        """The up to `limit` live PIM records and pending tombstones (`deleted`) with the smallest
        seqs above `after_seq`, ascending.

        The journal may be used between two of them: one that has changed meanwhile is left out,
        as its new version has a higher seq. Damaged ones are left out too; scrub names them.
        """
        log, index = self._log, self._log.index
        while limit > 0:
            seqs, slots = pending.first_after(index, after_seq, limit)
            wanted = limit
            for i in range(len(seqs)):
                if not index.has(slots[i], seqs[i]):
                    continue
                try:
                    log.read(index.where(slots[i]))
                except Damaged:
                    continue
                limit -= 1
                yield self._record(True)
            if len(seqs) < wanted:
                return
            after_seq = seqs[-1]

    def unsent_count(self, after_seq):
        """How many unsent() would give without a limit, damaged ones included."""
        return pending.count_after(self._log.index, after_seq)

    def _base(self, slot):
        """Base of what replaces the version (or pending tombstone) in an index slot, 0 if none.

        That version's content id if the hub has it; else the base that it has itself. If it has
        none: its content id where it was sent, since the hub may have it and its ack was lost.
        """
        log = self._log
        entry, buf = log.entry, log.scratch
        try:
            log.read(log.index.where(slot))
            if not entry.is_put() or entry.seq > log.agreed:
                base = entry.base(buf)
                if base or not entry.is_put() or entry.seq > log.sent:
                    return base
            blobs = [entry.blob(buf, i) for i in range(entry.nblobs)]
            start, end = entry.body_span()
            body = memoryview(buf)[start:end]
            if entry.op == layout.OP_PUT_BIG:
                body = self._live_body(blobs.pop(0))
            return layout.content_id(entry.parent(buf), blobs, body)
        except Damaged:
            return 0

    # --- blobs -----------------------------------------------------------------------------

    def blob_writer(self, sha, size):
        """Takes the `size` bytes of blob `sha`: write(), finish(), abort()."""
        self._log.check()
        return self._blobs.writer(sha, size)

    def has_blob(self, sha):
        """True if the blob is stored, whole: every byte of it is read."""
        return self._blobs.has(sha) and self._blobs.is_whole(sha)

    def blob_size(self, sha):
        found = self._blobs.find(sha)
        if not found:
            raise NotFound("no such blob")
        return found[1]

    def read_blob(self, sha):
        """Pieces (memoryview of at most 4032 bytes, valid until the next)."""
        return self._blobs.read(sha)


def missing(kind, uid):
    """NotFound for a key, in words."""
    return NotFound("no %s %s" % (layout.KIND_NAMES.get(kind, kind), uid_text(uid)))


def uid_text(uid):
    try:
        return uid.decode()
    except UnicodeError:
        return repr(uid)
