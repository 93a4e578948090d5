"""`drybag emu`: emulated boards."""

from ._virtual import COLUMNS, Verbs, made, report, report_power, run

__all__ = ["add_parser", "run"]


def add_parser(sub):
    parser = sub.add_parser(
        "emu",
        help="make, start, stop and remove emulated boards",
        description="Emulated boards: a real MicroPython with the flash of an ESP32, whose power "
        "can be cut at any moment.",
        epilog="example:\n  drybag emu create demo --board esp32-generic\n"
        "  drybag emu start demo\n  drybag emu power demo off\n",
    )
    verbs = Verbs(parser, "emu", "emulated boards")
    parser.set_defaults(rows=_rows)
    _, content = verbs.create("drybag emu create demo --board lilygo-t-deck", _create)
    content.add_argument(
        "--app", metavar="DIR", help="files for the board's / instead of the Drybag firmware"
    )
    content.add_argument(
        "--no-firmware", action="store_true", help="an empty file system: MicroPython alone"
    )
    start = verbs.leaf("start", "start a board", _start)
    start.add_argument(
        "--real-time", action="store_true", help="flash commands take as long as on the chip"
    )
    start.add_argument(
        "--baud", type=_positive, metavar="N", help="a console as slow as this serial line"
    )
    _add_power(verbs)
    verbs.common("cut the power and end the emulation",
                 "print the path of its console, for mpremote and others")  # fmt: skip
    verbs.switch("wifi", "switch its Wi-Fi network", _wifi, "drybag emu wifi demo on")
    _add_net(verbs)
    serve = verbs.leaf(
        "serve", "offer it at an rfc2217:// URL, for esptool and others, until Ctrl-C", _serve,
        "drybag emu serve demo & esptool --port rfc2217://127.0.0.1:4000 flash-id",
    )  # fmt: skip
    serve.add_argument(
        "--port", type=_positive, default=4000, metavar="N", help="TCP port (%(default)s)"
    )


def _add_power(verbs):
    power = verbs.power(_power)
    power.add_argument(
        "--cut-at", type=_positive, metavar="N", help="on: cut again at the N-th flash command"
    )
    power.add_argument(
        "--cut-state", metavar="STATE", help="on: how that command is left (prefix, bits, ...)"
    )
    power.add_argument(
        "--seed", type=_positive, metavar="S", help="what is left to chance, repeatable"
    )


def _add_net(verbs):
    net = verbs.leaf(
        "net", "break its network in one of several ways, or show how it is", _net,
        "drybag emu net demo cut-after 1000 --times 1",
        " ok; refuse: no connection is taken; drop: silence, connections stay open; latency MS; "
        "cut-after N: each connection is torn when it has carried N bytes; duplicate: what a "
        "connection sent is sent again when it has ended.",
    )  # fmt: skip
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


def _create(args):
    from drybag_host.emulator.boards import EmulatedBoard
    from drybag_host.image import firmware

    files = {} if args.no_firmware else firmware.folder_files(args.app) if args.app else None
    board = EmulatedBoard.create(args.name, args.board, files_in_vfs=files, image=args.image)
    made(args, board)


def _start(args):
    board = args.verbs.board(args)
    board.start(timing=args.real_time, baud=args.baud)
    report(
        args, board, "%s runs, console %s, target emu:%s" % (args.name, board.console, args.name)
    )


def _power(args):
    from drybag_host.emulator.rom.nor import STATES
    from drybag_host.errors import Usage

    board = args.verbs.board(args)
    if args.cut_state and args.cut_state not in STATES:
        raise Usage("--cut-state is one of " + ", ".join(STATES))
    if not args.on:
        if args.cut_at or args.cut_state:
            raise Usage("--cut-at and --cut-state belong to 'on'")
        board.power_off(seed=args.seed)
    else:
        board.power_on(cut_at=args.cut_at, cut_state=args.cut_state, seed=args.seed)
    report_power(args, board)


def _rows():
    """All emulated boards, and the columns of their table."""
    from drybag_host.emulator.boards import list_boards
    from drybag_host.emulator.netfaults import describe

    return list_boards(), {
        **COLUMNS,
        "wifi": lambda row: "on" if row["wifi"] else "off",
        "net": lambda row: describe(row["net"]),
        ">boots": lambda row: row["boots"],
    }


def _wifi(args):
    board = args.verbs.board(args)
    on = board.wifi(args.on)
    args.out.document({"wifi": on})
    report(args, board, "the network of %s is %s" % (args.name, "on" if on else "off"))


def _net(args):
    from drybag_host.emulator import netfaults
    from drybag_host.errors import Usage

    board = args.verbs.board(args)
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
    report(args, board, "the network of %s: %s" % (args.name, netfaults.describe(held)))


def _serve(args):
    from drybag_host.emulator.serial_server import SerialServer

    board = args.verbs.board(args)
    board.console  # noqa: B018  raises NotRunning
    server = SerialServer(board, args.port)
    args.out.document({"name": args.name, "url": server.url})
    try:
        args.out.line("%s is at %s; Ctrl-C ends this" % (args.name, server.url))
        args.out.stdout.flush()
        server.serve()
    except KeyboardInterrupt:
        args.out.say("ended")
