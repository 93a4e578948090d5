"""The engine: trace a workload once, leave each flash state a cut can leave, boot it, judge it.

A subject (journal, variant, app) brings `workload`, `oracle`, `user` and `place`; see
subjects.py. Results go to a `Sink`. A path is a list of cuts (n, letter, seed), one a depth:
command `n` of the workload, then command `n` of the recovery that follows, and so on.
"""

from binascii import crc32
from collections import namedtuple

from drybag_host.emulator.rom.nor import PowerCut
from drybag_host.emulator.rom.prng import Rng
from drybag_host.rig.device import damage, plan
from drybag_host.rig.device import oracle as model
from drybag_host.rig.device.chip import SECTOR, Chip, FlashKey
from drybag_host.rig.device.oracle import Problem

Command = namedtuple("Command", ("op", "addr", "data", "oracle", "step"))
Base = namedtuple("Base", ("memory", "faults"))
LEVELS_UNTIL_STABLE = 8
_KEY_MASK = (1 << 62) - 1  # an int that needs no place on the heap, which thousands would fragment
_EVERY_AT_LEVEL = (1, 1, 1, 5, 11)
_WHOLE = 1500  # flipped bits leave nothing of a sector


class CannotTrace(Exception):
    """The workload itself fails without any cut: nothing can be judged."""


class Sink:
    """What a sweep tells its caller; this one drops it all."""

    def state(self, path, place, sector, key):
        """About to boot a state. False: skip it."""
        return True

    def equal(self, path):
        """A state that was judged already under another path."""

    def failure(self, path, problem):
        """A state in which something that must hold did not. False: stop the sweep."""
        return True


class Enough(Exception):
    """The sink wants no more."""


