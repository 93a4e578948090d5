"""Boards in QEMU, against a program that stands for it; the real one is run by tests/hardware."""

import json
import os
import stat
import sys
import threading
import time
from pathlib import Path

import flash_steps
import pytest
import stock_images

from drybag_host.board import open_console, qemu
from drybag_host.board.qemu import OPTIONS, QemuBoard, _crc8, efuse
from drybag_host.board_errors import (
    AlreadyRunning,
    ImageInUse,
    ImageProblem,
    NameTaken,
    NotRunning,
    UnknownBoardName,
)
from drybag_host.cli import main
from drybag_host.errors import EmulatorError, LinkError, LinkTimeout
from drybag_host.image import partitions, stock
from drybag_host.link import HandsetLink

STAND_IN = Path(__file__).with_name("qemu_stand_in.py")

@pytest.fixture
def program(tmp_path, monkeypatch):
    """Path of a qemu-system-xtensa, which is the stand-in; DRYBAG_HOME is a new folder."""
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path / "home"))
    path = tmp_path / "qemu-system-xtensa"
    path.write_text("#!/bin/sh\nexec '%s' '%s' \"$@\"\n" % (sys.executable, STAND_IN))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("DRYBAG_QEMU", str(path))
    return str(path)


@pytest.fixture
def small(tmp_path):
    return flash_steps.board_file(tmp_path, flash_steps.SMALL, flash_mib=2)


@pytest.fixture
def board(program, small):
    board = QemuBoard.create(
        "q", small, micropython=stock.parse(stock_images.firmware(), "x"), program=program
    )
    yield board
    if board.is_running:
        board.stop()


def records(count, first=0):
    return [("put", 1, b"u%d" % n, b"VERSION:3.0\nFN:Person %d\n" % n)
            for n in range(first, first + count)]  # fmt: skip


def test_the_image_is_micropython_our_table_and_our_firmware(board):
    image = board.image.read_bytes()
    assert image[0x1000] == 0xE9 and image[0x10000] == 0xE9
    pim = partitions.find(partitions.from_image(board.image), "pim")
    assert pim.size == 0x80000
    assert image[pim.offset :].count(0xFF) == len(image) - pim.offset


def test_power(board):
    assert board.state()["power"] == "off" and not board.is_running
    with pytest.raises(NotRunning):
        board.power_off()
    with pytest.raises(NotRunning):
        open_console("qemu:q")
    board.start()
    assert board.is_powered and board.state()["boots"] == 1
    with pytest.raises(AlreadyRunning):
        board.start()
    with pytest.raises(AlreadyRunning):
        board.remove()
    board.power_off()
    assert not board.is_powered and board.is_running
    board.power_on()
    assert board.state()["boots"] == 2
    board.stop()
    assert not board.is_running
    board.remove()
    with pytest.raises(UnknownBoardName):
        QemuBoard("q")


def test_commands_work_on_it(board, tmp_path, capsys):
    card = tmp_path / "c.vcf"
    card.write_bytes(b"BEGIN:VCARD\r\nVERSION:3.0\r\nUID:u\r\nFN:Ada\r\nEND:VCARD\r\n")
    assert main(["import", "qemu:q", str(card), "--start", "--quiet"]) == 0
    assert main(["pull", "qemu:q", str(tmp_path / "b"), "--quiet"]) == 0
    capsys.readouterr()
    assert main(["find", "qemu:q", "ada", "--json"]) == 0
    assert "Ada" in capsys.readouterr().out
    assert main(["status", "--json"]) == 0
    targets = [row["target"] for row in json.loads(capsys.readouterr().out)["targets"]]
    assert "qemu:q" in targets
    board.stop()
    assert main(["dump", "qemu:q", str(tmp_path / "pim.bin")]) == 0
    assert main(["show", str(tmp_path / "pim.bin")]) == 0
    assert "Ada" in capsys.readouterr().out


def test_what_was_acknowledged_survives_the_kill(board):
    """SIGKILL in the middle of writing; the next boot has every record that was acknowledged."""
    board.start()
    done = 0
    for round_ in range(3):
        if not board.is_powered:
            board.power_on()
        link = HandsetLink(open_console("qemu:q"))
        have = {record.uid for _, record in link.changes(0)}
        assert have >= {b"u%d" % n for n in range(done)}
        timer = threading.Timer(0.3 + 0.1 * round_, board.power_off)
        timer.start()
        try:
            for n in range(done, done + 5000):
                list(link.put_records(records(1, n)))
                done = n + 1
        except LinkError:
            pass
        timer.join()
        link.console.close()
    assert done > 10


