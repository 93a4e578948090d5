"""The part of a pull that has arrived: `.partial/incoming.jsonl` and `.partial/blobs`.

The file only grows. Its first line says what it continues; every further line is one change with
the cursor behind it, in the form of lines.py, so a torn end is seen and cut off, and the pull goes
on from the last whole line. SPEC.md, "Backup", "Staging".
"""

import json
import os
from hashlib import sha256

from drybag_host.backup import disk, lines
from drybag_host.backup.manifest import blob_name
from drybag_host.backup.store import PARTIAL
from drybag_host.errors import BackupDamaged

INCOMING = os.path.join(PARTIAL, "incoming.jsonl")
BLOBS = os.path.join(PARTIAL, "blobs")
SYNC_EVERY = 64


class Staging:
    """Changes received since `since`; `entries` are in the order of arrival.

    `head`: what it continues (handset id, epoch, generation, since). Staging of another head is
    thrown away: it cannot be continued.
    """

    def __init__(self, path, head):
        self.path = path
        self.entries = []
        self.since = head["since"]
        self.cursor = 0
        self.resumed = False
        disk.make_dirs(os.path.join(path, BLOBS))
        self.first = _line({"drybag-incoming": 1, **head})
        good_bytes = self._load(os.path.join(path, INCOMING))
        self.file = disk.Appender(os.path.join(path, INCOMING), good_bytes)
        if not good_bytes:
            self.file.add(self.first)
            self.file.flush()
        self._unsynced = 0

    def _load(self, path):
        """Take what is there and right; returns how many bytes of the file that is."""
        data = disk.read_file(path) or b""
        if not data.startswith(self.first):
            return 0
        good_bytes = len(self.first)
        for line in data[good_bytes:].split(b"\n")[:-1]:
            entry = _parse(line)
            if entry is None:
                break
            self.since, self.cursor, record = entry
            if record is not None:
                self.entries.append(record)
            good_bytes += len(line) + 1
        self.resumed = bool(self.entries)
        return good_bytes

    def add(self, cursor, record):
        """One change; durable after the next sync()."""
        pack = lines.pack_tombstone if record.deleted else lines.pack_record
        self.cursor = cursor
        self.entries.append(record)
        self._append(pack(record))
        if self._unsynced >= SYNC_EVERY:
            self.sync()

    def next_round(self, since):
        """The stream is at its end: what comes now is newer than `since`."""
        self.since, self.cursor = since, 0
        self._append(b"")
        self.sync()

    def sync(self):
        if self._unsynced:
            self.file.flush()
            self._unsynced = 0

    def close(self):
        self.file.close()

    def _append(self, inner):
        head = "%d %d " % (self.since, self.cursor)
        text = head.encode() + inner.rstrip(b"\n")
        self.file.add(text + b" " + sha256(text).hexdigest()[:16].encode() + b"\n")
        self._unsynced += 1

    # --- blobs ---

    def blob_offset(self, sha):
        """How many bytes of a blob have arrived."""
        try:
            return os.path.getsize(self._blob_path(sha))
        except OSError:
            return 0

    def receive_blob(self, sha, chunks, advance=None):
        """Add pieces to a blob; when they are all there and right it moves to its place.

        Raises BackupDamaged if the whole does not match its hash; the part is thrown away then.
        """
        part = self._blob_path(sha)
        with disk.Appender(part, self.blob_offset(sha)) as file:
            try:
                for chunk in chunks:
                    file.add(chunk)
                    if advance:
                        advance(len(chunk))
            finally:
                file.flush()
        if disk.sha256_of(part) != bytes(sha):
            os.unlink(part)
            raise BackupDamaged("blob %s arrived with another hash" % bytes(sha).hex())
        final = os.path.join(self.path, blob_name(sha))
        disk.make_dirs(os.path.dirname(final))
        disk.rename(part, final)

    def _blob_path(self, sha):
        return os.path.join(self.path, BLOBS, bytes(sha).hex() + ".part")


def discard(path):
    """Throw away what has arrived; the next pull begins anew."""
    disk.remove_tree(os.path.join(path, PARTIAL))


def _line(fields):
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def _parse(line):
    """(since, cursor, Record or None) of a line; None if it is torn or damaged."""
    text, _, check = line.rpartition(b" ")
    if sha256(text).hexdigest()[:16].encode() != check:
        return None
    since, cursor, inner = text.split(b" ", 2)
    if not inner:
        return int(since), int(cursor), None
    for parse in (lambda: lines.parse_record(inner).record, lambda: lines.parse_tombstone(inner)):
        try:
            return int(since), int(cursor), parse()
        except lines.BadRecordLine:
            continue
    return None
