"""What a record's body says: title, texts to search, dates, blobs. And simple new bodies.

A body is content lines, each ended by LF, unfolded, without the outer BEGIN and END (RFC 6350,
RFC 5545). Nothing here changes a line it was not asked to change.
"""

from binascii import unhexlify

from drybag.contentline import BadLine, component, parse, split_escaped
from drybag.dates import FOREVER, parse_date, parse_duration, plus_span, shift
from drybag.errors import BadInput
from drybag.layout import CALENDAR, CONTACT, EVENT, NOTE, PHOTO, TODO
from drybag.linetext import escape, is_utf8, unescape

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
_MIDNIGHT = b"T000000"
_ENCODINGS = (b"QUOTED-PRINTABLE", b"BASE64", b"8BIT", b"7BIT")


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


# --- dates -----------------------------------------------------------------------------------


def span(body, utc_offset_min=0):
    """(start, end) of an event as comparable bytes, end exclusive, or None without a start.

    A recurring event ends with UNTIL (a day later, if its zone is not DTSTART's), otherwise
    never: FOREVER. So nothing that could happen in a range is missed.
    """
    start = end = length = None
    first = last = until = None
    utc = False
    for line in properties(body, (b"DTSTART", b"DTEND", b"DURATION", b"RRULE", b"RDATE")):
        if line.name == b"DTSTART" and start is None:
            start = parse_date(line.value, utc_offset_min)
            utc = line.value.strip()[-1:] in (b"Z", b"z")
        elif line.name == b"DTEND" and end is None:
            end = parse_date(line.value, utc_offset_min)
        elif line.name == b"DURATION" and length is None:
            length = parse_duration(line.value)
        elif line.name == b"RRULE":
            this = _until(line.value)
            until = this if until is None else max(until, this)
        elif line.name == b"RDATE":
            for value in line.value.split(b","):
                date = parse_date(value.split(b"/")[0], utc_offset_min)
                if date is not None:
                    first = date if first is None else min(first, date)
                    last = date if last is None else max(last, date)
    if start is None:
        return None
    if end is None or end < start:
        end = shift(start, *length) if length else shift(start, 1 if len(start) == 8 else 0, 0)
    if until is not None or last is not None:
        far = max(until or b"", last or b"")
        if until is not None and until != FOREVER and not utc:
            far = max(far, shift(until, 1, 0))
        end = max(end, far if far == FOREVER else plus_span(far, start, end))
    return (start if first is None else min(start, first)), end


def _until(rule):
    """The date of UNTIL in an RRULE value; FOREVER if it has none."""
    for part in rule.upper().split(b";"):
        if part.strip()[:6] == b"UNTIL=":
            return parse_date(part.strip()[6:]) or FOREVER
    return FOREVER


def overlaps(when, low, high):
    """True if (start, end) of span() touches the time from `low` to before `high`."""
    if when is None:
        return False
    start, end, low, high = [
        d + _MIDNIGHT if len(d) == 8 else d for d in (when[0], when[1], low, high)
    ]
    return start < high and (end > low or start >= low)


def due(body, utc_offset_min=0):
    """When a to-do is due as comparable bytes: DUE, or DTSTART plus DURATION; None without."""
    start = length = None
    for line in properties(body, (b"DUE", b"DTSTART", b"DURATION")):
        if line.name == b"DUE":
            return parse_date(line.value, utc_offset_min)
        if line.name == b"DTSTART":
            start = parse_date(line.value, utc_offset_min)
        else:
            length = parse_duration(line.value)
    return shift(start, *length) if start and length else None


def is_done(body):
    """True if a to-do is completed or cancelled."""
    for line in properties(body, (b"STATUS", b"COMPLETED")):
        if line.name == b"COMPLETED" or line.value.strip().upper() in (b"COMPLETED", b"CANCELLED"):
            return True
    return False


# --- new bodies ------------------------------------------------------------------------------


def text_line(name, text):
    """b"NAME:escaped text LF" of a str; control characters but line breaks go."""
    text = escape("".join([c for c in text if c >= " " or c in "\n\r\t"]))
    return name + b":" + text.encode() + b"\n"


def _date_line(name, value):
    date = parse_date(value)
    if date is None:
        raise BadInput(
            "%s is no date: write YYYYMMDD or YYYYMMDDTHHMM, such as 20250131T0930"
            % repr(bytes(value))
        )
    if len(date) == 8:
        return name + b";VALUE=DATE:" + date + b"\n"
    return name + b":" + date + (b"Z\n" if bytes(value).strip()[-1:] in (b"Z", b"z") else b"\n")


