"""Scrub and statistics: read everything, check every CRC and hash, say what is damaged where."""

import hashlib
from binascii import hexlify

from drybag import layout
from drybag.errors import Damaged, NotFound


def scrub(log, journal):
    """Yields findings, each a dict with "kind":

    "record" (damaged live record, or a deletion that the hub has not yet, or a setting, whose uid
    is not told: record_kind, uid, sector, offset, problem), "repaired" (a
    harmed unit was rebuilt from parity and the record written afresh), "blob" (sha, uid of a
    record that names it, problem), "lost" (gone in an earlier compaction), "progress" (checked:
    records so far, every 16 and after each blob), "unreadable" (sector, offset: recovery found an
    entry there that nothing repairs, not the live version of a record that is known; seq, if its
    header reads), "missing" (segment: its sector was not found), last "summary".
    """
    checked = damaged = repaired = blobs = 0
    index, seen, named = log.index, {}, []
    for number in log.missing:
        damaged += 1
        yield {"kind": "missing", "segment": number,
               "problem": "no sector can be read as this segment of the log"}  # fmt: skip
    for slot in index.slots():
        where = index.where(slot)
        if not index.is_pending(slot) and index.kind(slot) != layout.SETTING:
            checked += 1
            if checked % 16 == 0:
                yield {"kind": "progress", "checked": checked}
        try:
            fixed = log.read(where)
        except Damaged as error:
            damaged += 1
            finding = _damaged_record(log, where, index.kind(slot), error)
            if (finding["sector"], finding["offset"]) in log.damaged:
                named.append((finding["sector"], finding["offset"]))
            yield finding
            continue
        for i in range(log.entry.nblobs):
            seen.setdefault(log.entry.blob(log.scratch, i), log.entry.uid(log.scratch))
        if fixed:
            repaired += 1
            kind, uid = log.entry.kind, _uid(log)
            sector = log.sectors.get(where >> 6, -1)
            journal.refresh(slot)
            yield {"kind": "repaired", "record_kind": kind, "uid": uid, "sector": sector,
                   "offset": layout.unit_offset(where & 63)}  # fmt: skip
    for place in log.damaged:
        if place not in named:
            damaged += 1
            yield _unreadable(log, place)
    for kind, uid, sector in log.lost:
        yield {"kind": "lost", "record_kind": kind, "uid": uid, "sector": sector}
    for sha in seen:
        blobs += 1
        yield {"kind": "progress", "checked": checked}
        problem = _blob_problem(journal, sha)
        if problem:
            damaged += 1
            yield {"kind": "blob", "sha": hexlify(sha).decode(), "uid": seen[sha],
                   "problem": problem}  # fmt: skip
    yield {"kind": "summary", "records": checked, "blobs": blobs, "damaged": damaged,
           "repaired": repaired, "lost": len(log.lost), "bad_sectors": log.pool.bad}  # fmt: skip


def _damaged_record(log, where, kind, error):
    sector = log.sectors.get(where >> 6, -1)
    uid = b""
    if sector >= 0 and log.read_head(where):
        uid = _uid(log)
    return {"kind": "record", "record_kind": kind, "uid": uid, "sector": sector,
            "offset": layout.unit_offset(where & 63), "problem": str(error)}  # fmt: skip


def _unreadable(log, place):
    what, finding = log.unread.get(place), {"kind": "unreadable"}
    finding["sector"], finding["offset"] = place
    finding["problem"] = "an entry that no repair brings back"
    if what:
        finding["seq"] = what[1]
        name = layout.KIND_NAMES.get(what[0], "setting")
        finding["problem"] = "what was written of a %s as change %d cannot be read" % (
            name, what[1],
        )  # fmt: skip
    return finding


def _uid(log):
    """Uid of the entry in scratch, for people: none of a setting."""
    return b"" if log.entry.kind == layout.SETTING else log.entry.uid(log.scratch)


def _blob_problem(journal, sha):
    h = hashlib.sha256()
    try:
        for piece in journal.read_blob(sha):
            h.update(piece)
    except (Damaged, NotFound) as error:
        return str(error)
    return None if h.digest() == sha else "SHA-256 differs"


def stats(log, journal):
    """What the journal holds and how the flash is used; sizes in bytes, sectors of 4096."""
    pool = log.pool
    counts = {}
    for kind in layout.KIND_NAMES:
        counts[layout.KIND_NAMES[kind]] = log.index.counts[kind]
    return {
        "epoch": "%08x" % log.epoch,
        "last_seq": log.next_seq - 1,
        "records": counts,
        "live_bytes": log.index.units * layout.UNIT,
        "free_bytes": journal.free_bytes(),
        "sectors": log.device.sectors,
        "log_sectors": len(log.sectors),
        "blob_sectors": pool.blobs,
        "free_sectors": pool.can_have(),
        "bad_sectors": pool.bad,
        "refused_erases": log.device.refused_erases,
        "lost_records": len(log.lost),
        "format_version": layout.VERSION,
        "writable": not log.failed,
        "filesystem": journal.report["filesystem"],
    }