class Sweeper:
    """Sweeps one workload. `deeper`: {"depth": n or 0 (until stable), "every": k}: every k-th
    state has its recovery cut too."""

    def __init__(self, subject, workload, sink, deeper=None):
        self.subject = subject
        self.workload = workload
        self.sink = sink
        self.depth = deeper["depth"] if deeper else 1
        self.deep_every = max(1, deeper["every"]) if deeper else 1
        self.luck = deeper.get("seed", 0) if deeper else 0  # which recoveries are cut, and where
        self.seen = Keys()
        self.judged = self.boots = 0
        self.scratch = bytearray(workload.sectors * SECTOR)
        self.chip = Chip(workload.sectors, self.scratch)
        self._spare = []  # chips for the cuts of recoveries

    # -- tracing ---------------------------------------------------------------------------------
    def trace(self):
        """Run the workload uncut: (Base before the swept part, its commands, the oracle then).

        Raises CannotTrace where the workload fails or the uncut result is wrong.
        """
        chip = Chip(self.workload.sectors)
        oracle = self.subject.oracle()
        user = self.subject.user(chip, oracle)
        step, start = 0, self.workload.start
        try:
            for step in range(start):
                user.do(self.workload.ops[step])
            base = Base(bytes(chip.memory), chip.faults())
            recorder = Recorder(chip, user)
            for step in range(start, len(self.workload.ops)):
                recorder.step = step
                user.do(self.workload.ops[step])
            commands = recorder.end()
            problems = user.judge(True)
        except MemoryError:
            raise
        except Exception as error:
            raise CannotTrace("operation %d fails without any cut: %r" % (step, error))
        if problems:
            raise CannotTrace("wrong without any cut: %s" % (problems[0],))
        return base, commands

    # -- sweeping --------------------------------------------------------------------------------
    def sweep(self, base, commands, chosen, path=(), first=0, last=None):
        """Leave and judge the states of commands `first` to `last` (excluded).

        `chosen(n, command, at_rest)` yields (letter, seed).
        """
        chip = Chip(self.workload.sectors, bytearray(base.memory), base.faults)
        key = FlashKey(chip.memory)
        last = len(commands) if last is None else min(last, len(commands))
        step = -1
        for n in range(last):
            command = commands[n]
            if n >= first:
                if n == first:
                    key = FlashKey(chip.memory)
                at_rest = not path and (command.step != step or command.op == "end")
                for letter, seed in chosen(n, command, at_rest):
                    self._state(chip, key, command, list(path) + [(n, letter, seed)])
            step = command.step
            apply(chip, command)
            if n >= first and command.op != "end":
                key.update(command.addr // SECTOR)

    def _state(self, base, key, command, path):
        """One torn state: make it, look whether it is known, judge it."""
        chip = self.chip
        self.scratch[:] = base.memory
        chip.power_up(base.faults(), path_seed(path))
        harmed = leave(chip, command, path[-1])
        flash = key.with_sector(harmed, memoryview(self.scratch)[harmed * SECTOR :][:SECTOR])
        faults = chip.faults()
        if faults:
            flash ^= crc32(repr((faults["unstable"], faults["worn"])).encode()) << 20
        flash ^= int.from_bytes(command.oracle.mark, "big") << 1
        if path[-1][1] in "rg":
            flash ^= 1  # judged as damaged
        flash &= _KEY_MASK
        if not self.seen.add(flash):
            self.sink.equal(path)
            return
        place = "at rest"
        if path[-1][1] not in plan.REST and command.op != "end":
            place = self.subject.place(base.memory, command.op, command.addr, command.data)
        if self.sink.state(path, place, harmed, flash & 0xFFFFFFFFFFFFFFFF):
            self.judge(path, command.oracle)

    # -- judging ---------------------------------------------------------------------------------
    def judge(self, path, oracle):
        """Boot the chip as it stands, judge, epilogue; then, where asked, its recovery's cuts."""
        self.judged += 1
        before = None
        if self._goes_deeper(path):
            before = Base(bytes(self.scratch), self.chip.faults()), oracle.copy()
        problem, commands = self.life(self.chip, oracle.copy(), path, None, bool(before))
        if problem:
            if not self.sink.failure(path, problem):
                raise Enough
        elif before:
            if self.depth == 0:
                self._until_stable(before[0], before[1], commands, path)
            else:
                self._recovery(before[0], commands, path)

    def _goes_deeper(self, path):
        if path[-1][1] in plan.REST or self.depth == 1:
            return False
        if len(path) >= (self.depth or 2):
            return False
        return len(path) > 1 or (path_seed(path) + self.luck) % self.deep_every == 0

    def _recovery(self, base, commands, path):
        """Cut the recovery that was just traced at its commands."""
        every = _EVERY_AT_LEVEL[min(len(path) + 1, len(_EVERY_AT_LEVEL) - 1)]
        offset = path_seed(path)

        def chosen(n, command, at_rest):
            return plan.one_state(n + offset, command.op) if (n + offset) % every == 0 else ()

        kept = self.scratch, self.chip
        self.chip = self._spare.pop() if self._spare else Chip(self.workload.sectors)
        self.scratch = self.chip.memory
        self.sweep(base, commands, chosen, path)
        self._spare.append(self.chip)
        self.scratch, self.chip = kept

    def _until_stable(self, base, oracle, commands, path):
        """Cut recovery after recovery at a command drawn by chance, until they bring no news."""
        rng = Rng(path_seed(path) ^ 0x5AFE ^ self.luck << 12)
        path, quiet, last = list(path), 0, None
        while len(commands) > 1 and quiet < 3 and len(path) < LEVELS_UNTIL_STABLE:
            n = rng.below(len(commands) - 1)
            letters = plan.letters(commands[n].op)
            path.append((n, letters[rng.below(len(letters))], 1 + rng.below(1000)))
            self.scratch[:] = base.memory
            self.chip.power_up(base.faults, path_seed(path[:-1]))
            for command in commands[:n]:
                apply(self.chip, command)
            self.chip.power_up(self.chip.faults(), path_seed(path))
            leave(self.chip, commands[n], path[-1])
            base = Base(bytes(self.scratch), self.chip.faults())
            self.judged += 1
            place = self.subject.place(base.memory, commands[n].op, commands[n].addr,
                                       commands[n].data)  # fmt: skip
            key = (crc32(base.memory) << 32 | crc32(repr(path).encode())) & _KEY_MASK
            self.seen.add(key)
            if not self.sink.state(path, place, commands[n].addr // SECTOR, key):
                return
            problem, commands = self.life(self.chip, commands[n].oracle.copy(), path)
            if problem:
                if not self.sink.failure(path, problem):
                    raise Enough
                return
            shown = [(c.op, c.data and len(c.data)) for c in commands]
            quiet = quiet + 1 if shown == last else 0
            last = shown

    def life(self, chip, oracle, path, tell=None, record=True):
        """Boot, judge, epilogue: (Problem or None, the commands of the boot if `record`).

        `tell(stage, user)` is called for a replay after each stage.
        """
        rng = Rng(path_seed(path))
        user = self.subject.user(chip, oracle)
        deep, plain, lives = rng.below(8) == 0, rng.below(8) == 0, 1 + (rng.below(4) == 0)
        recorder = Recorder(chip, user, oracle.copy()) if record else None
        self.boots += 1
        problem = boot(user)
        commands = recorder.end() if recorder else []
        if problem:
            if path[-1][1] in plan.REST and not oracle.live and not oracle.flight:
                problem = None  # nothing to lose: reported and kept is right
            return problem, commands
        if tell:
            tell("booted", user)
        judge = user.judge_damaged if path[-1][1] in "rg" else user.judge
        problems = judge(deep)
        if not problems and (plain or path[-1][1] == "u"):
            problems = self._again(user, judge)
        if not problems:
            problems = self._epilogue(user, rng, lives, judge, tell)
        return (problems[0] if problems else None), commands

    def _again(self, user, judge):
        """Power off and on without a write: recovery twice gives the same."""
        self.boots += 1
        problem = boot(user)
        if problem:
            return [problem]
        return [
            Problem(model.DIFFERS, "the second recovery shows what the first did: " + p.expected,
                    p.found) for p in judge(False)
        ]  # fmt: skip

    def _epilogue(self, user, rng, lives, judge, tell):
        """After recovery: write, cut again, reboot, and it is still there; maybe once more."""
        nor, full = user.chip.nor, self.subject.full
        for _ in range(lives):
            problem = self._write(user, rng)
            if problem:
                return [problem]
            if tell:
                tell("wrote", user)
            nor.cut_at(1 + rng.below(12), None, 1 + rng.below(1 << 30))
            problem = self._cut_short(user, rng, full)
            if problem:
                return [problem]
            nor.power_on()
            self.boots += 1
            problem = boot(user)
            if problem:
                return [problem]
            if tell:
                tell("booted after the epilogue's cut", user)
            problems = judge(False)
            if problems:
                return problems
        return []

    def _write(self, user, rng):
        try:
            user.probe(rng)
        except self.subject.full:
            return None
        except MemoryError:
            raise
        except Exception as error:
            return Problem(model.WRITE_REFUSED, "a write works after recovery", repr(error))
        return None

    def _cut_short(self, user, rng, full):
        """Write until it ends or the armed cut comes."""
        try:
            user.more(rng)
        except full:
            return None
        except MemoryError:
            raise
        except Exception as error:
            if not user.chip.nor.dead:
                return Problem(model.WRITE_REFUSED, "writes work after recovery", repr(error))
        return None


class Keys:
    """A set of ints in many small ones: none of them needs a large piece of a heap in pieces."""

    def __init__(self):
        self._sets = [None] * 256

    def add(self, key):
        """False if it was there."""
        at = key & 255
        if self._sets[at] is None:
            self._sets[at] = set()
        found = self._sets[at]
        if key in found:
            return False
        found.add(key)
        return True


class Recorder:
    """Notes each flash command of a chip, with the oracle of that moment.

    `fixed`: the oracle that stands for all of them (a recovery acknowledges nothing).
    """

    def __init__(self, chip, user, fixed=None):
        self.commands = []
        self.step = 0
        self._chip = chip
        self._user = user
        self._fixed = fixed
        self._revision = -1
        self._copy = None
        chip.nor.on_command = self.note

    def note(self, op, addr, data):
        oracle = self._fixed
        if oracle is None:
            now = self._user.oracle
            if now.revision != self._revision:
                self._revision, self._copy = now.revision, now.copy()
            oracle = self._copy
        self.commands.append(Command(op, addr, data and bytes(data), oracle, self.step))

    def end(self):
        """All commands, and one that stands for what comes after the last."""
        self.note("end", 0, None)
        self._chip.nor.on_command = None
        return self.commands


def boot(user):
    """Boot; the Problem if it cannot."""
    try:
        user.boot()
    except MemoryError:
        raise
    except PowerCut:
        raise
    except Exception as error:
        return Problem(model.MOUNT_LOST, "what was committed can be mounted", repr(error))
    return None


def apply(chip, command):
    """The command as it was, complete."""
    try:
        if command.op == "erase":
            chip.nor.erase(command.addr)
        elif command.op == "program":
            chip.nor.program(command.addr, command.data)
    except OSError:
        return  # a worn-out sector that says so


def leave(chip, command, cut):
    """Leave the chip as this cut would; returns the sector that was harmed."""
    n, letter, seed = cut
    if letter in plan.REST:
        return rest(chip, letter, seed)
    if command.op != "end":
        chip.nor.tear(command.op, command.addr, command.data, plan.state_of(letter), seed)
    return command.addr // SECTOR


def rest(chip, letter, seed):
    """Damage while the power is off: rot of a few bits or a whole sector, or a sector that wears
    out.

    Returns the sector. It is one that holds something, if any does. Of a whole sector: not the
    newest segment, of which nothing tells.
    """
    rng = Rng(seed)
    sector = rng.below(chip.sectors)
    blank = b"\xff" * SECTOR
    spared = damage.sector_of_newest(chip.memory) if letter == "g" else -1
    for _ in range(64):
        if sector != spared and (
            memoryview(chip.memory)[sector * SECTOR : (sector + 1) * SECTOR] != blank
        ):
            break
        sector = rng.below(chip.sectors)
    if letter in "rg":
        flips = (1, 1, 1, 2, 3, 8)[rng.below(6)] if letter == "r" else _WHOLE
        rate = flips / (SECTOR * 8)
        chip.rotted = chip.nor.rot(rate, seed, sector * SECTOR, SECTOR)
    else:
        chip.nor.wear_out(sector * SECTOR, letter == "w")
    return sector


def path_seed(path):
    """A number that follows from the cuts alone: the same in each replay."""
    return crc32(plan.token(path).encode())