def test_reset_is_not_a_power_cut(board):
    board.start()
    console = open_console("qemu:q")
    boots = board.state()["boots"]
    with HandsetLink(console) as link:
        first = link.hello()["boot"]
        list(link.put_records(records(3)))
        console.reset()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            with HandsetLink(open_console("qemu:q")) as link:
                if link.hello()["boot"] != first:
                    assert len(list(link.changes(0))) == 3
                    break
        except LinkError:
            time.sleep(0.05)
    else:
        pytest.fail("it did not start again")
    assert board.state()["boots"] == boots and board.is_powered


def settings(board, **changes):
    path = board.folder / "qemu.json"
    path.write_text(json.dumps({**board.settings, **changes}))


def test_a_prompt_that_never_comes(board, monkeypatch):
    monkeypatch.setenv("DRYBAG_STAND_IN", "mute")
    settings(board, boot_s=1)
    board.start()
    with pytest.raises(LinkTimeout, match="POWERON_RESET"):
        open_console("qemu:q")


def test_a_long_boot_says_how_it_stands(board, monkeypatch, capsys):
    monkeypatch.setattr(qemu, "_TELL_S", 0.1)
    monkeypatch.setenv("DRYBAG_STAND_IN", "mute")
    settings(board, boot_s=2)
    assert main(["qemu", "start", "q"]) == 12
    said = capsys.readouterr().err
    assert 2 <= said.count("qemu:q has been booting for") <= 6 and "POWERON_RESET" in said
    assert board.is_powered
    board.stop()
    for wrong in ("0", "x", "1e9"):
        assert main(["qemu", "start", "q", "--boot", wrong]) == 2
    monkeypatch.delenv("DRYBAG_STAND_IN")
    assert main(["qemu", "start", "q", "--boot", "60"]) == 0
    assert QemuBoard("q").settings["boot_s"] == 60
    board.power_off()
    board.power_on()
    capsys.readouterr()
    assert main(["status", "qemu:q"]) == 0
    assert "qemu:q has been booting for" in capsys.readouterr().err
    board.power_off()
    board.power_on()
    told = []
    open_console("qemu:q", told.append).close()
    assert "the last time" in told[0]


def test_ctrl_c_while_it_boots(board, monkeypatch, capsys):
    monkeypatch.setattr(qemu, "_TELL_S", 0.1)

    def pressed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(QemuBoard, "await_prompt", pressed)
    assert main(["qemu", "start", "q"]) == 130
    assert "goes on booting; drybag qemu stop q ends it" in capsys.readouterr().err
    assert board.is_powered


def test_a_prompt_that_nobody_saw(board):
    """QEMU's record of the line has it; what came before a reset does not count."""
    board.start()
    deadline = time.monotonic() + 20
    while b"drybag> " not in (board.folder / "console.log").read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with HandsetLink(open_console("qemu:q")) as link:
        assert link.hello()["id"]
    board.reset()
    saved = board._saved()
    assert not saved["ready"] and not board._booted(saved)[0]
    while not board._booted(saved)[0]:
        assert time.monotonic() < deadline + 20
        time.sleep(0.05)


class Slow:
    """A console whose answers come some seconds late."""

    def __init__(self, console, late_s):
        self.console, self.late_s, self.came = console, late_s, []
        self.name, self.pace = "slow", 10.0

    def read(self, timeout_s):
        data = self.console.read(min(timeout_s, 0.05))
        if data:
            self.came.append((time.monotonic() + self.late_s, data))
        if self.came and self.came[0][0] <= time.monotonic():
            return self.came.pop(0)[1]
        return b""

    def write(self, data):
        self.console.write(data)

    def close(self):
        self.console.close()


def test_patience_grows_with_the_time_a_boot_took(board):
    board.start()
    console = open_console("qemu:q")
    assert board.pace >= 1.0 and console.pace == board.pace
    state = json.loads((board.folder / "state.json").read_text())
    assert 0 < state["boot_took_s"] < 60
    (board.folder / "state.json").write_text(json.dumps({**state, "boot_took_s": 200.0}))
    assert board.pace == 60.0
    settings(board, pace=3.0)
    assert board.pace == 3.0
    with HandsetLink(Slow(console, 1.7), patience_s=1.0) as link:  # no HELLO waits that long
        assert link.hello()["id"]
        assert link.digest()[0] == 0


def test_a_program_that_refuses_or_is_not_there(program, small, board, monkeypatch):
    monkeypatch.setenv("DRYBAG_STAND_IN", "refuses")
    with pytest.raises(EmulatorError, match="unsupported machine"):
        board.start()
    assert not board.is_running
    other = QemuBoard.create("o", small, image=board.image, program="/nonexistent/qemu")
    with pytest.raises(EmulatorError, match="nonexistent/qemu: No such file") as failed:
        other.start()
    assert "Traceback" not in str(failed.value)


