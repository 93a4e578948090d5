"""Two CPython functions over a bare block device as the subject of the rig, in this process."""

from drybag_host.rig.device import plan
from drybag_host.rig.device.ops import Workload
from drybag_host.rig.device.oracle import RECORD_LOST, Problem
from drybag_host.rig.device.replaying import after_cuts
from drybag_host.rig.device.sweep import Enough, Sink, Sweeper


class NoRoom(Exception):
    """Functions have no epilogue: there is no next step to ask for."""


class FunctionSubject:
    """`write(flash, acked)` appends to `acked` what is durable; `check(flash, acked)` raises
    AssertionError or returns what is wrong (text) once power is back."""

    name = "functions"
    full = (NoRoom,)

    def __init__(self, write, check, sectors):
        self.write = write
        self.check = check
        self.all = Workload("functions", sectors, [("write",)], 0)

    def oracle(self):
        return Acked()

    def user(self, chip, oracle):
        return FunctionUser(self, chip, oracle)

    def place(self, memory, op, addr, data):
        return op


class Acked(list):
    """What was acknowledged; counts as it grows."""

    @property
    def revision(self):
        return len(self)

    @property
    def mark(self):
        return len(self).to_bytes(8, "big")

    def copy(self):
        return Acked(self)

    def expects(self):
        return ["acknowledged: %r" % list(self)]


class FunctionUser:
    def __init__(self, subject, chip, oracle):
        self.subject = subject
        self.chip = chip
        self.oracle = oracle
        self.device = chip.partition()

    def do(self, op):
        self.subject.write(self.device, self.oracle)

    def boot(self):
        self.device = self.chip.partition()

    def judge(self, deep=False):
        try:
            said = self.subject.check(self.device, list(self.oracle))
        except AssertionError as error:
            said = str(error) or "an assertion of %s()" % self.subject.check.__name__
        return [Problem(RECORD_LOST, "check() finds everything", said)] if said else []

    judge_damaged = judge

    def probe(self, rng):
        raise NoRoom

    more = probe

    def notes(self):
        return []


class _Collect(Sink):
    def __init__(self, most):
        self.failures = []
        self._most = most

    def failure(self, path, problem):
        self.failures.append((plan.token(path), problem))
        return len(self.failures) < self._most


def sweep(subject, states, seed, most):
    """(states judged, [(state, Problem)]) of about so many states, 0: all.

    Raises CannotTrace where the functions fail without any cut.
    """
    sink = _Collect(most)
    sweeper = Sweeper(subject, subject.all, sink)
    base, commands = sweeper.trace()
    total = sum(len(plan.states(n, c.op, False)) for n, c in enumerate(commands))
    every = max(1, total // states) if states else 1

    def chosen(n, command, at_rest):
        return plan.sampled(n, command.op, False, every, seed)

    try:
        sweeper.sweep(base, commands, chosen)
    except Enough:
        pass
    return sweeper.judged, sink.failures


def one(subject, cuts):
    """The Problem of one state, None if it holds. Raises WrongCut where there is no such cut."""
    sink = _Collect(1)
    chip, oracle = after_cuts(subject, subject.all, cuts, sink)
    return Sweeper(subject, subject.all, sink).life(chip, oracle, cuts)[0]
