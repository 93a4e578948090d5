"""Files into records: .vcf (2.1, 3.0, 4.0), .ics and pictures, told apart by what is in them.

A piece that cannot be taken is named with its line and left out; what is around it goes in.
Nothing here recurses, and memory is bounded by the largest piece.
"""

from pathlib import Path

from drybag.contentline import MAX_DEPTH, component
from drybag.folding import unfold
from drybag.layout import CONTACT, EVENT, NOTE, TODO
from drybag_host.formats import photo
from drybag_host.formats.assemble import Assembler
from drybag_host.formats.model import ImportResult, Problem
from drybag_host.formats.source import Source

MAX_PIECE_BYTES = 64 << 20
_MARK = b"\xef\xbb\xbf"
_KINDS = {b"VCARD": CONTACT, b"VEVENT": EVENT, b"VTODO": TODO, b"VJOURNAL": NOTE}
# What cannot stand inside another record: its BEGIN tells that an END is missing before it.
_NEVER_NESTED = (b"VEVENT", b"VTODO", b"VJOURNAL", b"VTIMEZONE", b"VFREEBUSY", b"VCALENDAR")


class _Piece:
    """A component being read: its lines without the outer BEGIN and END."""

    def __init__(self, name: bytes, number: int, start: int):
        self.name = name
        self.number = number
        self.start = start
        self.lines: list[bytes] = []
        self.open: list[tuple[bytes, int]] = [(name, number)]
        self.beyond = 0  # levels opened below MAX_DEPTH
        self.size_bytes = 0
        self.bad = ""

    def add(self, line: bytes, number: int, dropped: int = 0) -> None:
        self.size_bytes += len(line) + 1 + dropped
        if dropped or self.size_bytes > MAX_PIECE_BYTES:
            self.fail("more than %d MB in one piece" % (MAX_PIECE_BYTES >> 20))
        if not self.bad:
            self.lines.append(line)

    def fail(self, message: str) -> None:
        """Remember the first reason for refusing the piece; keep nothing more of it."""
        if not self.bad:
            self.bad = message
        self.lines.clear()

    def begin(self, name: bytes, line: bytes, number: int) -> None:
        if len(self.open) > MAX_DEPTH:
            self.beyond += 1
            self.fail("more than %d components inside one another" % MAX_DEPTH)
            return
        self.open.append((name, number))
        self.add(line, number)

    def end(self, name: bytes, line: bytes, number: int) -> bool:
        """Close `name`. True when the piece itself is complete."""
        if self.beyond:
            self.beyond -= 1
            return False
        while self.open[-1][0] != name and any(n == name for n, _ in self.open):
            inner, began = self.open.pop()
            self.fail("%s of line %d is not ended" % (inner.decode("latin-1"), began))
        if self.open[-1][0] != name:
            self.fail("line %d ends %s, which has not begun" % (number, name.decode("latin-1")))
            return False
        self.open.pop()
        if self.open:
            self.add(line, number)
        return not self.open

    def is_agent(self) -> bool:
        """True if the next BEGIN:VCARD is the value of AGENT (vCard 2.1)."""
        if self.name != b"VCARD" or not self.lines:
            return self.name == b"VCARD" and self.beyond > 0
        head, _, value = self.lines[-1].partition(b":")
        return head.upper().split(b";")[0].split(b".")[-1] == b"AGENT" and not value.strip()

    def is_cut_by(self, name: bytes) -> bool:
        """True if BEGIN:name shows that this piece lost its end."""
        if name == b"VCARD":
            return not self.is_agent()
        return name in _NEVER_NESTED


