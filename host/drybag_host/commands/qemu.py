"""`drybag qemu`: boards in QEMU."""

from ._virtual import COLUMNS, Verbs, made, report, report_power, run

__all__ = ["add_parser", "run"]

ORDER = 72


def add_parser(sub):
    parser = sub.add_parser(
        "qemu",
        help="make, start, stop and delete boards in QEMU",
        description="Boards in QEMU: its ESP32 machine runs MicroPython's own firmware, with our "
        "flash. QEMU is not part of Drybag: Espressif's qemu-system-xtensa, or one compatible "
        "with it, is looked for in the PATH, in DRYBAG_QEMU, or named with --program.",
        epilog="example:\n  drybag qemu create q --micropython ESP32_GENERIC-v1.29.0.bin\n"
        "  drybag qemu start q && drybag status qemu:q\n  drybag qemu power q off\n",
    )
    verbs = Verbs(parser, "qemu", "boards in QEMU")
    parser.set_defaults(rows=_rows)
    create, content = verbs.create(
        "drybag qemu create q --micropython ESP32_GENERIC-v1.29.0.bin "
        "--network user,model=open_eth", _create,
        " MicroPython as given, our partition table and firmware. The machine's settings stay "
        "with the board.",
    )  # fmt: skip
    content.add_argument(
        "--micropython", metavar="FILE|VERSION",
        help="MicroPython's stock firmware (without it: the newest in Drybag's cache)",
    )  # fmt: skip
    _add_machine(create)
    start = verbs.leaf("start", "start a board and wait for its prompt", _start)
    _add_boot(start, "from now on (as it was made)")
    verbs.power(_power)
    verbs.common("cut the power; it stays stopped", "print the URL of its serial line")


def _add_machine(create):
    machine = create.add_argument_group("QEMU")
    machine.add_argument("--program", metavar="FILE", help="the program (qemu-system-xtensa)")
    machine.add_argument("--machine", metavar="M", help="its machine (the board's chip)")
    machine.add_argument("--rom", metavar="DIR", help="where the chip's ROM lies (QEMU's own)")
    machine.add_argument(
        "--network", metavar="NIC", help="a network card, as behind -nic: user,model=open_eth"
    )
    _add_boot(machine, "(1200)")
    machine.add_argument(
        "--pace", type=_pace, metavar="N",
        help="how many times slower than a board it is: all patience is so much longer (as "
        "measured at each boot)",
    )  # fmt: skip
    machine.add_argument(
        "--option", metavar="WORD", action="append",
        help="a word for QEMU's command line, once for each: --option=-accel "
        "--option=tcg,thread=single; without any: -accel tcg,thread=multi,tb-size=64",
    )  # fmt: skip


def _add_boot(parser, end):
    parser.add_argument(
        "--boot", type=_boot, metavar="SECONDS",
        help="how long a boot may take on this computer, " + end,
    )  # fmt: skip


def _boot(text):
    value = int(text)
    if not 1 <= value <= 86400:
        raise ValueError(text)
    return value


def _pace(text):
    value = float(text)
    if not 1 <= value <= 1000:
        raise ValueError(text)
    return value


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
        boot_s=args.boot, pace=args.pace,
    )  # fmt: skip
    made(args, board)


def _start(args):
    from drybag_host.board import open_console

    board = args.verbs.board(args)
    if args.boot:
        board.set_boot_s(args.boot)
    board.start()
    args.out.say("waiting for its prompt, at most %d s" % board.settings["boot_s"])
    try:
        open_console("qemu:" + args.name, args.out.say).close()
    except KeyboardInterrupt:
        args.out.say("%s goes on booting; drybag qemu stop %s ends it" % (args.name, args.name))
        raise
    report(args, board, "%s runs, console %s, target qemu:%s"
            % (args.name, board.console, args.name))  # fmt: skip


def _power(args):
    board = args.verbs.board(args)
    if not args.on:
        board.power_off()
    else:
        board.start()
    report_power(args, board)


def _rows():
    """All boards in QEMU, and the columns of their table."""
    from drybag_host.board.qemu import list_boards

    return list_boards(), COLUMNS
