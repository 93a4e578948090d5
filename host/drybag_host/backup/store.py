"""Reading a backup: records, blobs, and the check of every byte of it. Never writes.

A commit that a crash interrupted stands in `.commit`; its files count before those of the same
name outside (SPEC.md, "Backup", "Commit"), so that a reader sees the old backup or the new one.
Readers take no lock: one that meets a pull's commit finds another manifest, and says so.
"""

import os
from hashlib import sha256
from shlex import quote

from drybag import layout
from drybag.errors import NotFound
from drybag.records import title
from drybag_host.backup import disk, lines
from drybag_host.backup import manifest as manifests
from drybag_host.backup.manifest import (
    HISTORY,
    MANIFEST,
    README,
    RECORDS,
    SUMS,
    TABLES,
    TOMBSTONES,
    BadManifest,
    blob_name,
)
from drybag_host.errors import BackupBusy, BackupDamaged, HostFile, NoSuchTarget

COMMIT = ".commit"
PARTIAL = ".partial"
CHUNK_BYTES = 1 << 18
MAX_TABLE_BYTES = 1 << 30
MAX_MANIFEST_BYTES = 1 << 28
SALVAGE_HINT = "drybag verify %s says what is damaged; --salvage goes on with what is intact"


class Finding:
    """One damaged file of a backup: its name, what is wrong, the records it holds."""

    def __init__(self, file, problem, records=()):
        self.file = file
        self.problem = problem
        self.records = list(records)

    def fields(self):
        return {"file": self.file, "problem": self.problem, "records": self.records}


class Verdict:
    """What verify() found: `findings` is empty for a backup that is as it was written."""

    def __init__(self):
        self.findings = []
        self.notes = []
        self.files = 0
        self.bytes = 0
        self.records = 0
        self.digest = ""

    @property
    def ok(self):
        return not self.findings


def is_backup(path):
    """True for a folder that holds a finished backup."""
    return any(os.path.lexists(os.path.join(path, d, MANIFEST)) for d in ("", COMMIT))


def has_partial(path):
    """True for a folder with a pull that has not finished."""
    return os.path.isdir(os.path.join(path, PARTIAL))


