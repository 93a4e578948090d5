"""A full `pim` with a past: updates, deletions, batches, photos, compaction, power cuts."""

import random
import sys
from pathlib import Path

from drybag import layout
from drybag.errors import NoSpace
from drybag_host.image.salvage_trial import overwrite, unhit

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from pim_flash import Flash, noise, store_blob, text  # noqa: E402

__all__ = ["full_pim", "overwrite", "unhit"]


def full_pim(sectors=96, seed=1):
    """(bytes of the partition, the Journal on it)."""
    rng = random.Random(seed)
    flash = Flash(sectors)
    j = flash.mount()
    for n in range(4):
        sha = store_blob(j, noise(n, 9000))
        j.put(layout.PHOTO, b"photo%d" % n, b"FN:photo %d\n" % n, (sha,))
    j.put(layout.NOTE, b"big", text(1, 6000))
    uids = []
    for n in range(4000):
        try:
            _step(j, rng, uids, n)
        except NoSpace:
            if n > 2500:
                break
            for _ in range(min(5, len(uids))):
                j.delete(layout.NOTE, uids.pop(rng.randrange(len(uids))))
        if n % 400 == 399:
            j = flash.mount()
    j = flash.mount()
    return bytes(flash.memory), j


def _step(j, rng, uids, n):
    roll = rng.random()
    if roll < 0.55 or not uids:
        uid = b"n%05d" % n
        j.put(layout.NOTE, uid, text(n, rng.randrange(30, 700)))
        uids.append(uid)
    elif roll < 0.8:
        j.put(layout.NOTE, rng.choice(uids), text(n, rng.randrange(30, 900)))
    elif roll < 0.9:
        j.delete(layout.NOTE, uids.pop(rng.randrange(len(uids))))
    else:
        batch = [b"b%05d-%d" % (n, i) for i in range(rng.randrange(2, 6))]
        j.batch([("put", layout.NOTE, uid, text(n, 90)) for uid in batch])
        uids.extend(batch)


def small_pim(paired):
    """(bytes of a partition, {(kind, uid): {seq: body, None for a deletion}}): all that was
    written, in three segments, shut down. `paired`: with a hub, which has none of it yet."""
    flash, written = Flash(16), {}
    j = flash.mount()
    if paired:
        j.set_agreed(0)

    def put(n, size, *, seed=0):
        uid = b"n%d" % n * (1 + n % 3 * 8)
        body = text(n + seed, size)
        seq = j.put(layout.NOTE, uid, body)
        written.setdefault((layout.NOTE, uid), {})[seq] = body

    def delete(n):
        uid = b"n%d" % n * (1 + n % 3 * 8)
        written[layout.NOTE, uid][j.delete(layout.NOTE, uid)] = None

    for n in range(14):
        put(n, 30 + 20 * (n % 4))
    for n in range(0, 14, 2):
        put(n, 60 + 60 * (n % 3), seed=100)
    for n in (1, 2, 7, 11):
        delete(n)
    uids = [b"n%d" % n * (1 + n % 3 * 8) for n in (3, 4, 5)]
    bodies = [text(n + 200, 60) for n in (3, 4)]
    last = j.batch([("put", layout.NOTE, uid, body) for uid, body in zip(uids, bodies)]  # noqa: B905
                   + [("delete", layout.NOTE, uids[2])])  # fmt: skip
    for back, uid, body in zip((2, 1, 0), uids, [*bodies, None], strict=True):
        written[layout.NOTE, uid][last - back] = body
    put(2, 40, seed=300)
    put(6, 400, seed=300)
    for n in range(20, 60):
        put(n, 30 + n)
    for n in (20, 24, 28):
        put(n, 50, seed=400)
    delete(32)
    j.close()
    assert len(flash.numbers()) == 3
    return bytes(flash.memory), written
