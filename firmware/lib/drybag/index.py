"""The index in RAM: 12 bytes a live record, in buckets of unboxed u32 triples.

A triple is (tag, seq, where). tag = 22 bits of the key's CRC32, units (6 bits), has-blobs (1),
kind (3); the bucket is chosen by the lowest of the 22. Two live records never share hash and kind:
the journal gives a colliding newcomer another salt (SPEC.md "Salt"), so that recovery can trust a
tag without reading the record it names.

A tombstone that the hub has still to learn of (SPEC.md "Pending tombstones") has a triple too, of
kind 0, with the record's kind above 3 bits of units. A key has a live version or a pending
tombstone, never both.
"""

from array import array
from binascii import crc32

from drybag.port import const

_KEY = const(0xFFFFFC07)
_PENDING_KEY = const(0xFFFFFF87)
_FREE = const(0xFFFFFFFF)
MAX_UNITS = const(24)
UNREAD = 0xFFFFFFFF  # for a tag, in a batch that waits: an entry that cannot be read


def pending_tag(h, kind, units):
    """Tag of the pending tombstone of a record with hash `h` and `kind`."""
    return h | kind << 7 | units << 4


def kind_of(tag):
    """Kind of the record that a tag stands for, live or deleted."""
    return tag & 7 or tag >> 7 & 7


def units_of(tag):
    """Units of the entry that a tag stands for."""
    return (tag >> 4) & (63 if tag & 7 else 7)


def key_hash(kind, uid, salt=0):
    """u32 that places a record's key in the index."""
    return crc32(uid, kind | (salt << 8)) & 0xFFFFFC00


class Index:
    """`find` gives a slot (bucket, position) packed in an int, or -1."""

    def __init__(self, buckets):
        self._mask = buckets - 1
        self._buckets = [None] * buckets
        self.counts = [0] * 8
        self.units = 0
        self.sizes = array("I", bytes(4 * (MAX_UNITS + 1)))  # 8 MiB hold 90,000 of one unit

    def buckets(self):
        return len(self._buckets)

    def __len__(self):
        """Live PIM records: neither settings nor pending tombstones."""
        return sum(self.counts) - self.counts[0] - self.counts[7]

    def taken(self):
        """Slots in use, all of them."""
        return sum(self.counts)

    def find(self, h, kind):
        """Slot of the live record with hash `h` and `kind`, or -1."""
        return self._find(h, h | kind, _KEY)

    def find_pending(self, h, kind):
        """Slot of the pending tombstone of that record, or -1."""
        if not self.counts[0]:
            return -1
        return self._find(h, h | kind << 7, _PENDING_KEY)

    def _find(self, h, want, mask):
        b = (h >> 10) & self._mask
        bucket = self._buckets[b]
        if bucket is not None:
            for i in range(0, len(bucket), 3):
                if bucket[i] & mask == want and bucket[i] != _FREE:
                    return b << 16 | i
        return -1

    def seq(self, slot):
        return self._buckets[slot >> 16][(slot & 0xFFFF) + 1]

    def where(self, slot):
        return self._buckets[slot >> 16][(slot & 0xFFFF) + 2]

    def move(self, slot, where):
        """The same version now stands at `where`."""
        self._buckets[slot >> 16][(slot & 0xFFFF) + 2] = where

    def find_either(self, tag):
        """Slot of what stands for the key of `tag`, a live version or a pending tombstone."""
        h, kind = tag & 0xFFFFFC00, kind_of(tag)
        slot = self.find(h, kind)
        return slot if slot >= 0 else self.find_pending(h, kind)

    def load(self, tag, seq, where):
        """Insert or replace by tag, as a checkpoint holds it."""
        b = (tag >> 10) & self._mask
        slot = self.find_either(tag)
        if slot >= 0:
            bucket, i = self._buckets[b], slot & 0xFFFF
            self._forget(bucket[i])
        else:
            bucket, i = self._room(b)
        bucket[i] = tag
        bucket[i + 1] = seq
        bucket[i + 2] = where
        units = units_of(tag)
        self.counts[tag & 7] += 1
        self.units += units
        self.sizes[units] += 1

    def _room(self, b):
        bucket = self._buckets[b]
        if bucket is None:
            bucket = self._buckets[b] = array("I")
        for i in range(0, len(bucket), 3):
            if bucket[i] == _FREE:
                return bucket, i
        i = len(bucket)
        bucket.append(_FREE)
        bucket.append(0)
        bucket.append(0)
        return bucket, i

    def _forget(self, tag):
        units = units_of(tag)
        self.counts[tag & 7] -= 1
        self.units -= units
        self.sizes[units] -= 1

    def remove(self, slot):
        bucket, i = self._buckets[slot >> 16], slot & 0xFFFF
        self._forget(bucket[i])
        bucket[i] = _FREE

    def slots(self):
        """Every live slot, by bucket; slots keep their place, so changes in between are safe."""
        for b in range(len(self._buckets)):
            bucket = self._buckets[b]
            if bucket is None:
                continue
            i = 0
            while i < len(bucket):
                if bucket[i] != _FREE:
                    yield b << 16 | i
                i += 3

    def triples(self):
        """(tag, seq, where) of every slot."""
        for slot in self.slots():
            bucket, i = self._buckets[slot >> 16], slot & 0xFFFF
            yield bucket[i], bucket[i + 1], bucket[i + 2]

    def has_blobs(self, slot):
        return self._buckets[slot >> 16][slot & 0xFFFF] & 8

    def kind(self, slot):
        """Kind of the record; see `is_pending` for whether it is there."""
        return kind_of(self._buckets[slot >> 16][slot & 0xFFFF])

    def key(self, slot):
        """The hash of the record's key, as key_hash makes it."""
        return self._buckets[slot >> 16][slot & 0xFFFF] & 0xFFFFFC00

    def is_pending(self, slot):
        """True for a pending tombstone's slot."""
        return not self._buckets[slot >> 16][slot & 0xFFFF] & 7

    def entry_units(self, slot):
        return units_of(self._buckets[slot >> 16][slot & 0xFFFF])

    def has(self, slot, seq):
        """True if the version with `seq` is still in this slot (slots are used again)."""
        bucket, i = self._buckets[slot >> 16], slot & 0xFFFF
        return bucket[i] != _FREE and bucket[i + 1] == seq

    def dump(self, start, out, limit):
        """Copy up to `limit` triples from slot `start` on into `out` (u32 array, preallocated).

        Returns (triples, next start); next start is -1 at the end. `load` restores a triple.
        """
        b, i = start >> 16, start & 0xFFFF
        n = 0
        while b < len(self._buckets):
            bucket = self._buckets[b]
            size = len(bucket) if bucket is not None else 0
            while i < size:
                if bucket[i] != _FREE:
                    if n == limit:
                        return n, b << 16 | i
                    out[3 * n] = bucket[i]
                    out[3 * n + 1] = bucket[i + 1]
                    out[3 * n + 2] = bucket[i + 2]
                    n += 1
                i += 3
            b += 1
            i = 0
        return n, -1


def apply_one(index, tag, seq, where):
    """One committed version, or a pending tombstone; `where` 0 is a tombstone that hides only
    what is before it in the log."""
    if where:
        index.load(tag, seq, where)
    else:
        slot = index.find_either(tag)
        if slot >= 0:
            index.remove(slot)
