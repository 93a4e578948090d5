"""How a hub is: for `drybag hub stats` and the web page. What is wrong is an alarm, in words."""

from drybag_host.hub import accounts, offsite, owneractions, ownerviews
from drybag_host.hub.storage import hub_id
from drybag_host.output import count_text

__all__ = ["BACKUP_COMPARED", "OLD_BACKUP_MS", "backup_state", "clock_behind_s", "collect",
           "offsite_state"]  # fmt: skip

OLD_BACKUP_MS = 7 * 86_400_000
OFFSITE_LATE_MS = 3_600_000
BACKUP_COMPARED = "backup compared"  # an audit: a restore of a backup was compared, all the same
AUDITS = 20_000
PAGE = 1000
MOST_BEHIND = 10_000


def collect(storage, now_ms):
    """Everything as a dict for JSON; `alarms`: what needs somebody's attention."""
    owners = accounts.owners(storage)
    names = [row["owner"] for row in owners]
    audits = _audits(storage)
    out = {
        "hub": hub_id(storage) if storage.get("meta", [("hub_id",)])[0] else "",
        "owners": len(owners),
        "records": sum(row["live"] for row in owners),
        "versions": sum(row["pos"] for row in owners),
        "blobs": storage.counts("blobs"),
        "held": sum(len(owneractions.held(storage, name)) for name in names),
        "conflicts": sum(len(owneractions.conflicts(storage, name)) for name in names),
        "quarantined": [a for a in audits if a["what"] == "quarantine"],
        "lost_blobs": [a["detail"] for a in audits if a["what"] == offsite.NOT_SHIPPED],
        "backup": backup_state(storage, now_ms),
        "offsite": offsite_state(storage),
        "devices": [_device(storage, row) for row in accounts.devices(storage)],
    }
    out["alarms"] = _alarms(out, now_ms)
    return out


def _audits(storage):
    """The newest AUDITS of them, newest first."""
    found, after = [], None
    while len(found) < AUDITS:
        page = storage.scan("audits", "", (), after, PAGE, descending=True)
        found += page
        if len(page) < PAGE:
            break
        after = (page[-1]["at_ms"], page[-1]["what"])
    return found


def _device(storage, row):
    view = ownerviews.device_view(storage, row)
    last = (view.pop("streams") or [{}])[-1]
    return {**view, **{name: last.get(name, 0) for name in ("ack", "last_seq", "offsite")}}


def backup_state(storage, now_ms):
    """The newest backup of which a restore was compared record by record."""
    for audit in _audits(storage):
        if audit["what"] == BACKUP_COMPARED:
            age = now_ms - audit["at_ms"]
            return {"at_ms": audit["at_ms"], "detail": audit["detail"], "old": age > OLD_BACKUP_MS}
    return {"at_ms": 0, "detail": "", "old": True}


def clock_behind_s(storage, now_ms):
    """Seconds by which the newest version of any owner came later than now; 0 if none did."""
    newest_ms = 0
    for owner in accounts.owners(storage):
        for row in storage.scan("versions", "", (owner["owner"],), None, 1, True):
            newest_ms = max(newest_ms, row["received_ms"])
    return max(0, newest_ms - now_ms) // 1000


def offsite_state(storage):
    """How far the off-site copy is; `behind`: rows that are not there, counted to a limit."""
    found = offsite.status(storage)
    if found is None:
        return {"configured": False, "lsn": 0, "behind": 0, "at_ms": 0, "url": "", "error": ""}
    behind = len(storage.changed(found["lsn"], MOST_BEHIND))
    return {
        "configured": True, "lsn": found["lsn"], "behind": behind, "at_ms": found["at_ms"],
        "url": found["url"], "error": found["error"],
    }  # fmt: skip


def _alarms(found, now_ms):
    out = []
    backup, copy = found["backup"], found["offsite"]
    if found["records"] and not backup["at_ms"]:
        out.append("no backup of this hub was ever compared: drybag hub backup DIR")
    elif found["records"] and backup["old"]:
        days = (now_ms - backup["at_ms"]) // 86_400_000
        out.append("the last compared backup is %d days old: drybag hub backup DIR" % days)
    if copy["error"]:
        out.append("the off-site copy stands still: %s" % copy["error"])
    elif copy["behind"] and now_ms - copy["at_ms"] > OFFSITE_LATE_MS:
        out.append("the off-site copy lacks %d rows" % copy["behind"])
    if found["quarantined"]:
        out.append("%d versions are in quarantine: a handset sent two for one seq"
                   % len(found["quarantined"]))  # fmt: skip
    if found["lost_blobs"]:
        out.append("lost or damaged here, and not off-site: %s: drybag hub verify"
                   % count_text(len(found["lost_blobs"]), "photo"))  # fmt: skip
    if found["held"]:
        out.append("%d deletions wait for a word: drybag hub held list" % found["held"])
    return out
