"""One owner's log while something is written to it: heads, history, new versions.

Everything is gathered here and becomes rows in one commit; nothing is in the store before.
"""

import hashlib

from drybag import records
from drybag.errors import NotFound
from drybag.syncwire import BODY_BYTES
from drybag_host.hub import rows, rules
from drybag_host.hub.rules import HELD, QUARANTINE, SAME, Version
from drybag_host.hub.schema import clean_text

__all__ = ["HISTORY_LIMIT", "OwnerLog", "title_of", "version_of"]

HISTORY_LIMIT = 1000  # versions of one record that are looked through for a base
PAGE = 16
MOST_KEPT = 20_000  # versions, without bodies, that one log keeps of what it has read: some 10 MB
TITLE_CHARS = 120


def version_of(row):
    """The Version of a row of `versions`."""
    names = row["blobs"]
    blobs = tuple(names[i : i + 32] for i in range(0, len(names), 32)) if names else ()
    version = Version(
        row["kind"], row["uid"], row["body"], deleted=row["deleted"], stamp=row["stamp"],
        parent=row["parent"], blobs=blobs, device=row["device"], epoch=row["epoch"],
        life=row["life"], seq=row["seq"], pos=row["pos"], role=row["role"],
        cid=row["content_id"],
    )  # fmt: skip
    version.received_ms = row["received_ms"]
    return version


def title_of(version):
    """What a list calls the record, as a text column takes it."""
    if version.deleted:
        return ""
    return clean_text(records.title(version.kind, version.body), TITLE_CHARS)


