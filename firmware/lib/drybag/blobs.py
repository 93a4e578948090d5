"""Blobs: bytes too large for an entry, named by their SHA-256, in sectors of their own.

A blob is written whole before the entry that names it. One that no live record names is
reclaimed when space is short. Number of a chunk: blob number << 12 | index.
"""

import hashlib
from array import array
from binascii import crc32, hexlify

from drybag import layout
from drybag.errors import BadBlob, Damaged, NoSpace, NotFound, TooLarge
from drybag.layout import BLOB_DATA, MAX_BLOB_CHUNKS, MAX_ENTRY_UNITS, SECTOR, UNIT
from drybag.pool import IS_BLOB
from drybag.port import const

_INDEX_MASK = const(0xFFF)
_NUMBER_MASK = const(0xFFFFF)


class Blobs:
    def __init__(self, log, compactor):
        self._log = log
        self._compactor = compactor
        compactor.sweep = self.sweep
        self._swept_at = -1
        self._fresh = set()
        self._unit = bytearray(UNIT)

    def _headers(self):
        """(blob number, sha, size) of every blob whose first chunk is there."""
        pool = self._log.pool
        for sector in range(len(pool.state)):
            if pool.state[sector] == IS_BLOB and not pool.number[sector] & _INDEX_MASK:
                self._log.device.read(sector, 0, self._unit)
                found = layout.parse_blob_header(self._unit)
                if found:
                    yield pool.number[sector] >> 12, found[2], found[3]

    def find(self, sha):
        """(blob number, size) of a complete blob, or None."""
        for blob, size, _ in self._candidates(sha):
            return blob, size
        return None

    def _candidates(self, sha):
        """(blob number, size, places of its chunks) of each complete blob of that name.

        There are several when a cut left one whose last chunk may be torn and it was stored anew.
        """
        for blob, name, size in self._headers():
            if name == sha:
                places = self._places(blob, sha, size)
                if places:
                    yield blob, size, places

    def _places(self, blob, sha, size):
        """1 + the sector of each chunk (array), or None where one is missing.

        Name and number tell a chunk: what another blob left under the same number is none of it.
        """
        pool = self._log.pool
        missing = chunk_count(size)
        places = array("H", bytes(2 * missing))
        for sector in range(len(pool.state)):
            number = pool.number[sector]
            if pool.state[sector] != IS_BLOB or number >> 12 != blob:
                continue
            self._log.device.read(sector, 0, self._unit)
            header = layout.parse_blob_header(self._unit)
            i = number & _INDEX_MASK
            if i < len(places) and (header is None or header[2] == sha):
                missing -= not places[i]
                if header or not places[i]:
                    places[i] = sector + 1
        return None if missing else places

    def has(self, sha):
        """True if the blob is complete and can be relied on.

        One that is left from before the last boot and that no record names does not count: the
        cut may have left its last cells marginal.
        """
        found = False
        for blob, _, _ in self._candidates(sha):
            if blob in self._fresh:
                return True
            found = True
        return found and self._is_named(sha)

    def is_whole(self, sha):
        """True if every chunk is intact in one copy or another. Reads them all."""
        try:
            for _ in self.read(sha):
                pass
        except (Damaged, NotFound):
            return False
        return True

    def _is_named(self, sha):
        log = self._log
        for where in self._naming():
            try:
                log.read(where)
            except Damaged:
                continue
            for i in range(log.entry.nblobs):
                if log.entry.blob(log.scratch, i) == sha:
                    return True
        return False

    def _naming(self):
        """Places of the live entries that name blobs."""
        index = self._log.index
        for slot in index.slots():
            if index.has_blobs(slot):
                yield index.where(slot)

    def read(self, sha):
        """The blob in pieces (memoryview, valid until the next). Raises NotFound, Damaged."""
        copies = list(self._candidates(sha))
        if not copies:
            raise NotFound("no blob %s" % hexlify(sha).decode())
        buf = bytearray(SECTOR)
        for i in range(chunk_count(copies[0][1])):
            yield self._chunk(sha, copies, i, buf)

    def _chunk(self, sha, copies, i, buf):
        """Chunk `i` from whichever copy of the blob is intact."""
        sector = -1
        for _, _, places in copies:
            sector = places[i] - 1
            piece = self._intact(sector, buf)
            if piece is not None:
                return piece
        raise Damaged(
            "blob %s: chunk %d is damaged in sector %d" % (hexlify(sha).decode(), i, sector)
        )

    def _intact(self, sector, buf):
        self._log.device.read(sector, 0, buf)
        header = layout.parse_blob_header(buf)
        if header is None:
            return None
        data = memoryview(buf)[UNIT : UNIT + header[4]]
        return data if crc32(data) == header[5] else None

    def writer(self, sha, size):
        """A BlobWriter; space for the whole blob is made first. Raises NoSpace, TooLarge."""
        chunks = chunk_count(size)
        if chunks > MAX_BLOB_CHUNKS:
            raise TooLarge("blob of %d bytes: at most %d" % (size, MAX_BLOB_CHUNKS * BLOB_DATA))
        if self.has(sha) and self.is_whole(sha):
            return BlobWriter(self, -1, sha, size)
        log = self._log
        log.closing(self._make_room, chunks)
        pool = log.pool
        taken = {n >> 12 for n in pool.number}  # also of sectors let go: a header may stand there
        blob = log.next_blob & _NUMBER_MASK
        while blob in taken or blob == 0:
            blob = (blob + 1) & _NUMBER_MASK
        log.next_blob = (blob + 1) & _NUMBER_MASK
        return BlobWriter(self, blob, sha, size)

    def _make_room(self, chunks):
        compactor, pool = self._compactor, self._log.pool
        if pool.can_have() - chunks < pool.limit // 8:
            self.sweep()
        compactor.admit(MAX_ENTRY_UNITS, None, chunks)  # and a record to name it
        compactor.make_room(0, chunks)

    def sweep(self):
        """Let go of the blobs that no live record names; returns the sectors freed.

        Frees nothing if a record that names blobs cannot be read: its blobs are not known.
        """
        log, pool = self._log, self._log.pool
        if log.failed or not pool.blobs or self._swept_at == log.next_seq:
            return 0
        self._swept_at = log.next_seq
        named = set()
        for where in self._naming():
            try:
                log.read(where)
            except Damaged:
                return 0
            for i in range(log.entry.nblobs):
                named.add(log.entry.blob(log.scratch, i))
        copies = {}
        for blob, sha, size in self._headers():
            places = self._places(blob, sha, size) if sha in named else None
            if places:
                copies.setdefault(sha, []).append((blob, size, places))
        keep = set(self._fresh)
        for sha in copies:
            keep.update(self._worth_keeping(copies[sha]))
        freed = array("H")
        for sector in range(len(pool.state)):
            if pool.state[sector] == IS_BLOB and pool.number[sector] >> 12 not in keep:
                freed.append(sector)
        pool.release_blobs(freed, log.epoch)
        return len(freed)

    def _worth_keeping(self, copies):
        """Of several copies of one blob the first that is whole; all of them if none is."""
        if len(copies) > 1:
            buf = bytearray(SECTOR)
            for blob, _, places in copies:
                if all(self._intact(place - 1, buf) is not None for place in places):
                    return (blob,)
        return [blob for blob, _, _ in copies]

    def store(self, blob, index, head, data):
        """Write one chunk (header unit and data units) to a sector; raises NoSpace, OSError and
        JournalClosed.

        Others may have written since room was made for the blob: what is left must be left.
        """
        self._log.check(0)
        self._log.closing(self._store, blob, index, head, data)

    def _store(self, blob, index, head, data):
        log = self._log
        self._make_room(1)
        while True:
            sector = log.pool.take(head)
            if log.device.program(sector, UNIT, data):
                log.pool.own(sector, IS_BLOB, blob << 12 | index)
                return
            log.pool.retire(sector)

    def added(self, blob):
        self._fresh.add(blob)

    def not_wanted(self, blob):
        """No record came to name it: the sweep may have it."""
        self._fresh.discard(blob)
        self._swept_at = -1

    def named_now(self, shas):
        """Records name these blobs now: whether they stay is for the sweep to decide."""
        for blob, sha, _ in list(self._headers()):
            if blob in self._fresh and sha in shas:
                self._fresh.discard(blob)

    def dropped(self, blob):
        pool = self._log.pool
        self._fresh.discard(blob)
        if self._log.failed:
            return
        sectors = array("H")
        for sector in range(len(pool.state)):
            if pool.state[sector] == IS_BLOB and pool.number[sector] >> 12 == blob:
                sectors.append(sector)
        self._log.closing(pool.release_blobs, sectors, self._log.epoch)

    @property
    def epoch(self):
        return self._log.epoch


