"""Does a hub's storage say one thing? Every chain, head, content id and blob; and heads rebuilt.

The versions are what counts; heads and an owner's numbers follow from them and can be made anew.
"""

from hashlib import sha256

from drybag.errors import DrybagError
from drybag.layout import content_id
from drybag_host.hub import rows
from drybag_host.hub.ownerlog import title_of, version_of
from drybag_host.hub.rules import SAME
from drybag_host.hub.storage import scan_all

__all__ = ["Verdict", "check", "owners_in", "rebuild"]

HEAD_COLUMNS = ("pos", "deleted", "stamp", "title", "device", "epoch", "life")
MOST_FINDINGS = 1000


class Verdict:
    """What check() saw; `findings`: [{"where", "problem"}], empty if all is as it should be."""

    def __init__(self):
        self.findings = []
        self.owners = self.versions = self.records = self.blobs = self.blob_bytes = 0

    def add(self, where, problem):
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append({"where": where, "problem": problem})

    def fields(self):
        names = ("owners", "versions", "records", "blobs", "blob_bytes", "findings")
        return {name: getattr(self, name) for name in names}


def owners_in(storage):
    """Everybody who has an account or a version, sorted."""
    names = {row["owner"] for row in scan_all(storage, "owners")}
    after = None
    while found := storage.scan("versions", after=after, limit=1):
        names.add(found[0]["owner"])
        after = (found[0]["owner"], (1 << 63) - 1)
    return sorted(names)


def check(storage, blobs, advance=None):
    """Verdict over everything. `blobs`: None leaves their bytes out. advance(n): rows read."""
    verdict = Verdict()
    with storage.snapshot():  # a hub may go on writing
        for owner in owners_in(storage):
            verdict.owners += 1
            named = _check_log(storage, owner, verdict, advance)
            known = {row["sha"] for row in scan_all(storage, "blobs", "", (owner,))}
            for sha, pos in sorted(named.items()):
                if sha not in known:
                    verdict.add("%s %d" % (owner, pos), "names blob %s, not there" % sha.hex())
    if blobs is not None:
        _check_blobs(storage, blobs, verdict, advance)
    return verdict


def _check_log(storage, owner, verdict, advance):
    """One owner's log, heads and numbers; returns {blob name: position that names it}."""
    log = _Log()
    for row in scan_all(storage, "versions", "", (owner,)):
        for problem in log.take(row):
            verdict.add("%s %d" % (owner, row["pos"]), problem)
        if advance:
            advance(1)
    verdict.versions += log.count
    verdict.records += log.live
    _check_heads(storage, owner, verdict, log.heads)
    row = storage.get("owners", [(owner,)])[0]
    if row is None:
        verdict.add(owner, "has versions and no account")
    elif (row["pos"], row["chain"], row["live"]) != (log.pos, log.chain, log.live):
        verdict.add(owner, "the account says position %d and %d records, the log %d and %d" % (
            row["pos"], row["live"], log.pos, log.live))  # fmt: skip
    return log.named


def _check_heads(storage, owner, verdict, expected):
    seen = 0
    for row in scan_all(storage, "heads", "", (owner,)):
        seen += 1
        head = expected.get((row["kind"], row["uid"]))
        if head is None or any(head[name] != row[name] for name in HEAD_COLUMNS):
            where = "%s kind %d %r" % (owner, row["kind"], row["uid"])
            verdict.add(where, "the head is not the last version that counts")
    if seen != len(expected):
        verdict.add(owner, "%d heads, the log has %d records" % (seen, len(expected)))


class _Log:
    """What an owner's versions, taken in their order, add up to."""

    def __init__(self):
        self.pos = self.count = self.live = 0
        self.chain = b""
        self.heads = {}
        self.named = {}

    def take(self, row):
        """Go on with the next version; yields what is wrong with it."""
        if row["pos"] != self.pos + 1:
            yield "positions %d to %d are missing" % (self.pos + 1, row["pos"] - 1)
        elif rows.chain_after(self.chain, row) != row["chain"]:
            yield "the hash chain breaks: this version, or one before it, was changed"
        names = [row["blobs"][i : i + 32] for i in range(0, len(row["blobs"]), 32)]
        if not row["deleted"] and row["role"] != SAME:
            if content_id(row["parent"], names, row["body"]) != row["content_id"]:
                yield "the content id is not that of its content"
        for sha in names:
            self.named.setdefault(sha, row["pos"])
        self.pos, self.chain = row["pos"], row["chain"]
        self.count += 1
        if row["counts"]:
            key = (row["kind"], row["uid"])
            old = self.heads.get(key)
            self.live += int(not row["deleted"]) - int(bool(old) and not old["deleted"])
            self.heads[key] = _head(row)


def _head(row):
    """The row of `heads` that a version makes."""
    head = {name: row[name] for name in ("owner", "kind", "uid", *HEAD_COLUMNS) if name in row}
    head["title"] = title_of(version_of(row))
    return head


def _check_blobs(storage, blobs, verdict, advance):
    seen = set()
    for row in scan_all(storage, "blobs"):
        if row["sha"] in seen:
            continue
        seen.add(row["sha"])
        where = "blob %s" % row["sha"].hex()
        digest, size = sha256(), 0
        try:
            for chunk in blobs.open(row["sha"], 0):
                digest.update(chunk)
                size += len(chunk)
        except DrybagError as error:
            verdict.add(where, "of %s: %s" % (row["owner"], error))
            continue
        if digest.digest() != row["sha"] or size != row["size"]:
            verdict.add(where, "of %s: its bytes are not those of its name" % row["owner"])
        verdict.blobs += 1
        verdict.blob_bytes += size
        if advance:
            advance(1)


def rebuild(storage, owner):
    """Make heads and numbers of an owner from the versions that are there; number of versions.

    For a log whose newest part is lost. An owner without an account gets one without a password.
    """
    log = _Log()
    for row in scan_all(storage, "versions", "", (owner,)):
        for _ in log.take(row):
            pass
    there = storage.get("owners", [(owner,)])[0]
    account = dict(there or {"owner": owner})
    account.update(pos=log.pos, chain=log.chain, live=log.live)
    puts = [("owners", account)]
    for row in scan_all(storage, "heads", "", (owner,)):
        if (row["kind"], row["uid"]) not in log.heads:  # its versions are lost: hide it
            puts.append(("heads", {**row, "deleted": 1, "title": ""}))
    puts += [("heads", head) for head in log.heads.values()]
    storage.commit(puts)
    return log.count
