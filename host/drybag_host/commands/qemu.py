"""`drybag qemu`: boards in QEMU."""

ORDER = 72


def add_parser(sub):
    parser = sub.add_parser(
        "qemu",
        help="make, start, stop and delete boards in QEMU",
        description="Boards in QEMU: its ESP32 machine runs MicroPython's own firmware, with our "
        "flash. QEMU is not part of Drybag: Espressif's qemu-system-xtensa, or one compatible "
        "with it, is looked for in the PATH, in DRYBAG_QEMU, or named with --program.",
        epilog="example:\n  drybag qemu create q --micropython ESP32_GENERIC-v1.29.0.bin\n"
        "  drybag qemu start q && drybag status qemu:q\n  drybag qemu power off q\n",
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    _add_create(verbs)
    _leaf(verbs, "start", "start a board and wait for its prompt", _start)
    _leaf(verbs, "stop", "cut the power; it stays stopped", _stop)
    power = _leaf(verbs, "power", "cut the power at once, or give it back", _power, "off ")
    power.add_argument("name", metavar="NAME", help="the board")
    _leaf(verbs, "console", "print the URL of its serial line", _console)
    _leaf(verbs, "delete", "delete a board and its flash image", _delete).add_argument(
        "--force", action="store_true", help="stop it first if it is started"
    )
    listing = verbs.add_parser(
        "list", help="all boards in QEMU and their state",
        description="All boards in QEMU and their state.",
        epilog="example:\n  drybag qemu list --json\n",
    )  # fmt: skip
    listing.set_defaults(qemu_run=_list)


def _leaf(verbs, name, what, run, words=""):
    parser = verbs.add_parser(
        name, help=what, description=what[0].upper() + what[1:] + ".",
        epilog="example:\n  drybag qemu %s %sq\n" % (name, words),
    )  # fmt: skip
    if words:
        parser.add_argument("switch", choices=("on", "off"), help="on or off")
    else:
        parser.add_argument("name", metavar="NAME", help="the board")
    parser.set_defaults(qemu_run=run)
    return parser


def _add_create(verbs):
    create = verbs.add_parser(
        "create",
        help="make a board with a new flash image",
        description="Make a board with a new flash image: MicroPython as given, our partition "
        "table and firmware. The machine's settings stay with the board.",
        epilog="example:\n  drybag qemu create q --micropython ESP32_GENERIC-v1.29.0.bin "
        "--network user,model=open_eth\n",
    )
    create.add_argument("name", metavar="NAME", help="the board")
    create.add_argument(
        "--board", metavar="B", default="esp32-generic", help="a board of 'drybag boards'"
    )
    content = create.add_mutually_exclusive_group()
    content.add_argument(
        "--micropython", metavar="FILE|VERSION",
        help="MicroPython's stock firmware (without it: the newest in Drybag's cache)",
    )  # fmt: skip
    content.add_argument("--image", metavar="FILE", help="run on this flash image, as it is")
    machine = create.add_argument_group("QEMU")
    machine.add_argument("--program", metavar="FILE", help="the program (qemu-system-xtensa)")
    machine.add_argument("--machine", metavar="M", help="its machine (the board's chip)")
    machine.add_argument("--rom", metavar="DIR", help="where the chip's ROM lies (QEMU's own)")
    machine.add_argument(
        "--network", metavar="NIC", help="a network card, as behind -nic: user,model=open_eth"
    )
    create.set_defaults(qemu_run=_create)
    machine.add_argument(
        "--boot", type=int, default=60, metavar="SECONDS",
        help="how long a boot may take on this computer (%(default)s)",
    )  # fmt: skip
    machine.add_argument(
        "--option", metavar="WORD", action="append",
        help="a word for QEMU's command line, once for each: --option=-icount --option=3; "
        "without any: -icount 3,align=off,sleep=off",
    )  # fmt: skip


def run(args):
    return args.qemu_run(args)


def _board(args):
    from drybag_host.board.qemu import QemuBoard

    return QemuBoard(args.name)


def _report(args, board, text):
    args.out.document({"name": board.name, "board": board.settings["board"], **board.state()})
    args.out.line(text)


def _create(args):
    import os

    from drybag_host.board.qemu import PROGRAM, QemuBoard
    from drybag_host.emulator.files import drybag_home
    from drybag_host.image import board_model, whole

    micropython = None
    if not args.image:
        cache = drybag_home() / "cache" / "micropython"
        model = board_model.load(args.board)
        micropython, _ = whole.micropython_for(model, args.micropython, cache)
    board = QemuBoard.create(
        args.name, args.board, micropython=micropython, image=args.image,
        program=args.program or os.environ.get("DRYBAG_QEMU") or PROGRAM,
        machine=args.machine, rom=args.rom, network=args.network, options=args.option,
        boot_s=args.boot,
    )  # fmt: skip
    args.out.document({"image": str(board.image)})
    _report(args, board, "made %s, flash image %s" % (args.name, board.image))


def _start(args):
    from drybag_host.board import open_console

    board = _board(args)
    board.start()
    args.out.say("waiting for its prompt, at most %d s" % board.settings["boot_s"])
    open_console("qemu:" + args.name).close()
    _report(args, board, "%s runs, console %s, target qemu:%s"
            % (args.name, board.console, args.name))  # fmt: skip


def _stop(args):
    board = _board(args)
    board.stop()
    _report(args, board, "%s is stopped" % args.name)


def _power(args):
    board = _board(args)
    if args.switch == "off":
        board.power_off()
        return _report(args, board, "%s has no power" % args.name)
    board.start()
    _report(args, board, "%s has power, console %s" % (args.name, board.console))


def _console(args):
    board = _board(args)
    args.out.document({"name": args.name, "console": board.console})
    args.out.line(board.console)


def _delete(args):
    board = _board(args)
    if args.force and board.is_running:
        board.stop()
    board.remove()
    args.out.document({"name": args.name, "deleted": True})
    args.out.line("%s is deleted" % args.name)


def _list(args):
    from drybag_host.board.qemu import list_boards

    rows = list_boards()
    args.out.document({"boards": rows})
    if not rows:
        args.out.line("no boards in QEMU; make one: drybag qemu create NAME --micropython FILE")
        return
    args.out.table(
        "Boards in QEMU", ("name", "board", "power", "console"),
        [(row["name"], row["board"], row["power"] if row["running"] else "stopped",
          row["console"] or "") for row in rows],
    )  # fmt: skip
