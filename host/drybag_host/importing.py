"""Import: files to items, compared with the handset, sent, summed up."""

from drybag.errors import BadInput, DrybagError, NoSpace
from drybag.layout import CALENDAR
from drybag_host import formats, listing
from drybag_host.errors import HostError, Partial, with_hint
from drybag_host.output import count_text, duration_text, rate_text
from drybag_host.transfer import DIFFERS, SAME, Item, Sender, compare, memory_blob

SHOWN = 20


class Reading:
    """What the files hold. items: [Item]; problems: what is lost; notices: what is only odd."""

    def __init__(self):
        self.items = []
        self.problems = []
        self.notices = []
        self.rescued = 0
        self.duplicates = 0
        self.read = {}


class Result:
    """What came of the items, counted by kind name: {what: {kind: number}}."""

    def __init__(self, items):
        self.items = items
        self.counts = {"added": {}, "updated": {}, "unchanged": {}, "left": {}, "failed": {}}
        self.failed = [item for item in items if item.error is not None]

    def count(self, what, item):
        name = listing.kind_name(item.kind)
        self.counts[what][name] = self.counts[what].get(name, 0) + 1

    def total(self, what):
        return sum(self.counts[what].values())


def read_files(paths, out, keep_unreadable=False):
    """Reading of all files; a file that cannot be opened is a problem like any other."""
    reading = Reading()
    by_key = {}
    with out.progress("reading files", len(paths), "file") as bar:
        for path in paths:
            try:
                result = formats.read_file(path)
            except HostError as error:
                reading.problems.append(formats.Problem(str(path), 0, _without_path(path, error)))
                continue
            finally:
                bar.advance()
            _take(reading, by_key, result, keep_unreadable)
    reading.items = sorted(by_key.values(), key=lambda item: item.kind != CALENDAR)
    return reading


def _without_path(path, error):
    text = str(error)
    return text[len(str(path)) :].lstrip(": ") if text.startswith(str(path)) else text


def _take(reading, by_key, result, keep_unreadable):
    drafts = list(result.records)
    reading.notices += result.notices
    for problem in result.problems:
        if problem.kept:
            reading.notices.append(problem)
        elif keep_unreadable and problem.raw:
            drafts.append(formats.keep_as_note(problem))
            reading.rescued += 1
            reading.notices.append(problem)
        else:
            reading.problems.append(problem)
    for draft in drafts:
        name = listing.kind_name(draft.kind)
        reading.read[name] = reading.read.get(name, 0) + 1
        item = Item(
            draft.kind, draft.uid, draft.body,
            [memory_blob(sha, data) for sha, data in draft.blobs], draft.parent, draft.source,
        )  # fmt: skip
        key = (item.kind, item.uid)
        if key in by_key:
            _duplicate(reading, by_key[key], item)
        by_key[key] = item


def _duplicate(reading, old, new):
    """Two of the same kind and UID: the later counts; where they differ that is said."""
    reading.duplicates += 1
    if (old.body, old.shas()) != (new.body, new.shas()):
        text = "the same UID as %s, with other content: this one is taken" % _place(old.source)
        reading.notices.append(formats.Problem(new.source[0], new.source[1], text, kept=True))


def _place(source):
    return "%s:%d" % source if source and source[1] else str(source[0] if source else "")


def send(session, reading, args):
    """Compare and send; Result."""
    items = reading.items
    with args.out.progress("comparing", len(items), "record") as bar:
        compare(session, items, bar)
    chosen = [
        item for item in items
        if item.state != SAME and not (item.state == DIFFERS and args.keep_existing)
    ]  # fmt: skip
    if not args.dry_run and chosen:
        total = sum(item.size_bytes for item in chosen)
        with args.out.progress("sending", total, "bytes") as bar:
            Sender(session, bar.advance).send(chosen)
    result = Result(items)
    picked = set(map(id, chosen))
    for item in items:
        if id(item) not in picked:
            result.count("unchanged" if item.state == SAME else "left", item)
        elif item.error is not None:
            result.count("failed", item)
        else:
            result.count("updated" if item.state == DIFFERS else "added", item)
    return result


