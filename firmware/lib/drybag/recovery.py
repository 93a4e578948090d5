"""Recovery: from whatever power loss left on flash to a journal that is true and writable.

Only reads until the index stands; then, after a shutdown that was not clean, the open segment's
entries are copied to a fresh sector (their cells may be marginal, their page harmed) and the old
sector is let go. A cut during that copy leaves the old segment as it was: a copy counts only
when all of its bytes match the CRC that its header announced.
"""

from array import array
from binascii import crc32

from drybag import layout, segment
from drybag.checkpoint import load_piece
from drybag.errors import FormatNewer, NoSpace, NotMountable
from drybag.index import UNREAD, Index, apply_one, key_hash, pending_tag
from drybag.layout import UNIT
from drybag.log import batch_counts_from
from drybag.pool import BAD, FREE, IS_BLOB, IS_LOG, format_if_blank
from drybag.port import const, random_u32

_SEQ_GAP = const(64)


def recover(log):
    """Bring `log` up from its device; returns a report (dict).

    Raises FormatNewer, NotMountable (nothing was written), OSError (device).
    """
    report = {"formatted": False, "clean": True, "healed": False, "copied_entries": 0,
              "replayed_entries": 0, "checkpoint": False, "filesystem": "ok",
              "read_only": None, "damaged": log.damaged,
              "missing": log.missing}  # fmt: skip
    last = _scan(log)
    mounted = log.pool.mount()
    if last == 0:
        if log.pool.blobs:
            raise NotMountable("blobs but no log segment: nothing was written; run salvage")
        if not mounted:
            format_if_blank(log.device, log.image)
            report["formatted"] = True
            log.pool.mount()
        return _begin(log, report)
    if not mounted:
        report["filesystem"] = "not mountable (%s): no new sectors, all records served" % (
            log.pool.fs_error,
        )
    log.next_number = last + 1
    tail, end, healed = _find_tail(log, last)
    report["healed"] = healed
    if tail is None and not log.unreadable and not log.pool.blobs:
        _let_go(log)
        return _begin(log, report)
    if tail is None:
        raise NotMountable("no segment header is readable: nothing was written; run salvage")
    _replay_before(log, tail, report)
    clean = _ends_with_seal(log)
    report["clean"] = clean
    if clean:
        number = tail.number
        if number + 1 == log.next_number:  # the next header says that this segment must be there
            log.writer.used = layout.DATA_UNITS - layout.units_left(end)
        _let_go(log)
    else:
        if segment.mend(log.image, log.scratch, log.entry):  # its parity ends with it
            end = segment.survey(log.image, log.scratch, log.entry)[1]
        number = _copy_tail(log, tail, end, report)
        log.skip_seqs(_SEQ_GAP)
    _replay_image(log, number, end, report)
    _purge(log)
    return report


def _begin(log, report):
    """The first segment of a journal that holds nothing yet."""
    log.epoch = log.entry.epoch = log.epoch or random_u32()
    log.open_segment()
    log.pool.stock(log.epoch)
    return report


def _scan(log):
    """Read every sector's prefix; register log segments and blobs. Returns the last number."""
    pool, last = log.pool, 0
    for sector, version, epoch, kind, number in pool.scan(bytearray(UNIT)):
        if version > layout.VERSION:
            raise FormatNewer(
                "format version %d in sector %d: this firmware reads up to %d; nothing was "
                "written, update the firmware" % (version, sector, layout.VERSION)
            )
        if log.epoch and epoch != log.epoch:
            raise NotMountable(
                "sector %d belongs to another journal (epoch %08x beside %08x): nothing was "
                "written; take a dump and run salvage" % (sector, epoch, log.epoch)
            )
        if kind == layout.LOG and not 0 < number <= layout.MAX_NUMBER:
            raise NotMountable(
                "sector %d has segment number %d, which no journal gives: nothing was written; "
                "take a dump and run salvage" % (sector, number)
            )
        log.epoch = log.entry.epoch = epoch
        if kind == layout.LOG and number in log.sectors:
            # One is a header cut short that could not be read when its number was given again.
            if _has_entries(log, log.sectors[number]):
                pool.own(sector, BAD, number)
                continue
            pool.own(log.sectors[number], BAD, number)
            pool.own(sector, IS_LOG, number)
            log.sectors[number] = sector
        elif kind == layout.LOG:
            pool.own(sector, IS_LOG, number)
            log.sectors[number] = sector
            last = max(last, number)
        elif kind == layout.BLOB:
            pool.own(sector, IS_BLOB, number)
        elif kind == layout.SPARE:
            pool.own(sector, FREE, 0)
    return last


