"""A contact for people to read: labels, numbers, addresses."""

import re
from dataclasses import dataclass, field

from drybag import records
from drybag.contentline import split_escaped
from drybag.layout import CONTACT
from drybag.linetext import unescape
from drybag_host.formats.vcard import other_charset

_DULL = ("pref", "internet", "voice", "msg", "postal", "parcel", "x-internet", "intl")
_APPLE_LABEL = re.compile(r"_\$!<(.*)>!\$_$")


@dataclass(slots=True)
class Person:
    """Lists hold (label, text)."""

    name: str = ""
    given: str = ""
    family: str = ""
    nickname: str = ""
    organization: str = ""
    title: str = ""
    birthday: str = ""
    phones: list[tuple[str, str]] = field(default_factory=list)
    emails: list[tuple[str, str]] = field(default_factory=list)
    addresses: list[tuple[str, str]] = field(default_factory=list)
    web: list[tuple[str, str]] = field(default_factory=list)
    dates: list[tuple[str, str]] = field(default_factory=list)
    categories: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def person_of(record) -> Person:
    """What a contact's body says."""
    body = record.body
    old = records.is_old(body)
    person = Person(name=records.title(CONTACT, body))
    labels = _group_labels(body, old)
    for line in records.properties(body):
        text = line.text(other_charset)
        label = labels.get(line.group) or _label(line)
        if line.name == b"N":
            parts = _parts(text, old)
            person.family = person.family or parts[0]
            person.given = person.given or (parts[1] if len(parts) > 1 else "")
        elif line.name == b"ORG":
            person.organization = person.organization or ", ".join(filter(None, _parts(text, old)))
        elif line.name == b"ADR":
            parts = [" ".join(p.split("\n")).strip() for p in _parts(text, old)]
            person.addresses.append((label, ", ".join(filter(None, parts))))
        elif line.name in _PLACES:
            _place(person, line.name, label, unescape(text, old).strip())
    return person


_PLACES = (
    b"TEL", b"EMAIL", b"URL", b"IMPP", b"NICKNAME", b"TITLE", b"ROLE", b"BDAY", b"ANNIVERSARY",
    b"X-ABDATE", b"CATEGORIES", b"NOTE",
)  # fmt: skip


def _place(person: Person, name: bytes, label: str, text: str) -> None:
    """Put one plain property where it belongs."""
    if not text:
        return
    if name == b"TEL":
        person.phones.append((label, re.sub(r"^tel:", "", text).replace(";ext=", " x")))
    elif name == b"EMAIL":
        person.emails.append((label, text))
    elif name in (b"URL", b"IMPP"):
        person.web.append((label, text))
    elif name == b"NICKNAME":
        person.nickname = person.nickname or text
    elif name in (b"TITLE", b"ROLE"):
        person.title = person.title or text
    elif name == b"BDAY":
        person.birthday = person.birthday or _day(text)
    elif name in (b"ANNIVERSARY", b"X-ABDATE"):
        person.dates.append((label or "anniversary", _day(text)))
    elif name == b"CATEGORIES":
        person.categories += [c.strip() for c in text.split(",") if c.strip()]
    else:
        person.notes.append(text)


def _parts(text: str, old: bool) -> list[str]:
    return [unescape(p.decode(), old).strip() for p in split_escaped(text.encode())]


def _day(text: str) -> str:
    found = re.match(r"(\d{4})(\d\d)(\d\d)(?:T.*)?$", text)
    if found:
        return "%s-%s-%s" % found.groups()
    found = re.match(r"--(\d\d)-?(\d\d)$", text)
    return "%s-%s" % found.groups() if found else text.split("T")[0]


def _label(line) -> str:
    types = [t.decode("utf-8", "replace").lower() for t in line.param(b"TYPE")]
    return ", ".join(dict.fromkeys(t for t in types if t and t not in _DULL and t not in _ENCODED))


_ENCODED = ("quoted-printable", "base64", "8bit", "7bit")


def _group_labels(body: bytes, old: bool) -> dict[bytes, str]:
    """X-ABLabel by group, as Apple and Google write them."""
    out = {}
    for line in records.properties(body, (b"X-ABLABEL",)):
        if line.group:
            text = unescape(line.text(other_charset), old).strip()
            found = _APPLE_LABEL.match(text)
            out[line.group] = found[1].lower() if found else text
    return out
