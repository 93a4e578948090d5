"""`drybag verify`: is every byte of a backup as it was written?"""

ORDER = 21


def add_parser(sub):
    parser = sub.add_parser(
        "verify",
        help="check every byte of a backup",
        description="Check every byte of a backup against its hashes. One flipped bit is found, "
        "and the records it touches are named. Needs no handset.",
        epilog="example:\n  drybag verify ~/handset-backup\n",
    )
    parser.add_argument("dir", metavar="DIR", help="the backup's folder")


def run(args):
    from drybag_host.backup.store import Backup
    from drybag_host.errors import BackupDamaged
    from drybag_host.output import count_text

    backup = Backup(args.dir, tolerant=True)
    with args.out.progress("checking", backup.bytes_listed() or None, "bytes") as bar:
        verdict = backup.verify(bar.advance)
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
        "export and restore --salvage use what is intact" % args.dir,
        findings=[f.fields() for f in verdict.findings],
    )


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
        ("compared with the handset", m.verified_at or "NO: the handset had damage"),
        ("restore compared", compared or "NEVER: try drybag restore on an emulated board"),
    ]
    args.out.facts("%s is whole" % args.dir, rows)
