"""Commands that look: list, find, show, events; and how a person names a record."""

from drybag import bodies, layout
from drybag.contentline import component
from drybag.errors import BadInput
from drybag.linetext import decode, unescape
from handset.looking import beginning, matching
from handset.terminal import clean, cut, pad

_VALUE_CHARS = 1000
_KINDS = ("contact", "event", "todo", "note", "photo")
_LABELS = {
    b"FN": "name", b"TEL": "phone", b"EMAIL": "e-mail", b"ORG": "organisation", b"ADR": "address",
    b"BDAY": "birthday", b"NOTE": "note", b"SUMMARY": "title", b"DTSTART": "starts",
    b"DTEND": "ends", b"DUE": "due", b"LOCATION": "place", b"DESCRIPTION": "text",
    b"STATUS": "status", b"RRULE": "repeats", b"CATEGORIES": "categories", b"URL": "web",
    b"MEDIATYPE": "type", b"TITLE": "title",
}  # fmt: skip
_SILENT = (b"VERSION", b"UID", b"DTSTAMP", b"N", b"PRODID")


def kind_number(word):
    """1..5 of `contact`, `contacts`, `to-do` ...; 0 of "". Raises BadInput."""
    word = word.lower().replace("-", "")
    if not word:
        return 0
    for i in range(len(_KINDS)):
        if word in (_KINDS[i], _KINDS[i] + "s"):
            return i + 1
    raise BadInput("there is no kind '%s': %s" % (clean(word[:20]), ", ".join(_KINDS)))


def day_text(value):
    """b"20250131T093000" as 2025-01-31 09:30; what is no date as it is."""
    text = decode(value).strip()
    digits = text.replace("-", "").replace(":", "")
    if len(digits) < 8 or not digits[:8].isdigit():
        return text
    day = "%s-%s-%s" % (digits[:4], digits[4:6], digits[6:8])
    if digits[8:9] == "T" and len(digits) >= 13:
        day += " %s:%s" % (digits[9:11], digits[11:13])
    return day + (" UTC" if digits.endswith("Z") else "")


def raw_value(body, name):
    """The first property `name` as the bytes behind its colon; b"" without."""
    for line in bodies.properties(body, (name,)):
        return line.value
    return b""


def detail(kind, body):
    """What a list says beside the title."""
    if kind == layout.CONTACT:
        return bodies.value_of(body, b"TEL") or bodies.value_of(body, b"EMAIL")
    if kind == layout.EVENT:
        return day_text(raw_value(body, b"DTSTART"))
    if kind == layout.TODO:
        from drybag import records

        if records.is_done(body):
            return "done"
        due = records.due(body)
        return "due " + day_text(due) if due else ""
    return ""


def row(console, record, body=None):
    """A line of a list, with its number."""
    body = beginning(record) if body is None else body
    return "%4d  %s %s %s" % (
        console.number(record.kind, record.uid),
        pad(layout.KIND_NAMES.get(record.kind, "?"), 8),
        pad(clean(bodies.title(record.kind, body)) or "(no title)", 40),
        cut(clean(detail(record.kind, body)), 22),
    )


def searched(journal, text, kind=0):
    """Records that match, None now and then. Calendars (containers of events) are left out."""
    for found in matching(journal, text, kind):
        if found is None or found[0].kind != layout.CALENDAR:
            yield found


def named(console, text):
    """Ends with the (kind, uid) that a person means by a number or a text, or None when told so.

    A generator, for `yield from` in a command.
    """
    if not text:
        yield "Which one? Give its number in the last list, or what it says."
        return None
    if text.isdigit():
        at = int(text) - console.first_number
        if 0 <= at < len(console.numbers):
            return console.numbers[at]
        yield "There is no number %s in the last list: type list or find first." % text[:9]
        return None
    found = []
    for item in searched(console.app.journal, text):
        if item is None:
            yield None
            continue
        found.append(item[0])
        if len(found) == 2:
            console.new_list()
            yield "More than one says '%s'. Give a number:" % clean(text)
            yield row(console, found[0])
        if len(found) > 1:
            yield row(console, item[0], item[1])
    if len(found) == 1:
        return found[0].kind, found[0].uid
    if not found:
        yield "Nothing says '%s'." % clean(text)
    return None


