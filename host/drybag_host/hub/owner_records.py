"""What one owner has in the hub, as a source of records: for export, search, the web page, copies.

The same calls as sources.BackupSource, so every command that reads a backup reads this.
"""

from bisect import bisect_right

from drybag.errors import NotFound
from drybag.layout import Record
from drybag_host.hub.rules import SAME

_PAGE = 500
_SHA_BYTES = 32


class OwnerRecords:
    """Records of `owner` in `storage`, blobs from `blobs`; with `at_ms` as they stood then.

    at_ms: Unix milliseconds of the hub's clock. A record's seq is its position in the owner's log.
    """

    is_backup = False

    def __init__(self, storage, blobs, owner, at_ms=None):
        self.storage = storage
        self.blobs = blobs
        self.owner = owner
        self.at_ms = at_ms
        self.name = self.title = owner

    # --- records -----------------------------------------------------------------------------

    def records(self):
        """Every live record, by kind and uid."""
        return list(self.iter_records())

    def iter_records(self, kind=0):
        """The live records (of one kind), a page in memory at a time."""
        if self.at_ms is not None:
            yield from (r for r in self._as_of() if not kind or r.kind == kind)
            return
        prefix = (self.owner, kind) if kind else (self.owner,)
        after = None
        while True:
            heads = self.storage.scan("heads", "", prefix, after, _PAGE)
            live = [head for head in heads if not head["deleted"]]
            keys = [(self.owner, head["pos"]) for head in live]
            for row in self.storage.get("versions", keys):
                yield record_of(row)
            if len(heads) < _PAGE:
                return
            last = heads[-1]
            after = (last["uid"],) if kind else (last["kind"], last["uid"])

    def _as_of(self):
        """The records as they stood at `at_ms`: of each the last version that counted then."""
        newest = {}
        after = None
        while True:
            rows = self.storage.scan("versions", "received", (self.owner,), after, _PAGE)
            for row in rows[: bisect_right(rows, self.at_ms, key=lambda r: r["received_ms"])]:
                key = row["kind"], row["uid"]
                if row["counts"] and row["pos"] > newest.get(key, (0, 0))[0]:
                    newest[key] = row["pos"], row["deleted"]
            if len(rows) < _PAGE or rows[-1]["received_ms"] > self.at_ms:
                break
            after = (rows[-1]["received_ms"], rows[-1]["pos"])
        for key in sorted(newest):
            pos, deleted = newest[key]
            if not deleted:
                yield record_of(self.storage.get("versions", [(self.owner, pos)])[0])

    def find(self, text, kind):
        """The live records in which `text` occurs, as a handset finds them."""
        from drybag.search import Query

        query = Query(text)
        return [r for r in self.iter_records(kind) if query.matches(r.kind, r.body)]

    def get(self, kind, uid):
        """The live version. Raises NotFound."""
        head = self.storage.get("heads", [(self.owner, kind, bytes(uid))])[0]
        if head is None or head["deleted"]:
            raise NotFound("%s: no such record" % self.name)
        return record_of(self.storage.get("versions", [(self.owner, head["pos"])])[0])

    def versions(self, kind, uid, limit=None):
        """Rows of a record, newest first, also those that never counted; repeats left out."""
        prefix = (self.owner, kind, bytes(uid))
        rows = self.storage.scan("versions", "record", prefix, None, limit, descending=True)
        return [row for row in rows if row["role"] != SAME]

    def history(self, kind, uid):
        """Older versions, newest first."""
        head = self.storage.get("heads", [(self.owner, kind, bytes(uid))])[0]
        shown = head["pos"] if head else 0
        rows = self.versions(kind, uid)
        return [record_of(r) for r in rows if r["pos"] != shown and not r["deleted"]]

    def counts(self):
        """Live records by kind number."""
        from collections import Counter

        out = Counter()
        for head in self._heads():
            out[head["kind"]] += not head["deleted"]
        return out

    def _heads(self):
        after = None
        while True:
            heads = self.storage.scan("heads", "", (self.owner,), after, _PAGE)
            yield from heads
            if len(heads) < _PAGE:
                return
            after = (heads[-1]["kind"], heads[-1]["uid"])

    # --- blobs -------------------------------------------------------------------------------

    def read_blob(self, sha):
        """A blob that one of the owner's records names. Raises NotFound."""
        return b"".join(bytes(piece) for piece in self.open_blob(sha))

    def open_blob(self, sha, offset=0):
        """Its bytes from `offset` on, in pieces. Raises NotFound."""
        sha = bytes(sha)
        if self.storage.get("blobs", [(self.owner, sha)])[0] is None:
            raise NotFound("%s: no such blob" % self.name)
        return self.blobs.open(sha, offset)

    def blob_size(self, sha):
        """Its bytes. Raises NotFound."""
        row = self.storage.get("blobs", [(self.owner, bytes(sha))])[0]
        if row is None:
            raise NotFound("%s: no such blob" % self.name)
        return row["size"]

    def damage(self):
        return []


def record_of(row):
    """A row of `versions` as a Record."""
    names = row["blobs"]
    blobs = [names[i : i + _SHA_BYTES] for i in range(0, len(names), _SHA_BYTES)]
    return Record(
        row["kind"], row["uid"], row["body"], blobs, row["parent"], row["pos"], row["stamp"],
        row["rev"], bool(row["deleted"]),
    )  # fmt: skip
