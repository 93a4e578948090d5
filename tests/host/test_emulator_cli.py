"""`drybag emu ...` as a person and as a script uses it."""

import json

import pytest

from drybag_host import cli
from drybag_host.board_errors import AlreadyRunning, NameTaken, NotRunning, UnknownBoardName
from drybag_host.emulator.boards import EmulatedBoard, board_names


@pytest.fixture
def emu(tmp_path, monkeypatch, capsys):
    """Run `drybag emu ...`: (exit code, stdout, stderr). Boards left running are stopped."""
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path))

    def run(*words):
        code = cli.main(["emu", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    yield run
    for name in board_names():
        if EmulatedBoard(name).is_running:
            EmulatedBoard(name).stop()


def test_a_boards_life(emu):
    assert emu("create", "demo", "--board", "esp32-c3", "--no-firmware")[0] == 0
    code, out, _ = emu("start", "demo", "--json")
    state = json.loads(out)
    assert (code, state["power"], state["board"]) == (0, "on", "esp32-c3")
    assert emu("console", "demo")[1].strip() == state["pty"]
    assert emu("power", "demo", "off")[0] == 0
    assert emu("power", "off", "demo")[0] == NotRunning.exit_code  # the words may change places
    assert emu("power", "demo", "on")[0] == 0
    assert emu("power", "demo", "on")[0] == AlreadyRunning.exit_code
    assert json.loads(emu("wifi", "demo", "on", "--json")[1])["wifi"] is True
    row = json.loads(emu("list", "--json")[1])["boards"][0]
    assert (row["name"], row["power"], row["wifi"], row["boots"]) == ("demo", "on", True, 2)
    assert "demo" in emu("list")[1]
    assert emu("rm", "demo")[0] == AlreadyRunning.exit_code
    assert emu("stop", "demo")[0] == 0
    assert emu("stop", "demo")[0] == NotRunning.exit_code
    assert emu("rm", "demo")[0] == 0
    assert "no emulated boards" in emu("list")[1]


def test_app_folder_and_cut(emu, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "main.py").write_text("open('x', 'wb').write(bytes(9000))\n")
    assert emu("create", "c", "--app", str(tmp_path / "app"))[0] == 0
    assert emu("power", "c", "on", "--cut-at", "9", "--cut-state", "bits", "--seed", "3")[0] == 0
    board = EmulatedBoard("c")
    assert board.wait_off(10)
    assert board.counters["commands"] == 9
    assert json.loads(emu("power", "c", "on", "--json")[1])["power"] == "on"


def test_errors(emu):
    assert emu("start", "nobody")[0] == UnknownBoardName.exit_code
    assert emu("create", "a/b", "--no-firmware")[0] == NameTaken.exit_code
    assert emu("create", "a", "--no-firmware")[0] == 0
    code, _, err = emu("create", "a", "--no-firmware")
    assert code == NameTaken.exit_code and "already" in err
    assert emu("power", "a", "on", "--cut-state", "melted")[0] == 2
    assert emu("create", "b", "--board", "esp33")[0] == 35
    code, _, err = emu("power", "a", "sideways")
    assert code == 2 and "on or off, not 'sideways'" in err
