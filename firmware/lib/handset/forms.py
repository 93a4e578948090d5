"""Commands that write records: add, edit. Fields that are not asked for stay as they are."""

from binascii import hexlify

from drybag import layout, records
from drybag.dates import parse_date
from drybag.errors import BadInput
from handset.console import Ask
from handset.terminal import clean, cut
from handset.views import day_text, kind_number, named, raw_value

_TEXT, _DATE, _LINES, _NAME = 0, 1, 2, 3
_EDITABLE_BYTES = 8192

# kind: ((word, question, property, type), ...); the first is required
_FIELDS = {
    layout.CONTACT: (
        ("name", "Name", b"FN", _NAME),
        ("phone", "Phone", b"TEL", _TEXT),
        ("email", "E-mail", b"EMAIL", _TEXT),
        ("organisation", "Organisation", b"ORG", _TEXT),
        ("note", "Note", b"NOTE", _TEXT),
    ),
    layout.EVENT: (
        ("title", "Title", b"SUMMARY", _TEXT),
        ("starts", "Starts (2025-01-31 09:30)", b"DTSTART", _DATE),
        ("ends", "Ends", b"DTEND", _DATE),
        ("place", "Place", b"LOCATION", _TEXT),
        ("note", "Note", b"DESCRIPTION", _TEXT),
    ),
    layout.TODO: (
        ("title", "Title", b"SUMMARY", _TEXT),
        ("due", "Due (2025-01-31)", b"DUE", _DATE),
        ("note", "Note", b"DESCRIPTION", _TEXT),
    ),
    layout.NOTE: (
        ("text", "Text (a line with a single dot ends it)", b"DESCRIPTION", _LINES),
        ("title", "Title", b"SUMMARY", _TEXT),
    ),
    layout.PHOTO: (("name", "Name", b"FN", _TEXT),),
}


def date_value(text):
    """What a person writes as a date, as DATE or DATE-TIME bytes. Raises BadInput."""
    value = parse_date(text.strip().replace(" ", "T").encode())
    if value is None:
        raise BadInput(
            "'%s' is no date: write 2025-01-31 or 2025-01-31 09:30" % clean(cut(text, 30))
        )
    return value


def do_add(console, text):
    words = text.split(None, 1)
    if not words:
        yield "Add what? contact, event, todo, note or photo. For example:"
        yield "  add contact Ada Lovelace; +44 20 7946 0000"
        return
    kind = kind_number(words[0])
    rest = words[1].strip() if len(words) > 1 else ""
    if kind == layout.PHOTO:
        from handset.photo import add_photo

        yield from add_photo(console, rest)
        return
    values = {}
    fields = _FIELDS[kind]
    if rest and kind == layout.NOTE:
        values["text"] = rest
    elif rest:
        parts = rest.split(";", len(fields) - 1)
        for i in range(len(parts)):
            values[fields[i][0]] = parts[i].strip()
    else:
        for word, question, _, how in fields:
            if kind == layout.NOTE and word == "title":
                continue
            answer = yield from _ask(question, how)
            if not answer and word == fields[0][0]:
                yield "Nothing was added."
                return
            if answer and how == _DATE:
                date_value(answer)
            values[word] = answer
    uid = new_uid(console)
    body = _new_body(kind, uid, values, stamp(console))
    seq = console.app.journal.put(kind, uid, body)
    yield saved(console, seq, kind, uid, body)


def new_uid(console):
    return b"drybag-" + hexlify(console.app.board.random(8))


def stamp(console):
    """The time now as bytes for DTSTAMP, or None if the clock is not set."""
    board = console.app.board
    now = board.clock()
    return ("%04d%02d%02dT%02d%02d%02dZ" % board.civil(now)).encode() if now else None


def saved(console, seq, kind, uid, body):
    """What to say once a record is on the flash; it becomes a number of its own."""
    console.new_list()
    return "Saved as change %d: %s %s (number %d)." % (
        seq, layout.KIND_NAMES[kind], clean(records.title(kind, body)),
        console.number(kind, uid),
    )  # fmt: skip


