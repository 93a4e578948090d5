"""`drybag status`: what a handset or a backup is and holds."""

from shlex import quote

from drybag_host.board.health import ILL
from drybag_host.sources import add_source

ORDER = 12


def add_parser(sub):
    parser = sub.add_parser(
        "status",
        help="what a handset or a backup is, holds, and has room for",
        description="What a handset or a backup is and holds. Without a target: which handsets "
        "there are.",
        epilog="example:\n  drybag status auto\n  drybag status ~/handset-backup\n",
    )
    add_source(parser, nargs="?")


def run(args):
    from drybag_host.sources import is_dump
    from drybag_host.targets import is_folder, is_hub

    if args.source is None:
        return _candidates(args)
    if is_folder(args.source):
        return _backup(args)
    if is_dump(args.source):
        return _dump(args)
    if is_hub(args.source):
        return _hub(args)
    return _handset(args)


def _candidates(args):
    from drybag_host.targets import candidates

    found = candidates()
    args.out.document({"targets": [{"target": name, "what": what} for name, what in found]})
    if found:
        args.out.table("Handsets and ports", ("target", "what it is"), found)
    else:
        args.out.say("no handset found: plug one in, or drybag emu start NAME")
    return 0


def _handset(args):
    from drybag_host.output import count_text, size_text
    from drybag_host.targets import open_session

    with open_session(args, args.source, fault_ok=True) as session:
        info = session.info
        if info.raw.get("error"):
            return _faulty(args, session.target, info)
        stats = dict(session.attempt(lambda link: link.stats()))
    args.out.document({"target": session.target, "handset": info.raw, "stats": stats})
    counts = ", ".join(count_text(n, kind) for kind, n in info.counts.items() if n)
    rows = [
        ("handset", "%s (%s)" % (info.name, info.id)),
        ("firmware", _text(info.raw, "versions") or _text(info.raw, "version")),
        ("records", counts or "none yet"),
        ("changes so far", "{:,} in journal {:08x}".format(info.last_seq, info.epoch)),
        ("free on flash", size_text(info.free_bytes)),
        ("free memory", size_text(info.raw["heap"]) if "heap" in info.raw else ""),
    ]
    rows += _flash(stats) + _sync(info.raw.get("sync"))
    args.out.facts(session.target, [row for row in rows if row[1] != ""])
    return 0


def _hub(args):
    from drybag_host.hub.hubsource import open_hub
    from drybag_host.output import count_text

    with open_hub(args, args.source) as hub:
        summary, devices = hub.client.summary(), hub.client.devices()
    args.out.document({"hub": hub.name, "summary": summary, "devices": devices})
    counts = ", ".join(count_text(n, kind) for kind, n in summary["counts"].items() if n)
    rows = [
        ("owner", summary["owner"]),
        ("records", counts or "none yet"),
        ("versions kept", "{:,}".format(summary["pos"])),
        ("handsets", str(sum(not d["revoked_ms"] for d in devices))),
        ("deletions that wait", str(summary["held"])),
        ("conflicts", str(summary["conflicts"])),
    ]
    args.out.facts("Hub %s" % hub.name, rows)
    return 0


def _dump(args):
    from drybag_host.output import count_text, size_text
    from drybag_host.sources import DumpSource

    source = DumpSource(args.source)
    stats = source.journal.stats()
    args.out.document({"file": args.source, "stats": stats})
    counts = ", ".join(count_text(n, kind) for kind, n in stats["records"].items() if n)
    rows = [
        ("records", counts or "none"),
        ("changes so far", "{:,} in journal {}".format(stats["last_seq"], stats["epoch"])),
        ("free on flash", size_text(stats["free_bytes"])),
    ]
    args.out.facts("Dump %s" % args.source, rows + _flash(stats))
    return 0


def _faulty(args, target, info):
    """A handset that runs but cannot open its journal: say so, and end with its error."""
    from drybag import errors

    fault = info.raw["error"]
    args.out.document({"target": target, "handset": info.raw})
    rows = [
        ("handset", "%s (%s)" % (info.name, info.id)),
        ("firmware", _text(info.raw, "versions")),
        ("journal", "NOT OPEN: %s" % fault["message"]),
    ]
    args.out.facts(target, rows)
    kind = getattr(errors, fault["class"], errors.NotMountable)
    raise kind("the journal of %s cannot be opened: %s" % (target, fault["message"]))


def _flash(stats):
    """Rows on the flash and its health, from the journal's stats."""
    use = [
        "%s %s" % (stats[key], text)
        for key, text in (
            ("sectors", "sectors"), ("log_sectors", "with records"),
            ("blob_sectors", "with large data"),
            ("free_sectors", "free"), ("bad_sectors", "bad"),
        )
        if key in stats
    ]  # fmt: skip
    ill = ["%s %s" % (stats[key], key.replace("_", " ")) for key in ILL if stats.get(key)]
    if not stats.get("writable", True):
        ill.insert(0, "READ ONLY: it refuses writes")
    if stats.get("filesystem", "ok") != "ok":
        ill.append("file system %s" % stats["filesystem"])
    return [("flash", ", ".join(use)), ("health", ", ".join(ill) or "good")]


def _sync(sync):
    """Rows on the hub: what is where, and why not; of a handset that knows of hubs."""
    from drybag_host.listing import stamp_text

    if sync is None:
        return []
    if not sync["paired"]:
        return [("hub", "none is paired")]
    rows = [("hub", "%s, as %s" % (sync.get("hub", "unknown"), sync.get("owner", "nobody")))]
    if "saved" in sync:
        offsite = sync["offsite"]
        rows += [
            ("unsent", "{:,}".format(sync["unsent"])),
            ("saved, at the hub, off-site", "up to change {:,}, {:,}, {}".format(
                sync["saved"], sync["at_hub"],
                "no off-site copy" if offsite is None else "{:,}".format(offsite),
            )),
            ("last contact", stamp_text(sync["contact"]) if sync["contact"] else "never"),
        ]  # fmt: skip
        if sync["held"]:
            rows.append(("waits for a word", "the hub wants %d records deleted" % sync["held"]))
        if not sync["on"]:
            rows.append(("sync", "off"))
    return [*rows, ("not syncing because", sync.get("why", ""))]


def _text(values, key):
    value = values.get(key, "")
    if isinstance(value, dict):
        return ", ".join("%s %s" % item for item in value.items())
    return str(value)


def _backup(args):
    from drybag_host.backup.store import Backup
    from drybag_host.output import count_text, size_text

    backup = Backup(args.source)
    m = backup.manifest
    args.out.document(
        {"dir": args.source, **{k: v for k, v in m.fields().items() if k != "files"}}
    )
    counts = ", ".join(count_text(n, kind) for kind, n in m.counts.items() if n)
    blobs = m.blobs()
    rows = [
        ("handset", "%s (%s)" % (m.handset_name, m.handset_id)),
        ("records", counts or "none"),
        ("photos and attachments", "%d, %s" % (len(blobs), size_text(sum(blobs.values())))),
        ("older versions kept", str(m.history)),
        ("lost by the handset, kept", str(m.absent)),
        ("pulled", "%s, generation %d" % (m.pulled_at, m.generation)),
        ("compared with the handset", m.verified_at or "NO"),
        ("restore compared", (m.restore_compared or {}).get("at") or "NEVER"),
    ]
    args.out.facts("Backup %s" % args.source, rows)
    if not m.restore_compared:
        args.out.warn(
            "no restore of this backup was ever compared: drybag restore %s emu:NAME does that"
            % quote(args.source)
        )
    return 0
