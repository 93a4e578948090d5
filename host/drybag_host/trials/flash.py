"""A handset's `pim` flash in RAM, cheap: no counters and no check of NOR's rules (the rig covers
them), but with power cuts that leave a command torn as the fault model says.
"""

from drybag_host.emulator.rom import nor

SECTOR = nor.SECTOR_BYTES
_ERASED = b"\xff" * SECTOR


class RamFlash:
    """A block device as `journal.mount` takes it. `memory`: its bytes, kept over power cuts.

    `cut_in(n)`: the power goes at the n-th program or erase from now on. Then it is `dead`,
    answers -5 to everything, and `memory` is what the next boot finds.
    """

    def __init__(self, sectors=40, memory=None):
        self.memory = bytearray(_ERASED * sectors) if memory is None else bytearray(memory)
        self.sectors = len(self.memory) // SECTOR
        self.dead = False
        self.commands = 0
        self._cut_at = 0
        self._seed = 0

    def cut_in(self, n, seed):
        self._cut_at = self.commands + n
        self._seed = seed

    def power_on(self):
        self.dead = False
        self._cut_at = 0

    def readblocks(self, block, buf, off=0):
        if self.dead:
            return -5
        at = block * SECTOR + off
        buf[:] = self.memory[at : at + len(buf)]
        return 0

    def writeblocks(self, block, buf, off=0):
        if self.dead:
            return -5
        at = block * SECTOR + off
        self.commands += 1
        if self.commands == self._cut_at:
            self._tear("program", at, bytes(buf))
            return -5
        self.memory[at : at + len(buf)] = buf
        return 0

    def ioctl(self, op, arg=0):
        if op == 4:
            return self.sectors
        if op == 5:
            return SECTOR
        if op != 6:
            return 0
        if self.dead:
            return -5
        self.commands += 1
        if self.commands == self._cut_at:
            self._tear("erase", arg * SECTOR, None)
            return -5
        self.memory[arg * SECTOR : (arg + 1) * SECTOR] = _ERASED
        return 0

    def _tear(self, op, at, data):
        """At most 64 bytes of a longer program are under way; what is before them is done."""
        self.dead = True
        if data is not None and len(data) > nor.PROGRAM_BYTES:
            done = self._seed % (len(data) // nor.PROGRAM_BYTES) * nor.PROGRAM_BYTES
            self.memory[at : at + done] = data[:done]
            at, data = at + done, data[done : done + nor.PROGRAM_BYTES]
        size = SECTOR if op == "erase" else nor.PAGE_BYTES
        base = at - at % size
        old = self.memory[base : base + size]
        new = nor.apply_torn(old, (op, at - base, data), None, self._seed)
        self.memory[base : base + size] = new
