"""Records as vCard and iCalendar files."""

from collections.abc import Iterable
from typing import IO

from drybag import records
from drybag.folding import fold_lines
from drybag.layout import CONTACT
from drybag_host.formats import vcard
from drybag_host.formats.library import CalendarGroup, Library


def write_cards(out: IO[bytes], library: Library, version: str) -> int:
    """All contacts; version "3.0", "4.0" or "as-is". Returns how many."""
    for record in library.of(CONTACT):
        lines = library.lines(record)
        old = False
        if version in vcard.VERSIONS:
            lines = vcard.convert(lines, version, record.uid)
        else:
            old = records.is_old(record.body)
        out.write(b"BEGIN:VCARD\r\n")
        out.writelines(fold_lines(lines, old))
        out.write(b"END:VCARD\r\n")
    return len(library.of(CONTACT))


def write_calendar(out: IO[bytes], library: Library, group: CalendarGroup, as_is: bool) -> None:
    """One VCALENDAR: its own lines, then its events, to-dos and notes."""
    out.write(b"BEGIN:VCALENDAR\r\n")
    out.writelines(_folded(library.group_header(group), as_is))
    for record in group.members:
        out.writelines(_folded(library.component(record), as_is))
    out.write(b"END:VCALENDAR\r\n")


def _folded(lines: Iterable[bytes], as_is: bool) -> Iterable[bytes]:
    if as_is:
        return fold_lines(lines)
    return fold_lines(vcard.utf8(line) for line in lines)
