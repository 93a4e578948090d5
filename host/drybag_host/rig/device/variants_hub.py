"""Known-bad variants of what the journal keeps for a hub: bases, deletions that it has not.

Each function takes a Patch and changes the journal in memory. The docstring says what is wrong;
variants.py says which workloads show it.
"""

from drybag import layout
from drybag.compaction import Compactor
from drybag.index import Index, kind_of
from drybag.journal import Journal
from drybag.reading import Readings
from drybag.recovery import Replay


def pending_dropped(patch):
    """Compaction drops every tombstone, also those that the hub has not."""

    def copy_if_live(compactor, where):
        if compactor._log.entry.op != layout.OP_DELETE:
            copy(compactor, where)

    copy = patch.set(Compactor, "_copy_if_live", copy_if_live)


def tombstone_copied_blindly(patch):
    """Compaction copies tombstones that were to be kept also where the record was put again."""

    def copy_if_live(compactor, where):
        log = compactor._log
        if not log.entry.is_kept() or compactor._live_slot(where) >= 0:
            return copy(compactor, where)
        log.read(where)
        compactor._rewrite()
        log.append(log.entry.units)

    copy = patch.set(Compactor, "_copy_if_live", copy_if_live)


def base_lost_in_copy(patch):
    """Compaction writes what it copies anew, without the base."""

    def rewrite(compactor):
        rewritten(compactor)
        log = compactor._log
        entry, buf = log.entry, log.scratch
        if not entry.flags & layout.F_BASE:
            return
        start, end = entry.body_span()
        blobs = [entry.blob(buf, i) for i in range(entry.nblobs)]
        op = entry.op | entry.flags & layout.F_NO_TIME
        if entry.op == layout.OP_DELETE:
            op |= entry.flags & layout.F_KEEP
        layout.pack_entry(
            buf, log.epoch, op, entry.seq, entry.stamp, entry.kind, entry.uid(buf),
            bytes(buf[start:end]), blobs, entry.parent(buf), entry.rev, entry.salt,
        )  # fmt: skip
        entry.parse(buf)

    rewritten = patch.set(Compactor, "_rewrite", rewrite)


def pending_beside_record(patch):
    """A record that is put again does not end its pending tombstone."""

    def find_either(index, tag):
        slot = index.find(tag & 0xFFFFFC00, kind_of(tag))
        return slot if tag & 7 or slot >= 0 else found(index, tag)

    found = patch.set(Index, "find_either", find_either)


def pending_in_ram(patch):
    """Only the index knows which tombstones are pending: a boot forgets it."""

    def apply(replay, where):
        if replay._log.entry.op == layout.OP_DELETE:
            replay._log.entry.flags &= ~layout.F_KEEP
        applied(replay, where)

    applied = patch.set(Replay, "apply", apply)


def checkpoint_without_pending(patch):
    """Checkpoints hold live records alone."""

    def dump(index, start, out, limit):
        count, following = dumped(index, start, out, limit)
        n = 0
        for i in range(count):
            if out[3 * i] & 7:
                for k in range(3):
                    out[3 * n + k] = out[3 * i + k]
                n += 1
        return n, following

    dumped = patch.set(Index, "dump", dump)


def tombstone_without_base(patch):
    """A deletion of what was sent and never acknowledged does not name what it deletes."""

    def delete(self, *args):
        sent, self._log.sent = self._log.sent, -1
        try:
            return deleted(self, *args)
        finally:
            self._log.sent = sent

    deleted = patch.set(Journal, "_delete", delete)


def base_of_newest(patch):
    """An edit's base is the version it replaces, whether the hub has that or not."""

    def base(readings, slot):
        log = readings._log
        agreed, log.agreed = log.agreed, layout.MAX_SEQ
        try:
            return based(readings, slot)
        finally:
            log.agreed = agreed

    based = patch.set(Readings, "_base", base)
