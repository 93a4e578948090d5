"""Damage in a segment: what a repaired read of it gives, and what entries do that nothing repairs.

Of such an entry the header may hold still. If it also says which record it is a version of, that
record's version cannot be read, and no older one may pass for it; a deletion stays one. SPEC.md
"Versions that cannot be read" has the rule. Loaded only where there is damage.
"""

from drybag import layout, segment
from drybag.index import UNREAD, apply_one, key_hash, pending_tag
from drybag.layout import ENTRY_BYTES, MAX_ENTRY_UNITS, SECTOR, UNIT, Entry
from drybag.log import batch_counts_from
from drybag.port import const

_COLUMNS = const(3)
_CHANGES = (layout.OP_PUT, layout.OP_PUT_BIG, layout.OP_DELETE)
_LAST_REV = const(0xFFFF)


class Unread:
    """Works for a Replay. Its buffers are its own: those of the log are in use meanwhile."""

    def __init__(self, log, replay):
        self._log = log
        self._replay = replay
        self._image = bytearray(SECTOR)
        self._of = -1
        self._scratch = bytearray(MAX_ENTRY_UNITS * UNIT)
        self._entry = Entry(log.epoch)

    def walk(self, number, position):
        """Replay what stands in segment `number` from `position` on, repaired where it can be."""
        log, replay = self._log, self._replay
        next_seq = self._next_seq(number)
        last, noted = -1, False
        while position < 64:
            self._load(number)
            if segment.find_entry(self._image, position, log.scratch, log.entry):
                following = segment.after(position, log.entry.units)
                replay.take(number << 6 | position)
                position, noted = following, False
                continue
            offset = layout.unit_offset(position)
            if self._image[offset : offset + UNIT] == layout.BLANK:
                return
            found = shown(self._image, position, log.epoch)
            if found and found[0].seq >= next_seq and last <= position:
                last = self._next_whole(position)
            if found and (found[0].seq < next_seq or last < 64):
                log.note_damage(number, position, found[0])
                self.take(number << 6 | position, found)
            elif not noted:
                log.note_damage(number, position)
            noted = True
            position = layout.next_position(position)

    def gap(self, number, position, end, sealed):
        """The same for what no entry was found in, of the tail in `log.image`: whole ones stand
        behind it. Unless it is sealed, a copy has taken its place: all that parity gives is in
        the image, and the copy's parity knows nothing."""
        log, noted = self._log, False
        while position < end:
            if sealed:
                self._load(number)
                if segment.find_entry(self._image, position, log.scratch, log.entry):
                    following = segment.after(position, log.entry.units)
                    self._replay.take(number << 6 | position)
                    position, noted = following, False
                    continue
            found = shown(log.image, position, log.epoch, sealed)
            if found:
                log.note_damage(number, position, found[0])
                self.take(number << 6 | position, found)
            elif not noted:
                log.note_damage(number, position)  # a cut can only harm what is last
            noted = True
            position = layout.next_position(position)

    def take(self, where, found):
        """Take an entry that cannot be read into account. `found`: see shown()."""
        entry, pending = found[0], self._replay.pending
        if entry.flags & layout.F_BATCH:
            for value in (UNREAD, entry.seq, where):
                pending.append(value)
            return
        if len(pending):
            first = batch_counts_from(entry, b"", pending[len(pending) - 2])
            if first is not None:
                self._replay.commit(first)
        self._count(where, found)

    def count(self, where):
        """One of a batch that counts."""
        self._load(where >> 6)
        found = shown(self._image, where & 63, self._log.epoch)
        if found:
            self._count(where, found)

    def _count(self, where, found):
        entry, uids = found
        index = self._log.index
        chosen = whose(entry, uids, lambda uid: self._older(entry, uid))
        if chosen is None:
            return
        h = index.key(chosen)
        if entry.is_kept():
            apply_one(index, pending_tag(h, entry.kind, entry.units & 7), entry.seq, where)
        elif entry.op == layout.OP_DELETE:
            apply_one(index, h | entry.kind, entry.seq, 0)
        else:
            blobs = 8 if entry.nblobs else 0
            apply_one(index, h | entry.units << 4 | blobs | entry.kind, entry.seq, where)

    def _older(self, entry, uid):
        """(slot, seq, op, rev) of what stands for the record of that uid, the live version or a
        pending tombstone; None without."""
        index = self._log.index
        this = key_hash(entry.kind, uid, entry.salt)
        slot = index.find(this, entry.kind)
        if slot < 0:
            slot = index.find_pending(this, entry.kind)
        if slot < 0:
            return None
        log, where = self._log, index.where(slot)
        sector, position = log.sectors.get(where >> 6, -1), where & 63
        if sector < 0:
            return None
        older, uids = self._entry, (uid,)
        if not segment.read_entry(log.device, sector, position, self._scratch, older):
            self._load(where >> 6)
            if not segment.repair_entry(self._image, position, self._scratch, older):
                found = shown(self._image, position, log.epoch)
                if not found:
                    return None
                older, uids = found
        if older is self._entry and older.uid(self._scratch) != uid or uid not in uids:
            return None
        return slot, index.seq(slot), older.op, older.rev

    def _load(self, number):
        if self._of != number:
            self._of = -1
            self._log.device.read(self._log.sectors[number], 0, self._image)
            self._of = number

    def _next_whole(self, position):
        """Position of the next entry that reads, 64 if there is none."""
        log = self._log
        while True:
            position = layout.next_position(position)
            if position >= 64 or segment.find_entry(
                self._image, position, log.scratch, log.entry
            ):
                return position

    def _next_seq(self, number):
        """What the next segment's header says: an entry before it that has this seq was not taken
        by the flash. 0 where it cannot be read."""
        following = min([other for other in self._log.sectors if other > number] or [0])
        if not following:
            return 0
        self._load(following)
        header = layout.parse_log_header(self._image)
        if header is None:
            self._of = -1
            segment.rebuild_page(self._image, 0, 1)
            header = layout.parse_log_header(self._image)
        return header.next_seq if header else 0


