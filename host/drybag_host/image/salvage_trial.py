"""Salvage measured: overwrite sectors of a full handset's `pim`, count what must come back."""

import random

from drybag import layout

SECTOR = layout.SECTOR


def overwrite(image, percent, seed):
    """(copy of `image` with `percent` of its sectors overwritten by random bytes, which)."""
    rng = random.Random(seed)
    count = len(image) // SECTOR
    hit = set(rng.sample(range(count), round(count * percent / 100)))
    harmed = bytearray(image)
    for sector in hit:
        harmed[sector * SECTOR : (sector + 1) * SECTOR] = rng.randbytes(SECTOR)
    return harmed, hit


def unhit(journal, hit):
    """{(kind, uid): Record} of the live records no entry of which is in a sector of `hit`.

    A record's entries: its live version; the pieces of a body that is stored as a blob.
    """
    log, out = journal._log, {}
    for record in list(journal.records()):
        slot = log.lookup(record.kind, record.uid)[0]
        where = log.index.where(slot)
        log.read(where)
        sectors = {log.sectors[where >> 6]}
        if log.entry.op == layout.OP_PUT_BIG:
            sha = log.entry.blob(log.scratch, 0)
            for _, _, places in journal._blobs._candidates(sha):
                sectors.update(place - 1 for place in places)
        if not sectors & hit:
            out[record.kind, record.uid] = record
    return out
