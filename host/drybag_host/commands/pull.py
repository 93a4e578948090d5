"""`drybag pull`: a verified backup of a handset."""

from drybag_host.targets import add_handset, add_speed

ORDER = 20


def add_parser(sub):
    parser = sub.add_parser(
        "pull",
        help="back a handset up into a folder: incremental, resumable, verified",
        description="Back a handset up into a folder. Only what changed is read; after a pulled "
        "cable or a restart it goes on where it stopped; at the end what is on disk is compared "
        "with the handset. What was deleted on the handset is kept in the backup's history.",
        epilog="example:\n  drybag pull auto ~/handset-backup\n",
    )
    add_handset(parser)
    add_speed(parser)
    parser.add_argument("dir", metavar="DIR", help="the backup's folder, made if it is not there")
    parser.add_argument(
        "--adopt", action="store_true",
        help="go on with this folder although the handset is another one or was formatted; "
        "nothing in the folder is thrown away",
    )  # fmt: skip
    parser.add_argument(
        "--repair", action="store_true",
        help="mend a damaged backup: keep its damaged files aside and read everything again",
    )  # fmt: skip


def run(args):
    import time

    from drybag.errors import Damaged
    from drybag_host.backup import verified
    from drybag_host.backup.pull import Pull
    from drybag_host.emulator.files import drybag_home
    from drybag_host.targets import open_session

    started = time.monotonic()
    tool = "drybag " + args.tool_version()
    with open_session(args) as session:
        report = Pull(args.dir, session, args.out, args.adopt, args.repair, tool).run()
    seconds = time.monotonic() - started
    if report.verified:
        verified.note(drybag_home(), args.dir, report.manifest, args.out)
    args.out.document({"dir": args.dir, "seconds": round(seconds, 3), **report.fields()})
    _print(args, report, seconds)
    if report.missing or not report.verified:
        raise Damaged(
            "%s holds what is intact; the handset has damage, so it could not be verified"
            % args.dir
            if not report.verified
            else "%s is verified, but %d photos or attachments could not be read"
            % (args.dir, len(report.missing))
        )
    return 0


def _print(args, report, seconds):
    from drybag_host.output import count_text, duration_text, size_text

    m = report.manifest
    counts = ", ".join(count_text(number, kind) for kind, number in m.counts.items() if number)
    rows = [
        ("handset", "%s (%s)" % (m.handset_name, m.handset_id)),
        ("in the backup", counts or "nothing yet"),
        ("this time", _this_time(report)),
        ("photos read", "%d, %s" % (report.blobs, size_text(report.blob_bytes))),
        ("kept from before", "%d older versions" % m.history),
        ("took", duration_text(seconds) + _breaks(report)),
        ("verified", "yes, disk and handset have the same digest %s" % m.digest[:8]
         if m.verified else "NO"),
    ]  # fmt: skip
    if m.absent:
        rows.insert(5, ("lost by the handset", "%s, kept here" % count_text(m.absent, "record")))
    args.out.facts("Backup %s" % args.dir, rows)
    if report.deleted * 10 > sum(m.counts.values()) + report.deleted:
        args.out.warn(
            "%s deleted on the handset since the last pull; history.jsonl keeps them"
            % count_text(report.deleted, "record")
        )


def _this_time(report):
    if not (report.added or report.changed or report.deleted):
        return "nothing changed"
    return "%d added, %d changed, %d deleted" % (report.added, report.changed, report.deleted)


def _breaks(report):
    text = ", went on from an interrupted pull" if report.resumed else ""
    if report.reconnects:
        text += ", connected again %d times" % report.reconnects
    return text
