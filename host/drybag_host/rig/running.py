"""`drybag rig run` on the emulated flash: progress, Ctrl-C, resume, the report."""

import json
import time
from binascii import crc32

from drybag_host.emulator.files import drybag_home, write_json
from drybag_host.errors import Usage
from drybag_host.output import count_text, duration_text
from drybag_host.rig import campaign as campaigns
from drybag_host.rig import results
from drybag_host.rig.forecast import Forecast

SAVE_EVERY_S = 5.0
_FORECAST_EVERY_S = 0.5
INTERRUPTED = 130
_STATE_VERSION = 3
_FRESH = "run without --resume"


class Runner:
    """One `drybag rig run`. `spec` says all that the jobs follow from."""

    def __init__(self, out, spec, workers=None, folder=None, resume=False):
        self.out = out
        self.spec = spec
        self.folder = folder
        self.workers = workers or campaigns.processors()
        self.path = drybag_home() / "rig" / "campaign.json"
        before = self._load() if resume else (results.Report(), (), (), None)
        report, finished, swept, plan = before
        self.resumed = len(finished)
        self.before_s = report.run.get("seconds", 0)
        jobs = self._planned(set(finished))
        if plan not in (None, self.plan):
            raise Usage("the campaign that was stopped had other jobs: it was planned by another "
                        "version of the rig", _FRESH)  # fmt: skip
        self.campaign = campaigns.Campaign(
            spec["subject"], jobs, self.workers, self._event, report=report,
            finished=finished, swept=swept, most_failures=spec["most_failures"],
        )  # fmt: skip
        started = report.run.get("started")
        campaigns.describe(report, what="campaign", **spec, jobs=self.workers)
        report.run["started"] = started or report.run["started"]
        self._saved = time.monotonic()
        self._forecast_at = 0.0
        self._progress = None
        self._until = self._saved + 60 * spec["minutes"] if spec["minutes"] else None

    def _planned(self, finished):
        """The jobs, with a forecast of those that are left where they have an end."""
        spec = self.spec
        jobs = campaigns.plan_jobs(
            spec["subject"], spec["mode"], spec["seed"], spec["depth"], spec["workloads"]
        )
        if spec["mode"] == "soak":
            self.forecast = Forecast({})
            self.plan = 0
            return jobs
        jobs = list(jobs)
        self.plan = crc32(repr(jobs).encode())
        self.forecast = Forecast({n: job for n, job in enumerate(jobs) if n not in finished})
        return jobs

    # -- resume --------------------------------------------------------------------------------
    def _load(self):
        """(report so far, numbers of the jobs that are done, keys of their sweeps, the plan)."""
        try:
            state = json.loads(self.path.read_text())
            if state["version"] != _STATE_VERSION:
                raise Usage("%s is of another version of the rig" % self.path, _FRESH)
            if state["spec"] != self.spec:
                raise Usage(
                    "the campaign that was stopped had other options: " + _options(state["spec"]),
                    "give the same options with --resume, or run without it",
                )
            report = results.from_json(state["report"])
            return report, state["finished"], state["swept"], state["plan"]
        except FileNotFoundError:
            raise Usage("no campaign was stopped: nothing to resume", _FRESH) from None
        except (ValueError, KeyError, TypeError) as error:
            raise Usage("%s cannot be read: %r" % (self.path, error), _FRESH) from None

    def save(self):
        """What is needed to go on: the jobs that are done and what they found."""
        report = self.campaign.report
        report.run["seconds"] = self._seconds()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, {
            "version": _STATE_VERSION, "spec": self.spec, "plan": self.plan,
            "report": report.to_json(),
            "finished": sorted(self.campaign.finished), "swept": sorted(self.campaign.swept),
        })  # fmt: skip
        self._saved = time.monotonic()

    # -- running -------------------------------------------------------------------------------
    def run(self):
        """Run to the end, to the failures asked for or to Ctrl-C; returns the exit code."""
        interrupted = False
        self._began = time.monotonic()
        if self.resumed:
            self.out.say("going on: %s judged and %s done before" % (
                count_text(self.campaign.report.distinct, "state"),
                count_text(self.resumed, "job"),
            ))  # fmt: skip
        with self.out.progress("states", None, "state") as self._progress:
            try:
                self.campaign.run()
            except KeyboardInterrupt:
                interrupted = True
        report = self.campaign.snapshot()
        report.run["seconds"] = self._seconds()
        over = self.campaign.stop and not self._until
        report.partial = interrupted or over or (report.partial and not self._until)
        if interrupted:
            self.save()
        else:
            self.path.unlink(missing_ok=True)
        self._tell(report, interrupted)
        return INTERRUPTED if interrupted and not report.failures else report.exit_code()

    def _seconds(self):
        return round(self.before_s + time.monotonic() - self._began, 1)

    def _event(self, kind, value):
        forecast = self.forecast
        if kind == "state":
            forecast.state(value)
            self._progress.advance()
        elif kind == "equal":
            forecast.equal()
        elif kind == "traced":
            forecast.traced(*value)
        elif kind == "failure":
            self.out.line("FAILED %s  %s" % (value.id, value.what))
        elif kind == "not judged":
            self.out.warn("not judged: %s: %s" % (value.id or value.workload, value.why))
        elif kind == "job":
            forecast.over(value)
            if time.monotonic() - self._saved > SAVE_EVERY_S:
                self.save()
        if self._until and time.monotonic() > self._until:
            self.campaign.stop = True
        if time.monotonic() - self._forecast_at > _FORECAST_EVERY_S:
            self._forecast_at = time.monotonic()
            self._set_total()

    def _set_total(self):
        """The best guess of how many states there will be."""
        progress, total = self._progress, self.forecast.total()
        if self._until:
            spent = max(1.0, time.monotonic() - self._began)
            total = int(progress.done / spent * (self._until - self._began))
        progress.set_total(max(total, progress.done + 1))

    # -- telling -------------------------------------------------------------------------------
    def _tell(self, report, interrupted):
        document = report.to_json()
        self.out.document(document)
        if self.folder:
            from drybag_host.rig.report import write_report

            page = write_report(report, self.folder)
            self.out.document({"report": str(page)})
            self.out.line("report: %s" % page)
        rate = report.distinct / max(report.run["seconds"], 0.001)
        self.out.document({"states_per_second": round(rate, 1)})
        for failure in report.failures[:20]:
            self.out.line("%s\n  %s in %s\n  expected %s\n  found    %s" % (
                failure.id, failure.what, failure.workload, failure.expected, failure.found,
            ))  # fmt: skip
        for item in report.not_judged[:20]:
            self.out.line("not judged: %s: %s\n  %s" % (
                item.id or item.workload, item.why, item.hint))  # fmt: skip
        self.out.line(summary(report))
        if report.failures:
            self.out.say("'drybag rig replay ID' shows one step by step")
        if interrupted:
            self.out.say("stopped: the same command with --resume goes on")


def summary(report):
    """One line: how many states, how fast, what became of them."""
    seconds = report.run["seconds"]
    boots = "{:,} boots, ".format(report.boots) if report.boots >= report.distinct else ""
    text = "%s judged (%s given, equal ones once), %sin %s: %.0f a second" % (
        count_text(report.distinct, "state"), "{:,}".format(report.total), boots,
        duration_text(seconds), report.distinct / max(seconds, 0.001),
    )  # fmt: skip
    verdict = []
    if report.failures:
        failed = count_text(len(report.failures), "state")
        verdict.append(failed + " in which something was lost")
    if report.not_judged:
        verdict.append("%s not judged" % count_text(len(report.not_judged), "case"))
    if not verdict:
        verdict.append("in all everything held" if report.distinct else "nothing was judged")
    return text + "; " + ", ".join(verdict) + (" (stopped early)" if report.partial else "")


def _options(spec):
    return ", ".join("%s %s" % (name, value) for name, value in spec.items() if value)


__all__ = ["INTERRUPTED", "Runner", "summary"]
