"""esptool as a program: unmodified, on the emulated ROM; what it says becomes our errors."""

import os
import pty
import signal
import threading
import time

import pytest
from emulated_boards import wait_for
from hypothesis import given, settings
from hypothesis import strategies as st
from loader_boards import in_loader, other_esptool

from drybag_host import esptool_run
from drybag_host.board import open_console
from drybag_host.errors import LinkLost, LinkTimeout, NoSuchTarget, NotVerified, PortBusy
from drybag_host.esptool_run import Esptool
from drybag_host.flash_errors import EsptoolFailed, EsptoolMissing, WrongChip


def flash_of(board, address, size):
    with open(board.image, "rb") as file:
        file.seek(address)
        return file.read(size)


def test_what_is_written_is_on_the_flash_and_can_be_read(tmp_path):
    with in_loader(tmp_path, main="") as (board, port, tool):
        chip = tool.identify()
        assert (chip.chip, chip.flash_bytes) == ("esp32", 4 << 20)
        assert chip.mac.replace(":", "") == board.settings["unique_id"]
        data, seen = os.urandom(70000), []
        pieces = [(0x20000, data), (0x1000, b"\xff" * 4096), (0x10000, data[:5000])]
        tool.write(pieces, lambda *at: seen.append(at))
        assert flash_of(board, 0x20000, len(data)) == data
        assert seen == sorted(seen) and seen[-1] == (len(data) + 9096,) * 2
        tool.erase(0x21000, 4096)
        seen.clear()
        hole = data[:4096] + b"\xff" * 4096 + data[8192:]
        assert tool.read(0x20000, len(data), lambda *at: seen.append(at)) == hole
        assert seen[-1] == (len(data), len(data))
        tool.chip = "esp32s3"
        with pytest.raises(WrongChip, match="This chip is ESP32, not ESP32-S3"):
            tool.erase(0x20000, 4096)
        assert flash_of(board, 0x20000, 4096) == data[:4096]


def test_killed_or_without_power_it_is_an_error_and_the_next_run_works(tmp_path):
    with in_loader(tmp_path, main="") as (board, port, tool):
        tool.chip = "esp32"
        data = os.urandom(100000)

        def kill(done, total):
            if done > 30000:
                os.kill(tool._process.pid, signal.SIGKILL)

        with pytest.raises(EsptoolFailed, match="was stopped"):
            tool.write([(0x20000, data)], kill)
        assert flash_of(board, 0x20000, len(data)) != data
        tool.write([(0x20000, data)])
        assert flash_of(board, 0x20000, len(data)) == data
        threading.Thread(
            target=lambda: wait_for(lambda: tool._process) and (time.sleep(0.3), tool.stop())
        ).start()
        with pytest.raises(EsptoolFailed, match="was stopped"):
            tool.write([(0x20000, data)])
        board.power_off()
        with pytest.raises(LinkTimeout) as failed:
            tool.identify()
        assert "BOOT" in failed.value.hint


def test_whoever_tries_a_terminal_again_that_is_gone_finds_no_other_board(tmp_path):
    """Else esptool, told to try again, spoke to the board that had got its number meanwhile."""
    with in_loader(tmp_path, main="") as (_, port, tool):
        tool.chip = "esp32"
        port.flash.cut_at(3, "clean", 1)
        with pytest.raises(LinkLost):
            tool.write([(0x20000, os.urandom(20000))])
        others = [fd for _ in range(8) for fd in pty.openpty()]
        try:
            assert port.path not in map(os.ttyname, others[1::2])
            with pytest.raises(NoSuchTarget):
                tool.identify()
        finally:
            for fd in others:
                os.close(fd)


def test_ports_that_are_none(tmp_path):
    for port, kind in (
        (tmp_path / "none", NoSuchTarget),
        ("rfc2217://127.0.0.1:1", NoSuchTarget),
        ("/dev/null", NoSuchTarget),
    ):
        with pytest.raises(kind):
            Esptool(str(port)).identify()


@pytest.mark.parametrize(
    "source, says",
    [
        (None, "not installed"),
        ("print('esptool.py v4.8.1\\n4.8.1')", "esptool 4.8.1 is installed"),
        ("print('esptool v6.0\\n6.0')", "esptool 6.0 is installed"),
        ("raise SystemExit('no luck')", "no luck"),
    ],
)
def test_no_esptool_or_another(source, says, tmp_path, monkeypatch):
    assert esptool_run.version().startswith("5.")
    other_esptool(tmp_path, monkeypatch, source)
    with pytest.raises(EsptoolMissing, match=says) as failed:
        esptool_run.version()
    assert "pip install" in failed.value.hint and failed.value.exit_code == 36


@pytest.mark.parametrize(
    "said, kind",
    [
        ("MD5 of file does not match data in flash!", NotVerified),
        ("The chip stopped responding.", LinkLost),
        ("Attempting to use a port that is not open\nNote: This error originates", LinkLost),
        ("Could not configure port: (5, 'Input/output error')", LinkLost),
        ("Failed to connect to ESP32: No serial data received.\nFor troubleshooting", LinkTimeout),
        ("Could not open COM3, the port is busy or doesn't exist.\n(Errno 11)", PortBusy),
        ("Active security features detected, erasing flash is disabled", EsptoolFailed),
    ],
)
def test_words_become_errors(said, kind):
    kind_of_error = "serial exception" if "port that" in said else "fatal"
    error = Esptool("COM3")._error(
        "...\nERROR: A %s error occurred: %s" % (kind_of_error, said), 2
    )
    assert type(error) is kind and "troubleshooting" not in str(error)
    assert str(error).startswith("COM3: ")


def test_a_write_without_esptools_word_for_it_is_not_done(tmp_path, monkeypatch):
    other_esptool(tmp_path, monkeypatch, "print('Hash of data verified.')")
    with pytest.raises(NotVerified, match="1 of 2 pieces"):
        Esptool("COM3").write([(0, b"1"), (4096, b"2")])
    with pytest.raises(LinkLost, match="0 of 9 bytes"):
        Esptool("COM3").read(0, 9)


@settings(max_examples=50)
@given(st.text(max_size=99), st.integers(0, 9999))
def test_nothing_that_it_says_breaks_the_reading(said, at):
    assert Esptool("COM3")._error(said, 1).exit_code
    assert Esptool("COM3")._error("A fatal error occurred: " + said, 1).exit_code
    told = []
    progress = esptool_run._Progress(((0, 5), (4096, 5)), lambda *now: told.append(now))
    assert progress.line("Writing at 0x%08x %s" % (at, said))
    assert all(done <= total for done, total in told)


@pytest.mark.parametrize(
    "port, kind, says",
    [
        ("/dev/null", NoSuchTarget, "doctor"),
        ("rfc2217://127.0.0.1:1", NoSuchTarget, "server run"),
        ("socket://127.0.0.1:1", NoSuchTarget, "server run"),
    ],
)
def test_a_console_that_does_not_open_says_why(port, kind, says):
    with pytest.raises(kind) as failed:
        open_console(port)
    assert says in failed.value.hint and "close the program" not in failed.value.hint


def test_progress_never_goes_back_where_a_piece_before_the_others_is_written_last():
    """The first sector of an application ends where its second begins."""
    told = []
    progress = esptool_run._Progress(
        ((0x11000, 0x2000), (0x10000, 0x1000)), lambda done, total: told.append(done)
    )
    for at in (0x11000, 0x12000, 0x13000, 0x10000, 0x11000):
        assert progress.line("Writing at 0x%08x ..." % at)
    assert told == [0, 0x1000, 0x2000, 0x2000, 0x3000]
