"""What the owner's pages show, as plain values for the templates. Reads only; no HTTP in here."""

from datetime import datetime, timedelta

from drybag import records
from drybag.layout import CALENDAR, CONTACT, KIND_NAMES, PHOTO
from drybag_host import listing
from drybag_host.formats.people import person_of
from drybag_host.hub import stats
from drybag_host.hub.owner_records import record_of
from drybag_host.hub.ownerviews import uid_bytes, uid_text
from drybag_host.hub.rules import EPOCH_S

PAGE_ROWS = 100
RECENT_ROWS = 12
BEHIND_ROWS = 1000
HISTORY_ROWS = 200
LAG_ALARM = 1000
KINDS = {name: number for number, name in KIND_NAMES.items() if number != CALENDAR}
NAMES = {name: "to-do" if name == "todo" else name for name in KINDS}
PLURALS = {"contact": "contacts", "event": "events", "todo": "to-dos", "note": "notes",
           "photo": "photos"}  # fmt: skip
_ROLES = {
    "pushed": "",
    "merged": "merged from two edits",
    "kept": "kept as it was",
    "restored": "brought back",
    "held": "deletion held",
    "quarantine": "in quarantine: sent twice with different content",
    "imported": "imported",
}
_PROPERTIES = {
    "*": "the whole record", "N": "name", "FN": "name", "TEL": "phone", "EMAIL": "e-mail",
    "ADR": "address", "ORG": "organization", "BDAY": "birthday", "URL": "web", "DTSTART": "begins",
    "DTEND": "ends", "DTEND/DURATION": "ends", "SUMMARY": "title", "RRULE": "repeats",
}  # fmt: skip
COLOURS = 8
IN_STEP, REPLACED, REVOKED, NOTHING = (
    "in step", "paired anew since", "access taken away", "has not synced yet"
)  # fmt: skip


# --- words -----------------------------------------------------------------------------------


def time_text(ms):
    """'2026-01-31 09:30 CET' of Unix milliseconds, in this computer's time; "never" for 0."""
    if not ms:
        return "never"
    return _spell(datetime.fromtimestamp(ms / 1000).astimezone())


def _spell(when):
    return when.strftime("%Y-%m-%d %H:%M %Z")


def date_text(line):
    """A date of a record for people: its own time with its zone; one in UTC in this computer's."""
    value = line.text()
    try:
        if value.endswith("Z"):
            return _spell(datetime.fromisoformat(value).astimezone())
    except (ValueError, OverflowError, OSError):
        return listing.when_text(value)
    zone = (line.first(b"TZID") or b"").decode("utf-8", "replace")
    return " ".join(part for part in (listing.when_text(value), zone) if part)


def last_day_text(line):
    """As date_text, of an event's DTEND: of whole days it is the day after the last."""
    try:
        day = datetime.strptime(line.text(), "%Y%m%d")
        return (day - timedelta(days=1)).strftime("%Y-%m-%d")
    except (ValueError, OverflowError):
        return date_text(line)


def ago(ms, now_ms):
    """'3 minutes ago': how long before now."""
    if not ms:
        return "never"
    seconds = max(0, now_ms - ms) // 1000
    for size, name in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return "%d %s%s ago" % (count, name, "" if count == 1 else "s")
    return "just now"


# --- the owner's handsets and copies ---------------------------------------------------------


