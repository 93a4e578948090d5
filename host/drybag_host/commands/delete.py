"""`drybag delete`: delete a record on a handset."""

from drybag_host.targets import add_handset

ORDER = 42


def add_parser(sub):
    parser = sub.add_parser(
        "delete",
        help="delete records on a handset",
        description="Delete records on a handset. drybag undelete brings them back until their "
        "space is needed; a backup keeps them in its history.",
        epilog="example:\n  drybag delete auto 3fa90c\n",
    )
    add_handset(parser)
    parser.add_argument("refs", metavar="UID|REF", nargs="+", help="the records")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args):
    from drybag.errors import NotFound
    from drybag_host import listing
    from drybag_host.commands.show import find_one
    from drybag_host.output import count_text
    from drybag_host.sources import HandsetSource
    from drybag_host.targets import open_session

    with open_session(args) as session:
        source = HandsetSource(session, args.out)
        chosen = listing.choose_all(args.refs, lambda ref: find_one(source, ref))
        args.out.table("To be deleted", listing.COLUMNS, [listing.row_of(r) for r in chosen])
        args.out.confirm("delete %s from %s" % (count_text(len(chosen), "record"), session.target),
                         args.yes)  # fmt: skip
        for record in chosen:
            session.attempt_once(lambda link, r=record: link.delete(r.kind, r.uid), NotFound)
    args.out.document({"deleted": [listing.fields_of(r) for r in chosen]})
    args.out.say(
        "%s deleted; drybag undelete brings them back" % count_text(len(chosen), "record")
    )
