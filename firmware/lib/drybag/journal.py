"""The journal: PIM records that survive any loss of power.

    j = journal.mount(esp32.Partition.find(esp32.Partition.TYPE_DATA, label="pim")[0])
    j.put(layout.CONTACT, b"uid-1", b"VERSION:3.0\\nFN:Ada Lovelace\\n")

When a call that writes returns, what it wrote is on flash. Errors: drybag.errors. Not thread
safe; one journal a partition.
"""

from drybag import layout, pending
from drybag.blobs import Blobs
from drybag.checkpoint import Checkpointer
from drybag.compaction import Compactor
from drybag.device import Device
from drybag.errors import BadInput, DrybagError, MissingBlob, NoSpace, NotFound, TooLarge
from drybag.index import Index, apply_one, key_hash, pending_tag
from drybag.layout import ENTRY_BYTES, F_BATCH, MAX_ENTRY_UNITS, SETTING, UNIT, Record
from drybag.log import Log
from drybag.port import const
from drybag.reading import Readings, missing, uid_text

_BATCH_GAP = const(64)
_INLINE = const(1536 - 22)
_FUTURE_S = const(86400)
_FROM_HUB = const(256)  # beside an op's flags: no base, and no tombstone to keep


def mount(dev, clock=None):
    """Recover the journal on block device `dev` (4096-byte sectors) and make it writable.

    A blank partition is formatted. `clock` gives seconds since 2000-01-01, 0 if unknown. Raises
    FormatNewer, NotMountable (the partition is untouched), OSError.
    """
    from drybag.recovery import recover  # a handset lets go of it afterwards

    log = Log(Device(dev))
    report = recover(log)
    return Journal(log, report, clock)


