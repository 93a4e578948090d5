"""Log segments on raw flash: the column order, the parity that survives a harmed page, reading.

Why columns: a program that power cuts short can clear bits anywhere in its 256-byte page
(FAULTS.md, `neighbour`), so committed bytes must not be the only copy of anything when their page
is programmed again. A sector's 64 units are written column by column, one unit of each of the 16
pages at a time; before the next column begins, the XOR of the finished column is written to
page 15. One harmed page can then be rebuilt, column by column, from the other pages.
"""

from drybag import layout
from drybag.layout import SECTOR, UNIT, Entry, next_position, unit_offset
from drybag.port import const

_COLUMNS = const(4)
_UNIT = const(64)


class Writer:
    """Appends entries to one log segment. `position` is the next data position (1..64).

    `where` is what the index stores: segment number << 6 | position.
    """

    def __init__(self, device):
        self._device = device
        self.sector = -1
        self.number = 0
        self.position = 64
        self._parity = 0
        self.used = 0

    def begin(self, sector, number, header):
        """The sector's header unit is on flash; entries follow."""
        self.sector = sector
        self.number = number
        self.position = 1
        self.used = 0
        self._parity = int.from_bytes(header, "little")

    def left(self):
        """Data units left."""
        return layout.units_left(self.position)

    def append(self, buf, units):
        """Program the first `units` units of `buf`; the `where` of the entry, or -1.

        -1: the flash did not take it (worn out). What stood there before is intact; nothing
        more may be appended. Raises OSError where the device is dead.
        """
        view = memoryview(buf)
        start = self.position
        for i in range(units):
            if not self._unit(view[i * UNIT : (i + 1) * UNIT]):
                self.position = 64
                return -1
        self.used += units
        return (self.number << 6) | start

    def _unit(self, unit):
        position = self.position
        if position == 16 or position == 32 or position == 48:
            parity = self._parity.to_bytes(UNIT, "little")
            if not self._device.program(self.sector, unit_offset(position - 1), parity):
                return False
            self._parity = 0
        if not self._device.program(self.sector, unit_offset(position), unit):
            return False
        if position < 47:
            self._parity ^= int.from_bytes(unit, "little")
        self.position = next_position(position)
        return True


def view_units(image, position, units, out):
    """Copy `units` data units from `position` on of a whole-sector `image` into `out`."""
    view = memoryview(image)
    for at in range(0, units << 6, _UNIT):
        offset = (position & 15) << 8 | position >> 4 << 6  # unit_offset, without the call
        out[at : at + _UNIT] = view[offset : offset + _UNIT]
        position += 1
        if position & 15 == 15 and position != 63:
            position += 1


def fits(position, units):
    """True if `units` data units from `position` on are inside the segment."""
    return units <= layout.units_left(position)


def parse(image, scratch, entry, start=1, resync=False):
    """Walk the entries of a whole-sector image; yields their positions.

    `entry` and `scratch` (MAX_ENTRY_UNITS units) are filled for each. Stops at the first
    position that holds no intact entry, or with `resync` goes on at the next unit.
    """
    position = start
    view = memoryview(image)
    while position < 64:
        offset = (position & 15) << 8 | position >> 4 << 6
        if (
            image[offset] == layout.ENTRY_MAGIC
            and entry.parse(view[offset : offset + _UNIT])
            and fits(position, entry.units)
        ):
            view_units(view, position, entry.units, scratch)
            if entry.intact(scratch):
                following = after(position, entry.units)
                yield position
                position = following
                continue
        if not resync:
            return
        position += 1
        if position & 15 == 15 and position != 63:
            position += 1


def survey(image, scratch, entry, resync=True):
    """(intact entries, position after the last of them) of a whole-sector image."""
    count, end = 0, 1
    for position in parse(image, scratch, entry, 1, resync):
        count += 1
        end = after(position, entry.units)
    return count, end


