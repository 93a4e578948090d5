"""`drybag undelete`: bring deleted records of a handset back."""

from drybag_host.targets import add_handset

ORDER = 43
MOST_TITLES = 100  # of the newest
GONE = "(no older version is left here)"


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
            titles = _titles(session, args.out, deleted)
            _list(args.out, session.target, deleted, titles)
            return
        chosen = listing.choose_all(args.refs, lambda ref: listing.choose(deleted, ref))
        for record in chosen:
            session.attempt_once(lambda link, r=record: link.undelete(r.kind, r.uid), BadInput)
    args.out.document({"undeleted": [_fields(record) for record in chosen]})
    args.out.say("%s back" % count_text(len(chosen), "record"))


def _titles(session, out, deleted):
    """What each was called; None where the handset has no older version left, "" where nobody
    looked: each costs the handset a walk through its log."""
    from drybag.errors import Damaged
    from drybag.records import title

    def look(link, record):
        try:
            for old in link.history(record.kind, record.uid):
                if not old.deleted:
                    return title(record.kind, old.body) or "(no name)"
        except Damaged:
            pass
        return None

    newest = sorted(deleted, key=lambda record: -record.seq)[:MOST_TITLES]
    titles = dict.fromkeys(map(id, deleted), "")
    with out.progress("looking for what they were", len(newest), "record") as bar:
        for record in newest:
            titles[id(record)] = session.attempt(lambda link, r=record: look(link, r))
            bar.advance()
    return [titles[id(record)] for record in deleted]


def _list(out, target, deleted, titles):
    """Print what was deleted, and what each was called."""
    from drybag_host.output import count_text

    fields = [{**_fields(record), "title": title or "", "there": title is not None}
              for record, title in zip(deleted, titles, strict=True)]  # fmt: skip
    out.document({"deleted": fields})
    rows = [(f["ref"], f["kind"], f["title"] if f["there"] else GONE, f["uid"]) for f in fields]
    if rows:
        out.table("Deleted on %s" % target, ("ref", "kind", "~what", "~uid"), rows)
    out.say(count_text(len(deleted), "deleted record"))


def _fields(record):
    from drybag_host import listing

    return {"kind": listing.kind_name(record.kind), "uid": listing.uid_text(record),
            "ref": listing.ref_of(record)}  # fmt: skip
