"""Operations of a workload that are faults themselves: an earlier cut, a sector that wears out in
use, a partition that is not ours. They stand in the part of a workload that is not swept."""

from drybag import layout
from drybag.errors import NotMountable

_FOREIGN_EPOCH = 0x0DDBA11
_SECTOR = 4096


class Broken(Exception):
    """The journal refused or allowed what it should not have: a problem, not a cut."""


class FaultOps:
    """Mixed into JournalUser, whose `chip`, `oracle`, `j`, `do`, `boot` and `judge` it uses."""

    def _op_interrupted(self, op, n, state, seed):
        """`op`, in which the power goes at flash command `n`; power on, boot, judge."""
        self._op_cut(op, n, state, seed)
        self.boot()
        problems = self.judge()
        if problems:
            raise Broken("%s" % (problems[0],))

    def _op_cut(self, op, n, state, seed):
        """`op`, in which the power goes at flash command `n`. A boot must follow."""
        nor = self.chip.nor
        nor.cut_at(n, state, seed)
        try:
            self.do(op)
        except Exception:
            if not nor.dead:
                raise
        if not nor.dead:
            raise Broken("%s has no flash command %d" % (op[0], n))
        nor.power_on()

    def _op_unsteady_wrong(self):
        """Cells that read now so, now so, read the other way round from now on."""
        nor = self.chip.nor
        for page, mask in nor._unstable.items():
            bits = int.from_bytes(self.chip.memory[page : page + 256], "little") ^ mask
            self.chip.memory[page : page + 256] = bits.to_bytes(256, "little")
        nor._unstable.clear()

    def _op_worn(self, reported):
        """From now on the sector in use takes no erase and no program."""
        sector = self.j._log.writer.sector
        if sector >= 0:
            self.chip.nor.wear_out(sector * _SECTOR, reported)

    def _op_not_ours(self):
        """Boot with a segment of another journal there: refused, and not one bit changed."""
        memory = memoryview(self.chip.memory)
        at = self._blank_sector(memory) * _SECTOR
        memory[at : at + 16] = layout.pack_prefix(layout.LOG, _FOREIGN_EPOCH, 7)
        before = bytes(memory)
        try:
            self.boot()
        except NotMountable:
            if before != memory:
                raise Broken("a partition that cannot be mounted was written to")
        else:
            raise Broken("a partition with another journal's segment was taken over")
        finally:
            memory[at : at + 16] = b"\xff" * 16
        self.boot()

    def _blank_sector(self, memory):
        for sector in range(self.chip.sectors - 1, -1, -1):
            if memory[sector * _SECTOR : (sector + 1) * _SECTOR] == b"\xff" * _SECTOR:
                return sector
        raise Broken("no blank sector is left for this workload")
