"""What a pushed item does: pure decisions; SPEC.md "What the hub does", "Merge".

The service looks up what a decision needs (head, base, whether the log holds it), asks here, and
writes what comes back. Nothing here reads a clock, a store or a socket.
"""

from drybag.layout import content_id
from drybag.merge import merge, same

EPOCH_S = 946_684_800  # 2000-01-01 in Unix time
CLAMP_S = 300  # a stamp further ahead of the hub's clock than this is not believed
WINDOW_MS = 24 * 3600 * 1000
FREE_DELETIONS = 5  # this many within a window are never held
SHARE = 10  # and a tenth of the records

WHOLE = b"*"  # in place of property names: the whole record is in conflict

# Roles of a version in the log.
PUSHED, MERGED, KEPT, RESTORED = "pushed", "merged", "kept", "restored"
HELD, QUARANTINE, IMPORTED, SAME = "held", "quarantine", "imported", "same"


class Version:
    """One version of a record, as decisions see it.

    kind, uid, deleted, stamp, parent, blobs (tuple of names), body; pos (0: not in the log yet),
    role; device, epoch, life, seq: who sent it (device "": the hub itself). content_id: of a
    deletion that of the version it was made in knowledge of, 0 if it does not say. received_ms:
    when the hub got it, 0 if it has not.
    """

    __slots__ = ("blobs", "body", "content_id", "deleted", "device", "epoch", "kind", "life",
                 "parent", "pos", "received_ms", "role", "seq", "stamp", "uid")  # fmt: skip

    def __init__(self, kind, uid, body=b"", *, deleted=False, stamp=0, parent=0, blobs=(),
                 device="", epoch=0, life=0, seq=0, pos=0, role=PUSHED, cid=None):  # fmt: skip
        self.kind, self.uid, self.body = kind, uid, b"" if deleted else body
        self.deleted, self.stamp = bool(deleted), stamp
        self.parent, self.blobs = parent, tuple(blobs)
        self.device, self.epoch, self.life, self.seq = device, epoch, life, seq
        self.pos, self.role = pos, role
        if cid is None:
            cid = 0 if deleted else content_id(parent, self.blobs, body)
        self.content_id = cid
        self.received_ms = 0

    def stream(self):
        """Whose version it is: (device, epoch, life)."""
        return self.device, self.epoch, self.life

    def says_the_same(self, other):
        """True if both are deletions, or have the same body, blobs and parent."""
        if self.deleted or other.deleted:
            return self.deleted and other.deleted
        return same(self, other)


class Outcome:
    """What to write for one item.

    role, counts: of the item's own version (counts: it becomes the head).
    further: a Version that becomes the head behind it, or None.
    conflict: property names; `hidden`: "item" or "head", the version that is not shown.
    """

    __slots__ = ("conflict", "counts", "further", "hidden", "role")

    def __init__(self, role, counts=False, further=None, conflict=(), hidden="item"):
        self.role = role
        self.counts = counts
        self.further = further
        self.conflict = tuple(conflict)
        self.hidden = hidden


def clamp(stamp, now):
    """A stamp that is not far ahead of `now`, the hub's (seconds since 2000)."""
    return now if stamp > now + CLAMP_S else stamp


def is_later(a, b):
    """True if version `a` is shown before `b` where both changed the same."""
    return (a.stamp, a.device) > (b.stamp, b.device)


def repeat_of(item, sent):
    """What a seq that was seen before means: SAME (nothing to do) or QUARANTINE.

    sent: the versions that the same stream sent under this seq.
    """
    for version in sent:
        if (version.kind, version.uid) == (item.kind, item.uid):
            if version.role == SAME and not item.deleted:
                if version.content_id == item.content_id:
                    return SAME
            elif version.says_the_same(item):
                return SAME
    return QUARANTINE


def is_base(version, item, base_id):
    """True if `version` is what the item replaced, as far as the log can say."""
    if version.role in (HELD, QUARANTINE):
        return False
    if base_id and version.content_id == base_id and not version.deleted:
        return True
    return version.stream() == item.stream()


def is_in_doubt(version, item, base_id, told):
    """True if the item may not know `version`, though its own stream has sent that before.

    After `told`, the highest ack that the handset has shown to know, an old image may have been
    written to its flash. A base by its name, or what another stream made, is known for sure.
    """
    if version.stream() != item.stream() or version.seq <= told:
        return False
    return version.deleted or version.content_id != base_id


def goes_under(doubted, item, head, older):
    """True if something that `doubted` changed is neither in the item nor in what counts now.

    older: the version that the item names as its base, or None.
    """
    if doubted.deleted:
        return False
    if item.deleted:
        return head.deleted
    return not any(_holds(version, doubted, older) for version in (item, head))


def _holds(version, doubted, older):
    """True if `version` has all that `doubted` made of `older`."""
    if version.deleted:
        return False
    merged = merge(version.kind, older, version, doubted)
    return not merged.names and same(merged, version)