class Whereabouts:
    """Where versions are: on which handsets, in the hub, off-site.

    offsite: is an off-site copy configured; offsite_lsn: the last commit that is there, or None.
    seen: when devices were heard of, where that is not written yet.
    """

    def __init__(self, storage, owner, offsite, seen):
        mark = storage.get("local", [("offsite_lsn",)])[0] if offsite else None
        self.offsite_lsn = int(mark["value"] or 0) if mark else (0 if offsite else None)
        self.seen = seen
        self.devices = storage.scan("devices", "owner", (owner,))
        self.trusted = {d["device"] for d in self.devices if not d["revoked_ms"]}
        self.streams = {}
        for device in self.devices:
            rows = storage.scan("streams", "", (device["device"],))
            if rows:
                self.streams[device["device"]] = max(rows, key=lambda row: row["lsn"])
        self.names = {d["device"]: d["name"] or d["handset"] for d in self.devices}

    def name_of(self, device):
        return self.names.get(device, "") or ("the hub" if not device else device)

    def of(self, version):
        """{"handsets": [names], "hub": True, "offsite": True, False or None} of a version.

        A handset whose access was taken away may be lost: it is not counted on.
        """
        handsets = []
        for device, stream in self.streams.items():
            own = (version["device"], version["epoch"], version["life"]) == (
                device, stream["epoch"], stream["life"],
            )  # fmt: skip
            if device in self.trusted and (own or stream["cursor"] >= version["pos"]):
                handsets.append(self.name_of(device))
        offsite = None if self.offsite_lsn is None else version["lsn"] <= self.offsite_lsn
        return {"handsets": handsets, "hub": True, "offsite": offsite}

    def handsets(self, storage, now_ms):
        """A row for each handset: its last contact and how far it and the hub agree."""
        out = []
        for device in self.devices:
            stream = self.streams.get(device["device"])
            seen_ms = max(device["seen_ms"], self.seen.get(device["device"], 0))
            row = {
                "device": device["device"],
                "name": self.name_of(device["device"]),
                "revoked": bool(device["revoked_ms"]),
                "seen": ago(seen_ms, now_ms),
                "seen_at": time_text(seen_ms),
                "saved": 0, "hub": 0, "offsite": None, "unsent": 0, "behind": 0,
            }  # fmt: skip
            if stream:
                key = (stream["device"], stream["epoch"], stream["life"])
                offsite = storage.get("offsite", [key])[0]
                row["saved"], row["hub"] = stream["last_seq"], stream["ack"]
                row["unsent"] = max(0, stream["last_seq"] - stream["ack"])
                row["behind"] = self._behind(storage, stream, key, device["owner"])
                if self.offsite_lsn is not None:
                    row["offsite"] = offsite["ack"] if offsite else 0
            row["state"] = self._state(device, row)
            row["holds"] = row["state"] not in (REPLACED, REVOKED, NOTHING)
            out.append(row)
        return out

    def _state(self, device, row):
        """How a handset stands, in words."""
        if row["revoked"]:
            return REVOKED
        later = (d for d in self.devices if d["created_ms"] > device["created_ms"])
        if device["handset"] and any(d["handset"] == device["handset"] for d in later):
            return REPLACED
        if device["device"] not in self.streams:
            return NOTHING
        if row["unsent"]:
            return "%d unsent" % row["unsent"]
        return "%d to fetch" % row["behind"] if row["behind"] else IN_STEP

    def _behind(self, storage, stream, key, owner):
        """How many records this handset has still to fetch; at most BEHIND_ROWS."""
        heads = storage.scan("heads", "changes", (owner,), (stream["cursor"],), BEHIND_ROWS)
        return sum((h["device"], h["epoch"], h["life"]) != key for h in heads)


# --- records ---------------------------------------------------------------------------------


def card(record):
    """A record in a list."""
    name = KIND_NAMES[record.kind]
    title = records.title(record.kind, record.body) or "(no name)"
    return {
        "kind": name,
        "key": uid_text(record.uid),
        "title": title,
        "details": listing.details_of(record).replace("  ", " \u00b7 "),
        "colour": sum(title.encode("utf-8", "replace")) % COLOURS,
        "initials": "".join(w[0] for w in title.split()[:2] if w[0].isalnum()).upper(),
        "image": image_of(record),
    }


def image_of(record):
    """Hex name of the record's picture, or ""."""
    if record.kind not in (CONTACT, PHOTO) or not record.blobs:
        return ""
    names = (b"PHOTO",) if record.kind == CONTACT else (b"IMAGE",)
    for line in records.properties(record.body, names):
        for sha in records.blob_refs(line.value):
            if sha in record.blobs:
                return sha.hex()
    return ""


