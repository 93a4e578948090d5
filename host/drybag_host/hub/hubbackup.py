"""Backups of a hub: a folder that holds everything, explains itself, and was compared.

    hub.json, README.txt, SHA256SUMS     what this is; hashes of all files but the owners'
    log/LINE/...                         every row the hub wrote, as segments (segments.py)
    owners/NAME/                         each owner's records as a backup (ownercopy.py)

A backup counts when a hub was made from what was written, in a scratch place, and every row,
record and blob compared. Password hashes are in it, secrets in clear are not. SPEC.md, "Hub's
copies".
"""

import contextlib
import json
import os
import tempfile
import time
from hashlib import sha256

from drybag.errors import DrybagError, FormatNewer
from drybag_host.backup import disk, generation, lines
from drybag_host.backup.manifest import now_text
from drybag_host.backup.store import Backup, is_backup
from drybag_host.errors import BackupDamaged, HostFile, NotVerified
from drybag_host.hub import checking, segments
from drybag_host.hub.hubreadme import README_TEXT
from drybag_host.hub.identity import is_sealed
from drybag_host.hub.objects import DirObjects, open_objects
from drybag_host.hub.ownercopy import record_of, write_owner
from drybag_host.hub.restoring import (
    MANIFEST,
    OWN_META,
    OWNERS,
    Restored,
    blob_source,
    existing,
    newest,
    owner_folder,
    replay,
)
from drybag_host.hub.schema import TABLES, clean_text
from drybag_host.hub.storage import hub_id, open_storage, scan_all

__all__ = ["BackupReport", "backup", "scratch_of", "verify_backup", "verify_place"]

FORMAT = "drybag-hub-backup"
FORMAT_VERSION = 1
README = "README.txt"
SUMS = "SHA256SUMS"
ROWS = 5000
PAGE = 500
COMPARED = "backup compared"  # stats.BACKUP_COMPARED


class BackupReport:
    """What a backup holds and what it took; `fields()` for --json."""

    def __init__(self):
        self.path = self.hub = self.line = self.compared_at = ""
        self.generation = self.last_lsn = self.segments = self.new_rows = 0
        self.owners = self.owners_written = self.records = self.versions = self.blobs = 0
        self.rows_compared = self.records_compared = self.changed_since = 0
        self.ca_sealed = False
        self.missing_blobs = []
        self.findings = []

    def fields(self):
        return dict(vars(self))


def backup(storage, blobs, path, written_by="drybag", step=None, advance=None):
    """Back the hub up into a folder; BackupReport. The second time only what is new is written.

    step(text): what is done now; advance(n): rows, records, blobs. Raises NotVerified if the copy
    is not the same in the end, BackupBusy, BackupDamaged, HostDiskFull, HostFile.
    """
    step, advance = step or (lambda text: None), advance or (lambda n: None)
    report = BackupReport()
    path = os.fspath(path)
    report.path, report.hub = os.path.abspath(path), hub_id(storage)
    disk.make_dirs(path)
    with disk.lock(path):
        old = _manifest_before(path)
        report.generation = (old["generation"] if old else 0) + 1
        step("copying the log")
        line = _copy_log(storage, path, report, advance)
        with scratch_of(line, report, step, advance) as scratch:
            step("comparing every row")
            _compare_rows(storage, scratch, report, advance)
            step("writing each owner's records")
            _write_owners(path, scratch, blobs, written_by, report, advance)
        _require_same(report)
        report.compared_at = now_text()
        _write_manifest(path, line, report, written_by)
    _remember(storage, report)
    return report


def _remember(storage, report):
    """The date of the comparison, for stats and the web page."""
    detail = "%s: %d records, %d versions, %d blobs, through lsn %d" % (
        report.path, report.records, report.versions, report.blobs, report.last_lsn)  # fmt: skip
    row = {"at_ms": int(time.time() * 1000), "what": COMPARED, "detail": clean_text(detail, 500)}
    storage.commit([("audits", row)])


