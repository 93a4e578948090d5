"""`drybag drill`: a catastrophe, played for real, and what is left afterwards."""

ORDER = 81
SHOWN = 10


def add_parser(sub):
    parser = sub.add_parser(
        "drill",
        help="destroy a hub, pull batteries, lose handsets, and get everything back",
        description="Drills: what must never cost a record, done to handsets and a hub that are "
        "made for it.",
        epilog="example:\n  drybag drill cloudburst --report cloudburst.html\n",
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    one = verbs.add_parser(
        "cloudburst",
        help="October 2009, with the other ending",
        description="Handsets full of records sync, edit, some without a network; the hub's disk "
        "is destroyed together with its last backup's newest day; in the same hour batteries are "
        "pulled at random flash commands and two handsets are lost. Then everything is rebuilt "
        "and each record looked for. A few handsets are emulated boards with the firmware, the "
        "others the same journal and sync engine in this process; the hub is a real process.",
        epilog="example:\n  drybag drill cloudburst --handsets 20 --report cloudburst.html\n",
    )
    one.add_argument("--handsets", type=int, default=20, metavar="N",
                     help="how many handsets, 4 or more (%(default)s)")  # fmt: skip
    one.add_argument(
        "--boards", type=int, default=3, metavar="N",
        help="so many of them are emulated boards (%(default)s)",
    )  # fmt: skip
    one.add_argument(
        "--records", type=int, default=20, metavar="N", help="on each at first (%(default)s)"
    )
    one.add_argument("--no-offsite", action="store_true", help="the hub has no off-site copy")
    one.add_argument("--report", metavar="FILE", help="draw it, as one HTML page")
    one.add_argument(
        "--seed", type=int, default=15, metavar="N", help="of all that is chance (%(default)s)"
    )
    one.set_defaults(drill_run=_cloudburst)


def run(args):
    return args.drill_run(args)


def _cloudburst(args):
    import tempfile
    import time
    from pathlib import Path

    from drybag_host.errors import Usage
    from drybag_host.trials.drill import Drill

    if args.handsets < 4 or not 0 <= args.boards <= args.handsets or args.records < 1:
        raise Usage("--handsets takes 4 or more, --boards as many at most, --records 1 or more")
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="drybag-drill-") as folder:
        drill = Drill(
            Path(folder), args.handsets, args.boards, args.records, args.seed,
            not args.no_offsite, args.out,
        )  # fmt: skip
        try:
            drill.run()
            wrong = drill.wrong()
        finally:
            drill.close()
        facts = _facts(args, drill, wrong, time.monotonic() - started)
    if args.report:
        from drybag_host.trials.page import write_page

        write_page(drill, args.report, facts)
    args.out.document(facts)
    _print(args, facts)
    return 1 if wrong else 0


def _facts(args, drill, wrong, seconds):
    return {
        "handsets": args.handsets,
        "boards": args.boards,
        "offsite": not args.no_offsite,
        "records": len(drill.timeline.rows),
        "acknowledged": len(drill.oracle.events),
        "batteries_pulled": sum(member.cuts for member in drill.everybody),
        "handsets_lost": sum(member.gone for member in drill.everybody),
        "lost_count": len(drill.lost),
        "lost": [event.text() for event in drill.lost],
        "lost_by_cache": len(drill.timeline.lost_by_cache()),
        "wrong": wrong,
        "moments": drill.timeline.moments,
        "seed": args.seed,
        "seconds": round(seconds, 1),
    }


def _print(args, facts):
    lost = str(facts["lost_count"])
    if facts["lost"]:
        lost += ", each on a handset that was lost before it could sync"
    rows = [
        ("handsets", "%d, %d of them emulated boards, %d in this process" % (
            facts["handsets"], facts["boards"], facts["handsets"] - facts["boards"])),
        ("records", "{:,}".format(facts["records"])),
        ("changes acknowledged", "{:,}".format(facts["acknowledged"])),
        ("batteries pulled", "%d, at random flash commands" % facts["batteries_pulled"]),
        ("handsets lost for good", str(facts["handsets_lost"])),
        ("the hub rebuilt from", "its off-site copy" if facts["offsite"] else "Thursday's backup"),
        ("lost had handsets been caches", "{:,}".format(facts["lost_by_cache"])),
        ("lost by this design", lost),
        ("took", "%.0f s, seed %d" % (facts["seconds"], facts["seed"])),
    ]  # fmt: skip
    if args.report:
        rows.append(("drawn in", args.report))
    args.out.facts("Cloudburst", rows)
    for name in facts["lost"][:SHOWN]:
        args.out.warn("lost: %s" % name)
    for line in facts["wrong"][:SHOWN]:
        args.out.warn("wrong: %s" % line)
