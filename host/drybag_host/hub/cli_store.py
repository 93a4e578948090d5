"""`drybag hub backup`, `restore`, `verify`, `at`, `reship`, `ca`: the copies of a hub."""

import os
import time

from drybag_host.hub.cli_accounts import _leaf, opened, opened_blobs, when_text
from drybag_host.hub.moments import TIME_HELP, moment_ms
from drybag_host.hub.places import blobs_url, make_data, storage_url

__all__ = ["add_parsers"]

CA_ENV = "DRYBAG_CA_PASSPHRASE"


def add_parsers(sub):
    one = _leaf(sub, "backup", "copy everything into a folder, restore that, and compare",
                "drybag hub backup /mnt/disk/hub-backup", _backup)  # fmt: skip
    one.description = (
        "Copy everything into a folder in open formats. Then a hub is made from the copy in a "
        "scratch place, and every row and record compared; only then the date is noted. The "
        "second time only what is new is written. Password hashes are in it, secrets are not; "
        "the hub's certificate authority is, once it was sealed: drybag hub ca seal."
    )
    one.add_argument("dir", metavar="DIR", help="the backup's folder, made if it is not there")
    _add_restore(sub)
    example = "drybag hub verify\n  drybag hub verify /mnt/disk/hub-backup"
    one = _leaf(sub, "verify", "check every hash, chain, head and photo", example, _verify)
    one.add_argument(
        "copy", metavar="DIR|URL", nargs="?",
        help="a backup or an off-site copy; the hub itself without one",
    )  # fmt: skip
    _add_at(sub)
    one = _leaf(sub, "reship", "the off-site copy is lost: ship everything again",
                "drybag hub reship", _reship)  # fmt: skip
    one.add_argument("--yes", action="store_true", help="do not ask")
    _add_ca(sub)


def _add_ca(sub):
    ca = sub.add_parser(
        "ca",
        help="the certificate authority in the hub's copies: seal, unseal",
        description="Handsets trust the hub's own certificate authority. Sealed with a passphrase "
        "its key is in every copy, so that a hub made from one is the hub they know; without it "
        "they have to be paired again. The passphrase is asked for, or taken from %s." % CA_ENV,
        epilog="example:\n  drybag hub ca seal\n",
    )
    verbs = ca.add_subparsers(metavar="VERB", required=True)
    _leaf(verbs, "seal", "put it into the hub's storage, sealed", "drybag hub ca seal", _seal)
    _leaf(verbs, "unseal", "put it from there into DIR/tls", "drybag hub ca unseal", _unseal)


def _add_restore(sub):
    one = _leaf(
        sub, "restore", "make a hub from a backup or an off-site copy",
        "drybag hub restore --from s3://bucket/hub --data /srv/hub\n"
        "  drybag hub restore --from ~/handset-backup --owner ada", _restore,
    )  # fmt: skip
    one.description = (
        "Make a hub from a backup or an off-site copy, into a data folder (or --storage) without "
        "records. It gets a new id, so handsets send again what it lacks. With --owner: put a "
        "handset's backup into that owner's records; that adds to a hub that has others."
    )
    one.add_argument("--from", dest="source", metavar="DIR|URL", required=True,
                     help="a hub's backup, an off-site copy, or a handset's backup")  # fmt: skip
    one.add_argument("--owner", metavar="OWNER", help="whose records a handset's backup becomes")
    one.add_argument("--hub", metavar="ID", help="which hub, where a place has several")


def _add_at(sub):
    one = _leaf(
        sub, "at", "what stood at a moment: list it, or write it as a backup",
        "drybag hub at 2026-01-31T09:30 --owner ada\n"
        "  drybag hub at 3d --owner ada --to ~/as-it-was", _at,
    )  # fmt: skip
    one.add_argument("time", metavar="TIME", help=TIME_HELP)
    one.add_argument("--owner", metavar="OWNER", help="whose; not needed where there is only one")
    one.add_argument("--to", metavar="DIR", help="write a backup folder, for export or restore")
    one.add_argument("--from", dest="source", metavar="DIR|URL",
                     help="from a hub's backup or off-site copy")  # fmt: skip


def _tool(args):
    return "drybag " + args.tool_version()


class _Steps:
    """Progress of work that has several parts."""

    def __init__(self, out):
        self.out = out
        self.bar = None

    def __enter__(self):
        return self

    def step(self, text):
        self.__exit__()
        self.bar = self.out.progress(text, None, "row").__enter__()

    def advance(self, n):
        if self.bar:
            self.bar.advance(n)

    def __exit__(self, *exc):
        if self.bar:
            self.bar.__exit__()
            self.bar = None
        return False


