"""`drybag verify`: is every byte of a backup as it was written?"""

from shlex import quote

ORDER = 21


def add_parser(sub):
    parser = sub.add_parser(
        "verify",
        help="check every byte of a backup",
        description="Check every byte of a backup against its hashes. One flipped bit is found, "
        "and the records it touches are named. Needs no handset.",
        epilog="example:\n  drybag verify ~/handset-backup\n",
    )
    parser.add_argument("dir", metavar="DIR|FILE", help="the backup's folder, or a dump file")


def run(args):
    from drybag_host.backup.pull import checked
    from drybag_host.backup.store import Backup
    from drybag_host.errors import BackupDamaged, Usage
    from drybag_host.output import count_text
    from drybag_host.sources import is_dump
    from drybag_host.virtual import is_virtual

    if is_dump(args.dir):
        return _dump(args)
    if is_virtual(args.dir) or args.dir.startswith(("/dev/", "auto")):
        raise Usage(
            "%s is a handset; this is for backups and dumps" % args.dir,
            "drybag scrub %s checks what is on it" % quote(args.dir),
        )
    backup = Backup(args.dir, tolerant=True)
    verdict = checked(backup, args.out, "checking")
    _document(args, backup, verdict)
    for note in verdict.notes:
        args.out.say("note: " + note)
    if verdict.ok:
        _print(args, backup, verdict)
        return 0
    rows = [(f.file, f.problem, _names(f)) for f in verdict.findings]
    args.out.table("Damage in %s" % args.dir, ("file", "what is wrong", "records"), rows)
    raise BackupDamaged(
        "%s: %s damaged; %s intact"
        % (
            args.dir,
            count_text(len({f.file for f in verdict.findings}), "file"),
            count_text(verdict.records, "record"),
        ),
        "drybag pull TARGET %s --repair mends it from the handset; "
        "export and restore --salvage use what is intact" % quote(args.dir),
        findings=[f.fields() for f in verdict.findings],
    )


def _dump(args):
    """Read every record and blob of a dump file and check each CRC and hash."""
    from drybag.errors import Damaged
    from drybag_host.errors import with_hint
    from drybag_host.output import count_text
    from drybag_host.sources import DumpSource, describe

    source = DumpSource(args.dir)
    *found, summary = source.findings()
    lines = [describe(f) for f in found]
    bad = [line for f, line in zip(found, lines, strict=True) if f["kind"] != "repaired"]
    args.out.document(
        {"file": args.dir, "ok": not bad, "records": summary["records"],
         "blobs": summary["blobs"], "findings": lines}
    )  # fmt: skip
    for line in lines:
        args.out.warn(line)
    if bad:
        raise with_hint(
            Damaged("%s: %s" % (args.dir, count_text(len(bad), "finding"))),
            "drybag salvage %s DIR takes what is intact" % quote(args.dir),
        )
    args.out.facts(
        "%s is whole" % args.dir,
        [("records", str(summary["records"])), ("blobs", str(summary["blobs"])),
         ("change", str(source.journal.last_seq))],
    )  # fmt: skip
    return 0


def _names(finding):
    names = [
        _short(r["uid"] or "line %d" % r["line"])
        if "line" in r
        else r["title"] or _short(r["uid"])
        for r in finding.records
    ]
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def _short(uid):
    return uid if len(uid) <= 24 else uid[:23] + "…"


def _document(args, backup, verdict):
    m = backup.manifest
    args.out.document(
        {
            "dir": args.dir,
            "ok": verdict.ok,
            "records": verdict.records,
            "files": verdict.files,
            "bytes": verdict.bytes,
            "digest": verdict.digest,
            "findings": [f.fields() for f in verdict.findings],
            "notes": verdict.notes,
            "verified_at": m.verified_at if m else None,
            "restore_compared": m.restore_compared if m else None,
        }
    )


def _print(args, backup, verdict):
    from drybag_host.output import count_text, size_text

    m = backup.manifest
    compared = m.restore_compared
    if compared:
        number = count_text(compared["records"], "record")
        compared = "%s on %s, %s" % (compared["at"], compared["target"], number)
    rows = [
        ("files", "%d, %s, every byte checked" % (verdict.files, size_text(verdict.bytes))),
        ("records", "%d, and %d older versions" % (verdict.records, m.history)),
        ("handset", "%s (%s), change %d" % (m.handset_name, m.handset_id, m.last_seq)),
        ("pulled", m.pulled_at),
        ("compared with the handset", m.verified_at or _not_compared(m)),
        ("restore compared", compared or "NEVER: try drybag restore on an emulated board"),
    ]
    args.out.facts("%s is whole" % args.dir, rows)


def _not_compared(manifest):
    if manifest.written_by == "drybag salvage":
        return "NO: salvaged from raw bytes"
    return "NO: the handset had damage"
