"""The log: open segment, index, where everything stands; append and read, no policy."""

from drybag import layout, segment
from drybag.errors import Damaged, DrybagError, JournalClosed, NoSpace
from drybag.index import Index, key_hash
from drybag.layout import MAX_SALT, UNIT, LogHeader, unit_offset
from drybag.pool import IS_LOG, Pool
from drybag.port import const

_RETRIES = const(4)
_MOST_NOTED = const(32)
_CHANGES = (layout.OP_PUT, layout.OP_PUT_BIG, layout.OP_DELETE)


class Log:
    """State shared by recovery, compaction, checkpoints and the journal's calls.

    `sectors` maps the number of each segment that counts to its sector. `image` is one sector
    of bytes that whoever reads a sector fills (`image_of` says with which; -1 nothing). `damaged`
    has (sector, byte) of entries that recovery could not read, `missing` numbers of segments that
    it did not find. `batch` is
    the index of the batch that is being written, if one is. `agreed`: the hub has everything
    through this seq; -1 no hub is paired, or it is not known yet. `sent`: it may have everything
    through this one.
    """

    def __init__(self, device):
        self.device = device
        self.pool = Pool(device)
        buckets = 16
        while buckets * 4 < device.sectors:
            buckets *= 2
        self.index = Index(buckets)
        self.writer = segment.Writer(device)
        self.image, self.scratch, self.entry = segment.new_buffers()
        self.image_of = -1
        self.sectors = {}
        self.epoch = 0
        self.first = 1
        self.next_number = 1
        self.next_seq = 1
        self.skipped = False  # numbers before next_seq that nothing on flash tells of
        self.next_blob = 1
        self.stamp = 0
        self.max_salt = 0
        self.batch = None
        self.agreed = -1
        self.sent = 0
        self.ckpt = self.ckpt_id = self.ckpt_chunks = 0
        self.last_ckpt_id = 0  # also of one that was begun and never finished
        self.units_written = 0
        self.failed = None
        self.cut_short = False
        self._rev = 0
        self.lost = []
        self.damaged = []
        self.unread = {}  # of those in `damaged` whose header reads: (kind, seq)
        self.missing = []

    def check(self, seqs=1):
        """Raise JournalClosed unless `seqs` more entries can be numbered and written."""
        if self.failed:
            raise JournalClosed(self.failed)
        if self.next_seq + seqs > layout.MAX_SEQ:
            raise JournalClosed(
                "the numbers of this journal are used up: pull a backup, format, restore it"
            )

    def closing(self, function, *args):
        """Run what writes. Whatever ends it but a DrybagError may leave RAM and flash apart (no
        memory in the middle of an entry, a dead chip): it closes the journal, and the next mount
        knows the truth.
        """
        try:
            return function(*args)
        except DrybagError:
            raise
        except OSError as error:
            self.cut_short = True
            self.failed = "the flash failed: mount the journal again"  # needs no memory
            self.failed = "the flash failed (%s): mount the journal again" % error
            raise
        except BaseException:
            self.cut_short = True
            self.failed = "a write was cut short: mount the journal again"
            raise

    def skip_seqs(self, count):
        """Numbers that may have been seen and did not count are not given again."""
        self.next_seq = min(self.next_seq + count, layout.MAX_SEQ)
        self.skipped = True

    def took_seq(self):
        """An entry with `next_seq` is on flash."""
        self.next_seq += 1
        self.skipped = False

    def note_damage(self, number, position, entry=None):
        """What stands there cannot be read, and no cut explains it: it rotted. `entry`: what its
        header says, if that reads."""
        place = (self.sectors.get(number, -1), unit_offset(position))
        if place not in self.damaged and len(self.damaged) < _MOST_NOTED:
            self.damaged.append(place)
        if entry and place in self.damaged:
            self.unread[place] = (entry.kind, entry.seq)

    def note_missing(self, number):
        """Segment `number` must be there and is not: its sector cannot be told from others."""
        if number not in self.missing and len(self.missing) < _MOST_NOTED:
            self.missing.append(number)

    def open_segment(self, resume=0, source=0, copy_units=0, copy_crc=0):
        """Start the next segment; its header is on flash when this returns. Raises NoSpace.

        `resume`, `source`, `copy_units`, `copy_crc`: recovery's copy of an older tail (SPEC.md).
        """
        if self.next_number > layout.MAX_NUMBER:
            raise NoSpace("the segments of this journal are used up: pull a backup, format")
        h = LogHeader()
        h.epoch, h.number, h.first = self.epoch, self.next_number, self.first
        h.ckpt, h.ckpt_id, h.ckpt_chunks = self.ckpt, self.ckpt_id, self.ckpt_chunks
        h.resume, h.source = resume, source
        h.copy_units, h.copy_crc = copy_units, copy_crc
        h.prev_units = self.writer.used
        h.next_seq, h.stamp, h.next_blob = self.next_seq, self.stamp, self.next_blob
        head = h.pack()
        sector = self.pool.take(head, not resume)
        self.pool.own(sector, IS_LOG, h.number)
        self.sectors[h.number] = sector
        self.next_number += 1
        self.pool.header_written()
        self.writer.begin(sector, h.number, head)

    def append(self, units):
        """Commit the entry in `scratch`: on return it survives any cut. Gives its `where`.

        Raises NoSpace; OSError where the flash refuses again and again.
        """
        for _ in range(_RETRIES):
            if self.writer.left() < units:
                self.open_segment()
            where = self.writer.append(self.scratch, units)
            if where >= 0:
                self.units_written += units
                return where
        raise OSError(5)

    def append_copy(self, source, units):
        """As append, for units in another buffer; -1 where this sector is worn out."""
        where = self.writer.append(source, units)
        self.units_written += units
        return where

    def load(self, number):
        """Read segment `number` whole into `image`, unless it is there already."""
        state = number << 6 | (self.writer.position & 63 if number == self.writer.number else 0)
        if self.image_of != state:
            self.image_of = -1
            self.device.read(self.sectors[number], 0, self.image)
            self.image_of = state

    def read(self, where):
        """Fill `scratch` and `entry` with the entry at `where`; repairs one harmed page.

        Raises Damaged (with sector and byte) where the CRC cannot be met.
        """
        number, position = where >> 6, where & 63
        sector = self.sectors.get(number, -1)
        if sector < 0:
            raise Damaged("segment %d is missing" % number)
        if segment.read_entry(self.device, sector, position, self.scratch, self.entry):
            return False
        self.image_of = -1
        self.load(number)
        if segment.repair_entry(self.image, position, self.scratch, self.entry):
            return True
        raise Damaged(
            "entry damaged in sector %d at byte %d" % (sector, unit_offset(position))
        )

    def read_head(self, where):
        """Fill `entry` and as much of `scratch` as holds header and uid. False if unreadable."""
        sector = self.sectors.get(where >> 6, -1)
        if sector < 0:
            return False
        return read_head(self.device, sector, where & 63, self.scratch, self.entry)

    def lookup(self, kind, uid):
        """(slot or -1, salt to use, revision or 0) of a key; compares the uid on flash."""
        return self.look(kind, uid)[:3]

    def look(self, kind, uid):
        """As lookup, and the slot of the key's pending tombstone or -1."""
        if not 0 < kind < 8:
            return -1, 0, 0, -1
        free = -1
        for salt in range(self.max_salt + 1):
            h = key_hash(kind, uid, salt)
            if self.batch is not None and self._others_in_batch(h, kind, uid):
                continue
            slot = self.index.find(h, kind)
            if slot < 0:
                slot = self.index.find_pending(h, kind)
                if slot >= 0:
                    if self._is_of(slot, uid):
                        return -1, salt, 0, slot
                elif free < 0:
                    free = salt
                continue
            if self._is_of(slot, uid) is not False:
                return slot, salt, self._rev, -1
        if free < 0:
            free = self.max_salt + 1
            if free > MAX_SALT:
                raise Damaged("four records share the hash of %r: choose another uid" % uid)
        return -1, free, 0, -1

    def _is_of(self, slot, uid):
        """True if the entry of that index slot is of `uid`; None if nobody can say. `_rev`: its
        revision, 0 then."""
        where = self.index.where(slot)
        self._rev = 0
        if not self.read_head(where) or self.entry.uid(self.scratch) != uid:
            try:
                self.read(where)  # the uid may have rotted, or it is another record
            except Damaged:
                return None
        self._rev = self.entry.rev
        return self.entry.uid(self.scratch) == uid

    def _others_in_batch(self, h, kind, uid):
        """True if the batch that is being written has put another record with this hash."""
        slot = self.batch.find(h, kind)
        if slot < 0 or not self.batch.where(slot):
            return False
        self.read(self.batch.where(slot))
        return self.entry.uid(self.scratch) != uid

    def numbers_from(self, number):
        """Numbers of the segments from `number` on, in order, while others come and go."""
        while True:
            following = -1
            for other in self.sectors:
                if other >= number and not 0 <= following < other:
                    following = other
            if following < 0:
                return
            yield following
            number = following + 1

    def walk(self, where=0):
        """Every intact entry from `where` on, in order of the log; yields its `where`.

        `entry` and `scratch` hold it. The caller may use the journal between two of them.
        """
        start = where & 63 or 1
        for number in self.numbers_from(where >> 6):
            position = start if number == where >> 6 else 1
            while position < 64 and number in self.sectors:
                self.load(number)
                found = segment.find_entry(self.image, position, self.scratch, self.entry)
                if found:
                    units = self.entry.units
                    yield number << 6 | position
                elif number == self.writer.number and position >= self.writer.position:
                    break
                else:
                    units = 1
                position = segment.after(position, units)

    def versions(self, kind, uid, make):
        """{seq: make()} of a record's committed versions and tombstones in the log."""
        found, doubtful, last = {}, [], 0
        for _ in self.walk():
            entry = self.entry
            if last:
                first = batch_counts_from(entry, self.scratch, last)
                if first is not None:
                    for seq in doubtful:
                        if seq < first:
                            found.pop(seq, None)
                    doubtful, last = [], 0
            if entry.op not in _CHANGES:
                continue
            if entry.flags & layout.F_BATCH:
                last = entry.seq
            if entry.kind == kind and entry.uid(self.scratch) == uid:
                if entry.flags & layout.F_BATCH:
                    doubtful.append(entry.seq)
                found[entry.seq] = make()
        for seq in doubtful:
            found.pop(seq, None)
        return found


def batch_counts_from(entry, scratch, last):
    """What `entry` says of the batch before it, whose last entry has seq `last`.

    The seq from which its entries count: the commit entry names it; where that rotted away, the
    next seq tells, since the journal skips some after a batch that was not committed. None if
    `entry` says nothing.
    """
    if entry.op == layout.OP_COMMIT:
        return entry.commits_from(scratch)
    if entry.op not in _CHANGES or entry.flags & layout.F_BATCH or entry.seq <= last:
        return None
    return 0 if entry.seq == last + 2 else 0xFFFFFFFF


def read_head(device, sector, position, scratch, entry):
    """Read the units of an entry that hold its header and uid; False if no valid header."""
    view = memoryview(scratch)
    device.read(sector, unit_offset(position), view[:UNIT])
    if not entry.parse(view) or not segment.fits(position, entry.units):
        return False
    for i in range(1, layout.units_for(entry.uid_len)):
        position = layout.next_position(position)
        device.read(sector, unit_offset(position), view[i * UNIT : (i + 1) * UNIT])
    return True