def do_list(console, text):
    kind = kind_number(text.strip())
    count = 0
    console.new_list()
    for record in console.app.journal.records(kind):
        if record.kind != layout.CALENDAR:
            count += 1
            yield row(console, record)
    yield _total(count)


def do_find(console, text):
    if not text:
        yield "Find what? For example: find lovelace"
        return
    count = 0
    console.new_list()
    for item in searched(console.app.journal, text):
        if item is None:
            yield None
        else:
            count += 1
            yield row(console, item[0], item[1])
    yield _total(count)


def _total(count):
    if not count:
        return "Nothing found."
    return "%d record%s. 'show N' shows one." % (count, "" if count == 1 else "s")


def do_events(console, text):
    from drybag import records

    words = text.split()
    days = [records.parse_date(word.encode()) for word in words]
    if None in days or len(days) > 2:
        yield "Write days like this: events 2025-01-31 2025-02-28"
        return
    board = console.app.board
    now = board.clock()
    if not days:
        days = [("%04d%02d%02d" % board.civil(now)[:3]).encode() if now else b"00010101"]
    first = days[0]
    last = days[1] if len(days) > 1 else records.FOREVER
    if len(last) == 8:
        last = records.shift(last, 1, 0)
    count = 0
    console.new_list()
    for record in console.app.journal.records(layout.EVENT):
        body = beginning(record)
        if records.overlaps(records.span(body), first, last):
            count += 1
            yield row(console, record, body)
        else:
            yield None
    yield _total(count)


def do_show(console, text):
    words = text.split()
    raw = len(words) > 1 and words[-1] == "raw"
    key = yield from named(console, " ".join(words[:-1]) if raw else text)
    if key is None:
        return
    record = console.app.journal.get(*key)
    body = beginning(record)
    yield "%s  %s" % (layout.KIND_NAMES.get(record.kind, "?"), bodies.title(record.kind, body))
    lines = raw_lines(body) if raw else readable(record.kind, body)
    yield from lines
    if len(body) < record.body_size:
        yield "  ... and %d bytes more" % (record.body_size - len(body))
    for sha in record.blobs:
        yield "  photo or attachment, %d bytes" % console.app.journal.blob_size(sha)
    from handset.syncsay import where_text

    yield "Saved on the flash as change %d, version %d%s.%s" % (
        record.seq, record.rev, stamp_text(console.app.board, record),
        where_text(console.app, record.seq),
    )  # fmt: skip


def stamp_text(board, record):
    """Ending of a sentence that says when a version was saved; "" if the clock was not set."""
    if not record.stamp:
        return ""
    return ", %04d-%02d-%02d %02d:%02d:%02d" % board.civil(record.stamp)


def raw_lines(body):
    for line in bodies.lines(body):
        yield "  " + cut(decode(line), _VALUE_CHARS)


def readable(kind, body):
    """The properties of a record, a line each or more."""
    old = kind == layout.CONTACT and bodies.is_old(body)
    inner = 0
    for line in bodies.properties(body):
        if line.name in _SILENT:
            continue
        label = _LABELS.get(line.name) or decode(line.name)
        if line.name in (b"DTSTART", b"DTEND", b"DUE"):
            text = day_text(line.value)
        elif line.value[:12] == b"drybag:blob/":
            text = "(kept)"
        else:
            text = unescape(line.text(), old)
        if line.name in (b"ADR", b"ORG"):
            text = text.strip(";").replace(";", ", ")
        parts = cut(text, _VALUE_CHARS).split("\n")
        yield "  %s %s" % (pad(label, 13), parts[0])
        for part in parts[1:]:
            yield " " * 16 + part
    for line in bodies.lines(body):
        mark = component(line)
        if mark is not None and mark[0] > 0:
            inner += 1
    if inner:
        yield "  (and %d part%s inside, such as alarms)" % (inner, "" if inner == 1 else "s")
