"""`drybag import`: vCards, calendars and pictures onto a handset."""

from drybag_host.targets import add_handset, add_speed

ORDER = 10


def add_parser(sub):
    parser = sub.add_parser(
        "import",
        help="put .vcf, .ics and picture files onto a handset",
        description="Put vCards (2.1, 3.0, 4.0), calendars and pictures onto a handset. What is "
        "there already is not sent again, so importing twice changes nothing. What cannot be read "
        "is named with file and line, and the rest goes in.",
        epilog="example:\n  drybag import auto contacts.vcf calendar.ics holiday.jpg\n",
    )
    add_handset(parser)
    add_speed(parser)
    parser.add_argument("files", metavar="FILE", nargs="+", help=".vcf, .ics, .jpg, .png, ...")
    parser.add_argument(
        "--keep-unreadable", action="store_true",
        help="keep what could not be read, verbatim, as notes",
    )  # fmt: skip
    parser.add_argument(
        "--keep-existing", action="store_true",
        help="where the handset has another version of a record, leave it as it is",
    )  # fmt: skip
    parser.add_argument(
        "--dry-run", action="store_true", help="read and compare, but send nothing"
    )


def run(args):
    import time

    from drybag_host import importing
    from drybag_host.targets import open_session

    started = time.monotonic()
    reading = importing.read_files(args.files, args.out, args.keep_unreadable)
    if not reading.items:
        importing.report(args, reading, None, 0)
        return importing.finish(reading, None)
    with open_session(args) as session:
        result = importing.send(session, reading, args)
    importing.report(args, reading, result, time.monotonic() - started)
    return importing.finish(reading, result)
