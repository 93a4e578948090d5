"""The same campaign over Drybag's journal and over what people write instead: one table.

All subjects are apps with the same steps (apps/steps.py), the same judge and the same cuts.
"""

from dataclasses import replace
from pathlib import Path

from drybag_host.rig import jobs as planning
from drybag_host.rig.campaign import Campaign, describe, processors
from drybag_host.rig.results import COMPARED, HELD, LOST, NOT_JUDGED, Report

APPS = Path(__file__).resolve().parent / "apps"
OURS = "Drybag's journal"
SUBJECTS = (
    (OURS, "drybag_journal"),
    ("append + flush to one file", "append_flush"),
    ("JSON rewritten in place", "json_rewrite"),
    ("JSON, temporary and rename", "json_rename"),
    ("one file a record", "file_per_record"),
)
COLUMNS = ("", ">states tried", ">mounts lost", ">records lost", ">torn shown", ">deleted back")


def compare(more=(), states=0, seed=1, workers=None, on_event=None):
    """Run all; returns the Report whose `comparison` is the table.

    `more`: further apps (paths). `states`: about so many of each workload (two an app), 0: all.
    Failures and what could not be judged are Drybag's alone; of the others the rows count them.
    """
    workers = workers or processors()
    total, seconds = Report(), 0.0
    subjects = [(title, str(APPS / (name + ".py"))) for title, name in SUBJECTS]
    subjects += [(Path(path).name, str(Path(path).resolve())) for path in more]
    for title, path in subjects:
        jobs = plan(states, seed)
        campaign = Campaign("app:" + path, jobs, workers, on_event)
        campaign.run()
        report = campaign.snapshot()
        seconds += campaign.seconds
        row = report.compared(title)
        row["not_judged"] = len(report.not_judged)
        total.comparison.append(row)
        if title == OURS:
            rows, report.comparison = total.comparison, []
            total = report
            total.comparison = rows
    describe(total, what="comparison", subject="journal", seed=seed, jobs=workers)
    total.run["seconds"] = round(seconds, 1)
    return total


def plan(states, seed, depth=1):
    """The jobs of one app; none of them stops at a failure."""
    mode = "quick" if states else "full"
    return [
        replace(job, budget=states, failures=0)
        for job in planning.app(planning.APP_WORKLOADS, mode, seed, depth)
    ]


def cells(rows):
    """The rows of the table, for `COLUMNS`."""
    return [
        (row["subject"], *("{:,}".format(row[key]) for key in ("states", *COMPARED)))
        for row in rows
    ]


def markdown(rows):
    """The table as the README has it."""
    head = [column.lstrip(">") for column in COLUMNS]
    lines = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    lines += ["| " + " | ".join(row) + " |" for row in cells(rows)]
    return "\n".join(lines)


def exit_code(report):
    """0 Drybag lost nothing, 1 it did, 3 some state of any subject could not be judged."""
    if report.failures:
        return LOST
    return NOT_JUDGED if any(row["not_judged"] for row in report.comparison) else HELD