def _has_entries(log, sector):
    unit = bytearray(UNIT)
    log.device.read(sector, layout.unit_offset(1), unit)
    return unit != layout.BLANK


def _drop(log, number):
    """Segment `number` counts no more; its sector is free."""
    sector = log.sectors.pop(number, -1)
    if sector >= 0:
        log.pool.release(sector, True)


def _set_aside(log, number):
    """Segment `number` does not count at this boot; its sector stays as it is for now.

    It may read otherwise at the next boot. A copy that was cut short would count then, if the
    source that shows it to be one were gone: so none of them is erased before this boot's own
    copy is on flash, and where there is no other sector the highest goes first.
    """
    log.aside.append((number, log.sectors.pop(number)))


def _find_tail(log, last):
    """The newest segment that counts, healed in `log.image`: (header, end position, healed).

    The source of a recovery copy stays untouched (`log.held`) until its bytes are safe in the
    copy that this boot makes: the last cells of the older copy may be marginal.
    """
    log.held, log.aside = [], []
    log.unreadable = 0
    while log.sectors:
        number = max(log.sectors)
        log.image_of = -1
        log.device.read(log.sectors[number], 0, log.image)
        healed = segment.heal(log.image, log.scratch, log.entry)
        count, end = segment.survey(log.image, log.scratch, log.entry)
        header = layout.parse_log_header(log.image)
        if header is None and count:
            header = _header_before(log, number)
        if header is None:
            if bytes(log.image[256:]) != b"\xff" * (layout.SECTOR - 256):
                log.unreadable += 1  # not just a header whose program was cut short
                log.note_damage(number, 0)
            _set_aside(log, number)
            continue
        if header.source >= number:  # a copy is always newer than its source
            header.source = 0
        if header.copy_units and not _copy_complete(log, header, end):
            if header.source in log.sectors:
                _set_aside(log, number)
                continue
            if end < 64:
                log.note_damage(number, end)
        if header.source in log.sectors:
            log.held.append(log.sectors.pop(header.source))
            _hold_sources(log, log.held[0])
        if segment.pages_behind(log.image, end, log.entry) > 1:
            log.note_damage(number, end)  # one cut harms one page
        return header, end, healed
    return None, 0, False


def _hold_sources(log, sector):
    """Set the sources of the copy in `sector` aside, back to one that was certainly complete.

    Certainly: an entry stands behind the copied units. All others were found complete by reading
    cells that a cut may have left marginal.
    """
    unit = bytearray(UNIT)
    while True:
        log.device.read(sector, 0, unit)
        header = layout.parse_log_header(unit)
        if not header or not header.copy_units or header.source not in log.sectors:
            return
        behind = segment.after(1, header.copy_units)
        if behind < 64:
            log.device.read(sector, layout.unit_offset(behind), unit)
            if unit != layout.BLANK:
                return
        sector = log.sectors[header.source]
        _set_aside(log, header.source)


def _header_before(log, number):
    """For a tail with an unreadable header but intact entries: what its predecessor said."""
    for other in sorted(log.sectors, reverse=True):
        if other < number:
            log.device.read(log.sectors[other], 0, log.scratch)
            header = layout.parse_log_header(memoryview(log.scratch)[:UNIT])
            if header:
                header.number = number
                header.resume = header.source = header.copy_units = header.prev_units = 0
                return header
    header = layout.LogHeader()
    header.epoch, header.number, header.first = log.epoch, number, min(log.sectors)
    return header


def _copy_complete(log, header, end):
    """True if the segment holds every byte that recovery set out to copy into it.

    An entry after the copy proves it too: those are written only when the copy is done.
    """
    if end > segment.after(1, header.copy_units):
        return True
    position, crc = 1, 0
    for _ in range(header.copy_units):
        offset = layout.unit_offset(position)
        crc = crc32(memoryview(log.image)[offset : offset + UNIT], crc)
        position = layout.next_position(position)
    return crc == header.copy_crc


