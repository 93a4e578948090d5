"""`drybag show`: the records of a backup or a handset, or one of them."""

from drybag_host.sources import add_kind, add_source

ORDER = 30


def add_parser(sub):
    parser = sub.add_parser(
        "show",
        help="list the records of a backup or a handset, or show one",
        description="List the records of a backup or a handset. With a REF (the short reference "
        "in the list), a UID or a name: show that record.",
        epilog="example:\n  drybag show ~/handset-backup --kind contact\n"
        "  drybag show ~/handset-backup 3fa90c\n",
    )
    add_source(parser)
    parser.add_argument("ref", metavar="UID|REF", nargs="?", help="one record")
    add_kind(parser)
    parser.add_argument("--raw", action="store_true", help="the record's lines as they are stored")
    parser.add_argument(
        "--history", action="store_true", help="also the older versions of the record"
    )
    parser.add_argument(
        "--salvage", action="store_true", help="of a damaged backup show what is intact"
    )


def run(args):
    from drybag_host import listing
    from drybag_host.errors import Usage
    from drybag_host.sources import open_source

    if (args.raw or args.history) and not args.ref:
        raise Usage("--raw and --history are of one record", "name its UID or REF")
    kind = listing.kind_number(args.kind)
    with open_source(args, args.salvage) as source:
        if args.ref:
            _one(args, source, kind)
        else:
            _list(args, source, kind)
        for line in source.damage():
            args.out.warn("left out: " + line)


def _list(args, source, kind):
    from drybag_host import listing
    from drybag_host.output import count_text

    found = sorted(listing.visible(source.records(), kind), key=listing.sort_key)
    args.out.document({"records": [listing.fields_of(r) for r in found]})
    if found:
        args.out.table("", listing.COLUMNS, [listing.row_of(r) for r in found])
    args.out.say(count_text(len(found), "record"))


def _one(args, source, kind):
    from drybag_host import listing

    record = find_one(source, args.ref, kind)
    older = source.history(record.kind, record.uid) if args.history else []
    args.out.document({**listing.fields_of(record), "blob_sizes": _sizes(source, record)})
    if args.history:
        args.out.document({"history": [listing.fields_of(r) for r in older]})
    if args.raw:
        args.out.raw(bytes(record.body))
        return
    _print(args, record)
    for number, version in enumerate(older, 1):
        args.out.line()
        _print(args, version, "older version %d: " % number)


def find_one(source, word, kind=0):
    """The record that a UID or REF names; a handset is asked for a whole UID first."""
    from drybag.errors import NotFound
    from drybag_host import listing

    if not source.is_backup and len(word.encode("utf-8", "surrogateescape")) > 12:
        for number in [kind] if kind else listing.KIND_NUMBERS:
            try:
                return source.get(number, word.encode("utf-8", "surrogateescape"))
            except NotFound:
                pass
    found = [r for r in source.records() if not kind or r.kind == kind]
    return listing.choose(found, word)


def _sizes(source, record):
    from drybag.errors import DrybagError

    out = {}
    for sha in record.blobs:
        try:
            out[bytes(sha).hex()] = source.blob_size(sha)
        except DrybagError:
            out[bytes(sha).hex()] = None
    return out


def _print(args, record, prefix=""):
    from drybag_host import listing

    title = "%s%s %s: %s" % (
        prefix, listing.kind_name(record.kind), listing.ref_of(record),
        listing.title_of(record))  # fmt: skip
    caption = "uid %s, change %d, revision %d%s" % (
        listing.uid_text(record), record.seq, record.rev,
        ", " + listing.stamp_text(record.stamp) if record.stamp else "")  # fmt: skip
    args.out.table(
        title, ("property", "parameters", "value"), listing.property_rows(record), caption
    )
