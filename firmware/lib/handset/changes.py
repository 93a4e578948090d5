"""Commands that delete, bring back, look back and check."""

from drybag import layout, records
from handset.forms import saved
from handset.looking import beginning
from handset.terminal import clean
from handset.views import named, stamp_text


def do_delete(console, text):
    key = yield from named(console, text)
    if key is None:
        return
    journal = console.app.journal
    record = journal.get(*key)
    title = clean(records.title(record.kind, beginning(record)))
    seq = journal.delete(*key)
    console.last_deleted = key
    yield "Deleted as change %d: %s %s. 'undelete' brings it back." % (
        seq, layout.KIND_NAMES[key[0]], title,
    )  # fmt: skip


def do_undelete(console, text):
    key = console.last_deleted
    if text:
        key = None
        if text.isdigit():
            key = yield from named(console, text)
        else:
            yield "Give the number it had in the last list."
        if key is None:
            return
    if key is None:
        yield "Nothing was deleted here since the start."
        return
    seq = console.app.journal.undelete(*key)
    record = console.app.journal.get(*key)
    yield saved(console, seq, key[0], key[1], beginning(record))


def do_history(console, text):
    key = yield from named(console, text)
    if key is None:
        return
    versions = console.app.journal.history(*key)
    for record in versions:
        what = "(deleted)" if record.deleted else records.title(record.kind, beginning(record))
        yield "  change %d, version %d%s: %s" % (
            record.seq, record.rev, stamp_text(console.app.board, record), clean(what),
        )  # fmt: skip
    yield "%d version%s; older ones go when their space is needed." % (
        len(versions), "" if len(versions) == 1 else "s",
    )  # fmt: skip


def do_scrub(console, text):
    yield "Checking every CRC and hash ..."
    for finding in console.app.journal.scrub():
        kind = finding.get("kind") if finding else "progress"
        if kind == "progress":
            yield None
        elif kind == "summary":
            yield "%d records and %d photos checked: %s." % (
                finding["records"],
                finding["blobs"],
                "all intact"
                if not finding["damaged"] and not finding["lost"]
                else "%d damaged, %d lost" % (finding["damaged"], finding["lost"]),
            )
        else:
            yield "  %s: %s" % (
                kind,
                ", ".join(
                    ["%s %s" % (key, _word(finding[key])) for key in sorted(finding)
                     if key != "kind"]
                ),
            )  # fmt: skip


def _word(value):
    if isinstance(value, bytes):
        from drybag.linetext import decode

        return decode(value)
    return str(value)


def do_done(console, text):
    key = yield from named(console, text)
    if key is None:
        return
    record = console.app.journal.get(*key)
    if record.kind != layout.TODO:
        yield "That is no to-do."
        return
    from handset.forms import stamp

    body = record.body
    if records.is_done(body):
        body = records.set_text(records.set_text(body, b"COMPLETED", ""), b"PERCENT-COMPLETE", "")
        body = records.set_text(body, b"STATUS", "NEEDS-ACTION")
    else:
        body = records.set_text(body, b"STATUS", "COMPLETED")
        now = stamp(console)
        if now:
            body = records.set_text(body, b"COMPLETED", now.decode())
    seq = console.app.journal.put(record.kind, record.uid, body, record.blobs, record.parent)
    yield saved(console, seq, record.kind, record.uid, body)
    yield "It is done." if records.is_done(body) else "It is open again."
