"""The one fault model: a NOR flash chip, what a power cut leaves of it, rot and wear.

Runs on MicroPython (the emulated board's flash) and on CPython (tests, rig, supervisor) with the
same results. Programs only clear bits, in commands of at most 64 bytes; an erase sets a
4096-byte sector. The torn states: `clean`, `prefix`, `bits`, `neighbour` for programs, `clean`,
`erase-none`, `erase-zeroed`, `erase-partial` for erases, `unstable` for both.
Bit sets are ints, little-endian over the bytes, so that `&` and `|` do the work.
"""

try:
    from .prng import Rng
except ImportError:  # on the board this is a module of its own, not part of a package
    from prng import Rng  # type: ignore[no-redef]

PROGRAM_BYTES = 64
PAGE_BYTES = 256
SECTOR_BYTES = 4096
_PAGE_MASK = (1 << (8 * PAGE_BYTES)) - 1
_BLANK = b"\xff" * PROGRAM_BYTES

PROGRAM_STATES = ("clean", "prefix", "bits", "neighbour", "unstable")
ERASE_STATES = ("clean", "erase-none", "erase-zeroed", "erase-partial", "unstable")
COUNTERS = ("reads", "read_bytes", "programs", "programmed_bytes", "erases", "ms")
STATES = PROGRAM_STATES[:4] + ERASE_STATES[1:]


def choose_state(op, state, rng):
    """The state that applies to `op`: `state` itself if it can, else one drawn from `rng`."""
    if state is not None and state not in STATES:
        raise ValueError("unknown torn state %s" % state)
    fitting = ERASE_STATES if op == "erase" else PROGRAM_STATES
    return state if state in fitting else fitting[rng.below(len(fitting))]


