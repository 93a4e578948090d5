"""What the hub has still to learn of: tombstones that must last until then, and in which order
versions are sent. SPEC.md "Pending tombstones".
"""

from drybag.errors import NoSpace
from drybag.index import Index, units_of
from drybag.layout import SETTING
from drybag.port import const

_BUCKETS = const(16)


def drop(index, agreed):
    """The hub has everything through seq `agreed` (-1: there is no hub): such tombstones go."""
    if index.counts[0]:
        for slot in index.slots():
            if index.is_pending(slot) and (agreed < 0 or index.seq(slot) <= agreed):
                index.remove(slot)


class _Tombstones(Index):
    """Takes pending tombstones above `agreed` alone."""

    def load(self, tag, seq, where):
        if not tag & 7 and seq > self.agreed:
            Index.load(self, tag, seq, where)
        else:
            slot = self.find_either(tag)
            if slot >= 0:
                self.remove(slot)


def collect(log, admit):
    """The hub lost what it had after `log.agreed`: tombstones the log still has count again.

    Reads the whole log, as a boot does. `admit(units)` raises NoSpace where there is no room for
    more.
    """
    from drybag.recovery import Replay

    index = log.index
    log.index = found = _Tombstones(_BUCKETS)
    found.agreed = log.agreed
    try:
        replay = Replay(log, 0)
        for number in log.numbers_from(0):
            replay.segment(number, 1)
    finally:
        log.index = index
    for tag, seq, where in found.triples():
        slot = index.find_either(tag)
        if slot < 0:
            try:
                admit(units_of(tag))
            except NoSpace:
                return
        elif not index.is_pending(slot) or index.seq(slot) >= seq:
            continue
        index.load(tag, seq, where)


def first_after(index, seq, limit):
    """(seqs, slots) of the up to `limit` live PIM records and pending tombstones with the smallest
    seqs above `seq`, ascending: two lists."""
    seqs, slots = [], []
    for slot in index.slots():
        this = index.seq(slot)
        if this <= seq or index.kind(slot) == SETTING:
            continue
        if len(seqs) == limit:
            if this > seqs[-1]:
                continue
            seqs.pop()
            slots.pop()
        low, high = 0, len(seqs)
        while low < high:
            middle = (low + high) >> 1
            if seqs[middle] < this:
                low = middle + 1
            else:
                high = middle
        seqs.insert(low, this)
        slots.insert(low, slot)
    return seqs, slots


def count_after(index, seq):
    """How many there are."""
    count = 0
    for slot in index.slots():
        if index.seq(slot) > seq and index.kind(slot) != SETTING:
            count += 1
    return count
