"""Campaigns on boards: the oracle, the tap, and whole runs on emulated boards, good and bad."""

import json
import os
import pty
import random
import signal
import sys
import threading
import time
import tty
from xml.etree import ElementTree

import pytest
from bad_boards import ONCE, parsed, said
from hypothesis import given, settings
from hypothesis import strategies as st

from drybag import protocol as p
from drybag import protocolhost as ph
from drybag_host import cli, linkline, power
from drybag_host.board import open_console
from drybag_host.board.backends import SerialConsole
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.errors import Usage
from drybag_host.image import firmware
from drybag_host.link import HandsetLink
from drybag_host.power import Switch
from drybag_host.power_errors import NotSwitching, SwitchFailed
from drybag_host.rig import boards
from drybag_host.rig.board_oracle import PREFIX, BoardOracle, Content, Writer, read_records
from drybag_host.rig.board_run import BoardRun
from drybag_host.rig.errors import CannotJudge
from drybag_host.rig.tap import Plan, PowerGone, Tap, answers

# -- the oracle ---------------------------------------------------------------------------------


def grown(seed, batches):
    """An oracle after some acknowledged batches of a Writer, and the Writer."""
    oracle = BoardOracle()
    writer = Writer(random.Random(seed), oracle)
    seq = 0
    for _ in range(batches):
        ops, blob = writer.next()
        if not ops:
            continue
        if blob:
            oracle.blobs[blob[0]] = blob[1]
        oracle.begin(ops)
        seq += len(ops)
        oracle.ack(seq)
    return oracle, writer


