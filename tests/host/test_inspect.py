"""Inspect: what it says of a flash is what stands there, of any bytes."""

import json
from xml.etree import ElementTree

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from salvage_flash import full_pim, overwrite

from drybag_host import cli
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.image.inspecting import CELLS, Inspection, svg


@pytest.fixture(scope="module")
def image():
    return full_pim(sectors=48)[0]


def inspect(capsys, *words):
    assert cli.main(["inspect", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_sector_has_its_cell(image, tmp_path, capsys):
    path = tmp_path / "pim.bin"
    path.write_bytes(image)
    found = inspect(capsys, path, "--entries", "--svg", tmp_path / "f.svg")
    assert sum(found["sectors"].values()) == 48 and found["sectors"]["log"] > 20
    assert found["sectors"]["blob"] and not found["sectors"].get("harmed")
    assert found["journal"]["filesystem"] == "ok" and found["problem"] is None
    assert len(found["entries"]) == sum(s["entries"] for s in found["segments"])
    root = ElementTree.parse(tmp_path / "f.svg").getroot()
    assert len(root.findall("{*}rect")) == 48 + len(CELLS)


def test_damage_shows(image, tmp_path, capsys):
    path = tmp_path / "pim.bin"
    harmed = bytearray(image)
    for at in range(300, len(harmed), 4096):
        harmed[at : at + 1500] = bytes(1500)
    path.write_bytes(harmed)
    assert Inspection(str(path)).counts["harmed"] + Inspection(str(path)).counts["bad_blob"] > 3
    path.write_bytes(overwrite(image, 60, 1)[0])
    assert cli.main(["inspect", str(path)]) == 0
    assert "segments missing" in capsys.readouterr().out
    assert Inspection(str(path)).counts["other"] > 20


def test_of_a_whole_flash_and_a_stopped_board(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path / "home"))
    board = EmulatedBoard.create("i", files_in_vfs={})
    found = inspect(capsys, board.image, "--tree")
    assert "pim" in [row["label"] for row in found["partitions"]]
    assert inspect(capsys, "emu:i")["sectors"] == found["sectors"] == {"blank": 384}
    assert cli.main(["inspect", "emu:i", "--tree", "--entries"]) == 0
    assert "erased" in capsys.readouterr().out


@settings(max_examples=40, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.binary(max_size=20000))
def test_arbitrary_bytes(tmp_path, data):
    path = tmp_path / "any.bin"
    path.write_bytes(data)
    found = Inspection(str(path))
    assert len(found.cells) == -(-len(data) // 4096)
    ElementTree.fromstring(svg(found))
