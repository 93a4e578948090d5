"""A flash chip that is one `pim` partition, and the block device of one life."""

import hashlib

from drybag_host.emulator.rom.nor import NorFlash, NorPartition, NorRuleError, PowerCut

SECTOR = 4096
EIO = -5


class OutsidePartition(NorRuleError):
    """A command or read beyond the partition: a real board would harm something else."""


class LifePartition(NorPartition):
    """The block device of one life: when the next begins, late finalisers reach nothing.

    Raises OutsidePartition for a place that is not in the partition. `reads` is None or a dict
    {sector: [calls, bytes]} that is filled.
    """

    def __init__(self, nor, size_bytes):
        super().__init__(nor, 0, size_bytes)
        self._memory = None
        self._size_bytes = size_bytes
        self.over = False
        self.reads = None

    def fast(self, memory):
        """Reads are served from `memory`, without the chip's own counters."""
        self._memory = memoryview(memory)

    def readblocks(self, block, buf, off=0):
        nor = self.nor
        if self.over or nor.dead:
            return EIO
        at = block * SECTOR + off
        end = at + len(buf)
        if at < 0 or end > self._size_bytes:
            raise OutsidePartition(
                "read of %d bytes at 0x%x: outside the partition" % (len(buf), at)
            )
        if self.reads is not None:
            count = self.reads.setdefault(block, [0, 0])
            count[0] += 1
            count[1] += len(buf)
        buf[:] = self._memory[at:end]
        if nor._unstable:
            nor._unsettle(at, buf)
        return 0

    def writeblocks(self, block, buf, off=None):
        if self.over:
            return EIO
        self._inside(block, len(buf), off or 0)
        if off is None:
            return NorPartition.writeblocks(self, block, buf)
        try:
            self.nor.program(block * SECTOR + off, buf)
        except (OSError, PowerCut):
            return EIO
        return 0

    def ioctl(self, op, arg=0):
        if op == 6:
            if self.over:
                return EIO
            self._inside(arg, SECTOR, 0)
        return NorPartition.ioctl(self, op, arg)

    def _inside(self, block, n, off):
        at = block * SECTOR + off
        if at < 0 or at + n > self._size_bytes:
            raise OutsidePartition("write of %d bytes at 0x%x: outside the partition" % (n, at))


class Chip:
    """A chip of `sectors` over `memory` (a bytearray that is used, not copied)."""

    def __init__(self, sectors, memory=None, faults=None, seed=1):
        self.sectors = sectors
        self.memory = memory if memory is not None else bytearray(b"\xff" * sectors * SECTOR)
        self._life = None
        self.rotted = ()
        self.count_reads = False
        self.power_up(faults, seed)

    def power_up(self, faults, seed):
        """The chip as `memory` says, with these faults (as `faults()` gave them)."""
        self.end_life()
        self.rotted = ()  # [(address, bit)] that rot flipped since
        self.nor = NorFlash(self.sectors * SECTOR, self.memory, seed)
        if faults:
            self.nor.restore_faults(faults)

    def faults(self):
        """What a copy of the memory lacks; None where there is nothing."""
        nor = self.nor
        if nor._unstable or nor._touched or nor._worn:
            return nor.fault_state()
        return None

    def copy(self, seed=1):
        return Chip(self.sectors, bytearray(self.memory), self.faults(), seed)

    def end_life(self):
        """Whatever still holds the block device of this life holds a dead one."""
        if self._life:
            self._life.over = True
        self._life = None

    def partition(self):
        """The block device of a new life."""
        self.end_life()
        self._life = LifePartition(self.nor, self.sectors * SECTOR)
        self._life.fast(self.memory)
        self._life.reads = {} if self.count_reads else None
        return self._life


def sector_hash(sector, data):
    """An int of 64 bits for what a sector holds."""
    h = hashlib.sha256(data)
    h.update(bytes([sector & 0xFF, sector >> 8]))
    return int.from_bytes(h.digest()[:8], "big")


class FlashKey:
    """Tells flash states apart at the price of hashing what changed."""

    def __init__(self, memory):
        self._view = memoryview(memory)
        self._parts = [self._part(s) for s in range(len(memory) // SECTOR)]
        self._all = 0
        for part in self._parts:
            self._all ^= part

    def _part(self, sector):
        return sector_hash(sector, self._view[sector * SECTOR : (sector + 1) * SECTOR])

    def update(self, sector):
        """`sector` of the memory has changed for good."""
        self._all ^= self._parts[sector]
        self._parts[sector] = self._part(sector)
        self._all ^= self._parts[sector]

    def with_sector(self, sector, data):
        """The key if `sector` held `data`."""
        return self._all ^ self._parts[sector] ^ sector_hash(sector, data)