def after(position, units):
    """Data position `units` data units further on."""
    at = position - min(3, (position + 1) >> 4) + units  # the parities before it not counted
    return at + min(3, at // 15)


def rebuild_page(image, page, columns):
    """Rewrite the units of `page` in columns 0..columns-1 of `image` from the parity units.

    Only in columns that have their parity: CRCs are linear, so without it the XOR of an odd
    number of entries would pass for one that nobody wrote.
    """
    for column in range(columns):
        acc = 0
        parity = 15 * 256 + column * UNIT
        if image[parity : parity + UNIT] == layout.BLANK:
            return
        for other in range(16):
            if other != page:
                offset = other * 256 + column * UNIT
                acc ^= int.from_bytes(image[offset : offset + UNIT], "little")
        offset = page * 256 + column * UNIT
        image[offset : offset + UNIT] = acc.to_bytes(UNIT, "little")


def rebuild_prefix(device, sector, buf):
    """The 16-byte prefix of a segment whose first page was harmed, from column 0's parity.

    Returns parse_prefix() of it, or None. Reads 256 bytes; 16 where there is no parity.
    """
    acc = 0
    view = memoryview(buf)[:16]
    device.read(sector, 15 * 256, view)
    if view == layout.BLANK[:16]:
        return None
    for page in range(1, 16):
        device.read(sector, page * 256, view)
        acc ^= int.from_bytes(view, "little")
    return layout.parse_prefix(acc.to_bytes(16, "little"))


def heal(image, scratch, entry):
    """Undo what one cut program may have done to its page.

    Tries the image as it is, then each page rebuilt from parity in each number of finished
    columns, and keeps the variant with the most intact entries: their CRCs decide. `image` is
    changed only by a variant that is better. Returns True if it was.
    """
    best = -1
    if layout.parse_log_header(image):
        _, end = survey(image, scratch, entry, False)
        if end == 64 or _ends_in_order(image, end, entry):
            return False
        best, _ = survey(image, scratch, entry)
    choice = None
    keep = bytearray(3 * UNIT)
    for page in range(15):
        for columns in range(1, _COLUMNS):
            swap(image, page, keep, False)
            rebuild_page(image, page, columns)
            is_other = image[256 * page : 256 * page + 3 * UNIT] != keep
            if is_other and layout.parse_log_header(image):
                count, _ = survey(image, scratch, entry)
                if count > best:
                    best, choice = count, (page, columns)
            swap(image, page, keep, True)
    if choice:
        rebuild_page(image, choice[0], choice[1])
    return choice is not None


def swap(image, page, keep, back):
    """Save the first three units of a page to `keep`, or put them back."""
    at = page * 256
    if back:
        image[at : at + 3 * UNIT] = keep
    else:
        keep[:] = image[at : at + 3 * UNIT]


def _ends_in_order(image, position, entry):
    """True if nothing after `position` is programmed but one entry cut short, or one unit."""
    blank = layout.BLANK
    offset = unit_offset(position)
    units = entry.units if entry.parse(image[offset : offset + UNIT]) else 1
    for _ in range(units):
        if position < 64:
            position = next_position(position)
    view = memoryview(image)
    while position < 64:
        offset = (position & 15) << 8 | position >> 4 << 6
        if view[offset : offset + _UNIT] != blank:
            return False
        position += 1
    return True


def pages_behind(image, position, entry):
    """How many pages hold anything behind the entry cut short at `position`, parity aside."""
    pages = set()
    offset = unit_offset(position)
    if position < 64:
        parsed = entry.parse(image[offset : offset + UNIT])
        position = after(position, entry.units if parsed else 1)
    blank, view = layout.BLANK, memoryview(image)
    while position < 64:
        offset = (position & 15) << 8 | position >> 4 << 6
        if view[offset : offset + _UNIT] != blank:
            pages.add(position & 15)
        position = next_position(position)
    return len(pages)


def read_entry(device, sector, position, scratch, entry):
    """Read one entry into `scratch`; True if intact. Reads its header unit, then the rest."""
    view = memoryview(scratch)
    device.read(sector, unit_offset(position), view[:UNIT])
    if entry.parse(view) and fits(position, entry.units):
        at = position
        for start in range(_UNIT, entry.units << 6, _UNIT):
            at += 1
            if at & 15 == 15 and at != 63:
                at += 1
            device.read(sector, (at & 15) << 8 | at >> 4 << 6, view[start : start + _UNIT])
        if entry.intact(scratch):
            return True
    return False


def find_entry(image, position, scratch, entry):
    """Find the entry at `position` of a whole-sector image, rebuilding a page if that helps.

    True if there is one; `scratch` and `entry` then hold it. The image is left as it was.
    """
    if _stands(image, position, scratch, entry):
        return True
    return not _is_blank(image, position) and repair_entry(image, position, scratch, entry)


def _stands(image, position, scratch, entry):
    """True if an intact entry is at `position`, which `scratch` and `entry` then hold."""
    for _ in parse(image, scratch, entry, position):
        return True
    return False


def _is_blank(image, position):
    offset = unit_offset(position)
    return bytes(image[offset : offset + UNIT]) == layout.BLANK


def repair_entry(image, position, scratch, entry):
    """Find the entry at `position` of a damaged whole-sector image by rebuilding one page.

    True if some rebuilt page makes it intact; `scratch` and `entry` then hold it. The image is
    left as it was.
    """
    keep = bytearray(3 * UNIT)
    for page in range(15):
        swap(image, page, keep, False)
        rebuild_page(image, page, _COLUMNS - 1)
        found = _stands(image, position, scratch, entry)
        swap(image, page, keep, True)
        if found:
            return True
    return False


def mend(image, scratch, entry):
    """Put back into a whole-sector image what more than one harmed page took: each entry that
    some rebuilt page makes intact, of those whose column has its parity. True if any was."""
    position, mended = 1, False
    while position < 64:
        units = 1
        if _stands(image, position, scratch, entry):
            units = entry.units
        elif _has_parity(image, position) and repair_entry(image, position, scratch, entry):
            units, mended = entry.units, True
            _put_units(image, position, units, scratch)
        position = after(position, units)
    return mended


def _has_parity(image, position):
    """True if something is at `position`, in a column whose parity is there too."""
    return position < 47 and not _is_blank(image, position) and not _is_blank(image, position | 15)


def _put_units(image, position, units, data):
    for i in range(units):
        offset = unit_offset(position)
        image[offset : offset + UNIT] = data[i * UNIT : (i + 1) * UNIT]
        position = next_position(position)


def new_buffers():
    """(sector image, scratch for one entry, entry): allocate once."""
    return bytearray(SECTOR), bytearray(layout.MAX_ENTRY_UNITS * UNIT), Entry()
