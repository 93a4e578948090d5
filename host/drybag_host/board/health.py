"""Findings on a handset for `drybag doctor`, each with what to do. Pure: told in, told out.

A finding is {"what", "is", "ok", "do"}.
"""

import re
import time
from shlex import quote

from drybag_host.image import stock

LOW_HEAP_BYTES = 20 * 1024
LOW_FLASH_BYTES = 32 * 1024
CLOCK_OFF_S = 120
EPOCH_2000 = 946684800
OLD_BACKUP_S = 7 * 86400
ILL = ("bad_sectors", "lost_records", "refused_erases")
_PULL = "drybag pull TARGET DIR"
_FLASH = "drybag flash TARGET --board B; the records are kept"
_SET_CLOCK = "at its console: time 2025-01-31 09:30"


def finding(what, text, ok=True, do=""):
    """One finding; `do`: what to do next, only where something is to be done."""
    return {"what": what, "is": str(text), "ok": bool(ok), "do": "" if ok else do}


def about(raw, now=None):
    """On what a handset says of itself: `raw` is its hello. `now`: Unix time."""
    versions = raw.get("versions", {})
    found = [_micropython(str(versions.get("micropython", "")))]
    found.append(finding("machine", raw.get("machine", "")))
    dog = raw.get("reset_cause") == "watchdog"
    found.append(finding("last reset", "by the watchdog" if dog else
                         raw.get("reset_cause", "not told"), not dog,
                         "look at the console's log"))  # fmt: skip
    off_s = raw.get("time", 0) + EPOCH_2000 - (time.time() if now is None else now)
    if not raw.get("time"):
        found.append(finding("clock", "not set", False, _SET_CLOCK))
    else:
        text = "%d s off this computer's" % off_s
        found.append(finding("clock", text, abs(off_s) < CLOCK_OFF_S, _SET_CLOCK))
    heap = raw.get("heap", 0)
    found.append(finding("memory", "%d KiB free" % (heap // 1024), heap >= LOW_HEAP_BYTES,
                         "restart it: type restart at its console"))  # fmt: skip
    return found


def _micropython(version):
    number = re.match(r"(\d+)\.(\d+)", version)
    known = bool(number) and stock.OLDEST <= (int(number[1]), int(number[2])) <= stock.NEWEST
    text = version if known else "%s; Drybag was tried with %d.%d to %d.%d" % (
        version or "not told", *stock.OLDEST, *stock.NEWEST)  # fmt: skip
    return finding("MicroPython", text, known, _FLASH)


def hardware(told, machine, ours, models):
    """On chip, flash, partition table and version.

    `told`: the answer to BOARD, {} of an older firmware; `ours`: this tool's version; `models`:
    the known boards, of which `machine` may be one.
    """
    if not told:
        text = "not told: the firmware is older than this tool (%s)" % ours
        return [finding("firmware", text, False, _FLASH)]
    version = told.get("drybag", "")
    found = [finding("firmware", "Drybag %s" % (version or "of an unknown version"),
                     version == ours, "this tool is %s: %s" % (ours, _FLASH))]  # fmt: skip
    chip = str(machine).rpartition(" with ")[2]
    flash_bytes = told.get("flash_bytes", 0)
    size = "flash of %d MiB" % (flash_bytes >> 20) if flash_bytes else "flash of unknown size"
    found.append(finding("chip", "%s, %s" % (chip or "unknown", size)))
    rows = [tuple(row) for row in told.get("partitions", ())]
    return [*found, table(rows, flash_bytes, [m for m in models if m.machine == machine])]


def table(rows, flash_bytes, models):
    """On a partition table: (label, type, subtype, offset, size) each. `models`: likely boards."""
    text = ", ".join("%s 0x%x+0x%x" % (row[0], row[3], row[4]) for row in
                     sorted(rows, key=lambda row: row[3])) or "none"  # fmt: skip
    labels = {row[0]: row for row in rows}
    missing = [label for label in ("vfs", "pim") if label not in labels]
    if missing:
        return finding("partition table", "without %s: %s" % (" and ".join(missing), text), False,
                       "drybag flash TARGET --board B writes Drybag's table")  # fmt: skip
    end = max(row[3] + row[4] for row in rows)
    if flash_bytes and end > flash_bytes:
        return finding("partition table", "goes beyond the flash: %s" % text, False, _FLASH)
    fits = [m.name for m in models if _same(rows, m.partitions)]
    if models and not fits:
        text += "; not that of %s" % " or ".join(m.name for m in models)
    elif fits:
        text += "; that of %s" % fits[0]
    return finding("partition table", text)


def _same(rows, others):
    return sorted((r[0], r[3], r[4]) for r in rows) == sorted(
        (p.label, p.offset, p.size) for p in others
    )


def journal(stats, info):
    """On the journal: its `stats` and the handset's Info."""
    found = [finding("journal", "open, %d records" % sum(info.counts.values()))]
    found.append(finding("flash", "%d KiB free" % (info.free_bytes // 1024),
                         info.free_bytes >= LOW_FLASH_BYTES,
                         "delete what is not needed, after a pull"))  # fmt: skip
    found += [
        finding(key.replace("_", " "), stats[key], False,
                _PULL + " now, then drybag scrub TARGET")
        for key in ILL if stats.get(key)
    ]  # fmt: skip
    if not stats.get("writable", True):
        found.append(finding("journal", "read only", False, _PULL + " now"))
    system = stats.get("filesystem", "ok")
    found.append(finding("file system", system, system == "ok", _PULL + " now"))
    return found


def sync(state):
    """On the last sync: what the handset tells under `sync`, None if it tells nothing.

    Keys, each may be missing: `paired`, `hub` (a name), `contact` (seconds since 2000), `unsent`
    (records), `held` (deletions that wait for a word there), `why` (text: why it does not sync).
    """
    if not isinstance(state, dict) or not state.get("paired"):
        return finding("last sync", "no hub is paired")
    hub = " with %s" % state["hub"] if state.get("hub") else ""
    last = state.get("contact") or 0
    text = when_text(last + EPOCH_2000) + hub if last else "never" + hub
    if state.get("unsent"):
        text += "; %d changes not sent yet" % state["unsent"]
    if state.get("held"):
        return finding("last sync", "%s; the hub wants %d records deleted" % (text, state["held"]),
                       False, "at its console: sync accept, or sync refuse")  # fmt: skip
    if state.get("why"):
        return finding("last sync", "%s; it does not sync: %s" % (text, state["why"]), False,
                       "look whether the hub runs and the network is in reach")  # fmt: skip
    return finding("last sync", text, bool(last), "at its console: sync now")


def backup(known, manifest, info, now=None):
    """On the last verified backup.

    `known`: what drybag_host.backup.verified knows of this handset, or None; `manifest`: of that
    folder as it is now, None if it is no backup of this handset any more. `now`: Unix time.
    """
    what = "last verified backup"
    if known is None:
        held = sum(info.counts.values())
        return [finding(what, "none that this computer knows of", not held, _PULL)]
    where = "%s, %s" % (known["verified_at"], known["dir"])
    if manifest is None:
        return [finding(what, where + ": it is not there any more", False, _PULL)]
    if known["epoch"] != info.epoch:
        return [finding(what, where + ": before the handset was formatted", False, _PULL)]
    behind = max(0, info.last_seq - known["last_seq"])
    age_s = (time.time() if now is None else now) - _unix(known["verified_at"])
    text = "%s; %s" % (where, "%d changes since" % behind if behind else "nothing changed since")
    found = [finding(what, text, not behind or age_s < OLD_BACKUP_S, _PULL)]
    compared = manifest.restore_compared
    remedy = "drybag restore %s emu:NAME" % quote(known["dir"])
    when = compared["at"] if compared else "never"
    found.append(finding("restore of it compared", when, compared, remedy))
    return found


def when_text(unix_s):
    """Unix seconds as 2026-01-31T09:30:00Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_s))


def _unix(text):
    import calendar

    try:
        return calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))
    except ValueError:
        return 0
