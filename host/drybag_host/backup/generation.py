"""Writing one generation of a backup: staged, synced, read back, then renamed into place.

Steps, and what a crash leaves: files are written to `.partial/new` (the old backup is untouched);
that folder is renamed to `.commit` (from here on the new one counts, see store.py); its files are
renamed into place, the manifest last; the empty folder goes. `finish_commit` does the last two
steps again after a crash.
"""

import hashlib
import os
from hashlib import sha256

from drybag.layout import KIND_NAMES
from drybag_host.backup import disk, lines
from drybag_host.backup.manifest import (
    HISTORY,
    MANIFEST,
    README,
    RECORDS,
    SUMS,
    TOMBSTONES,
    blob_name,
    now_text,
)
from drybag_host.backup.readme import README_TEXT
from drybag_host.backup.store import COMMIT, PARTIAL

NEW = os.path.join(PARTIAL, "new")
ORDER = (README, RECORDS, TOMBSTONES, HISTORY, SUMS, MANIFEST)


class Contents:
    """What a generation holds, by key (kind, uid).

    stored: {key: Stored}; tombstones: {key: Record}; history: list of (why, generation, Record).
    """

    def __init__(self, backup=None):
        self.stored = {}
        self.tombstones = {}
        self.history = []
        if backup is not None:
            self.stored = {lines.key_of(s.record): s for s in backup.stored()}
            self.tombstones = {lines.key_of(r): r for r in backup.tombstones()}
            self.history = list(backup.history())

    def put(self, record, generation, absent=False):
        """A live record takes the place of what was there; the older version is kept aside."""
        key = lines.key_of(record)
        old = self.stored.get(key)
        if old and not lines.same_content(old.record, record):
            self.history.append(("replaced", generation, old.record))
        self.stored[key] = lines.Stored(record, absent)
        self.tombstones.pop(key, None)

    def delete(self, record, generation):
        """A tombstone: the record's last version is kept aside."""
        key = lines.key_of(record)
        old = self.stored.pop(key, None)
        if old:
            self.history.append(("deleted", generation, old.record))
        self.tombstones[key] = record

    def present(self):
        """Records that the handset has, for the digest."""
        return [s.record for s in self.stored.values() if not s.absent]

    def blobs(self):
        """Every blob named by a current or older version."""
        names = {sha for s in self.stored.values() for sha in s.record.blobs}
        return names.union(sha for _, _, record in self.history for sha in record.blobs)


def write(path, contents, manifest):
    """Stage `.partial/new` from Contents; fills in the counts and files of the manifest.

    Blobs must already be in place. A file that stands there with the same bytes is not written.
    Raises HostDiskFull, HostFile.
    """
    folder = os.path.join(path, NEW)
    disk.remove_tree(folder)
    disk.make_dirs(folder)
    manifest.files = {}
    for name, chunks in _tables(contents).items():
        size, digest = _size_and_sha(chunks)
        if _differs(os.path.join(path, name), size, digest):
            disk.write_file(os.path.join(folder, name), chunks)
        manifest.files[name] = (size, digest)
    _count(manifest, contents)
    _list_blobs(path, manifest, contents)
    seal(path, manifest)


def holds(path, contents, manifest):
    """Does the finished backup, whose manifest that is, list these Contents and no others?"""
    listed = manifest.files
    if any(listed.get(name) != _size_and_sha(c) for name, c in _tables(contents).items()):
        return False
    blobs = {name for name in listed if name.startswith("blobs/")}
    return blobs == {blob_name(sha) for sha in contents.blobs()}


def _tables(contents):
    """{file: its lines} of a generation."""
    return {
        README: [README_TEXT.encode()],
        RECORDS: [lines.pack_record(s.record, s.absent) for s in _sorted(contents.stored)],
        TOMBSTONES: [lines.pack_tombstone(record) for record in _sorted(contents.tombstones)],
        HISTORY: [lines.pack_history(*entry) for entry in contents.history],
    }


def _sorted(by_key):
    return [by_key[key] for key in sorted(by_key)]


def _size_and_sha(chunks):
    """As a manifest lists a file: (bytes, SHA-256 in hex)."""
    digest = sha256()
    for chunk in chunks:
        digest.update(chunk)
    return sum(map(len, chunks)), digest.hexdigest()


def _differs(path, size, digest):
    """Is a file missing, or other than these bytes?"""
    with disk.explained(path):
        if not os.path.isfile(path) or os.path.islink(path) or os.path.getsize(path) != size:
            return True
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() != digest


def seal(path, manifest):
    """Write manifest and sums of the generation staged in `.partial/new`, and sync its folder."""
    folder = os.path.join(path, NEW)
    data = manifest.pack()
    disk.write_file(os.path.join(folder, SUMS), [manifest.sums(data)])
    disk.write_file(os.path.join(folder, MANIFEST), [data])
    with disk.explained(folder):
        disk._sync_dir(folder)


def commit(path):
    """Make the staged generation the backup. Raises HostDiskFull, HostFile."""
    disk.rename(os.path.join(path, NEW), os.path.join(path, COMMIT))
    finish_commit(path)


def finish_commit(path):
    """Bring an interrupted commit to its end; without one nothing happens."""
    folder = os.path.join(path, COMMIT)
    if not os.path.isdir(folder):
        return
    for name in ORDER:
        if os.path.lexists(os.path.join(folder, name)):
            disk.rename(os.path.join(folder, name), os.path.join(path, name))
    disk.remove_tree(folder)


def amend(path, backup, **values):
    """Set fields of the manifest of a finished backup, in the same safe way."""
    manifest = backup.manifest
    for name, value in values.items():
        setattr(manifest, name, value)
    folder = os.path.join(path, NEW)
    disk.remove_tree(folder)
    disk.make_dirs(folder)
    seal(path, manifest)
    commit(path)
    partial = os.path.join(path, PARTIAL)
    if not os.listdir(partial):
        disk.remove_tree(partial)


def _count(manifest, contents):
    counts = {}
    for entry in contents.stored.values():
        name = KIND_NAMES.get(entry.record.kind, str(entry.record.kind))
        counts[name] = counts.get(name, 0) + 1
    manifest.counts = counts
    manifest.absent = sum(1 for entry in contents.stored.values() if entry.absent)
    manifest.tombstones = len(contents.tombstones)
    manifest.history = len(contents.history)
    manifest.generation += 1
    manifest.pulled_at = now_text()


def _list_blobs(path, manifest, contents):
    manifest.missing_blobs = []
    for sha in sorted(contents.blobs()):
        name = blob_name(sha)
        try:
            manifest.files[name] = (os.path.getsize(os.path.join(path, name)), sha.hex())
        except OSError:
            manifest.missing_blobs.append(sha.hex())
