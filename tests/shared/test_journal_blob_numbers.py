"""A blob's number is given again only where no chunk of its former owner can come back."""

import hashlib
import random

from drybag import journal, layout
from drybag_host.emulator.rom.nor import NorFlash, NorPartition

SECTORS = 64


def stored(j, data):
    sha = hashlib.sha256(data).digest()
    writer = j.blob_writer(sha, len(data))
    writer.write(data)
    writer.finish()
    return sha


def test_a_blob_cut_short_and_swept_leaves_the_next_one_whole():
    flash = NorFlash(SECTORS * 4096)
    partition = NorPartition(flash, 0, SECTORS * 4096)
    rng = random.Random(1)
    j = journal.mount(partition)
    n = 0
    while j._log.pool.can_have() - 2 >= j._log.pool.limit // 8:  # until a blob asks for a sweep
        j.put(layout.NOTE, b"n%d" % (n % 5), rng.randbytes(1000))
        n += 1
    cut_short = rng.randbytes(3 * layout.BLOB_DATA)
    writer = j.blob_writer(hashlib.sha256(cut_short).digest(), len(cut_short))
    writer.write(cut_short[: 2 * layout.BLOB_DATA])  # and the power goes
    j = journal.mount(partition)
    photo = rng.randbytes(2 * layout.BLOB_DATA)
    sha = stored(j, photo)
    j.put(layout.PHOTO, b"p", b"IMAGE:x\n", [sha])
    j = journal.mount(partition)
    assert b"".join(bytes(piece) for piece in j.read_blob(sha)) == photo
    assert j.has_blob(sha)
    assert not [f for f in j.scrub() if f["kind"] not in ("progress", "summary")]
