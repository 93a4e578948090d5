"""Pull: bring a backup up to what a handset holds, and prove it.

The stream of changes is staged (staging.py), merged with what the backup has (`merge`, pure),
compared with the handset's own digest, written as a new generation and read back from disk
(generation.py). Absence is never deletion: what is gone without a tombstone stays, marked.
"""

import os
from contextlib import closing

from drybag import layout
from drybag.errors import Damaged, NotFound
from drybag.layout import KIND_NAMES
from drybag_host.backup import disk, generation, lines
from drybag_host.backup.manifest import BLOBS, Manifest, blob_name, is_file_name, now_text
from drybag_host.backup.staging import Staging, discard
from drybag_host.backup.store import PARTIAL, Backup, is_backup
from drybag_host.errors import BackupDamaged, HostFile, NotVerified, OtherHandset

MAX_ROUNDS = 8
DAMAGED = "damaged"


class Report:
    """What a pull did; `fields()` for --json."""

    def __init__(self):
        self.added = self.changed = self.deleted = self.absent = 0
        self.blobs = self.blob_bytes = 0
        self.resumed = False
        self.reconnects = 0
        self.verified = False
        self.full = False
        self.missing = []
        self.damaged = []
        self.manifest = None

    def fields(self):
        names = ("added", "changed", "deleted", "absent", "blobs", "blob_bytes", "resumed",
                 "reconnects", "verified", "full")  # fmt: skip
        out = {name: getattr(self, name) for name in names}
        out["damaged_blobs"] = [sha.hex() for sha in self.missing]
        out["damaged_records"] = [
            {"kind": KIND_NAMES.get(kind, kind), "uid": uid.decode("utf-8", "replace"), "seq": seq}
            for kind, uid, seq in self.damaged
        ]
        m = self.manifest
        out.update(
            handset=m.handset_name, handset_id=m.handset_id, generation=m.generation,
            last_seq=m.last_seq, digest=m.digest, counts=m.counts, history=m.history,
        )  # fmt: skip
        return out


def continuity(manifest, info):
    """Why the handset does not go on where the backup stopped; '' if it does. Pure."""
    if manifest.handset_id != info.id:
        return "this backup is of handset %s (%s), the target is %s (%s)" % (
            manifest.handset_name, manifest.handset_id, info.name, info.id)  # fmt: skip
    if manifest.epoch != info.epoch:
        return "the handset was formatted since the last pull (journal %08x, now %08x)" % (
            manifest.epoch, info.epoch)  # fmt: skip
    if manifest.last_seq > info.last_seq:
        return "the handset was set back: it is at change %d, the backup has change %d" % (
            info.last_seq, manifest.last_seq)  # fmt: skip
    return ""


def merge(base, entries, number, full):
    """Contents of the new generation from the old one and what arrived. Pure.

    `entries`: Records and tombstones; the highest seq of a key counts. `full`: entries list
    everything on the handset, so what is not among them is marked absent.
    """
    out = generation.Contents()
    out.stored = dict(base.stored)
    out.tombstones = dict(base.tombstones)
    out.history = list(base.history)
    newest = {}
    for record in entries:
        key = lines.key_of(record)
        if key not in newest or record.seq >= newest[key].seq:
            newest[key] = record
    for key in sorted(newest):
        if newest[key].deleted:
            out.delete(newest[key], number)
        else:
            out.put(newest[key], number)
    if full:
        for key, stored in out.stored.items():
            if key not in newest:
                out.stored[key] = lines.Stored(stored.record, absent=True)
    return out


def digest_of(records):
    """(count, 64 hex digits) of records, as the handset computes it."""
    acc = count = 0
    for record in records:
        acc = layout.digest_step(acc, record)
        count += 1
    return count, "%064x" % acc


def open_base(path, out, repair=False):
    """(Backup or None, findings) of what is there before a pull.

    Raises HostFile for a folder with other things in it, BackupDamaged unless `repair`.
    """
    if not is_backup(path):
        if not _refuse_foreign(path, repair):
            return None, []
    base = Backup(path, tolerant=repair)
    verdict = checked(base, out, "checking backup")
    if verdict.findings and not repair:
        first = verdict.findings[0]
        raise BackupDamaged(
            "%s is damaged: %s: %s" % (path, first.file, first.problem),
            "drybag pull --repair keeps the damaged files aside and fetches everything again",
            findings=[f.fields() for f in verdict.findings],
        )
    return base, verdict.findings


