"""Power cuts, swept: every flash command of small workloads, in every torn state, and recovery's.

The workload runs once; then each command is torn on a copy of the flash as it stood before that
command, and the copy is booted and judged (journal_oracle). A failure names its case, such as
`batch:17:neighbour:2/4:bits:1`; `replay` runs that case alone.
"""

import random
from zlib import crc32

import pytest
from journal_oracle import Chip, Driver, Oracle, cut_short, text, trace

from drybag.errors import NoSpace
from drybag_host.emulator.rom import nor

# how many seeds each state gets where a workload is swept in full
SEEDS = {
    "clean": 1, "prefix": 1, "bits": 2, "neighbour": 3, "unstable": 2,
    "erase-none": 1, "erase-zeroed": 2, "erase-partial": 2,
}  # fmt: skip


# --- workloads: (sectors, what stands before, what is swept) ---------------------------------------


def _nothing(driver):
    driver.mount()


def _few(driver):
    driver.mount()
    for n in range(6):
        driver.put(1 + n % 4, b"old%d" % n, text(n, 60 + 90 * n), parent=n)


def _format(driver):
    driver.mount()
    driver.put(1, b"first", b"FN:First\n")


def _puts(driver):
    for n in range(64):
        driver.put(1 + n % 4, b"new%d" % n, b"FN:%d\n" % n)


def _updates(driver):
    for n in range(12):
        driver.put(1 + n % 4, b"old%d" % (n % 6), text(n, 20 + 37 * n), parent=7)
        if n % 3 == 2:
            driver.delete(1 + (n - 1) % 4, b"old%d" % ((n - 1) % 6))


def _batches(driver):
    for n in range(3):
        ops = [("put", 1, b"b%d-%d" % (n, i), text(i, 30 + 120 * i)) for i in range(5)]
        ops.insert(2, ("put", 1 + n % 4, b"old%d" % n, text(n, 200), (), 9))
        ops.append(("delete", 1 + (n + 3) % 4, b"old%d" % (n + 3)))
        driver.batch(ops)
        driver.put(2, b"after%d" % n, text(n, 90))
    driver.batch([("put", 1, b"b0-0", b"x"), ("put", 1, b"b0-0", b"y"), ("delete", 1, b"b1-1")])


def _photos(driver):
    sha = driver.blob(text(1, 9000))
    other = driver.blob(text(2, 700))
    driver.put(5, b"holiday.jpg", b"FN:holiday.jpg\n", [sha])
    driver.put(1, b"with", b"FN:With\n", [other, sha])
    driver.put(5, b"holiday.jpg", b"FN:renamed\n", [other])
    driver.delete(1, b"with")


def _big_bodies(driver):
    driver.put(4, b"big", text(1, 5000))
    driver.put(4, b"big", text(2, 4100), parent=3)
    driver.put(4, b"longest entry", text(3, 1500))
    driver.delete(4, b"big")


def _shutdowns(driver):
    for n in range(3):
        driver.put(1, b"s%d" % n, text(n, 300))
        driver.j.close()
        driver.mount()
        driver.put(1, b"s%d" % n, text(n + 9, 100))
    driver.j.close()


def _undeletes(driver):
    was = driver.oracle.live[1, b"old0"], driver.oracle.live[2, b"old5"]
    driver.delete(1, b"old0")
    driver.delete(2, b"old5")
    driver.undelete(1, b"old0", was[0])
    driver.put(1, b"old0", b"x")
    driver.undelete(2, b"old5", was[1])


def _half_full(driver):
    driver.mount()
    for n in range(42):
        driver.put(1, b"k%d" % n, text(n, 250))
    for n in range(90):
        driver.put(1, b"k%d" % (n % 30), text(n, 200))


def _compacting(driver):
    for n in range(36):
        driver.put(1, b"k%d" % (n * 7 % 42), text(n, 100 + 60 * (n % 5)))
        if n % 9 == 8:
            driver.delete(1, b"k%d" % (n * 7 % 42))


def _full(driver):
    driver.mount()
    driver.fill(4, 400)


def _full_flash(driver):
    for n in range(12):
        driver.delete(4, b"f%04d" % (n * 3))
        try:
            driver.put(4, b"again%d" % n, text(n, 300))
        except NoSpace:
            pass


def _before_growth(driver):
    driver.mount()
    for n in range(55):
        driver.put(1, b"g%d" % n, text(n, 1400))


def _growing(driver):
    for n in range(12):
        driver.put(1, b"h%d" % n, text(n, 1400))


def _before_checkpoint(driver):
    driver.mount()
    for n in range(150):
        driver.put(1 + n % 4, b"c%d" % n, text(n, 1))
    driver.put(1, b"c0", text(0, 1480))
    for n in range(46):
        driver.put(1, b"c%d" % (4 * n % 24), text(n, 1480))


def _checkpointing(driver):
    driver.j.checkpoint()
    driver.put(1, b"c8", b"new")
    driver.delete(2, b"c1")
    driver.j.checkpoint()


def _unclean(driver):
    _few(driver)
    driver.j.close()
    driver.mount()
    for n in range(14):
        driver.put(1, b"u%d" % n, text(n, 70 * (n % 4)))


def _reboots(driver):
    driver.mount()
    driver.mount()


