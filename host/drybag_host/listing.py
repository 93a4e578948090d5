"""Records as a person wants to see them: rows, short references, finding one by what was typed."""

from hashlib import sha256

from drybag import records
from drybag.errors import NotFound
from drybag.layout import CALENDAR, CONTACT, EVENT, KIND_NAMES, NOTE, PHOTO, TODO
from drybag.linetext import unescape
from drybag.search import fold
from drybag_host.errors import Usage
from drybag_host.output import size_text

COLUMNS = ("ref", "kind", "~what", "~details")
KIND_NUMBERS = tuple(KIND_NAMES)
KINDS = tuple(KIND_NAMES.values())
REF_DIGITS = 6


def kind_number(word):
    """The number of a kind's name, also in the plural; 0 for None, which means all.

    Raises Usage.
    """
    if not word:
        return 0
    name = word.strip().lower().replace("-", "")
    for number, kind in KIND_NAMES.items():
        if name in (kind, kind + "s"):
            return number
    raise Usage("there is no kind %r" % word, "one of " + ", ".join(KINDS))


def kind_name(kind):
    return KIND_NAMES.get(kind, str(kind))


def ref_of(record):
    """A short reference: six hex digits that stay the same while the record lives."""
    return sha256(bytes([record.kind]) + bytes(record.uid)).hexdigest()[:REF_DIGITS]


def uid_text(record):
    return bytes(record.uid).decode("utf-8", "backslashreplace")


def title_of(record):
    return records.title(record.kind, record.body) or "(no name)"


def stamp_text(stamp):
    """'2025-01-31 09:30 UTC' of seconds since 2000-01-01."""
    from datetime import UTC, datetime, timedelta

    when = datetime(2000, 1, 1, tzinfo=UTC) + timedelta(seconds=stamp)
    return when.strftime("%Y-%m-%d %H:%M UTC")


def when_text(value):
    """'2025-01-31 09:30 UTC' of 20250131T093000Z; what is no date stays as it is."""
    digits = value.replace("-", "").replace(":", "")
    if len(digits) < 8 or not digits[:8].isdigit():
        return value
    text = "%s-%s-%s" % (digits[:4], digits[4:6], digits[6:8])
    if len(digits) >= 13 and digits[8] == "T":
        text += " %s:%s" % (digits[9:11], digits[11:13])
        text += " UTC" if digits.endswith("Z") else ""
    return text


def details_of(record):
    """One line that helps to tell records of the same name apart."""
    body = record.body
    value = records.value_of
    if record.kind == CONTACT:
        parts = [value(body, b"TEL"), value(body, b"EMAIL"), value(body, b"ORG")]
    elif record.kind == EVENT:
        parts = [when_text(value(body, b"DTSTART")), value(body, b"LOCATION")]
        if value(body, b"RRULE"):
            parts.append("repeats")
    elif record.kind == TODO:
        due = value(body, b"DUE")
        parts = ["due " + when_text(due) if due else "", "done" if records.is_done(body) else ""]
    elif record.kind == NOTE:
        parts = [when_text(value(body, b"DTSTART")), value(body, b"DESCRIPTION")]
    elif record.kind == PHOTO:
        parts = [value(body, b"MEDIATYPE"), when_text(value(body, b"CREATED"))]
    else:
        parts = [value(body, b"PRODID")]
    return "  ".join(" ".join(part.split()) for part in parts if part)


def row_of(record):
    """The cells of COLUMNS."""
    return ref_of(record), kind_name(record.kind), title_of(record), details_of(record)


def sort_key(record):
    """By kind; events and to-dos by date, the rest by name."""
    date = b""
    if record.kind in (EVENT, TODO):
        span = records.span(record.body)
        date = span[0] if span else b"9"
    return record.kind, date, fold(title_of(record)), bytes(record.uid)


def visible(found, kind=0):
    """Of the kind asked for; without one the heads of imported calendars stay hidden."""
    return [r for r in found if (r.kind == kind if kind else r.kind != CALENDAR)]


def fields_of(record):
    """A record for --json."""
    body = bytes(record.body)
    return {
        "kind": kind_name(record.kind),
        "uid": uid_text(record),
        "ref": ref_of(record),
        "title": records.title(record.kind, body),
        "details": details_of(record),
        "seq": record.seq,
        "stamp": record.stamp,
        "rev": record.rev,
        "parent": record.parent,
        "blobs": [bytes(sha).hex() for sha in record.blobs],
        "body": body.decode("utf-8", "backslashreplace"),
    }


def choose_all(words, pick):
    """[pick(word)] for words, each record once."""
    records = [pick(word) for word in words]
    return list({(r.kind, bytes(r.uid)): r for r in records}.values())


def choose(found, word):
    """The one record that `word` names: uid, reference, begin of a uid, or name.

    Raises NotFound; Usage, with the candidates, if there are several.
    """
    raw = word.encode("utf-8", "surrogateescape")
    low = word.lower().lstrip("#")
    folded = fold(word)
    tests = (
        lambda r: r.uid == raw,
        lambda r: len(low) >= 4 and ref_of(r).startswith(low),
        lambda r: len(raw) >= 4 and bytes(r.uid).startswith(raw),
        lambda r: fold(title_of(r)) == folded,
        lambda r: folded and folded in fold(title_of(r)),
    )
    for test in tests:
        hits = [record for record in found if test(record)]
        if len(hits) == 1:
            return hits[0]
        if hits:
            names = ", ".join("%s %s" % (ref_of(r), title_of(r)) for r in hits[:5])
            raise Usage(
                "%d records go by %r: %s%s" % (len(hits), word, names, " ..." * (len(hits) > 5)),
                "name one by its ref",
                candidates=[fields_of(r) for r in hits[:50]],
            )
    raise NotFound("no record goes by %r" % word)


def property_rows(record):
    """(name, parameters, value) of each line of a record, for people; blobs by size."""
    rows = []
    depth = 0
    for line in records.lines(record.body):
        mark = records.component(line)
        if mark:
            name = mark[1].decode("utf-8", "replace").lower()
            if mark[0] > 0:
                rows.append(("%s[%s]" % ("  " * depth, name), "", ""))
            depth = max(0, depth + mark[0])
            continue
        rows.append(_property_row(line, depth))
    return rows


def _property_row(line, depth):
    from drybag.contentline import BadLine, parse

    try:
        part = parse(line)
    except BadLine:
        return ("", "", line.decode("utf-8", "replace"))
    name = "  " * depth + part.name.decode("utf-8", "replace").lower()
    params = ", ".join(
        (key + b"=" + value if key not in (b"", b"TYPE") else value).decode("utf-8", "replace")
        for key, value in part.params()
    )
    value = part.value
    if value.startswith(records.BLOB_REF):
        return name, params, "(blob %s...)" % value[len(records.BLOB_REF) :][:12].decode("ascii")
    if len(value) > 2000:
        return name, params, "%s... (%s)" % (part.text()[:200], size_text(len(value)))
    return name, params, unescape(part.text(), False)
