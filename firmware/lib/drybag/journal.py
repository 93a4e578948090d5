"""The journal: PIM records that survive any loss of power.

    j = journal.mount(esp32.Partition.find(esp32.Partition.TYPE_DATA, label="pim")[0])
    j.put(layout.CONTACT, b"uid-1", b"VERSION:3.0\\nFN:Ada Lovelace\\n")

When a call that writes returns, what it wrote is on flash. Errors: drybag.errors. Not thread
safe; one journal a partition.
"""

from drybag import layout
from drybag.blobs import Blobs
from drybag.checkpoint import Checkpointer
from drybag.compaction import Compactor
from drybag.device import Device
from drybag.errors import BadInput, Damaged, DrybagError, MissingBlob, NoSpace, NotFound, TooLarge
from drybag.index import Index, key_hash
from drybag.layout import ENTRY_BYTES, MAX_ENTRY_UNITS, UNIT, Record
from drybag.log import Log
from drybag.port import const
from drybag.recovery import recover

_BATCH_GAP = const(64)
_INLINE = const(1536 - 22)


def mount(dev, clock=None):
    """Recover the journal on block device `dev` (4096-byte sectors) and make it writable.

    A blank partition is formatted. `clock` gives seconds since 2000-01-01, 0 if unknown. Raises
    FormatNewer, NotMountable (the partition is untouched), OSError.
    """
    log = Log(Device(dev))
    report = recover(log)
    return Journal(log, report, clock)