WORKLOADS = {
    "format": (16, lambda driver: None, _format, 1),
    "puts": (24, _few, _puts, 1),
    "updates": (24, _few, _updates, 1),
    "batches": (24, _few, _batches, 1),
    "photos": (28, _few, _photos, 3),
    "big": (28, _few, _big_bodies, 3),
    "shutdowns": (24, _few, _shutdowns, 1),
    "undeletes": (24, _few, _undeletes, 1),
    "compaction": (18, _half_full, _compacting, 3),
    "full": (18, _full, _full_flash, 1),
    "growth": (48, _before_growth, _growing, 4),
    "checkpoint": (48, _before_checkpoint, _checkpointing, 1),
    "recovery": (24, _unclean, _reboots, 1),
}


# --- sweeping --------------------------------------------------------------------------------------


class Sweep:
    """Tears commands and judges what is left; counts the states that it has seen."""

    def __init__(self, name):
        self.name = name
        self.seen = set()
        self.judged = 0

    def commands(self, base, commands, case, plan, then):
        """Tear each of `commands`, which follow one another on `base` (a Chip, consumed).

        `plan(n, op)` yields (state, seed); `then(chip, oracle, case)` judges.
        """
        for n, command in enumerate(commands):
            for state, seed in plan(n, command.op):
                cut = base.copy(seed + 1)
                cut.nor.tear(command.op, command.addr, command.data, state, seed)
                key = cut.key(), command.oracle.revision
                if key not in self.seen:
                    self.seen.add(key)
                    then(cut, command.oracle.copy(), "%s:%d:%s:%d" % (case, n, state, seed))
            if command.op == "erase":
                base.nor.erase(command.addr)
            else:
                base.nor.program(command.addr, command.data)

    def judge(self, chip, oracle, case, deeper=None):
        """Boot, compare, epilogue. `deeper(base, commands, case)` sweeps this boot's commands."""
        self.judged += 1
        try:
            rng = random.Random(crc32(case.encode()))
            driver = Driver(chip, oracle)
            base = chip.copy(3) if deeper else None
            in_flight = oracle.copy()
            commands = trace(Driver(chip, in_flight), lambda _: driver.mount())
            oracle.judge(driver.j, rng.random() < 0.1)
            epilogue(driver, rng)
        except Exception as error:
            raise AssertionError("case %s: %r" % (case, error)) from error
        if deeper:
            deeper(base, commands, case)


def epilogue(driver, rng):
    """After recovery: write, cut again, reboot, and it is still there, and again."""
    oracle, flash = driver.oracle, driver.chip.nor
    probe = b"probe%d" % rng.randrange(1000)
    room = rng.random() < 0.8
    for life in range(1 + (rng.random() < 0.3)):
        if room:
            try:
                driver.put(3, probe, text(life, rng.randrange(400)))
            except NoSpace:
                room = False
        flash.cut_at(1 + rng.randrange(12), rng.choice((None, *nor.STATES)), rng.randrange(1 << 30))
        cut_short(driver, lambda d: _something(d, rng, room))
        flash.power_on()
        driver.mount()
        oracle.judge(driver.j)


def _something(driver, rng, room):
    live = list(driver.oracle.live)
    for n in range(4):
        if live and rng.random() < 0.4:
            driver.delete(*live.pop(rng.randrange(len(live))))
        elif room:
            try:
                driver.put(2, b"more%d" % n, text(n, rng.randrange(700)))
            except NoSpace:
                if driver.chip.nor.dead:
                    raise


def states_of(op):
    return nor.ERASE_STATES if op == "erase" else nor.PROGRAM_STATES


def every_state(every):
    """All states; their seeds are shared out over `every` neighbouring commands."""

    def plan(n, op):
        for i, state in enumerate(states_of(op)):
            for seed in range(SEEDS[state]):
                if (n + i + seed) % every == 0:
                    yield state, seed + 10 * (n % 7)

    return plan


def one_state(n, op):
    """A state a command, another for each, and the seed too."""
    states = states_of(op)
    yield states[n % len(states)], n


def some(one_in, offset):
    return lambda n, op: one_state(n, op) if n % one_in == offset else ()


def prepared(name):
    """(chip, driver, commands to sweep, flash and oracle before the first of them)."""
    sectors, before, run, every = WORKLOADS[name]
    driver = Driver(Chip(sectors), Oracle())
    before(driver)
    base = driver.chip.copy()
    return base, trace(driver, run), driver, every


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_command_in_every_state(name):
    base, commands, driver, every = prepared(name)
    driver.oracle.judge(driver.chip.mount(), deep=True)  # uncut, the workload itself is right
    sweep = Sweep(name)
    sweep.commands(base, commands, name, every_state(every), sweep.judge)
    assert sweep.judged > len(commands) * 0.9


def replay(case):
    """Judge one case alone, as the sweeps name it (`puts:17:bits:2`, recovery's cuts after `/`)."""
    first, *rest = case.split("/")
    name, n, state, seed = first.split(":")
    base, commands, _, _ = prepared(name)
    sweep = Sweep(name)
    chosen = int(n)

    def plan(at, op):
        return [(state, int(seed))] if at == chosen else []

    sweep.commands(base, commands[: chosen + 1], name, plan, sweep.judge)
    return sweep
