"""Emulated boards for tests: made in a temporary home, stopped at the end, and a way to talk."""

import subprocess
import sys
import time

import serial

from drybag_host.emulator.boards import EmulatedBoard

PROMPT = b">>> "


class Talk:
    """A person's terminal on the console: type lines, read up to the prompt."""

    def __init__(self, board):
        self.port = serial.Serial(board.console, timeout=5)

    @classmethod
    def from_boot(cls, board):
        """Open the console (which forgets what came before) and watch a boot from power-on."""
        if not board.is_running:
            board.start()
        talk = cls(board)
        if board.is_powered:
            board.power_off()
        talk.port.reset_input_buffer()
        board.power_on()
        return talk

    def until(self, mark, timeout_s=5):
        """What comes up to and with `mark`; fails the test if it does not come."""
        self.port.timeout = timeout_s
        said = self.port.read_until(mark)
        assert said.endswith(mark), said[-500:]
        return said

    def line(self, text):
        """Type a line at the REPL; what it printed, without echo and prompt."""
        self.port.write(text.encode() + b"\r")
        said = self.until(PROMPT)
        return said.split(b"\r\n", 1)[1][: -len(PROMPT)].decode().replace("\r\n", "\n").strip()

    def close(self):
        self.port.close()


def make_board(home, name="b", board="esp32-generic", **files):
    """A board, not started, whose `/` holds `files` (main="source" is /main.py)."""
    in_vfs = {"/%s.py" % key: text.encode() for key, text in files.items()}
    return EmulatedBoard.create(name, board, home=home, files_in_vfs=in_vfs)


def mpremote(board, *args, timeout_s=60):
    """Run the unmodified mpremote on the board's console; its output as bytes."""
    done = subprocess.run(
        [sys.executable, "-m", "mpremote", "connect", board.console, *args],
        capture_output=True,
        timeout=timeout_s,
    )
    assert done.returncode == 0, (args, done.stdout[-500:], done.stderr[-500:])
    return done.stdout


def until(ask, condition, timeout_s=40, poll_s=1.2):
    """Ask a board how sync stands until `condition(it)`; what it was then.

    Not too often: a board has to have some quiet to sync in.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        state = ask()
        if condition(state):
            return state
        assert time.monotonic() < deadline, state
        time.sleep(poll_s)


def wait_for(condition, timeout_s=5.0):
    """Poll until `condition()` is true; returns whether it became so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
