"""Salvage, first half: every entry and every piece of a blob that raw bytes still hold.

Nothing is taken for granted: not where a sector begins, not that its header is there. Sectors are
found by their prefix at any offset; one whose prefix is gone is read with the epochs found
elsewhere; without any prefix the epoch is worked out from the entries' own CRCs.
"""

from binascii import crc32
from collections import Counter, namedtuple

from drybag import layout, segment, unread
from drybag.layout import ENTRY_BYTES, SECTOR, UNIT, Entry, unit_offset

# `shows`: of an entry that cannot be read, the uids it may be of; `body` and `blobs` are not known
Found = namedtuple(
    "Found", "op flags seq stamp kind uid parent blobs body rev number place first salt shows",
    defaults=((),),
)  # fmt: skip
_OPS = (layout.OP_PUT, layout.OP_PUT_BIG, layout.OP_DELETE, layout.OP_COMMIT, layout.OP_INDEX)
_VOTES = 2


class Sector:
    """A log sector: `number` 0 and `header` None where they are gone; `place` in the file.

    `entries`: what is whole. `damaged`: what cannot be read though its header can; `last`: such
    a one behind all that is whole, which may never have been finished. `harmed`: where it begins
    that not even a header reads.
    """

    def __init__(self, place, epoch, number, header):
        self.place = place
        self.epoch = epoch
        self.number = number
        self.header = header
        self.entries = []
        self.damaged = []
        self.last = []
        self.harmed = []
        self.complete = True


class Scan:
    """What was found. `sectors`: list of Sector; `chunks`: {sha: {index: bytes}}; `sizes`:
    {sha: bytes}; `epochs`: Counter; `newer`: places of a format this version does not know."""

    def __init__(self):
        self.sectors = []
        self.chunks = {}
        self.sizes = {}
        self.epochs = Counter()
        self.newer = []
        self.damaged_chunks = []


def scan(data, advance=None):
    """Scan of raw bytes; reads only. `advance(n)` is told of bytes done."""
    out = Scan()
    prefixes = _prefixes(data, out)
    phases = Counter(place % SECTOR for place in prefixes)
    phase = phases.most_common(1)[0][0] if phases else None
    if phase is None:
        epoch, phase = _without_headers(data)
        if epoch is None:
            return out
        out.epochs[epoch] += 1
    aligned = range(phase - SECTOR if phase else 0, len(data), SECTOR)
    sure = [place for place in prefixes if place % SECTOR == phase]
    covered = set(sure)
    for place in aligned:
        if place not in covered:
            _prefix_from_parity(data, place, prefixes, out)
    for place in [*aligned, *sorted(set(prefixes) - set(aligned))]:
        if place in prefixes and place % SECTOR != phase:
            if any(at in covered for at in range(place - SECTOR + 1, place + SECTOR)):
                continue  # bytes inside a sector that look like one: a dump kept as a photo
            covered.add(place)
        _read_sector(_sector(data, place), place, prefixes.get(place), out)
        if advance:
            advance(min(SECTOR, len(data)))
    return out


def _sector(data, place):
    """4096 bytes at `place`; what the file does not have reads 0xFF."""
    part = data[max(place, 0) : max(place + SECTOR, 0)]
    front = b"\xff" * min(max(-place, 0), SECTOR)
    return bytearray((front + part).ljust(SECTOR, b"\xff"))


def _prefixes(data, out):
    """{place: (type, epoch, number)} of every valid prefix at any offset."""
    found = {}
    magic = layout.MAGIC.to_bytes(2, "little")
    at = data.find(magic)
    while at >= 0 and at + layout.PREFIX_BYTES <= len(data):
        prefix = layout.parse_prefix(data[at : at + layout.PREFIX_BYTES])
        if prefix and prefix[0] > layout.VERSION:
            out.newer.append(at)
        elif prefix and prefix[2]:
            found[at] = prefix[1:]
            out.epochs[prefix[2]] += 1
        at = data.find(magic, at + 1)
    return found


