"""CSV tables of contacts, events and to-dos, for spreadsheets."""

import csv
from pathlib import Path

from drybag import records
from drybag.layout import CONTACT, EVENT, TODO
from drybag_host.formats.library import Library, parse_group
from drybag_host.formats.moments import moment_of, repeats
from drybag_host.formats.people import Person, person_of

CONTACT_COLUMNS = (
    "name", "given_name", "family_name", "nickname", "organization", "title", "phones", "emails",
    "addresses", "birthday", "web", "categories", "note", "uid",
)  # fmt: skip
EVENT_COLUMNS = (
    "summary", "start", "end", "all_day", "time_zone", "repeats", "location", "description",
    "categories", "status", "calendar", "uid",
)  # fmt: skip
TODO_COLUMNS = (
    "summary", "due", "start", "time_zone", "done", "status", "priority", "description",
    "categories", "calendar", "uid",
)  # fmt: skip


def cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula (OWASP): those get a quote."""
    text = text.replace("\0", "")
    if text.lstrip(" ")[:1] in tuple("=+-@\t\r\n") and text.strip():
        return "'" + text
    return text


def _write(path: Path, columns: tuple[str, ...], rows) -> None:
    """UTF-8 with a byte order mark, which Excel needs to see that it is UTF-8."""
    with path.open("w", encoding="utf-8-sig", errors="replace", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(columns)
        for row in rows:
            writer.writerow([cell(text) for text in row])


def write_contacts(path: Path, library: Library) -> None:
    _write(path, CONTACT_COLUMNS, (_contact(r, person_of(r)) for r in library.of(CONTACT)))


def _contact(record, person: Person) -> list[str]:
    return [
        person.name, person.given, person.family, person.nickname, person.organization,
        person.title, "; ".join(_labelled(person.phones)), "; ".join(_labelled(person.emails)),
        " | ".join(_labelled(person.addresses)), person.birthday,
        "; ".join(text for _, text in person.web), ", ".join(person.categories),
        "\n\n".join(person.notes), record.uid.decode("utf-8", "replace"),
    ]  # fmt: skip


def _labelled(items: list[tuple[str, str]]) -> list[str]:
    return ["%s (%s)" % (text, label) if label else text for label, text in items]


def write_events(path: Path, library: Library) -> None:
    _write(path, EVENT_COLUMNS, _rows(library, EVENT, _event))


def write_todos(path: Path, library: Library) -> None:
    _write(path, TODO_COLUMNS, _rows(library, TODO, _todo))


def _rows(library: Library, kind: int, make):
    for group in library.calendars():
        members = [m for m in group.members if m.kind == kind]
        if not members:
            continue
        parsed = parse_group(library.group_header(group), members, library.component)
        for record, component in zip(members, parsed, strict=True):
            yield make(record, component, group.title)


def _event(record, component, calendar: str) -> list[str]:
    body = record.body
    when = moment_of(body, component)
    return [
        records.title(EVENT, body), when.start, when.end, "yes" if when.all_day else "no",
        when.zone, repeats(body), records.value_of(body, b"LOCATION"),
        records.value_of(body, b"DESCRIPTION"), records.value_of(body, b"CATEGORIES"),
        records.value_of(body, b"STATUS"), calendar, record.uid.decode("utf-8", "replace"),
    ]  # fmt: skip


def _todo(record, component, calendar: str) -> list[str]:
    body = record.body
    when = moment_of(body, component)
    return [
        records.title(TODO, body), when.end, when.start, when.zone,
        "yes" if records.is_done(body) else "no", records.value_of(body, b"STATUS"),
        records.value_of(body, b"PRIORITY"), records.value_of(body, b"DESCRIPTION"),
        records.value_of(body, b"CATEGORIES"), calendar, record.uid.decode("utf-8", "replace"),
    ]  # fmt: skip
