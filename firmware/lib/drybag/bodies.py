"""What a record's body says: its lines and properties, title, texts to search, blobs.

A body is content lines, each ended by LF, unfolded, without the outer BEGIN and END (RFC 6350,
RFC 5545).
"""

from binascii import unhexlify

from drybag.contentline import BadLine, component, parse, split_escaped
from drybag.layout import CALENDAR, CONTACT, EVENT, NOTE, PHOTO, TODO
from drybag.linetext import is_utf8, unescape

BLOB_REF = b"drybag:blob/"

_TITLES = {
    CONTACT: (b"FN", b"N", b"ORG", b"NICKNAME", b"EMAIL", b"TEL"),
    EVENT: (b"SUMMARY", b"DESCRIPTION", b"LOCATION"),
    TODO: (b"SUMMARY", b"DESCRIPTION"),
    NOTE: (b"SUMMARY", b"DESCRIPTION"),
    PHOTO: (b"FN",),
    CALENDAR: (b"X-WR-CALNAME", b"NAME", b"PRODID"),
}
_TEXTS = {
    CONTACT: (
        b"FN", b"N", b"NICKNAME", b"ORG", b"TITLE", b"ROLE", b"EMAIL", b"TEL", b"ADR", b"NOTE",
        b"CATEGORIES", b"IMPP", b"URL", b"X-PHONETIC-FIRST-NAME", b"X-PHONETIC-LAST-NAME",
    ),
    PHOTO: (b"FN", b"CAPTION"),
    CALENDAR: (b"X-WR-CALNAME", b"NAME", b"X-WR-CALDESC"),
}  # fmt: skip
_EVENT_TEXTS = (
    b"SUMMARY", b"DESCRIPTION", b"LOCATION", b"CATEGORIES", b"COMMENT", b"CONTACT", b"ATTENDEE",
    b"ORGANIZER",
)  # fmt: skip
_STRUCTURED = (b"N", b"ADR", b"ORG")


# --- lines and properties --------------------------------------------------------------------


def lines(body):
    """The lines of a body, without their LF."""
    pos = 0
    while pos < len(body):
        end = body.find(b"\n", pos)
        if end < 0:
            end = len(body)
        if end > pos:
            yield bytes(body[pos:end])
        pos = end + 1


def top_lines(body):
    """The record's own lines: those of nested components (VALARM) left out."""
    depth = 0
    for line in lines(body):
        mark = component(line)
        if mark is not None:
            depth = max(0, depth + mark[0])
        elif depth == 0:
            yield line


def line_name(line):
    """The property name of a line, upper case, without its group; b"" if there is none."""
    end = line.find(b":")
    semi = line.find(b";")
    if semi >= 0 and (end < 0 or semi < end):
        end = semi
    if end <= 0:
        return b""
    name = line[:end].strip()
    return name[name.rfind(b".") + 1 :].upper()


def properties(body, names=None):
    """The record's own properties as Line; only `names` (upper-case bytes) if given."""
    for line in top_lines(body):
        if names is None or line_name(line) in names:
            try:
                yield parse(line)
            except BadLine:
                pass  # kept in the body as received; it says nothing


def is_old(body):
    """True for vCard 2.1 and vCalendar 1.0: quoted-printable, few escapes."""
    for line in properties(body, (b"VERSION",)):
        return line.value.strip() in (b"2.1", b"1.0")
    return False


def value_of(body, name):
    """The first property called `name` as text, escapes undone; "" if there is none."""
    for line in properties(body, (name,)):
        return _plain(line, is_old(body))
    return ""


def _plain(line, old):
    """A property's value for people: str, one line or several."""
    text = line.text()
    if line.name in _STRUCTURED:
        parts = [unescape(p, old).strip() for p in _split(text)]
        if line.name == b"N":
            parts = [parts[i] for i in (3, 1, 2, 0, 4) if i < len(parts)]
        return (" " if line.name == b"N" else ", ").join([p for p in parts if p])
    return unescape(text, old).strip()


def _split(text):
    return [p.decode() for p in split_escaped(text.encode())]


def title(kind, body):
    """What to call the record in a list: str, "" if nothing in it has a name. One line."""
    old = kind == CONTACT and is_old(body)
    best = ""
    rank = 99
    names = _TITLES.get(kind, ())
    for line in properties(body, names):
        place = names.index(line.name)
        if place < rank:
            text = " ".join(_plain(line, old).split())
            if text:
                best, rank = text, place
                if place == 0:
                    break
    return best


def texts(kind, body):
    """What a search looks at, property by property: (is a telephone number, text)."""
    old = kind == CONTACT and is_old(body)
    for line in properties(body, _TEXTS.get(kind, _EVENT_TEXTS)):
        yield line.name == b"TEL", _plain(line, old)
        if line.name in (b"ATTENDEE", b"ORGANIZER"):
            for name in line.param(b"CN"):
                yield False, name.decode() if is_utf8(name) else ""


def blob_refs(body):
    """The SHA-256 (32 bytes) of every blob the body refers to, in order, each once."""
    seen = []
    pos = body.find(BLOB_REF)
    while pos >= 0:
        pos += len(BLOB_REF)
        digits = bytes(body[pos : pos + 64])
        if len(digits) == 64 and not digits.strip(b"0123456789abcdef"):
            sha = unhexlify(digits)
            if sha not in seen:
                seen.append(sha)
        pos = body.find(BLOB_REF, pos)
    return seen