def _prefix_from_parity(data, place, prefixes, out):
    """A sector whose first row was harmed: its prefix is the XOR of the others."""
    image = _sector(data, place)
    if image[:16] == layout.BLANK[:16]:
        return
    segment.rebuild_page(image, 0, 1)
    prefix = layout.parse_prefix(image[:16])
    if prefix and prefix[0] == layout.VERSION and prefix[2]:
        prefixes[place] = prefix[1:]
        out.epochs[prefix[2]] += 1


def _read_sector(image, place, prefix, out):
    if prefix and prefix[0] == layout.BLOB:
        _read_chunk(image, place, out)
    elif prefix and prefix[0] == layout.SPARE:
        return
    elif prefix and prefix[0] == layout.LOG:
        header = layout.parse_log_header(image)
        if header is None:
            rebuilt = bytearray(image)
            segment.rebuild_page(rebuilt, 0, 1)
            header = layout.parse_log_header(rebuilt)
        sector = Sector(place, prefix[1], prefix[2], header)
        read_entries(image, sector)
        out.sectors.append(sector)
    elif any(image[unit_offset(p)] == layout.ENTRY_MAGIC for p in range(1, 64)):
        for epoch in list(out.epochs):
            sector = Sector(place, epoch, 0, None)
            read_entries(image, sector)
            if sector.entries:
                out.sectors.append(sector)


def _read_chunk(image, place, out):
    header = layout.parse_blob_header(image)
    if header is None:
        out.damaged_chunks.append((place, None))
        return
    _, number, sha, size, length, data_crc = header
    out.sizes[sha] = size
    data = bytes(image[UNIT : UNIT + length])
    if length > layout.BLOB_DATA or crc32(data) != data_crc:
        out.damaged_chunks.append((place, sha))
        return
    out.chunks.setdefault(sha, {})[number & 0xFFF] = data


def read_entries(image, sector):
    """Fill `sector` with the entries of its image, with one row rebuilt where that helps."""
    scratch = bytearray(layout.MAX_ENTRY_UNITS * UNIT)
    entry = Entry(sector.epoch)
    found, taken = {}, set()
    _collect(image, scratch, entry, sector, found, taken)
    end = max(taken, default=0)
    if (found or sector.header) and not _rest_is_blank(image, taken):
        for row in range(15):
            variant = bytearray(image)
            for columns in (1, 2, 3):
                variant[:] = image
                segment.rebuild_page(variant, row, columns)
                _collect(variant, scratch, entry, sector, found, taken)
    sector.entries = [found[position] for position in sorted(found)]
    _note_damage(image, sector, taken)
    if sector.header and sector.header.copy_units:
        sector.complete = _copy_complete(image, sector.header, end)


def _collect(image, scratch, entry, sector, found, taken):
    for position in segment.parse(image, scratch, entry, 1, True):
        if position in taken:
            continue
        at = position
        for _ in range(entry.units):
            taken.add(at)
            at = layout.next_position(at)
        if entry.op in _OPS:
            item = _found(entry, scratch, sector, position)
            if item:
                found[position] = item


def _found(entry, buf, sector, position):
    start, end = entry.body_span()
    if start > end:
        return None
    setting = entry.kind == layout.SETTING
    named = (setting or entry.kind in layout.KIND_NAMES) and 1 <= entry.uid_len <= layout.MAX_UID
    if entry.op in _OPS[:3] and not named:
        return None
    first = 0
    if entry.op == layout.OP_COMMIT:
        if end - start < 4:
            return None
        first = entry.commits_from(buf)
    blobs = tuple(entry.blob(buf, i) for i in range(entry.nblobs))
    if entry.op == layout.OP_PUT_BIG and (not blobs or end - start != 4):
        return None
    uid = entry.uid(buf)
    if setting:  # that it is there says what counts of its batch; what it says is the handset's
        uid, blobs, start = b"", (), end
    return Found(
        entry.op, entry.flags, entry.seq, entry.stamp, entry.kind, uid,
        entry.parent(buf), blobs, bytes(buf[start:end]), entry.rev, sector.number,
        sector.place + unit_offset(position), first, entry.salt,
    )  # fmt: skip


