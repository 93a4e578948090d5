"""Original files against exported ones, property by property.

Reads both sides with a small reader of its own, so that a mistake of import is not hidden by the
same mistake here. Folding and line ends do not count, nor white space in base64, nor whether text
is Latin-1 or UTF-8, nor the order of records. Cards that changed version are compared by what
they say (canon.py).
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from drybag.contentline import component
from drybag.folding import unfold
from drybag_host.formats.canon import canonical_card, card_version
from drybag_host.formats.source import Source
from drybag_host.formats.vcard import utf8
from drybag_host.formats.zones import is_own_calendar

_RECORDS = (b"VEVENT", b"VTODO", b"VJOURNAL")
_BASE64 = re.compile(rb"(?:;BASE64|;ENCODING=(?:B|BASE64))[;:]", re.IGNORECASE)
_TEXT = (".vcf", ".vcard", ".ics", ".ical", ".vcs", ".ifb")
_MAX_GUESSES = 300


@dataclass(frozen=True, slots=True)
class Difference:
    """what: "missing", "changed", "added" or "order"; where: the record; detail: the property."""

    what: str
    file: str
    where: str
    detail: str = ""

    def __str__(self):
        return "%s: %s: %s%s" % (
            self.file,
            self.where,
            self.what,
            " " + self.detail if self.detail else "",
        )


@dataclass(slots=True)
class _Unit:
    """One record: its lines, the lines of its calendar, where it is from."""

    name: bytes
    lines: tuple[bytes, ...]
    calendar: tuple[bytes, ...] | None
    file: str

    @property
    def label(self) -> str:
        for wanted in (b"FN", b"SUMMARY", b"X-WR-CALNAME", b"N", b"UID", b"EMAIL"):
            for line in self.lines:
                if re.match(rb"(?:[^;:]+\.)?" + wanted + rb"[;:]", line, re.IGNORECASE):
                    value = line.partition(b":")[2].decode("utf-8", "replace")
                    return "%s %s" % (self.name.decode("latin-1"), value[:60])
        return self.name.decode("latin-1")

    @property
    def key(self) -> tuple:
        found = [
            line.partition(b":")[2].strip()
            for line in self.lines
            if line[:14].upper().startswith((b"UID:", b"UID;", b"RECURRENCE-ID"))
        ]
        return (self.name, *found)


def compare_files(original, exported) -> list[Difference]:
    """What of `original` is missing, changed or out of order in `exported`, and what is new there.

    Either side: a file, a folder (its vCard, iCalendar and picture files, searched through), or
    an iterable of those. A record that stands twice in the original may stand once in the export.
    Raises HostFile if a file cannot be read.
    """
    want, want_images = _load(original)
    have, have_images = _load(exported)
    out = []
    for sha, name in want_images.items():
        if sha not in have_images:
            out.append(Difference("missing", name, "picture"))
    want, have, same = _match(want, have, lambda u: (u.name, u.lines, u.calendar))
    want, have, moved = _match(want, have, lambda u: (u.name, u.lines))
    out += [Difference("changed", u.file, u.label, "its calendar") for u in moved]
    want, have = _match_converted(want, have)
    for unit in want:
        other = _closest(unit, have)
        if other is None:
            out.append(Difference("missing", unit.file, unit.label))
            continue
        have.remove(other)
        out += _properties(unit, other)
    seen = {(u.name, u.lines) for u in same + moved}
    out += [Difference("added", u.file, u.label) for u in have if (u.name, u.lines) not in seen]
    return out


def _match(want: list[_Unit], have: list[_Unit], key):
    """Pair units with equal keys: (unmatched want, unmatched have, matched of want)."""
    present = {key(unit) for unit in have}
    matched = [unit for unit in want if key(unit) in present]
    used = {key(unit) for unit in matched}
    missing = [unit for unit in want if key(unit) not in present]
    return missing, [unit for unit in have if key(unit) not in used], matched


def _match_converted(want: list[_Unit], have: list[_Unit]) -> tuple[list[_Unit], list[_Unit]]:
    """Pair cards that say the same in another version; what is left of want and of have.

    FN and N may be new, where the original has none: the version asked for them.
    """
    pools: list[dict[tuple, list[_Unit]]] = [{} for _ in _MADE]
    for unit in have:
        if unit.name == b"VCARD":
            card = canonical_card(unit.lines)
            for pool, made in zip(pools, _MADE, strict=True):
                pool.setdefault(_without(card, made), []).append(unit)
    used: set[int] = set()
    missing = []
    for unit in want:
        found = None
        if unit.name == b"VCARD":
            card = canonical_card(unit.lines)
            for pool, made in zip(pools, _MADE, strict=True):
                if card == _without(card, made):
                    found = found or pool.get(card)
        if found:
            used.update(id(other) for other in found)
        else:
            missing.append(unit)
    return missing, [unit for unit in have if id(unit) not in used]


_MADE: tuple[tuple[bytes, ...], ...] = ((), (b"N",), (b"FN",), (b"FN", b"N"))


def _without(card: tuple, names: tuple[bytes, ...]) -> tuple:
    return tuple(item for item in card if item[1] not in names)


def _closest(unit: _Unit, have: list[_Unit]) -> _Unit | None:
    """The unit that is most likely meant to be this one, or None."""
    same = [u for u in have if len(unit.key) > 1 and u.key == unit.key]
    if same:
        return same[0]
    mine = set(_comparable(unit, unit))
    best, score = None, 0
    for other in [u for u in have if u.name == unit.name][:_MAX_GUESSES]:
        common = len(mine & set(_comparable(other, unit)))
        if common > score:
            best, score = other, common
    return best if score * 3 >= len(mine) else None


def _comparable(unit: _Unit, other: _Unit) -> tuple:
    """Lines, or what they say where the two are cards of different versions."""
    if unit.name == b"VCARD" == other.name and card_version(unit.lines) != card_version(
        other.lines
    ):
        return canonical_card(unit.lines)
    return unit.lines


def _properties(unit: _Unit, other: _Unit) -> list[Difference]:
    """The differences between two versions of a record, property by property."""
    mine, theirs = _comparable(unit, other), _comparable(other, unit)
    missing = list((Counter(mine) - Counter(theirs)).elements())
    added = list((Counter(theirs) - Counter(mine)).elements())
    out = []
    for item in missing:
        twin = next((a for a in added if _name(a) == _name(item)), None)
        if twin is None:
            out.append(Difference("missing", unit.file, unit.label, _show(item)))
        else:
            added.remove(twin)
            detail = "%s into %s" % (_show(item), _show(twin))
            out.append(Difference("changed", unit.file, unit.label, detail))
    if mine is not unit.lines:
        names = {item[1] for item in mine}
        added = [a for a in added if a[1] in names or a[1] not in (b"FN", b"N")]
        theirs = tuple(t for t in theirs if t[1] in names)
    out += [Difference("added", unit.file, unit.label, _show(item)) for item in added]
    if not out and mine != theirs:
        out.append(Difference("order", unit.file, unit.label))
    if not out and unit.calendar not in (None, other.calendar):
        out.append(Difference("changed", unit.file, unit.label, "its calendar"))
    return out


def _name(item) -> object:
    return re.split(rb"[;:]", item, maxsplit=1)[0].upper() if isinstance(item, bytes) else item[1]


def _show(item) -> str:
    text = item.decode("utf-8", "replace") if isinstance(item, bytes) else repr(item)
    return text if len(text) <= 160 else text[:157] + "..."


# --- reading ---------------------------------------------------------------------------------


def _load(what) -> tuple[list[_Unit], dict[bytes, str]]:
    """Units of all text files, and the pictures by SHA-256."""
    units: list[_Unit] = []
    images: dict[bytes, str] = {}
    for path in _paths(what):
        with Source(path) as source:
            if source.media_type:
                data = source.read(0, source.size_bytes)
                images[hashlib.sha256(data).digest()] = str(path)
            else:
                units += _units(source)
    return units, images


def _paths(what) -> Iterable[Path]:
    if isinstance(what, (str, Path)):
        path = Path(what)
        if not path.is_dir():
            return [path]
        suffixes = (*_TEXT, ".jpg", ".jpeg", ".png", ".gif", ".webp")
        return sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes)
    return [path for each in what for path in _paths(each)]


def _units(source: Source) -> list[_Unit]:
    """The records of a text file, and one unit for each calendar's own lines."""
    out: list[_Unit] = []
    calendars: list[tuple[list[bytes], list[_Unit]]] = []
    names: list[bytes] = []
    lines: list[bytes] = []
    for _, _, line, _ in unfold(source.chunks(), 1 << 28):
        mark = component(line.removeprefix(b"\xef\xbb\xbf"))
        in_calendar = names[:1] == [b"VCALENDAR"]
        top = 1 if in_calendar else 0
        if mark and mark[0] > 0:
            if not names and mark[1] == b"VCALENDAR":
                calendars.append(([], []))
            elif len(names) == top:
                lines = []
            names.append(mark[1])
            if len(names) > top + 1:
                lines.append(line)
            continue
        if mark and mark[1] in names:
            while names.pop() != mark[1]:
                pass
            if len(names) > top:
                lines.append(line)
            elif in_calendar and len(names) == 1:
                _end_in_calendar(calendars[-1], mark[1], lines, str(source.path))
            elif not in_calendar and mark[1] in (b"VCARD", *_RECORDS):
                out.append(_Unit(mark[1], _normal(lines), None, str(source.path)))
        elif len(names) > top:
            lines.append(line)
        elif in_calendar:
            calendars[-1][0].append(line)
    for own, units in calendars:
        own_lines = _normal(own)
        generated = is_own_calendar(b"".join(line + b"\n" for line in own_lines))
        for unit in units:
            unit.calendar = own_lines if own_lines and not generated else None
        out += units
        if own_lines and not generated:
            out.append(_Unit(b"VCALENDAR", own_lines, None, str(source.path)))
    return out


def _end_in_calendar(calendar, name: bytes, lines: list[bytes], file: str) -> None:
    if name in _RECORDS:
        calendar[1].append(_Unit(name, _normal(lines), None, file))
    else:
        calendar[0].extend([b"BEGIN:" + name, *lines, b"END:" + name])


def _normal(lines: list[bytes]) -> tuple[bytes, ...]:
    """Lines to compare: as UTF-8, without white space in base64."""
    out = []
    for line in lines:
        found = _BASE64.search(line[:2000])
        if found or b";base64," in line[:2000]:
            head, colon, value = line.partition(b":")
            line = head + colon + b"".join(value.split())
        out.append(utf8(line))
    return tuple(out)