def chunk_count(size):
    """Sectors that a blob of `size` bytes takes (an empty one takes one)."""
    return max(1, (size + BLOB_DATA - 1) // BLOB_DATA)


class BlobWriter:
    """Takes a blob's bytes in pieces of any length; `finish` says whether they are the blob."""

    def __init__(self, blobs, number, sha, size):
        self._blobs = blobs
        self.number = number
        self._sha = sha
        self._size = size
        self._hash = hashlib.sha256()
        self._data = bytearray(BLOB_DATA) if number >= 0 else None
        self._fill = 0
        self._chunks = 0
        self.received = 0
        if number >= 0:
            blobs.added(number)

    def write(self, data):
        """Raises BadBlob when more comes than was announced, NoSpace, OSError."""
        self.received += len(data)
        if self.received > self._size:
            self.abort()
            raise BadBlob("more than the %d bytes announced" % self._size)
        self._hash.update(data)
        if self.number < 0:
            return
        view = memoryview(data)
        while len(view):
            n = min(len(view), BLOB_DATA - self._fill)
            self._data[self._fill : self._fill + n] = view[:n]
            self._fill += n
            view = view[n:]
            if self._fill == BLOB_DATA:
                self._flush()

    def _flush(self):
        view = memoryview(self._data)
        crc = crc32(view[: self._fill])
        units = (self._fill + UNIT - 1) // UNIT
        for i in range(self._fill, units * UNIT):
            self._data[i] = 0xFF
        head = layout.pack_blob_header(
            self._blobs.epoch, self.number << 12 | self._chunks, self._sha, self._size,
            self._fill, crc,
        )  # fmt: skip
        try:
            self._blobs.store(self.number, self._chunks, head, view[: units * UNIT])
        except NoSpace:
            self.abort()
            raise
        self._chunks += 1
        self._fill = 0

    def finish(self):
        """All bytes were given. Raises NoSpace, BadBlob (hash differs), and forgets them."""
        if self.received != self._size or self._hash.digest() != self._sha:
            self.abort()
            raise BadBlob(
                "%d of %d bytes, SHA-256 %s" % (
                    self.received, self._size,
                    "differs" if self.received == self._size else "of a part",
                )
            )  # fmt: skip
        if self.number >= 0 and (self._fill or not self._chunks):
            self._flush()

    def abort(self):
        """Forget what was written."""
        if self.number >= 0:
            self._blobs.dropped(self.number)
        self.number = -1
