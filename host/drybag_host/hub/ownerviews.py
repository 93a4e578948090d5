"""What an owner's records look like to a person or a program: dicts for JSON, page by page."""

import base64

from drybag.errors import NotFound
from drybag.layout import KIND_NAMES
from drybag_host.hub import offsite, owneractions
from drybag_host.hub.ownerlog import version_of
from drybag_host.hub.refusals import Unsound

__all__ = ["conflict_view", "device_view", "held_view", "history", "kind_number", "record",
           "records", "summary", "uid_bytes", "uid_text", "version_view"]  # fmt: skip

KINDS = {name: number for number, name in KIND_NAMES.items()}
MOST_ROWS = 500


def kind_number(name):
    """Raises Unsound."""
    if name not in KINDS:
        raise Unsound("no such kind; kinds are " + ", ".join(KINDS))
    return KINDS[name]


def uid_text(uid):
    """A uid as it stands in an address: base64url without padding."""
    return base64.urlsafe_b64encode(uid).rstrip(b"=").decode()


def uid_bytes(text):
    """Raises Unsound."""
    try:
        uid = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except ValueError as error:
        raise Unsound("a uid in an address is base64url") from error
    if not 1 <= len(uid) <= 200:
        raise Unsound("a uid has 1 to 200 bytes")
    return uid


def _bytes(fields, name, data):
    try:
        fields[name] = data.decode("utf-8")
    except UnicodeDecodeError:
        fields[name + "_base64"] = base64.b64encode(data).decode()


def version_view(row, body=True):
    """A row of `versions` for JSON. Bytes that are not UTF-8 stand in NAME_base64."""
    version = version_of(row)
    out = {
        "pos": row["pos"], "kind": KIND_NAMES.get(row["kind"], row["kind"]),
        "key": uid_text(row["uid"]), "deleted": bool(row["deleted"]), "role": row["role"],
        "counts": bool(row["counts"]), "stamp": row["stamp"], "no_time": bool(row["no_time"]),
        "received_ms": row["received_ms"], "rev": row["rev"], "parent": row["parent"],
        "device": row["device"], "epoch": row["epoch"], "life": row["life"], "seq": row["seq"],
        "content_id": row["content_id"], "blobs": [sha.hex() for sha in version.blobs],
    }  # fmt: skip
    _bytes(out, "uid", row["uid"])
    if body:
        _bytes(out, "body", row["body"])
    return out


def _head_view(row):
    out = {
        "pos": row["pos"], "kind": KIND_NAMES.get(row["kind"], row["kind"]),
        "key": uid_text(row["uid"]), "deleted": bool(row["deleted"]), "stamp": row["stamp"],
        "title": row["title"], "device": row["device"],
    }  # fmt: skip
    _bytes(out, "uid", row["uid"])
    return out


def records(storage, owner, kind=None, after=None, limit=100, bodies=False, deleted=False):
    """A page of an owner's records by kind and uid: {"records": [...], "next": text or None}.

    after: the `next` of the page before. bodies: with what a record says, else with its title.
    """
    limit = max(1, min(limit, MOST_ROWS))
    prefix = (owner,) if kind is None else (owner, kind)
    start = _after(after, kind)
    rows = storage.scan("heads", "", prefix, start, limit)
    last = rows[-1] if len(rows) == limit else None
    chosen = [row for row in rows if deleted or not row["deleted"]]
    if bodies:
        found = storage.get("versions", [(owner, row["pos"]) for row in chosen])
        views = [version_view(row) for row in found]
    else:
        views = [_head_view(row) for row in chosen]
    more = "%d.%s" % (last["kind"], uid_text(last["uid"])) if last else None
    return {"records": views, "next": more}


def _after(text, kind):
    if not text:
        return None
    number, _, uid = text.partition(".")
    if not number.isdecimal() or len(number) > 3:
        raise Unsound("`after` is the `next` of the page before")
    return (int(number), uid_bytes(uid)) if kind is None else (uid_bytes(uid),)


def record(storage, owner, kind, uid):
    """One record as it counts. Raises NotFound."""
    head = storage.get("heads", [(owner, kind, uid)])[0]
    if head is None:
        raise NotFound("no such record")
    (row,) = storage.get("versions", [(owner, head["pos"])])
    out = version_view(row)
    out["title"] = head["title"]
    out["places"] = places(storage, row)
    out["conflicts"] = [
        conflict_view(c) for c in storage.scan("conflicts", "", (owner, kind, uid))
    ]
    return out


def places(storage, row):
    """Where a version is safe: at the hub it is; off-site by the off-site copy's word."""
    return {"hub": True, "offsite": row["lsn"] <= offsite.shipped_lsn(storage)}


def history(storage, owner, kind, uid, before=None, limit=50):
    """A page of a record's versions, newest first: {"versions": [...], "next": pos or None}."""
    limit = max(1, min(limit, MOST_ROWS))
    after = None if before is None else (before,)
    rows = storage.scan("versions", "record", (owner, kind, uid), after, limit, descending=True)
    if not rows and before is None:
        raise NotFound("no such record")
    more = rows[-1]["pos"] if len(rows) == limit else None
    return {"versions": [version_view(row) for row in rows], "next": more}


def conflict_view(row):
    return {
        "kind": KIND_NAMES.get(row["kind"], row["kind"]), "key": uid_text(row["uid"]),
        "pos": row["pos"], "shown_pos": row["with_pos"], "properties": row["names"].split(","),
        "resolved_ms": row["resolved_ms"] or None,
    }  # fmt: skip


def held_view(row):
    out = {"pos": row["pos"], "kind": KIND_NAMES.get(row["kind"], row["kind"]),
           "key": uid_text(row["uid"])}  # fmt: skip
    _bytes(out, "uid", row["uid"])
    return out


def device_view(storage, row, seen=None):
    """A device with its streams, the one that was heard of last at the end: what was acknowledged,
    and when it was heard of."""
    streams = storage.scan("streams", "", (row["device"],))
    streams.sort(key=lambda stream: stream["lsn"])
    keys = [(s["device"], s["epoch"], s["life"]) for s in streams]
    offsite = storage.get("offsite", keys)
    seen_ms = max(row["seen_ms"], (seen or {}).get(row["device"], 0))
    return {
        "device": row["device"], "owner": row["owner"], "name": row["name"],
        "handset": row["handset"], "created_ms": row["created_ms"],
        "revoked_ms": row["revoked_ms"] or None, "seen_ms": seen_ms or None,
        "streams": [
            {"epoch": s["epoch"], "life": s["life"], "ack": s["ack"],
             "last_seq": s["last_seq"], "cursor": s["cursor"], "offsite": o["ack"] if o else 0}
            for s, o in zip(streams, offsite, strict=True)
        ],
    }  # fmt: skip


def counts(storage, owner):
    """{kind: live records}; reads the heads."""
    found = dict.fromkeys(KINDS, 0)
    after = None
    while True:
        rows = storage.scan("heads", "", (owner,), after, 2000)
        for row in rows:
            if not row["deleted"]:
                found[KIND_NAMES[row["kind"]]] += 1
        if len(rows) < 2000:
            return found
        after = (rows[-1]["kind"], rows[-1]["uid"])


def summary(storage, owner_row):
    """What an owner has here."""
    owner = owner_row["owner"]
    return {
        "owner": owner, "pos": owner_row["pos"], "live": owner_row["live"],
        "held": len(owneractions.held(storage, owner)),
        "conflicts": len(owneractions.conflicts(storage, owner)),
        "counts": counts(storage, owner),
    }  # fmt: skip