def _ask(question, how):
    """The person's answer; of several lines for _LINES."""
    if how != _LINES:
        return (yield Ask(question + ": ")).strip()
    yield question + ":"
    lines = []
    while True:
        line = yield Ask("| ")
        if line.strip() == ".":
            return "\n".join(lines).strip()
        lines.append(line)


def _new_body(kind, uid, values, now):
    get = values.get
    if kind == layout.CONTACT:
        body = records.new_contact(
            uid, get("name", ""), [get("phone")] if get("phone") else (),
            [get("email")] if get("email") else (), get("organisation", ""),
        )  # fmt: skip
        return records.set_text(body, b"NOTE", get("note")) if get("note") else body
    if kind == layout.NOTE:
        return records.new_note(uid, get("text", ""), now)
    if not get("title"):
        raise BadInput("a title is wanted first")
    if kind == layout.EVENT:
        if not get("starts"):
            raise BadInput("an event needs a start: add event TITLE; 2025-01-31 09:30")
        body = records.new_event(
            uid, get("title"), date_value(get("starts")),
            date_value(get("ends")) if get("ends") else None, get("place", ""), now,
        )  # fmt: skip
    else:
        due = date_value(get("due")) if get("due") else None
        body = records.new_todo(uid, get("title"), due, now)
    return records.set_text(body, b"DESCRIPTION", get("note")) if get("note") else body


def do_edit(console, text):
    words = text.split(None, 2)
    one = _field_named(words[1]) if len(words) > 1 and words[0].isdigit() else None
    key = yield from named(console, words[0] if one else text)
    if key is None:
        return
    record = console.app.journal.get(*key)
    if record.body_size > _EDITABLE_BYTES:
        yield "This record has %d bytes: edit it on a computer." % record.body_size
        return
    fields = _FIELDS.get(record.kind, ())
    if one:
        fields = [field for field in fields if field[0] == one]
        if not fields:
            yield "A %s has no field '%s'." % (layout.KIND_NAMES[record.kind], one)
            return
    body = record.body
    seq = record.seq
    for word, question, prop, how in fields:
        old = _shown(body, prop, how)
        if one and len(words) > 2:
            new = words[2].strip()
        else:
            new = yield from _ask_again(question, how, old)
        if new == "-" and word != _FIELDS[record.kind][0][0]:
            new = ""
        elif new in ("", "-", old):
            continue
        body = _change(body, prop, how, new)
    if body == record.body:
        yield "Nothing was changed."
        return
    if console.app.journal.seq_of(*key) != seq:
        yield "Somebody else has changed this record meanwhile: look at it and try again."
        return
    seq = console.app.journal.put(record.kind, record.uid, body, record.blobs, record.parent)
    yield saved(console, seq, record.kind, record.uid, body)


def _field_named(word):
    """The field that `word` begins or is, such as "phone"; None if it is none."""
    word = word.lower()
    for fields in _FIELDS.values():
        for field in fields:
            if len(word) > 2 and field[0].startswith(word):
                return field[0]
    return None


def _shown(body, prop, how):
    if how == _DATE:
        return day_text(raw_value(body, prop))
    return records.value_of(body, prop)


def _ask_again(question, how, old):
    if how == _LINES:
        for line in old.split("\n"):
            yield "| " + cut(line, 200)
        answer = (yield Ask("New text? y or Enter for no: ")).strip()
        if answer.lower() not in ("y", "yes"):
            return ""
        return (yield from _ask(question, how))
    shown = " [%s]" % cut(clean(old), 50) if old else ""
    return (yield Ask("%s%s: " % (question, shown))).strip()


def _change(body, prop, how, new):
    """`body` with another value of a property; "" takes it away. Raises BadInput."""
    if how == _NAME:
        return records.rename(body, new)
    if how != _DATE or not new:
        return records.set_text(body, prop, new)
    value = date_value(new)
    old = raw_value(body, prop)
    if len(old) >= 8 and (len(old) == 8) == (len(value) == 8):
        return records.set_text(body, prop, value.decode())
    body = records.set_text(body, prop, "")
    return records.set_text(body, prop + (b";VALUE=DATE" if len(value) == 8 else b""),
                            value.decode())  # fmt: skip