def whose(entry, uids, older):
    """Whose version `entry` is, that cannot be read and shows these uids: the one record whose
    version it follows. None if there is no such record, or two: then nobody can say.

    `older(uid)`: None, or (a name of the record, seq, op, rev) of its live version, or of its
    tombstone if that is kept for the hub.
    """
    found = []
    for uid in uids:
        version = older(uid)
        if version and version[0] not in found and _follows(entry, *version[1:]):
            found.append(version[0])
    return found[0] if len(found) == 1 else None


def _follows(entry, seq, op, rev):
    """True if `entry` comes next after such a version."""
    if seq >= entry.seq:  # a copy has the seq of its original
        return False
    if op == layout.OP_DELETE:
        return entry.op != layout.OP_DELETE and entry.rev == 1
    return entry.rev == min(rev + 1, _LAST_REV)


def shown(image, position, epoch, by_parity=True):
    """(Entry, uids) of a put or delete whose header reads, as it is or with its row rebuilt; None
    without. `uids`: what stands in the place of its uid, as it is and with one row rebuilt (unless
    `by_parity`: as it is alone).

    The image is left as it was.
    """
    entry = Entry(epoch)
    row = -1 if _is_change(entry, _units(image, position, 1), position) else position & 15
    if row >= 0:
        unit = _units(image, position, 1, row)
        if not by_parity or not _is_change(entry, unit, position):
            return None
    count = layout.units_for(entry.uid_len)
    uids, at = [], position
    for i in range(-1, count if by_parity else 0):
        data = _units(image, position, count, at & 15 if i >= 0 else -1)
        uid = data[ENTRY_BYTES : ENTRY_BYTES + entry.uid_len]
        if uid not in uids:
            uids.append(uid)
        at = layout.next_position(at) if i >= 0 else at
    return entry, uids


def _units(image, position, count, row=-1):
    """The bytes of `count` units, read with `row` rebuilt if that is not -1."""
    keep = bytearray(_COLUMNS * UNIT)
    if row >= 0:
        segment.swap(image, row, keep, False)
        segment.rebuild_page(image, row, _COLUMNS)
    data = bytearray(count * UNIT)
    segment.view_units(image, position, count, data)
    if row >= 0:
        segment.swap(image, row, keep, True)
    return bytes(data)


def _is_change(entry, unit, position):
    return (
        entry.parse(unit)
        and segment.fits(position, entry.units)
        and entry.op in _CHANGES
        and 0 < entry.kind
        and 0 < entry.uid_len <= min(layout.MAX_UID, entry.length)
    )
