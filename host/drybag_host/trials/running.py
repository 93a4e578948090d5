"""Many histories: played on all processors, counted, the bad ones shrunk."""

import multiprocessing
import os
import time
import traceback

from .script import write
from .world import World

_CHUNK = 25
_SHRINK_S = 20.0


def play(script, trace=None):
    """(lines of what is wrong, counts of what happened) of one history. Never raises."""
    world = None
    try:
        world = World(script, trace)
        wrong = world.play()
    except Exception as error:
        wrong = ["%s: %s" % (type(error).__name__, error)]
        if trace:
            trace(traceback.format_exc())
    counts = dict(world.counts) if world else {}
    if world:
        counts["acts"] = len(world.oracle.events)
        counts["lost_with_the_only_copy"] = len(world.lost)
    return wrong, counts


def _play_some(seeds):
    """A worker's share: ([(seed, wrong)], counts, seconds of processor)."""
    began, bad, total = time.process_time(), [], {}
    for seed in seeds:
        wrong, counts = play(write(seed))
        if wrong:
            bad.append((seed, wrong))
        for name, value in counts.items():
            total[name] = total.get(name, 0) + value
    return len(seeds), bad, total, time.process_time() - began


class Result:
    """histories, bad: [(seed, wrong)], counts, seconds (wall), cpu_s."""

    def __init__(self):
        self.histories = 0
        self.bad = []
        self.counts = {}
        self.seconds = self.cpu_s = 0.0

    def add(self, done, bad, counts, cpu_s):
        self.histories += done
        self.bad += bad
        self.cpu_s += cpu_s
        for name, value in counts.items():
            self.counts[name] = self.counts.get(name, 0) + value

    def fields(self):
        rate = 60 * self.histories / self.seconds if self.seconds else 0
        return {
            "histories": self.histories,
            "failed": len(self.bad),
            "seconds": round(self.seconds, 1),
            "histories_per_minute": round(rate),
            "cpu_ms_per_history": round(1000 * self.cpu_s / max(1, self.histories), 1),
            **self.counts,
        }


def run(first_seed=1, count=None, seconds=None, jobs=None, advance=lambda n: None):
    """Histories from `first_seed` on, so many or for so long. A Result."""
    result, began = Result(), time.monotonic()
    jobs = jobs or os.cpu_count() or 1

    def shares():
        at, last = first_seed, first_seed + count if count else None
        while (last is None or at < last) and not (
            seconds and time.monotonic() - began > seconds
        ):
            end = at + _CHUNK if last is None else min(last, at + _CHUNK)
            yield range(at, end)
            at = end

    if jobs == 1:
        found = map(_play_some, shares())
        _collect(result, found, advance)
    else:
        # spawned: this process may have threads, and a fork would take their locks along
        with multiprocessing.get_context("spawn").Pool(jobs) as pool:
            _collect(result, _bounded(pool, shares(), 2 * jobs), advance)
    result.seconds = time.monotonic() - began
    return result


def _bounded(pool, shares, most):
    """As pool.imap, but no more shares are drawn than are worked on."""
    waiting = []
    for share in shares:
        waiting.append(pool.apply_async(_play_some, (share,)))
        if len(waiting) >= most:
            yield waiting.pop(0).get()
    for one in waiting:
        yield one.get()


def _collect(result, found, advance):
    for done, bad, counts, cpu_s in found:
        result.add(done, bad, counts, cpu_s)
        advance(done)


def shrink(script, seconds=_SHRINK_S):
    """The same kind of failure with as few steps as can be found in that time."""
    until = time.monotonic() + seconds
    kind = _kind(play(script)[0])
    again = bool(kind)
    while again and time.monotonic() < until:
        again = False
        for step in script.steps:
            less = script.without({step.number})
            if kind & _kind(play(less)[0]):
                script, again = less, True
            if time.monotonic() > until:
                break
    return script


def _kind(wrong):
    return {line.split(" ")[0] for line in wrong}