def is_buried(item, head):
    """True if `head` is the deletion of just what the item says, and came after that was made.

    A deletion's own stamp may be that of a clock far behind; when it came here it was later than
    what it deletes. What was put back later, in knowledge of it, is later than that too.
    """
    if item.deleted or not head.deleted or head.content_id != item.content_id:
        return False
    return item.stamp <= head.received_ms // 1000 - EPOCH_S + CLAMP_S


def find_base(item, base_id, history):
    """The newest version that the item may have replaced, or None.

    history: versions of this record, newest first. Rows of role SAME hold no body: the version
    that they repeat stands for them.
    """
    wanted = None
    for version in history:
        if wanted is not None:
            if version.role not in (SAME, HELD, QUARANTINE) and wanted == _says(version):
                return version
        elif is_base(version, item, base_id):
            if version.role != SAME:
                return version
            wanted = _says(version)
    return None


def _says(version):
    """What tells whether two versions say the same, without their bodies."""
    return 0 if version.deleted else version.content_id


def decide(item, head, base, *, resend=False, known=False, seen=False, older=False,
           again=False, may_delete=True):  # fmt: skip
    """The Outcome of an item that is new.

    item: Version. head: the version that counts, or None. base: what find_base() gave. known: the
    log holds this very version (content and stamp) already. seen: the handset had taken head.
    older: head is what a restored hub began with, and the item replaced something later.
    again: the item replaced what says the same, as a person does who refuses its deletion.
    may_delete: see may_delete().
    """
    if head is None:
        return Outcome(PUSHED, counts=True)
    if head.says_the_same(item):
        return Outcome(SAME)
    if base is not None and (base.pos == head.pos or base.says_the_same(head)):
        return _replace(item, head, may_delete)
    if not known and (resend and seen or older and item.deleted):
        return _replace(item, head, may_delete)
    if resend:
        return _resent(item, head, known, again, may_delete)
    if item.deleted:
        return Outcome(PUSHED, further=_again(head))  # an edit was made meanwhile: it stays
    if head.deleted:
        if not (seen or again) and is_buried(item, head):  # made before, though sent first now
            return Outcome(PUSHED, further=_again(head))
        return Outcome(PUSHED, counts=True)  # an edit brings the record back
    return _both_changed(item, head, base)


def _replace(item, head, may_delete):
    if item.deleted and not head.deleted and not may_delete:
        return Outcome(HELD)
    return Outcome(PUSHED, counts=True)


def _resent(item, head, known, again, may_delete):
    """A hub had this version, and lost it or what came after it: stamps are all there is.

    Nobody can tell whether one of the two was made in knowledge of the other, so what is not shown
    is a conflict, unless it is a deletion.
    """
    if known:
        return Outcome(SAME, further=_again(head))
    if not again and is_buried(item, head):
        return Outcome(PUSHED, further=_again(head))
    back = head.deleted and not item.deleted and item.stamp == head.stamp
    if not back and not is_later(item, head):
        names = () if item.deleted else (WHOLE,)
        return Outcome(PUSHED, further=_again(head), conflict=names)
    out = _replace(item, head, may_delete)
    if out.counts and not head.deleted:
        out.conflict, out.hidden = (WHOLE,), "head"
    return out


def _both_changed(item, head, base):
    item_later = is_later(item, head)
    later, earlier = (item, head) if item_later else (head, item)
    merged = merge(item.kind, None if base is None or base.deleted else base, later, earlier)
    hidden = "head" if item_later else "item"
    if same(merged, item):
        return Outcome(PUSHED, counts=True, conflict=merged.names, hidden=hidden)
    if same(merged, head):
        return Outcome(PUSHED, further=_again(head), conflict=merged.names, hidden=hidden)
    further = Version(item.kind, item.uid, merged.body, stamp=later.stamp, parent=merged.parent,
                      blobs=merged.blobs, role=MERGED)  # fmt: skip
    return Outcome(PUSHED, further=further, conflict=merged.names, hidden=hidden)


def _again(head, role=KEPT):
    """The head written once more, so that the handset that sent something else gets it."""
    return Version(head.kind, head.uid, head.body, deleted=head.deleted, stamp=head.stamp,
                   parent=head.parent, blobs=head.blobs, role=role,
                   cid=head.content_id)  # fmt: skip


again = _again


# --- deletions -------------------------------------------------------------------------------


def may_delete(owner, now_ms):
    """True if one more deletion within 24 hours is believed; owner: a row, see count_deletion.

    Held is what would pass both a tenth of the records there were before, and FREE_DELETIONS.
    """
    count = owner["del_count"] if _in_window(owner, now_ms) else 0
    return count + 1 <= max(FREE_DELETIONS, (owner["live"] + count) // SHARE)


def count_deletion(owner, now_ms):
    """Note an accepted deletion in the owner's row: del_window_ms, del_count, del_base."""
    if not _in_window(owner, now_ms):
        owner["del_window_ms"] = now_ms
        owner["del_count"] = 0
        owner["del_base"] = owner["live"]
    owner["del_count"] += 1


def _in_window(owner, now_ms):
    return 0 <= now_ms - owner["del_window_ms"] < WINDOW_MS
