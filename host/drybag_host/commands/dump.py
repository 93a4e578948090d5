"""`drybag dump`: the raw flash of a handset into a file."""

from drybag_host.targets import add_handset

ORDER = 50


def add_parser(sub):
    parser = sub.add_parser(
        "dump",
        help="copy the raw journal partition of a handset into a file",
        description="Copy the raw bytes of the partition with the records into a file, as they "
        "are on the flash; nothing is written to the handset. An interrupted dump goes on where "
        "it stopped. drybag show, find, export, verify and salvage read the file. Of an emulated "
        "board that is stopped the image is copied, with --whole all of it.",
        epilog="example:\n  drybag dump auto pim.bin\n  drybag show pim.bin\n",
    )
    add_handset(parser)
    parser.add_argument("file", metavar="FILE", help="a new file")
    parser.add_argument(
        "--whole", action="store_true", help="the whole flash (of a stopped emulated board)"
    )


def run(args):
    from drybag_host.output import size_text

    size, digest, resumed, source = fetch(args)
    args.out.document(
        {"file": args.file, "bytes": size, "sha256": digest, "resumed": resumed,
         "whole": args.whole, "source": source}
    )  # fmt: skip
    args.out.facts(
        "Dumped %s into %s" % (args.target, args.file),
        [("bytes", "%d (%s)" % (size, size_text(size))), ("SHA-256", digest), ("by", source)],
    )
    return 0


def fetch(args):
    """Write args.file: (bytes, SHA-256 in hex, whether it was resumed, who read it)."""
    from drybag_host.image import dumping

    board = _stopped_board(args)
    if board is not None:
        done = dumping.from_image(str(board.image), args.file, args.whole)
        return (*done, "image of %s" % args.target)
    return (*_by_firmware(args), "firmware")


def _stopped_board(args):
    """The EmulatedBoard if the target is one that does not run, else None."""
    if not args.target.startswith("emu:") or args.start:
        return None
    from drybag_host.emulator.boards import EmulatedBoard

    board = EmulatedBoard(args.target.partition(":")[2])
    return None if board.is_running else board


def _by_firmware(args):
    from drybag_host.errors import Usage
    from drybag_host.image import dumping
    from drybag_host.targets import open_session

    if args.whole:
        raise Usage(
            "--whole: the firmware gives its journal partition only",
            "without --whole; or: python -m esptool --port PORT read-flash 0 ALL FILE",
        )
    with open_session(args, fault_ok=True) as session:
        with args.out.progress("reading flash", None, "bytes") as bar:

            def advance_to(done, total):
                bar.set_total(total)
                bar.set_done(done)

            return dumping.from_handset(session, args.file, advance_to)
