"""`drybag demo`: an address book, an emulated handset, and its battery pulled again and again."""

from shlex import quote

ORDER = 5
SHOWN = 10


def add_parser(sub):
    parser = sub.add_parser(
        "demo",
        help="put an address book through pulled batteries and get everything back",
        description="Put an address book (yours, or one made up) onto an emulated handset, pull "
        "its battery at random flash commands while it writes, boot it each time and look for "
        "what was acknowledged; then pull a backup, export it and compare it with what went in.",
        epilog="example:\n  drybag demo\n  drybag demo contacts.vcf calendar.ics --cuts 60\n",
    )
    parser.add_argument("files", metavar="FILE", nargs="*", help=".vcf, .ics, .jpg, .png, ...")
    parser.add_argument(
        "--out", dest="folder", default="demo-out", metavar="DIR",
        help="where everything goes (%(default)s); a former demonstration there is replaced",
    )  # fmt: skip
    parser.add_argument(
        "--records", type=int, default=2000, metavar="N", help="how many to make up (%(default)s)"
    )
    parser.add_argument(
        "--cuts", type=int, default=36, metavar="N", help="how often to pull (%(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N",
        help="of the book and of the cuts (%(default)s)",
    )


def run(args):
    import time
    from pathlib import Path

    from drybag_host import importing
    from drybag_host.demo import run as demo
    from drybag_host.emulator.boards import EmulatedBoard
    from drybag_host.errors import Usage

    if args.records < 1 or args.cuts < 0:
        raise Usage("--records takes 1 or more, --cuts 0 or more")
    started = time.monotonic()
    folder = Path(args.folder)
    files = demo.prepare(folder, args.files, args.records, args.seed, args.out)
    reading = importing.read_files(files, args.out)
    if not reading.items:
        return importing.finish(reading, None)
    board = EmulatedBoard.create(demo.NAME, demo.BOARD, home=folder / "home")
    try:
        tally = demo.through_pulled_batteries(board, reading.items, args.cuts, args.seed, args.out)
        cost = demo.flash_cost(board.counters, reading.items)
        manifest, differences = demo.get_back(
            board, files, folder, args.out, "drybag " + args.tool_version()
        )
    finally:
        if board.is_running:
            board.stop()
    seconds = time.monotonic() - started
    return _report(args, reading, tally, cost, manifest, differences, seconds)


def _report(args, reading, tally, cost, manifest, differences, seconds):
    from drybag_host import importing

    items = reading.items
    acknowledged = [item for item in items if item.done]
    missing = [d for d in differences if d.what != "added"]
    lost = len(set(tally.lost)) + len(set(tally.strange)) + len(missing)
    args.out.document(
        {
            "records": len(items), "acknowledged": len(acknowledged), "cuts": tally.cuts,
            "cuts_in_recovery": tally.in_recovery, "boots": tally.boots, "checks": tally.checks,
            "lost": lost, "differences": [str(d) for d in missing], "verified": manifest.verified,
            "flash_cost": cost, "folder": args.folder, "seed": args.seed,
            "not_stored": [str(item.error) for item in items if item.error is not None],
            "problems": [str(problem) for problem in reading.problems],
            "seconds": round(seconds, 1),
        }
    )  # fmt: skip
    _print(args, len(items), len(acknowledged), lost, tally, cost, seconds)
    for difference in missing[:SHOWN]:
        args.out.warn(str(difference))
    for problem in reading.problems[:SHOWN]:
        args.out.warn("could not be read: %s" % problem)
    if lost:
        return 1
    result = importing.Result(items)
    return importing.finish(reading, result)


def _print(args, records, acknowledged, lost, tally, cost, seconds):
    from drybag_host.demo.run import NAME
    from drybag_host.output import duration_text

    ours, naive = cost["ours"], cost["append_flush"]
    rows = [
        ("records written", "{:,}".format(records)),
        ("acknowledged", "{:,}".format(acknowledged)),
        ("cuts survived", "%d, %d of them in a recovery" % (tally.cuts, tally.in_recovery)),
        ("looked at everything", "after %d boots, and in the export" % tally.checks),
        ("lost", str(lost)),
        ("flash cost a record", "%.1f ms, %.2f erases (append + flush: %.1f ms, %.2f erases)"
         % (ours["ms"], ours["erases"], naive["ms"], naive["erases"])),
        ("backup, verified", "%s/backup" % args.folder),
        ("exported files", "%s/export (index.html to look at)" % args.folder),
        ("the handset itself", "DRYBAG_HOME=%s/home drybag show emu:%s --start"
         % (quote(args.folder), NAME)),
        ("took", "%s, seed %d" % (duration_text(seconds), args.seed)),
    ]  # fmt: skip
    args.out.facts("A handset whose battery was pulled %d times" % tally.cuts, rows)
