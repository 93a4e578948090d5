"""DRYBAG_MICROPYTHON: emulated boards on another MicroPython than the one installed.

Here on the installed one, as a program of its own, so that the way is tested everywhere; that
older versions work shows `DRYBAG_MICROPYTHON=/path/to/micropython tools/test tests/hardware`.
"""

import sys
import time
from pathlib import Path

import pytest
from emulated_boards import PROMPT, Talk, make_board

from drybag_host.errors import EmulatorError


def test_a_board_runs_on_it(tmp_path, monkeypatch):
    """The descriptors come along, Ctrl-C arrives, and power off takes all."""
    monkeypatch.setenv("DRYBAG_MICROPYTHON", str(Path(sys.executable).with_name("micropython")))
    board = make_board(tmp_path)
    board.start()
    try:
        talk = Talk.from_boot(board)
        talk.until(PROMPT, 20)
        talk.line("import time; f = open('/kept', 'w'); f.write('x'); f.close()")
        talk.port.write(b"time.sleep(60)\r")
        time.sleep(0.3)
        talk.port.write(b"\x03")
        assert b"KeyboardInterrupt" in talk.until(PROMPT)
        board.power_off()
        board.power_on()
        talk.until(PROMPT, 20)
        assert talk.line("open('/kept').read()") == "'x'"
        assert board.counters["programs"] > 0
        talk.close()
    finally:
        board.stop()


def test_a_name_of_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("DRYBAG_MICROPYTHON", str(tmp_path / "none"))
    board = make_board(tmp_path)
    with pytest.raises(EmulatorError, match="names no program"):
        board.start()
    assert not board.is_running
