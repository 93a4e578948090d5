"""Notes as Markdown, and one HTML page to look at everything without a network."""

import base64
import hashlib
import os
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

from jinja2 import Environment, FileSystemLoader, select_autoescape

from drybag import records, search
from drybag.layout import CALENDAR, CONTACT, EVENT, KIND_NAMES, NOTE, PHOTO, TODO
from drybag_host.formats.library import CalendarGroup, Library, parse_group
from drybag_host.formats.moments import Moment, moment_of, occurrences, repeats
from drybag_host.formats.names import safe_name
from drybag_host.formats.people import person_of

INLINE_TOTAL_BYTES = 12 << 20
INLINE_EACH_BYTES = 1 << 20
UPCOMING_DAYS = 30
_TEMPLATES = Path(__file__).parent / "templates"
_COLOURS = 8
_WEEK = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_YEAR = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def write_notes(folder: Path, library: Library) -> list[Path]:
    """Each note as a Markdown file. Returns what was written."""
    used: set[str] = set()
    out = []
    for record in library.of(NOTE):
        title = records.title(NOTE, record.body)
        folder.mkdir(exist_ok=True)
        path = folder / safe_name(title, ".md", used, "note")
        path.write_text(markdown(record), encoding="utf-8", errors="replace")
        out.append(path)
    return out


def markdown(record) -> str:
    """A note: its title as heading, its date, its text as it is."""
    body = record.body
    title = records.title(NOTE, body)
    text = records.value_of(body, b"DESCRIPTION")
    if text.startswith(title):
        text = text[len(title) :].lstrip("\n")
    when = moment_of(body, None).start or moment_of(_stamp(body), None).start
    parts = ["# " + (title or "Note")]
    if when:
        parts.append("*%s*" % when)
    if text:
        parts.append(text)
    categories = records.value_of(body, b"CATEGORIES")
    if categories:
        parts.append("Categories: " + categories)
    return "\n\n".join(parts) + "\n"


def _stamp(body: bytes) -> bytes:
    """A body with CREATED or DTSTAMP as its DTSTART."""
    for name in (b"CREATED", b"DTSTAMP"):
        for line in records.properties(body, (name,)):
            return b"DTSTART:" + line.value + b"\n"
    return b""


# --- the page --------------------------------------------------------------------------------


@dataclass(slots=True)
class _Item:
    """One entry of the page; `find` is the folded text the search box looks at."""

    title: str
    find: str = ""
    when: Moment | None = None
    day: str = ""
    lines: list[tuple[str, str]] = field(default_factory=list)
    text: str = ""
    done: bool = False
    image: str = ""
    person: object = None
    colour: int = 0
    initials: str = ""
    calendar: str = ""


class _Images:
    """Pictures of the page: inside it while there is room, else links to the exported files."""

    def __init__(self, library: Library, pictures: dict[tuple[int, bytes], Path], page: Path):
        self.library = library
        self.pictures = pictures
        self.page = page
        self.left_bytes = INLINE_TOTAL_BYTES

    def of(self, record) -> str:
        path = self.pictures.get((record.kind, record.uid))
        if path is None:
            return ""
        size = path.stat().st_size
        if size > min(self.left_bytes, INLINE_EACH_BYTES):
            return quote(os.path.relpath(path, self.page.parent))
        self.left_bytes -= size
        kind = {".png": "png", ".gif": "gif", ".webp": "webp"}.get(path.suffix.lower(), "jpeg")
        return "data:image/%s;base64,%s" % (kind, base64.b64encode(path.read_bytes()).decode())


