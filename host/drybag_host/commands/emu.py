"""`drybag emu`: emulated boards."""


def _leaf(sub, name, what, example, run):
    parser = sub.add_parser(
        name,
        help=what,
        description=what[0].upper() + what[1:] + ".",
        epilog="example:\n  " + example,
    )
    parser.add_argument("name", metavar="NAME", help="the emulated board")
    parser.set_defaults(emu_run=run)
    return parser


def add_parser(sub):
    parser = sub.add_parser(
        "emu",
        help="make, start, stop and remove emulated boards",
        description="Emulated boards: a real MicroPython with the flash of an ESP32, whose power "
        "can be cut at any moment.",
        epilog="example:\n  drybag emu create demo --board esp32-generic\n"
        "  drybag emu start demo\n  drybag emu power off demo\n",
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    create = _leaf(
        verbs, "create", "make a board with a new flash image",
        "drybag emu create demo --board lilygo-t-deck", _create,
    )  # fmt: skip
    create.add_argument(
        "--board", metavar="B", default="esp32-generic", help="a board of 'drybag boards'"
    )
    content = create.add_mutually_exclusive_group()
    content.add_argument(
        "--app", metavar="DIR", help="files for the board's / instead of the Drybag firmware"
    )
    content.add_argument(
        "--no-firmware", action="store_true", help="an empty file system: MicroPython alone"
    )
    content.add_argument("--image", metavar="FILE", help="run on this flash image, as it is")
    start = _leaf(verbs, "start", "start a board", "drybag emu start demo", _start)
    start.add_argument(
        "--real-time", action="store_true", help="flash commands take as long as on the chip"
    )
    start.add_argument(
        "--baud", type=_positive, metavar="N", help="a console as slow as this serial line"
    )
    _leaf(verbs, "stop", "cut the power and end the emulation", "drybag emu stop demo", _stop)
    _add_power(verbs)
    listing = verbs.add_parser(
        "list",
        help="all emulated boards and their state",
        description="All emulated boards and their state.",
        epilog="example:\n  drybag emu list --json\n",
    )
    listing.set_defaults(emu_run=_list)
    remove = _leaf(
        verbs, "rm", "remove a board and its flash image", "drybag emu rm demo", _remove
    )  # fmt: skip
    remove.add_argument("--force", action="store_true", help="stop it first if it is started")
    wifi = _leaf(verbs, "wifi", "switch its Wi-Fi network", "drybag emu wifi demo on", _wifi)
    wifi.add_argument("switch", choices=("on", "off"), help="on or off")
    _add_net(verbs)
    _leaf(
        verbs, "console", "print the path of its console, for mpremote and others",
        "mpremote connect $(drybag emu console demo) repl", _console,
    )  # fmt: skip
    serve = _leaf(
        verbs, "serve", "offer it at an rfc2217:// URL, for esptool and others, until Ctrl-C",
        "drybag emu serve demo & esptool --port rfc2217://127.0.0.1:4000 flash-id", _serve,
    )  # fmt: skip
    serve.add_argument(
        "--port", type=_positive, default=4000, metavar="N", help="TCP port (%(default)s)"
    )


def _add_power(verbs):
    power = verbs.add_parser(
        "power",
        help="cut the power at once, or give it back",
        description="Cut the power, at whatever the chip is doing, or give it back.",
        epilog="example:\n  drybag emu power off demo && drybag emu power on demo\n",
    )
    power.add_argument("switch", choices=("on", "off"), help="on or off")
    power.add_argument("name", metavar="NAME", help="the emulated board")
    power.add_argument(
        "--cut-at", type=_positive, metavar="N", help="on: cut again at the N-th flash command"
    )
    power.add_argument(
        "--cut-state", metavar="STATE", help="on: how that command is left (prefix, bits, ...)"
    )
    power.add_argument(
        "--seed", type=_positive, metavar="S", help="what is left to chance, repeatable"
    )
    power.set_defaults(emu_run=_power)


def _add_net(verbs):
    net = _leaf(
        verbs, "net", "break its network in one of several ways, or show how it is",
        "drybag emu net demo cut-after 1000 --times 1", _net,
    )  # fmt: skip
    net.description += (
        " ok; refuse: no connection is taken; drop: silence, connections stay open; latency MS; "
        "cut-after N: each connection is torn when it has carried N bytes; duplicate: what a "
        "connection sent is sent again when it has ended."
    )
    net.add_argument("kind", nargs="?", metavar="KIND", help="one of the above")
    net.add_argument("number", nargs="?", type=int, metavar="N", help="milliseconds, or bytes")
    net.add_argument(
        "--direction", choices=("up", "down", "either"), default="either",
        help="cut-after: count what the board sends, what it gets, or both together (%(default)s)",
    )  # fmt: skip
    net.add_argument(
        "--how", choices=("reset", "close", "stall"), default="reset",
        help="cut-after: how it ends (%(default)s)",
    )  # fmt: skip
    net.add_argument(
        "--times", type=_positive, metavar="T", help="cut-after: so many times, then ok again"
    )


def _positive(text):
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def run(args):
    return args.emu_run(args)


def _board(args):
    from drybag_host.emulator.boards import EmulatedBoard

    return EmulatedBoard(args.name)


def _report(args, board, text):
    """What the board is like now, as JSON; `text` for a person."""
    args.out.document({"name": board.name, "board": board.chip["board"], **board.state()})
    args.out.line(text)


def _create(args):
    from drybag_host.emulator.boards import EmulatedBoard
    from drybag_host.image import firmware

    files = {} if args.no_firmware else firmware.folder_files(args.app) if args.app else None
    board = EmulatedBoard.create(args.name, args.board, files_in_vfs=files, image=args.image)
    args.out.document({"image": str(board.image)})
    _report(args, board, "made %s (%s), flash image %s" % (args.name, args.board, board.image))


def _start(args):
    board = _board(args)
    board.start(timing=args.real_time, baud=args.baud)
    _report(
        args, board, "%s runs, console %s, target emu:%s" % (args.name, board.console, args.name)
    )


def _stop(args):
    board = _board(args)
    board.stop()
    _report(args, board, "%s is stopped" % args.name)


def _power(args):
    from drybag_host.emulator.rom.nor import STATES
    from drybag_host.errors import Usage

    board = _board(args)
    if args.cut_state and args.cut_state not in STATES:
        raise Usage("--cut-state is one of " + ", ".join(STATES))
    if args.switch == "off":
        if args.cut_at or args.cut_state:
            raise Usage("--cut-at and --cut-state belong to 'power on'")
        board.power_off(seed=args.seed)
        _report(args, board, "%s has no power" % args.name)
        return
    board.power_on(cut_at=args.cut_at, cut_state=args.cut_state, seed=args.seed)
    _report(args, board, "%s has power, console %s" % (args.name, board.console))


def _list(args):
    from drybag_host.emulator.boards import list_boards
    from drybag_host.emulator.netfaults import describe

    rows = list_boards()
    args.out.document({"boards": rows})
    if not rows:
        args.out.line("no emulated boards; make one: drybag emu create NAME --board esp32-generic")
        return
    args.out.table(
        "Emulated boards",
        ("name", "board", "power", "console", "wifi", "net", ">boots"),
        [
            (
                row["name"],
                row["board"],
                row["power"] if row["running"] else "stopped",
                row["console"] or "",
                "on" if row["wifi"] else "off",
                describe(row["net"]),
                row["boots"],
            )
            for row in rows
        ],
    )


def _remove(args):
    board = _board(args)
    if args.force and board.is_running:
        board.stop()
    board.remove()
    args.out.document({"name": args.name, "removed": True})
    args.out.line("%s is removed" % args.name)


def _wifi(args):
    board = _board(args)
    on = board.wifi(args.switch == "on")
    args.out.document({"wifi": on})
    _report(args, board, "the network of %s is %s" % (args.name, "on" if on else "off"))


def _net(args):
    from drybag_host.emulator import netfaults
    from drybag_host.errors import Usage

    board = _board(args)
    state = None
    if args.kind:
        takes = {"latency": "ms", "cut-after": "after"}.get(args.kind)
        if args.kind not in netfaults.KINDS or (args.number is None) != (takes is None):
            raise Usage(
                "what is given does not fit together: %s" % args.kind,
                "ok, refuse, drop, duplicate, latency MS or cut-after N",
            )
        more = {takes: args.number} if takes else {}
        if args.kind == "cut-after":
            more |= {"direction": args.direction, "how": args.how, "times": args.times}
        try:
            state = netfaults.faults(args.kind, **more)
        except ValueError as error:
            raise Usage("%s: %s" % (args.kind, error)) from None
    held = board.net(state)
    _report(args, board, "the network of %s: %s" % (args.name, netfaults.describe(held)))


def _console(args):
    board = _board(args)
    args.out.document({"name": args.name, "console": board.console})
    args.out.line(board.console)


def _serve(args):
    from drybag_host.emulator.serial_server import SerialServer

    board = _board(args)
    board.console  # noqa: B018  raises NotRunning
    server = SerialServer(board, args.port)
    args.out.document({"name": args.name, "url": server.url})
    try:
        args.out.line("%s is at %s; Ctrl-C ends this" % (args.name, server.url))
        args.out.stdout.flush()
        server.serve()
    except KeyboardInterrupt:
        args.out.say("ended")
