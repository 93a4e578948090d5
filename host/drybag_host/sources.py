"""DIR|TARGET: records and blobs to read, from a backup, a dump file or a handset."""

import contextlib
import os

from drybag.errors import Damaged, NotFound
from drybag_host.targets import add_kind, add_source, is_folder, is_hub, open_session
from drybag_host.virtual import is_virtual

__all__ = [
    "BackupSource", "DumpSource", "HandsetSource", "add_kind", "add_source", "is_dump",
    "open_source",
]  # fmt: skip


class BackupSource:
    """The records of a backup folder. `tolerant`: what is damaged is left out and named."""

    is_backup = True

    def __init__(self, path, tolerant=False):
        from drybag_host.backup.store import Backup

        self.backup = Backup(path, tolerant)
        self.name = path

    def records(self):
        return list(self.backup.records())

    def find(self, text, kind):
        return None

    def get(self, kind, uid):
        for record in self.backup.records():
            if (record.kind, record.uid) == (kind, uid):
                return record
        raise NotFound("%s: no such record" % self.name)

    def history(self, kind, uid):
        """Older versions, newest first."""
        found = [
            r for _, _, r in self.backup.history() if (r.kind, bytes(r.uid)) == (kind, bytes(uid))
        ]
        return found[::-1]

    def read_blob(self, sha):
        return self.backup.read_blob(sha)

    def blob_size(self, sha):
        return self.backup.blob_size(sha)

    def damage(self):
        """What was left out, as text."""
        return ["%s: %s" % (f.file, f.problem) for f in self.backup.findings]


class HandsetSource:
    """The records of a handset, read when they are asked for."""

    is_backup = False

    def __init__(self, session, out):
        self.session = session
        self.out = out
        self.name = session.target
        self._records = None

    def records(self):
        from drybag_host.transfer import fetch_all

        if self._records is None:
            live, _ = fetch_all(self.session, self.out, "reading records")
            self._records = [live[key] for key in sorted(live)]
        return self._records

    def find(self, text, kind):
        """What the handset itself finds."""
        raw = text.encode("utf-8", "replace")  # no name has the half characters of a bad one
        return self.session.attempt(lambda link: list(link.find(raw, kind)))

    def get(self, kind, uid):
        return self.session.attempt(lambda link: link.get(kind, uid))

    def history(self, kind, uid):
        versions = self.session.attempt(lambda link: list(link.history(kind, uid)))
        return [r for r in versions[1:] if not r.deleted]

    def read_blob(self, sha):
        """The whole blob; after a break it goes on where it stopped."""
        from hashlib import sha256

        parts = []

        def work(link):
            for chunk in link.read_blob(sha, sum(map(len, parts))):
                parts.append(bytes(chunk))
                self.session.progressed()

        self.session.attempt(work)
        data = b"".join(parts)
        if sha256(data).digest() != bytes(sha):
            raise Damaged("blob %s arrived with another hash" % bytes(sha).hex())
        return data

    def blob_size(self, sha):
        return self.session.attempt(lambda link: link.blob_size(sha))

    def damage(self):
        return []


class DumpSource:
    """The records of a dump: its journal is mounted on a copy in memory, the file only read.

    Raises NotMountable, FormatNewer, HostFile.
    """

    is_backup = False

    def __init__(self, path):
        from drybag_host.image import dumpfile

        self.name = path
        self.title = os.path.basename(path)
        self.journal = dumpfile.mount(path)
        self.blank = self.journal.report["formatted"]

    def records(self):
        return list(self.journal.records())

    def find(self, text, kind):
        return list(self.journal.find(text, kind))

    def get(self, kind, uid):
        return self.journal.get(kind, uid)

    def history(self, kind, uid):
        return [r for r in self.journal.history(kind, uid)[1:] if not r.deleted]

    def read_blob(self, sha):
        from hashlib import sha256

        data = b"".join(bytes(piece) for piece in self.journal.read_blob(sha))
        if sha256(data).digest() != bytes(sha):
            raise Damaged("%s: blob %s does not match its hash" % (self.name, bytes(sha).hex()))
        return data

    def blob_size(self, sha):
        return self.journal.blob_size(sha)

    def findings(self):
        """What scrub says, progress left out; the summary last."""
        return [f for f in self.journal.scrub() if f["kind"] != "progress"]

    def damage(self):
        """Findings as text."""
        return [describe(f) for f in self.findings()[:-1]]


def describe(finding):
    """A finding of scrub in one line."""
    where = finding.get("uid") or finding.get("sha") or ""
    if isinstance(where, bytes):
        where = where.decode("utf-8", "replace")
    if not where:
        key = "sector" if "sector" in finding else "segment"
        where = "%s %s" % (key, finding.get(key, "?"))
    return "%s: %s" % (where, finding.get("problem", finding["kind"]))


def is_dump(text):
    """True if a DIR|TARGET names a regular file."""
    return not is_virtual(text) and os.path.isfile(text)


@contextlib.contextmanager
def open_source(args, tolerant=False):
    """The source that args.source names. Raises NoSuchTarget, BackupDamaged, LinkError, and what
    hubsource.open_hub() raises."""
    if is_hub(args.source):
        from drybag_host.hub.hubsource import open_hub

        with open_hub(args, args.source) as source:
            yield source
        return
    if is_folder(args.source):
        yield BackupSource(args.source, tolerant)
        return
    if is_dump(args.source):
        yield DumpSource(args.source)
        return
    with open_session(args, args.source) as session:
        yield HandsetSource(session, args.out)
