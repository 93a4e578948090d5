"""`drybag image`: flash images as files, without a board."""


def add_parser(sub):
    parser = sub.add_parser(
        "image",
        help="build flash images, look into them, compare them",
        description="Flash images as files: build one for a board, say what is in one, compare "
        "two. No board is needed.",
        epilog="example:\n  drybag image build flash.bin --board lilygo-t-deck\n"
        "  drybag image info flash.bin\n  drybag image diff old.bin flash.bin\n",
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    build = _leaf(verbs, "build", "make a flash image", "drybag image build flash.bin", _build)
    build.add_argument("file", metavar="FILE", help="the image to write")
    build.add_argument(
        "--board", metavar="B", default="esp32-generic", help="a board of 'drybag boards'"
    )
    group = build.add_mutually_exclusive_group()
    group.add_argument(
        "--micropython", metavar="FILE",
        help="MicroPython's stock firmware for the board, or a version such as 1.27 (without: the "
        "newest in ~/.local/share/drybag/cache/micropython)",
    )  # fmt: skip
    group.add_argument(
        "--no-micropython", action="store_true", help="partition table and modules alone"
    )
    build.add_argument(
        "--parts", action="store_true", help="FILE is a folder: each part as a file of its own"
    )
    info = _leaf(verbs, "info", "what an image holds", "drybag image info flash.bin", _info)
    info.add_argument("file", metavar="FILE", help="a flash image or MicroPython's firmware")
    diff = _leaf(
        verbs, "diff", "what differs between two images", "drybag image diff a.bin b.bin", _diff,
        " The exit code is 0 for equal images and 1 for different ones.",
    )  # fmt: skip
    diff.add_argument("file", metavar="FILE", help="a flash image")
    diff.add_argument("other", metavar="OTHER", help="another")


def _leaf(sub, name, what, example, run, more=""):
    parser = sub.add_parser(
        name,
        help=what,
        description=what[0].upper() + what[1:] + "." + more,
        epilog="example:\n  " + example,
    )
    parser.set_defaults(image_run=run)
    return parser


def run(args):
    return args.image_run(args)


def _build(args):
    from pathlib import Path

    from drybag_host.emulator.files import drybag_home
    from drybag_host.image import board_model, flash, whole

    model = board_model.load(args.board)
    home = drybag_home(None)
    micropython = None
    if not args.no_micropython:
        cache = home / "cache" / "micropython"
        micropython, _ = whole.micropython_for(model, args.micropython, cache)
    parts = whole.parts(model, whole.firmware_files(home), micropython)
    if args.parts:
        Path(args.file).mkdir(parents=True, exist_ok=True)
        for name, address, data in parts:
            flash.write(Path(args.file) / ("%s-0x%x.bin" % (name, address)), data)
    else:
        flash.write(args.file, whole.join(model, parts))
    rows = [{"part": name, "address": at, "size_bytes": len(data)} for name, at, data in parts]
    version = micropython.version if micropython else None
    args.out.document(
        {"file": args.file, "board": model.name, "micropython": version, "parts": rows}
    )
    args.out.table(
        "%s for %s" % (args.file, model.name),
        ("part", ">address", ">bytes"),
        [(name, "0x%x" % at, len(data)) for name, at, data in parts],
    )


def _info(args):
    from drybag_host.image import whole

    found = whole.info(args.file)
    args.out.document(found)
    args.out.facts(
        args.file,
        [
            ("size", "%d bytes" % found["size_bytes"]),
            ("chip", found["chip"] or "not said"),
            ("MicroPython", found["micropython"] or "none"),
            ("pim", found["journal"] or "no such partition"),
        ],
    )
    args.out.table(
        "Partitions",
        ("label", ">offset", ">size"),
        [(p["label"], "0x%x" % p["offset"], "0x%x" % p["size"]) for p in found["partitions"]],
    )
    if found["files"]:
        args.out.table("Files in vfs", ("path", ">bytes"), sorted(found["files"].items()))


def _diff(args):
    from drybag_host.image import whole

    found = whole.diff(args.file, args.other)
    args.out.document(
        {"differences": [{"partition": p, "path": n, "what": w} for p, n, w in found]}
    )
    if not found:
        args.out.line("no difference")
        return 0
    args.out.table(
        "Differences", ("partition", "file", "what"), [(p, n or "", w) for p, n, w in found]
    )
    return 1
