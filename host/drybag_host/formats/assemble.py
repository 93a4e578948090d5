"""Pieces of a file into drafts: blobs out, uids, calendars, what does not fit."""

import hashlib
import re
from dataclasses import dataclass

from drybag import contentline, records
from drybag.layout import CALENDAR, CONTACT, MAX_BODY
from drybag_host.formats import inline, uids
from drybag_host.formats.model import Draft, ImportResult, Problem
from drybag_host.formats.source import MAX_RAW_BYTES, Source
from drybag_host.formats.zones import is_own_calendar

MAX_CALENDAR_BYTES = 64 << 20
_SORT = re.compile(r"\d+|^.* inside this ")  # what two messages of one sort may differ in


@dataclass
class _Trouble:
    """A problem whose raw bytes are read at the end, when neighbours are merged."""

    line: int
    message: str
    start: int
    end: int
    kept: bool = False
    more: int = 0


class _Calendar:
    """One VCALENDAR: its own properties, time zones and the like, and the drafts in it."""

    def __init__(self, number: int, start: int):
        self.number = number
        self.start = start
        self.parts: list[tuple[list[bytes], int, int, int]] = []  # lines, line number, start, end
        self.size_bytes = 0
        self.drafts: list[tuple[Draft, int, int]] = []
        self.too_large: list[tuple[int, int, int]] = []  # line number, start, end

    def add_property(self, line: bytes, number: int, start: int, dropped: int) -> None:
        self.add([line], number, start, start + len(line) + dropped, dropped)

    def add(self, lines: list[bytes], number: int, start: int, end: int, dropped: int = 0) -> None:
        """Lines of the calendar's own, one property or one component."""
        self.size_bytes += end - start
        if dropped or self.size_bytes > MAX_CALENDAR_BYTES:
            self.too_large.append((number, start, end))
        else:
            self.parts.append((lines, number, start, end))

    def body(self) -> tuple[bytes, list[tuple[bytes, bytes]]]:
        """Body and blobs of the calendar record; what does not fit goes to too_large."""
        lines, blobs = inline.take_out(line for part in self.parts for line in part[0])
        kept: list[bytes] = []
        size = at = 0
        for part, number, start, end in self.parts:
            new = lines[at : at + len(part)]
            at += len(part)
            length = sum(len(line) + 1 for line in new)
            if size + length > MAX_BODY:
                self.too_large.append((number, start, end))
                continue
            size += length
            kept.extend(new)
        body = b"".join(line + b"\n" for line in kept)
        used = set(records.blob_refs(body))
        return body, [blob for blob in blobs if blob[0] in used]


