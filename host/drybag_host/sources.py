"""DIR|TARGET: records and blobs to read, whether they are in a backup or on a handset."""

import contextlib

from drybag.errors import Damaged, NotFound
from drybag_host.targets import add_source, is_folder, open_session

__all__ = ["BackupSource", "HandsetSource", "add_source", "open_source"]


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
        return self.session.attempt(lambda link: list(link.find(text.encode(), kind)))

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


@contextlib.contextmanager
def open_source(args, tolerant=False):
    """The source that args.source names. Raises NoSuchTarget, BackupDamaged, LinkError."""
    if is_folder(args.source):
        yield BackupSource(args.source, tolerant)
        return
    with open_session(args, args.source) as session:
        yield HandsetSource(session, args.out)