def torn_states(old, command, state, seed):
    """What a cut inside `command` leaves: `(state, new bytes, unstable mask)`.

    `old`: contents of the area the command can touch: the 256-byte page of a program, the
    4096-byte sector of an erase. `command`: `("program", offset in the page, data)` or
    `("erase", 0, None)`. `state` None draws one, `unstable` one of the others below it. The mask
    (an int, 0 unless `unstable`) has the bits which read differently from read to read.
    Returns the state really applied, as an `erase-` state cannot tear a program.
    """
    rng = Rng(seed)
    op, offset, data = command
    state = choose_state(op, state, rng)
    below = state
    if state == "unstable":
        below = (("erase-zeroed", "erase-partial") if op == "erase" else ("bits", "neighbour"))[
            rng.below(2)
        ]
    if op == "erase":
        new, moving = _torn_erase(old, below, rng)
    else:
        new, moving = _torn_program(old, offset, data, below, rng)
    mask = 0
    if state == "unstable":
        page = PAGE_BYTES * rng.below(len(old) // PAGE_BYTES)  # one page: masks live in RAM
        mask = rng.subset(moving & (_PAGE_MASK << (8 * page)), len(old))
    return state, new, mask


def apply_torn(old, command, state, seed):
    """`torn_states` without the mask: the bytes alone."""
    return torn_states(old, command, state, seed)[1]


def _torn_program(old, offset, data, state, rng):
    n = len(old)
    whole = int.from_bytes(old, "little")
    asked = int.from_bytes(data, "little") << (8 * offset)
    lane = ((1 << (8 * len(data))) - 1) << (8 * offset)
    clearing = whole & lane & ~asked
    moving = clearing
    if state == "clean":
        gone = clearing if rng.below(2) else 0
    elif state == "prefix":
        done = ((1 << (8 * rng.below(len(data) + 1))) - 1) << (8 * offset)
        gone = clearing & done
    else:
        gone = rng.subset(clearing, n)
        if state == "neighbour":
            moving = whole
            gone |= rng.subset(whole & ~clearing, n)
    return (whole & ~gone).to_bytes(n, "little"), moving


def _torn_erase(old, state, rng):
    n = len(old)
    if state == "clean":
        return (b"\xff" * n if rng.below(2) else bytes(old)), 0
    if state == "erase-none":
        return bytes(old), 0
    if state == "erase-zeroed":
        start = 0 if rng.below(2) else rng.below(n)
        new = bytes(old[:start]) + b"\0" * (n - start)
        return new, ((1 << (8 * (n - start))) - 1) << (8 * start)
    whole = int.from_bytes(old, "little")
    zeros = ~whole & ((1 << (8 * n)) - 1)
    new = whole | rng.subset(zeros, n)
    return new.to_bytes(n, "little"), zeros


def rot_bits(size_bytes, rate, seed):
    """Places of single-bit rot: `(byte, bit)` for about `rate` of all bits, at least none."""
    rng = Rng(seed)
    bits = size_bytes * 8
    expected = bits * rate
    count = int(expected)
    if rng.below(1000000) < (expected - count) * 1000000:
        count += 1
    found = set()
    while len(found) < min(count, bits):
        found.add((rng.below(size_bytes), rng.below(8)))
    return sorted(found)


class PowerCut(Exception):
    """The armed cut came: the processor is dead and the flash refuses everything."""


class NorRuleError(Exception):
    """The caller broke a rule of NOR flash (0 to 1, out of range, misaligned): stops the run."""


class _FileStore:
    """A seekable unbuffered file as storage: `seek`, `readinto`, `write`."""

    def __init__(self, file):
        self._file = file

    def read_into(self, addr, buf):
        self._file.seek(addr)
        self._file.readinto(buf)

    def write(self, addr, data):
        self._file.seek(addr)
        self._file.write(data)


class _RamStore:
    def __init__(self, memory):
        self._view = memoryview(memory)

    def read_into(self, addr, buf):
        buf[:] = self._view[addr : addr + len(buf)]

    def write(self, addr, data):
        self._view[addr : addr + len(data)] = data


class NorFlash:
    """A NOR flash chip of `size_bytes` over `storage`, with the faults of the fault model.

    `storage`: bytearray (default: a new, erased one) or an unbuffered file open for `r+b`.
    Every command is counted; `on_command(op, addr, data)` is called before each program (at
    most 64 bytes) and erase, `on_done()` after it, `on_fault()` when `fault_state()` changed.
    A cut leaves the chip `dead`: everything raises OSError(5) until `power_on()`.

    A program that asks 0 to 1 raises NorRuleError, except in a 256-byte page which the fault
    model itself has torn, rotted or unsettled since its last erase: the caller cannot know those
    bits, so there the chip does what a chip does, it clears what it can (`overprograms` counts).
    """

    def __init__(self, size_bytes, storage=None, seed=1):
        if size_bytes % SECTOR_BYTES:
            raise ValueError("flash size is no multiple of 4096")
        if storage is None:
            storage = bytearray(b"\xff" * size_bytes)
        is_file = hasattr(storage, "readinto")
        self._store = _FileStore(storage) if is_file else _RamStore(storage)
        self.size_bytes = size_bytes
        self.on_command = None
        self.on_done = None
        self.on_fault = None
        self.dead = False
        self.torn = None  # what the armed cut left: a state
        self.commands = 0
        self._cut_at = 0
        self._cut_state = None
        self._cut_seed = seed
        self._rng = Rng(seed)
        self._page = bytearray(PROGRAM_BYTES)
        self._erased = b"\xff" * SECTOR_BYTES
        self._faulty = False
        self._unstable = {}  # page address: mask of bits that read differently
        self._touched = set()  # pages whose bits the fault model has changed
        self._worn = {}  # sector address: reported?
        self.reset_counters()

    # -- counters -----------------------------------------------------------------------------
    def reset_counters(self):
        self.reads = self.read_bytes = self.programs = self.programmed_bytes = 0
        self.erases = self.overprograms = 0

    @property
    def ms(self):
        """Modelled time of everything counted, in ms (typical W25Q32JV figures)."""
        return (
            0.025 * self.reads
            + 0.0001 * self.read_bytes
            + 0.03 * self.programs
            + 0.00145 * self.programmed_bytes
            + 45.0 * self.erases
        )

    @property
    def counters(self):
        """A copy: reads, read_bytes, programs, programmed_bytes, erases, ms."""
        return {name: getattr(self, name) for name in COUNTERS}

    # -- commands -----------------------------------------------------------------------------
    def read_into(self, addr, buf):
        """Read len(buf) bytes at `addr`. Raises OSError(5) when dead."""
        n = len(buf)
        self._check(addr, n)
        self.reads += 1
        self.read_bytes += n
        self._store.read_into(addr, buf)
        if self._unstable:
            self._unsettle(addr, buf)

    def program(self, addr, data):
        """Clear bits, in commands of at most 64 bytes that never cross a 256-byte line.

        Raises NorRuleError for 0 to 1, PowerCut at the armed cut, OSError(5) when dead or when
        the sector is worn out and says so.
        """
        n = len(data)
        self._check(addr, n)
        view = memoryview(data)
        at = 0
        while at < n:
            piece = min(PROGRAM_BYTES, PAGE_BYTES - (addr + at) % PAGE_BYTES, n - at)
            self._program_piece(addr + at, view[at : at + piece])
            at += piece

    def _program_piece(self, addr, data):
        n = len(data)
        old = self._page if n == PROGRAM_BYTES else bytearray(n)
        self._store.read_into(addr, old)
        ok = old == _BLANK  # as mostly: then there is nothing to compare
        if not ok:
            was = int.from_bytes(old, "little")
            new = int.from_bytes(data, "little")
            ok = new | was == was
        if not ok and not self._may_overprogram(addr):
            raise NorRuleError(
                "program at 0x%x asks bits to go from 0 to 1: erase the sector first" % addr
            )
        self._begin("program", addr, data)
        self.programs += 1
        self.programmed_bytes += n
        if self._faulty:
            worn = self._worn.get(addr & ~(SECTOR_BYTES - 1))
            if worn is not None:
                return self._end_worn(worn, addr)
            if self._unstable:
                self._settle(addr, int.from_bytes(data, "little"), n)
            if not ok:
                self.overprograms += 1
                data = (new & was).to_bytes(n, "little")
        self._store.write(addr, data)
        if self.on_done:
            self.on_done()

    def erase(self, addr):
        """Set the 4096-byte sector at `addr` to 1. Raises as `program` does."""
        self._check(addr, SECTOR_BYTES)
        if addr % SECTOR_BYTES:
            raise NorRuleError("erase at 0x%x is not at a sector" % addr)
        self._begin("erase", addr, None)
        self.erases += 1
        if self._faulty:
            worn = self._worn.get(addr)
            if worn is not None:
                return self._end_worn(worn, addr)
            self._forget(addr)
        self._store.write(addr, self._erased)
        if self.on_done:
            self.on_done()

    def _check(self, addr, n):
        if self.dead:
            raise OSError(5)
        if addr < 0 or addr + n > self.size_bytes:
            raise NorRuleError("0x%x + %d is outside the flash" % (addr, n))

    def _begin(self, op, addr, data):
        if self.on_command:
            self.on_command(op, addr, data)
        self.commands += 1
        if self.commands == self._cut_at:
            self._cut_at = 0
            self.torn = self.tear(op, addr, data, self._cut_state, self._cut_seed)
            self.dead = True
            raise PowerCut("power cut at flash command %d, 0x%x" % (self.commands, addr))

    def _end_worn(self, reported, addr):
        if self.on_done:
            self.on_done()
        if reported:
            raise OSError(5)

    # -- faults -------------------------------------------------------------------------------
    def cut_at(self, n, state=None, seed=1):
        """Cut the power at the `n`-th program or erase command from now (1: the next).

        `state`: an id of STATES; None, or one that cannot tear that command, lets `seed` choose.
        """
        if state is not None and state not in STATES:
            raise ValueError("unknown torn state %s" % state)
        self._cut_at = self.commands + n
        self._cut_state = state
        self._cut_seed = seed

    def power_on(self):
        """Power is back: contents as the cut left them, no cut armed."""
        self.dead = False
        self._cut_at = 0

    def tear(self, op, addr, data, state=None, seed=1):
        """Leave the flash as a cut inside this command would. Returns the state applied."""
        size = SECTOR_BYTES if op == "erase" else PAGE_BYTES
        base = addr - addr % size
        if (addr - addr % SECTOR_BYTES) in self._worn:
            return "clean"
        old = bytearray(size)
        self._store.read_into(base, old)
        state, new, mask = torn_states(old, (op, addr - base, data), state, seed)
        if op == "erase" and new == self._erased:
            self._forget(addr)
        elif state not in ("clean", "erase-none", "prefix"):
            for page in range(base, base + size, PAGE_BYTES):
                self._touched.add(page)
                bits = (mask >> (8 * (page - base))) & _PAGE_MASK
                if bits:
                    self._unstable[page] = self._unstable.get(page, 0) | bits
            self._changed()
        self._store.write(base, new)
        return state

    def rot(self, rate, seed=1, start=0, size_bytes=None):
        """Flip single bits at rest, `rate` a bit. Returns the places: a list of (addr, bit)."""
        if size_bytes is None:
            size_bytes = self.size_bytes - start
        places = [(start + at, bit) for at, bit in rot_bits(size_bytes, rate, seed)]
        one = bytearray(1)
        for addr, bit in places:
            self._store.read_into(addr, one)
            one[0] ^= 1 << bit
            self._store.write(addr, one)
            self._touched.add(addr - addr % PAGE_BYTES)
        self._changed()
        return places

    def wear_out(self, addr, reported):
        """The sector at `addr` no longer erases or programs; `reported`: with OSError(5)."""
        self._worn[addr - addr % SECTOR_BYTES] = bool(reported)
        self._changed()

    def fault_state(self):
        """What must survive a reboot beside the bytes: a JSON-able dict for `restore_faults`."""
        return {
            "unstable": [[page, "%x" % mask] for page, mask in sorted(self._unstable.items())],
            "touched": sorted(self._touched),
            "worn": [[addr, reported] for addr, reported in sorted(self._worn.items())],
        }

    def restore_faults(self, state):
        """Take over what `fault_state` returned."""
        self._unstable = {page: int(mask, 16) for page, mask in state["unstable"]}
        self._touched = set(state["touched"])
        self._worn = dict(state["worn"])
        self._faulty = bool(self._unstable or self._touched or self._worn)

    def _changed(self):
        self._faulty = bool(self._unstable or self._touched or self._worn)
        if self.on_fault:
            self.on_fault()

    def _may_overprogram(self, addr):
        sector = addr - addr % SECTOR_BYTES
        return sector in self._worn or (addr - addr % PAGE_BYTES) in self._touched

    def _forget(self, addr):
        """The sector was erased: what the fault model did to it is gone."""
        gone = [p for p in self._touched if addr <= p < addr + SECTOR_BYTES]
        for page in gone:
            self._touched.discard(page)
            self._unstable.pop(page, None)
        if gone:
            self._changed()

    def _settle(self, addr, new, n):
        """Bits programmed to 0 are 0 for good."""
        page = addr - addr % PAGE_BYTES
        if page in self._unstable:
            cleared = (((1 << (8 * n)) - 1) & ~new) << (8 * (addr - page))
            self._unstable[page] &= ~cleared
            self._changed()

    def _unsettle(self, addr, buf):
        """Give the unstable cells of what was read another value, read by read."""
        end = addr + len(buf)
        for page in range(addr - addr % PAGE_BYTES, end, PAGE_BYTES):
            mask = self._unstable.get(page)
            if not mask:
                continue
            low, high = max(addr, page), min(end, page + PAGE_BYTES)
            noise = (mask & self._rng.bits(PAGE_BYTES)) >> (8 * (low - page))
            noise &= (1 << (8 * (high - low))) - 1
            mixed = int.from_bytes(buf[low - addr : high - addr], "little") ^ noise
            buf[low - addr : high - addr] = mixed.to_bytes(high - low, "little")


class NorPartition:
    """A partition of a NorFlash as a block device: the protocol of `esp32.Partition`.

    Errors are negative errno, as a file system underneath must not be left by an exception:
    -5 (EIO) dead, cut or a worn sector that says so, -22 (EINVAL) out of range. With
    `raise_cut` PowerCut passes through. NorRuleError always does: it stops the run.
    """

    block_size = SECTOR_BYTES

    def __init__(self, nor, offset, size_bytes, raise_cut=False):
        self.nor = nor
        self.offset = offset
        self.size_bytes = size_bytes
        self.block_count = size_bytes // SECTOR_BYTES
        self._raise_cut = raise_cut

    def _place(self, block, n, off=0):
        addr = block * SECTOR_BYTES + off
        if addr < 0 or off < 0 or addr + n > self.size_bytes:
            return -1
        return self.offset + addr

    def readblocks(self, block, buf, off=0):
        addr = self._place(block, len(buf), off)
        if addr < 0:
            return -22
        try:
            self.nor.read_into(addr, buf)
        except OSError:
            return -5
        return 0

    def writeblocks(self, block, buf, off=None):
        """With `off` program only; without it erase the sectors of `buf` first."""
        addr = self._place(block, len(buf), off or 0)
        if addr < 0:
            return -22
        error = 0
        if off is None:
            for sector in range(addr, addr + len(buf), SECTOR_BYTES):
                error = error or self._try(self.nor.erase, sector)
        return error or self._try(self.nor.program, addr, buf)

    def ioctl(self, op, arg=0):
        """1 init, 2 deinit, 3 sync, 4 block count, 5 block size, 6 erase block `arg`."""
        if op == 4:
            return self.block_count
        if op == 5:
            return SECTOR_BYTES
        if op != 6:
            return 0 if op in (1, 2, 3) else -22
        addr = self._place(arg, SECTOR_BYTES)
        return -22 if addr < 0 else self._try(self.nor.erase, addr)

    def _try(self, command, *args):
        try:
            command(*args)
        except OSError:
            return -5
        except PowerCut:
            if self._raise_cut:
                raise
            return -5
        return 0