class Journal:
    """See mount(). `report` says what recovery found."""

    def __init__(self, log, report, clock=None):
        self._log = log
        self._compactor = Compactor(log)
        self._checkpointer = Checkpointer(log)
        self._blobs = Blobs(log, self._compactor)
        self._clock = clock
        self.report = report

    # --- writing ---------------------------------------------------------------------------

    def put(self, kind, uid, body, blobs=(), parent=0):
        """Commit a record, new or replacing the version there is; returns its seq.

        Raises TooLarge, BadInput, MissingBlob, NoSpace; OSError (and the journal is closed) when
        the flash fails.
        """
        self._check_put(kind, uid, len(body), blobs)
        big = self._big(uid, body, blobs, parent)
        try:
            return self._guarded(self._put, kind, uid, body, blobs, parent, big, 0)
        except DrybagError:
            self._forget((big,))
            raise

    def update(self, kind, uid, body, blobs=(), parent=0):
        """As put, for a record that must be there: raises NotFound."""
        self._log.check()
        if not self.seq_of(kind, uid):
            raise _missing(kind, uid)
        return self.put(kind, uid, body, blobs, parent)

    def put_blob_body(self, kind, uid, sha, size, blobs=(), parent=0):
        """As put, with a body that blob_writer() has stored already (a handset's small RAM)."""
        self._check_put(kind, uid, size, blobs)
        if not self._blobs.has(sha):
            raise MissingBlob("the body's blob is not stored")
        return self._guarded(self._put, kind, uid, None, blobs, parent, (sha, size, -1), 0)

    def delete(self, kind, uid):
        """Commit a tombstone; returns its seq. Raises NotFound. Works on a full flash."""
        self._log.check()
        if not self.seq_of(kind, uid):
            raise _missing(kind, uid)
        return self._guarded(self._delete, kind, uid, 0)

    def undelete(self, kind, uid):
        """Put the last version before the tombstone back as a new one; returns its seq.

        Raises NotFound once compaction has taken it, or a photo of it.
        """
        if self.seq_of(kind, uid):
            raise BadInput("%s is not deleted" % _text(uid))
        for version in self.history(kind, uid):
            if not version.deleted:
                for sha in version.blobs:
                    if not self._blobs.find(sha):
                        raise NotFound("a photo of %s is gone already" % _text(uid))
                return self._restore(version)
        raise NotFound("no older version of %s is left" % _text(uid))

    def _restore(self, version):
        for sha in version.blobs:
            if not self._blobs.has(sha):
                self._blobs.added(self._blobs.find(sha)[0])
        return self.put(version.kind, version.uid, version.body, version.blobs, version.parent)

    def batch(self, ops):
        """All of `ops` or none; returns the last seq.

        ("put", kind, uid, body[, blobs[, parent]]), ("delete", kind, uid). Raises as put and
        delete do, and then nothing has happened.
        """
        ops = list(ops)
        self._log.check(len(ops) + 1)
        if not ops:
            return self.last_seq
        total, longest, bodies = 1, 1, []
        try:
            for op in ops:
                units, big = self._prepare(op)
                total += units
                longest = max(longest, units)
                bodies.append(big)
            return self._guarded(self._batch, ops, bodies, total, longest)
        except DrybagError:
            self._forget(bodies)
            raise
        finally:
            self._log.batch = None

    def _prepare(self, op):
        """(units, big body) of one operation of a batch."""
        if op[0] == "delete":
            if not self.seq_of(op[1], op[2]):
                raise _missing(op[1], op[2])
            return layout.units_for(len(op[2])), None
        if op[0] != "put":
            raise BadInput("unknown operation %r in a batch" % (op[0],))
        blobs, parent = _rest(op)
        self._check_put(op[1], op[2], len(op[3]), blobs)
        big = self._big(op[2], op[3], blobs, parent)
        payload = len(op[2]) + 4 + 32 * len(blobs) + (36 if big else len(op[3]))
        return layout.units_for(payload), big

    def _batch(self, ops, bodies, total, longest):
        log = self._log
        if any(op[0] != "delete" for op in ops):  # deletes alone have the reserve
            self._compactor.admit(total, longest)
        self._compactor.make_room(total + total // 4)
        first = log.next_seq
        log.batch = Index(16)
        try:
            for i, op in enumerate(ops):
                if op[0] == "delete":
                    change = self._delete(op[1], op[2], layout.F_BATCH)
                else:
                    blobs, parent = _rest(op)
                    change = self._put(*op[1:4], blobs, parent, bodies[i], layout.F_BATCH)
                log.batch.load(change[0], change[1], change[2])
            log.append(layout.pack_entry(
                log.scratch, log.epoch, layout.OP_COMMIT, log.next_seq, log.stamp, 0, b"",
                first.to_bytes(4, "little"),
            ))  # fmt: skip
        except Exception:
            log.skip_seqs(_BATCH_GAP)
            raise
        log.next_seq += 1
        for change in log.batch.triples():
            self._apply(change)
        return log.next_seq - 2

    # --- writing, inside -------------------------------------------------------------------

    def _guarded(self, function, *args):
        """Run a write; a flash that fails closes the journal: the next mount knows the truth."""
        self._log.check()
        result = self._closing_on_error(function, *args)
        if isinstance(result, tuple):  # one change; a batch has applied its own
            self._apply(result)
            result = self._log.next_seq - 1
        try:
            self._closing_on_error(self._checkpointer.step)
        except NoSpace:
            pass
        return result

    def _closing_on_error(self, function, *args):
        try:
            return function(*args)
        except OSError as error:
            self._log.failed = "the flash failed (%s): mount the journal again" % error
            raise

    def _check_put(self, kind, uid, size, blobs):
        self._log.check()
        if kind not in layout.KIND_NAMES:
            raise BadInput("unknown kind %r" % (kind,))
        if not 1 <= len(uid) <= layout.MAX_UID:
            raise TooLarge("uid of %d bytes: 1 to %d" % (len(uid), layout.MAX_UID))
        if size > layout.MAX_BODY:
            raise TooLarge(
                "body of %d bytes in %s: at most %d" % (size, _text(uid), layout.MAX_BODY)
            )
        if len(blobs) > layout.MAX_BLOBS:
            raise TooLarge("%d blobs in one record: at most %d" % (len(blobs), layout.MAX_BLOBS))
        for sha in blobs:
            if not self._blobs.has(sha):
                raise MissingBlob("a blob of %s is not stored: store it first" % _text(uid))

    def _big(self, uid, body, blobs, parent):
        """(sha, size, blob number or -1 if it was there already) of a body that was stored as a
        blob since it fits no entry, or None."""
        if len(uid) + (4 if parent else 0) + 32 * len(blobs) + len(body) <= _INLINE:
            return None
        import hashlib

        sha = hashlib.sha256(body).digest()
        writer = self._blobs.writer(sha, len(body))
        writer.write(body)
        writer.finish()
        return sha, len(body), writer.number

    def _forget(self, bodies):
        """What _big() stored is needed by no record: the call was refused."""
        for big in bodies:
            if big and big[2] >= 0:
                self._blobs.dropped(big[2])

    def _put(self, kind, uid, body, blobs, parent, big, flags):
        log = self._log
        slot, salt, rev = log.lookup(kind, uid)
        op, payload = layout.OP_PUT | flags, body
        if big:
            op = layout.OP_PUT_BIG | flags
            blobs = (big[0],) + tuple(blobs)
            payload = big[1].to_bytes(4, "little")
        length = len(uid) + (4 if parent else 0) + 32 * len(blobs) + len(payload)
        if not flags:
            units = layout.units_for(length)
            self._compactor.admit(units)
            self._compactor.make_room(units)
        stamp, unknown = self._now()
        units = layout.pack_entry(
            log.scratch, log.epoch, op | unknown, log.next_seq, stamp, kind, uid, payload, blobs,
            parent, min(rev + 1, 0xFFFF), salt,
        )  # fmt: skip
        where = log.append(units)
        log.next_seq += 1
        log.max_salt = max(log.max_salt, salt)
        if blobs:
            self._blobs.named_now(blobs)
        tag = key_hash(kind, uid, salt) | units << 4 | (8 if blobs else 0) | kind
        return tag, log.next_seq - 1, where

    def _delete(self, kind, uid, flags):
        log = self._log
        _, salt, rev = log.lookup(kind, uid)
        if not flags:
            self._compactor.make_room(1)
        stamp, unknown = self._now()
        units = layout.pack_entry(
            log.scratch, log.epoch, layout.OP_DELETE | flags | unknown, log.next_seq, stamp, kind,
            uid, b"", (), 0, min(rev + 1, 0xFFFF), salt,
        )  # fmt: skip
        log.append(units)
        log.next_seq += 1
        return key_hash(kind, uid, salt) | kind, log.next_seq - 1, 0

    def _apply(self, change):
        from drybag.recovery import apply_one

        apply_one(self._log.index, change[0], change[1], change[2])

    def _now(self):
        """(stamp, flag): never before an earlier stamp, whatever the clock says."""
        log = self._log
        now = self._clock() if self._clock else 0
        if now > log.stamp:
            log.stamp = now
        return log.stamp, 0 if now else layout.F_NO_TIME

    # --- reading ---------------------------------------------------------------------------

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
            raise _missing(kind, uid)
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
            entry.rev, entry.op == layout.OP_DELETE,
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
        """Every live record (of one kind) in the order of the log.

        Damaged ones are left out (scrub names them); one that compaction moves meanwhile may come
        twice.
        """
        for where in self._log.walk():
            entry = self._log.entry
            if entry.is_put() and (not kind or entry.kind == kind) and self._is_live(where):
                yield self._record(True)

    def find(self, text, kind=0):
        """Live records in which `text` occurs: names, numbers, e-mail, titles."""
        from drybag.search import Query

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
        """(cursor, Record) of each change after `since_seq`: live versions, valid tombstones.

        Give the last cursor to go on after a break; the same record may then come twice.
        """
        log = self._log
        if cursor >> 6 not in log.sectors:
            cursor = 0
        for where in log.walk(cursor):
            entry = log.entry
            if entry.seq <= since_seq or entry.op in (
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
        """(count, 32 bytes) over all live records: SPEC.md "Digest". Raises Damaged."""
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

    # --- state -----------------------------------------------------------------------------

    @property
    def last_seq(self):
        return self._log.next_seq - 1

    @property
    def epoch(self):
        return self._log.epoch

    def count(self, kind=0):
        """Live records, of one kind or all."""
        return self._log.index.counts[kind] if kind else len(self._log.index)

    def free_bytes(self):
        """About how many bytes of entries can still be put."""
        from drybag.compaction import segments_needed

        free = self._compactor.capacity() - segments_needed(self._log.index)
        return max(0, free) * layout.DATA_UNITS * UNIT

    def stats(self):
        """Counts, sizes and health, for people and tools."""
        from drybag.scrub import stats

        return stats(self._log, self)

    def scrub(self):
        """Read everything and check it; yields findings (dict), a summary last."""
        from drybag.scrub import scrub

        return scrub(self._log, self)

    def checkpoint(self):
        """Write a whole checkpoint now, so that the next boot is as short as can be."""
        self._log.check()
        self._closing_on_error(self._checkpointer.force, self._compactor.make_room)

    def refresh(self, slot):
        """For scrub: write the entry that index slot `slot` names afresh, if there is room."""
        if not self._log.failed:
            try:
                self._closing_on_error(self._compactor.refresh, slot)
            except NoSpace:
                pass

    def close(self):
        """Clean shutdown: the next boot has nothing to recover. Writing is over."""
        log = self._log
        if log.failed:
            return
        if log.writer.number:  # else nothing was written since the last clean shutdown
            try:
                self._closing_on_error(self._seal)
            except NoSpace:
                pass
        log.failed = "the journal is closed"

    def _seal(self):
        log = self._log
        self._compactor.make_room(1)
        log.append(layout.pack_entry(log.scratch, log.epoch, layout.OP_SEAL, 0, 0, 0, b""))


def _rest(op):
    return (op[4] if len(op) > 4 else ()), (op[5] if len(op) > 5 else 0)


def _missing(kind, uid):
    return NotFound("no %s %s" % (layout.KIND_NAMES.get(kind, kind), _text(uid)))


def _text(uid):
    try:
        return uid.decode()
    except UnicodeError:
        return repr(uid)


__all__ = ["ENTRY_BYTES", "MAX_ENTRY_UNITS", "Journal", "Record", "mount"]