def report(args, reading, result, seconds):
    """Document, tables and messages of an import."""
    out = args.out
    counts = result.counts if result else {}
    failed = result.failed if result else []
    out.document(
        {
            "files": len(args.files),
            "read": reading.read,
            **{what: sum(kinds.values()) for what, kinds in counts.items()},
            "by_kind": counts,
            "dry_run": args.dry_run,
            "kept_as_notes": reading.rescued,
            "duplicates": reading.duplicates,
            "problems": [_problem_fields(p) for p in reading.problems],
            "notices": [_problem_fields(p) for p in reading.notices],
            "not_stored": [_failed_fields(item) for item in failed],
            "seconds": round(seconds, 3),
        }
    )
    for problem in reading.notices[:SHOWN]:
        out.say("note: %s" % problem)
    if len(reading.notices) > SHOWN:
        out.say("note: %d more; --json has them all" % (len(reading.notices) - SHOWN))
    _summary(args, reading, result, seconds)
    _problem_table(out, "Could not be read", reading.problems)
    if failed:
        rows = [(_place(i.source), listing.title_of(i), str(i.error)) for i in failed[:SHOWN]]
        if len(failed) > SHOWN:
            rows.append(("", "... and %d more" % (len(failed) - SHOWN), ""))
        out.table("Not stored on the handset", ("from", "what", "why"), rows)


def _problem_table(out, title, problems):
    if not problems:
        return
    rows = [(_place((p.file, p.line)), p.message) for p in problems[:SHOWN]]
    if len(problems) > SHOWN:
        rows.append(("...", "%d more; --json has them all" % (len(problems) - SHOWN)))
    out.table(title, ("where", "why"), rows)


def _summary(args, reading, result, seconds):
    if result is None:
        return
    states = [("added", "added"), ("updated", "updated"), ("unchanged", "unchanged")]
    states += [(s, t) for s, t in (("left", "left as is"), ("failed", "not stored"))
               if result.total(s)]  # fmt: skip
    rows = []
    for kind in listing.KINDS:
        cells = [result.counts[state].get(kind, 0) for state, _ in states]
        if any(cells):
            name = "calendar head" if kind == "calendar" else kind
            rows.append((name, reading.read.get(kind, 0), *cells))
    rows.append(("all", sum(reading.read.values()), *[result.total(s) for s, _ in states]))
    title = "Imported to %s" % args.target
    if args.dry_run:
        title = "Would be imported to %s (dry run)" % args.target
    columns = ("", ">read", *(">" + text for _, text in states))
    done = result.total("added") + result.total("updated")
    caption = duration_text(seconds)
    if done:
        caption += ", " + rate_text(done / max(seconds, 0.001))
    args.out.table(title, columns, rows, "" if args.dry_run else caption)


def finish(reading, result):
    """The exit code 0, or the error that says what is missing."""
    hint = "correct what is named and run it again"
    if any(problem.raw for problem in reading.problems):
        hint = "--keep-unreadable keeps such pieces verbatim as notes"
    if result is None:
        if reading.problems:
            raise with_hint(
                BadInput("nothing in these files could be read; nothing was sent"),
                "name .vcf, .ics, .jpg, .png, .gif or .webp files",
            )
        raise BadInput("these files hold no records; nothing was sent")
    full = [item for item in result.failed if isinstance(item.error, NoSpace)]
    if full:
        missing = max(getattr(item.error, "missing_bytes", 0) for item in full)
        more = ", %d bytes are missing for the largest" % missing if missing else ""
        raise NoSpace(
            "the handset has no room for %s%s; the rest is stored"
            % (count_text(len(full), "record"), more),
            missing,
        )
    if result.failed:
        raise Partial(
            "%s refused by the handset; the rest is stored"
            % count_text(len(result.failed), "record"),
            "the table says why; correct the files and import them again",
        )
    if reading.problems:
        raise Partial(
            "%s could not be read; the rest is stored"
            % count_text(len(reading.problems), "piece"),
            hint,
        )
    return 0


def _problem_fields(problem):
    return {"file": problem.file, "line": problem.line, "message": problem.message}


def _failed_fields(item):
    error = item.error
    out = {
        "kind": listing.kind_name(item.kind),
        "uid": listing.uid_text(item),
        "from": _place(item.source),
        "class": type(error).__name__,
        "message": str(error),
    }
    if isinstance(error, DrybagError) and getattr(error, "missing_bytes", 0):
        out["missing_bytes"] = error.missing_bytes
    return out
