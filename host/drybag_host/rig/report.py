"""The reports of a run: one HTML page without a network, report.json, junit.xml."""

import json
import math
from pathlib import Path
from xml.etree import ElementTree

from jinja2 import Environment, FileSystemLoader, select_autoescape

from drybag_host.output import count_text, duration_text, printable
from drybag_host.rig.exposure import exposure
from drybag_host.rig.results import HELD, LOST, Report
from drybag_host.rig.tap import HOWS

_TEMPLATES = Path(__file__).parent / "templates"
_SHOWN = 300
_OPEN = 12
_COLUMNS = 32
_CELL = 20
_VERDICTS = {
    HELD: ("held", "All held", "Every state was judged, and everything acknowledged was there."),
    LOST: ("lost", "Something was lost", "At least one state lacks what had to be there."),
}
_NOT_JUDGED = (
    "unjudged", "Not all judged", "The rig could not judge everything: that is no pass.",
)  # fmt: skip
_NAMES = {
    "subject": "subject", "mode": "size", "workload": "workload",
    "depth": "depth of cuts", "seed": "seed", "jobs": "processes", "started": "started",
    "power": "power switch", "handset": "handset", "acknowledged": "operations acknowledged",
    "others": "records of others, untouched", "left": "left behind",
    "micropython": "MicroPython", "version": "Drybag",
}  # fmt: skip


def write_report(report, folder):
    """Write index.html, report.json and junit.xml into `folder`; the page's path. OSError."""
    if not report.exposure and report.places:
        report.exposure = exposure(report.places)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    document = report.to_json()
    (folder / "report.json").write_text(
        json.dumps(document, indent=1, default=str) + "\n", encoding="utf-8"
    )
    (folder / "junit.xml").write_bytes(junit(document))
    page = folder / "index.html"
    page.write_text(html(report), encoding="utf-8", errors="replace")
    return page


# -- JUnit ----------------------------------------------------------------------------------------


def junit(document):
    """The run as JUnit XML (bytes): a case for each workload, failure and thing not judged."""
    states, run = document["states"], document["run"]
    failures, unjudged = document["failures"], document["not_judged"]
    failed = {failure["workload"] for failure in failures}
    passed = [name for name in states["by_workload"] if name not in failed]
    suite = ElementTree.Element(
        "testsuite",
        name="drybag rig: %s" % printable(run.get("subject", "")),
        tests=str(len(passed) + len(failures) + len(unjudged)),
        failures=str(len(failures)),
        errors=str(len(unjudged)),
        skipped="0",
        time="%.3f" % run.get("seconds", 0),
        timestamp=printable(run.get("started", "")).rstrip("Z"),
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in run.items():
        ElementTree.SubElement(
            properties, "property", name=printable(name), value=printable(value)
        )
    for name in passed:
        _case(suite, name, name)
    for failure in failures:
        case = _case(suite, failure["workload"], failure["id"])
        node = ElementTree.SubElement(
            case, "failure", type=printable(failure["what"]), message=printable(failure["what"])
        )
        node.text = "\n".join(
            "%s: %s" % (key, printable(failure[key])) for key in ("id", "expected", "found")
        )
    for item in unjudged:
        case = _case(suite, item["workload"], item["id"] or "not judged")
        why = printable(item["why"])
        node = ElementTree.SubElement(case, "error", type="not judged", message=why)
        node.text = printable(item["hint"])
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, "utf-8", xml_declaration=True) + b"\n"


def _case(suite, workload, name):
    return ElementTree.SubElement(
        suite, "testcase", classname="drybag.rig.%s" % printable(workload), name=printable(name)
    )


# -- the page -------------------------------------------------------------------------------------


