"""`drybag flash`: MicroPython, partition table and firmware onto one board or a bench of them."""

from shlex import quote

from drybag_host.targets import TARGET_HELP, add_link_options

ORDER = 12


def add_parser(sub):
    parser = sub.add_parser(
        "flash",
        help="write MicroPython and the firmware to a board; records stay",
        description="Write MicroPython, the partition table and Drybag's modules to a board, each "
        "verified, then start it and see that it answers. Records are neither written nor erased, "
        "and files of yours in / stay. Cut short, the board starts nothing half: run the same "
        "command again and it completes. If the board has its records at another place than the "
        "board file, it stops, pulls a verified backup first and says what to do.",
        epilog="example:\n  drybag flash /dev/ttyUSB0 --board esp32-generic\n"
        "  drybag flash auto --board lilygo-t-deck --app-only\n"
        "  drybag flash --all --board esp32-c3 --micropython 1.27 --json\n",
    )
    parser.add_argument("targets", metavar="TARGET", nargs="*", help=TARGET_HELP)
    parser.add_argument("--board", metavar="B", required=True, help="a board of 'drybag boards'")
    parser.add_argument(
        "--all", action="store_true", help="every board plugged in that has the board's USB ids"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--micropython", metavar="FILE",
        help="MicroPython's stock firmware for the board, or a version such as 1.27 (without: the "
        "newest in ~/.local/share/drybag/cache/micropython)",
    )  # fmt: skip
    what.add_argument(
        "--app-only", action="store_true", help="Drybag's modules alone; MicroPython stays"
    )
    parser.add_argument(
        "--clean", action="store_true", help="do not keep your own files in /, only the records"
    )
    parser.add_argument(
        "--erase-pim", metavar="NAME", nargs="?", const="",
        help="erase ALL RECORDS too; NAME: the handset's name, asked for at a terminal",
    )  # fmt: skip
    parser.add_argument(
        "--no-growth", action="store_true",
        help="MicroPython 1.20 or 1.21 over records of a newer one: the space they have is all",
    )  # fmt: skip
    parser.add_argument(
        "--backup", metavar="DIR",
        help="where a backup goes if one must be made (~/.local/share/drybag/backups/NAME)",
    )  # fmt: skip
    parser.add_argument(
        "--no-check", action="store_true",
        help="do not wait until the handset answers, for a board that starts nothing by itself",
    )  # fmt: skip
    parser.add_argument(
        "--baud", type=int, default=460800, metavar="N", help="speed of the line (%(default)s)"
    )
    add_link_options(parser)


def run(args):
    from drybag_host import esptool_run
    from drybag_host.emulator.files import drybag_home
    from drybag_host.image import board_model, whole

    model = board_model.load(args.board)
    targets = _targets(args, model)
    esptool_run.version()
    home = drybag_home()
    stock = None
    if not args.app_only:
        cache = home / "cache" / "micropython"
        stock, path = whole.micropython_for(model, args.micropython, cache)
        args.out.say("MicroPython %s from %s" % (stock.version, path))
        whole.parts(model, {}, stock, combined=True)
    files = whole.firmware_files(home)
    if len(targets) == 1:
        return _one(args, targets[0], _order(args, model, stock, files), home)
    return _bench(args, targets, _order(args, model, stock, files), home)


def _targets(args, model):
    """The targets of the command line, looked up. Raises Usage, NoSuchTarget."""
    from drybag_host.board.loader import is_possible
    from drybag_host.errors import NoSuchTarget, Usage
    from drybag_host.targets import resolve, start_board, usb_ports

    if args.all == bool(args.targets):
        raise Usage("name a TARGET, or several, or --all", "drybag flash --help")
    if args.all:
        ids = {(vid, pid) for vid, pid, _ in model.usb}
        found = [p.device for p in usb_ports() if (p.vid, p.pid) in ids] + _running(model)
        if not found:
            raise NoSuchTarget(
                "no board plugged in has the USB ids of %s" % model.name, "drybag doctor"
            )
    else:
        found = [resolve(text) for text in args.targets]
    if len(set(found)) < len(found):
        raise Usage("a TARGET is named twice")
    if len(found) > 1 and (args.erase_pim is not None or args.backup):
        raise Usage("--erase-pim and --backup are for one board at a time")
    for target in found:
        if not is_possible(target):
            raise Usage(
                "%s cannot be flashed: esptool needs the port's DTR and RTS" % target,
                "name its serial port; a QEMU board gets its firmware when it is made",
            )
        if target.startswith("emu:") and args.start:
            start_board(target, args.out)
    return found


def _running(model):
    """The emulated boards of this kind that have power."""
    from drybag_host.emulator.boards import list_boards

    return [
        "emu:" + row["name"]
        for row in list_boards()
        if row["board"] == model.name and row["power"] == "on"
    ]


