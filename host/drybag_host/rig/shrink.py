"""Find a smaller workload and fewer cuts that still fail."""

import time

from drybag_host.rig import ids
from drybag_host.rig.device.ops import ranges
from drybag_host.rig.errors import CannotJudge
from drybag_host.rig.jobs import Job
from drybag_host.rig.process import Worker


class Shrinker:
    """Works on one failing id; `best` is the smallest so far. `say(text)` hears of progress."""

    def __init__(self, word, worker, say=lambda text: None, seconds=120.0):
        self.best = ids.decode(word)
        self.what = None
        self._worker = worker
        self._say = say
        self._until = time.monotonic() + seconds
        self.tried = 0

    def run(self):
        """Shrink until nothing can go or the time is up; returns the smallest RigId.

        Raises CannotJudge where the id does not fail at all.
        """
        self.what = self._fails(self.best)
        if self.what is None:
            raise CannotJudge(
                "the id does not fail here: nothing to shrink",
                "it was found with another version of the firmware; run the campaign again",
            )
        self._fewer_cuts()
        self._fewer_operations()
        self._fewer_cuts()
        return self.best

    def _fails(self, rig_id):
        """What is wrong with exactly this state, or None."""
        job = {"do": "replay", "workload": rig_id.workload, "seed": rig_id.seed,
               "cuts": [list(cut) for cut in rig_id.cuts]}  # fmt: skip
        self.tried += 1
        for mark, value in self._worker.ask(job):
            if mark == "=":
                return value.get("failure")
        return None

    def _fewer_cuts(self):
        for depth in range(1, len(self.best.cuts)):
            shorter = self.best._replace(cuts=self.best.cuts[:depth])
            if self._fails(shorter):
                self._take(shorter)
                return

    def _fewer_operations(self):
        """Leave operations out, half of them first, then a quarter, ... (delta debugging)."""
        base, _, keep = self.best.workload.partition("!")
        numbers = list(range(len(self._operations(base)))) if not keep else _numbers(keep)
        size = max(1, len(numbers) // 2)
        while size and time.monotonic() < self._until:
            at, went = 0, False
            while at < len(numbers) and len(numbers) > 1:
                fewer = numbers[:at] + numbers[at + size :]
                if fewer and self._still_fails(base, fewer):
                    numbers, went = fewer, True
                else:
                    at += size
                if time.monotonic() > self._until:
                    return
            if not went or size > len(numbers):
                size //= 2

    def _operations(self, workload):
        for mark, value in self._worker.ask(
            {"do": "operations", "workload": workload, "seed": self.best.seed}
        ):
            if mark == "=":
                return value["ops"]
        return []

    def _still_fails(self, base, numbers):
        """Sweep the workload of these operations for a state that fails; take it if there is."""
        letter = self.best.cuts[0][1]
        depth = len(self.best.cuts)
        job = Job("%s!%s" % (base, ranges(numbers)), self.best.seed, depth=depth,
                  letters=letter if letter in "cez" else letter + "c", failures=1)  # fmt: skip
        self.tried += 1
        path = None
        for mark, value in self._worker.ask(job.command()):
            if mark == "!" and path is None:
                path = value["path"]
        if path is None:
            return False
        self._take(ids.decode(ids.of_path(self.best.subject, job.workload, job.seed, path)))
        return True

    def _take(self, rig_id):
        self.best = rig_id
        self._say(ids.encode(rig_id))


def _numbers(keep):
    numbers = []
    for part in keep.split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def shrink(word, say=lambda text: None, seconds=120.0):
    """(smallest RigId that fails, what fails, states and sweeps tried). Raises CannotJudge."""
    with Worker(ids.decode(word).subject) as worker:
        shrinker = Shrinker(word, worker, say, seconds)
        best = shrinker.run()
        return best, shrinker.what, shrinker.tried
