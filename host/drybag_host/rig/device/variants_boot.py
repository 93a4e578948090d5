"""Known-bad variants of boot: recovery, what it copies and lets go, formatting.

Each function takes a Patch and changes the journal in memory. The docstring says what is wrong;
variants.py says which workloads show it.
"""

from drybag import port, recovery
from drybag.device import Device
from drybag.errors import NotMountable
from drybag.log import Log
from drybag.pool import Pool
from drybag.recovery import Replay


def format_when_not_mountable(patch):
    """What cannot be mounted is formatted, so that the handset starts."""
    def recover(log):
        try:
            return found(log)
        except (NotMountable, OSError):
            log.__init__(Device(log.device.bdev))
            for sector in range(log.device.sectors):
                log.device.erase(sector)
            return found(log)

    found = patch.set(recovery, "recover", recover)


def torn_copy_counts(patch):
    """What a recovery that was cut short left behind is not cleaned: it is taken for the tail."""
    patch.set(recovery, "_copy_complete", lambda log, header, end: True)


def tail_not_copied(patch):
    """Recovery reads the tail and leaves it where it is: marginal cells are never rewritten."""
    patch.set(recovery, "_ends_with_seal", lambda log: True)


def append_to_torn_tail(patch):
    """Recovery goes on in the old sector, right behind the last entry that it can read."""

    def go_on(log, tail, end, report):
        sector = log.sectors[tail.number]
        log.next_seq = max(log.next_seq, recovery._last_seq(log) + 1)
        image = memoryview(log.image)
        log.writer.begin(sector, tail.number, image[:64])
        position = 1
        while position < end and position < 64:
            offset = recovery.layout.unit_offset(position)
            if position in (16, 32, 48):
                log.writer._parity = 0
            log.writer._parity ^= int.from_bytes(image[offset : offset + 64], "little")
            position = recovery.layout.next_position(position)
        log.writer.position = position
        recovery._let_go(log)
        return tail.number

    patch.set(recovery, "_copy_tail", go_on)


def orphan_unprotected(patch):
    """The tail's sector counts as free while its entries are still being copied."""

    def let_go_first(log, tail, end, report):
        sector = log.sectors[tail.number]
        log.pool.release(sector, True)
        log.pool._turn = sector
        return copy(log, tail, end, report)

    def release(pool, sector, now=False):
        if pool.state[sector] != recovery.FREE:
            let_go(pool, sector, now)

    copy = patch.set(recovery, "_copy_tail", let_go_first)
    let_go = patch.set(Pool, "release", release)


def copied_segment_resurrected(patch):
    """A copy does not say what it stands for: the old sector's entries count beside it."""

    def open_segment(log, resume=0, source=0, copy_units=0, copy_crc=0):
        opened(log, 0, source, copy_units, copy_crc)

    opened = patch.set(Log, "open_segment", open_segment)


def source_of_source_let_go(patch):
    """Recovery lets the older copy's source go before its own copy is complete."""

    def find_tail(log, last):
        found = find(log, last)
        for sector in log.held:
            log.pool._turn = sector
        recovery._let_go(log)
        return found

    find = patch.set(recovery, "_find_tail", find_tail)


def cut_copy_outlives_its_source(patch):
    """What recovery passes over is free at once: of two copies cut short, one of the other, the
    later may be left, and nothing shows any more that it was cut short."""

    def set_aside(log, number):
        sector = log.sectors.pop(number)
        log.pool.release(sector, True)
        log.pool._turn = sector

    patch.set(recovery, "_set_aside", set_aside)


def prev_units_forgotten(patch):
    """A boot does not tell the next segment that there is one before it, which must be there."""

    def open_segment(log, resume=0, *args):
        if resume:
            log.writer.used = 0
        opened(log, resume, *args)

    def recover(log):
        report = found(log)
        if report["clean"]:
            log.writer.used = 0
        return report

    opened = patch.set(Log, "open_segment", open_segment)
    found = patch.set(recovery, "recover", recover)


def seq_reused(patch):
    """Recovery goes on numbering where the open segment began, not where it ended."""

    def recover(log):
        report = found(log)
        if not report["clean"]:
            log.next_seq = min(log.next_seq, max(1, recovered[-1]))
        return report

    def replay_before(log, tail, report):
        before(log, tail, report)
        recovered.append(log.next_seq)

    recovered = []
    before = patch.set(recovery, "_replay_before", replay_before)
    found = patch.set(recovery, "recover", recover)


def batch_replayed_at_once(patch):
    """Replay counts the entries of a batch as they come, whether a commit follows or not."""

    def apply(replay, where):
        replay._log.entry.flags &= ~recovery.layout.F_BATCH
        applied(replay, where)

    applied = patch.set(Replay, "apply", apply)


def guard_off(patch):
    """LittleFS may erase sectors that the journal uses, if its own metadata calls them free."""
    patch.set(Device, "guarded", lambda device, sector: False)


def small_commits(patch):
    """LittleFS programs 32 bytes at a time: two of its commits share a page."""
    patch.set(port, "PROG_SIZE", 32)
