"""`drybag find`: records by text, events by date."""

from drybag_host.sources import add_kind, add_source

ORDER = 31
MAX_DAYS = 400


def add_parser(sub):
    parser = sub.add_parser(
        "find",
        help="find records by name, number, e-mail, title or date",
        description="Find records by text in names, numbers, e-mail addresses and titles; "
        "capitals and accents make no difference. --from and --to find events in a range of "
        "dates, recurring ones included.",
        epilog="example:\n  drybag find ~/handset-backup muller\n"
        "  drybag find auto --from 2025-01-01 --to 2025-01-31\n",
    )
    add_source(parser)
    parser.add_argument("text", metavar="TEXT", nargs="?", default="", help="what to look for")
    add_kind(parser)
    parser.add_argument("--from", dest="low", metavar="DATE", help="events from this day on")
    parser.add_argument(
        "--to", dest="high", metavar="DATE", help="events up to this day, included"
    )
    parser.add_argument(
        "--salvage", action="store_true", help="of a damaged backup search what is intact"
    )


def run(args):
    from drybag_host import listing
    from drybag_host.errors import Usage
    from drybag_host.output import count_text
    from drybag_host.sources import open_source

    dates = _dates(args)
    if not args.text and not dates:
        raise Usage("nothing to look for", "name a TEXT, or --from and --to")
    kind = listing.kind_number(args.kind)
    with open_source(args, args.salvage) as source:
        found = _search(source, args.text, kind, dates)
        found = sorted(found, key=listing.sort_key)
        for line in source.damage():
            args.out.warn("left out: " + line)
    args.out.document({"records": [listing.fields_of(r) for r in found]})
    if found:
        args.out.table("", listing.COLUMNS, [listing.row_of(r) for r in found])
    args.out.say(count_text(len(found), "record") + " found")


def _dates(args):
    """(low, high) as comparable bytes, high exclusive; None without --from and --to."""
    from drybag.dates import parse_date, shift
    from drybag_host.errors import Usage

    if not args.low and not args.high:
        return None
    out = []
    for option, text, default in (
        ("--from", args.low, "00010101"),
        ("--to", args.high, "99991231"),
    ):
        plain = (text or default).replace("-", "").replace(":", "")
        date = parse_date(plain.encode("utf-8", "replace"))
        if date is None or not _is_day(date):
            raise Usage("%s %s is no date" % (option, text), "write it as 2025-01-31")
        out.append(date)
    low, high = out
    if len(high) == 8 and args.high:
        high = shift(high, 1, 0)
    if high <= low:
        raise Usage("--to is before --from")
    return low, high


def _day(value):
    """The day of a date as comparable bytes. Raises ValueError where no calendar has it."""
    from datetime import date

    return date(int(value[:4]), int(value[4:6]), int(value[6:8]))


def _is_day(value):
    try:
        return bool(_day(value))
    except ValueError:
        return False


def _search(source, text, kind, dates):
    from drybag import records
    from drybag.layout import EVENT
    from drybag.search import Query
    from drybag_host import listing

    found = source.find(text, kind) if text and not dates else None
    if found is None:
        query = Query(text) if text else None
        found = [
            r for r in source.records()
            if (not kind or r.kind == kind) and (not query or query.matches(r.kind, r.body))
        ]  # fmt: skip
    if dates:
        found = [
            r for r in found if r.kind == EVENT and records.overlaps(records.span(r.body), *dates)
        ]
        return _on_these_days(source, found, *dates)
    return listing.visible(found, kind)


def _on_these_days(source, found, low, high):
    """Without the recurring events that have no occurrence in the range.

    Events that cannot be unrolled stay, and so do all where the range is longer than a year.
    """
    from drybag.records import properties

    recurring = [r for r in found if any(True for _ in properties(r.body, (b"RRULE", b"RDATE")))]
    first, last = _day(low), _day(high)
    days = (last - first).days + (len(high) > 8)
    if not recurring or days > MAX_DAYS:
        return found

    from drybag_host.formats.library import Library

    library = Library(source)
    groups = {id(r): group for group in library.calendars() for r in group.members}
    gone = {
        id(r) for r in recurring if not _happens(library, groups[id(r)], r, first, max(days, 1))
    }
    return [r for r in found if id(r) not in gone]


def _happens(library, group, record, first, days):
    """True if a recurring event has an occurrence in the `days` from `first`."""
    from drybag.records import properties
    from drybag_host.formats.library import parse_group
    from drybag_host.formats.moments import occurrences

    header = library.group_header(group)
    if parse_group(header, [record], library.component) == [None]:
        return True
    name = record.uid + b";RECURRENCE-ID="
    series = [record, *(r for r in group.members if r.uid.startswith(name))]
    if occurrences(header, [library.component(r) for r in series], first, days):
        return True
    rules = [line.value.upper() for line in properties(record.body, (b"RRULE",))]
    return any(b"FREQ=" + f in rule for rule in rules for f in (b"SECON", b"MINUT", b"HOURL"))
