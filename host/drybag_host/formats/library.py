"""The records of a source, held for export: by kind, by calendar, with their blobs."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from icalendar import Calendar

from drybag import records
from drybag.errors import BadBlob, Damaged, MissingBlob, NotFound
from drybag.layout import CALENDAR, EVENT, NOTE, TODO
from drybag.linetext import escape
from drybag_host.errors import BackupDamaged
from drybag_host.formats import inline, uids, vcard, zones

BLOB_ERRORS = (BadBlob, BackupDamaged, Damaged, MissingBlob, NotFound)
COMPONENTS = {EVENT: b"VEVENT", TODO: b"VTODO", NOTE: b"VJOURNAL"}


@dataclass
class CalendarGroup:
    """A calendar and what is in it. record: None for what has no calendar."""

    record: Any
    title: str
    members: list = field(default_factory=list)


class Library:
    """All live records of `source`, which is iterable or has records(), and has read_blob(sha)."""

    def __init__(self, source: Any):
        self.source = source
        self.warnings: list[str] = []
        self.by_kind: dict[int, list] = {}
        listed = source.records() if hasattr(source, "records") else source
        for record in listed:
            if not getattr(record, "deleted", False):
                self.by_kind.setdefault(record.kind, []).append(record)

    def of(self, kind: int) -> list:
        return self.by_kind.get(kind, [])

    def blob(self, sha: bytes) -> bytes:
        """A blob's bytes. Raises what the source raises for one that is missing or damaged."""
        data = self.source.read_blob(sha)
        return data if isinstance(data, bytes) else b"".join(bytes(chunk) for chunk in data)

    def lines(self, record) -> list[bytes]:
        """The record's lines with base64 back in place.

        A lost blob leaves X-DRYBAG-LOST with what the line was: base64 that is none would make
        other programs refuse the whole file.
        """
        out = []
        for line in records.lines(record.body):
            try:
                line = inline.put_back(line, record.blobs, self.blob)
            except BLOB_ERRORS as e:
                self.warn(record, "a picture in it is left out: %s" % e)
                line = b"X-DRYBAG-LOST:" + escape(line.decode("utf-8", "replace")).encode()
            out.append(line)
        return out

    def warn(self, record, message: str) -> None:
        title = records.title(record.kind, record.body) or record.uid.decode("utf-8", "replace")
        self.warnings.append("%s: %s" % (title, message))

    def calendars(self) -> list[CalendarGroup]:
        """Every calendar with its records in order; first those without a calendar."""
        alone = CalendarGroup(None, "")
        groups = {0: alone}
        for record in self.of(CALENDAR):
            title = records.title(CALENDAR, record.body)
            named = records.properties(record.body, (b"X-WR-CALNAME", b"NAME"))
            groups[uids.parent_of(record.uid)] = CalendarGroup(
                record, title if any(True for _ in named) else ""
            )
        for kind in (EVENT, TODO, NOTE):
            for record in self.of(kind):
                groups.get(record.parent, alone).members.append(record)
        for group in groups.values():
            group.members.sort(key=lambda r: r.seq)
        return list(groups.values())

    def group_header(self, group: CalendarGroup) -> list[bytes]:
        """A calendar's own lines; for records without one ours, with the time zones they name."""
        if group.record is not None:
            return self.lines(group.record)
        header = list(zones.OWN_HEADER)
        for tzid in dict.fromkeys(t for m in group.members for t in zones.zone_ids(m.body)):
            header += zones.zone_lines(tzid) or self._borrowed_zone(tzid)
        return header

    def _borrowed_zone(self, tzid: str) -> list[bytes]:
        for record in self.of(CALENDAR):
            found = zones.zones_in(record.body).get(tzid)
            if found:
                return found
        return []

    def component(self, record) -> list[bytes]:
        """A record as a whole component, unfolded."""
        name = COMPONENTS.get(record.kind, b"VCARD")
        return [b"BEGIN:" + name, *self.lines(record), b"END:" + name]


def parse_group(header: list[bytes], members: Iterable, component) -> list:
    """icalendar's components for records of one calendar; None where it cannot read one."""
    members = list(members)
    parts = [component(member) for member in members]
    whole = _parse(header, [line for part in parts for line in part])
    if whole is not None and len(whole) == len(members):
        return whole
    out = []
    for part in parts:
        one = _parse(header, part)
        out.append(one[0] if one else None)
    return out


def calendar_text(header: list[bytes], lines: list[bytes]) -> bytes:
    """A calendar for icalendar to read: UTF-8, not folded."""
    inner = [vcard.utf8(line) for line in (*header, *lines)]
    return b"\r\n".join([b"BEGIN:VCALENDAR", *inner, b"END:VCALENDAR", b""])


def _parse(header: list[bytes], lines: list[bytes]) -> list | None:
    text = calendar_text(header, lines)
    try:
        calendar = Calendar.from_ical(text)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None  # icalendar's verdict on foreign data; the record itself is exported verbatim
    names = [name.decode() for name in COMPONENTS.values()]
    return [part for part in calendar.subcomponents if part.name in names]
