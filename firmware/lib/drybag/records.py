"""The dates of a record's body, and simple new bodies. What a body says else: drybag.bodies.

Nothing here changes a line it was not asked to change.
"""

from drybag.bodies import (  # noqa: F401, what is asked of records as ever
    BLOB_REF,
    blob_refs,
    is_old,
    line_name,
    lines,
    properties,
    texts,
    title,
    top_lines,
    value_of,
)  # fmt: skip
from drybag.contentline import component, parse
from drybag.dates import FOREVER, parse_date, parse_duration, plus_span, shift
from drybag.errors import BadInput
from drybag.linetext import escape

_MIDNIGHT = b"T000000"
_ENCODINGS = (b"QUOTED-PRINTABLE", b"BASE64", b"8BIT", b"7BIT")


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