def test_a_program_that_ends_later(board, monkeypatch, capsys):
    monkeypatch.setenv("DRYBAG_STAND_IN", "no-rom")
    for words in (["qemu", "start", "q"], ["status", "qemu:q"]):
        assert main(words) == 18
        said = capsys.readouterr().err
        assert "ROM code binary not found" in said and "--rom DIR" in said
    monkeypatch.delenv("DRYBAG_STAND_IN")
    assert main(["qemu", "start", "q"]) == 0
    board.power_off()
    assert main(["status", "qemu:q"]) == 13


def test_one_flash_is_not_for_two_boards(board, small, program):
    other = QemuBoard.create("o", small, image=board.image, program=program)
    board.start()
    with pytest.raises(ImageInUse):
        other.start()
    board.image.write_bytes(b"short")
    board.stop()
    with pytest.raises(ImageProblem):
        board.start()


def test_the_command_line(board, small, program):
    words = board.command(1234)
    assert words[:3] == [program, "-M", "esp32"] and words[-2:] == list(OPTIONS)
    assert words[words.index("-nic") + 1] == "none" and "-L" not in words
    assert "file=%s,if=mtd,format=raw" % board.image in words
    own = QemuBoard.create(
        "o", small, image=board.image, program=program, machine="other", rom="/rom",
        network="user,model=open_eth", options=["-m", "4M"],
    ).command(1)  # fmt: skip
    assert own[own.index("-M") + 1] == "other" and own[own.index("-L") + 1] == "/rom"
    assert own[own.index("-nic") + 1] == "user,model=open_eth" and own[-2:] == ["-m", "4M"]


def test_each_board_has_fuses_of_its_own(board, small, program):
    other = QemuBoard.create("o", small, image=board.image, program=program)
    fuses = [(b.folder / "efuse.bin").read_bytes() for b in (board, other)]
    assert fuses[0] != fuses[1]
    for data in fuses:
        mac = data[8:10][::-1] + data[4:8][::-1]
        assert len(data) == 124 and mac[:3] == b"\x24\x6f\x28"
        assert _crc8(mac + data[10:11]) == 0
    assert _crc8(b"123456789") == 0xA1  # the check value of CRC-8/MAXIM
    assert efuse(bytes(6))[4:11] == bytes(7)


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden"])
def test_names_that_cannot_be(program, small, name):
    with pytest.raises(NameTaken):
        QemuBoard.create(name, small, image="x")
    with pytest.raises(UnknownBoardName):
        QemuBoard(name)


def test_the_command(program, small, tmp_path, capsys):
    firmware = tmp_path / "micropython.bin"
    firmware.write_bytes(stock_images.firmware())
    create = ["qemu", "create", "q", "--board", small]
    assert main(create) == 33  # no MicroPython named, none in the cache
    assert main([*create, "--micropython", str(firmware), "--network", "user,model=x"]) == 0
    assert main([*create, "--micropython", str(firmware)]) == 30
    capsys.readouterr()
    assert main(["qemu", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["boards"][0]["power"] == "off"
    assert QemuBoard("q").settings["program"] == os.environ["DRYBAG_QEMU"]
    assert main(["qemu", "power", "q", "off"]) == 32
    assert main(["qemu", "start", "q"]) == 0
    assert main(["qemu", "start", "q"]) == 31
    assert main(["qemu", "rm", "q"]) == 31
    capsys.readouterr()
    assert main(["qemu", "console", "q"]) == 0
    assert capsys.readouterr().out.startswith("socket://127.0.0.1:")
    assert main(["qemu", "power", "q", "off"]) == 0
    assert main(["qemu", "power", "q", "on"]) == 0
    assert main(["qemu", "stop", "q"]) == 0
    assert main(["qemu", "rm", "q"]) == 0
    assert main(["qemu", "start", "q"]) == 15
    capsys.readouterr()


def switched(offs, off):
    """`off` of a board; notes in `offs` whether its prompt had come."""

    def power_off(board):
        offs.append(bool(board._booted(board._saved())[0]))
        off(board)

    return power_off


def test_the_rig_cuts_its_power(board, capsys, monkeypatch):
    offs = []
    monkeypatch.setattr(QemuBoard, "power_off", switched(offs, QemuBoard.power_off))
    monkeypatch.setattr(QemuBoard, "boot_took_s", 0.05)  # within the least that a boot takes
    words = ["rig", "run", "--target", "qemu:q", "--power", "qemu", "--cuts", "6", "--seed", "5"]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["run"]["random_cuts"] >= 1 and not told["failures"]
    assert told["states"]["by_workload"]["boot"]["cuts"] == 1 == told["cuts_seen"]["boot"]
    assert offs.count(False) == 1  # the prompt had not come yet, so recovery was cut
    assert not board.is_running
    assert main(["rig", "run", "--target", "emu:q", "--power", "qemu"]) == 2
    assert "no power over emu:q" in capsys.readouterr().err