def _backup(args):
    from drybag_host.hub.hubbackup import backup
    from drybag_host.output import count_text, duration_text

    started = time.monotonic()
    with opened(args) as storage, opened_blobs(args) as blobs, _Steps(args.out) as steps:
        report = backup(storage, blobs, args.dir, _tool(args), steps.step, steps.advance)
    seconds = time.monotonic() - started
    args.out.document({"seconds": round(seconds, 3), **report.fields()})
    rows = [
        ("hub", report.hub),
        ("owners", "{:,}".format(report.owners)),
        ("records", "{:,} ({})".format(report.records, count_text(report.versions, "version"))),
        ("photos", "{:,}".format(report.blobs)),
        ("written this time", count_text(report.new_rows, "row")),
        ("compared", "%s, %s, with a hub made from it" % (
            count_text(report.rows_compared, "row"),
            count_text(report.records_compared, "record"))),
        ("certificate authority", "sealed in it" if report.ca_sealed else
         "not in it: drybag hub ca seal"),
        ("took", duration_text(seconds)),
    ]  # fmt: skip
    args.out.facts("Backup of the hub in %s" % args.dir, rows)
    return 0


def _restore(args):
    from drybag_host.errors import Partial, Usage
    from drybag_host.hub import restoring
    from drybag_host.hub.blobstore import open_blobs
    from drybag_host.hub.storage import open_storage

    path = os.path.expanduser(args.source)
    handset = _is_handset_backup(path)
    if handset and not args.owner:
        raise Usage("%s is the backup of a handset, or of one owner" % args.source,
                    "say whose records these become: --owner NAME")  # fmt: skip
    if args.owner and not handset:
        raise Usage("%s is no handset's backup: --owner does not go with it" % args.source,
                    "without --owner everybody's records are restored")  # fmt: skip
    if not handset:  # before anything is made here
        restoring.line_of(path, args.hub)
    make_data(args)
    url = storage_url(args)
    with open_blobs(blobs_url(args)) as blobs, _Steps(args.out) as steps:
        steps.step("restoring")
        if handset:
            with open_storage(url) as storage:
                report = restoring.import_backup(path, storage, blobs, args.owner, steps.advance)
        else:
            with open_storage(url, serve=True, restoring=True) as storage:
                report = restoring.restore_from(path, storage, blobs, args.hub, steps.advance)
    ca = None if handset else _bring_ca(args, url)
    args.out.document({**report.fields(), "ca": ca})
    _print_restored(args, report, handset)
    if report.findings:
        raise Partial(
            "restored what is there; the copy lacks %d things: %s"
            % (len(report.findings), report.findings[0]),
            "handsets send again what they hold when they sync next", findings=report.findings,
        )  # fmt: skip
    return 0


def _is_handset_backup(path):
    from drybag_host.backup.store import is_backup

    return not path.startswith("s3:") and is_backup(path)


def _print_restored(args, report, handset):
    rows = [
        ("owners", "{:,}".format(report.owners)),
        ("records", "{:,}, {:,} versions written".format(report.records, report.versions)),
        ("photos", "{:,}".format(report.blobs)),
    ]
    if not handset:
        rows += [
            ("written there", report.written_at),
            ("complete", "yes, as of then" if report.whole else "NO"),
            ("new id of the hub", report.hub),
        ]
        if report.others:
            rows.append(("older copies there", ", ".join(report.others)))
    args.out.facts("Restored from %s" % args.source, rows)


def _bring_ca(args, url):
    """Unseal the CA after a restore, where that can be; True if the hub has one now."""
    import sys

    from drybag.errors import DrybagError
    from drybag_host.hub import identity
    from drybag_host.hub.secrets_in import asked
    from drybag_host.hub.storage import open_storage

    folder = os.path.join(args.data, "tls")
    if os.path.isdir(folder):
        return True
    with open_storage(url) as storage:
        if not identity.is_sealed(storage):
            args.out.warn(
                "the copy holds no certificate authority: put the old one into %s before the hub "
                "is started, or pair the handsets again" % folder
            )
            return False
        if CA_ENV in os.environ or (sys.stdin and sys.stdin.isatty()):
            try:
                identity.unseal(storage, folder, asked("passphrase of the CA", CA_ENV))
                return True
            except DrybagError as error:
                args.out.warn(str(error))
    args.out.warn("before the hub is started: drybag hub ca unseal, or pair the handsets again")
    return False


def _seal(args):
    from drybag_host.hub import identity
    from drybag_host.hub.secrets_in import asked

    passphrase = asked("passphrase for the certificate authority", CA_ENV, twice=True)
    with opened(args) as storage:
        identity.seal(storage, os.path.join(args.data, "tls"), passphrase)
    args.out.document({"sealed": True})
    args.out.line("sealed: from now on it is in every copy; keep the passphrase elsewhere")
    return 0


def _unseal(args):
    from drybag_host.hub import identity
    from drybag_host.hub.secrets_in import asked

    folder = os.path.join(args.data, "tls")
    with opened(args) as storage:
        identity.unseal(storage, folder, asked("passphrase of the CA", CA_ENV))
    args.out.document({"unsealed": folder})
    args.out.line("%s holds the certificate authority that the handsets know" % folder)
    return 0