def _require_same(report):
    if report.findings:
        raise NotVerified(
            "the backup in %s is not the same as the hub: %s" % (report.path, report.findings[0]),
            "drybag hub verify says whether the hub or the copy is damaged",
            findings=report.findings,
        )


# --- writing ---------------------------------------------------------------------------------


def _manifest_before(path):
    """What hub.json says, None for an empty folder. Raises HostFile, BackupDamaged."""
    data = disk.read_file(os.path.join(path, MANIFEST))
    if data is not None:
        return _parse_manifest(data, path)
    ours = (".lock", "log", OWNERS, README, SUMS, MANIFEST)  # a first backup that was cut short
    if [name for name in os.listdir(path) if name.removesuffix(".tmp") not in ours]:
        raise HostFile(
            "%s: the folder is not empty and no backup of a hub" % path, "name a new folder"
        )
    return None


def _parse_manifest(data, path):
    try:
        fields = json.loads(data.decode("utf-8"))
        if fields["format"] != FORMAT:
            raise ValueError("another format")
        version = fields["format_version"]
        if isinstance(version, int) and version > FORMAT_VERSION:
            raise FormatNewer(
                "%s has format version %d, this Drybag knows up to %d; it was not touched"
                % (path, version, FORMAT_VERSION)
            )
        for name, kind in (("generation", int), ("hub", str), ("line", str), ("last_lsn", int),
                           ("owners", list)):  # fmt: skip
            if not isinstance(fields[name], kind):
                raise ValueError("%s is of the wrong type" % name)
        return fields
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BackupDamaged(
            "%s: it cannot be used: %s" % (os.path.join(path, MANIFEST), error),
            "drybag hub restore --from works without it; or back up into a new folder",
        ) from error


def _copy_log(storage, path, report, advance):
    """Add what is new to the line in the folder; to a new one if this hub was set back."""
    place = DirObjects(path)
    line, last = _line_before(storage, place, report.hub)
    number = last.segment if last else 0
    sha, lsn = (last.sha, last.last_lsn) if last else (segments.NO_SHA, 0)
    while True:
        changed = storage.changed(lsn, ROWS)
        whole = len(changed) < ROWS
        if not changed:
            break
        number += 1
        segment = segments.Segment(report.hub, line.name, number, sha, lsn, changed, whole)
        if not line.add(segment):
            raise BackupDamaged(
                "%s is there already" % line.file(number), "back up into a new folder"
            )
        sha, lsn = segment.sha, segment.last_lsn
        report.new_rows += len(changed)
        advance(len(changed))
        if whole:
            break
    report.line, report.last_lsn, report.segments = line.name, lsn, number
    return line


def _line_before(storage, place, hub):
    """(Line to go on with, its last Segment or None)."""
    lines_here = segments.lines_of(place, hub)
    if not lines_here:
        return segments.Line(place, hub, 1), None
    line = lines_here[-1]
    try:
        last = line.read(max(line.numbers(), default=0))
    except segments.BadSegment:
        return segments.next_line(place, hub), None
    if not segments.agrees(storage, last):
        return segments.next_line(place, hub), None
    line.set_head(last)  # a crash may have come between the two
    return line, last


def _write_owners(path, scratch, blobs, written_by, report, advance):
    """Each owner's folder, from the copy that was compared; then compared with it in turn."""
    for owner in checking.owners_in(scratch):
        folder = os.path.join(path, OWNERS, owner_folder(owner))
        manifest, written = write_owner(folder, scratch, owner, blobs.read, report.hub, written_by)
        report.owners_written += written
        compared = _compare_owner(scratch, owner, folder, report)
        values = {"at": now_text(), "target": "scratch", "records": compared}
        if not manifest.missing_blobs and (written or not manifest.restore_compared):
            generation.amend(folder, Backup(folder), restore_compared=values)
        for name in manifest.missing_blobs:
            report.missing_blobs.append(name)
            report.findings.append("blob %s of %s is lost in the hub" % (name, owner))
        report.owners += 1
        report.records += compared
        report.blobs += len(manifest.blobs())
        advance(compared)
    report.versions = scratch.counts("versions")
    report.ca_sealed = is_sealed(scratch)


