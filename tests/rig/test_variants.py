"""Does the rig catch anything? Every known-bad variant of journal and sync must be caught."""

import json

import pytest

from drybag_host import cli
from drybag_host.errors import Usage
from drybag_host.rig import gate, ids, replay
from drybag_host.rig.device import variants, workloads_sync
from drybag_host.rig.jobs import CUTS, Job
from drybag_host.rig.process import Worker


def test_every_variant_is_caught_and_the_journal_holds_there():
    rows = gate.run_gate()
    missed = [(row.variant, row.workload, row.states, row.not_judged) for row in rows
              if not row.caught]  # fmt: skip
    assert not missed
    assert len(rows) >= 14
    assert gate.exit_code(rows) == gate.CAUGHT
    assert len({row.what for row in rows}) == len(rows)


def test_the_id_that_caught_a_variant_replays_it():
    row = gate.try_variant("crc-over-header-only")
    steps, result = replay.replay(row.id)
    assert result["failure"] == row.failure
    assert any(step["kind"] == "cut" for step in steps)
    rig_id = ids.decode(row.id)._replace(subject="journal")
    assert replay.replay(ids.encode(rig_id))[1]["failure"] is None


def test_a_variant_that_no_state_shows_is_told(monkeypatch):
    monkeypatch.setitem(variants.WORKLOADS, "batch-without-commit", ("undeletes", (0, 1)))
    row = gate.try_variant("batch-without-commit")
    assert not row.caught and not row.id and row.states > 20
    assert gate.exit_code([row]) == gate.MISSED
    assert "NOT CAUGHT" in gate.table([row])[1][0]


def test_a_variant_whose_workload_cannot_run_is_not_judged(monkeypatch):
    monkeypatch.setitem(variants.WORKLOADS, "no-crc", ("no such workload", (0, 1)))
    row = gate.try_variant("no-crc")
    assert not row.caught and "no such workload" in row.not_judged
    assert gate.exit_code([row]) == gate.NOT_JUDGED


def test_each_workload_that_syncs_has_variants_of_its_own():
    """What is wrong there shows as a wrong record, not as a patch that does not fit."""
    for workload in workloads_sync.NAMED:
        of_it = [name for name, row in variants.WORKLOADS.items() if row[0] == workload]
        assert len(of_it) >= 2, workload
    job = Job("sync-merge", 1, letters=CUTS, failures=1)
    for name in ("merge-takes-one-side", "merged-taken-for-own", "change-over-unsent-edit"):
        with Worker("variant:" + name) as worker:
            said = [value["why"] for mark, value in worker.ask(job.command()) if mark == "?"]
        assert len(said) == 1 and "record lost" in said[0] and "both0" in said[0]


def test_an_unknown_variant_is_named():
    with pytest.raises(Usage, match="no variant 'nosuch'"):
        gate.run_gate(["nosuch"])
    with pytest.raises(ValueError, match="no variant 'nosuch': there are ack-before-flush"):
        variants.apply("nosuch")


def test_the_command(capsys):
    assert cli.main(["rig", "gate", "--variant", "no-crc", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (row,) = document["variants"]
    assert row["part"] == "journal"
    assert row["caught"] and row["id"].startswith("r1:variant%3Ano-crc:puts:1:")
    assert document["exit_code"] == 0


def test_the_table_says_what_the_variants_are_of():
    rows = [gate.Row(name, variants.part_of(name), "", "puts") for name in variants.VARIANTS]
    assert gate.title(rows) == "Known-bad variants of journal and sync"
    of_sync = [row for row in rows if row.part == "sync"]
    assert {row.variant for row in of_sync} >= {"agreed-before-answer", "reset-forgotten"}
    assert "no-crc" not in {row.variant for row in of_sync}
    assert gate.title(of_sync) == "Known-bad variants of sync"
