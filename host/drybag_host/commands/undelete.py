"""`drybag undelete`: bring deleted records of a handset back."""

from drybag_host.targets import add_handset

ORDER = 43


def add_parser(sub):
    parser = sub.add_parser(
        "undelete",
        help="bring deleted records of a handset back",
        description="Bring a deleted record back, as long as its space was not needed for others. "
        "Without a UID: list what was deleted. Older ones are in a backup's history: "
        "drybag restore DIR TARGET --deleted.",
        epilog="example:\n  drybag undelete auto\n  drybag undelete auto h3fa90c11aa22bb33\n",
    )
    add_handset(parser)
    parser.add_argument("refs", metavar="UID|REF", nargs="*", help="the records")


def run(args):
    from drybag.errors import BadInput
    from drybag_host import listing
    from drybag_host.output import count_text
    from drybag_host.targets import open_session
    from drybag_host.transfer import fetch_all

    with open_session(args) as session:
        _, gone = fetch_all(session, args.out, "reading")
        deleted = [gone[key] for key in sorted(gone)]
        if not args.refs:
            rows = [_row(record) for record in deleted]
            args.out.document({"deleted": [_fields(record) for record in deleted]})
            if rows:
                args.out.table("Deleted on %s" % session.target, ("kind", "uid", "ref"), rows)
            args.out.say(count_text(len(deleted), "deleted record"))
            return
        chosen = listing.choose_all(args.refs, lambda ref: listing.choose(deleted, ref))
        for record in chosen:
            session.attempt_once(lambda link, r=record: link.undelete(r.kind, r.uid), BadInput)
    args.out.document({"undeleted": [_fields(record) for record in chosen]})
    args.out.say("%s back" % count_text(len(chosen), "record"))


def _row(record):
    from drybag_host import listing

    return listing.kind_name(record.kind), listing.uid_text(record), listing.ref_of(record)


def _fields(record):
    return dict(zip(("kind", "uid", "ref"), _row(record), strict=True))
