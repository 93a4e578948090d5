"""Tears a flash in every state on whichever interpreter runs this; prints a digest a state."""

import hashlib
import sys
from binascii import hexlify

here = __file__.rpartition("/")[0] or "."
sys.path.insert(0, here + "/../../../host/drybag_host/emulator/rom")

import nor  # noqa: E402

SIZE = 65536


def tear_many(state):
    """300 rounds of erase and program with a cut in most of them."""
    flash = nor.NorFlash(SIZE)
    rng = nor.Rng(7)
    digest = hashlib.sha256()
    buf = bytearray(4096)
    for seed in range(60):
        flash.cut_at(1 + rng.below(4), state, seed)
        addr = rng.below(16) * 4096
        try:
            flash.erase(addr)
            flash.program(addr + rng.below(300), rng.bits(100).to_bytes(100, "little"))
        except nor.PowerCut:
            flash.power_on()
        for _ in range(2):
            flash.read_into(addr, buf)
            digest.update(buf)
    counts = [flash.programs, flash.programmed_bytes, flash.erases, flash.overprograms]
    print(state, hexlify(digest.digest()).decode(), counts)


for name in nor.STATES:
    tear_many(name)
print(nor.rot_bits(SIZE, 0.00002, 5))
