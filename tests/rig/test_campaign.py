"""Campaigns: the quick one holds, failures have ids that replay, shrink and become images."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drybag import journal
from drybag_host import cli
from drybag_host.emulator.rom.nor import NorFlash, NorPartition
from drybag_host.rig import campaign, ids, jobs, replay, results, shrink
from drybag_host.rig.device import workloads
from drybag_host.rig.errors import BadRigId, CannotJudge
from drybag_host.rig.forecast import Forecast, guess
from drybag_host.rig.jobs import Job

STATES = {"clean", "prefix", "bits", "neighbour", "unstable", "erase-none", "erase-zeroed",
          "erase-partial", "rot", "sector-gone", "worn", "worn-silent"}  # fmt: skip


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def bad():
    """The report of a variant that acknowledges before the flash has it."""
    return campaign.run_campaign("variant:ack-before-flush", workloads=["puts"], jobs=1,
                                 limit_failures=3)  # fmt: skip


def drybag(*words):
    return cli.main(["rig", *map(str, words)])


# --- the quick campaign ----------------------------------------------------------------------


def test_the_quick_campaign_holds():
    report = campaign.run_campaign("journal", "quick", 1)
    assert [f.id for f in report.failures] == []
    assert [(n.workload, n.why) for n in report.not_judged] == []
    assert report.distinct >= 5000
    assert set(report.by_kind) == STATES
    assert {"log header", "entry", "parity", "blob", "littlefs", "at rest"} <= set(report.by_place)
    assert set(report.by_depth) >= {"1", "2"}
    assert set(workloads.NAMED) | set(workloads.SEEDED) <= set(report.workloads)
    assert results.from_json(json.loads(json.dumps(report.to_json()))) == report


def test_a_full_campaign_has_every_workload_and_every_sequence():
    planned = list(jobs.full(1))
    names = {job.workload for job in planned}
    assert len([name for name in names if name.startswith("seq.")]) == 9 + 81 + 729
    assert set(workloads.NAMED) | set(workloads.SEEDED) <= names
    assert all(job.every == 1 and not job.budget for job in planned)
    for name in names:
        parts = sorted(job.part for job in planned if job.workload == name)
        assert parts == [(n, len(parts)) for n in range(len(parts))]


def test_a_sweep_that_would_be_the_very_same_again_is_left_out():
    """On a fresh volume there is nothing to update, to delete or to restore: each does nothing."""
    same = ["seq.put", "seq.update.put", "seq.delete.restore.put"]
    running = campaign.Campaign("journal", [Job(name) for name in [*same, "seq.put.put"]], 1)
    running.run()
    report = running.snapshot()
    states = [report.workloads[name].states for name in same]
    assert states[0] > 20 and states[1:] == [0, 0] and report.exit_code() == results.HELD
    assert report.total >= 3 * states[0] + report.workloads["seq.put.put"].states
    assert len(running.swept) == 2


def test_how_many_states_there_will_be_is_known_better_and_better():
    planned = dict(enumerate([Job("puts"), Job("seq.put.full"), Job("updates", budget=100)]))
    forecast = Forecast(planned)
    assert forecast.total() == int(sum(map(guess, planned.values()))) > 6000
    forecast.traced(0, 900)  # twice as many as was guessed
    assert forecast.total() == pytest.approx(2 * sum(map(guess, planned.values())), abs=1)
    for n in range(900):
        forecast.state("%dn1" % n) if n % 3 else forecast.equal()
    forecast.state("899n1:2c1")
    for number in planned:
        forecast.over(number)
    assert forecast.total() == forecast.booted == 601


@pytest.mark.parametrize("words, what", [
    (["--workload", "nosuch"], "no workload 'nosuch'"),
    (["--workload", "seq.put.nosuch"], "no operation 'nosuch'"),
    (["--workload", "puts!0-999"], "operation 0-999: there are"),
    (["--variant", "nosuch"], "no variant 'nosuch'"),
])  # fmt: skip
def test_a_name_that_does_not_exist_is_told_before_anything_runs(capsys, words, what):
    assert drybag("run", *words) == 2
    said = capsys.readouterr().err
    assert what in said and "there are" in said


@pytest.mark.parametrize("depth", [3, jobs.UNTIL_STABLE])
def test_recovery_is_cut_as_deep_as_asked(depth):
    report = campaign.run_campaign(
        "journal", "quick", jobs=1, workloads=["seq.put.update"], depth=depth
    )
    assert report.exit_code() == results.HELD
    assert int(max(report.by_depth, key=int)) >= 3


# --- failures --------------------------------------------------------------------------------


def test_a_bad_journal_fails_with_ids_that_fail_again(bad):
    assert bad.exit_code() == results.LOST
    for failure in bad.failures:
        steps, result = replay.replay(failure.id)
        assert result["failure"] == failure.what
        kinds = {step["kind"] for step in steps}
        assert {"operation", "cut", "command", "expected", "flash"} <= kinds
    row = bad.compared("bad")
    assert row["states"] == bad.distinct and sum(row[name] for name in results.COMPARED) >= 3


# a copy cut short lost its source to the recovery after it, and then counted as whole
CHAINS = ["4n41:9p831", "12b50:10c764", "1p11:12c114:0c362", "2n20:6b73:5b218:11b483:3c837"]


@pytest.mark.parametrize("path", CHAINS)
def test_copies_cut_short_one_after_the_other_lose_nothing(path):
    assert replay.replay("r1:journal:marginal:2026:" + path)[1]["failure"] is None


def test_the_same_state_holds_in_the_real_journal(bad):
    rig_id = ids.decode(bad.failures[0].id)._replace(subject="journal")
    steps, result = replay.replay(ids.encode(rig_id))
    assert result["failure"] is None
    assert {"stage", "recovery", "reads"} <= {step["kind"] for step in steps}


def test_shrink_finds_fewer_operations(bad):
    was = ids.decode(bad.failures[-1].id)
    best, what, tried = shrink.shrink(ids.encode(was), seconds=20)
    assert what and tried > 1
    assert len(best.cuts) <= len(was.cuts)
    keep = best.workload.partition("!")[2]
    assert keep and sum(len(range(*_ends(part))) for part in keep.split(",")) < 10
    assert replay.replay(ids.encode(best))[1]["failure"]


def _ends(part):
    first, _, last = part.partition("-")
    return int(first), int(last or first) + 1


def test_shrink_refuses_what_does_not_fail():
    with pytest.raises(CannotJudge, match="does not fail"):
        shrink.shrink("r1:journal:puts:1:5c1")


def test_an_image_boots_with_what_was_acknowledged(tmp_path):
    file = tmp_path / "pim.bin"
    assert drybag("image", "r1:journal:puts:1:22n10:3b1", file) == 0
    data = bytearray(file.read_bytes())
    assert len(data) == 24 * 4096
    j = journal.mount(NorPartition(NorFlash(len(data), data), 0, len(data)))
    assert j.count() in (27, 28) and j.get(1, b"old0").body.startswith(b"NOTE:0")
    assert drybag("image", "r1:journal:puts:1:22n10:3b1", file, "--depth", 3) == 2


def test_a_cut_that_is_not_there_is_named(capsys):
    with pytest.raises(BadRigId, match="there are"):
        replay.replay("r1:journal:puts:1:99999n1")
    assert drybag("replay", "r1:journal:nonsense:1:1n1") == 2
    assert "no workload 'nonsense'" in capsys.readouterr().err


# --- what cannot be judged -------------------------------------------------------------------

APP = """
def setup():
    pass

