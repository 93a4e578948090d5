"""One owner's records as a backup folder, from the hub's log: now, or as of a moment.

The folder is that of a handset's backup (SPEC.md, "Backup"), so everything that reads those reads
it. A record's seq is its position in the owner's log; older versions are its history.
"""

import os

from drybag.errors import DrybagError
from drybag.layout import Record
from drybag_host.backup import disk, generation, lines
from drybag_host.backup.manifest import Manifest, blob_name, now_text
from drybag_host.backup.pull import digest_of
from drybag_host.backup.store import PARTIAL, Backup, is_backup
from drybag_host.errors import BackupDamaged
from drybag_host.hub.rules import SAME
from drybag_host.hub.storage import scan_all

__all__ = ["contents_of", "record_of", "write_owner"]

MAX_REV = 0xFFFF


def record_of(row):
    """The Record of a row of `versions`."""
    names = row["blobs"]
    return Record(
        row["kind"], row["uid"], b"" if row["deleted"] else row["body"],
        [names[i : i + 32] for i in range(0, len(names), 32)], row["parent"], row["pos"],
        row["stamp"], min(row["rev"], MAX_REV), bool(row["deleted"]),
    )  # fmt: skip


def contents_of(storage, owner, at_ms=None, known=None, number=1):
    """generation.Contents of an owner's log; `at_ms`: only what the hub had received by then.

    known: {(kind, uid, seq): generation} of older versions that an earlier backup put aside;
    number: the generation of those that it did not.
    """
    known = known or {}
    out = generation.Contents()
    older = []
    heads = {}
    for row in scan_all(storage, "versions", "", (owner,)):
        if row["role"] == SAME or (at_ms is not None and row["received_ms"] > at_ms):
            continue  # SAME: says what another version says, and holds nothing
        record = record_of(row)
        key = lines.key_of(record)
        if not row["counts"]:
            if not record.deleted:
                older.append(("replaced", record))
            continue
        old = heads.get(key)
        if old is not None and not old.deleted:
            if record.deleted:
                older.append(("deleted", old))
            elif not lines.same_content(old, record):
                older.append(("replaced", old))
        heads[key] = record
    for key, record in heads.items():
        if record.deleted:
            out.tombstones[key] = record
        else:
            out.stored[key] = lines.Stored(record)
    older.sort(key=lambda entry: entry[1].seq)
    for why, record in older:
        where = known.get((*lines.key_of(record), record.seq), number)
        out.history.append((why, where, record))
    return out


def write_owner(folder, storage, owner, read_blob, hub, written_by, at_ms=None):
    """Write an owner's backup folder, or bring it up to date; (Manifest, True if it was written).

    read_blob(sha): the whole blob, checked. What cannot be read is in manifest.missing_blobs. The
    folder is read back before it counts. One that holds all this already, whole, is left as it
    is. Raises BackupDamaged, BackupBusy, HostDiskFull.
    """
    disk.make_dirs(folder)
    with disk.lock(folder):
        generation.finish_commit(folder)
        old = Backup(folder, tolerant=True) if is_backup(folder) else None
        manifest = old.manifest if old and old.manifest else Manifest()
        known = {}
        if old:
            known = {(*lines.key_of(r), r.seq): number for _, number, r in old.history()}
        number = manifest.generation + 1
        contents = contents_of(storage, owner, at_ms, known, number)
        _bring_blobs(folder, contents, read_blob)
        said = _whose(manifest)
        _describe(manifest, contents, storage, owner, hub, at_ms)
        if old and said == _whose(manifest) and generation.holds(folder, contents, manifest):
            if old.verify().ok:
                return manifest, False
        manifest.written_by = written_by
        manifest.verified_at = now_text()
        manifest.restore_compared = None
        generation.write(folder, contents, manifest)
        verdict = Backup(folder, inside=generation.NEW).verify()
        if verdict.findings:
            first = verdict.findings[0]
            raise BackupDamaged(
                "%s: what was written reads back differently: %s" % (first.file, first.problem),
                "check this disk; what stood here before stays",
            )
        generation.commit(folder)
        partial = os.path.join(folder, PARTIAL)
        disk.remove_tree(partial)
        return manifest, True


def _whose(manifest):
    """What a manifest says of where its records are from, and how far they go."""
    return (manifest.handset_id, manifest.handset_name, manifest.epoch, manifest.last_seq,
            manifest.digest_count, manifest.digest)  # fmt: skip


def _describe(manifest, contents, storage, owner, hub, at_ms):
    account = storage.get("owners", [(owner,)])[0]
    manifest.handset_id, manifest.handset_name = "hub-" + hub, owner
    manifest.epoch = int(hub[:8], 16)
    if account and at_ms is None:
        manifest.last_seq = account["pos"]
    else:
        seqs = [r.seq for r in (*contents.present(), *contents.tombstones.values())]
        manifest.last_seq = max(seqs, default=0)
    manifest.digest_count, manifest.digest = digest_of(contents.present())


def _bring_blobs(folder, contents, read_blob):
    """Every blob that a version names into its place, each whole; a damaged one is replaced."""
    for sha in sorted(contents.blobs()):
        place = os.path.join(folder, blob_name(sha))
        if os.path.isfile(place) and _intact(place, sha):
            continue
        try:
            data = read_blob(sha)
        except DrybagError:
            continue
        disk.make_dirs(os.path.dirname(place))
        disk.replace_file(place, data)


def _intact(path, sha):
    from hashlib import sha256

    digest = sha256()
    with disk.explained(path), open(path, "rb") as file:
        while chunk := file.read(1 << 18):
            digest.update(chunk)
    return digest.digest() == bytes(sha)