class OwnerLog:
    """The log of `owner` (a name), to be read and written to within one batch of the storage.

    row: the owner's row, with what was gathered so far. Raises NotFound for an unknown owner.
    """

    def __init__(self, storage, blobs, owner, now_ms):
        self.storage = storage
        self.blobs = blobs
        self.now_ms = now_ms
        found = storage.get("owners", [(owner,)])[0]
        if found is None:
            raise NotFound("no owner %s" % owner)
        self.row = dict(found)
        self.owner = owner
        self._lsn = found["lsn"]
        self._heads = {}  # (kind, uid): Version or None
        self._new = {}  # (kind, uid): [Version], oldest first
        self._read = {}  # (kind, uid): ([Version without body], newest first, all are there)
        self._puts = []
        self._head_rows = {}

    # --- reading ---

    def load(self, keys):
        """Read the heads of these (kind, uid) at once."""
        keys = [key for key in dict.fromkeys(keys) if key not in self._heads]
        found = self.storage.get("heads", [(self.owner, *key) for key in keys])
        there = [row for row in found if row]
        versions = self.storage.get("versions", [(self.owner, row["pos"]) for row in there])
        self._heads.update(dict.fromkeys(keys))
        for row in versions:
            self._heads[row["kind"], row["uid"]] = version_of(row)

    def head(self, kind, uid):
        """The Version that counts (it may be a deletion), or None."""
        if (kind, uid) not in self._heads:
            self.load([(kind, uid)])
        return self._heads[kind, uid]

    def history(self, kind, uid):
        """Versions of a record, newest first; the newest HISTORY_LIMIT of them.

        Those that were in the store before have None as their body: see whole(). Each is read
        once, however many items of a request look for it.
        """
        yield from reversed(self._new.get((kind, uid), ()))
        read, done = self._read.get((kind, uid), ([], False))
        yield from read
        while not done:
            there = len(read)
            read, done = self._read_on(kind, uid, read)
            yield from read[there:]

    def _read_on(self, kind, uid, read):
        """One page more of a history of which `read` is there: what is there then, is it all."""
        after = (read[-1].pos,) if read else None
        found = self.storage.scan("versions", "record", (self.owner, kind, uid), after, PAGE,
                                  descending=True)  # fmt: skip
        page = [version_of(row) for row in found]
        for version in page:
            version.body = None
        read = read + page
        done = len(found) < PAGE or len(read) + PAGE > HISTORY_LIMIT
        self._read.pop((kind, uid), None)
        while self._read and sum(len(r) for r, _ in self._read.values()) + len(read) > MOST_KEPT:
            del self._read[next(iter(self._read))]  # the one that was read first
        self._read[kind, uid] = read, done
        return read, done

    def whole(self, version):
        """A version of history(), with its body; None of None."""
        if version is None or version.body is not None:
            return version
        return self.version(version.pos)

    def version(self, pos):
        """The Version at a position. Raises NotFound."""
        row = self.storage.get("versions", [(self.owner, pos)])[0]
        if row is None:
            raise NotFound("the log of %s has no version %d" % (self.owner, pos))
        return version_of(row)

    # --- writing ---

    def append(self, version, role, counts, item_sha=b"", rev=0, no_time=False, base_pos=0):
        """A new version at the next position, which it returns. counts: it becomes the head."""
        head = self.head(version.kind, version.uid)
        version.pos = self.row["pos"] + 1
        version.role = role
        version.received_ms = self.now_ms
        empty = role == SAME
        row = {
            "owner": self.owner, "pos": version.pos, "kind": version.kind, "uid": version.uid,
            "deleted": int(version.deleted), "role": role, "counts": int(counts),
            "device": version.device, "epoch": version.epoch, "life": version.life,
            "seq": version.seq, "item_sha": item_sha, "stamp": version.stamp,
            "no_time": int(no_time), "received_ms": self.now_ms, "rev": rev,
            "parent": version.parent, "blobs": b"" if empty else b"".join(version.blobs),
            "body": b"" if empty else version.body, "content_id": version.content_id,
            "base_pos": base_pos,
        }  # fmt: skip
        row["chain"] = rows.chain_after(self.row["chain"], row)
        self._puts.append(("versions", row))
        self.row["pos"] = version.pos
        self.row["chain"] = row["chain"]
        self._new.setdefault((version.kind, version.uid), []).append(version)
        if counts:
            self._count(head, version)
        return version.pos

    def _count(self, head, version):
        was = head is not None and not head.deleted
        if was and version.deleted:
            rules.count_deletion(self.row, self.now_ms)
        self.row["live"] += int(not version.deleted) - int(was)
        self._heads[version.kind, version.uid] = version
        self._head_rows[version.kind, version.uid] = {
            "owner": self.owner, "kind": version.kind, "uid": version.uid, "pos": version.pos,
            "deleted": int(version.deleted), "stamp": version.stamp,
            "title": title_of(version), "device": version.device, "epoch": version.epoch,
            "life": version.life,
        }  # fmt: skip
        if not version.deleted and len(version.body) > BODY_BYTES:
            self._body_as_blob(version.body)

    def _body_as_blob(self, body):
        """A long body travels as a blob: have it there before a handset is told of it."""
        sha = hashlib.sha256(body).digest()
        if self.storage.get("blobs", [(self.owner, sha)])[0] is None:
            have, complete = self.blobs.have(sha)  # of a hub that was killed in the middle
            if not complete:
                self.blobs.append(sha, len(body), have, [body[have:]])
            self.add_blob(sha, len(body))

    def add_blob(self, sha, size):
        """This owner has this blob."""
        row = {"owner": self.owner, "sha": sha, "size": size, "created_ms": self.now_ms}
        self._puts.append(("blobs", row))

    def conflict(self, hidden, shown_pos, names):
        """Note that the version `hidden` is not shown, in these properties."""
        text = ",".join(clean_text(name.decode("utf-8", "replace")) for name in names)
        row = {"owner": self.owner, "kind": hidden.kind, "uid": hidden.uid, "pos": hidden.pos,
               "with_pos": shown_pos, "names": clean_text(text, 1000)}  # fmt: skip
        self._puts.append(("conflicts", row))

    def hold(self, version):
        """Note that a deletion waits for the owner's word."""
        row = {"owner": self.owner, "pos": version.pos, "kind": version.kind, "uid": version.uid}
        self._puts.append(("held", row))

    def put(self, table, row):
        """Any other row that belongs to the same commit."""
        self._puts.append((table, row))

    def audit(self, what, detail):
        row = {"at_ms": self.now_ms, "what": what, "detail": clean_text(detail, 1000)}
        self._puts.append(("audits", row))

    def changed(self):
        return bool(self._puts)

    def commit(self):
        """Write everything. Raises Stale if another process wrote to this owner meanwhile."""
        heads = [("heads", row) for row in self._head_rows.values()]
        owner = [("owners", self.row)]
        guards = [("owners", (self.owner,), "lsn", self._lsn)]
        return self.storage.commit(self._puts + heads + owner, guards)


