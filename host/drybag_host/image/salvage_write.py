"""A salvage on disk: a backup folder, and apart from it what is in doubt."""

import json
import os

from drybag.errors import FormatNewer, NotFound
from drybag_host.backup import disk, generation
from drybag_host.backup.manifest import Manifest, blob_name
from drybag_host.backup.pull import digest_of
from drybag_host.backup.store import PARTIAL, Backup
from drybag_host.errors import BackupDamaged, HostFile, with_hint
from drybag_host.image import salvage, salvage_scan

APART = "in-doubt"
_README = """What stands here was found in %s too, and is not part of the backup above.

records/      a backup folder of versions that may be right or not; reasons.jsonl says why:
              unfinished batches, entries of segments that count no more (old versions; records
              that were deleted since), older versions of a record whose newest cannot be read
journal-*/    records of another journal (another epoch): an earlier life of this flash
blobs/        photos and large texts of which pieces are missing; zeros stand in their place
missing.jsonl what is known to be missing

drybag show, export, restore work on records/ and on journal-*/ as on any backup.
"""


class Salvaged:
    """What salvage() did: counts, `missing` (list of dicts), the main journal's `epoch`."""

    def __init__(self):
        self.epoch = 0
        self.records = self.tombstones = self.older_versions = 0
        self.entries = self.segments = 0
        self.doubtful = 0
        self.other_journals = []
        self.missing = []
        self.blobs = 0
        self.last_seq = 0
        self.newer_version_at = []

    def fields(self):
        out = dict(vars(self))
        out["epoch"] = "%08x" % self.epoch
        return out


def salvage_bytes(data, advance=None):
    """(Scan, [Result] by how much each journal holds, Blobs). Raises NotFound, FormatNewer."""
    scan = salvage_scan.scan(data, advance)
    if not scan.sectors and scan.newer:
        raise FormatNewer(
            "byte %d: written by a newer Drybag: update this one; nothing was changed"
            % scan.newer[0]
        )
    blobs = salvage.Blobs(scan)
    epochs = {sector.epoch for sector in scan.sectors}
    results = [salvage.decide(scan, epoch, blobs) for epoch in epochs]
    results = [r for r in results if r.entries]
    results.sort(key=lambda r: (-r.entries, r.epoch))
    if not results and not scan.sectors and not scan.chunks:
        raise with_hint(
            NotFound("no entry of a journal was found in %d bytes" % len(data)),
            "is it the right file? drybag dump TARGET FILE --whole reads a board's flash",
        )
    return scan, results or [salvage.Result(0)], blobs


def salvage_file(data, name, folder, advance=None, doubtful=True):
    """Write what is in `data` (read from file `name`) to a new backup folder; Salvaged.

    Raises NotFound, FormatNewer, HostFile (the folder is not empty), HostDiskFull.
    """
    scan, results, blobs = salvage_bytes(data, advance)
    if os.path.lexists(folder) and (not os.path.isdir(folder) or os.listdir(folder)):
        raise HostFile("%s: not an empty folder" % folder, "name a new folder")
    main, out = results[0], Salvaged()
    out.epoch, out.last_seq = main.epoch, main.last_seq
    out.entries, out.segments = main.entries, main.segments
    out.newer_version_at = scan.newer
    out.missing = list(main.lost)
    out.other_journals = ["%08x" % r.epoch for r in results[1:]]
    contents = _write_backup(folder, main, main.versions, name, blobs, out.missing)
    out.records, out.tombstones = len(contents.stored), len(contents.tombstones)
    out.older_versions = len(contents.history)
    out.blobs = len([sha for sha in contents.blobs() if blobs.whole(sha) is not None])
    out.doubtful = len(main.doubtful)
    for place, sha in scan.damaged_chunks:
        out.missing.append(
            {"what": "chunk", "offset": place, "blob": sha.hex() if sha else None,
             "problem": "a piece of a photo or large text that does not match its CRC"}
        )  # fmt: skip
    if doubtful:
        _write_apart(folder, name, results, scan, blobs, out.missing)
    return out


def _write_backup(folder, result, versions, name, blobs, missing):
    """A backup folder of these versions; what its records need and lack goes to `missing`."""
    contents = generation.Contents()
    for record in versions:
        if record.deleted:
            contents.delete(record, 1)
        else:
            contents.put(record, 1)
    disk.make_dirs(folder)
    with disk.lock(folder):
        needed = {sha for stored in contents.stored.values() for sha in stored.record.blobs}
        for sha in sorted(contents.blobs()):
            data = blobs.whole(sha)
            if data is not None:
                path = os.path.join(folder, blob_name(sha))
                disk.make_dirs(os.path.dirname(path))
                disk.write_file(path, [data])
            elif sha in needed:
                missing.append(_missing_blob(sha, contents, blobs))
        m = Manifest()
        m.written_by = "drybag salvage"
        m.handset_name = "salvaged from " + _short(name)
        m.epoch, m.last_seq = result.epoch, result.last_seq
        m.digest_count, m.digest = digest_of(contents.present())
        generation.write(folder, contents, m)
        generation.commit(folder)
        disk.remove_tree(os.path.join(folder, PARTIAL))
    verdict = Backup(folder).verify()
    if verdict.findings or verdict.digest != m.digest:
        raise BackupDamaged(
            "%s: what was written reads back differently" % folder, "check this disk"
        )
    return contents


def _missing_blob(sha, contents, blobs):
    lacking = blobs.lacking(sha)
    problem = "nothing of it was found" if lacking is None else "its SHA-256 does not match"
    if lacking:
        problem = "not found: %s" % ", ".join("piece %d" % i for i in lacking[:8])
        problem += ", ..." if len(lacking) > 8 else ""
    users = [s.record for s in contents.stored.values() if sha in s.record.blobs]
    return {"what": "blob", "blob": sha.hex(), "problem": problem,
            "uids": [bytes(r.uid).decode("utf-8", "replace") for r in users]}  # fmt: skip


def _short(name):
    text = os.path.basename(name).encode("utf-8", "replace").decode("utf-8")
    return text[-200:]


def _write_apart(folder, name, results, scan, blobs, missing):
    """The subfolder of what is in doubt; none where nothing is."""
    main, others = results[0], results[1:]
    parts = [sha for sha in sorted(scan.chunks) if blobs.whole(sha) is None]
    if not (main.doubtful or others or parts or missing):
        return
    apart = os.path.join(folder, APART)
    disk.make_dirs(apart)
    disk.write_file(os.path.join(apart, "README.txt"), [(_README % _short(name)).encode()])
    disk.write_file(os.path.join(apart, "missing.jsonl"), [_json(row) for row in missing])
    if main.doubtful:
        versions = [record for _, record in main.doubtful]
        _write_backup(os.path.join(apart, "records"), main, versions, name, blobs, [])
        rows = [
            {"kind": r.kind, "uid": bytes(r.uid).decode("utf-8", "replace"), "seq": r.seq,
             "why": why} for why, r in main.doubtful
        ]  # fmt: skip
        disk.write_file(os.path.join(apart, "reasons.jsonl"), [_json(row) for row in rows])
    for result in others:
        target = os.path.join(apart, "journal-%08x" % result.epoch)
        versions = result.versions + [record for _, record in result.doubtful]
        _write_backup(target, result, versions, name, blobs, [])
    for sha in parts:
        disk.make_dirs(os.path.join(apart, "blobs"))
        disk.write_file(os.path.join(apart, "blobs", sha.hex()), [blobs.part(sha)])


def _json(row):
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
