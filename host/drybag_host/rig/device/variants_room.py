"""Known-bad variants of compaction and checkpoints: what is copied, what is let go and when.

Each function takes a Patch and changes the journal in memory. The docstring says what is wrong;
variants.py says which workloads show it.
"""

from drybag.checkpoint import Checkpointer
from drybag.compaction import Compactor
from drybag.device import Device
from drybag.log import Log
from drybag.pool import Pool


def tombstone_forgotten(patch):
    """Compaction copies every version it meets that nothing replaced, deleted or not."""

    def copy_if_live(compactor, where):
        log = compactor._log
        log.read_head(where)
        entry = log.entry
        deleted = log.lookup(entry.kind, entry.uid(log.scratch))[0] < 0
        copy(compactor, where)
        if deleted:
            log.read(where)
            compactor._rewrite()
            log.append(log.entry.units)

    copy = patch.set(Compactor, "_copy_if_live", copy_if_live)


def header_lets_go_early(patch):
    """A header written while a segment is still being copied says already that it may go."""

    def open_segment(log, *args):
        log.first += 1
        opened(log, *args)
        log.first -= 1

    opened = patch.set(Log, "open_segment", open_segment)


def erased_before_header(patch):
    """A copied segment's sector is erased at once, before any header has let it go."""

    def finish(compactor, number):
        sector = compactor._log.sectors[number]
        finished(compactor, number)
        compactor._log.device.erase(sector)

    finished = patch.set(Compactor, "_finish", finish)


def erased_before_copy(patch):
    """Compaction takes a segment into RAM, erases its sector and writes what lives to the log."""

    def read_from_ram(device, sector, offset, buf):
        kept = getattr(device, "kept", None)
        if kept and kept[0] == sector:
            buf[:] = memoryview(kept[1])[offset : offset + len(buf)]
        else:
            read(device, sector, offset, buf)

    def one(compactor, number):
        log = compactor._log
        sector = log.sectors[number]
        kept = getattr(log.device, "kept", None)
        if not kept or kept[0] != sector:
            whole = bytearray(4096)
            log.device.read(sector, 0, whole)
            log.device.kept = sector, whole
            log.device.erase(sector)
        passed = processed(compactor, number)
        if number not in log.sectors:
            log.device.kept = None
        return passed

    read = patch.set(Device, "read", read_from_ram)
    processed = patch.set(Compactor, "_one", one)


def checkpoint_from_its_end(patch):
    """Replay begins where the checkpoint ended: what changed while it was written is forgotten."""

    def step(checkpointer):
        last = stepped(checkpointer)
        if last:
            log = checkpointer._log
            log.ckpt = log.writer.number << 6 | min(log.writer.position, 63)
            log.ckpt_chunks = 0
        return last

    stepped = patch.set(Checkpointer, "step", step)


def checkpoint_counts_early(patch):
    """Headers name a checkpoint from its first piece on; boot does not count the pieces."""

    def step(checkpointer):
        last = stepped(checkpointer)
        log = checkpointer._log
        if checkpointer._next >= 0:
            log.ckpt, log.ckpt_id = checkpointer._start, checkpointer._id
            log.ckpt_chunks = checkpointer._chunks
        return last

    stepped = patch.set(Checkpointer, "step", step)


def stale_counts_as_free(patch):
    """What the sweep lets go counts as free, though the next boot will find blobs there."""

    def release_blobs(pool, sectors, epoch):
        for sector in sectors:
            pool.release(sector, True)

    patch.set(Pool, "release_blobs", release_blobs)