# --- one item --------------------------------------------------------------------------------


def take(log, version, item, item_sha, seen_pos=0, told=0):
    """Let a pushed item do what it does; `version` is what it says, its stamp believed.

    seen_pos: the handset has taken the changes up to there. told: it knows what it has sent
    through that seq.
    """
    columns = {"item_sha": item_sha, "rev": item.rev, "no_time": item.no_time}
    head = log.head(version.kind, version.uid)
    base, known = _look(log, version, item, head)
    doubted = _doubted(log, version, item, base, told)
    out = rules.decide(version, head, base, resend=item.resend, known=known,
                       seen=head is not None and head.pos <= seen_pos,
                       older=base is None and _lacks_base(log, item, head),
                       again=bool(item.base) and item.base == version.content_id,
                       may_delete=rules.may_delete(log.row, log.now_ms))  # fmt: skip
    base_pos = base.pos if base else 0
    log.append(version, out.role, out.counts, base_pos=base_pos, **columns)
    if out.role == HELD:
        log.hold(version)
    if out.further is not None:
        log.append(out.further, out.further.role, True, base_pos=head.pos)
    if out.conflict:
        hidden = head if out.hidden == "head" else version
        log.conflict(hidden, log.head(version.kind, version.uid).pos, out.conflict)
    shows = out.counts or out.further is not None and out.further.role == rules.MERGED
    if doubted is not None and shows:
        _keep_doubted(log, version, item, doubted)


def _lacks_base(log, item, head):
    """True if a restored hub began with this head, and has lost the version that a deletion names
    as its base: that was made later, as a restored log is the begin of the one that was lost."""
    if not item.base or not item.deleted or head is None:
        return False
    row = log.storage.get("versions", [(log.owner, head.pos)])[0]
    hub = log.storage.get("meta", [("hub_id",)])[0]
    return row is not None and hub is not None and row["lsn"] < hub["lsn"]


def _look(log, version, item, head):
    """(base, known) as rules.decide() wants them; the log is searched only where it matters."""
    if head is None or head.says_the_same(version):
        return None, False
    if rules.is_base(head, version, item.base):
        return head, False
    base = log.whole(rules.find_base(version, item.base, log.history(version.kind, version.uid)))
    known = item.resend and any(
        old.content_id == version.content_id
        and old.deleted == version.deleted
        and old.stamp == version.stamp
        and old.role not in (HELD, QUARANTINE)
        for old in log.history(version.kind, version.uid)
    )
    return base, known


def _doubted(log, version, item, base, told):
    """`base`, if nobody can tell whether the handset knew it when it made the item; else None."""
    if base is None:
        return None
    for old in log.history(version.kind, version.uid):
        if rules.is_base(old, version, item.base):  # the newest: `base`, or what says the same
            return base if rules.is_in_doubt(old, version, item.base, told) else None
    return None


def _keep_doubted(log, version, item, doubted):
    """What was replaced as if it had been known: a conflict, unless all of it is there."""
    older = None
    for old in log.history(version.kind, version.uid) if item.base else ():
        named = old.content_id == item.base and not old.deleted
        if named and old.role not in (SAME, HELD, QUARANTINE):
            older = log.whole(old)
            break
    head = log.head(version.kind, version.uid)
    if rules.goes_under(doubted, version, head, older):
        log.conflict(doubted, head.pos, (rules.WHOLE,))


def is_late(log, version):
    """True if this stream has sent a newer version of the record already: an old request came
    after a newer one, or another journal gave these seqs."""
    return any(
        old.stream() == version.stream() and old.seq > version.seq
        for old in log.history(version.kind, version.uid)
    )


def quarantine(log, version, item, item_sha, why="twice, with another content"):
    """A seq that this stream gave to something else already: kept, told, not believed."""
    head = log.head(version.kind, version.uid)
    log.append(version, QUARANTINE, False, item_sha=item_sha, rev=item.rev, no_time=item.no_time)
    log.audit("quarantine", "%s: device %s sent seq %d %s"
              % (log.owner, version.device, version.seq, why))  # fmt: skip
    if head is not None and head.says_the_same(version):
        return
    shown = 0
    if head is not None:
        shown = log.append(rules.again(head), rules.KEPT, True, base_pos=head.pos)
    log.conflict(version, shown, (rules.WHOLE,))
