"""`drybag dump`: the raw flash of a handset into a file."""

from drybag_host.targets import add_handset, add_speed

ORDER = 50


def add_parser(sub):
    parser = sub.add_parser(
        "dump",
        help="copy the raw flash of a handset, also of a dead one, into a file",
        description="Copy the raw bytes of the partition with the records, or of the whole flash, "
        "into a file, as they are; nothing is written to the handset. The firmware gives them "
        "while it runs; where it does not answer, esptool takes them from the chip's own loader. "
        "An interrupted dump goes on where it stopped, and by esptool reads again only what the "
        "board wrote since; what arrives is compared with hashes that the chip makes. drybag "
        "show, find, export, verify and salvage read the file. Of an emulated board that is "
        "stopped the image is copied.",
        epilog="example:\n  drybag dump auto pim.bin\n  drybag show pim.bin\n",
    )
    add_handset(parser)
    add_speed(parser)
    parser.add_argument("file", metavar="FILE", help="a new file, which only you may read")
    parser.add_argument(
        "--whole", action="store_true",
        help="the whole flash; it holds all that the board knows, Wi-Fi passwords included",
    )  # fmt: skip
    parser.add_argument(
        "--by", choices=("firmware", "esptool"),
        help="who reads the flash (without it: the firmware, or esptool if that is dead)",
    )  # fmt: skip


def run(args):
    from drybag_host.output import size_text

    size, digest, resumed, source = fetch(args, args.target, args.file, args.whole, args.by)
    args.out.document(
        {"file": args.file, "bytes": size, "sha256": digest, "resumed": resumed,
         "whole": args.whole, "source": source}
    )  # fmt: skip
    args.out.facts(
        "Dumped %s into %s" % (args.target, args.file),
        [("bytes", "%d (%s)" % (size, size_text(size))), ("SHA-256", digest), ("by", source)],
    )
    return 0


def fetch(args, name, path, whole=False, by=None):
    """Write `path` from the target `name`: (bytes, SHA-256 in hex, resumed, who read it).

    `by`: "firmware" or "esptool"; None: the loader only where the firmware does not answer.
    """
    from drybag import protocol as p
    from drybag_host.board import loader
    from drybag_host.errors import BoardRebooted, LinkTimeout, NotAHandset
    from drybag_host.image import dumping
    from drybag_host.targets import resolve

    board = _stopped_board(args, name)
    if board is not None:
        done = dumping.from_image(str(board.image), path, whole)
        return (*done, "image of %s" % name)
    target = resolve(name)
    if by != "esptool":
        try:
            return (*_by_firmware(args, target, path, whole), "firmware")
        except (NotAHandset, LinkTimeout, BoardRebooted, p.BadRequest) as error:
            if by or not loader.is_possible(target):
                raise
            args.out.say("%s: asking the chip's loader" % error)
    return (*_by_loader(args, target, path, whole), "esptool")


def _stopped_board(args, target):
    """The emulated board if the target is one that does not run, else None."""
    from drybag_host.virtual import is_virtual, virtual_board

    if not is_virtual(target) or args.start:
        return None
    board = virtual_board(target)
    return None if board.is_running else board


def _by_firmware(args, target, path, whole):
    from drybag_host.image import dumping
    from drybag_host.targets import open_session

    with open_session(args, target, fault_ok=True) as session, _bar(args) as advance_to:
        return dumping.from_handset(session, path, advance_to, whole, args.out.say)


def _by_loader(args, target, path, whole):
    from drybag_host.board.loader import open_loader
    from drybag_host.esptool_run import BAUD
    from drybag_host.image import dumping

    with open_loader(target, args.baud or BAUD) as tool, _bar(args) as advance_to:
        return dumping.from_loader(tool, path, advance_to, whole, args.out.say)


def _bar(args):
    """A context manager that gives a function (bytes done, bytes in all) for the progress."""
    from contextlib import contextmanager

    @contextmanager
    def shown():
        with args.out.progress("reading flash", None, "bytes") as bar:

            def advance_to(done, total):
                bar.set_total(total)
                bar.set_done(done)

            yield advance_to

    return shown()