def _verify(args):
    from drybag_host.errors import BackupDamaged
    from drybag_host.hub import checking, hubbackup, restoring
    from drybag_host.hub.storage import StorageError

    with _Steps(args.out) as steps:
        if args.copy is None:
            with opened(args, readonly=True) as storage, opened_blobs(args) as blobs:
                steps.step("checking")
                verdict = checking.check(storage, blobs, steps.advance)
            found = verdict.fields()
            problems = ["%(where)s: %(problem)s" % f for f in verdict.findings]
        else:
            path = os.path.expanduser(args.copy)
            check = hubbackup.verify_place
            if restoring.is_hub_backup(path):
                check = hubbackup.verify_backup
            report = check(path, steps.step, steps.advance)
            found, problems = report.fields(), report.findings
    found["findings"] = problems
    args.out.document(found)
    for problem in problems[:50]:
        args.out.line(problem)
    if problems:
        name = args.copy or "the hub"
        kind = BackupDamaged if args.copy else StorageError
        raise kind("%s: %d things are wrong" % (name, len(problems)), findings=problems)
    shown = ("owners", "records", "versions", "blobs")
    rows = [(name, "{:,}".format(found[name])) for name in shown]
    rows.append(("found wrong", "nothing"))
    if args.copy and found["compared_at"]:
        rows.append(("compared with the hub", found["compared_at"]))
    args.out.facts("Checked %s" % (args.copy or args.data), rows)
    return 0


def _at(args):
    import contextlib

    from drybag_host.hub import hubbackup, restoring, segments
    from drybag_host.hub.objects import open_objects

    at_ms = moment_ms(args.time, time.time())
    with contextlib.ExitStack() as stack:
        if args.source is None:
            storage = stack.enter_context(opened(args, readonly=True))
            read = stack.enter_context(opened_blobs(args)).read
            row = storage.get("meta", [("hub_id",)])[0]
            hub = row["value"] if row else "0" * 16
            return _show_moment(args, storage, read, hub, at_ms)
        source = restoring.existing(os.path.expanduser(args.source))
        line = restoring.newest(segments.lines_of(open_objects(source)), source)
        report = hubbackup.BackupReport()
        storage = stack.enter_context(hubbackup.scratch_of(line, report))
        for finding in report.findings:
            args.out.warn(finding)
        source_of = restoring.blob_source(source)
        owner = _one_owner(storage, args.owner)
        return _show_moment(args, storage, lambda sha: source_of(owner, sha), line.hub, at_ms)


def _one_owner(storage, name):
    from drybag.errors import NotFound
    from drybag_host.errors import Usage
    from drybag_host.hub import checking

    names = checking.owners_in(storage)
    if name in names or (name is None and len(names) == 1):
        return name or names[0]
    if name is None:
        raise Usage("whose records? there are %d owners" % len(names), "--owner NAME")
    raise NotFound("no owner %s" % name)


def _show_moment(args, storage, read, hub, at_ms):
    from drybag.layout import KIND_NAMES
    from drybag.records import title
    from drybag_host.hub.ownercopy import contents_of, write_owner

    owner = _one_owner(storage, args.owner)
    found = {"owner": owner, "at_ms": at_ms}
    if args.to:
        manifest, _ = write_owner(args.to, storage, owner, read, hub, _tool(args), at_ms)
        found.update(dir=args.to, counts=manifest.counts, missing_blobs=manifest.missing_blobs)
        args.out.document(found)
        args.out.line("%s holds what stood at %s: %d records" % (
            args.to, when_text(at_ms), sum(manifest.counts.values())))  # fmt: skip
        return 0
    contents = contents_of(storage, owner, at_ms)
    records = [contents.stored[key].record for key in sorted(contents.stored)]
    found["records"] = [
        {"kind": KIND_NAMES.get(r.kind, r.kind), "uid": bytes(r.uid).decode("utf-8", "replace"),
         "title": title(r.kind, r.body), "pos": r.seq, "stamp": r.stamp}
        for r in records
    ]  # fmt: skip
    args.out.document(found)
    rows = [(r["kind"], r["title"], r["uid"]) for r in found["records"]]
    args.out.table("%s at %s" % (owner, when_text(at_ms)), ("kind", "~title", "~uid"), rows)
    return 0


def _reship(args):
    from drybag_host.errors import NoSuchTarget
    from drybag_host.hub import offsite

    with opened(args) as storage:
        if offsite.status(storage) is None:
            raise NoSuchTarget("this hub never had an off-site copy",
                               "drybag hub serve --offsite URL makes one")  # fmt: skip
        args.out.confirm("ship everything to the off-site place again", args.yes)
        offsite.forget(storage)
    args.out.document({"reship": True})
    args.out.line("a hub that runs with --offsite ships everything again, beginning at once")
    return 0
