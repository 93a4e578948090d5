"""`drybag restore`: a backup back onto a handset."""

from drybag_host.targets import add_handset, add_owner, add_speed, is_hub

ORDER = 22


def add_parser(sub):
    parser = sub.add_parser(
        "restore",
        help="put a backup, or what a hub has, onto a new or a used handset, and compare it there",
        description="Put the records of a backup or a hub onto a handset. First a table shows "
        "what would happen. Records are only added: where the handset has another version, or has "
        "deleted the record, it stays so unless you say otherwise. Afterwards everything is read "
        "back and compared.",
        epilog="example:\n  drybag restore ~/handset-backup auto --dry-run\n"
        "  drybag restore ~/handset-backup auto\n"
        "  drybag restore hub:https://192.168.1.5:8443 auto --owner ada\n",
    )
    parser.add_argument("dir", metavar="DIR|hub:URL", help="the backup's folder, or a hub")
    add_handset(parser)
    add_speed(parser)
    add_owner(parser)
    parser.add_argument(
        "--overwrite", action="store_true",
        help="put the backup's version where the handset's differs (asks first)",
    )  # fmt: skip
    parser.add_argument(
        "--deleted", action="store_true", help="bring back what was deleted on the handset"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--dry-run", action="store_true", help="only show what would happen")
    parser.add_argument(
        "--salvage", action="store_true", help="of a damaged backup restore what is intact"
    )


def run(args):
    from drybag_host.backup.store import Backup

    if is_hub(args.dir):
        from drybag_host.hub.hubsource import open_hub

        with open_hub(args, args.dir) as hub:
            with args.out.progress("reading from the hub", None, "records") as bar:
                records = hub.records() + (hub.deleted_records() if args.deleted else [])
                bar.advance(len(records))
            return _restore(args, hub, records, False)
    backup = Backup(args.dir, args.salvage)
    damaged = _check(args, backup)
    return _restore(args, backup, _restorable(backup, args.deleted), damaged)


def _restore(args, backup, records, damaged):
    """`records` of a backup or a hub onto the handset."""
    from drybag_host.backup.restore import Restore
    from drybag_host.targets import open_session

    with open_session(args) as session:
        work = Restore(backup, session, args.out)
        plan = work.prepare(records, args.overwrite, args.deleted)
        _preview(args, session, plan)
        if args.dry_run:
            return 0
        if args.overwrite and plan.differs:
            args.out.confirm(_question(plan, session), args.yes)
        work.send(plan)
        compared = work.compare(plan)
        target = session.target
        handset = "%s (%s)" % (target, session.info.name)
    whole = not (plan.kept() or work.failed or work.without_blob or damaged)
    if whole and not is_hub(args.dir):
        _note(args, backup, handset, compared)
    return _finish(args, plan, work, compared, target)


def _check(args, backup):
    """Verify before anything is sent; True if a damaged backup is used all the same."""
    from drybag_host.backup.pull import checked
    from drybag_host.errors import BackupDamaged

    verdict = checked(backup, args.out, "checking backup")
    if verdict.findings and not args.salvage:
        first = verdict.findings[0]
        raise BackupDamaged(
            "%s is damaged: %s: %s; nothing was restored" % (args.dir, first.file, first.problem),
            "drybag verify names it all; --salvage restores what is intact",
            findings=[f.fields() for f in verdict.findings],
        )
    for finding in verdict.findings:
        args.out.warn("%s: %s" % (finding.file, finding.problem))
    return bool(verdict.findings)


def _restorable(backup, deleted):
    """The current records; with `deleted` also the last version of what is in the history."""
    records = {(r.kind, bytes(r.uid)): r for r in backup.records()}
    if deleted:
        gone = {(r.kind, bytes(r.uid)) for r in backup.tombstones()}
        for why, _, record in backup.history():
            key = (record.kind, bytes(record.uid))
            if why == "deleted" and key in gone:
                records[key] = record
    return [records[key] for key in sorted(records)]


def _preview(args, session, plan):
    from drybag_host import listing

    groups = (
        ("new", plan.new),
        ("there already", plan.same),
        ("differs there", plan.differs),
        ("deleted there", plan.deleted),
    )
    rows = []
    for kind, name in listing.KIND_NAMES.items():
        cells = [sum(1 for r in group if r.kind == kind) for _, group in groups]
        if any(cells):
            rows.append((name if name != "calendar" else "calendar head", *cells))
    rows.append(("all", *[len(group) for _, group in groups]))
    args.out.table(
        "Restore %s to %s (%s)" % (args.dir, session.target, session.info.name),
        ("", *(">" + name for name, _ in groups)), rows,
    )  # fmt: skip
    args.out.document(
        {
            "dir": args.dir,
            "target": session.target,
            "dry_run": args.dry_run,
            "new": len(plan.new),
            "same": len(plan.same),
            "differs": [_short(r) for r in plan.differs],
            "deleted_there": [_short(r) for r in plan.deleted],
            "to_send": len(plan.put),
        }
    )
    if plan.differs and not args.overwrite:
        args.out.say("what differs stays as it is on the handset; --overwrite changes that")
    if plan.deleted and not args.deleted:
        args.out.say("what was deleted there stays deleted; --deleted brings it back")


def _question(plan, session):
    from drybag_host import listing
    from drybag_host.output import count_text

    names = ", ".join(listing.title_of(r) for r in plan.differs[:5])
    return "overwrite %s on %s (%s%s)" % (
        count_text(len(plan.differs), "record"), session.target, names,
        ", ..." if len(plan.differs) > 5 else "")  # fmt: skip


def _short(record):
    from drybag_host import listing

    return {
        "kind": listing.kind_name(record.kind),
        "uid": listing.uid_text(record),
        "title": listing.title_of(record),
    }


def _note(args, backup, handset, compared):
    """Store the date of the comparison in the backup, unless a pull has replaced it meanwhile."""
    from drybag.errors import DrybagError
    from drybag_host.backup import disk, generation
    from drybag_host.backup.manifest import now_text

    done = {"at": now_text(), "target": handset, "records": compared}
    try:
        with disk.lock(args.dir):
            generation.finish_commit(args.dir)
            backup.require_unchanged()
            generation.amend(args.dir, backup, restore_compared=done)
    except DrybagError as error:
        args.out.warn("the date of this comparison could not be stored: %s" % error)


def _finish(args, plan, work, compared, target):
    from drybag.errors import NoSpace
    from drybag_host import listing
    from drybag_host.errors import Partial
    from drybag_host.output import count_text

    sent = len(plan.put) - len(work.failed)
    args.out.document(
        {
            "restored": sent,
            "compared": compared,
            "not_restored": [{**_short(r), "message": str(e)} for r, e in work.failed],
            "without_photo": [_short(r) for r in work.without_blob],
        }
    )
    args.out.line(
        "%s restored to %s; %s read back and compared: equal"
        % (count_text(sent, "record"), target, count_text(compared, "record"))
    )
    for record in work.without_blob:
        args.out.warn("%s: its photo is not in the backup" % listing.title_of(record))
    if not work.failed:
        return 0
    rows = [(listing.title_of(r), str(e)) for r, e in work.failed[:20]]
    args.out.table("Not restored", ("what", "why"), rows)
    full = [e for _, e in work.failed if isinstance(e, NoSpace)]
    text = "%s could not be restored; the rest is there" % count_text(len(work.failed), "record")
    if full:
        raise NoSpace(text, max(e.missing_bytes for e in full))
    raise Partial(text, "the table says why")
