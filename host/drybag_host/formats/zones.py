"""Time zone components for records that have no calendar of their own."""

from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from icalendar import Timezone

from drybag import records
from drybag.contentline import BadLine, component, parse
from drybag.folding import unfold

OWN_HEADER = (b"VERSION:2.0", b"PRODID:-//Drybag//Drybag export//EN")


def zone_ids(body: bytes) -> list[str]:
    """The TZID parameters in a body, in order, each once."""
    found: dict[str, None] = {}
    for line in records.lines(body):
        if b"TZID" not in line.upper():
            continue
        try:
            value = parse(line).first(b"TZID")
        except BadLine:
            continue
        if value:
            found[value.decode("utf-8", "replace")] = None
    return list(found)


def zone_lines(tzid: str) -> list[bytes]:
    """A VTIMEZONE for an IANA name as unfolded lines; none for a name that is not known.

    The same name always gives the same lines, as long as the time zone data are the same.
    """
    return list(_zone_lines(tzid))


@lru_cache(maxsize=64)
def _zone_lines(tzid: str) -> tuple[bytes, ...]:
    try:
        ZoneInfo(tzid)
        text = Timezone.from_tzid(tzid).to_ical()
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ()
    return tuple(line for _, _, line, _ in unfold([text]))


def zones_in(body: bytes) -> dict[str, list[bytes]]:
    """The VTIMEZONE components in a calendar's body by TZID, as lines."""
    found: dict[str, list[bytes]] = {}
    lines: list[bytes] = []
    depth = 0
    for line in records.lines(body):
        mark = component(line)
        if mark and mark[0] > 0:
            if depth == 0:
                lines = []
            depth += 1
        lines.append(line)
        if mark and mark[0] < 0 and depth:
            depth -= 1
            if depth == 0 and mark[1] == b"VTIMEZONE":
                inner = b"".join(each + b"\n" for each in lines[1:-1])
                found.setdefault(records.value_of(inner, b"TZID"), lines)
    return found


def is_own_calendar(body: bytes) -> bool:
    """True for the header that export puts around records without a calendar."""
    lines = list(records.lines(body))
    if tuple(lines[:2]) != OWN_HEADER:
        return False
    rest = lines[2:]
    for tzid, zone in zones_in(body).items():
        if zone_lines(tzid) == zone:
            rest = [line for line in rest if line not in zone]
    return not rest