class _Reader:
    """The lines of one text file, sorted into pieces and handed to the assembler."""

    def __init__(self, source: Source):
        self.out = Assembler(source)
        self.piece: _Piece | None = None
        self.done: _Piece | None = None  # complete, but for the place where the next line begins
        self.stray: tuple[int, int, int] | None = None  # line, offset, count

    def read(self, lines) -> ImportResult:
        end = 0
        for number, start, line, dropped in lines:
            end = start + len(line) + dropped
            self.line(number, start, line, dropped)
        size = max(end, self.out.source.size_bytes - self.out.source.skip)
        self.finish(size)
        self.flush_stray(size)
        if self.piece:
            self.cut(self.piece, size, "the file ends inside")
        if self.out.calendar:
            self.out.end_calendar(size, cut=True)
        return self.out.result()

    def line(self, number: int, start: int, line: bytes, dropped: int) -> None:
        self.finish(start)
        if line.startswith(_MARK) and (line == _MARK or component(line[len(_MARK) :])):
            line = line[len(_MARK) :]  # files put together keep their byte order marks
            if not line:
                return
        mark = component(line)
        if self.piece and mark:
            if self.in_piece(self.piece, mark, number, start, line):
                return
        elif self.piece:
            self.piece.add(line, number, dropped)
            return
        if mark and mark[0] > 0:
            self.flush_stray(start)
            self.begin(mark[1], number, start)
        elif mark and mark[1] == b"VCALENDAR" and self.out.calendar:
            self.flush_stray(start)
            self.out.end_calendar(start)
        elif self.out.calendar and not mark:
            self.out.calendar.add_property(line, number, start, dropped)
        elif line.strip():
            if self.stray is None:
                self.stray = (number, start, 0)
            self.stray = (*self.stray[:2], self.stray[2] + 1)

    def in_piece(self, piece: _Piece, mark, number: int, start: int, line: bytes) -> bool:
        """BEGIN or END inside a piece. False if the piece turned out to be cut before it."""
        if mark[0] > 0:
            if piece.is_cut_by(mark[1]):
                self.cut(piece, start, "another one begins on line %d inside" % number)
                return False
            piece.begin(mark[1], line, number)
            return True
        if mark[1] == b"VCALENDAR":
            self.cut(piece, start, "the calendar ends on line %d inside" % number)
            return False
        if piece.end(mark[1], line, number):
            self.piece = None
            self.done = piece
        return True

    def finish(self, end: int) -> None:
        """Hand over the piece that is complete; `end`: where the next line begins."""
        if self.done:
            piece = self.done
            self.done = None
            self.out.finish(piece, end, _KINDS.get(piece.name, 0))

    def begin(self, name: bytes, number: int, start: int) -> None:
        if name == b"VCALENDAR" or (name == b"VCARD" and self.out.calendar):
            if self.out.calendar:
                self.out.end_calendar(start, cut=True)
            if name == b"VCALENDAR":
                self.out.begin_calendar(number, start)
                return
        self.piece = _Piece(name, number, start)

    def cut(self, piece: _Piece, end: int, why: str) -> None:
        """Report the open piece as cut off at offset `end`."""
        self.piece = None
        what = piece.name.decode("latin-1")
        self.out.problem(
            piece.number, "%s this %s: its end is missing" % (why, what), piece.start, end
        )

    def flush_stray(self, end: int) -> None:
        if self.stray:
            number, start, count = self.stray
            self.stray = None
            lines = "this line belongs" if count == 1 else "these %d lines belong" % count
            self.out.problem(number, lines + " to no card and no calendar", start, end)


def read_file(path: str | Path) -> ImportResult:
    """Read one file. Raises HostFile if it cannot be opened; all else is in `problems`."""
    with Source(path) as source:
        name = str(path)
        if source.media_type:
            return photo.read_photo(source, name)
        if not source.head.strip(b"\x00 \t\r\n\xef\xbb\xbf") and source.size_bytes <= len(
            source.head
        ):
            return ImportResult(problems=[Problem(name, 0, "the file is empty")])
        if not _has_begin(source):
            message = "this is no vCard, no iCalendar file and no JPEG, PNG, GIF or WebP picture"
            return ImportResult(problems=[Problem(name, 0, message, source.untouched())])
        result = _Reader(source).read(unfold(source.chunks(), MAX_PIECE_BYTES))
        if source.broken_utf16:
            result.notices.append(
                Problem(name, 0, "broken UTF-16 in it reads as \ufffd", kept=True)
            )
        return result


def _has_begin(source: Source) -> bool:
    """True if "BEGIN:" is anywhere in the first MiB."""
    return b"BEGIN:" in source.read(0, 1 << 20).upper()