class Journal(Readings):
    """See mount(). `report` says what recovery found."""

    def __init__(self, log, report, clock=None):
        self._log = log
        self._compactor = Compactor(log)
        self._checkpointer = Checkpointer(log)
        self._blobs = Blobs(log, self._compactor)
        self._clock = clock
        self.report = report
        log.sent = self.last_seq

    # --- writing ---------------------------------------------------------------------------

    def put(self, kind, uid, body, blobs=(), parent=0, from_hub=False):
        """Commit a record, new or replacing the version there is; returns its seq.

        `from_hub`: the hub has this version, so it carries no base. Raises TooLarge, BadInput,
        MissingBlob, NoSpace; OSError (and the journal is closed) when the flash fails.
        """
        self._check_put(kind, uid, len(body), blobs)
        big = self._big(kind, uid, body, blobs, parent)
        flags = _FROM_HUB if from_hub else 0
        try:
            return self._guarded(self._put, kind, uid, body, blobs, parent, big, flags)
        except DrybagError:
            self._forget((big,))
            raise

    def update(self, kind, uid, body, blobs=(), parent=0):
        """As put, for a record that must be there: raises NotFound."""
        self._log.check()
        if not self.seq_of(kind, uid):
            raise missing(kind, uid)
        return self.put(kind, uid, body, blobs, parent)

    def put_blob_body(self, kind, uid, sha, size, blobs=(), parent=0, from_hub=False):
        """As put, with a body that blob_writer() has stored already (a handset's small RAM)."""
        self._check_put(kind, uid, size, blobs)
        if kind == SETTING:
            raise BadInput("a setting is kept in its entry alone")
        if not self._blobs.has(sha):
            raise MissingBlob("the body's blob is not stored")
        flags = _FROM_HUB if from_hub else 0
        return self._guarded(self._put, kind, uid, None, blobs, parent, (sha, size, -1), flags)

    def delete(self, kind, uid, from_hub=False):
        """Commit a tombstone; returns its seq. Raises NotFound. Works on a full flash.

        With a hub paired the tombstone is pending until set_agreed() passes it; not with
        `from_hub`, as the hub knows.
        """
        self._log.check()
        if not self.seq_of(kind, uid):
            raise missing(kind, uid)
        return self._guarded(self._delete, kind, uid, _FROM_HUB if from_hub else 0)

    def undelete(self, kind, uid):
        """Put the last version before the tombstone back as a new one; returns its seq.

        Raises NotFound once compaction has taken it, or a photo of it.
        """
        if self.seq_of(kind, uid):
            raise BadInput("%s is not deleted" % uid_text(uid))
        for version in self.history(kind, uid):
            if not version.deleted:
                for sha in version.blobs:
                    if not self._blobs.find(sha):
                        raise NotFound("a photo of %s is gone already" % uid_text(uid))
                return self._restore(version)
        raise NotFound("no older version of %s is left" % uid_text(uid))

    def _restore(self, version):
        held = []
        for sha in version.blobs:
            if not self._blobs.has(sha):
                held.append(self._blobs.find(sha)[0])
                self._blobs.added(held[-1])
        try:
            return self.put(version.kind, version.uid, version.body, version.blobs, version.parent)
        except DrybagError:
            for blob in held:
                self._blobs.not_wanted(blob)
            raise

    def batch(self, ops, from_hub=False):
        """All of `ops` or none; returns the last seq: theirs follow one another from last_seq + 1.

        ("put", kind, uid, body[, blobs[, parent]]), ("delete", kind, uid). `from_hub` as in put,
        for all of them. ("put", kind, uid, body, blobs, parent, stamp, no_time) and ("delete",
        kind, uid, stamp, no_time) keep the time of an edit made elsewhere. A body may be (SHA-256,
        size) of a blob that is stored. With `from_hub`, `ops` is what has a length and can be gone
        through again and again. Raises as put and delete do, and then nothing has happened.
        """
        if not from_hub:
            ops = list(ops)
        self._log.check(len(ops) + 1)
        if not from_hub and not ops:
            return self.last_seq
        total, longest, bodies = 1, 1, []
        try:
            for op in ops:
                units, big = self._prepare(op)
                total += units
                longest = max(longest, units)
                bodies.append(big)
            flags = F_BATCH | (_FROM_HUB if from_hub else 0)
            return self._guarded(self._batch, ops, bodies, total, longest, flags)
        except DrybagError:
            self._forget(bodies)
            raise
        finally:
            self._log.batch = None

    def _prepare(self, op):
        """(units, big body) of one operation of a batch."""
        if op[0] == "delete":
            if not self.seq_of(op[1], op[2]):
                raise missing(op[1], op[2])
            return layout.units_for(len(op[2]) + self._base_bytes()), None
        if op[0] != "put":
            raise BadInput("unknown operation %r in a batch" % (op[0],))
        blobs, parent, _ = _rest(op)
        if isinstance(op[3], tuple):
            big = op[3] + (-1,)
            self._check_put(op[1], op[2], big[1], blobs)
            if not self._blobs.has(big[0]):
                raise MissingBlob("the body's blob is not stored")
        else:
            self._check_put(op[1], op[2], len(op[3]), blobs)
            big = self._big(op[1], op[2], op[3], blobs, parent)
        payload = len(op[2]) + 4 + 32 * len(blobs) + (36 if big else len(op[3]))
        units = layout.units_for(payload + self._base_bytes())
        return min(units, MAX_ENTRY_UNITS), big

    def _base_bytes(self):
        return 4 if self._log.agreed >= 0 else 0

    def _batch(self, ops, bodies, total, longest, flags):
        log = self._log
        if any(op[0] != "delete" and op[1] != SETTING for op in ops):  # else there is the reserve
            self._compactor.admit(total, longest)
        self._compactor.make_room(total + total // 4)
        first = log.next_seq
        log.batch = Index(16)
        try:
            for i, op in enumerate(ops):
                if op[0] == "delete":
                    change = self._delete(op[1], op[2], flags, op[3:])
                else:
                    blobs, parent, when = _rest(op)
                    change = self._put(*op[1:4], blobs, parent, bodies[i], flags, when)
                log.batch.load(change[0], change[1], change[2])
            log.append(layout.pack_entry(
                log.scratch, log.epoch, layout.OP_COMMIT, log.next_seq, log.stamp, 0, b"",
                first.to_bytes(4, "little"),
            ))  # fmt: skip
        except Exception:
            log.skip_seqs(_BATCH_GAP)
            raise
        log.took_seq()
        for change in log.batch.triples():
            self._apply(change)
        return log.next_seq - 2

    # --- writing, inside -------------------------------------------------------------------

    def _guarded(self, function, *args):
        """Run a write and take what it changed into the index."""
        self._log.check()
        return self._log.closing(self._write, function, args)

    def _write(self, function, args):
        result = function(*args)
        if isinstance(result, tuple):  # one change; a batch has applied its own
            self._apply(result)
            result = self._log.next_seq - 1
        try:
            self._checkpointer.step()
        except NoSpace:
            pass
        return result

    def _check_put(self, kind, uid, size, blobs):
        self._log.check()
        if kind not in layout.KIND_NAMES and kind != SETTING:
            raise BadInput("unknown kind %r" % (kind,))
        if not 1 <= len(uid) <= layout.MAX_UID:
            raise TooLarge("uid of %d bytes: 1 to %d" % (len(uid), layout.MAX_UID))
        if size > layout.MAX_BODY:
            raise TooLarge(
                "body of %d bytes in %s: at most %d" % (size, uid_text(uid), layout.MAX_BODY)
            )
        if blobs and kind == SETTING:
            raise BadInput("a setting names no blobs")
        if len(blobs) > layout.MAX_BLOBS:
            raise TooLarge("%d blobs in one record: at most %d" % (len(blobs), layout.MAX_BLOBS))
        for sha in blobs:
            if not self._blobs.has(sha):
                raise MissingBlob("a blob of %s is not stored: store it first" % uid_text(uid))

    def _big(self, kind, uid, body, blobs, parent):
        """(sha, size, blob number or -1 if it was there already) of a body that was stored as a
        blob since it fits no entry, or None.

        A setting must fit: blobs outlast what names them, and can be asked for by their hash.
        """
        size = len(uid) + (4 if parent else 0) + 32 * len(blobs) + len(body)
        if kind == SETTING:
            if size > _INLINE:
                raise TooLarge(
                    "setting %s: at most %d bytes with its name" % (uid_text(uid), _INLINE)
                )
            return None
        if size + self._base_bytes() <= _INLINE:
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

    def _put(self, kind, uid, body, blobs, parent, big, flags, when=()):
        log = self._log
        slot, salt, rev, grave = log.look(kind, uid)
        base = self._base_after(kind, max(slot, grave), flags)
        op, payload = layout.OP_PUT, body
        if big:
            op = layout.OP_PUT_BIG
            blobs = (big[0],) + tuple(blobs)
            payload = big[1].to_bytes(4, "little")
        if not flags & F_BATCH:
            length = len(uid) + (4 if parent else 0) + (4 if base else 0)
            units = layout.units_for(length + 32 * len(blobs) + len(payload))
            if kind != SETTING or slot < 0 or log.index.entry_units(slot) < units:
                self._compactor.admit(units)  # else as much goes: it has the reserve, as deletes
            self._compactor.make_room(units)
        stamp, unknown = self._time(when)
        units = layout.pack_entry(
            log.scratch, log.epoch, op | flags & F_BATCH | unknown, log.next_seq, stamp, kind, uid,
            payload, blobs, parent, min(rev + 1, 0xFFFF), salt, base,
        )  # fmt: skip
        where = log.append(units)
        log.took_seq()
        log.max_salt = max(log.max_salt, salt)
        if blobs:
            self._blobs.named_now(blobs)
        tag = key_hash(kind, uid, salt) | units << 4 | (8 if blobs else 0) | kind
        return tag, log.next_seq - 1, where

    def _base_after(self, kind, slot, flags):
        """Base of an entry that replaces what is in an index slot (-1: a new record)."""
        if self._log.agreed < 0 or slot < 0 or flags & _FROM_HUB or kind == SETTING:
            return 0
        return self._base(slot)

    def _delete(self, kind, uid, flags, when=()):
        log = self._log
        slot, salt, rev = log.lookup(kind, uid)
        keep = log.agreed >= 0 and kind != SETTING and not flags & _FROM_HUB
        base = self._base_after(kind, slot, flags)
        if base and layout.units_for(len(uid) + 4) > log.index.entry_units(slot):
            base = 0  # what is kept must not be longer than what goes: deletes need no room
        if not flags & F_BATCH:
            self._compactor.make_room(1)
        stamp, unknown = self._time(when)
        op = layout.OP_DELETE | flags & F_BATCH | unknown | (layout.F_KEEP if keep else 0)
        units = layout.pack_entry(
            log.scratch, log.epoch, op, log.next_seq, stamp, kind, uid, b"", (), 0,
            min(rev + 1, 0xFFFF), salt, base,
        )  # fmt: skip
        where = log.append(units)
        log.took_seq()
        h = key_hash(kind, uid, salt)
        if keep:
            return pending_tag(h, kind, units), log.next_seq - 1, where
        return h | kind, log.next_seq - 1, 0

    def _apply(self, change):
        apply_one(self._log.index, change[0], change[1], change[2])

    def _time(self, when):
        """(stamp, flag) of an entry. `when`: (stamp, no_time) of an edit made elsewhere, or ().

        Of an edit made here: never before an earlier stamp, whatever the clock says.
        """
        log = self._log
        now = self._clock() if self._clock else 0
        if when:
            stamp = min(when[0], now + _FUTURE_S) if now else when[0]
            log.stamp = max(log.stamp, stamp)
            return stamp, layout.F_NO_TIME if when[1] else 0
        if now > log.stamp:
            log.stamp = now
        return log.stamp, 0 if now else layout.F_NO_TIME

    # --- state -----------------------------------------------------------------------------

    def set_agreed(self, seq, set_back=False):
        """The hub has everything through `seq`; -1: no hub is paired.

        To be said after each mount, before the first write, and whenever the hub's ack moves: that
        is cheap. A lower seq than before (a hub that was set back) reads the whole log for the
        tombstones that count again; so does `set_back`, where a boot came in between. Put `seq`
        into a setting before it is said here: last_seq has numbers that a boot skipped, and only
        what is on flash keeps later ones above it.
        """
        log = self._log
        log.agreed, before = seq, log.agreed
        self.note_sent(seq)
        pending.drop(log.index, seq)
        if 0 <= seq < before or set_back:
            log.closing(pending.collect, log, self._compactor.admit)

    def note_sent(self, seq):
        """The hub may have every version through `seq` now, whatever it answers.

        A mount takes that for granted of all there is.
        """
        self._log.sent = max(self._log.sent, seq)

    @property
    def last_seq(self):
        return self._log.next_seq - 1

    @property
    def epoch(self):
        return self._log.epoch

    def count(self, kind=0):
        """Live records of one kind, or all PIM records."""
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
        self._log.closing(self._checkpointer.force, self._compactor.make_room)

    def refresh(self, slot):
        """For scrub: write the entry that index slot `slot` names afresh, if there is room."""
        if not self._log.failed:
            try:
                self._log.closing(self._compactor.refresh, slot)
            except NoSpace:
                pass

    @property
    def cut_short(self):
        """A write broke off, and what the index knows of it may not be what is on the flash: reads
        go on, but only the next mount knows all."""
        return self._log.cut_short

    def abandon(self):
        """No more writes: the partition is mounted anew."""
        self._log.failed = self._log.failed or "the journal was mounted again"

    def close(self):
        """Clean shutdown: the next boot has nothing to recover. Writing is over."""
        log = self._log
        if log.failed:
            return
        if log.writer.number:  # else nothing was written since the last clean shutdown
            try:
                self._log.closing(self._seal)
            except NoSpace:
                pass
        log.failed = "the journal is closed"

    def _seal(self):
        log = self._log
        self._compactor.make_room(1)
        seq = log.next_seq - 1 if log.skipped else 0  # else last_seq would go back
        log.append(layout.pack_entry(log.scratch, log.epoch, layout.OP_SEAL, seq, 0, 0, b""))


def _rest(op):
    return (op[4] if len(op) > 4 else ()), (op[5] if len(op) > 5 else 0), op[6:]


__all__ = ["ENTRY_BYTES", "MAX_ENTRY_UNITS", "Journal", "Record", "mount"]