def _rest_is_blank(image, taken):
    return all(
        position in taken or image[unit_offset(position) :][:UNIT] == layout.BLANK
        for position in range(1, 64)
        if position not in (15, 31, 47)
    )


def _note_damage(image, sector, taken):
    """What stands between the whole entries, and the first of what stands behind them."""
    last, run = max(taken, default=0), False
    for position in range(1, 64):
        unit = image[unit_offset(position) :][:UNIT]
        if position in (15, 31, 47):
            continue
        if position in taken or unit == layout.BLANK:
            run = False
            continue
        shown = unread.shown(image, position, sector.epoch)
        place = sector.place + unit_offset(position)
        if shown:
            item = _unread(*shown, sector.number, place)
            (sector.damaged if position < last else sector.last).append(item)
        elif not run and position < last:
            sector.harmed.append(place)
        run = True


def _unread(entry, uids, number, place):
    if entry.kind == layout.SETTING:
        uids = [b""]
    return Found(
        entry.op, entry.flags, entry.seq, entry.stamp, entry.kind, uids[0], 0, (), b"",
        entry.rev, number, place, 0, entry.salt, tuple(uids),
    )  # fmt: skip


def _copy_complete(image, header, end):
    position, crc = 1, 0
    for _ in range(header.copy_units):
        if position >= 64:
            return False
        crc = crc32(bytes(image[unit_offset(position) :][:UNIT]), crc)
        position = layout.next_position(position)
    return crc == header.copy_crc or end >= position


# --- without any header -------------------------------------------------------------------------


def _reverse_table():
    table = {}
    for low in range(256):
        value = low
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
        table[value >> 24] = (value, low)
    return table


def unwind(crc, data):
    """The value `v` for which crc32(data, v) == crc."""
    table, state = _REVERSE, crc ^ 0xFFFFFFFF
    for byte in reversed(data):
        value, low = table[state >> 24]
        state = ((state ^ value) << 8 | (low ^ byte)) & 0xFFFFFFFF
    return state ^ 0xFFFFFFFF


_REVERSE = _reverse_table()


def _without_headers(data):
    """(epoch, phase) that the entries themselves tell by their CRCs, or (None, None)."""
    votes, places = Counter(), {}
    at = data.find(b"\xe5")
    while 0 <= at <= len(data) - UNIT:
        unit = data[at : at + UNIT]
        length = unit[12] | unit[13] << 8
        if 0 < length <= UNIT - ENTRY_BYTES and unit[14] <= length and unit[1] & 7 in (1, 2, 6):
            crc = int.from_bytes(unit[18:22], "little")
            start = unwind(crc, unit[ENTRY_BYTES : ENTRY_BYTES + length])
            epoch = unwind(start, unit[:2] + unit[4:18])
            if Entry(epoch).parse(unit):
                votes[epoch] += 1
                places.setdefault(epoch, []).append(at)
        at = data.find(b"\xe5", at + 1)
    if not votes or votes.most_common(1)[0][1] < _VOTES:
        return None, None
    epoch = votes.most_common(1)[0][0]
    unit_phase = Counter(at % UNIT for at in places[epoch]).most_common(1)[0][0]
    near = places[epoch][len(places[epoch]) // 2] // SECTOR * SECTOR
    best = max(range(unit_phase, SECTOR, UNIT), key=lambda phase: _yield(data, epoch, near, phase))
    return epoch, best


def _yield(data, epoch, near, phase):
    """How many units of whole entries a few sectors hold if sectors begin at `phase`."""
    total = 0
    scratch, entry = bytearray(layout.MAX_ENTRY_UNITS * UNIT), Entry(epoch)
    for place in range(max(near - 4 * SECTOR, 0) + phase - SECTOR, near + 4 * SECTOR, SECTOR):
        image = _sector(data, place)
        for _ in segment.parse(image, scratch, entry, 1, True):
            total += entry.units * entry.units
    return total