def page_of(owner, kind, after):
    """(cards, next "after" or "") of one kind, by title. `after`: "KEY.TITLE" of the last one."""
    start = None
    if after:
        key, _, title = after.partition(".")
        start = (title, uid_bytes(key))
    rows = []
    last = None
    while len(rows) < PAGE_ROWS:
        heads = owner.storage.scan("heads", "title", (owner.owner, kind), start, PAGE_ROWS)
        for head in heads:
            last = head
            start = (head["title"], head["uid"])
            if not head["deleted"]:
                rows.append(head)
                if len(rows) == PAGE_ROWS:
                    break
        if len(heads) < PAGE_ROWS:
            if not heads or head is heads[-1]:
                last = None
            break
    found = owner.storage.get("versions", [(owner.owner, head["pos"]) for head in rows])
    more = "%s.%s" % (uid_text(last["uid"]), last["title"]) if last else ""
    return [card(record_of(row)) for row in found], more


def person(record):
    """What a contact's page shows: [(label, text, link scheme)]."""
    p = person_of(record)
    rows = []
    for label, text in p.phones:
        rows.append((label or "phone", text, "tel"))
    for label, text in p.emails:
        rows.append((label or "e-mail", text, "mailto"))
    for label, text in p.addresses:
        rows.append((label or "address", text, None))
    for label, text in p.web:
        rows.append((label or "web", text, ""))
    for label, text in (("birthday", p.birthday), ("title", p.title),
                        ("organization", p.organization), ("nickname", p.nickname)):  # fmt: skip
        if text:
            rows.append((label, text, None))
    return rows + [("note", text, None) for text in p.notes]


def facts(record):
    """[(label, text, link scheme or None)] of any record, for people."""
    if record.kind == CONTACT:
        return person(record)
    value = records.value_of
    body = record.body
    rows = _date_rows(record)
    for name, label in ((b"LOCATION", "where"), (b"RRULE", "repeats"), (b"STATUS", "status"),
                        (b"DESCRIPTION", "description"), (b"CAPTION", "caption"),
                        (b"MEDIATYPE", "type")):  # fmt: skip
        rows.append((label, value(body, name), None))
    return [row for row in rows if row[1]]


def _date_rows(record):
    """The dates among facts()."""
    labels = {b"DTSTART": "begins", b"DTEND": "ends", b"DUE": "due"}
    if record.kind == PHOTO:
        labels[b"CREATED"] = "taken"
    rows = {}
    for line in records.properties(record.body, tuple(labels)):
        spell = last_day_text if line.name == b"DTEND" else date_text
        rows.setdefault(labels[line.name], spell(line))
    if rows.get("ends") == rows.get("begins"):
        rows.pop("ends", None)
    return [(label, rows[label], None) for label in labels.values() if label in rows]


def lines(record):
    """The record's own lines as text, for those who want to see them all."""
    return bytes(record.body).decode("utf-8", "replace")


def difference(newer, older):
    """(added, removed): lines that one version has and the other has not."""
    a = [line.decode("utf-8", "replace") for line in records.lines(newer)]
    b = [line.decode("utf-8", "replace") for line in records.lines(older)]
    return [x for x in a if x not in b], [x for x in b if x not in a]


def version_rows(owner, kind, uid, whereabouts, conflicts):
    """The record's versions, newest first, each with who made it and what it changed."""
    rows = owner.versions(kind, uid, HISTORY_ROWS)
    head = owner.storage.get("heads", [(owner.owner, kind, uid)])[0]
    open_conflicts = {c["pos"]: c for c in conflicts if not c["resolved_ms"]}
    out = []
    for i, row in enumerate(rows):
        before = next((r for r in rows[i + 1 :] if not r["deleted"]), None)
        added, removed = [], []
        if not row["deleted"] and before is not None:
            added, removed = difference(row["body"], before["body"])
        conflict = open_conflicts.get(row["pos"])
        out.append({
            "pos": row["pos"],
            "deleted": bool(row["deleted"]),
            "shown": head is not None and head["pos"] == row["pos"],
            "who": whereabouts.name_of(row["device"]),
            "edited": _edited(row["stamp"]),
            "clock_unset": bool(row["no_time"]),
            "received": time_text(row["received_ms"]),
            "role": _ROLES.get(row["role"], row["role"]),
            "added": added[:40],
            "removed": removed[:40],
            "conflict": differs_text(conflict["names"]) if conflict else None,
        })  # fmt: skip
    return out