def _replay_before(log, tail, report):
    """Index everything before the tail: from the checkpoint, or else from the start."""
    log.first, log.stamp = tail.first, tail.stamp
    log.next_blob, log.next_seq = tail.next_blob, max(1, tail.next_seq)
    log.ckpt, log.ckpt_id, log.ckpt_chunks = tail.ckpt, tail.ckpt_id, tail.ckpt_chunks
    numbers = _numbers(log, tail)
    start = log.ckpt >> 6
    if log.ckpt and start in log.sectors and start >= log.first:
        replay = Replay(log, log.ckpt_id)
        for number in numbers:
            if number >= start:
                replay.segment(number, log.ckpt & 63 if number == start else 1)
        if replay.pieces == log.ckpt_chunks:
            report["checkpoint"] = True
            log.max_salt = layout.MAX_SALT  # a checkpoint does not say which salts it knows
            report["replayed_entries"] = replay.entries
            log.pending = replay.pending
            return
        log.index = Index(log.index.buckets())
    log.ckpt = log.ckpt_chunks = 0
    replay = Replay(log, 0)
    for number in numbers:
        replay.segment(number, 1)
    report["replayed_entries"] = replay.entries
    log.pending = replay.pending


def _numbers(log, tail):
    """Numbers before the tail that count, ascending; the others are let go.

    A segment that recovery copied (`resume`) replaces all from there to itself.
    """
    keep = array("I")
    unit = bytearray(UNIT)
    floor = tail.resume if tail.resume else tail.number
    _note_missing(log, tail, tail)
    for number in sorted(log.sectors, reverse=True):
        if number >= tail.number:
            continue
        if number < tail.first or number >= floor:
            _drop(log, number)
            continue
        log.device.read(log.sectors[number], 0, unit)
        header = layout.parse_log_header(unit) or _rebuilt_header(log, number)
        if header and header.resume:
            floor = header.resume
        if header:
            _note_missing(log, tail, header)
        keep.append(number)
    return list(reversed(keep))


def _note_missing(log, tail, header):
    """A segment that says it, or what it is a copy of, went on from the one before: that one must
    be there."""
    before = (header.resume or header.number) - 1
    if header.prev_units and before >= tail.first and before not in log.sectors:
        log.note_missing(before)


def _rebuilt_header(log, number):
    """Header of a sealed segment whose own header unit rotted, from parity; or None."""
    image = bytearray(layout.SECTOR)
    log.device.read(log.sectors[number], 0, image)
    segment.rebuild_page(image, 0, 1)
    return layout.parse_log_header(image)


class Replay:
    """Applies entries to the index in the order of the log.

    Entries of a batch wait in `pending` (u32: tag, seq, where) until it is known whether the
    batch counts.
    """

    def __init__(self, log, ckpt_id):
        self._log = log
        self._ckpt_id = ckpt_id
        self.pieces = 0
        self.entries = 0
        self.pending = array("I")
        self._unread = None

    def segment(self, number, position):
        """Replay a sealed segment entry by entry; repaired as a whole where one is harmed."""
        log = self._log
        sector = log.sectors[number]
        entry, scratch = log.entry, log.scratch
        while position < 64:
            if not segment.read_entry(log.device, sector, position, scratch, entry):
                if bytes(memoryview(scratch)[:UNIT]) != layout.BLANK:
                    self.unread().walk(number, position)
                return
            following = segment.after(position, entry.units)
            self.take(number << 6 | position)
            position = following

    def take(self, where):
        """As apply, also of a piece of the checkpoint."""
        log, entry = self._log, self._log.entry
        if entry.op == layout.OP_INDEX and entry.seq == self._ckpt_id:
            start, end = entry.body_span()
            load_piece(log.index, log.scratch, start, end)
            self.pieces += 1
        self.apply(where)

    def unread(self):
        """Knows what is to be done with entries that do not read."""
        if self._unread is None:
            from drybag.unread import Unread

            self._unread = Unread(self._log, self)
        return self._unread

    def apply(self, where):
        """Take the entry in `log.entry` and `log.scratch` into account."""
        log, entry = self._log, self._log.entry
        self.entries += 1
        if entry.op == layout.OP_INDEX or entry.op == layout.OP_SEAL:
            if entry.op == layout.OP_INDEX and entry.seq > log.last_ckpt_id:
                log.last_ckpt_id = entry.seq
            if entry.op == layout.OP_SEAL and entry.seq >= log.next_seq:
                log.next_seq = entry.seq + 1
            return
        if entry.seq >= log.next_seq:
            log.next_seq = entry.seq + 1
        if entry.stamp > log.stamp:
            log.stamp = entry.stamp
        if entry.op == layout.OP_COMMIT:
            self.commit(entry.commits_from(log.scratch))
            return
        if entry.salt > log.max_salt:
            log.max_salt = entry.salt
        h = key_hash(entry.kind, entry.uid(log.scratch), entry.salt)
        if entry.is_kept():  # whether the hub has it is not known yet: Journal.set_agreed
            tag = pending_tag(h, entry.kind, entry.units)
        else:
            tag = h | entry.units << 4 | (8 if refers_to_blobs(entry) else 0) | entry.kind
            if not entry.is_put():
                where = 0
        if entry.flags & layout.F_BATCH:
            for value in (tag, entry.seq, where):
                self.pending.append(value)
            return
        if len(self.pending):
            first = batch_counts_from(entry, log.scratch, self.pending[len(self.pending) - 2])
            if first is not None:
                self.commit(first)
        apply_one(log.index, tag, entry.seq, where)

    def commit(self, first):
        """What waits with a seq from `first` on counts now, the rest is dropped."""
        pending = self.pending
        for i in range(0, len(pending), 3):
            if pending[i + 1] >= first:
                if pending[i] == UNREAD:
                    self.unread().count(pending[i + 2])
                else:
                    apply_one(self._log.index, pending[i], pending[i + 1], pending[i + 2])
        self.pending = array("I")


