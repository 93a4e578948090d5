"""What an owner decides: held deletions, conflicts, deleted and older versions.

Each is one commit to the owner's log, so handsets get it as a change like any other.
"""

from drybag.errors import NotFound
from drybag_host.hub import rules
from drybag_host.hub.ownerlog import HISTORY_LIMIT, OwnerLog, version_of
from drybag_host.hub.refusals import Unsound
from drybag_host.hub.service import EPOCH_S
from drybag_host.hub.storage import Stale, scan_all

__all__ = ["conflicts", "decide_held", "deleted", "held", "resolve", "restore", "undelete"]

AT_ONCE = 500  # decisions in one commit
DELETION_FIELDS = ("del_window_ms", "del_count", "del_base")


def held(storage, owner):
    """Rows of deletions that wait for the owner's word, oldest first."""
    return [row for row in storage.scan("held", "", (owner,)) if not row["decided_ms"]]


def decide_held(storage, blobs, owner, accept, now_ms, positions=None):
    """Accept or refuse held deletions, all or those at `positions`; returns how many.

    Accepted: deleted, unless the record was edited since. Refused: the record is written once
    more, so that the handset that deleted it gets it back.
    """
    rows = held(storage, owner)
    if positions is not None:
        rows = [row for row in rows if row["pos"] in set(positions)]
        if len(rows) != len(set(positions)):
            raise NotFound("no deletion waits at one of these positions")
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        _repeat(storage, blobs, owner, now_ms, lambda log, part=part: _decide(log, part, accept))
    return len(rows)


def _decide(log, rows, accept):
    log.load([(row["kind"], row["uid"]) for row in rows])
    believed = {name: log.row[name] for name in DELETION_FIELDS}
    for row in rows:
        head = log.head(row["kind"], row["uid"])
        if head is not None and not head.deleted:
            if not accept:
                log.append(rules.again(head), rules.RESTORED, True, base_pos=head.pos)
            elif head.pos < row["pos"]:
                version = log.version(row["pos"])
                version.seq = 0  # the seq was used by the version that was held
                log.append(version, rules.HELD, True, base_pos=head.pos)
        log.put("held", {**row, "decided_ms": log.now_ms, "accepted": int(accept)})
    log.row.update(believed)  # the owner's word: it does not count as one of the many


def conflicts(storage, owner):
    """Rows of conflicts that nobody has looked at, by kind and uid."""
    return [row for row in storage.scan("conflicts", "", (owner,)) if not row["resolved_ms"]]


def resolve(storage, owner, kind, uid, pos, now_ms):
    """The version that is shown is right: the conflict is done with. Raises NotFound."""
    row = _conflict(storage, owner, kind, uid, pos)
    storage.commit([("conflicts", {**row, "resolved_ms": now_ms})])


def _conflict(storage, owner, kind, uid, pos):
    row = storage.get("conflicts", [(owner, kind, uid, pos)])[0]
    if row is None:
        raise NotFound("no conflict of that record at position %d" % pos)
    return row


def restore(storage, blobs, owner, kind, uid, pos, now_ms):
    """Show the version at `pos` again; returns the new position. Raises NotFound, Unsound.

    Conflicts of which it is a side are done with. What was shown stays in the history.
    """
    return _repeat(storage, blobs, owner, now_ms, lambda log: _restore(log, kind, uid, pos))


def _restore(log, kind, uid, pos):
    old = log.version(pos)
    if (old.kind, old.uid) != (kind, uid):
        raise NotFound("position %d is another record's" % pos)
    if old.role == rules.SAME:
        raise Unsound("this version holds nothing of its own: take the one it repeats")
    for row in log.storage.scan("conflicts", "", (log.owner, kind, uid)):
        if pos in (row["pos"], row["with_pos"]) and not row["resolved_ms"]:
            log.put("conflicts", {**row, "resolved_ms": log.now_ms})
    head = log.head(kind, uid)
    if head is not None and head.says_the_same(old):
        return head.pos
    version = rules.again(old)
    version.stamp = max(0, log.now_ms // 1000 - EPOCH_S)
    return log.append(version, rules.RESTORED, True, base_pos=pos)


def deleted(storage, owner):
    """[(row of the deletion, row of the version that undelete() brings back, or None)] of what is
    deleted, the newest deletion first."""
    out = []
    for head in scan_all(storage, "heads", "", (owner,)):
        if head["deleted"]:
            (deletion,) = storage.get("versions", [(owner, head["pos"])])
            key = (owner, head["kind"], head["uid"])
            rows = storage.scan("versions", "record", key, None, HISTORY_LIMIT, descending=True)
            out.append((deletion, next((row for row in rows if _is_older(version_of(row))), None)))
    out.sort(key=lambda pair: -pair[0]["pos"])
    return out


def _is_older(version):
    """True for a version that undelete() may bring back."""
    return not version.deleted and version.role not in (rules.SAME, rules.QUARANTINE)


def undelete(storage, blobs, owner, kind, uid, now_ms):
    """Bring a deleted record back as it was; returns its position. Raises NotFound, Unsound."""

    def work(log):
        head = log.head(kind, uid)
        if head is None:
            raise NotFound("%s has no such record" % owner)
        if not head.deleted:
            raise Unsound("this record is not deleted")
        for version in log.history(kind, uid):
            if _is_older(version):
                return _restore(log, kind, uid, version.pos)
        raise NotFound("the log has no version of it that is not deleted")

    return _repeat(storage, blobs, owner, now_ms, work)


def _repeat(storage, blobs, owner, now_ms, work):
    """work(log), and its commit, until nobody else wrote meanwhile; returns what work does."""
    while True:
        log = OwnerLog(storage, blobs, owner, now_ms)
        result = work(log)
        try:
            if log.changed():
                log.commit()
            return result
        except Stale:
            continue
