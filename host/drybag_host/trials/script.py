"""What happens in a history: steps at moments of virtual time, drawn from a seed.

Each step has chance of its own, so that one can be left out (shrinking) without changing what the
others do.
"""

import random
from dataclasses import dataclass, field

PROPERTIES = ("FN", "TEL", "EMAIL", "NOTE", "ORG")
WEATHERS = ("good", "lossy", "down", "slow", "twice")

# verb: how often beside the others; those of HAZARDS only in histories that have drawn the hazard
_COMMON = {"add": 9, "edit": 14, "delete": 4, "again": 2, "sync": 22, "photo": 2}
HAZARDS = {
    "weather": 6,
    "cut": 5,
    "reboot": 3,
    "clock": 3,
    "hub-kill": 4,
    "hub-backup": 3,
    "hub-restore": 2,
    "hub-empty": 1,
    "image": 2,
    "set-back": 1,
    "lost": 1,
    "wipe": 1,
    "same": 6,
}
_NEEDS = {"hub-restore": "hub-backup", "set-back": "image"}


@dataclass(frozen=True)
class Step:
    number: int
    at_s: float
    verb: str
    handset: int
    chance: int

    def text(self):
        who = "" if self.verb.startswith("hub") else " handset %d" % self.handset
        return "%8.1f s  step %-3d %s%s" % (self.at_s, self.number, self.verb, who)


@dataclass(frozen=True)
class Script:
    seed: int
    handsets: int
    steps: tuple = field(default=())

    def without(self, numbers):
        """The same history, but for those steps."""
        kept = tuple(step for step in self.steps if step.number not in numbers)
        return Script(self.seed, self.handsets, kept)


def write(seed):
    """The history of a seed: 1 to 4 handsets, 8 to 40 steps within some hours."""
    rng = random.Random(seed)
    handsets = rng.choice((1, 2, 2, 2, 3, 3, 4))
    verbs = dict(_COMMON)
    for hazard, weight in HAZARDS.items():
        if rng.random() < 0.35:
            verbs[hazard] = weight
            if hazard in _NEEDS:
                verbs[_NEEDS[hazard]] = HAZARDS[_NEEDS[hazard]]
    names, weights = list(verbs), list(verbs.values())
    at_s, steps = 0.0, []
    hasty = rng.random() < 0.5
    for number in range(rng.randint(8, 40)):
        at_s += rng.expovariate(1 / (2.0 if hasty else 90.0))
        verb = rng.choices(names, weights)[0]
        steps.append(Step(number, at_s, verb, rng.randrange(handsets), rng.getrandbits(32)))
    return Script(seed, handsets, tuple(steps))