def _begin(uid, stamp):
    return b"UID:" + uid + b"\n" + (b"DTSTAMP:" + stamp + b"\n" if stamp else b"")


def new_contact(uid, name, phones=(), emails=(), org=""):
    """Body of a vCard 3.0. uid: bytes; the rest str. The last word of the name is the family's."""
    words = name.split()
    family = words[-1] if len(words) > 1 else ""
    given = " ".join(words[:-1]) if len(words) > 1 else name.strip()
    body = b"VERSION:3.0\nUID:" + uid + b"\n" + text_line(b"FN", " ".join(words))
    body += b"N:" + (escape(family) + ";" + escape(given) + ";;;").encode() + b"\n"
    if org:
        body += text_line(b"ORG", org)
    for phone in phones:
        body += text_line(b"TEL;TYPE=CELL", phone)
    for email in emails:
        body += text_line(b"EMAIL;TYPE=INTERNET", email)
    return body


def new_event(uid, summary, start, end=None, place="", stamp=None):
    """Body of a VEVENT. start, end, stamp: bytes, DATE or DATE-TIME. Raises BadInput."""
    body = _begin(uid, stamp) + text_line(b"SUMMARY", summary) + _date_line(b"DTSTART", start)
    if end:
        body += _date_line(b"DTEND", end)
        if parse_date(end) < parse_date(start):
            raise BadInput("the event would end before it starts")
    if place:
        body += text_line(b"LOCATION", place)
    return body


def new_todo(uid, summary, due_date=None, stamp=None):
    """Body of a VTODO. due_date, stamp: bytes, DATE or DATE-TIME. Raises BadInput."""
    body = _begin(uid, stamp) + text_line(b"SUMMARY", summary)
    if due_date:
        body += _date_line(b"DUE", due_date)
    return body + b"STATUS:NEEDS-ACTION\n"


def new_note(uid, text, stamp=None):
    """Body of a VJOURNAL: the first line of `text` is its SUMMARY, all of it the DESCRIPTION."""
    words = text.strip().split("\n")[0].strip()
    body = _begin(uid, stamp) + text_line(b"SUMMARY", words[:80])
    return body + text_line(b"DESCRIPTION", text)


def set_text(body, name, text):
    """The body with the first property `name` saying `text`; every other line as it was.

    Group and parameters stay, but for ENCODING and CHARSET. A new property goes behind the
    record's own, before nested components. An empty text takes the property away.
    """
    old = is_old(body)
    return _replace(body, name, lambda line: _with_text(line, text, old) if text else None)


def rename(body, name):
    """A contact's body with another FN, and N to match."""
    words = name.split()
    parts = [words[-1] if len(words) > 1 else "", " ".join(words[:-1] or words)]
    if is_old(body):
        return set_text(set_text(body, b"FN", name), b"N", ";".join(parts) + ";;;")
    value = ";".join([escape(p) for p in parts]) + ";;;"
    body = _replace(body, b"N", lambda line: _head(parse(line)) + b":" + value.encode())
    return set_text(body, b"FN", name)


def _replace(body, name, make):
    """Each line but the first property `name` as it is; that one is make(line) or gone."""
    out = []
    place = None
    done = False
    depth = 0
    for line in lines(body):
        mark = component(line)
        if mark is not None:
            if place is None:
                place = len(out)
            depth = max(0, depth + mark[0])
        elif not done and depth == 0 and line_name(line) == name and b":" in line:
            done = True
            line = make(line)
        if line is not None:
            out.append(line)
    line = None if done else make(name + b":")
    if line is not None:
        out.insert(len(out) if place is None else place, line)
    return b"".join([line + b"\n" for line in out])


def _head(line):
    """Group, name and parameters but ENCODING and CHARSET, as bytes."""
    head = (line.group + b"." if line.group else b"") + line.written
    for raw in line.raw_params:
        word = raw.upper()
        if not (word.startswith(b"ENCODING=") or word.startswith(b"CHARSET=")):
            head += b"" if word in _ENCODINGS else b";" + raw
    return head


def _with_text(line, text, old):
    """`line` with another value, as bytes without LF."""
    head = _head(parse(line))
    if not old:
        return text_line(head, text)[:-1]
    data = text.replace("\r\n", "\n").replace("\n", "\r\n").encode()
    if data and (min(data) < 32 or max(data) > 126):
        head += b";CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE"
        data = b"".join([_qp(c) for c in data])
    return head + b":" + data


def _qp(c):
    return bytes((c,)) if 32 <= c <= 126 and c != 61 else ("=%02X" % c).encode()
