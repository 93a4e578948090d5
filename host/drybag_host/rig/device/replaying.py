"""One state again, from its cuts alone: told step by step, or as the flash it leaves."""

from drybag_host.rig.device import ops, plan
from drybag_host.rig.device.chip import SECTOR, Chip
from drybag_host.rig.device.sweep import Recorder, Sink, Sweeper, apply, boot, leave, path_seed

_AROUND = 3
_OPERATIONS = 12


class WrongCut(Exception):
    """The id names a cut that this workload, in this version of the firmware, does not have."""


def after_cuts(subject, workload, cuts, sink, tell=None):
    """(Chip, oracle) as the last of `cuts` left them, the power off. Raises WrongCut."""
    base, commands = Sweeper(subject, workload, sink).trace()
    chip = Chip(workload.sectors, bytearray(base.memory), base.faults)
    for depth in range(len(cuts)):
        n, letter, _ = cuts[depth]
        if n >= len(commands):
            raise WrongCut(
                "cut %d of depth %d: there are %d flash commands; the id is of another version "
                "of the firmware or of the rig" % (n, depth + 1, len(commands) - 1)
            )
        command = commands[n]
        if not plan.fits(letter, command.op):
            raise WrongCut("an %s cannot be left '%s'" % (command.op, plan.LETTERS[letter]))
        if tell:
            tell(depth, commands, n)
        for before in commands[:n]:
            apply(chip, before)
        path = cuts[: depth + 1]
        chip.power_up(chip.faults(), path_seed(path))
        leave(chip, command, cuts[depth])
        if depth + 1 < len(cuts):
            commands = _recovery(subject, chip, command.oracle, path)
    return chip, commands[cuts[-1][0]].oracle


def _recovery(subject, chip, oracle, path):
    """The commands of the boot that follows, run on a copy; `chip` stays as it is."""
    twin = Chip(chip.sectors, bytearray(chip.memory), chip.faults(), path_seed(path))
    user = subject.user(twin, oracle.copy())
    recorder = Recorder(twin, user, oracle.copy())
    boot(user)
    commands = recorder.end()
    twin.end_life()
    return commands


def replay(subject, workload, cuts, say):
    """Tell the whole story to `say(kind, text)`; returns {"failure": what or None, ...}."""
    def tell(depth, commands, n):
        _tell_cut(subject, workload, say, depth, commands, n, cuts)

    sink = Sink()
    chip, oracle = after_cuts(subject, workload, cuts, sink, tell)
    for line in oracle.expects():
        say("expected", line)
    say("flash", _digest(chip))
    sweeper = Sweeper(subject, workload, sink)
    chip.count_reads = True

    def stage(what, user):
        say("stage", what)
        for line in user.notes():
            say("recovery", line)
        _tell_reads(user, say)

    problem, commands = sweeper.life(chip, oracle.copy(), cuts, stage)
    for n, command in enumerate(commands[:-1]):
        say("recovery command", "%d %s" % (n, _command(command)))
    if problem is None:
        return {"failure": None}
    say("found", problem.found)
    return {"failure": problem.what, "expected": problem.expected, "found": problem.found}


def _tell_cut(subject, workload, say, depth, commands, n, cuts):
    what = "recovery %d" % depth if depth else "the workload"
    letter, seed = cuts[depth][1:]
    if not depth:
        for at in range(max(0, commands[n].step - _OPERATIONS), commands[n].step + 1):
            say("operation", "%d %s" % (at, ops.describe(workload.ops[at])))
    say("cut", "in %s, at flash command %d of %d: %s, seed %d" % (
        what, n, len(commands) - 1, plan.LETTERS[letter], seed))  # fmt: skip
    for at in range(max(0, n - _AROUND), min(len(commands), n + _AROUND + 1)):
        command = commands[at]
        where = ""
        if not depth and command.op != "end":
            where = " (operation %d: %s)" % (
                command.step, ops.describe(workload.ops[command.step])[:60],
            )  # fmt: skip
        say("command", "%s %d %s%s" % ("->" if at == n else "  ", at, _command(command), where))


def _command(command):
    if command.op == "end":
        return "(no further command)"
    text = "%s sector %d byte %d" % (command.op, command.addr // SECTOR, command.addr % SECTOR)
    return text + (", %d bytes" % len(command.data) if command.data else "")


def _digest(chip):
    """Which sectors hold anything, and where cells are unstable."""
    blank = b"\xff" * SECTOR
    view = memoryview(chip.memory)
    used = [s for s in range(chip.sectors) if view[s * SECTOR : (s + 1) * SECTOR] != blank]
    text = "%d of %d sectors hold something: %s" % (len(used), chip.sectors, ops.ranges(used))
    faults = chip.faults()
    if faults and faults["unstable"]:
        text += "; unstable cells in pages at " + ", ".join(
            "0x%x" % page for page, _ in faults["unstable"]
        )
    if faults and faults["worn"]:
        text += "; worn-out sectors " + ", ".join(
            "%d" % (addr // SECTOR) for addr, _ in faults["worn"]
        )
    return text


def _tell_reads(user, say):
    reads = getattr(user.device, "reads", None)
    if reads:
        say("reads", ", ".join("sector %d: %d reads, %d bytes" % (s, reads[s][0], reads[s][1])
                               for s in sorted(reads)))  # fmt: skip
        reads.clear()
