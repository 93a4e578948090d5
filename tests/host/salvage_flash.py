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
