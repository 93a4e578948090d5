"""What rot in one sector may cost: decided from SPEC.md's layout and the flash before the boot.

    SPARED   nothing: LittleFS's sectors, spares, blank units, and one row of a log segment whose
             columns have their parity
    BLOB     what names the blob; every other record is there
    LAST     the same in the newest segment: the last call alone, without a word, as rot in what
             was written last looks like a write that a cut ended; not behind a clean shutdown
    TAIL     as LAST, or what stood in that sector, and it is told
    LOG      what stood in that sector, and it is told; an older version of it may show, or a
             deletion be undone, only where `named` does not know it
    GONE     the same without a word: the sector is no segment to be seen any more, and there is no
             next one, which would say that it must be there
"""

from drybag import layout, segment

SPARED, BLOB, LAST, TAIL, LOG, GONE = "spared", "blob", "last", "tail", "log", "gone"
_SECTOR = 4096
_UNIT = 64
_ROW = 256
_PARITY_ROW = 15
_BLANK = b"\xff" * _UNIT


def harm(memory, places):
    """(one of the above, sector, number of its segment or blob chunk or 0).

    `memory`: after the rot; `places`: [(address, bit)], all in one sector.
    """
    sector = places[0][0] // _SECTOR
    image = bytearray(memory[sector * _SECTOR : (sector + 1) * _SECTOR])
    for address, bit in places:
        image[address % _SECTOR] ^= 1 << bit
    prefix = layout.parse_prefix(image[:16])
    if prefix is None or prefix[1] == layout.SPARE:
        return SPARED, sector, 0
    number = prefix[3]
    if prefix[1] == layout.BLOB:
        return BLOB, sector, number
    is_newest = number >= newest_segment(memory)
    if _repairable(image, places):
        return LAST if is_newest else SPARED, sector, number
    if _unseen(memory, sector, number):
        return GONE, sector, number
    return TAIL if is_newest else LOG, sector, number


def named(memory, places):
    """{(kind, uid): seq} of the newest entries in a segment before the newest one which the rot
    made unreadable, and which say still whose they are: the older version must not show.

    They do if no bit of header or uid has rotted, nor one that parity would set against it.
    """
    what, sector, _ = harm(memory, places)
    hit = [(address % _SECTOR, bit) for address, bit in places]
    if what != LOG or any(at < _UNIT for at, _ in hit):
        return {}
    image = bytearray(memory[sector * _SECTOR : (sector + 1) * _SECTOR])
    was = bytearray(image)
    for at, bit in hit:
        was[at] ^= 1 << bit
    scratch = bytearray(layout.MAX_ENTRY_UNITS * _UNIT)
    entry, other = (layout.Entry(layout.parse_prefix(was[:16])[2]) for _ in range(2))
    found, unknown, commits = {}, set(), True
    for position in segment.parse(was, scratch, entry, 1, True):
        key = entry.kind, entry.uid(scratch)
        if segment.find_entry(image, position, scratch, other):
            continue
        if entry.op == layout.OP_COMMIT:
            commits = False
        elif key[1]:
            known = _spared(position, layout.ENTRY_BYTES + entry.uid_len, hit)
            unknown.update(() if known else (key,))
            found[key] = entry.seq, entry.flags & layout.F_BATCH
    return {
        key: seq for key, (seq, batch) in found.items()
        if key not in unknown and (commits or not batch)
    }  # fmt: skip


def _spared(position, size, hit):
    """True if nothing is hit in the first `size` bytes of the entry at `position`, nor in the same
    bytes of the other units of their columns."""
    while size > 0:
        column = position >> 4
        for at, _ in hit:
            if at % _ROW // _UNIT == column and at % _UNIT < size:
                if column < 3 or at // _ROW == position & 15:
                    return False
        position, size = layout.next_position(position), size - _UNIT
    return True


def _unseen(memory, sector, number):
    """Neither the prefix nor its column's parity shows the segment, and there is no next one."""
    image = memory[sector * _SECTOR : (sector + 1) * _SECTOR]
    rebuilt = bytearray(16)
    for row in range(1, 16):
        for i in range(16):
            rebuilt[i] ^= image[row * _ROW + i]
    if layout.parse_prefix(image[:16]) or layout.parse_prefix(rebuilt):
        return False
    for at in range(0, len(memory), _SECTOR):
        header = layout.parse_log_header(memory[at : at + _UNIT])
        if header and (header.resume or header.number) == number + 1:
            return False
    return True


def _repairable(image, places):
    """All in one row, and each column that holds something there has its parity."""
    rows = set()
    for address, _ in places:
        row, column = address % _SECTOR // _ROW, address % _ROW // _UNIT
        at = row * _ROW + column * _UNIT
        if image[at : at + _UNIT] == _BLANK:
            continue
        parity = _PARITY_ROW * _ROW + column * _UNIT
        if column == 3 or image[parity : parity + _UNIT] == _BLANK:
            return False
        rows.add(row)
    return len(rows) <= 1


def newest_segment(memory):
    """The highest number of a log segment, 0 if there is none."""
    return _newest(memory)[0]


def sector_of_newest(memory):
    """The sector of that segment, -1 if there is none."""
    return _newest(memory)[1]


def _newest(memory):
    newest = 0, -1
    for at in range(0, len(memory), _SECTOR):
        prefix = layout.parse_prefix(memory[at : at + 16])
        if prefix and prefix[1] == layout.LOG:
            newest = max(newest, (prefix[3], at // _SECTOR))
    return newest
