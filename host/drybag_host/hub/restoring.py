"""A hub made anew from a copy: the off-site copy, a hub's backup, or a handset's backup.

A restored hub has a new id, so handsets notice and send again what it lacks. What a copy lacks is
named, and what is there is used: heads are made anew from the versions.
"""

import os
import secrets
import time
from hashlib import sha256

from drybag.errors import DrybagError, NotFound
from drybag.layout import Record
from drybag.syncwire import BODY_BYTES
from drybag_host.backup.store import Backup, is_backup
from drybag_host.errors import HostError, NoSuchTarget
from drybag_host.hub import checking, segments
from drybag_host.hub.objects import open_objects
from drybag_host.hub.offsite import open_place_blobs
from drybag_host.hub.ownerlog import OwnerLog
from drybag_host.hub.rules import IMPORTED, Version, is_later
from drybag_host.hub.schema import clean_text
from drybag_host.hub.storage import scan_all

__all__ = ["HubNotEmpty", "Restored", "import_backup", "owner_folder", "replay", "restore_from"]

MANIFEST = "hub.json"
OWNERS = "owners"
BATCH = 500
OWN_META = ("hub_id", "restoring")  # of one store, not of what it holds


class HubNotEmpty(HostError):
    """A hub's copy makes a hub: it is not put into one that has records."""

    exit_code = 68


class Restored:
    """What a restore did. `findings`: what the copy lacks, as text; empty for a whole one."""

    def __init__(self):
        self.hub = self.old_hub = self.line = ""
        self.last_lsn = self.segments = self.rows = 0
        self.owners = self.versions = self.records = self.blobs = self.blob_bytes = 0
        self.whole = False
        self.written_at = ""
        self.others = []
        self.findings = []

    def fields(self):
        return dict(vars(self))


def owner_folder(owner):
    """The name of an owner's folder in a backup: plain letters, the rest as %XX."""
    plain = b"abcdefghijklmnopqrstuvwxyz0123456789-_"
    return "".join(
        chr(byte) if byte in plain or (byte == 46 and i) else "%%%02X" % byte
        for i, byte in enumerate(owner.encode())
    )


def is_hub_backup(path):
    return os.path.isfile(os.path.join(path, MANIFEST))


def blob_source(url):
    """A function (owner, sha) -> the whole blob, checked, of a copy. It raises NotFound."""
    if not url.startswith("s3:") and is_hub_backup(url.removeprefix("dir:")):
        path = url.removeprefix("dir:")
        open_folders = {}

        def read(owner, sha):
            if owner not in open_folders:
                folder = os.path.join(path, OWNERS, owner_folder(owner))
                open_folders[owner] = Backup(folder) if is_backup(folder) else None
            if open_folders[owner] is None:
                raise NotFound("no blobs of %s" % owner)
            return open_folders[owner].read_blob(sha)

        return read
    blobs = open_place_blobs(url)
    return lambda owner, sha: blobs.read(sha)


def restore_from(url, storage, blobs, hub=None, advance=None):
    """Fill an empty storage and blob store from an off-site copy or a hub's backup: Restored.

    `hub`: the id of the hub, where a place has copies of several; else the one written to last.
    advance(n): rows done. One that was stopped goes on. Raises NoSuchTarget, HubNotEmpty,
    StorageError, FormatNewer.
    """
    report = Restored()
    line, others = line_of(url, hub)
    report.others = [other.name for other in others]
    report.old_hub, report.line = line.hub, line.name
    _begin(storage, line.name)
    bring = _Blobs(storage, blobs, blob_source(url), report)
    replay(line, storage, report, advance, bring.row)
    if not report.whole:
        for owner in checking.owners_in(storage):
            checking.rebuild(storage, owner)
    bring.rest()
    _new_hub(storage, report, url)
    report.owners = storage.counts("owners")
    report.versions = storage.counts("versions")
    report.records = sum(row["live"] for row in scan_all(storage, "owners"))
    return report


def line_of(url, hub=None):
    """(the line of a copy that was written to last, the older ones). Raises NoSuchTarget."""
    lines = segments.lines_of(open_objects(existing(url)), hub)
    return newest(lines, url), lines[:-1]


def newest(lines, url):
    """The line of a place that was written to last. Raises NoSuchTarget."""
    if not lines:
        raise NoSuchTarget("%s: no copy of a hub is there" % url, "the URL of hub serve --offsite")
    return lines[-1]


def existing(url):
    """`url`, if it is not a folder that is not there, which opening it would make."""
    path = url.removeprefix("dir:")
    if not url.startswith("s3:") and "://" not in url and not os.path.isdir(path):
        raise NoSuchTarget("%s: no such folder" % path, "name a backup, or the off-site copy")
    return url


def _begin(storage, line):
    """Note that a restore is under way: until its end no hub serves this. It may go on."""
    row = storage.get("meta", [("restoring",)])[0]
    going_on = row is not None and row["value"] == line
    if not going_on and (storage.counts("owners") or storage.scan("versions", limit=1)):
        raise HubNotEmpty(
            "this hub holds records already: nothing was restored",
            "restore into a new one: --data DIR, or --storage URL; one owner's folder is added to "
            "what is there: --from DIR/owners/NAME --owner NAME",
        )
    storage.commit([("meta", {"name": "restoring", "value": line})])


