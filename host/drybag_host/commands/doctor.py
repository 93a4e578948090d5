"""`drybag doctor`: what is wrong with ports, permissions and a handset, and what to do."""

from drybag_host.targets import TARGET_HELP, add_link_options

ORDER = 13
LOW_HEAP_BYTES = 20 * 1024
LOW_FLASH_BYTES = 32 * 1024
CLOCK_OFF_S = 120
_EPOCH_2000 = 946684800


def add_parser(sub):
    parser = sub.add_parser(
        "doctor",
        help="what is wrong with ports, permissions or a handset, and what to do",
        description="Look at the serial ports, who holds them and whether you may open them; with "
        "a target also at the handset: firmware, journal, flash, clock, memory. Nothing is "
        "changed on the handset. Exit code 0: fine; 9: something to do, listed; a handset that "
        "cannot be reached ends with the code of its error.",
        epilog="example:\n  drybag doctor\n  drybag doctor auto\n",
    )
    parser.add_argument("target", metavar="TARGET", nargs="?", help=TARGET_HELP)
    add_link_options(parser)


def run(args):
    from drybag_host.errors import Partial

    findings = ports()
    if args.target is not None:
        findings += _handset(args)
    args.out.document({"findings": findings})
    args.out.table(
        "Findings", ("", "what", "is", "do"),
        [("ok" if f["ok"] else "!!", f["what"], f["is"], f["do"]) for f in findings],
    )  # fmt: skip
    wrong = [f for f in findings if not f["ok"]]
    if wrong:
        raise Partial(
            "%d of %d findings need something done: %s"
            % (len(wrong), len(findings), ", ".join(f["what"] for f in wrong)),
            wrong[0]["do"],
        )
    return 0


def finding(what, text, ok=True, do=""):
    """One finding; `do`: what to do next."""
    return {"what": what, "is": str(text), "ok": bool(ok), "do": do}


def ports():
    """Findings on the serial ports at USB."""
    import os

    from drybag_host.targets import usb_ports

    found = []
    for port in usb_ports():
        what = "port " + port.device
        text = "%s, serial number %s" % (port.description, port.serial_number or "none")
        holders = holders_of(port.device)
        if not os.access(port.device, os.R_OK | os.W_OK):
            do = "sudo usermod -aG dialout $USER and log in again; or a udev rule: %s" % udev(port)
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
    from drybag_host.targets import open_session

    with open_session(args, args.target, fault_ok=True) as session:
        info = session.info
        found = [finding("handset", "%s at %s" % (info.name, session.target))]
        found += about(info.raw)
        if info.raw.get("error"):
            found.append(
                finding("journal", "not open: %s" % info.raw["error"]["message"], False,
                        "save an image first: drybag dump TARGET FILE; nothing was formatted")
            )  # fmt: skip
            return found
        return found + journal(dict(session.attempt(lambda link: link.stats())), info)


def about(raw, now=None):
    """Findings on what a handset says of itself: `raw` is its hello. `now`: Unix time."""
    import time

    versions = raw.get("versions", {})
    found = [finding("firmware", ", ".join("%s %s" % item for item in sorted(versions.items())))]
    found.append(finding("machine", raw.get("machine", "")))
    if raw.get("reset_cause") == "watchdog":
        found.append(finding("last reset", "by the watchdog", False, "look at the console's log"))
    else:
        found.append(finding("last reset", raw.get("reset_cause", "not told")))
    off_s = raw.get("time", 0) + _EPOCH_2000 - (time.time() if now is None else now)
    if not raw.get("time"):
        found.append(finding("clock", "not set", False, "at its console: time 2025-01-31 09:30"))
    else:
        found.append(finding("clock", "%d s off this computer's" % off_s, abs(off_s) < CLOCK_OFF_S,
                             "at its console: time 2025-01-31 09:30"
                             if abs(off_s) >= CLOCK_OFF_S else ""))  # fmt: skip
    heap = raw.get("heap", 0)
    low = heap < LOW_HEAP_BYTES
    found.append(finding("memory", "%d KiB free" % (heap // 1024), not low,
                         "restart it: type restart at its console" if low else ""))  # fmt: skip
    return found


def journal(stats, info):
    """Findings on the journal: its `stats` and the handset's Info."""
    from drybag_host.commands.status import ILL

    found = [finding("journal", "open, %d records" % sum(info.counts.values()))]
    low = info.free_bytes < LOW_FLASH_BYTES
    found.append(finding("flash", "%d KiB free" % (info.free_bytes // 1024), not low,
                         "delete what is not needed, after a pull" if low else ""))  # fmt: skip
    found += [
        finding(key.replace("_", " "), stats[key], False,
                "drybag pull TARGET DIR now, then drybag scrub TARGET")
        for key in ILL if stats.get(key)
    ]  # fmt: skip
    if not stats.get("writable", True):
        found.append(finding("journal", "read only", False, "drybag pull TARGET DIR now"))
    system = stats.get("filesystem", "ok")
    found.append(finding("file system", system, system == "ok",
                         "" if system == "ok" else "drybag pull TARGET DIR now"))  # fmt: skip
    return found
