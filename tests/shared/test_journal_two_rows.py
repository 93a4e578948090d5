"""Two rows of the tail that rot in different columns: parity gives both back, and the journal and
the reader written from SPEC.md alone say the same, whether it was shut down or not."""

import functools
import itertools
import random

import pytest
import spec_reader
from pim_flash import SECTOR, Flash, findings, text

from drybag.errors import Damaged, NotFound
from drybag.layout import NOTE

ROW, UNIT = 256, 64


@functools.cache
def tail(sealed, size):
    """(memory, sector of the tail, {uid: body}): one segment, into its last column."""
    flash, held = Flash(16), {}
    j = flash.mount()
    while j._log.writer.position < 52:
        uid = b"n%d" % len(held)
        held[uid] = text(len(held), size)
        j.put(NOTE, uid, held[uid])
    sector = j._log.sectors[j._log.writer.number]
    if sealed:
        j.close()
    return bytes(flash.memory), sector, held


def shown(j):
    out = {}
    for record in j.records():
        out[record.uid] = record.body
    return out


@pytest.mark.parametrize("sealed", [False, True])
@pytest.mark.parametrize("size", [30, 110, 500])
def test_two_rows_in_different_columns(sealed, size):
    rng = random.Random(size)
    memory, sector, held = tail(sealed, size)
    whole = 0
    for columns in itertools.permutations(range(3), 2):
        for rows in rng.sample(list(itertools.combinations(range(15), 2)), 2):
            flash = Flash(16, bytearray(memory))
            for column, row in zip(columns, rows, strict=True):
                at = sector * SECTOR + row * ROW + column * UNIT
                flash.flip(at + rng.randrange(UNIT), rng.randrange(8))
            records, _ = spec_reader.read(bytes(flash.memory))
            wanted = {uid: r.body for (_, uid), r in records.items()}
            j = flash.mount()
            got = shown(j)
            assert got == wanted, (columns, rows)
            whole += got == held
            if size == 30:
                assert got == held, (columns, rows)  # no entry has both units
            assert got == held or findings(j)[-1]["damaged"]
            for uid in set(held) - set(got):
                with pytest.raises((Damaged, NotFound)):  # a first version: nobody's
                    j.get(NOTE, uid)
            j.put(NOTE, b"more", b"1")
            assert shown(flash.mount()) == {**got, b"more": b"1"}
    assert whole >= 4
