"""Ids of campaigns on boards: what was kept is told, booted and judged again."""

import sys

import pytest
from bad_boards import parsed

from drybag_host import cli
from drybag_host.board import open_console
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.image import partitions
from drybag_host.link import HandsetLink
from drybag_host.rig import board_replay, boards, ids
from drybag_host.rig.board_keep import Keeper
from drybag_host.rig.board_oracle import PREFIX, BoardOracle, Content, Mismatch
from drybag_host.rig.errors import CannotJudge


def test_a_failure_of_an_emulated_board_replays_from_its_id(forgetful, tmp_path, capsys):
    report, _ = boards.run_command(
        parsed("--target", "emu:b", "--power", "emu", "--cuts", "6", "--seed", "5"))  # fmt: skip
    words = list(dict.fromkeys(failure.id for failure in report.failures))
    assert len(words) > 1 and report.run["kept"]
    for word in words:
        steps, result = board_replay.replay(word)
        same = [f for f in report.failures if f.id == word]
        assert (result["failure"], result["found"]) in {(f.what, f.found) for f in same}
        kinds = {step["kind"] for step in steps}
        assert {"operation", "cut", "command", "expected", "recovery", "reads"} <= kinds
        told = [step["text"] for step in steps if step["kind"] == "flash"]
        assert len(told) == len(ids.decode(word).cuts)
        assert all("made again from the id's numbers" in text for text in told)
    assert cli.main(["rig", "replay", words[0]]) == 1
    assert "FAILED: " in capsys.readouterr().out
    file = tmp_path / "torn.bin"
    assert cli.main(["rig", "image", words[0], str(file)]) == 0
    torn = EmulatedBoard.create("torn", image=file)
    torn.start()
    try:
        with HandsetLink(open_console("emu:torn")) as link:
            assert link.hello()["last_seq"] > 0
    finally:
        torn.stop()
    assert cli.main(["rig", "shrink", words[0]]) == 2
    assert cli.main(["rig", "image", words[0], str(file), "--board", "esp32-generic"]) == 2
    assert cli.main(["rig", "image", words[0], str(file), "--depth", "9"]) == 2
    assert "the id has 1 cuts" in capsys.readouterr().err


SWITCH = """\
[works]
kind = "command"
off = "%(python)s -c '%(code)s' power_off"
on = "%(python)s -c '%(code)s' power_on"
settle_s = 0
off_s = 0
"""
CODE = (
    "import sys; sys.path[:0] = %r; from drybag_host.emulator.boards import EmulatedBoard; "
    "b = EmulatedBoard(%r); w = sys.argv[1]; "
    "b.is_powered == (w == %r) or getattr(b, w)()"
)


def test_of_a_real_board_the_story_and_a_dump_are_kept(forgetful, tmp_path, capsys):
    """The same firmware at a serial port, behind a switch that knows nothing of flash commands."""
    forgetful.start()
    code = CODE % ([path for path in sys.path if path.startswith("/")], "b", "power_on")
    file = tmp_path / "power.toml"
    file.write_text(SWITCH % {"python": sys.executable, "code": code.replace("'", '\\"')})
    args = parsed("--target", forgetful.console, "--power", "works", "--power-config", str(file),
                  "--seed", "5", "--cuts", "2")  # fmt: skip
    report, exit_code = boards.run_command(args)
    assert exit_code == 1 and not report.not_judged
    word = report.failures[0].id
    assert ids.decode(word).cuts == () and ids.decode(word).is_board
    assert cli.main(["rig", "replay", word]) == 3
    told = capsys.readouterr()
    assert "FAILED: " in told.out and "pim.bin" in told.err and "not known" in told.out
    file = tmp_path / "pim.bin"
    assert cli.main(["rig", "image", word, str(file)]) == 0
    row = partitions.find(partitions.from_image(forgetful.image), "pim")
    assert file.stat().st_size == row.size
    assert cli.main(["inspect", str(file)]) == 0
    assert cli.main(["rig", "image", word, str(file), "--depth", "1"]) == 3


def test_an_id_whose_flash_was_kept_elsewhere_says_where(tmp_path, monkeypatch):
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path))
    for word in ("r1:board@b:life-7:11:23n981", "r1:board@ttyUSB0:life-7:11"):
        with pytest.raises(CannotJudge, match="nothing is kept of") as caught:
            board_replay.replay(word)
        assert "--seed 11" in caught.value.hint and caught.value.exit_code == 3


def test_a_cut_in_a_recovery_is_in_the_id_behind_the_cut_before(board, tmp_path):
    """Two cuts in a row: the second fell before anything was asked for."""
    board.start()
    with HandsetLink(open_console("emu:b")) as link:
        ops = [("put", 1, PREFIX + b"%d" % n, b"FN:x\n", (), 0) for n in range(9)]
        assert list(link.put_records(ops))
    board.power_off(3)
    keeper = Keeper("emu:b", 9, board, tmp_path / "trace")
    oracle = BoardOracle()
    oracle.ever = {op[1:3]: {Content(op[3], ())} for op in ops}
    for number, at_work in ((1, True), (2, False)):
        keeper.begins(number, "command")
        board.power_on(cut_at=2 + number, cut_state=None, seed=70 + number, trace=keeper.trace)
        assert board.wait_off(20)
        keeper.fell(board.state()["cut"], 70 + number, at_work, oracle, [])
    board.stop()
    word = keeper.keep(Mismatch("record lost", "all", "none"), {}, 0)
    rig_id = ids.decode(word)
    assert rig_id.workload == "life-1" and [cut[::2] for cut in rig_id.cuts] == [(2, 71), (3, 72)]
    kept = board_replay.Kept(word)
    assert board_replay.made_again(kept, 0) and board_replay.made_again(kept, 1)
    first, last = (board_replay.flash_image(word, depth)[0] for depth in (1, None))
    assert first == kept.flash(1)[0] != last == board.image.read_bytes()
    steps, result = board_replay.replay(word)
    assert result["failure"] == "deleted came back"
    assert [step["kind"] for step in steps].count("cut") == 2