def _order(args, model, stock, files):
    from drybag_host.flashing.flasher import Order

    erase = None if args.erase_pim is None else lambda name: _confirm(args, name)
    return Order(
        model, files, stock, args.app_only, args.clean, not args.no_check, erase, args.wait,
        args.baud, args.no_growth,
    )  # fmt: skip


def _confirm(args, name):
    """True once the handset's name was given or typed. Raises Declined."""
    from drybag_host.errors import Declined

    said = args.erase_pim or args.out.ask(
        "ALL RECORDS of %s will be erased. Type its name to go on" % name,
        "give its name: --erase-pim %s" % name,
    )
    if said != name:
        raise Declined("this is %s, not '%s': nothing was written" % (name, said))
    return True


def _one(args, target, order, home):
    from drybag_host.flash_errors import RecordsElsewhere
    from drybag_host.flashing.flasher import Flasher
    from drybag_host.flashing.telling import Telling

    with Telling(args.out) as tell:
        flasher = Flasher(target, order, home, tell)
        try:
            done = flasher.run()
        except RecordsElsewhere as error:
            tell.close()
            raise _rescued(args, target, error, home, args.out) from error
        finally:
            args.out.document({"boards": [flasher.done.fields()]})
    _print(args, done)
    return _journal(done)


def _rescued(args, target, error, home, out):
    from drybag_host.flashing import rescue

    if "name" not in error.details:
        return error
    tool = "drybag " + args.tool_version()
    return rescue.secure(target, error, home, args.backup, out, tool)


def _print(args, done):
    rows = [
        ("board", "%s, %s, MAC %s" % (done.board, done.chip, done.mac)),
        ("MicroPython", done.micropython + (" (stays)" if args.app_only else "")),
        ("written", ", ".join("%s %d KiB" % row for row in _sizes(done.parts))),
        ("verified", "yes, each part by the chip's MD5"),
        ("records", "ERASED" if done.erased_pim else "untouched"),
        ("answers", _answer(done)),
        ("took", "%.1f s" % done.seconds),
    ]
    if done.kept_files:
        rows.insert(4, ("your files in /", ", ".join(done.kept_files)))
    args.out.facts("%s is flashed" % done.target, rows)
    if _other_micropython(done):
        args.out.warn(_other_micropython(done))


def _other_micropython(done):
    """A warning, or "": a real board runs the MicroPython that was written."""
    told = str(done.handset.get("versions", {}).get("micropython", ""))
    wrote = done.micropython.lstrip("v").partition("-")[0]
    if done.target.startswith("emu:") or not told or told == wrote:
        return ""
    return "it answers with MicroPython %s, not %s: is the application another partition's?" % (
        told, done.micropython,
    )  # fmt: skip


def _sizes(parts):
    """[(part, KiB)] of what was written."""
    sizes = {}
    for piece in parts:
        sizes[piece["part"]] = sizes.get(piece["part"], 0) + piece["size_bytes"]
    return [(part, -(-size // 1024)) for part, size in sizes.items()]


def _answer(done):
    if not done.started:
        return "not asked (--no-check)"
    found = done.handset
    records = sum(found.get("counts", {}).values())
    told = found.get("versions", {}).get("micropython")
    return "%s, Drybag %s on MicroPython %s, %d records" % (
        found.get("name"), found["board"].get("drybag"), told, records,
    )  # fmt: skip


def _journal(done):
    """0, or NotMountable raised: the flash is done, but what is in `pim` is no journal."""
    from drybag.errors import NotMountable
    from drybag_host.errors import with_hint

    fault = done.handset.get("error")
    if not fault:
        return 0
    raise with_hint(
        NotMountable(
            "%s is flashed and answers, but its journal does not open: %s"
            % (done.target, fault.get("message"))
        ),
        "save what is there: drybag dump %s FILE, then drybag salvage FILE DIR. If no records "
        "were ever on this board: the same command with --erase-pim %s"
        % (quote(done.target), quote(done.name)),
    )


def _bench(args, targets, order, home):
    """All at once, a thread a board."""
    from drybag_host.errors import Partial
    from drybag_host.flashing.bench import Bench

    def rescued(target, error, out):
        return _rescued(args, target, error, home, out)

    results = Bench(targets, order, home, args.out).run(rescued, _journal)
    args.out.document({"boards": [result.fields() for result in results]})
    args.out.table(
        "Boards",
        ("", "board", "handset", "result"),
        [("ok" if r.ok else "!!", r.target, r.done.name, r.text()) for r in results],
    )
    failed = [r for r in results if not r.ok]
    if failed:
        raise Partial(
            "%d of %d boards are not done: %s"
            % (len(failed), len(results), ", ".join(r.target for r in failed)),
            failed[0].hint,
        )
    return 0
