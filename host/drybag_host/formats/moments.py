"""Dates and recurrence for people: what icalendar makes of a component, in words.

Nothing here is carried: a record's own lines are. This is for tables and pages.
"""

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import recurring_ical_events
from icalendar import Calendar

from drybag import records
from drybag_host.formats.library import calendar_text

_UNITS = {"DAILY": "day", "WEEKLY": "week", "MONTHLY": "month", "YEARLY": "year"}
_DAYS = {"MO": "Mon", "TU": "Tue", "WE": "Wed", "TH": "Thu", "FR": "Fri", "SA": "Sat", "SU": "Sun"}
_MAX_OCCURRENCES = 500


@dataclass(frozen=True, slots=True)
class Moment:
    """start and end as ISO text ("" if unknown); zone: the name of the time zone or ""."""

    start: str
    end: str
    zone: str
    all_day: bool


def moment_of(body: bytes, component) -> Moment:
    """When an event or to-do is. component: icalendar's view of it, or None."""
    start = end = None
    if component is not None:
        start, end = _get(component, "start"), _get(component, "end")
        if component.name == "VTODO":
            start, end = _get(component, "DTSTART"), _get(component, "DUE")
    if start is None and end is None:
        return _by_bytes(body)
    first = start or end
    all_day = not isinstance(first, datetime)
    if all_day and end and start and end > start:
        end -= timedelta(days=1)  # DTEND is the day after
    zone = ""
    if isinstance(first, datetime) and first.tzinfo:
        zone = getattr(first.tzinfo, "key", None) or first.tzname() or ""
    return Moment(iso(start), iso(end), zone, all_day)


def _get(component, name: str):
    """A date of a component, or None if it has none that can be read."""
    try:
        return getattr(component, name)
    except (ValueError, AttributeError, TypeError, KeyError):
        return None


def _by_bytes(body: bytes) -> Moment:
    when = records.span(body) or (records.due(body) or b"", b"")
    start, end = (_spell(d) if d != records.FOREVER else "" for d in when)
    return Moment(start, end, "", len(when[0]) == 8)


def _spell(value: bytes) -> str:
    text = value.decode()
    if not text:
        return ""
    day = "%s-%s-%s" % (text[:4], text[4:6], text[6:8])
    return day + (" %s:%s" % (text[9:11], text[11:13]) if len(text) > 8 else "")


def iso(value: date | datetime | None) -> str:
    """2025-01-31 or 2025-01-31 09:30."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M").rjust(16, "0")
    return value.isoformat()


def repeats(body: bytes) -> str:
    """RRULE in words, as far as they are simple: "every 2 weeks on Mon until 2025-01-31"."""
    for line in records.properties(body, (b"RRULE",)):
        parts = {}
        for part in line.value.decode("latin-1").upper().split(";"):
            key, _, value = part.partition("=")
            parts[key.strip()] = value.strip()
        unit = _UNITS.get(parts.get("FREQ", ""))
        if not unit:
            return parts.get("FREQ", "").lower()
        count = parts.get("INTERVAL", "1")
        text = "every " + (unit if count == "1" else "%s %ss" % (count, unit))
        if parts.get("BYDAY"):
            days = [_DAYS.get(d[-2:], d) for d in parts["BYDAY"].split(",")]
            text += " on " + ", ".join(days)
        until = records.parse_date(parts.get("UNTIL", "").encode())
        if until:
            text += " until " + _spell(until[:8])
        elif parts.get("COUNT"):
            text += ", %s times" % parts["COUNT"]
        return text
    return ""


def occurrences(header: list[bytes], series: list[list[bytes]], first: date, days: int) -> list:
    """icalendar components of one series (a record and its exceptions) in the days from `first`.

    Rules finer than daily are not unrolled; what cannot be read gives nothing.
    """
    lines = [line for part in series for line in part]
    if any(b"FREQ=" + f in line.upper() for line in lines for f in (b"SECON", b"MINUT", b"HOURL")):
        return []
    text = calendar_text(header, lines)
    begin = datetime.combine(first, time())
    try:
        calendar = Calendar.from_ical(text)
        query = recurring_ical_events.of(calendar, skip_bad_series=True)
        return query.between(begin, begin + timedelta(days=days))[:_MAX_OCCURRENCES]
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError):
        return []  # third-party readers on foreign data; the table of all events still has it
