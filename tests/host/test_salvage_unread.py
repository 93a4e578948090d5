"""Versions that cannot be read: salvage decides as a boot does, keeps what is older in doubt and
names it. Every row and every sector of a small flash rots once, as does every other pair of units.
"""

import functools
import itertools
import random
import sys
from pathlib import Path

import pytest
from salvage_flash import small_pim

from drybag import errors, layout
from drybag_host.image.salvage_write import salvage_bytes

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from pim_flash import Flash  # noqa: E402

ROW, UNIT, SECTOR = 256, 64, layout.SECTOR
pim = functools.cache(small_pim)


def salvaged(image):
    """(records of the backup, doubtful {key: {seq}}, uids named as not readable)."""
    main = salvage_bytes(image)[1][0]
    live, apart = {}, {}
    for record in main.versions:
        live.pop((record.kind, record.uid), None)
        if not record.deleted:
            live[record.kind, record.uid] = record
    for why, record in main.doubtful:
        assert why
        apart.setdefault((record.kind, record.uid), set()).add(record.seq)
    return live, apart, {row["uid"] for row in main.lost if row["what"] == "entry"}, main.lost


def boot(image):
    """(the journal, {key: Record}), or None where it does not mount."""
    try:
        j = Flash(16, bytearray(image)).mount()
    except errors.NotMountable:
        return None
    return j, {(r.kind, r.uid): r for r in j.records()}


def compare(image, written):
    """How many records a boot says it cannot read."""
    live, apart, named, lost = salvaged(bytes(image))
    for key, record in live.items():
        assert written[key].get(record.seq) == record.body, key
    booted = boot(image)
    if booted is None:
        return 0
    j, shown = booted
    hidden = 0
    for key in written:
        uid = key[1].decode()
        if key in shown:
            seq = shown[key].seq
            same = key in live and live[key].seq >= seq
            assert same or (seq in apart.get(key, ()) and uid in named), (key, seq, lost)
            continue
        assert key not in live, (key, live[key].seq, lost)
        if j.find_uid(*key):  # known, and not to be read
            hidden += 1
            assert uid in named, (key, lost)
            older = [r.seq for r in j.history(*key) if not r.deleted]
            assert not older or max(older) in apart[key], key
    return hidden


def spoiled(image, places, seed):
    out, rng = bytearray(image), random.Random(seed)
    for at, size in places:
        out[at : at + size] = rng.randbytes(size)
    return out


@pytest.mark.parametrize("paired", [False, True])
def test_every_sector_and_every_row(paired):
    image, written = pim(paired)
    used = [at for at in range(0, len(image), SECTOR) if image[at : at + 2] == b"\x53\xdb"
            and image[at + 3] == layout.LOG]  # fmt: skip
    assert len(used) == 3 and compare(image, written) == 0
    for at in used:
        compare(spoiled(image, [(at, SECTOR)], at), written)
        for row in range(16):
            compare(spoiled(image, [(at + row * ROW, ROW)], row), written)


@pytest.mark.parametrize("paired", [False, True])
def test_two_units_of_a_column(paired):
    """Beyond parity: bits in bodies and uids, where headers hold, and whole units."""
    image, written = pim(paired)
    rng, hidden = random.Random(7), 0
    pairs = [(column, *rows) for column in range(4)
             for rows in itertools.combinations(range(16), 2)]  # fmt: skip
    for column, *rows in rng.sample(pairs, 36):
        for number in range(1, 4):
            memory, where = bytearray(image), Flash(16, bytearray(image)).numbers()[number]
            size = UNIT if rng.random() < 0.2 else 1
            for row in rows:
                at = where * SECTOR + row * ROW + column * UNIT + rng.randrange(22, UNIT) % 64
                at -= at % UNIT if size == UNIT else 0
                memory[at : at + size] = bytes(b ^ 1 << rng.randrange(8)
                                               for b in memory[at : at + size])  # fmt: skip
            hidden += compare(memory, written)
    assert hidden > 8


def test_a_large_text_of_which_a_piece_is_gone_hides_the_older_one():
    flash = Flash(24)
    j = flash.mount()
    j.put(layout.NOTE, b"a", b"old")
    j.put(layout.NOTE, b"a", bytes(5000))
    j.close()
    chunk = next(at for at in range(0, len(flash.memory), SECTOR)
                 if flash.memory[at : at + 4] == b"\x53\xdb\x01\x02")  # fmt: skip
    live, apart, _, lost = salvaged(bytes(spoiled(flash.memory, [(chunk, SECTOR)], 1)))
    assert not live and apart == {(layout.NOTE, b"a"): {1}}
    assert [(row["what"], row["uid"]) for row in lost] == [("body", "a")]
