"""Drybag beside what people write: the same steps, the same cuts, one table."""

import json

import pytest

from drybag_host import cli
from drybag_host.rig import comparison
from drybag_host.rig.apps import steps
from drybag_host.rig.results import HELD, LOST, NOT_JUDGED, Report

LAZY = """
def setup():
    global kept
    kept = []

def step(n):
    kept.append(n)  # it means to write them some day
    open("/x", "w").close()
    return n

def check(acked):
    return ["record lost: %d" % n for n in acked if n not in kept]
"""


@pytest.fixture(scope="module")
def report():
    return comparison.compare(states=150)


def test_drybag_loses_nothing_and_the_others_do(report):
    rows = {row["subject"]: row for row in report.comparison}
    ours = rows.pop(comparison.OURS)
    assert ours["states"] > 150
    assert not any(ours[key] for key in comparison.COMPARED)
    assert len(rows) == 4
    for row in rows.values():
        assert row["states"] > 150 and not row["not_judged"]
        assert sum(row[key] for key in comparison.COMPARED) < row["states"] / 2
    assert sum(row["records_lost"] for row in rows.values()) > 0
    assert comparison.exit_code(report) == HELD
    assert report.run["subject"] == "journal" and report.run["seconds"] > 0


def test_the_table_as_markdown(report):
    lines = comparison.markdown(report.comparison).split("\n")
    assert len(lines) == 2 + 5
    assert lines[0].startswith("|  | states tried | mounts lost |")
    assert lines[2].startswith("| Drybag's journal | ") and lines[2].endswith(" | 0 | 0 | 0 | 0 |")
    assert {line.count("|") for line in lines} == {7}


def test_ones_own_app_stands_beside_them(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(comparison, "SUBJECTS", comparison.SUBJECTS[:1])
    (tmp_path / "lazy.py").write_text("SECTORS = 8\nSTEPS = 5\n" + LAZY)
    words = ["rig", "compare", "--app", str(tmp_path / "lazy.py"), "--states", "20", "--jobs", "2"]
    assert cli.main([*words, "--json"]) == 0
    ours, lazy = json.loads(capsys.readouterr().out)["comparison"]
    assert lazy["subject"] == "lazy.py" and ours["subject"] == comparison.OURS
    assert lazy["records_lost"] > 10 and not ours["records_lost"]
    assert cli.main([*words, "--report", str(tmp_path / "report")]) == 0
    assert "lazy.py" in capsys.readouterr().out
    assert "lazy.py" in (tmp_path / "report" / "index.html").read_text()


def test_an_app_that_is_not_there(tmp_path, capsys):
    assert cli.main(["rig", "compare", "--app", str(tmp_path / "nosuch.py")]) == 23
    assert "no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("failures", "not_judged", "code"), [([], 0, HELD), (["x"], 1, LOST), ([], 2, NOT_JUDGED)]
)
def test_the_exit_code(failures, not_judged, code):
    report = Report(failures=failures, comparison=[{"not_judged": not_judged}])
    assert comparison.exit_code(report) == code


# --- the judge that all of them share --------------------------------------------------------


def after(acked):
    """What a way without fault holds after these steps."""
    found = {}
    for n in acked:
        uid, text = steps.operation(n)
        found.pop(uid, None)
        if text is not None:
            found[uid] = text
    return found


def test_the_judge_accepts_what_was_asked_for_and_what_was_cut_short():
    assert [n for n in range(60) if steps.operation(n)[1] is None] == list(range(6, 60, 7))
    for count in range(60):
        acked = list(range(count))
        assert steps.problems(acked, after(acked)) == []
        assert steps.problems(acked, after([*acked, count])) == []
        skipped = [*acked, count + 1]
        assert steps.problems(skipped, after(skipped)) == []
        assert steps.problems(skipped, after([*skipped[:-1], count, count + 1])) == []


def test_the_judge_names_what_is_wrong():
    acked = list(range(30))
    good = after(acked)
    uid, newest = steps.operation(29)
    assert steps.problems(acked, {**good, uid: None})[0].startswith("record lost: " + uid)
    for text in (newest[:-3], newest + "x", ""):
        said = steps.problems(acked, {**good, uid: text})
        assert said[0].startswith("torn record shown: " + uid)
    assert steps.problems(acked, {**good, "r99": "x"})[0].startswith("torn record shown: r99")
    gone = next(n for n in range(29, 0, -1) if steps.operation(n)[1] is None)
    uid = steps.operation(gone)[0]
    assert uid not in good
    was = [steps.operation(n)[1] for n in range(gone) if steps.operation(n)[0] == uid]
    assert steps.problems(acked, {**good, uid: was[0]})[0].startswith("deleted came back: " + uid)
