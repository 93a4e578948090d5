"""What the hub has still to learn of: tombstones that must last until then, and in which order
versions are sent. SPEC.md "Pending tombstones".
"""

from drybag.errors import NoSpace
from drybag.index import key_hash, pending_tag
from drybag.layout import SETTING


def drop(index, agreed):
    """The hub has everything through seq `agreed` (-1: there is no hub): such tombstones go."""
    if index.counts[0]:
        for slot in index.slots():
            if index.is_pending(slot) and (agreed < 0 or index.seq(slot) <= agreed):
                index.remove(slot)


def collect(log, admit):
    """The hub lost what it had after `log.agreed`: tombstones the log still has count again.

    Reads the whole log. `admit(units)` raises NoSpace where there is no room for more.
    """
    for where in log.walk():
        entry = log.entry
        if not entry.is_kept() or entry.seq <= log.agreed:
            continue
        kind, seq, units, uid = entry.kind, entry.seq, entry.units, entry.uid(log.scratch)
        tag = pending_tag(key_hash(kind, uid, entry.salt), kind, units)
        slot, _, _, grave = log.look(kind, uid)
        if slot >= 0 or (grave >= 0 and log.index.seq(grave) >= seq):
            continue
        if grave >= 0:
            log.index.remove(grave)
        elif log.index.find_either(tag) >= 0:
            continue  # another record has taken its hash and salt since
        try:
            admit(units)
        except NoSpace:
            return
        log.index.load(tag, seq, where)


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