def checked(backup, out, label):
    """The Verdict on a Backup, with a progress bar."""
    with out.progress(label, backup.bytes_listed() or None, "bytes") as bar:
        return backup.verify(bar.advance)


def _refuse_foreign(path, repair):
    """Raises HostFile where a folder without a manifest holds what no first pull leaves there.

    With `repair`: True instead, since it may be what is left of a backup.
    """
    with disk.explained(path):
        names = set(os.listdir(path)) - {PARTIAL, disk.LOCK, BLOBS}
        foreign = bool(names) or not all(map(is_file_name, _files_below(path, BLOBS)))
    if foreign and not repair and not is_backup(path):
        raise HostFile(
            "%s: the folder is not empty and no backup" % path,
            "name a new folder, or an empty one",
        )
    return foreign


def _files_below(path, folder):
    """Names, relative to `path`, of the files in a folder of it."""
    for inside, _, names in os.walk(os.path.join(path, folder)):
        for name in names:
            yield os.path.relpath(os.path.join(inside, name), path).replace(os.sep, "/")


class Pull:
    """One pull of `session`'s handset into the folder `path`; run() returns a Report."""

    def __init__(self, path, session, out, adopt=False, repair=False, written_by="drybag"):
        self.path = path
        self.session = session
        self.out = out
        self.adopt = adopt
        self.repair = repair
        self.written_by = written_by
        self.report = Report()

    def run(self):
        """Raises OtherHandset, BackupDamaged, BackupBusy, NotVerified, HostDiskFull, LinkError."""
        disk.make_dirs(self.path)
        _refuse_foreign(self.path, self.repair)  # before a lock file is left in it
        with disk.lock(self.path):
            generation.finish_commit(self.path)
            base, findings = open_base(self.path, self.out, self.repair)
            self._plan(base, findings)
            contents, digest = self._receive()
            self._write(contents, digest)
        return self.report

    # --- deciding ---

    def _plan(self, base, findings):
        info = self.session.info
        manifest = base.manifest if base else None
        problem = continuity(manifest, info) if manifest else ""
        if problem and not self.adopt:
            raise OtherHandset(
                problem,
                "pull into another folder; or add --adopt: nothing in this one is thrown away",
            )
        self.base = generation.Contents(base)
        if findings:
            self._set_aside(findings)
        self.full = bool(base is None or problem or findings)
        self.manifest = manifest or Manifest()
        if manifest is None:
            self.manifest.generation = max((g for _, g, _ in self.base.history), default=0)
        self.number = self.manifest.generation + 1
        self.report.full = self.full

    def _set_aside(self, findings):
        """Damaged files are kept in a folder of their own, so that nothing of them is lost."""
        folder = os.path.join(self.path, DAMAGED)
        disk.make_dirs(folder)
        for finding in findings:
            old = os.path.join(self.path, finding.file)
            if os.path.lexists(old):
                new = disk.free_name(os.path.join(folder, os.path.basename(finding.file)))
                if finding.file.startswith("blobs/"):
                    disk.rename(old, new)  # read again from the handset
                else:
                    disk.write_file(new, [disk.read_file(old)])

    # --- receiving ---

    def _staging(self):
        info = self.session.info
        return Staging(
            self.path,
            {
                "handset": info.id,
                "epoch": info.epoch,
                "generation": self.manifest.generation,
                "since": 0 if self.full else self.manifest.last_seq,
            },
        )

    def _receive(self):
        """(Contents, digest hex or None): what the handset holds, equal to its own digest."""
        staging = self._staging()
        self.report.resumed = staging.resumed
        rounds = 0
        try:
            while True:
                top = self.session.hello().last_seq
                self._stream(staging)
                contents = merge(self.base, staging.entries, self.number, self.full)
                self._fetch_blobs(staging, contents)
                state = self._handset_digest()
                self.manifest.last_seq = top
                if state is None:
                    return contents, None
                if state[0] == digest_of(contents.present()):
                    return contents, state[0]
                rounds += 1
                if state[1] != top and rounds < MAX_ROUNDS:
                    staging.next_round(top)
                    continue
                if self.full:
                    raise NotVerified(
                        "the records that arrived do not add up to the handset's digest; "
                        "the backup stays as it was",
                        "run it again; if it comes back, drybag scrub TARGET",
                    )
                self.out.say("the digests differ: reading everything again")
                staging = self._start_over(staging)
        finally:
            staging.close()

    def _start_over(self, staging):
        staging.close()
        discard(self.path)
        self.full = self.report.full = True
        return self._staging()

    def _handset_digest(self):
        """((count, hex), last_seq after it), or None if damage keeps the handset from it."""
        try:
            count, digest = self.session.attempt(lambda link: link.digest())
        except Damaged as error:
            self.out.warn("the handset cannot check itself: %s" % error)
            return None
        return (count, bytes(digest).hex()), self.session.hello().last_seq

    def _stream(self, staging):
        info = self.session.info
        expected = sum(info.counts.values()) if self.full else info.last_seq - staging.since
        label = "records" if self.full else "changes"
        with self.out.progress("reading " + label, max(expected, 1), "record") as bar:
            bar.set_done(len(staging.entries))

            def work(link):
                with closing(link.changes(staging.since, staging.cursor)) as stream:
                    for cursor, record in stream:
                        _ = record.body  # whole now, or not at all
                        staging.add(cursor, record)
                        bar.advance()
                        self.session.progressed()
                self._note_damage(link)

            self.session.attempt(work)
            staging.sync()
            bar.set_total(bar.done)

    def _note_damage(self, link):
        """Records whose body is damaged on the flash: the backup keeps its last version."""
        known = {(kind, uid) for kind, uid, _ in self.report.damaged}
        for kind, uid, seq in link.damaged:
            if (kind, bytes(uid)) not in known:
                self.report.damaged.append((kind, bytes(uid), seq))
                name = "%s %s" % (
                    KIND_NAMES.get(kind, kind),
                    bytes(uid).decode("utf-8", "replace"),
                )
                self.out.warn("damaged on the handset, not in this pull: " + name)

    def _fetch_blobs(self, staging, contents):
        wanted = [sha for sha in sorted(contents.blobs()) if not self._has_blob(sha)]
        if not wanted:
            return
        with self.out.progress("reading photos", None, "bytes") as bar:
            for sha in wanted:
                self._fetch_blob(staging, sha, bar)

    def _has_blob(self, sha):
        """Is it there? One that no manifest lists is of a pull cut short: its hash decides."""
        name = blob_name(sha)
        path = os.path.join(self.path, name)
        if not os.path.isfile(path):
            return False
        return name in self.manifest.files or disk.sha256_of(path) == bytes(sha)

    def _fetch_blob(self, staging, sha, bar):
        def work(link):
            with closing(link.read_blob(sha, staging.blob_offset(sha))) as chunks:
                staging.receive_blob(sha, chunks, advance)

        def advance(size_bytes):
            self.report.blob_bytes += size_bytes
            bar.advance(size_bytes)
            self.session.progressed()

        for last in (False, True):
            try:
                self.session.attempt(work)
                self.report.blobs += 1
                return
            except (NotFound, Damaged) as error:
                problem = error
                break
            except BackupDamaged as error:
                problem = error
                if last:
                    break
        self.out.warn("a photo or attachment could not be read from the handset: %s" % problem)
        self.report.missing.append(bytes(sha))

    # --- writing ---

    def _write(self, contents, digest):
        m, info = self.manifest, self.session.info
        m.written_by = self.written_by
        m.handset_id, m.handset_name, m.epoch = info.id, info.name, info.epoch
        m.digest_count, m.digest = digest or digest_of(contents.present())
        m.verified_at = now_text() if digest else None
        self._count(contents)
        if self.report.added or self.report.changed or self.report.deleted:
            m.restore_compared = None
        generation.write(self.path, contents, m)
        verdict = checked(Backup(self.path, inside=generation.NEW), self.out, "reading back")
        if verdict.findings or verdict.digest != m.digest:
            first = verdict.findings[0] if verdict.findings else None
            raise BackupDamaged(
                "what was written reads back differently: %s"
                % (first.file + ": " + first.problem if first else "digest"),
                "check this disk; the backup stays as it was",
            )
        generation.commit(self.path)
        discard(self.path)
        self.report.manifest = m
        self.report.verified = m.verified
        self.report.reconnects = self.session.reconnects

    def _count(self, contents):
        old, new = self.base.stored, contents.stored
        report = self.report
        report.added = len(new.keys() - old.keys())
        report.deleted = len(old.keys() - new.keys())
        report.absent = sum(1 for s in new.values() if s.absent)
        report.changed = sum(
            1 for key in new.keys() & old.keys()
            if not lines.same_content(new[key].record, old[key].record)
        )  # fmt: skip