def refers_to_blobs(entry):
    return entry.nblobs or entry.op == layout.OP_PUT_BIG


def _replay_image(log, number, end, report):
    """Index the tail's entries from the image that was read (and copied), as segment `number`."""
    replay = Replay(log, 0)
    replay.pending = log.pending
    log.pending = None
    expected = 1
    for position in segment.parse(log.image, log.scratch, log.entry, 1, True):
        following = segment.after(position, log.entry.units)
        if position != expected:
            replay.unread().gap(number, expected, position, report["clean"])
            segment.find_entry(log.image, position, log.scratch, log.entry)
        expected = following
        replay.apply(number << 6 | position)
    report["replayed_entries"] += replay.entries


def _ends_with_seal(log):
    """True if the last entry of the tail image is a seal: a clean shutdown."""
    op = 0
    for _ in segment.parse(log.image, log.scratch, log.entry, 1, True):
        op = log.entry.op
    return op == layout.OP_SEAL


def _copy_tail(log, tail, end, report):
    """Write the tail's entries to a fresh segment and let the old one go; its new number."""
    next_seq = max(log.next_seq, _last_seq(log) + 1)
    units = 0
    position, crc = 1, 0
    while position < end:
        offset = layout.unit_offset(position)
        crc = crc32(memoryview(log.image)[offset : offset + UNIT], crc)
        units += 1
        position = layout.next_position(position)
    resume = tail.resume or tail.number
    try:
        while True:
            if log.aside and not log.pool.free:
                log.aside.sort()
                log.pool.release(log.aside.pop()[1], True)
            log.writer.used = tail.prev_units  # the copy knows what its source knew
            log.next_seq = max(1, tail.next_seq)
            log.open_segment(resume, tail.number, units, crc)
            if _copy_units(log, end):
                break
            log.pool.retire(log.sectors.pop(log.writer.number))
    except NoSpace as error:
        report["read_only"] = str(error)
        log.failed = "no sector left for recovery: reading only"
        log.next_seq = next_seq
        return tail.number
    log.next_seq = next_seq
    report["copied_entries"] = units
    log.pool.release(log.sectors.pop(tail.number), True)
    _let_go(log)
    return log.writer.number


def _let_go(log):
    """What a copy stands for is needed no more once that copy is safe."""
    for sector in log.held:
        log.pool.release(sector, True)
    for _, sector in log.aside:
        log.pool.release(sector, True)
    log.held, log.aside = [], []


def _copy_units(log, end):
    position = 1
    view = memoryview(log.image)
    while position < end:
        offset = layout.unit_offset(position)
        if log.append_copy(view[offset : offset + UNIT], 1) < 0:
            return False
        position = layout.next_position(position)
    return True


def _last_seq(log):
    last = 0
    for _ in segment.parse(log.image, log.scratch, log.entry, 1, True):
        if log.entry.op not in (layout.OP_INDEX, layout.OP_SEAL):
            last = max(last, log.entry.seq)
    return last


def _purge(log):
    """Drop index entries whose segment is gone: records that were damaged before compaction, and
    tombstones that a checkpoint has and that the hub had learnt of."""
    index = log.index
    for slot in index.slots():
        if index.where(slot) >> 6 not in log.sectors:
            if not index.is_pending(slot):
                log.lost.append((index.kind(slot), b"", index.where(slot) >> 6))
            index.remove(slot)