def replay(line, storage, report, advance=None, keep=lambda table, row: True):
    """Write all rows of a line into an empty storage; the hub's id is left out.

    keep(table, row): False for a row that is not to be written.
    """
    newest = None
    for segment in line.segments(report.findings):
        versions = [(r["owner"], r["pos"]) for table, r in segment.rows if table == "versions"]
        there = dict(zip(versions, storage.get("versions", versions), strict=True))
        puts = []
        for table, row in segment.rows:
            if table == "versions" and there[row["owner"], row["pos"]]:
                continue
            own = table == "meta" and row["name"] in OWN_META
            if not own and keep(table, row):
                puts.append((table, row))
        storage.commit(puts)
        report.segments += 1
        report.rows += len(puts)
        if advance:
            advance(len(puts))
        newest = segment
    if newest is not None:
        report.last_lsn, report.written_at = newest.last_lsn, newest.written_at
        report.whole = newest.whole and not report.findings


class _Blobs:
    """Brings a blob before the row that says it is there; without it there is no such row.

    So the hub asks the handset for it again.
    """

    def __init__(self, storage, blobs, read, report):
        self.storage = storage
        self.blobs = blobs
        self.read = read
        self.report = report
        self.missing = {}

    def row(self, table, row):
        """For replay(): False for the row of a blob that cannot be had."""
        if table != "blobs" or self.blobs.have(row["sha"])[1]:
            return True
        try:
            self._put(row, self.read(row["owner"], row["sha"]))
        except DrybagError as error:
            self.missing[row["owner"], row["sha"]] = (row, str(error))
            return False
        return True

    def _put(self, row, data):
        self.blobs.put(row["sha"], data)
        self.report.blobs += 1
        self.report.blob_bytes += len(data)

    def rest(self):
        """What is missing: a long body is in the log too; what nothing names is not missed."""
        named = set()
        for owner in sorted({owner for owner, _ in self.missing}):
            for version in scan_all(self.storage, "versions", "", (owner,)):
                names = version["blobs"]
                named.update((owner, names[i : i + 32]) for i in range(0, len(names), 32))
                if len(version["body"]) > BODY_BYTES:
                    key = (owner, sha256(version["body"]).digest())
                    if key in self.missing:
                        row = self.missing.pop(key)[0]
                        self._put(row, version["body"])
                        self.storage.commit([("blobs", row)])
        for (owner, sha), (_, problem) in sorted(self.missing.items()):
            if (owner, sha) in named:
                self.report.findings.append("blob %s of %s: %s" % (sha.hex(), owner, problem))


def _new_hub(storage, report, url):
    report.hub = secrets.token_hex(8)
    detail = "from %s, hub %s, through lsn %d%s" % (
        url, report.old_hub, report.last_lsn, "" if report.whole else ", which is not all of it"
    )  # fmt: skip
    now_ms = int(time.time() * 1000)
    storage.commit([
        ("meta", {"name": "hub_id", "value": report.hub}),
        ("meta", {"name": "restored_from", "value": report.old_hub}),
        ("meta", {"name": "restoring", "value": ""}),
        ("audits", {"at_ms": now_ms, "what": "restore", "detail": clean_text(detail, 500)}),
    ])  # fmt: skip


# --- from a handset's backup ------------------------------------------------------------------


def import_backup(path, storage, blobs, owner, advance=None):
    """Put a handset's backup (or one owner's folder of a hub's) into an owner's log: Restored.

    Additive: what the hub has already stays, of two versions the later counts. The owner is made
    if it is not there, without a password. Raises BackupDamaged, NoSuchTarget.
    """
    backup = Backup(path)
    report = Restored()
    report.line = os.path.abspath(path)
    if storage.get("owners", [(owner,)])[0] is None:
        now_ms = int(time.time() * 1000)
        account = {"owner": owner, "created_ms": now_ms}
        storage.commit([("owners", account)], [("owners", (owner,), "owner", None)])
    older = [record for _, _, record in backup.history()]
    todo = [(record, False) for record in older]
    todo += [(record, True) for record in backup.tombstones()]
    todo += [(stored.record, True) for stored in backup.stored()]
    epoch = backup.manifest.epoch
    for start in range(0, len(todo), BATCH):
        _import_some(todo[start : start + BATCH], backup, storage, blobs, owner, epoch, report)
        if advance:
            advance(len(todo[start : start + BATCH]))
    report.owners, report.whole = 1, not report.findings
    report.records = storage.get("owners", [(owner,)])[0]["live"]
    return report


def _import_some(todo, backup, storage, blobs, owner, epoch, report):
    for record, _ in todo:
        for sha in record.blobs:
            _import_blob(sha, backup, blobs, report)
    with storage.batch():
        log = OwnerLog(storage, blobs, owner, int(time.time() * 1000))
        log.load([(record.kind, bytes(record.uid)) for record, _ in todo])
        for record, current in todo:
            version = _version(record, epoch)
            head = log.head(version.kind, version.uid)
            if head is not None and _holds(log, version):
                continue
            counts = current and (head is None or is_later(version, head))
            log.append(version, IMPORTED, counts, rev=record.rev)
            report.versions += 1
            for sha in version.blobs:
                if blobs.have(sha)[1]:
                    log.add_blob(sha, blobs.size(sha))
        if log.changed():
            log.commit()


def _holds(log, version):
    """True if the owner's log has this very version already."""
    return any(
        old.content_id == version.content_id
        and old.deleted == version.deleted
        and old.stamp == version.stamp
        for old in log.history(version.kind, version.uid)
    )


def _version(record: Record, epoch):
    return Version(
        record.kind, bytes(record.uid), record.body or b"", deleted=record.deleted,
        stamp=record.stamp, parent=record.parent, blobs=tuple(map(bytes, record.blobs)),
        epoch=epoch, seq=record.seq,
    )  # fmt: skip


def _import_blob(sha, backup, blobs, report):
    if blobs.have(sha)[1]:
        return
    try:
        data = backup.read_blob(sha)
    except DrybagError as error:
        report.findings.append("blob %s: %s" % (bytes(sha).hex(), error))
        return
    blobs.put(sha, data)
    report.blobs += 1
    report.blob_bytes += len(data)