def _write_manifest(path, line, report, written_by):
    disk.replace_file(os.path.join(path, README), README_TEXT.encode())
    owners = sorted(os.listdir(os.path.join(path, OWNERS))) if report.owners else []
    head = line.head()
    fields = {
        "format": FORMAT, "format_version": FORMAT_VERSION, "written_by": written_by,
        "generation": report.generation, "hub": report.hub, "line": line.name,
        "segment": head["segment"] if head else 0, "last_lsn": report.last_lsn,
        "compared": {"at": report.compared_at, "rows": report.rows_compared,
                     "records": report.records_compared, "blobs": report.blobs},
        "owners": owners,
    }  # fmt: skip
    data = json.dumps(fields, ensure_ascii=False, indent=1).encode() + b"\n"
    sums = {README: sha256(README_TEXT.encode()).hexdigest(), MANIFEST: sha256(data).hexdigest()}
    for name, _ in line.place.list("log"):
        sums[name] = sha256(line.place.get(name) or b"").hexdigest()
    text = "".join("%s  %s\n" % (sums[name], name) for name in sorted(sums))
    disk.replace_file(os.path.join(path, SUMS), text.encode())
    disk.replace_file(os.path.join(path, MANIFEST), data)


# --- comparing -------------------------------------------------------------------------------


@contextlib.contextmanager
def scratch_of(line, report, step=None, advance=None):
    """A storage made from a line alone, in a temporary place; what the line lacks is reported."""
    if step:
        step("making a hub from the copy")
    with tempfile.TemporaryDirectory(prefix="drybag-scratch-") as folder:
        with open_storage("sqlite:" + os.path.join(folder, "scratch.sqlite3")) as scratch:
            found = Restored()
            replay(line, scratch, found, advance)
            report.findings += found.findings
            if not found.whole and not found.findings:
                report.findings.append("log/%s: the newest part is missing" % line.name)
            yield scratch


def _compare_rows(storage, scratch, report, advance):
    """Every row of the hub with the one of the copy; what was written since does not count."""
    for name, table in TABLES.items():
        if not table.shipped:
            continue
        found = 0
        page = []
        for row in scan_all(storage, name, page=PAGE):
            if name != "meta" or row["name"] not in OWN_META:
                page.append(row)
            if len(page) == PAGE:
                found += _compare_page(table, page, scratch, report)
                advance(len(page))
                page = []
        found += _compare_page(table, page, scratch, report)
        if found != scratch.counts(name):
            report.findings.append("table %s: the copy has rows that the hub has not" % name)


def _compare_page(table, page, scratch, report):
    """Compare some rows; how many of them the copy has."""
    copies = scratch.get(table.name, [table.key_of(row) for row in page])
    for row, copy in zip(page, copies, strict=True):
        if row["lsn"] > report.last_lsn:
            report.changed_since += 1
        elif copy is None or {**copy, "lsn": 0} != {**row, "lsn": 0}:
            report.findings.append("%s %r differs" % (table.name, table.key_of(row)))
        else:
            report.rows_compared += 1
    return sum(copy is not None for copy in copies)


def _compare_owner(scratch, owner, folder, report):
    """Compare the records in a folder, read back from disk, with the heads; how many there are."""
    there = {lines.key_of(stored.record): stored.record for stored in Backup(folder).stored()}
    records = 0
    for head in scan_all(scratch, "heads", "", (owner,)):
        if head["deleted"]:
            continue
        records += 1
        row = scratch.get("versions", [(owner, head["pos"])])[0]
        record = there.pop((head["kind"], head["uid"]), None)
        if record is None or row is None or not _same(record, record_of(row)):
            report.findings.append("%s: record %r differs" % (owner, head["uid"]))
        report.records_compared += 1
    if there:
        report.findings.append("%s: %d records too many" % (owner, len(there)))
    return records


