"""What a campaign found: pure data, the same for the journal, its variants, apps and boards.

`Report` is filled by whoever runs something, and read by the reports and the comparison.
"""

from dataclasses import dataclass, field

HELD, LOST, NOT_JUDGED = 0, 1, 3

# what can be wrong with a state, and the column of the comparison that counts it
KINDS = {
    "mount lost": "mounts_lost",
    "record lost": "records_lost",
    "torn record shown": "torn_shown",
    "deleted came back": "deleted_back",
    "never written appears": "torn_shown",
    "deletion lost before the hub had it": "deleted_back",
    "base of an edit lost": "records_lost",
    "write refused after recovery": "mounts_lost",
    "recovery differs": "records_lost",
    "damage not reported": "records_lost",
}
COMPARED = ("mounts_lost", "records_lost", "torn_shown", "deleted_back")


@dataclass
class Failure:
    """One state in which something that must hold did not. `what` is one of KINDS."""

    id: str
    workload: str
    what: str
    expected: str = ""
    found: str = ""


@dataclass
class NotJudged:
    """Something that could not be judged: never counted as passed."""

    workload: str
    why: str
    hint: str = ""
    id: str = ""


@dataclass
class WorkloadResult:
    cuts: int = 0
    states: int = 0
    failed: int = 0
    subject: str = "journal"


@dataclass
class SectorResult:
    cuts: int = 0
    erases: int = 0
    programs: int = 0
    failed: int = 0


@dataclass
class Report:
    """A whole run. `run`: what, subject, mode, seed, jobs, depth, started, seconds, version and
    micropython.

    `total` counts every state that the cuts gave, `distinct` those that were booted and judged
    (equal ones once). `places`: {place: {"programs", "programmed_bytes", "erases"}} of the
    workloads, for the exposure model; `cuts_seen` (boards): {"erase"|"program"|"idle": n}.
    """

    run: dict = field(default_factory=dict)
    total: int = 0
    distinct: int = 0
    boots: int = 0
    by_kind: dict = field(default_factory=dict)
    by_place: dict = field(default_factory=dict)
    by_depth: dict = field(default_factory=dict)
    workloads: dict = field(default_factory=dict)
    sectors: dict = field(default_factory=dict)
    places: dict = field(default_factory=dict)
    cuts_seen: dict = field(default_factory=dict)
    failures: list = field(default_factory=list)
    not_judged: list = field(default_factory=list)
    comparison: list = field(default_factory=list)
    exposure: dict = field(default_factory=dict)
    partial: bool = False

    def exit_code(self):
        """0 all held, 1 something was lost, 3 the rig could not judge all of it."""
        if self.failures:
            return LOST
        return NOT_JUDGED if self.not_judged else HELD

    def compared(self, subject):
        """This run as one row of the comparison table."""
        row = {"subject": subject, "states": self.distinct, **dict.fromkeys(COMPARED, 0)}
        for failure in self.failures:
            row[KINDS[failure.what]] += 1
        return row

    def to_json(self):
        """A JSON-able dict with the keys that the reports show."""
        return {
            "run": dict(self.run),
            "states": {
                "total": self.total,
                "distinct": self.distinct,
                "boots": self.boots,
                "by_kind": dict(self.by_kind),
                "by_place": dict(self.by_place),
                "by_depth": dict(self.by_depth),
                "by_workload": {name: vars(w) for name, w in sorted(self.workloads.items())},
            },
            "sectors": [
                {"sector": n, **vars(sector)} for n, sector in sorted(self.sectors.items())
            ],
            "places": dict(self.places),
            "cuts_seen": dict(self.cuts_seen),
            "failures": [vars(f) for f in self.failures],
            "not_judged": [vars(n) for n in self.not_judged],
            "comparison": list(self.comparison),
            "exposure": dict(self.exposure),
            "partial": self.partial,
            "exit_code": self.exit_code(),
        }


def merge(report, other):
    """Add what `other` found (a part of the same run) to `report`."""
    report.total += other.total
    report.distinct += other.distinct
    report.boots += other.boots
    for mine, theirs in (
        (report.by_kind, other.by_kind), (report.by_place, other.by_place),
        (report.by_depth, other.by_depth), (report.cuts_seen, other.cuts_seen),
    ):  # fmt: skip
        for name, count in theirs.items():
            mine[name] = mine.get(name, 0) + count
    for mine, theirs, kind in (
        (report.workloads, other.workloads, WorkloadResult),
        (report.sectors, other.sectors, SectorResult),
    ):
        for name, result in theirs.items():
            mine[name] = _sum(mine.get(name, kind()), result)
    for place, counts in other.places.items():
        mine = report.places.setdefault(place, {})
        for name, count in counts.items():
            mine[name] = mine.get(name, 0) + count
    report.failures += other.failures
    report.not_judged += other.not_judged
    report.partial = report.partial or other.partial


def _sum(one, other):
    values = {
        name: value + getattr(one, name) if isinstance(value, int) else value
        for name, value in vars(other).items()
    }
    return type(one)(**values)


def from_json(document):
    """The Report that `to_json` made a document of. Raises KeyError, TypeError on others."""
    states = document["states"]
    return Report(
        run=document["run"],
        total=states["total"],
        distinct=states["distinct"],
        boots=states["boots"],
        by_kind=states["by_kind"],
        by_place=states["by_place"],
        by_depth=states["by_depth"],
        workloads={name: WorkloadResult(**w) for name, w in states["by_workload"].items()},
        sectors={s.pop("sector"): SectorResult(**s) for s in map(dict, document["sectors"])},
        places=document["places"],
        cuts_seen=document["cuts_seen"],
        failures=[Failure(**f) for f in document["failures"]],
        not_judged=[NotJudged(**n) for n in document["not_judged"]],
        comparison=document["comparison"],
        exposure=document["exposure"],
        partial=document["partial"],
    )
