"""Room: which puts are accepted, and the incremental copying that gives sectors back.

The log is a ring: the oldest segment is always the next to go. Its live entries are copied to
the open segment, keeping their seq; then its sector is free. Oldest first means that a tombstone
which reaches the end has outlived every version it hides, so it can be dropped there and then;
but for one that the hub has still to learn of, which is copied as live entries are.
"""

from drybag import layout, segment
from drybag.errors import Damaged, NoSpace
from drybag.index import MAX_UNITS, key_hash
from drybag.layout import DATA_UNITS, SECTOR, UNIT
from drybag.pool import BAD
from drybag.port import const

_RESERVE = const(5)
_HARD = const(3)
_STEP = const(24)


def segments_needed(index, more=0, longest=1):
    """Segments that hold the live entries, `more` further units included, in any order.

    A bound: each segment may waste up to the length of the entry that no longer fit, less one.
    """
    total = index.units + more
    count = (total + DATA_UNITS - 1) // DATA_UNITS
    while True:
        waste, left = 0, count
        for units in range(MAX_UNITS, 1, -1):
            n = index.sizes[units] + (1 if units == longest else 0)
            n = min(n, left)
            waste += n * (units - 1)
            left -= n
        need = (total + waste + DATA_UNITS - 1) // DATA_UNITS
        if need <= count:
            return count
        count = need


class Compactor:
    def __init__(self, log):
        self._log = log
        self._position = 1
        self.steps = 0
        self.sweep = None  # Blobs.sweep

    def capacity(self):
        """Segments the log may fill: all sectors less blobs, bad ones, reserve and a tenth."""
        return max(0, self._for_log(0))

    def _for_log(self, blob_sectors):
        pool = self._log.pool
        sectors = pool.limit - pool.blobs - pool.bad - _RESERVE - blob_sectors
        return sectors - max(0, sectors) // 10

    def admit(self, units, longest=None, blob_sectors=0):
        """Raise NoSpace unless so many more units and blob sectors can be kept.

        Blobs that no record names any more make room first.
        """
        need = segments_needed(self._log.index, units, longest or min(units, MAX_UNITS))
        missing = need - self._for_log(blob_sectors)
        if missing > 0 and self.sweep():
            missing = need - self._for_log(blob_sectors)
        if missing > 0:
            raise NoSpace(
                "the flash is full: %d bytes must be freed first; delete records or photos"
                % (missing * SECTOR),
                missing * SECTOR,
            )

    def make_room(self, units, sectors=0):
        """Before `units` are appended: copy a bounded amount, more as free sectors get few.

        With `sectors`, goes on until that many can be taken (a blob, a batch). Raises NoSpace
        where a whole turn of the log frees nothing.
        """
        pool = self._log.pool
        low = max(_RESERVE + 3, pool.limit // 8)
        have = pool.can_have() - sectors - (units // DATA_UNITS)
        if have < low:
            budget = _STEP + 6 * min(units, 2 * MAX_UNITS)
            if have < low // 2:
                budget *= 2
            self._copy(budget)
        turn = len(self._log.sectors) + 2
        while pool.ready() - sectors - units // DATA_UNITS < _HARD:
            if pool.waiting > 1 and pool.ready():
                self._log.open_segment()
                continue
            if turn == 0 or not self._copy(DATA_UNITS):
                if self.sweep():
                    continue
                raise NoSpace("the flash is full: delete records or photos", SECTOR)
            turn -= 1

    def _copy(self, budget):
        """Process up to `budget` units of the oldest segment; False when only the open is left."""
        log = self._log
        while budget > 0:
            open_number = log.writer.number or log.next_number  # none is open after a clean boot
            while log.first not in log.sectors:
                if log.first >= open_number:
                    return False
                log.first += 1
                self._position = 1
            if log.first >= open_number:
                return False
            budget -= self._one(log.first)
        return True

    def _one(self, number):
        """Process the entry at the cursor; returns the units passed."""
        log, entry, position = self._log, self._log.entry, self._position
        self.steps += 1
        if position >= 64:
            self._finish(number)
            return 1
        sector = log.sectors[number]
        view = memoryview(log.scratch)[:UNIT]
        log.device.read(sector, layout.unit_offset(position), view)
        if not entry.parse(log.scratch):
            if view == layout.BLANK:
                self._position = 64
            else:
                return self._damaged(number, position)
            return 1
        units = entry.units
        if entry.is_put() or (entry.is_kept() and log.index.counts[0]):
            self._copy_if_live(number << 6 | position)  # NoSpace: it stays the next one
        self._position = segment.after(position, units)
        return units

    def _live_slot(self, where):
        """Index slot of the entry at `where` if that is live, or a pending tombstone; else -1."""
        log = self._log
        log.read_head(where)
        slot = self._live_slot_loaded(where)
        if slot >= 0:
            return slot
        try:
            fixed = log.read(where)  # before it is let go: its uid may have rotted
        except Damaged:
            for slot in log.index.slots():
                if log.index.where(slot) == where:
                    return slot
            return -1
        return self._live_slot_loaded(where) if fixed else -1

    def _copy_if_live(self, where):
        log = self._log
        slot = self._live_slot(where)
        if slot < 0:
            return
        if log.index.is_pending(slot) and log.agreed < 0:  # no hub is paired
            log.index.remove(slot)
            return
        try:
            log.read(where)
        except Damaged:
            self._give_up(slot, where)
            return
        self._rewrite()
        log.index.move(slot, log.append(log.entry.units))

    def refresh(self, slot):
        """Write a live entry that had to be repaired once more, whole. Raises NoSpace, Damaged."""
        log = self._log
        self.make_room(MAX_UNITS)
        log.read(log.index.where(slot))
        self._rewrite()
        log.index.move(slot, log.append(log.entry.units))

    def _rewrite(self):
        """The entry in scratch stands for itself now, outside any batch."""
        log = self._log
        if log.entry.flags & layout.F_BATCH:
            log.scratch[1] = log.entry.flags & ~layout.F_BATCH
            layout.sign_entry(log.scratch, log.epoch, log.entry.length)

    def _damaged(self, number, position):
        """A unit that is no header: look at the rest of the segment as a repaired whole."""
        log = self._log
        log.image_of = -1
        for where in log.walk(number << 6 | position):
            if where >> 6 != number:
                break
            slot = self._live_slot_loaded(where)
            if slot >= 0:
                self._rewrite()
                log.index.move(slot, log.append(log.entry.units))
                log.image_of = -1
        for slot in log.index.slots():
            where = log.index.where(slot)
            if where >> 6 == number:
                self._give_up(slot, where)
        self._position = 64
        return DATA_UNITS

    def _live_slot_loaded(self, where):
        log, entry = self._log, self._log.entry
        if not entry.is_put() and not entry.is_kept():
            return -1
        h = key_hash(entry.kind, entry.uid(log.scratch), entry.salt)
        find = log.index.find if entry.is_put() else log.index.find_pending
        slot = find(h, entry.kind)
        return slot if slot >= 0 and log.index.where(slot) == where else -1

    def _give_up(self, slot, where):
        """A live record that no repair brings back: note it; its sector is left for salvage."""
        log = self._log
        number = where >> 6
        log.lost.append((log.index.kind(slot), b"", log.sectors[number]))
        log.index.remove(slot)
        log.pool.retire(log.sectors[number])

    def _finish(self, number):
        log = self._log
        sector = log.sectors.pop(number)
        log.first = number + 1
        self._position = 1
        if log.pool.state[sector] != BAD:
            log.pool.release(sector)
