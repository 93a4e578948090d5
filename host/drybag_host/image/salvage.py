"""Salvage, second half: which of the entries found are the records. Pure decisions.

Of each record the version with the highest seq counts, tombstones included; also one that cannot
be read: whose it is decides drybag.unread, as it does at a boot. Apart go: batches that nothing
proves finished, what stands in segments that count no more, and versions of which a newer one,
or a deletion, was seen that cannot be read.
"""

import hashlib
from functools import partial

from drybag import layout, unread
from drybag.index import key_hash
from drybag.layout import Record

BATCH_GAP = 64


class Blobs:
    """The blobs of a Scan. `whole(sha)` -> bytes or None; `lacking(sha)` -> chunk numbers."""

    def __init__(self, scan):
        self._chunks = scan.chunks
        self._sizes = scan.sizes
        self._whole = {}

    def whole(self, sha):
        if sha not in self._whole:
            data = None
            if sha in self._sizes and not self.lacking(sha):
                chunks = self._chunks.get(sha, {})
                data = b"".join(chunks[i] for i in range(self._count(sha)))
                if len(data) != self._sizes[sha] or hashlib.sha256(data).digest() != sha:
                    data = None
            self._whole[sha] = data
        return self._whole[sha]

    def _count(self, sha):
        return max(1, -(-self._sizes[sha] // layout.BLOB_DATA))

    def lacking(self, sha):
        """Numbers of the chunks that were not found; None if nothing of the blob was."""
        if sha not in self._sizes:
            return None
        count = min(self._count(sha), layout.MAX_BLOB_CHUNKS)
        return [i for i in range(count) if i not in self._chunks.get(sha, {})]

    def part(self, sha):
        """What there is of it, in its place, zeros between; b"" if nothing."""
        chunks = self._chunks.get(sha, {})
        out = bytearray(layout.BLOB_DATA * (max(chunks) + 1) if chunks else 0)
        for i, data in chunks.items():
            out[i * layout.BLOB_DATA : i * layout.BLOB_DATA + len(data)] = data
        return bytes(out)


class Result:
    """Records of one epoch. `versions`: Record by seq, tombstones too, that count; `doubtful`:
    (why, Record); `lost`: dicts that say what is missing."""

    def __init__(self, epoch):
        self.epoch = epoch
        self.versions = []
        self.doubtful = []
        self.lost = []
        self.entries = 0
        self.segments = 0
        self.last_seq = 0


def decide(scan, epoch, blobs):
    """Result of one epoch of a Scan."""
    out = Result(epoch)
    sectors = [s for s in scan.sectors if s.epoch == epoch]
    out.segments = len(sectors)
    out.entries = sum(len(s.entries) for s in sectors)
    headers = {s.number: s.header for s in sectors if s.header}
    first = max((h.first for h in headers.values()), default=0)
    gone = _superseded(sectors)
    floor = min((h.next_seq for n, h in headers.items() if n >= first), default=0)
    counted, apart = {}, []
    for sector in sectors:
        for item in sector.entries:
            if item.op == layout.OP_INDEX:
                continue
            if _is_stale(sector, item, first, gone, floor):
                apart.append(("in a segment that counts no more", item))
            else:
                _keep(counted, item)
    whole = {item.seq for item in counted.values()}
    for sector in sectors:
        for item in sector.damaged + _surely_written(sector, headers, gone):
            if item.seq not in whole and not _is_stale(sector, item, first, gone, floor):
                _keep(counted, item)
    finished, waiting = _batches(list(counted.values()), _checkpoint(sectors))
    apart += [("of a batch that nothing proves finished", item) for item in waiting]
    out.last_seq = max((item.seq for item in counted.values()), default=0)
    _missing_segments(out, headers, sectors, first, gone)
    newest = _take(out, finished, blobs)
    for item in waiting:
        if item.shows and item.kind != layout.SETTING:
            _note_unread(out, item, None)
    _note_harmed(out, sectors, first, gone)
    live = [s for s in sectors if s.number >= max(first, 1) and s.number not in gone]
    _note_listed(out, _checkpoint(live), newest)
    if not out.lost and all(s.number for s in sectors):
        apart = [a for a in apart if a[0].startswith("of a batch")]
    _keep_apart(out, apart, newest, blobs)
    out.doubtful.sort(key=lambda pair: pair[1].seq)
    return out


def _is_stale(sector, item, first, gone, floor):
    """True if the entry's segment counts no more."""
    if not sector.number:
        return item.seq < floor
    return sector.number < first or sector.number in gone


def _surely_written(sector, headers, gone):
    """What cannot be read behind all that is whole in a sector, if the next segment says that its
    number was used up: else it is one cut short, or the flash did not take it."""
    following = min((n for n in headers if n > sector.number and n not in gone), default=0)
    if not sector.number or not following:
        return []
    header = headers[following]
    if (header.resume or following) - 1 > sector.number:
        return []  # what came next is missing
    return [item for item in sector.last if item.seq < header.next_seq]


def _take(out, finished, blobs):
    """{key: newest version} of entries by seq; fills `out` with their records."""
    newest = {}
    missing = any(row["what"] == "segments" for row in out.lost)
    for item in finished:
        if item.op == layout.OP_COMMIT or item.kind == layout.SETTING:
            continue
        key = item.kind, item.uid
        if item.shows:
            key = unread.whose(item, item.shows, partial(_older, newest, item, missing))
            _note_unread(out, item, key)
        elif not _add(out, item, blobs):
            item = item._replace(shows=(item.uid,))
        if key:
            newest[key] = item
    for key, item in newest.items():
        if item.shows:
            _demote(out, key, item)
    return newest


def _older(newest, item, missing, uid):
    """What `item` may be a newer version of: see unread.whose. Where segments are missing the
    versions in between may have stood there: then any higher revision follows."""
    older = newest.get((item.kind, uid))
    if older is None:
        return None
    deleted = older.op == layout.OP_DELETE
    if deleted and not older.flags & layout.F_KEEP:
        return None
    rev = older.rev
    if missing and not deleted and rev < item.rev:
        rev = item.rev - 1
    return (item.kind, uid), older.seq, older.op, rev


def _keep(counted, item):
    """Copies have one seq: one is enough, one without BATCH says that its batch counts."""
    key = item.seq, item.op == layout.OP_COMMIT, item.kind, item.uid
    old = counted.get(key)
    if old is None or old.flags & layout.F_BATCH:
        counted[key] = item


def _superseded(sectors):
    """Numbers of the segments that a complete recovery copy stands for."""
    gone = set()
    numbers = {s.number for s in sectors}
    for sector in sectors:
        header = sector.header
        if header and header.resume and sector.complete and sector.number:
            gone.update(n for n in numbers if header.resume <= n < sector.number)
    return gone


def _checkpoint(sectors):
    """{seq: tag} of all that checkpoints list, and thereby say was committed."""
    listed = {}
    for sector in sectors:
        for item in sector.entries:
            if item.op != layout.OP_INDEX:
                continue
            for at in range(0, len(item.body) - 11, 12):
                tag, seq = [int.from_bytes(item.body[i : i + 4], "little") for i in (at, at + 4)]
                listed[seq] = tag
    return listed


def _batches(counted, listed):
    """(entries that count, those of batches without proof), each by seq.

    Proof is a COMMIT, a checkpoint that lists the entry, or another call's entry less than 64
    seqs later: after a batch that failed, and after a cut, the writer skips 64.
    """
    ordered = sorted(counted, key=lambda item: (item.seq, item.op == layout.OP_COMMIT))
    finished, waiting = [], []
    proof, own = None, ()
    for item in reversed(ordered):
        if item.op == layout.OP_COMMIT:
            proof, own = item.first, (item.first, item.seq)
            finished.append(item)
        elif not item.flags & layout.F_BATCH:
            proof, own = item.seq, ()
            finished.append(item)
        elif item.seq in listed or (own and own[0] <= item.seq < own[1]):
            finished.append(item)
        elif proof is not None and item.seq < proof <= item.seq + BATCH_GAP:
            finished.append(item)
        else:
            waiting.append(item)
    return finished[::-1], waiting[::-1]


def _add(out, item, blobs):
    """False if the record's text is not to be had."""
    record = _record(item, blobs)
    if record is not None:
        out.versions.append(record)
        return True
    out.lost.append(
        {"what": "body", "kind": layout.KIND_NAMES[item.kind], "uid": _text(item.uid),
         "seq": item.seq, "problem": "its text is a blob that is not complete",
         "blob": item.blobs[0].hex()}
    )  # fmt: skip
    return False


def _record(item, blobs):
    """Record of an entry; None where its body's blob is not whole."""
    if item.op == layout.OP_DELETE:
        return Record(item.kind, item.uid, b"", seq=item.seq, stamp=item.stamp, deleted=True)
    body, names = item.body, item.blobs
    if item.op == layout.OP_PUT_BIG:
        body, names = blobs.whole(item.blobs[0]), item.blobs[1:]
        if body is None or len(body) > layout.MAX_BODY:
            return None
    return Record(item.kind, item.uid, body, names, item.parent, item.seq, item.stamp, item.rev)


def _keep_apart(out, apart, newest, blobs):
    """Doubtful versions: those that are newer than what counts, or of which nothing counts."""
    seen = set()
    for why, item in sorted(apart, key=lambda pair: pair[1].seq):
        if item.op not in (layout.OP_PUT, layout.OP_PUT_BIG) or item.kind == layout.SETTING:
            continue
        known = newest.get((item.kind, item.uid))
        if item.shows or (known and not known.shows and known.seq >= item.seq):
            continue  # nothing to keep, or there is a newer one
        if (item.kind, item.uid, item.seq) in seen:
            continue
        seen.add((item.kind, item.uid, item.seq))
        record = _record(item, blobs)
        if record is not None:
            out.doubtful.append((why, record))


def _missing_segments(out, headers, sectors, first, gone):
    """Runs of segment numbers between the first that counts and the last, with their seqs."""
    numbers = sorted({s.number for s in sectors if s.number and s.number >= first} | {first})
    skipped = set(gone)
    for number, header in headers.items():
        if header.resume:
            skipped.update(range(max(header.resume, number - 4096), number))
    for before, after in zip(numbers, numbers[1:], strict=False):
        run = [n for n in range(before + 1, min(after, before + 65536)) if n not in skipped]
        if not run:
            continue
        seqs = [item.seq for s in sectors if s.number == before for item in s.entries]
        header = headers.get(after)
        found = {"what": "segments", "first": run[0], "last": run[-1], "count": len(run),
                 "problem": "not found: overwritten, or not in the file"}  # fmt: skip
        if header and seqs and max(seqs) + 1 < header.next_seq:
            found["seqs"] = [max(seqs) + 1, header.next_seq - 1]
        out.lost.append(found)
    if first and not any(s.number == first for s in sectors):
        out.lost.append(
            {"what": "segments", "first": first, "last": first, "count": 1,
             "problem": "not found: overwritten, or not in the file"}
        )  # fmt: skip


def _note_unread(out, item, key):
    """An entry that cannot be read, of record `key`; None if nobody can say of which."""
    what = "a deletion" if item.op == layout.OP_DELETE else "an entry"
    row = {"what": "entry", "kind": layout.KIND_NAMES.get(item.kind, "?"),
           "uid": _text(key[1] if key else item.uid), "seq": item.seq, "offset": item.place,
           "problem": what + " that cannot be read"}  # fmt: skip
    if not key:
        row["problem"] += ", and nobody can say surely of which record"
        row["shows"] = [_text(uid) for uid in item.shows]
    out.lost.append(row)


def _note_harmed(out, sectors, first, gone):
    for sector in sectors:
        if sector.number in gone or 0 < sector.number < first:
            continue
        for place in sector.harmed:
            out.lost.append(
                {"what": "bytes", "segment": sector.number, "offset": place,
                 "problem": "what stood here cannot be read, nor what it was"}
            )  # fmt: skip


def _demote(out, key, item):
    """The readable versions of a record whose newest cannot be read are no record: apart."""
    why = "a deletion of it was seen, change %d, that cannot be read whole"
    if item.op != layout.OP_DELETE:
        why = "a newer version was seen, change %d, that cannot be read"
    keep = []
    for record in out.versions:
        if (record.kind, record.uid) != key:
            keep.append(record)
        elif not record.deleted:
            out.doubtful.append((why % item.seq, record))
    out.versions = keep


def _note_listed(out, listed, newest):
    """How many records a checkpoint lists of which no version was found."""
    have = {item.seq for item in newest.values()}
    hashes = {
        key_hash(kind, uid, salt) | kind for kind, uid in newest for salt in range(4)
    }  # fmt: skip
    absent = {
        tag & 0xFFFFFC07 for seq, tag in listed.items()
        if seq not in have and tag & 7 in layout.KIND_NAMES
    } - hashes  # fmt: skip
    if absent:
        out.lost.append(
            {"what": "records", "count": len(absent),
             "problem": "listed in a checkpoint, and no version of them was found"}
        )  # fmt: skip


def _text(uid):
    return bytes(uid).decode("utf-8", "replace")