def html(report: Report) -> str:
    """The page as text."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=select_autoescape(), trim_blocks=True,
        lstrip_blocks=True, finalize=lambda value: printable(value) if isinstance(value, str)
        and not hasattr(value, "__html__") else value,
    )  # fmt: skip
    environment.filters["number"] = "{:,}".format
    environment.filters["percent"] = _percent
    environment.filters["count"] = count_text
    page = environment.get_template("report.html")
    style = (_TEMPLATES / "report.css").read_text(encoding="utf-8")
    run = report.run
    is_board = run.get("what") == "board"
    charts = _charts(report, is_board)
    return page.render(
        style=style,
        run=run,
        is_board=is_board,
        subjects=not is_board and len({w.subject for w in report.workloads.values()}) > 1,
        hows=HOWS,
        shown=_OPEN,
        verdict=_VERDICTS.get(report.exit_code(), _NOT_JUDGED),
        partial=report.partial,
        numbers=_numbers(report, is_board),
        facts=[(_NAMES[k], run[k]) for k in _NAMES if run.get(k) not in (None, "")],
        charts=charts,
        workloads=_workloads(report, is_board),
        flash=_flash(report.sectors),
        exposure=_exposure(report.exposure),
        failures=report.failures[:_SHOWN],
        failures_total=len(report.failures),
        not_judged=report.not_judged[:_SHOWN],
        not_judged_total=len(report.not_judged),
        comparison=report.comparison,
    )


def _percent(share):
    text = "%.1f" % (100 * share)
    return ("< 0.1" if text == "0.0" and share else text) + " %"


def _numbers(report, is_board):
    """The large figures at the top: (value, what it is)."""
    seconds = report.run.get("seconds") or 0
    numbers = [("{:,}".format(report.total), "cuts" if is_board else "flash states")]
    word = "judged" if is_board else "distinct, booted and judged"
    numbers.append(("{:,}".format(report.distinct), word))
    numbers.append(("{:,}".format(len(report.failures)), "failures"))
    if report.not_judged:
        numbers.append(("{:,}".format(len(report.not_judged)), "not judged"))
    if seconds:
        numbers.append((duration_text(seconds), "time"))
        if not is_board:
            numbers.append(("{:,.0f}".format(report.distinct / seconds), "states a second"))
    return numbers


def _charts(report, is_board):
    """[(title, note, rows)] of bars; a row is (name, count, share of the longest in per cent)."""
    titles = [
        ("States by kind", "how the flash command under way was left", report.by_kind),
        ("Where cuts fell" if is_board else "States by place",
         "what the flash was doing" if is_board else "what was being written",
         report.cuts_seen if is_board else report.by_place),
        ("Depth", "1: a cut at work; 2: a cut in the recovery after it; and so on",
         report.by_depth if len(report.by_depth) > 1 else {}),
    ]  # fmt: skip
    return [(title, note, _bars(counts)) for title, note, counts in titles if counts]


def _bars(counts):
    most = max(counts.values()) or 1
    rows = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    return [(name, count, max(0.4, 100 * count / most) if count else 0) for name, count in rows]


def _workloads(report, is_board):
    rows = []
    # those that failed first, then those with most states
    for name, row in sorted(
        report.workloads.items(), key=lambda item: (-item[1].failed, -item[1].states, item[0])
    ):
        rows.append((HOWS.get(name, name) if is_board else name, row))
    return rows


def _exposure(found):
    """The exposure with bar lengths, in per cent of the longest place."""
    if not found:
        return None
    most = max(row["program_ms"] + row["erase_ms"] for row in found["places"]) or 1
    rows = [
        {
            **row,
            "program_width": 100 * row["program_ms"] / most,
            "erase_width": 100 * row["erase_ms"] / most,
        }
        for row in found["places"]
    ]
    return {**found, "rows": rows}


def _flash(sectors):
    """Geometry of the picture: cells of every sector up to the last that was touched."""
    if not sectors:
        return None
    count = max(sectors) + 1
    columns = min(_COLUMNS, max(12, math.ceil(math.sqrt(count * 2))))
    most_cuts = max(s.cuts for s in sectors.values()) or 1
    wear = {number: s.erases for number, s in sectors.items()}
    most_wear = max(wear.values()) or 1
    room = _CELL - 6
    cells = []
    for number in range(count):
        sector = sectors.get(number)
        cell = {"x": number % columns * _CELL, "y": number // columns * _CELL, "verdict": "none"}
        cell["title"] = "sector %d: no cut" % number
        if sector is not None:
            cell["verdict"] = "bad" if sector.failed else "good" if sector.cuts else "none"
            cell["cuts"] = round(room * math.sqrt(sector.cuts / most_cuts), 1)
            cell["wear"] = round(room * wear[number] / most_wear, 1)
            cell["title"] = "sector %d: %s, %s, %s, %d failed" % (
                number, count_text(sector.cuts, "cut"), count_text(sector.erases, "erase"),
                count_text(sector.programs, "program"), sector.failed,
            )  # fmt: skip
        cells.append(cell)
    touched = sum(1 for s in sectors.values() if s.cuts)
    return {
        "cells": cells, "cell": _CELL, "width": columns * _CELL,
        "height": math.ceil(count / columns) * _CELL, "most_cuts": most_cuts,
        "most_wear": max(wear.values()), "count": count, "touched": touched,
        "failed": sum(1 for s in sectors.values() if s.failed),
        "most_px": columns * (34 if count > 96 else 46),
    }  # fmt: skip
