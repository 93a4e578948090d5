"""What a campaign consists of: jobs for workers, planned from numbers alone."""

from dataclasses import asdict, dataclass
from itertools import count

from drybag_host.rig.device import workloads

UNTIL_STABLE = 0
# states a named workload gets in a quick campaign; the rest get _QUICK_OTHER
_QUICK = {"long": 80, "checkpoint": 20, "growth": 30, "garbage": 25, "compaction": 80,
          "nearly-full": 50, "churn": 60, "paired-long": 40, "pending": 70,
          "syncing": 60, "sync-set-back": 40, "sync-merge": 50,
          "full": 50, "random": 80, "recovery": 80, "puts": 70, "updates": 140, "batches": 140,
          "photos": 220, "format": 220, "shutdowns": 160, "wrap-blob": 120}  # fmt: skip
_QUICK_OTHER = 100
_QUICK_SEQUENCE = {1: 60, 2: 22, 3: 4}
_QUICK_THIRDS = 3
_PARTS = {"full": 8, "nearly-full": 8, "compaction": 4, "checkpoint": 4, "long": 4, "puts": 2,
          "growth": 2, "churn": 4, "paired-long": 4, "pending": 4, "paired": 2,
          "syncing": 3}  # fmt: skip
_PARTS_OF_FILLS = 3
CUTS = "cpbnueza"  # the torn states, without damage at rest
APP_WORKLOADS = ("steps", "steady")
_APP_QUICK = 2000
_APP_PARTS = 4


@dataclass(frozen=True)
class Job:
    """One sweep by one worker. `every`: one state in so many; `budget`: instead, about so many
    states; `depth` 0: until stable; `deep_every`: one state in so many is cut in recovery."""

    workload: str
    seed: int = 1
    every: int = 1
    budget: int = 0
    offset: int = 0
    part: tuple = (0, 1)
    depth: int = 1
    deep_every: int = 1
    letters: str = ""
    failures: int = 20

    def command(self, after=None):
        """The JSON-able command for a worker; `after`: skip the states up to this path."""
        return {"do": "sweep", **asdict(self), "after": after}


def quick(seed, depth=None, only=None):
    """Some thousand states of everything, in under a minute on two cores."""
    for name in only or [*workloads.NAMED, *workloads.SEEDED]:
        budget = _QUICK.get(name, _QUICK_OTHER) if not only else 1000
        yield Job(name, seed, budget=budget, offset=seed, depth=2 if depth is None else depth,
                  deep_every=60 if depth is None else 6)  # fmt: skip
    if only:
        return
    for n, name in enumerate(workloads.sequence_names()):
        steps = name.count(".")
        if steps < 3 or (n + seed) % _QUICK_THIRDS == 0:
            yield Job(name, seed, budget=_QUICK_SEQUENCE[steps], offset=seed + n,
                      depth=1 if depth is None else depth, deep_every=6)  # fmt: skip


def full(seed, depth=None, only=None):
    """Every state at depth 1 of every workload; with `depth` the recoveries too."""
    depth = 1 if depth is None else depth
    for name in only or workloads.names():
        parts = _PARTS.get(name, _PARTS_OF_FILLS if name.endswith(".full") else 1)
        for part in range(parts):
            yield Job(name, seed, part=(part, parts), depth=depth, deep_every=1)


def soak(seed, depth=None, only=None):
    """Seed after seed without end; the caller stops. Recovery is cut until it is stable."""
    depth = UNTIL_STABLE if depth is None else depth
    for turn in count(seed):
        for name in only or [*workloads.SEEDED, *workloads.NAMED]:
            yield Job(name, turn, budget=250, offset=turn, depth=depth, deep_every=9)
        if only:
            continue
        for n, name in enumerate(workloads.sequence_names()):
            if (n + turn) % 9 == 0:
                yield Job(name, turn, budget=40, offset=turn, depth=depth, deep_every=9)


MODES = {"quick": quick, "full": full, "soak": soak}


def app(names, mode, seed, depth=None):
    """Jobs for a subject with workloads of its own: all of each, or in quick some of it. Cuts
    only: what an app makes of flash that rots at rest is not asked."""
    parts = 1 if mode == "quick" else _APP_PARTS
    for turn in count(seed) if mode == "soak" else (seed,):
        for name in names:
            for part in range(parts):
                yield Job(name, turn, budget=_APP_QUICK if mode == "quick" else 0, offset=turn,
                          part=(part, parts), depth=1 if depth is None else depth,
                          deep_every=20, letters=CUTS)  # fmt: skip