@given(st.integers(0, 1 << 30), st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_a_batch_is_one_request_and_only_the_rigs_own_records(seed, batches):
    oracle, writer = grown(seed, batches)
    for _ in range(10):
        ops, blob = writer.next()
        assert len({op[1:3] for op in ops}) == len(ops)
        assert all(op[2].startswith(PREFIX) for op in ops)
        sizes = [len(ph.delete(*o[1:]) if o[0] == "delete" else ph.put(*o[1:])) for o in ops]
        assert len(ops) == 1 or 1 + sum(sizes) <= p.REQUEST_BYTES
        assert blob is None or ops[0][4] == (blob[0],)
        assert all(op[1:3] in oracle.live for op in ops if op[0] == "delete")
    assert len(oracle.live) <= 61 + 12


@given(st.integers(0, 1 << 30), st.integers(1, 60), st.booleans())
@settings(max_examples=60, deadline=None)
def test_what_is_in_flight_may_be_there_whole_or_not_at_all(seed, batches, arrived):
    oracle, writer = grown(seed, batches)
    before, seq = dict(oracle.live), oracle.last_seq
    ops, _ = writer.next()
    oracle.begin(ops)
    after = oracle._after() if arrived else before
    assert oracle.judge(dict(after), seq + (len(ops) if arrived else 0)) == []
    assert oracle.live == after and oracle.flight is None
    assert oracle.judge(dict(after), seq) == []


def test_each_kind_of_damage_has_its_name():
    oracle = BoardOracle()
    key, other, gone = (1, PREFIX + b"1"), (1, PREFIX + b"2"), (1, PREFIX + b"3")
    for ops in (
        [("put", *key, b"one", (), 0)],
        [("put", *other, b"two", (), 0), ("put", *gone, b"three", (), 0)],
        [("put", *key, b"four", (), 0)],
        [("delete", *gone)],
    ):
        oracle.begin(ops)
        oracle.ack(oracle.last_seq + len(ops))
    good = dict(oracle.live)

    def kinds(found, seq=5, flight=None):
        oracle.live, oracle.last_seq = dict(good), 5
        oracle.flight = flight
        return [m.what for m in oracle.judge(found, seq)]

    assert kinds(good) == []
    assert kinds({key: good[key]}) == ["record lost"]
    assert kinds({**good, key: Content(b"one", ())}) == ["record lost"]
    assert kinds({**good, key: Content(b"fou\xff", ())}) == ["torn record shown"]
    assert kinds({**good, key: Content(b"four", (b"x" * 32,))}) == ["torn record shown"]
    assert kinds({**good, gone: Content(b"three", ())}) == ["deleted came back"]
    assert kinds({**good, (2, PREFIX + b"9"): Content(b"?", ())}) == ["never written appears"]
    assert kinds(good, seq=4) == ["record lost"]
    assert kinds({}) == ["record lost", "record lost"]
    batch = [("put", *gone, b"five", (), 0), ("put", 4, PREFIX + b"4", b"six", (), 0)]
    half = {**good, gone: Content(b"five", ())}
    assert kinds(half, flight=batch) == ["torn record shown"]
    assert kinds({**half, (4, PREFIX + b"4"): Content(b"six", ())}, flight=batch) == []


# -- the tap ------------------------------------------------------------------------------------


class Lamp(Switch):
    """A switch that feeds a program at the far end of a pty, and takes its time."""

    name = "lamp"

    def __init__(self, takes_s=0.0, error=None):
        self.takes_s, self.error = takes_s, error
        self.off_at = None

    def off(self, seed=None):
        time.sleep(self.takes_s)
        if self.error:
            raise self.error
        self.off_at = time.monotonic()


@pytest.fixture
def wire():
    """(descriptor of the board's end, console) of a pty."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    console = SerialConsole(os.ttyname(slave))
    yield master, console
    console.close()
    for fd in (master, slave):
        os.close(fd)


def until_gone(tap, timeout_s=5):
    deadline = time.monotonic() + timeout_s
    heard = b""
    with pytest.raises(PowerGone):
        while time.monotonic() < deadline:
            heard += tap.read(0.05)
    tap.ended()
    return heard


@pytest.mark.parametrize("how", ["moment", "ack", "request", "boot"])
def test_the_tap_cuts_at_its_moment(wire, how):
    lamp = Lamp()
    tap = Tap(wire[1], lamp, Plan(how, 0.05, 2, None, 1), quiet_s=0.01)
    tap.write(b"hello")
    tap.acked() if how == "request" else tap.write(b"again")
    if how != "boot":
        assert not tap.is_cut
        tap.writing()
    for _ in range(2):
        tap.write(b"request")
        tap.acked()
    assert tap.is_cut == (how in ("ack", "request"))
    until_gone(tap)
    assert lamp.off_at is not None


def test_a_moment_that_does_not_come_is_cut_all_the_same(wire):
    tap = Tap(wire[1], Lamp(), Plan("ack", 0.0, 99, None, 1), patience_s=0.05, quiet_s=0.01)
    tap.writing()
    until_gone(tap)


def test_the_board_is_fed_while_a_slow_switch_works(wire):
    board, console = wire
    tap = Tap(console, Lamp(takes_s=0.2), Plan("ack", 0.0, 1, None, 1), quiet_s=0.05)
    tap.writing()
    tap.acked()
    os.write(board, b"still here")
    assert until_gone(tap) == b"still here"


def test_what_the_switch_raises_is_raised(wire):
    tap = Tap(wire[1], Lamp(error=SwitchFailed("no")), Plan("ack", 0, 1, None, 1), quiet_s=0.01)
    tap.writing()
    tap.acked()
    with pytest.raises(SwitchFailed, match="no"):
        until_gone(tap)


def test_a_board_that_answers_is_not_off(wire):
    board, console = wire
    path = console.name
    console.close()
    os.write(board, b"said before the cut")

    def open_it():
        return SerialConsole(path)

    assert answers(open_it, 0.05) == b"" and os.read(board, 100)
    echo = threading.Thread(target=lambda: os.write(board, os.read(board, 100)))
    echo.start()
    assert answers(open_it, 2.0)
    echo.join(5)
    assert answers(lambda: SerialConsole("/dev/no-such-port"), 0.05) == b""


# -- whole runs ---------------------------------------------------------------------------------

def test_cuts_on_an_emulated_board(board, tmp_path):
    board.start()
    theirs = [("put", 1, b"theirs-%d" % i, b"FN:Person %d\n" % i, (), 0) for i in range(5)]
    left = [("put", 4, PREFIX + b"of an earlier run", b"SUMMARY:x\n", (), 0)]
    with HandsetLink(open_console("emu:b")) as link:
        assert list(link.put_records(theirs + left))
    folder = tmp_path / "report"
    args = parsed("--target", "emu:b", "--power", "emu", "--cuts", "8", "--seed", "11",
                  "--report", str(folder))  # fmt: skip
    report, code = boards.run_command(args)
    assert code == 0 and not report.failures and not report.not_judged
    assert (report.total, report.distinct) == (8, 8)
    assert sum(report.cuts_seen.values()) == 8 and set(report.cuts_seen) <= {
        "erase", "program", "idle",
    }  # fmt: skip
    assert set(report.workloads) == {"moment", "command", "ack", "request", "boot"}
    assert report.run["others"] == 5 and report.run["acknowledged"] > 10
    assert report.run["random_cuts"] == 4 and "3/4" in report.run["bound"]
    assert report.exposure["erase_share"] > 0.1
    text = said(args)
    assert "1 records of an earlier run deleted" in text and "safe" not in text
    assert json.loads((folder / "report.json").read_text())["states"]["distinct"] == 8
    assert ElementTree.parse(folder / "junit.xml").getroot().find("testsuite").get("tests") == "5"
    assert "3/4" in (folder / "index.html").read_text()
    assert board.is_powered
    with HandsetLink(open_console("emu:b")) as link:
        assert read_records(link, 0) == {}
        assert {r.uid for _, r in link.changes(0) if not r.deleted} == {op[2] for op in theirs}


def test_a_handset_that_acknowledges_too_early_is_caught(forgetful):
    args = parsed("--target", "emu:b", "--power", "emu", "--cuts", "1", "--seed", "1")
    report, code = boards.run_command(args)
    assert code == 1 and report.failures and not forgetful.is_running
    assert {f.what for f in report.failures} & {"record lost", "deleted came back"}
    failure = report.failures[0]
    assert failure.id.startswith("r1:board@b:life-1:1:") and failure.expected != failure.found
    assert "none: something was lost" in said(args) and report.run["bound"] == ""


def test_a_journal_that_cannot_be_opened_is_a_loss(tmp_path, monkeypatch, first_home):
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path))
    files = firmware.firmware_files(cache_dir=first_home / "cache" / "mpy")
    files["/main.py"] = ONCE + files["/main.py"]
    EmulatedBoard.create("b", files_in_vfs=files)
    report, code = boards.run_command(parsed("--target", "emu:b", "--power", "emu", "--seed", "1"))
    assert code == 1 and report.partial
    (failure,) = report.failures
    assert (failure.what, failure.found) == ("mount lost", "torn to pieces")
    assert "save an image" in report.run["left"]


def test_ctrl_c_ends_with_a_report_and_the_records_gone(board, tmp_path, monkeypatch):
    args = parsed("--target", "emu:b", "--power", "emu", "--minutes", "5", "--seed", "2",
                  "--report", str(tmp_path / "r"))  # fmt: skip
    is_judged, judged = threading.Event(), BoardRun._judged

    def noted(run):
        judged(run)
        if any(cut.judged for cut in run.cuts):
            is_judged.set()

    monkeypatch.setattr(BoardRun, "_judged", noted)
    timer = threading.Thread(target=_interrupt_after, args=(is_judged,))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        boards.run_command(args)
    timer.join()
    document = json.loads((tmp_path / "r" / "report.json").read_text())
    assert document["partial"] and document["states"]["distinct"] >= 1
    assert document["exit_code"] == 3 and "Ctrl-C" in document["not_judged"][0]["why"]
    assert "deleted again" in document["run"]["left"] and not board.is_running


def _interrupt_after(event):
    event.wait(120)
    os.kill(os.getpid(), signal.SIGINT)


COMMANDS = """\
[wrong]
kind = "command"
off = "true"
on = "true"
[once]
kind = "command"
off = "%(python)s -c '%(code)s' %(home)s"
on = "true"
[fails]
kind = "command"
off = "exit 1"
on = "true"
[own]
kind = "rts"
port = "%(port)s"
"""
_OFF = (
    "import sys; sys.path[:0] = %r; from drybag_host.emulator.boards import EmulatedBoard; "
    'EmulatedBoard(\\"b\\", sys.argv[1]).power_off()'
)


@pytest.fixture
def serial_board(board, tmp_path):
    """run(switch): a campaign on the board's pty, as on any serial port, with that switch."""
    board.start()
    file = tmp_path / "power.toml"
    code = _OFF % [path for path in sys.path if path.startswith("/")]
    file.write_text(COMMANDS.replace("kind =", "settle_s = 0\noff_s = 0\nkind =") % {
        "python": sys.executable, "code": code.replace("'", '\\"'), "port": board.console,
        "home": tmp_path / "home",
    })  # fmt: skip

    def run(switch, *more):
        args = parsed("--target", board.console, "--power", switch, "--power-config", str(file),
                      "--seed", "3", "--boot-timeout", "1", *more)  # fmt: skip
        return boards.run_command(args)

    return run


def test_a_switch_that_does_not_switch_is_named(serial_board, board):
    with pytest.raises(NotSwitching, match="'wrong' was told off, and the board still answers"):
        serial_board("wrong")
    with pytest.raises(SwitchFailed, match="failed with 1"):
        serial_board("fails")
    with pytest.raises(Usage, match="the flash keeps its power") as caught:
        serial_board("own")
    assert "--reset-is-enough" in caught.value.hint
    with pytest.raises(SwitchFailed, match="cannot be set"):
        serial_board("own", "--reset-is-enough")
    assert board.is_powered


def test_a_board_that_never_boots_is_named(serial_board, monkeypatch):
    monkeypatch.setattr(linkline, "_HELLO_WAITS_S", (0.5,))
    with pytest.raises(CannotJudge, match="the board does not boot: nothing for 1 s") as caught:
        serial_board("once")
    assert caught.value.exit_code == 3 and caught.value.hint


def test_what_is_no_handset_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path))
    monkeypatch.setattr(linkline, "_BOOT_S", 0.5)
    EmulatedBoard.create("b", files_in_vfs={})
    args = parsed("--target", "emu:b", "--power", "emu", "--boot-timeout", "0.1")
    with pytest.raises(CannotJudge, match="no handset|without Drybag"):
        boards.run_command(args)
    with pytest.raises(CannotJudge, match="no such port") as caught:
        boards.run_command(parsed("--target", "/dev/none", "--power", "emu"))
    assert caught.value.hint