def _same(one, other):
    return lines.pack_record(one) == lines.pack_record(other)


# --- verifying -------------------------------------------------------------------------------


def verify_place(url, step=None, advance=None):
    """BackupReport of an off-site copy: its chain, every row, and every blob it names."""
    report = BackupReport()
    report.path = url
    line = newest(segments.lines_of(open_objects(existing(url))), url)
    _report_line(line, report)
    read = blob_source(url)
    with scratch_of(line, report, step, advance) as scratch:
        _check_scratch(scratch, report)
        report.owners = scratch.counts("owners")
        report.records = sum(row["live"] for row in scan_all(scratch, "owners"))
        for row in scan_all(scratch, "blobs"):
            try:
                read(row["owner"], row["sha"])
                report.blobs += 1
            except DrybagError as error:
                report.missing_blobs.append(row["sha"].hex())
                report.findings.append("blob %s: %s" % (row["sha"].hex(), error))
    return report


def _report_line(line, report):
    report.hub, report.line = line.hub, line.name
    report.last_lsn = (line.head() or {}).get("last_lsn", 0)


def _check_scratch(scratch, report):
    verdict = checking.check(scratch, None)
    report.findings += ["%(where)s: %(problem)s" % f for f in verdict.findings]
    report.versions = verdict.versions


def verify_backup(path, step=None, advance=None):
    """BackupReport of a backup as it lies there; `findings`: everything that is wrong with it."""
    report = BackupReport()
    report.path = os.path.abspath(path)
    fields = {}
    try:
        fields = _parse_manifest(disk.read_file(os.path.join(path, MANIFEST)) or b"", path)
        _check_sums(path, report)
    except BackupDamaged as error:
        report.findings.append(str(error))
    found = segments.lines_of(DirObjects(path), fields.get("hub"))
    found = [line for line in found if fields.get("line") in (None, line.name)] or found
    if not found:
        report.findings.append("log/: there is no log of this hub")
        return report
    line = found[-1]
    _report_line(line, report)
    report.generation = fields.get("generation", 0)
    report.compared_at = (fields.get("compared") or {}).get("at", "")
    with scratch_of(line, report, step, advance) as scratch:
        _check_scratch(scratch, report)
        for owner in checking.owners_in(scratch):
            _verify_owner(path, owner, scratch, fields.get("last_lsn"), report, advance)
    return report


def _check_sums(path, report):
    """SHA256SUMS, as the usual tool checks it; the log may have grown since."""
    data = disk.read_file(os.path.join(path, SUMS)) or b""
    entries = data.decode("utf-8", "replace").splitlines()
    if not any(entry.endswith("  " + MANIFEST) for entry in entries):
        report.findings.append("%s is missing, or damaged" % SUMS)
    for entry in entries:
        digest, _, name = entry.partition("  ")
        if name.endswith("head.json"):
            continue
        try:
            there = disk.read_file(os.path.join(path, *name.split("/")))
        except HostFile as error:
            report.findings.append(str(error))
            continue
        if there is None or sha256(there).hexdigest() != digest:
            report.findings.append("%s: missing, or not as it was written" % name)


def _verify_owner(path, owner, scratch, last_lsn, report, advance):
    folder = os.path.join(path, OWNERS, owner_folder(owner))
    if not is_backup(folder):
        report.findings.append("%s: the folder of %s is missing" % (folder, owner))
        return
    try:
        copy = Backup(folder, tolerant=True)
        verdict = copy.verify(None)
        report.findings += ["%s: %s: %s" % (folder, f.file, f.problem) for f in verdict.findings]
        if copy.manifest is None:
            return
        report.missing_blobs += copy.manifest.missing_blobs
        report.blobs += len(copy.manifest.blobs())
        if last_lsn == report.last_lsn and not verdict.findings:
            records = _compare_owner(scratch, owner, folder, report)
            report.records += records
            if advance:
                advance(records)
    except DrybagError as error:
        report.findings.append("%s: %s" % (folder, error))
    report.owners += 1
