"""Checkpoints: the index written into the log, piece by piece, so that boot need not read it all.

A checkpoint is fuzzy: pieces are written between other entries while records change. Boot
replays the log from the place where the checkpoint began, pieces and entries in order, and ends
with the true index. The header of every later segment names the newest complete checkpoint. It
is an accelerator only: without it the whole log is replayed to the same result.
"""

from array import array

from drybag import layout
from drybag.index import MAX_UNITS, units_of
from drybag.port import const

_LEAST_UNITS = const(1280)


class Checkpointer:
    """Writes one piece (at most 120 records) each time `step` is called while one is due."""

    def __init__(self, log):
        self._log = log
        self._triples = array("I", bytes(layout.INDEX_PER_CHUNK * layout.INDEX_BYTES))
        self._next = -1
        self._start = 0
        self._chunks = 0
        self._id = 0
        self._since = 0

    def due(self):
        """True when enough has been written since the last one began.

        The interval grows with the index, so that checkpoints stay below a third of the writes.
        """
        log = self._log
        if self._next >= 0:
            return True
        interval = max(_LEAST_UNITS, log.index.taken() * layout.INDEX_BYTES * 3 // layout.UNIT)
        return log.units_written - self._since >= interval

    def step(self):
        """Write one piece if a checkpoint is due; True when it was the last."""
        if not self.due():
            return False
        log = self._log
        if self._next < 0:
            self._next = 0
            self._chunks = 0
            self._start = log.writer.number << 6 | log.writer.position
            if log.writer.position == 64:
                self._start = log.next_number << 6 | 1
            self._id = (max(log.ckpt_id, log.last_ckpt_id) + 1) & 0xFFFFFFFF or 1
            log.last_ckpt_id = self._id
            self._since = log.units_written
        count, following = log.index.dump(self._next, self._triples, layout.INDEX_PER_CHUNK)
        body = memoryview(self._triples)[: 3 * count]
        piece = bytes(body) if count else b""
        log.append(layout.pack_entry(
            log.scratch, log.epoch, layout.OP_INDEX, self._id, 0, 0, b"", piece
        ))  # fmt: skip
        self._chunks += 1
        self._next = following
        if following >= 0:
            return False
        log.ckpt, log.ckpt_id, log.ckpt_chunks = self._start, self._id, self._chunks
        return True

    def force(self, make_room):
        """Write a whole checkpoint now, and the header that names it: the next boot uses it.

        `make_room(units)` is called before each piece. Raises NoSpace.
        """
        self._next = -1
        self._since = -(1 << 29)
        make_room(layout.MAX_ENTRY_UNITS)
        while not self.step():
            make_room(layout.MAX_ENTRY_UNITS)
        make_room(layout.DATA_UNITS)
        self._log.open_segment()


def load_piece(index, buf, start, end):
    """Put a piece's triples (bytes start..end of `buf`) into `index`; what is none is left out."""
    end -= (end - start) % layout.INDEX_BYTES
    triples = array("I", bytes(memoryview(buf)[start:end]))
    for i in range(0, len(triples), 3):
        if units_of(triples[i]) <= MAX_UNITS:
            index.load(triples[i], triples[i + 1], triples[i + 2])