def test_a_flash_image_of_the_wrong_size_is_named(board):
    os.truncate(board.image, 1000)
    with pytest.raises(CannotJudge, match="has 1000 bytes, the board's flash 4194304") as caught:
        boards.run_command(parsed("--target", "emu:b", "--power", "emu"))
    assert caught.value.exit_code == 3 and "--image" in caught.value.hint


@pytest.mark.parametrize("words", [
    "--target emu:b", "--cuts 5", "--power emu", "--target emu:b --power emu --quick",
    "--target emu:b --power emu --cuts 5 --minutes 1", "--target emu:b --power emu --cuts 0",
    "--target emu:b --power emu --app x.py", "--target /dev/null --power toaster",
])  # fmt: skip
def test_words_that_do_not_fit_together(words, capsys):
    assert cli.main(["rig", "run", *words.split()]) == 2
    assert "drybag" in capsys.readouterr().err


def test_switches_are_listed_and_explained(capsys):
    assert cli.main(["rig", "switches"]) == 0
    said = capsys.readouterr().out
    assert all(kind in said for kind in power.kinds()) and "power.toml" in said
    assert cli.main(["rig", "switches", "relay"]) == 0
    assert "energised" in capsys.readouterr().out
    assert cli.main(["rig", "switches", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document["switches"]["http"]["keys"]) >= {"url", "password_env", "settle_s"}
    assert cli.main(["rig", "switches", "toaster"]) == 2
    assert "relay" in capsys.readouterr().err


@pytest.mark.parametrize("count, words", [(0, "too few"), (3, "too few"), (4, "75 %"),
                                          (300, "1 % of such cuts (3/300)")])  # fmt: skip
def test_the_bound_is_three_over_n(count, words):
    assert words in boards.bound_text(count) and "safe" not in boards.bound_text(count)