def _edited(stamp):
    return time_text((stamp + EPOCH_S) * 1000) if stamp else "time unknown"


def recent(owner, whereabouts, now_ms):
    """The last changes of all records."""
    rows = owner.storage.scan("versions", "", (owner.owner,), None, 4 * RECENT_ROWS, True)
    out = []
    for row in rows:
        if row["kind"] == CALENDAR or not row["counts"]:
            continue
        record = record_of(row)
        title = records.title(row["kind"], row["body"]) if not row["deleted"] else ""
        if row["deleted"]:
            before = [r for r in owner.versions(row["kind"], row["uid"], 8) if not r["deleted"]]
            title = records.title(row["kind"], before[0]["body"]) if before else ""
        out.append({
            "kind": KIND_NAMES[row["kind"]],
            "key": uid_text(record.uid),
            "title": title or "(no name)",
            "deleted": bool(row["deleted"]),
            "who": whereabouts.name_of(row["device"]),
            "when": ago(row["received_ms"], now_ms),
        })  # fmt: skip
        if len(out) == RECENT_ROWS:
            break
    return out


def title_at(owner, kind, uid):
    """What a record is called, or was before it was deleted."""
    for row in owner.versions(kind, uid, 8):
        if not row["deleted"]:
            return records.title(kind, row["body"]) or "(no name)"
    return "(no name)"


def held_rows(owner):
    """Deletions that wait for the owner's word."""
    rows = owner.storage.scan("held", "", (owner.owner,))
    return [
        {
            "pos": row["pos"],
            "kind": KIND_NAMES[row["kind"]],
            "key": uid_text(row["uid"]),
            "title": title_at(owner, row["kind"], row["uid"]),
        }
        for row in rows
        if not row["decided_ms"]
    ]


def conflict_rows(owner):
    """Edits that are kept beside the one that is shown, and not looked at yet."""
    out = []
    for row in owner.storage.scan("conflicts", "", (owner.owner,)):
        if not row["resolved_ms"]:
            out.append({
                "kind": KIND_NAMES[row["kind"]],
                "key": uid_text(row["uid"]),
                "title": title_at(owner, row["kind"], row["uid"]),
                "differs": differs_text(row["names"]),
                "pos": row["pos"],
            })  # fmt: skip
    return out


def differs_text(names):
    """What a conflict is about, for people; names: as the row of a conflict has them."""
    words = [_PROPERTIES.get(name, name.lower()) for name in names.split(",") if name]
    return ", ".join(dict.fromkeys(words)) or _PROPERTIES["*"]


def backup_card(storage, now_ms):
    """{"big", "text", "alarm", "command"}: when a backup was last compared record by record."""
    state = stats.backup_state(storage, now_ms)
    if not state["at_ms"]:
        text, big = "no backup of this hub was ever compared:", "never"
    else:
        text, big = time_text(state["at_ms"]), ago(state["at_ms"], now_ms)
        text += "; make a new one:" if state["old"] else ""
    command = "drybag hub backup DIR" if state["old"] else ""
    return {"big": big, "text": text, "alarm": state["old"], "command": command}


def offsite_card(storage, configured):
    """{"big", "text", "alarm"}: how far the off-site copy is."""
    if not configured:
        text, command = "no off-site copy; start the hub with", "hub serve --offsite URL"
        return {"big": "none", "text": text, "alarm": False, "command": command}
    lag = stats.offsite_state(storage)["behind"]
    if not lag:
        return {"big": "complete", "text": "everything here is there too", "alarm": False}
    return {"big": "%d behind" % lag, "text": "commits not there yet", "alarm": lag > LAG_ALARM}


def day_text(ms):
    """'2026-01-31' of Unix milliseconds."""
    return time_text(ms)[:10]
