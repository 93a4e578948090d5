"""`drybag doctor`: what is wrong with ports, permissions and a handset, and what to do."""

from drybag_host.board.health import finding
from drybag_host.targets import TARGET_HELP, add_link_options

ORDER = 13


def add_parser(sub):
    parser = sub.add_parser(
        "doctor",
        help="what is wrong with ports, permissions or a handset, and what to do",
        description="Look at the serial ports, who holds them and whether you may open them; with "
        "a target also at the handset: chip, flash, partition table, firmware, journal, clock, "
        "memory, last sync, last verified backup. Of a handset that does not answer the chip's "
        "own loader is asked (that restarts it). Nothing is changed on the handset. Exit code 0: "
        "fine; 9: something to do, listed; a handset that cannot be reached ends with the code "
        "of its error.",
        epilog="example:\n  drybag doctor\n  drybag doctor auto\n",
    )
    parser.add_argument("target", metavar="TARGET", nargs="?", help=TARGET_HELP)
    add_link_options(parser)


def run(args):
    from drybag.errors import DrybagError
    from drybag_host.errors import Partial

    findings = ports()
    try:
        if args.target is not None:
            findings += _handset(args)
    except DrybagError as error:
        _show(args, findings + getattr(error, "findings", []))
        raise
    _show(args, findings)
    wrong = [f for f in findings if not f["ok"]]
    if wrong:
        raise Partial(
            "%d of %d findings need something done: %s"
            % (len(wrong), len(findings), ", ".join(f["what"] for f in wrong)),
            wrong[0]["do"],
        )
    return 0


def _show(args, findings):
    args.out.document({"findings": findings})
    args.out.table(
        "Findings", ("", "what", "is", "do"),
        [("ok" if f["ok"] else "!!", f["what"], f["is"], f["do"]) for f in findings],
    )  # fmt: skip


def ports():
    """Findings on the serial ports at USB."""
    import os

    from drybag_host.errors import PORT_DENIED
    from drybag_host.targets import usb_ports

    found = []
    for port in usb_ports():
        what = "port " + port.device
        text = "%s, serial number %s" % (port.description, port.serial_number or "none")
        holders = holders_of(port.device)
        if not os.access(port.device, os.R_OK | os.W_OK):
            do = "%s; or a udev rule: %s" % (PORT_DENIED, udev(port))
            found.append(finding(what, text + "; you may not open it", False, do))
        elif holders:
            names = ", ".join("%s (%d)" % (name, pid) for pid, name in holders)
            found.append(finding(what, text + "; held by " + names, False, "end that program"))
        else:
            found.append(finding(what, text + "; free"))
    return found or [finding("ports", "no board at USB")]


def udev(port):
    """The line for /etc/udev/rules.d that lets whoever is logged in open this kind of port."""
    rule = 'SUBSYSTEM=="tty", ATTRS{idVendor}=="%04x", ATTRS{idProduct}=="%04x", TAG+="uaccess"'
    return rule % (port.vid, port.pid)


def holders_of(path):
    """[(process id, name)] of the other programs that have `path` open, as far as /proc shows."""
    import os
    from pathlib import Path

    real, found = os.path.realpath(path), []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int(folder.name) != os.getpid() and any(
                os.readlink(fd) == real for fd in (folder / "fd").iterdir()
            ):
                found.append((int(folder.name), (folder / "comm").read_text().strip()))
        except OSError:  # it has ended, or belongs to somebody else
            continue
    return sorted(found)


def _handset(args):
    """Findings on the target. Raises what keeps it from being reached, those so far attached."""
    from drybag_host.errors import LinkError
    from drybag_host.targets import open_session, resolve

    target = resolve(args.target)
    try:
        with open_session(args, target, fault_ok=True) as session:
            return _running(session)
    except LinkError as error:
        error.findings = [finding("handset", str(error), False, getattr(error, "hint", ""))]
        error.findings += _loader(target)
        raise


def _running(session):
    """Findings on a handset whose firmware answers."""
    from drybag_host.backup import verified
    from drybag_host.board import health
    from drybag_host.emulator.files import drybag_home
    from drybag_host.image import board_model
    from drybag_host.resources import version

    info = session.info
    found = [finding("handset", "%s at %s" % (info.name, session.target))]
    models = [board_model.load_file(path) for path in board_model.board_files()]
    told = session.attempt(lambda link: link.board())
    found += health.hardware(told, info.raw.get("machine", ""), version(), models)
    found += health.about(info.raw)
    if info.raw.get("error"):
        text = "not open: %s" % info.raw["error"]["message"]
        do = "save an image first: drybag dump TARGET FILE; nothing was formatted"
        return [*found, finding("journal", text, False, do)]
    stats = dict(session.attempt(lambda link: link.stats()))
    found += health.journal(stats, info)
    found.append(health.sync(info.raw.get("sync") or stats.get("sync")))
    known = verified.last(drybag_home(), info.id)
    return found + health.backup(known, _manifest(known, info), info)


def _manifest(known, info):
    """The manifest of the backup that is known, if it is still there and of this handset."""
    from drybag.errors import DrybagError
    from drybag_host.backup.store import Backup

    if known is None:
        return None
    try:
        manifest = Backup(known["dir"]).manifest
    except (DrybagError, OSError):
        return None
    return manifest if manifest.handset_id == info.id else None


def _loader(target):
    """Findings on a chip whose firmware does not answer, from its ROM's loader."""
    from drybag.errors import DrybagError
    from drybag_host.board import loader
    from drybag_host.image import partitions

    if not loader.is_possible(target):
        return []
    try:
        with loader.open_loader(target) as tool:
            chip = tool.identify()
            raw = tool.read(partitions.TABLE_ADDR, partitions.SECTOR_BYTES)
    except DrybagError as error:
        return [finding("loader", "the chip's ROM does not answer either: %s" % error, False,
                        getattr(error, "hint", ""))]  # fmt: skip
    text = "%s, flash of %d MiB, MAC %s" % (chip.model, chip.flash_bytes >> 20, chip.mac)
    found = [finding("chip", text)]
    return [*found, *_table(raw, chip)]


def _table(raw, chip):
    from drybag_host.board import health
    from drybag_host.board_errors import BoardFileError
    from drybag_host.image import partitions

    try:
        rows = partitions.from_bytes(raw[: partitions.TABLE_BYTES])
    except BoardFileError as error:
        return [finding("partition table", error, False,
                        "drybag dump TARGET FILE --whole keeps what is there")]  # fmt: skip
    found = [health.table([tuple(row) for row in rows], chip.flash_bytes, [])]
    if any(row.label == "pim" for row in rows):
        found.append(finding("records", "the chip's flash can be read", False,
                             "drybag dump TARGET FILE saves them; then drybag flash"))  # fmt: skip
    return found
