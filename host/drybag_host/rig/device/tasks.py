"""What a worker can be asked for: sweep, replay, image, operations."""

import hashlib
from binascii import b2a_base64

from drybag_host.rig.device import ops, plan, replaying
from drybag_host.rig.device.subjects import open_workload
from drybag_host.rig.device.sweep import CannotTrace, Enough, Sink, Sweeper


class JobSink(Sink):
    """Sends every state before it is booted; skips those that killed an earlier worker."""

    def __init__(self, lines, job):
        self._lines = lines
        self._after = job.get("after")
        self._most = job.get("failures") or 0
        self.failed = 0

    def state(self, path, place, sector, key):
        token = plan.token(path)
        if self._after:
            if token == self._after:
                self._after = None
            return False
        self._lines.line("@%s %s/%d/%016x" % (token, place, sector, key))
        return True

    def equal(self, path):
        if not self._after:
            self._lines.line("~")

    def failure(self, path, problem):
        self.failed += 1
        self._lines.say("!", {"path": plan.token(path), "what": problem.what,
                              "expected": problem.expected, "found": problem.found})  # fmt: skip
        return not self._most or self.failed < self._most


def sweep(subject, job, lines):
    """Sweep a workload, or a part of its cuts. Job: workload, seed, every, budget, offset, part,
    depth, deep_every, letters, failures, after, known.

    `known`: keys of sweeps that were done; one that would do the very same again is left out.
    """
    workload = open_workload(subject, job["workload"], job["seed"])
    depth = job.get("depth", 1)
    sink = JobSink(lines, job)
    deeper = {"depth": depth, "every": job.get("deep_every", 1), "seed": job["seed"] - 1}
    sweeper = Sweeper(subject, workload, sink, deeper)
    try:
        base, commands = sweeper.trace()
    except CannotTrace as error:
        lines.say("?", {"why": str(error)})
        return {}
    k, parts = job.get("part") or (0, 1)
    first, last = len(commands) * k // parts, len(commands) * (k + 1) // parts
    every, offset = job.get("every") or 1, job.get("offset", 0)
    letters = job.get("letters")
    if job.get("budget"):
        every = max(1, expected(commands, 1, 0, letters, first, last) // job["budget"])
    states = expected(commands, every, offset, letters, first, last)
    which = (every, offset if every > 1 else 0, letters)
    key = sweep_key(base, commands, (first, last, which, depth, depth != 1 and deeper))
    is_known = key in (job.get("known") or ())
    lines.say("#", {
        "commands": len(commands) - 1, "every": every, "sectors": workload.sectors,
        "states": 0 if is_known else states, "equal": states if is_known else 0, "key": key,
        "flash": flash_use(subject, base, commands, first, last),
    })  # fmt: skip
    if is_known:
        return {}

    def chosen(n, command, at_rest):
        return _chosen(plan.sampled(n, command.op, at_rest, every, offset), letters)

    enough = False
    try:
        sweeper.sweep(base, commands, chosen, (), first, last)
    except Enough:
        enough = True
    return {"judged": sweeper.judged, "boots": sweeper.boots, "enough": enough}


def sweep_key(base, commands, how):
    """Tells sweeps apart: the flash it begins with, every command, what the oracle knew then."""
    h = hashlib.sha256(base.memory)
    h.update(repr((base.faults, how)).encode())
    step = commands[0].step
    for command in commands:
        oracle = command.oracle
        begins, step = command.step != step, command.step  # its number is a matter of names
        h.update(repr((command.op, command.addr, begins, len(command.data or b""))).encode())
        h.update(command.data or b"")
        h.update(oracle.mark)
        h.update(b"%d" % getattr(oracle, "stamp", 0))
    return b2a_base64(h.digest()[:9]).decode().strip()


def _chosen(states, letters):
    """Those of the states whose letters are asked for; no letters: all."""
    return [state for state in states if state[0] in letters] if letters else states


def expected(commands, every, offset, letters, first, last):
    """How many states the cuts of these commands give at depth 1, equal ones included."""
    count, step = 0, commands[first - 1].step if first else -1
    for n in range(first, last):
        command = commands[n]
        at_rest = command.step != step or command.op == "end"
        count += len(_chosen(plan.sampled(n, command.op, at_rest, every, offset), letters))
        step = command.step
    return count


def flash_use(subject, base, commands, first, last):
    """{"places": {place: [programs, bytes, erases]}, "sectors": {sector: [erases, programs]}}."""
    places, sectors = {}, {}
    memory = bytearray(base.memory)
    for n in range(last):
        op, addr, data = commands[n][:3]
        if op == "end":
            continue
        if n >= first:
            count = places.setdefault(subject.place(memory, op, addr, data), [0, 0, 0])
            sector = sectors.setdefault(str(addr // 4096), [0, 0])
            if op == "erase":
                count[2] += 1
                sector[0] += 1
            else:
                count[0] += 1
                count[1] += len(data)
                sector[1] += 1
        if op == "erase":
            memory[addr : addr + 4096] = b"\xff" * 4096
        else:
            memory[addr : addr + len(data)] = data
    return {"places": places, "sectors": sectors}


def replay(subject, job, lines):
    """Tell one state step by step. Job: workload, seed, cuts."""
    workload = open_workload(subject, job["workload"], job["seed"])
    cuts = [tuple(cut) for cut in job["cuts"]]
    return replaying.replay(subject, workload, cuts, lambda kind, text: lines.say(
        "-", {"kind": kind, "text": text}))  # fmt: skip


def image(subject, job, lines):
    """The flash as the last of `cuts` (or the first `depth` of them) left it, in base64."""
    workload = open_workload(subject, job["workload"], job["seed"])
    cuts = [tuple(cut) for cut in job["cuts"]][: job.get("depth") or None]
    chip, oracle = replaying.after_cuts(subject, workload, cuts, Sink())
    for at in range(0, len(chip.memory), 4096):
        piece = memoryview(chip.memory)[at : at + 4096]
        lines.say("-", {"data": b2a_base64(piece).decode().strip()})
    faults = chip.faults()
    return {"sectors": chip.sectors, "expects": oracle.expects(),
            "unstable": len(faults["unstable"]) if faults else 0}  # fmt: skip


def operations(subject, job, lines):
    """The operations of a workload as text, and where the swept ones begin."""
    workload = open_workload(subject, job["workload"], job["seed"])
    return {"ops": [ops.describe(op) for op in workload.ops], "start": workload.start}


TASKS = {"sweep": sweep, "replay": replay, "image": image, "operations": operations}
