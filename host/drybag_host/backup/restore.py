"""Restore: put a backup's records onto a handset, and compare them there afterwards.

Additive. `plan` (pure) decides; nothing on the handset is overwritten or brought back from
deletion unless that was asked for; what was put is read back and compared, blobs included.
"""

from hashlib import sha256

from drybag.errors import Damaged, NotFound
from drybag.layout import CALENDAR
from drybag_host.backup.lines import key_of, same_content
from drybag_host.errors import NotVerified
from drybag_host.transfer import Item, Sender, fetch_all


class Plan:
    """What a restore would do, as lists of Records of the backup.

    new: not on the handset; same: there already; differs: the handset has another version;
    deleted: was deleted on the handset. `put`: what will be sent.
    """

    def __init__(self):
        self.new = []
        self.same = []
        self.differs = []
        self.deleted = []
        self.put = []

    def kept(self):
        """Records of the backup that the handset will not show after this plan."""
        chosen = {key_of(record) for record in self.put}
        return [r for r in self.differs + self.deleted if key_of(r) not in chosen]


def plan(records, live, gone, overwrite=False, undelete=False):
    """Plan for `records` onto a handset that holds {key: Record} `live` and `gone`. Pure."""
    out = Plan()
    for record in records:
        key = key_of(record)
        there = live.get(key)
        if there is not None:
            (out.same if same_content(there, record) else out.differs).append(record)
        elif key in gone:
            out.deleted.append(record)
        else:
            out.new.append(record)
    out.put = out.new + (out.differs if overwrite else []) + (out.deleted if undelete else [])
    out.put.sort(key=lambda record: (record.kind != CALENDAR, record.kind, record.uid))
    return out


class Restore:
    """One restore of `backup` onto `session`'s handset."""

    def __init__(self, backup, session, out):
        self.backup = backup
        self.session = session
        self.out = out
        self.failed = []
        self.without_blob = []

    def prepare(self, records, overwrite=False, undelete=False):
        """Plan, after asking the handset what it has."""
        live, gone = fetch_all(self.session, self.out, "comparing")
        return plan(records, live, gone, overwrite, undelete)

    def send(self, chosen):
        """Send the `put` of a Plan; `failed` names [(Record, error)] what was refused."""
        items = [self._item(record) for record in chosen.put]
        total = sum(item.size_bytes for item in items)
        with self.out.progress("restoring", max(total, 1), "bytes") as bar:
            Sender(self.session, bar.advance).send(items)
        self.failed = [
            (record, item.error)
            for record, item in zip(chosen.put, items, strict=True)
            if item.error is not None
        ]

    def _item(self, record):
        blobs = []
        for sha in record.blobs:
            if self.backup.has_blob(sha):
                blobs.append((sha, self.backup.blob_size(sha), _opener(self.backup, sha)))
            else:
                self.without_blob.append(record)
        return Item(record.kind, record.uid, record.body, blobs, record.parent)

    def compare(self, chosen):
        """Read everything back; returns how many records are on the handset as in the backup.

        Raises NotVerified if one that was sent is not.
        """
        live, _ = fetch_all(self.session, self.out, "reading back")
        refused = {key_of(record) for record, _ in self.failed}
        self.without_blob += [  # the handset may have the photo: nobody can compare it
            record for record in chosen.same if not all(map(self.backup.has_blob, record.blobs))
        ]
        partly = {key_of(record) for record in self.without_blob}
        wrong, shas, good = [], set(), 0
        for record in chosen.put + chosen.same:
            key = key_of(record)
            if key in refused:
                continue
            there = live.get(key)
            if there is None or there.body != record.body or there.parent != record.parent:
                wrong.append(record)
            elif key not in partly and not same_content(there, record):
                wrong.append(record)
            else:
                good += 1
                shas.update(
                    sha for sha in there.blobs if key not in partly or self.backup.has_blob(sha)
                )
        if wrong:
            names = ", ".join(bytes(r.uid).decode("utf-8", "replace") for r in wrong[:5])
            raise NotVerified(
                "%d records read back differently: %s" % (len(wrong), names),
                "run drybag scrub TARGET, then restore again",
            )
        self._compare_blobs(sorted(shas))
        return good

    def _compare_blobs(self, shas):
        if not shas:
            return
        total = sum(self.backup.blob_size(sha) for sha in shas)
        with self.out.progress("comparing photos", total, "bytes") as bar:
            for sha in shas:
                self._compare_blob(sha, bar)

    def _compare_blob(self, sha, bar):
        def work(link):
            digest = sha256()
            size = 0
            for chunk in link.read_blob(sha, 0):
                digest.update(chunk)
                size += len(chunk)
                self.session.progressed()
            return digest.digest(), size

        try:
            found, size = self.session.attempt(work)
        except (NotFound, Damaged) as error:
            raise NotVerified("blob %s on the handset: %s" % (sha.hex(), error)) from error
        bar.advance(size)
        if found != sha:
            raise NotVerified("blob %s reads back differently" % sha.hex(), "restore it again")


class _Chunks:
    """A backup's blob as a binary file to read from: verified while it is read."""

    def __init__(self, backup, sha):
        self._chunks = backup.blob_chunks(sha)
        self._held = b""

    def read(self, size=-1):
        while size < 0 or len(self._held) < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            self._held += chunk
        size = len(self._held) if size < 0 else size
        out, self._held = self._held[:size], self._held[size:]
        return out

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._chunks.close()
        return False


def _opener(backup, sha):
    return lambda: _Chunks(backup, sha)