class Assembler:
    """Collects what the reader finds; result() is the outcome."""

    def __init__(self, source: Source):
        self.source = source
        self.name = str(source.path)
        self.calendar: _Calendar | None = None
        self.drafts: list[Draft] = []
        self.troubles: list[_Trouble] = []
        self.notices: list[Problem] = []
        self.seen: dict[tuple[int, bytes], set[bytes]] = {}

    def problem(self, line: int, message: str, start: int, end: int, kept: bool = False) -> None:
        """Name bytes start to end as trouble; neighbours with the same trouble become one."""
        last = self.troubles[-1] if self.troubles else None
        alike = last and _SORT.sub("", last.message) == _SORT.sub("", message)
        if last and alike and last.end == start and not kept and not last.kept:
            last.end = end
            last.more += 1
            return
        self.troubles.append(_Trouble(line, message, start, end, kept))

    def finish(self, piece, end: int, kind: int) -> None:
        """A complete piece. kind 0: no record, so part of the calendar, or unknown."""
        what = piece.name.decode("latin-1")
        if piece.bad:
            self.problem(piece.number, "this %s: %s" % (what, piece.bad), piece.start, end)
        elif kind:
            self._record(piece, end, kind)
        elif self.calendar:
            lines = [b"BEGIN:" + piece.name, *piece.lines, b"END:" + piece.name]
            self.calendar.add(lines, piece.number, piece.start, end)
        else:
            message = "a %s outside a calendar is no contact, event, to-do or note" % what
            self.problem(piece.number, message, piece.start, end)

    def _record(self, piece, end: int, kind: int) -> None:
        lines, blobs = inline.take_out(piece.lines)
        body = b"".join(line + b"\n" for line in lines)
        if len(body) > MAX_BODY:
            message = "%d bytes without pictures; a record holds at most %d" % (
                len(body),
                MAX_BODY,
            )
            self.problem(piece.number, message, piece.start, end)
            return
        if not any(records.line_name(line) not in (b"", b"VERSION") for line in lines):
            self.problem(piece.number, "there is nothing in it", piece.start, end)
            return
        self._notice_odd_lines(piece)
        draft = Draft(kind, uids.uid_of(body), body, blobs, 0, (self.name, piece.number))
        if self.calendar and kind != CONTACT:
            self.calendar.drafts.append((draft, piece.start, end))
        else:
            self._accept(draft, piece.start, end)

    def _notice_odd_lines(self, piece) -> None:
        odd = [line for line in piece.lines if not records.line_name(line) or b":" not in line]
        if odd:
            message = "%d odd lines kept as they are, such as %s" % (
                len(odd),
                contentline.show(odd[0]),
            )
            self.notices.append(Problem(self.name, piece.number, message, kept=True))

    def _accept(self, draft: Draft, start: int, end: int) -> None:
        """Take a draft in, under another uid if a different one has its uid already."""
        key = (draft.kind, draft.uid)
        content = hashlib.sha256(b"%d\n" % draft.parent + draft.body).digest()
        others = self.seen.setdefault(key, set())
        line = draft.source[1]
        if content in others:
            if draft.kind == CALENDAR:
                return
            self.notices.append(
                Problem(self.name, line, "the same once more: kept once", kept=True)
            )
            return
        if others:
            message = "its UID belongs to another record of this file; kept under a UID of its own"
            self.problem(line, message, start, end, kept=True)
            draft.uid = uids.second_uid(draft.uid, b"%d\n" % draft.parent + draft.body)
        others.add(content)
        self.drafts.append(draft)

    def begin_calendar(self, number: int, start: int) -> None:
        self.calendar = _Calendar(number, start)

    def end_calendar(self, end: int, cut: bool = False) -> None:
        """Close the open calendar; its records get their parent now."""
        calendar = self.calendar
        assert calendar
        self.calendar = None
        body, blobs = calendar.body()
        parent = 0
        if body and not is_own_calendar(body):
            uid = uids.calendar_uid(body)
            parent = uids.parent_of(uid)
            draft = Draft(CALENDAR, uid, body, blobs, 0, (self.name, calendar.number))
            self._accept(draft, calendar.start, end)
        for draft, start, stop in calendar.drafts:
            draft.parent = parent
            self._accept(draft, start, stop)
        for number, start, stop in calendar.too_large:
            message = "too large to be kept with the calendar (%d bytes in all)" % MAX_BODY
            self.problem(number, message, start, stop)
        if cut:
            message = "END:VCALENDAR is missing; what was complete in it is in"
            self.troubles.append(_Trouble(calendar.number, message, end, end, kept=True))

    def result(self) -> ImportResult:
        """All of it, problems in the order of the file."""
        problems = []
        for t in sorted(self.troubles, key=lambda t: t.line):
            message = t.message
            if t.more:
                message += " (and %d more like it right behind)" % t.more
            if t.end - t.start > MAX_RAW_BYTES:
                message += " (only its first %d MB can be kept)" % (MAX_RAW_BYTES >> 20)
            raw = self.source.raw(t.start, t.end) if t.end > t.start else b""
            problems.append(Problem(self.name, t.line, message, raw, t.kept))
        if not self.drafts and not problems:
            problems.append(Problem(self.name, 0, "there is no record in it"))
        return ImportResult(self.drafts, problems, self.notices)