class Backup:
    """A backup folder. Raises NoSuchTarget, BackupDamaged, FormatNewer on opening.

    Reading raises BackupDamaged, and BackupBusy where a pull replaced it meanwhile.
    `tolerant`: damage is collected in `findings`, what is intact is served. `inside`: folder
    whose files count first (a generation that is not committed yet).
    """

    def __init__(self, path, tolerant=False, inside=COMMIT):
        self.path = path
        self.inside = inside
        self.tolerant = tolerant
        self.findings = []
        self.manifest = None
        self._stored = None
        self._require()
        data = self._read(MANIFEST, limit_bytes=MAX_MANIFEST_BYTES)
        try:
            self.manifest = manifests.parse(data or b"")
        except BadManifest as error:
            self._damage(MANIFEST, "%s: %s" % (MANIFEST, error))

    # --- what is in it ---

    def stored(self):
        """Every Stored of records.jsonl, in its order."""
        if self._stored is None:
            self._stored = self._table(RECORDS, lines.parse_record)
        return self._stored

    def records(self):
        """Every Record, those included that the handset lost without a tombstone."""
        for stored in self.stored():
            yield stored.record

    def tombstones(self):
        """Every deleted Record (no body), in the order of the file."""
        return self._table(TOMBSTONES, lines.parse_tombstone)

    def history(self):
        """(why, generation, Record) of every older version, oldest first."""
        return self._table(HISTORY, lines.parse_history)

    def has_blob(self, sha):
        return os.path.isfile(self._path(blob_name(sha)))

    def blob_size(self, sha):
        """Size in bytes. Raises NotFound."""
        try:
            return os.path.getsize(self._path(blob_name(sha)))
        except OSError as error:
            raise self._no_blob(sha) from error

    def blob_chunks(self, sha):
        """The blob in pieces; the last one comes only if the hash is right.

        Raises NotFound, BackupDamaged.
        """
        name = blob_name(sha)
        if not self.has_blob(sha):
            raise self._no_blob(sha)
        digest = sha256()
        held = b""
        with disk.explained(name), open(self._checked_path(name), "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                if held:
                    yield held
                held = chunk
        if digest.digest() != bytes(sha):
            raise BackupDamaged("%s: it does not match its SHA-256" % self._where(name), file=name)
        if held:
            yield held

    def read_blob(self, sha):
        """The whole blob. Raises NotFound, BackupDamaged."""
        return b"".join(self.blob_chunks(sha))

    # --- checking ---

    def verify(self, advance=None):
        """Check every byte: Verdict. `advance(n)` is told of bytes read. Raises BackupBusy."""
        verdict = Verdict()
        checker = Backup(self.path, tolerant=True, inside=self.inside)
        if checker.manifest is None:
            verdict.findings += checker.findings
        else:
            checker._check_sums(verdict)
            checker._check_files(verdict, advance)
        checker._check_records(verdict)
        checker._note_strangers(verdict)
        if verdict.findings:
            checker.require_unchanged()
        return verdict

    def require_unchanged(self):
        """Raises BackupBusy if the manifest is another than the one that was opened."""
        if self.manifest is None:
            return
        path = self._checked_path(MANIFEST)
        if disk.read_file(path, MAX_MANIFEST_BYTES) not in (None, self.manifest.pack()):
            raise BackupBusy(
                "%s was replaced by another drybag while it was read" % self.path,
                "run the command again",
            )

    def bytes_listed(self):
        """How much verify() reads, in bytes."""
        return sum(size for size, _ in self.manifest.files.values()) if self.manifest else 0

    def _check_sums(self, verdict):
        own = self._read(MANIFEST)
        if self._read(SUMS) != self.manifest.sums(own):
            verdict.findings.append(
                Finding(SUMS, "%s does not match %s: one of them was changed" % (SUMS, MANIFEST))
            )

    def _check_files(self, verdict, advance):
        by_blob = self._records_by_blob()
        for name, (size, digest) in sorted(self.manifest.files.items()):
            problem = self._check_file(name, size, digest, advance)
            verdict.files += 1
            verdict.bytes += size
            if not problem:
                continue
            held = []
            if name.startswith("blobs/"):
                held = by_blob.get(bytes.fromhex(digest), [])
            elif name in TABLES:
                held, problem = self._damaged_lines(name, problem)
            verdict.findings.append(Finding(name, problem, held))

    def _check_file(self, name, size, digest, advance):
        """What is wrong with a file, or ''."""
        try:
            path = self._checked_path(name)
            if not os.path.lexists(path):
                return "the file is missing"
            if not os.path.isfile(path):
                return "not a regular file"
            found = sha256()
            length = 0
            with open(path, "rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    found.update(chunk)
                    length += len(chunk)
                    if advance:
                        advance(len(chunk))
        except (OSError, BackupDamaged, HostFile) as error:
            return "cannot be read: %s" % error
        if length != size:
            return "it has %d bytes instead of %d" % (length, size)
        if found.hexdigest() != digest:
            return "its bytes do not match the SHA-256 in %s" % MANIFEST
        return ""

    def _damaged_lines(self, name, problem):
        """([records in damaged lines], problem with line numbers) of a damaged table."""
        held = []
        numbers = []
        for number, line in self._lines(name):
            try:
                _PARSERS[name](line)
            except lines.BadRecordLine as error:
                numbers.append(str(number))
                held.append({"line": number, "uid": error.uid, "problem": str(error)})
        if numbers:
            shown = ", ".join(numbers[:10]) + (", ..." if len(numbers) > 10 else "")
            problem += "; damaged: line " + shown
        return held, problem

    def _check_records(self, verdict):
        """The content: every blob is there, nothing twice, the digest is the handset's."""
        seen = set()
        acc = count = 0
        listed = self.manifest.blobs() if self.manifest else None
        missing = set(self.manifest.missing_blobs) if self.manifest else set()
        for stored in self.stored():
            record = stored.record
            key = lines.key_of(record)
            if key in seen:
                verdict.findings.append(Finding(RECORDS, "one record twice", [_name(record)]))
            seen.add(key)
            for sha in record.blobs:
                if listed is not None and sha not in listed and sha.hex() not in missing:
                    verdict.findings.append(
                        Finding(blob_name(sha), "a record needs this file", [_name(record)])
                    )
            if not stored.absent:
                acc = layout.digest_step(acc, record)
                count += 1
        verdict.records = len(seen)
        verdict.digest = "%064x" % acc
        known = {f.file for f in verdict.findings}
        for finding in self.findings:
            if finding.file not in known:
                verdict.findings.append(finding)
        self._check_totals(verdict, count)

    def _check_totals(self, verdict, count):
        m = self.manifest
        if m is None or any(f.file == RECORDS for f in verdict.findings):
            return
        if m.verified and (verdict.digest, count) != (m.digest, m.digest_count):
            verdict.findings.append(
                Finding(MANIFEST, "its digest is not that of the records in %s" % RECORDS)
            )

    def _note_strangers(self, verdict):
        """Files the manifest does not list: harmless, but worth a word."""
        if self.manifest is None:
            return
        known = set(self.manifest.files) | {MANIFEST, SUMS}
        extra = []
        for folder, folders, names in os.walk(self.path):
            inside = os.path.relpath(folder, self.path)
            folders[:] = [f for f in folders if f not in (PARTIAL, COMMIT)]
            for name in names:
                full = name if inside == "." else inside.replace(os.sep, "/") + "/" + name
                if full not in known and full != disk.LOCK:
                    extra.append(full)
        if extra:
            shown = ", ".join(sorted(extra)[:3]) + (", ..." if len(extra) > 3 else "")
            verdict.notes.append("%d files that are not part of it: %s" % (len(extra), shown))
        if has_partial(self.path):
            verdict.notes.append("a later pull was interrupted: drybag pull goes on with it")

    # --- files ---

    def _require(self):
        if not os.path.isdir(self.path):
            raise NoSuchTarget("%s: no such folder" % self.path, "name the folder of a backup")
        names = (MANIFEST, RECORDS) if self.tolerant else (MANIFEST,)
        if any(os.path.lexists(self._path(name)) for name in names):
            return
        if has_partial(self.path):
            raise BackupDamaged(
                "%s: the first pull into it has not finished" % self.path,
                "run drybag pull again: it goes on where it stopped",
            )
        if os.path.lexists(self._path(RECORDS)):
            raise BackupDamaged(
                "%s: %s is missing" % (self.path, MANIFEST), SALVAGE_HINT % quote(str(self.path))
            )
        raise NoSuchTarget(
            "%s: not a backup, it has no %s" % (self.path, MANIFEST),
            "name the folder that drybag pull wrote",
        )

    def _path(self, name):
        """Where a file is now: in the interrupted commit, or in its place."""
        if self.inside:
            early = os.path.join(self.path, self.inside, name)
            if os.path.lexists(early):
                return early
        return os.path.join(self.path, name)

    def _checked_path(self, name):
        """_path() of a file that is really inside the folder: no symbolic link leads out."""
        path = self._path(name)
        root = os.path.realpath(self.path)
        if os.path.commonpath([root, os.path.realpath(path)]) != root:
            raise BackupDamaged("%s: a link leads out of the backup" % self._where(name))
        return path

    def _read(self, name, limit_bytes=MAX_TABLE_BYTES):
        """The bytes of a file, or None; what is there and cannot be read is damage."""
        try:
            data = disk.read_file(self._checked_path(name), limit_bytes)
            if data is None and self.inside:  # a commit may just have put it in its place
                data = disk.read_file(self._checked_path(name), limit_bytes)
            return data
        except (BackupDamaged, HostFile) as error:
            self._damage(name, "cannot be read: %s" % error)
            return None

    def _where(self, name):
        return os.path.join(self.path, name)

    def _lines(self, name):
        """(number from 1, line without LF) of a table."""
        data = self._read(name) or b""
        for number, line in enumerate(data.split(b"\n"), 1):
            if line:
                yield number, line

    def _table(self, name, parse):
        """Everything in a table; damage raises BackupDamaged, or is collected if tolerant."""
        data = self._read(name)
        if self.manifest is not None:
            size, digest = self.manifest.files[name]
            if data is None:
                self._damage(name, "the file is missing")
            elif len(data) != size or sha256(data).hexdigest() != digest:
                self._damage(name, "its bytes do not match the SHA-256 in %s" % MANIFEST)
        out = []
        for number, line in enumerate((data or b"").split(b"\n"), 1):
            if not line:
                continue
            try:
                out.append(parse(line))
            except lines.BadRecordLine as error:
                self._damage(name, "line %d: %s" % (number, error))
        return out

    def _damage(self, name, problem):
        self.require_unchanged()
        if not self.tolerant:
            raise BackupDamaged(
                "%s: %s" % (self._where(name), problem),
                SALVAGE_HINT % quote(str(self.path)),
                file=name,
            )
        self.findings.append(Finding(name, problem))

    def _no_blob(self, sha):
        return NotFound("%s: the blob is not in the backup" % self._where(blob_name(sha)))

    def _records_by_blob(self):
        out = {}
        for stored in self.stored():
            for sha in stored.record.blobs:
                out.setdefault(sha, []).append(_name(stored.record))
        return out


_PARSERS = {
    RECORDS: lines.parse_record,
    TOMBSTONES: lines.parse_tombstone,
    HISTORY: lines.parse_history,
}
_TEXTS = (README, *TABLES)


def _name(record):
    """A record for a report."""
    return {
        "kind": layout.KIND_NAMES.get(record.kind, str(record.kind)),
        "uid": bytes(record.uid).decode("utf-8", "backslashreplace"),
        "title": title(record.kind, record.body),
    }
