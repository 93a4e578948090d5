"""From the lines of workers to a Report: pure."""

from drybag_host.rig import ids
from drybag_host.rig.device import plan
from drybag_host.rig.results import Failure, NotJudged, Report, SectorResult, WorkloadResult


class Collector:
    """Fills `report` with one job's lines. `seen`: the keys of all states of the campaign, so that
    equal ones count once."""

    def __init__(self, subject, seen):
        self.report = Report()
        self.subject = subject
        self.seen = seen

    def workload(self, job):
        return self.report.workloads.setdefault(
            job.workload, WorkloadResult(subject=self.subject)
        )

    def sector(self, number):
        return self.report.sectors.setdefault(int(number), SectorResult())

    def traced(self, job, value):
        """'#': what the workload does to the flash, and how many states are known already."""
        self.report.total += value["equal"]
        if job.part[0] == 0:
            self.workload(job).cuts += value["commands"]
        for place, (programs, size, erases) in value["flash"]["places"].items():
            count = self.report.places.setdefault(
                place, {"programs": 0, "programmed_bytes": 0, "erases": 0}
            )
            count["programs"] += programs
            count["programmed_bytes"] += size
            count["erases"] += erases
        for number, (erases, programs) in value["flash"]["sectors"].items():
            self.sector(number).erases += erases
            self.sector(number).programs += programs

    def state(self, job, value):
        """'@': a state is about to be booted. Returns its path and sector."""
        path, _, rest = value.partition(" ")
        place, sector, key = rest.rsplit("/", 2)
        self.report.total += 1
        number = int(key, 16)
        if number not in self.seen:
            self.seen.add(number)
            self.report.distinct += 1
            self.workload(job).states += 1
            letter = path.rsplit(":", 1)[-1].lstrip("0123456789")[0]
            _count(self.report.by_kind, plan.LETTERS[letter])
            _count(self.report.by_place, place)
            _count(self.report.by_depth, str(path.count(":") + 1))
            self.sector(sector).cuts += 1
        return path, int(sector)

    def equal(self):
        """'~': known already."""
        self.report.total += 1

    def failure(self, job, value, sector):
        """'!': something that must hold did not. Returns the Failure."""
        failure = Failure(
            ids.of_path(self.subject, job.workload, job.seed, value["path"]), job.workload,
            value["what"], str(value["expected"]), str(value["found"]),
        )  # fmt: skip
        self.workload(job).failed += 1
        if sector is not None:
            self.sector(sector).failed += 1
        self.report.failures.append(failure)
        return failure

    def not_judged(self, job, why, hint="", path=""):
        """Something that the rig could not judge."""
        word = ids.of_path(self.subject, job.workload, job.seed, path) if path else ""
        self.report.not_judged.append(NotJudged(job.workload, why, hint, word))

    def done(self, job, value):
        """'=': the job is over."""
        self.report.boots += value.get("boots", 0)


def _count(counts, name):
    counts[name] = counts.get(name, 0) + 1