def step(n):
    %s

def check(acked):
    return None
"""

# five records take more memory than there is
HUNGRY = """
import os

def setup():
    pass

def step(n):
    with open("/%d" % n, "w") as f:
        f.write("x")
    return n

def check(acked):
    for n in acked:
        if str(n) not in os.listdir("/"):
            return "gone: %d" % n
    if len(acked) == 5:
        bytearray(8 << 20)
    return None
"""


@pytest.mark.parametrize("body, why", [
    ("raise KeyError(n)", "without any cut"),
    ("x = [bytearray(100000) for _ in range(100000)]", "memory"),
    ("while True: pass", "never ends"),
])  # fmt: skip
def test_a_workload_that_does_not_work_is_named(tmp_path, body, why):
    app = tmp_path / "app.py"
    app.write_text(APP % body)
    report = campaign.run_campaign("app:%s" % app, jobs=1, silence_s=2.0)
    assert report.exit_code() == results.NOT_JUDGED and report.distinct == 0
    assert why in report.not_judged[0].why and report.not_judged[0].hint


def test_a_state_that_finds_no_memory_is_the_only_one_not_judged(tmp_path):
    app = tmp_path / "app.py"
    app.write_text(HUNGRY)
    job = Job("steps", budget=80, letters=jobs.CUTS)
    running = campaign.Campaign("app:%s" % app, [job], 1, heap_bytes=4 << 20)
    running.run()
    report = running.snapshot()
    unjudged = [item for item in report.not_judged if "memory" in item.why]
    assert unjudged and all(item.id for item in unjudged)
    assert len(report.not_judged) == len(unjudged) < report.distinct


def test_a_worker_that_dies_leaves_that_state_not_judged(monkeypatch):
    killed = []

    def kill(kind, value):
        if kind == "state" and running.report.total == 0 and not killed and value.startswith("4"):
            killed.append(value)
            os.kill(running._lanes[0].worker._process.pid, signal.SIGKILL)

    running = campaign.Campaign("journal", [Job("seq.batch", budget=60)], 1, kill)
    running.run()
    report = running.snapshot()
    assert killed and report.exit_code() == results.NOT_JUDGED
    assert report.not_judged[0].id.startswith("r1:journal:seq.batch:1:")
    assert report.distinct > 20 and not report.failures


# --- stopping and going on -------------------------------------------------------------------


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_a_report_and_resume_goes_on(tmp_path, stop):
    words = ["--json", "rig", "run", "--jobs", "2", "--report", str(tmp_path / "report")]
    words += [word for name in ("undeletes", "updates") for word in ("--workload", name)]
    root = Path(__file__).resolve().parents[2]
    env = dict(os.environ, PYTHONPATH="%s:%s" % (root / "firmware/lib", root / "host"))
    command = [sys.executable, "-m", "drybag_host.cli"]
    running = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, env=env)
    saved = Path(os.environ["DRYBAG_HOME"]) / "rig" / "campaign.json"
    children = Path("/proc/%d/task/%d/children" % (running.pid, running.pid))
    while not children.read_text():  # its workers
        time.sleep(0.05)
    time.sleep(1)
    running.send_signal(stop)
    first = json.loads(running.communicate(timeout=60)[0])
    assert running.returncode == 130 and first["partial"] and saved.exists()
    assert json.loads((tmp_path / "report" / "report.json").read_text())["partial"]
    other = subprocess.run([*command, *words, "--seed", "5", "--resume"], env=env,
                           capture_output=True, timeout=60)  # fmt: skip
    assert other.returncode == 2 and b"other options" in other.stdout
    state = json.loads(saved.read_text())
    saved.write_text(json.dumps({**state, "plan": state["plan"] ^ 1}))
    other = subprocess.run([*command, *words, "--resume"], env=env, capture_output=True,
                           timeout=60)  # fmt: skip
    assert other.returncode == 2 and b"other jobs" in other.stdout
    saved.write_text(json.dumps(state))
    again = subprocess.run([*command, *words, "--resume"], env=env, capture_output=True,
                           timeout=300)  # fmt: skip
    last = json.loads(again.stdout)
    assert again.returncode == 0 and not last["partial"] and not saved.exists()
    assert last["states"]["distinct"] > first["states"]["distinct"]
    assert set(last["states"]["by_workload"]) == {"undeletes", "updates"}


def test_resume_of_nothing_is_named(capsys):
    assert drybag("run", "--resume") == 2
    assert "nothing to resume" in capsys.readouterr().err


@pytest.mark.parametrize("words, what", [
    (["--soak", "x"], "minutes, a number above 0"), (["--soak", "-1"], "a number above 0"),
    (["--jobs", "0"], "a whole number above 0"), (["--seed", "1.5"], "a whole number from 0"),
    (["--depth", "9"], "1 to 8, or until-stable"), (["--failures", "none"], "above 0"),
    (["--target", "emu:x", "--cuts", "few"], "a whole number above 0"),
])  # fmt: skip
def test_a_number_that_is_none_is_told_what_it_should_be(capsys, words, what):
    assert drybag("run", *words) == 2
    said = capsys.readouterr().err
    assert what in said and "'%s'" % words[-1] in said


def test_an_app_that_lacks_a_part_is_told_which(tmp_path, capsys):
    app = tmp_path / "app.py"
    app.write_text("def setup():\n    pass\n")
    assert drybag("run", "--app", app) == 3
    said = "".join(capsys.readouterr())
    assert "app.py has no function step()" in said and "check(acked)" in said
    assert "ValueError" not in said
