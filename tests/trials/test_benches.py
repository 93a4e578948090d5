"""The benchmarks of sync and hub in their small form, and what they must reach on any computer."""

import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools" / "benches"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(TOOLS))

    def load(name):
        import importlib

        sys.modules.pop(name, None)
        return importlib.import_module(name)

    return load


def test_what_a_sync_costs(bench):
    module = bench("sync")
    result = module.run(quick=True)
    assert result["round_trips"] == module.LIMITS["round_trips"]
    assert result["bytes_up"] < module.LIMITS["bytes_up"]
    for side in (result, result["tls"]):
        assert side["idle_poll_bytes_up"] < module.LIMITS["idle_poll_bytes"]
        assert side["idle_poll_bytes_down"] < module.LIMITS["idle_poll_bytes"]
    assert result["carddav"]["round_trips"] == 20
    assert result["carddav"]["bytes_up_per_record"] > 2 * result["bytes_up_per_record"]
    module.table(result)


def test_what_a_hub_takes(bench):
    module = bench("hub")
    result = module.run(quick=True)
    assert result["batches"]["entries"] > 500 and result["one_by_one"]["entries"] > 50
    assert result["batches"]["cpu_ms_per_entry"] < 1.0
    assert result["memory"]["mib"] < result["memory"]["before_mib"] + 60
    assert result["carddav"]["entries_per_second"] > 1
    module.table(result)