def write_page(path: Path, library: Library, pictures: dict, title: str, today: date) -> None:
    """index.html: contacts, what comes next, all events, to-dos, notes, photos."""
    images = _Images(library, pictures, path)
    groups = library.calendars()
    script = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
    sections = {
        "contacts": _contacts(library, images),
        "upcoming": _by_day(_upcoming(library, groups, today)),
        "todos": sorted(_dated(library, groups, TODO), key=lambda i: (i.done, not i.day, i.day)),
        "notes": _notes(library),
        "photos": [
            _Item(t, search.fold(t), image=images.of(r), day=_created(r))
            for r in library.of(PHOTO)
            for t in [records.title(PHOTO, r.body)]
        ],
    }
    env = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=select_autoescape(default=True, default_for_string=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["link"] = link
    html = env.get_template("index.html").render(
        title=title,
        today=today.isoformat(),
        until=(today + timedelta(days=UPCOMING_DAYS)).isoformat(),
        counts={name: len(library.of(k)) for k, name in KIND_NAMES.items() if k != CALENDAR},
        style=(_TEMPLATES / "page.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        years=_by_year(_dated(library, groups, EVENT)),
        **sections,
    )
    path.write_text(html, encoding="utf-8", errors="replace")


def link(text: str, scheme: str = "") -> str:
    """A target that is safe to click, or "": http, https, mailto, tel only."""
    target = scheme + ":" + quote(text, safe="@+.-_") if scheme else text.strip()
    if not scheme and target.lower().startswith("www."):
        target = "https://" + target
    try:
        known = urlsplit(target).scheme.lower() in ("http", "https", "mailto", "tel")
    except ValueError:
        return ""
    return target if known else ""


def _contacts(library: Library, images: _Images) -> list[_Item]:
    out = []
    for record in library.of(CONTACT):
        person = person_of(record)
        words = [person.name, person.nickname, person.organization, person.title, *person.notes]
        words += [t for part in (person.phones, person.emails, person.addresses) for _, t in part]
        words += [search.digits(text) for _, text in person.phones]
        name = person.name or record.uid.decode("utf-8", "replace")
        out.append(
            _Item(
                name,
                search.fold(" ".join([*words, *person.categories])),
                image=images.of(record),
                person=person,
                colour=sum(name.encode()) % _COLOURS,
                initials="".join(w[0] for w in name.split()[:2] if w[0].isalnum()).upper(),
            )
        )
    return sorted(out, key=lambda item: search.fold(item.title))


def _dated(library: Library, groups: list[CalendarGroup], kind: int) -> list[_Item]:
    """All events or to-dos, in order of time."""
    out = []
    for group in groups:
        members = [m for m in group.members if m.kind == kind]
        parsed = parse_group(library.group_header(group), members, library.component)
        for record, component in zip(members, parsed, strict=True):
            out.append(_event_item(record, moment_of(record.body, component), group.title))
    return sorted(out, key=lambda item: (item.day, search.fold(item.title)))


def _event_item(record, when: Moment, calendar: str) -> _Item:
    body = record.body
    pairs = [
        ("where", records.value_of(body, b"LOCATION")),
        ("repeats", repeats(body)),
        ("status", _status(record)),
    ]
    title = records.title(record.kind, body) or "(untitled)"
    text = records.value_of(body, b"DESCRIPTION")
    find = search.fold(" ".join([title, text, calendar, *(v for _, v in pairs)]))
    return _Item(
        title, find, when, (when.end if record.kind == TODO else when.start) or when.start,
        [(k, v) for k, v in pairs if v], text if text != title else "",
        records.is_done(body), calendar=calendar,
    )  # fmt: skip


def _status(record) -> str:
    """A to-do's status, where it says more than that it is to be done."""
    status = records.value_of(record.body, b"STATUS").lower().replace("-", " ")
    return status if record.kind == TODO and status not in ("needs action", "completed") else ""


def _upcoming(library: Library, groups: list[CalendarGroup], today: date) -> list[_Item]:
    """Occurrences of events in the next UPCOMING_DAYS days, recurrence unrolled."""
    low = (today - timedelta(days=2)).strftime("%Y%m%d").rjust(8, "0").encode()
    high = (today + timedelta(days=UPCOMING_DAYS + 2)).strftime("%Y%m%d").rjust(8, "0").encode()
    out = []
    for group in groups:
        series: dict[bytes, list] = {}
        for record in group.members:
            if record.kind == EVENT:
                series.setdefault(record.uid.split(b";RECURRENCE-ID=")[0], []).append(record)
        header = library.group_header(group) if series else []
        for members in series.values():
            if not any(records.overlaps(records.span(r.body), low, high) for r in members):
                continue
            parts = [library.component(r) for r in members]
            for component in occurrences(header, parts, today, UPCOMING_DAYS):
                item = _event_item(members[0], moment_of(b"", component), group.title)
                item.title = str(component.get("SUMMARY", item.title)) or item.title
                item.lines = [pair for pair in item.lines if pair[0] == "where"]
                item.text = ""
                out.append(item)
    return sorted(out, key=lambda item: (item.day, item.title))


def _by_day(items: list[_Item]) -> list[tuple[str, list[_Item]]]:
    """Items under headings such as "Mon 2 Mar", in order."""
    days: dict[str, list[_Item]] = {}
    for item in items:
        days.setdefault(item.day[:10], []).append(item)
    return [(_day_name(day), list(each)) for day, each in days.items()]


def _day_name(day: str) -> str:
    try:
        when = date.fromisoformat(day)
    except ValueError:
        return day
    return "%s %d %s" % (_WEEK[when.weekday()], when.day, _YEAR[when.month - 1])


def _by_year(items: list[_Item]) -> list[tuple[str, list[_Item]]]:
    years: dict[str, list[_Item]] = {}
    for item in items:
        years.setdefault(item.day[:4] or "no date", []).append(item)
    return sorted(years.items(), reverse=True)


def _notes(library: Library) -> list[_Item]:
    out = []
    for record in library.of(NOTE):
        title = records.title(NOTE, record.body) or "Note"
        text = records.value_of(record.body, b"DESCRIPTION")
        day = moment_of(record.body, None).start or moment_of(_stamp(record.body), None).start
        shown = text[len(title) :].lstrip() if text.startswith(title) else text
        out.append(_Item(title, search.fold(title + " " + text), day=day[:10], text=shown))
    return sorted(out, key=lambda item: item.day, reverse=True)


def _created(record) -> str:
    for line in records.properties(record.body, (b"CREATED",)):
        return moment_of(b"DTSTART:" + line.value + b"\n", None).start[:10]
    return ""
