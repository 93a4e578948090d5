"""Whole campaigns behind switches for real boards: each cuts the supply of an emulated board that
is known by its serial port alone. At the far end of the switch is what it would speak to."""

import contextlib
import os
import pty
import threading
import time
import tty

import pytest
from bad_boards import parsed
from plugs import PlugServer, rfc2217_port

from drybag_host.board_errors import AlreadyRunning, NotRunning
from drybag_host.errors import Usage
from drybag_host.power.relay import message
from drybag_host.rig import boards

SEED = 1  # its first cut comes after a third of a second of writing


class Supply:
    """The board's supply behind a switch; `told`: what it was told, in order."""

    def __init__(self, board):
        self._board = board
        self.told = []

    def set(self, on):
        self.told.append(on)
        with contextlib.suppress(AlreadyRunning, NotRunning):
            if on:
                self._board.power_on(timing=True)
            else:
                self._board.power_off(7)


@contextlib.contextmanager
def watched(step):
    """`step()` again and again in a thread, until the end."""
    over = threading.Event()

    def work():
        while not over.is_set():
            step()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(5)


@contextlib.contextmanager
def relay(supply):
    """An LCUS-1 board at a serial port: four bytes, the last their sum."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    messages = {message(1, on): on for on in (True, False)}

    def step():
        try:
            supply.set(messages[os.read(master, 4)])
        except BlockingIOError:
            time.sleep(0.005)

    with watched(step):
        yield 'kind = "relay"\nport = "%s"' % os.ttyname(slave)
    os.close(master)
    os.close(slave)


@contextlib.contextmanager
def line(supply, kind, sees, asserted):
    """A transistor at a modem line of an adapter elsewhere in the network."""
    with rfc2217_port() as (address, port):
        setattr(port, kind, asserted == "on")
        was = [True]

        def step():
            on = getattr(port, sees) == (asserted == "on")
            if on != was[0]:
                was[0] = on
                supply.set(on)
            time.sleep(0.002)

        with watched(step):
            yield 'kind = "%s"\nport = "%s"\nasserted = "%s"' % (kind, address, asserted)


class Plug(PlugServer):
    """A mains plug with a board's supply in it."""

    def __init__(self, device, supply):
        super().__init__(device, "s3cret")
        self._supply = supply

    def switch(self, word):
        super().switch(word)
        self._supply.set(self.is_on)


@contextlib.contextmanager
def plug(supply, device):
    with Plug(device, supply) as server:
        yield 'kind = "http"\ndevice = "%s"\nurl = "%s"\npassword_env = "PLUG"' % (
            device, server.url,
        )  # fmt: skip


# their other devices and lines: test_power.py
WAYS = {
    "relay": relay,
    "http": lambda supply: plug(supply, "shelly2"),
    "rts": lambda supply: line(supply, "rts", "cts", "on"),
}


@pytest.mark.filterwarnings("ignore:set(Daemon|Name).. is deprecated")
@pytest.mark.parametrize("way", WAYS)
def test_a_cut_by_each_switch(board, tmp_path, monkeypatch, way):
    monkeypatch.setenv("PLUG", "s3cret")
    board.start()
    supply = Supply(board)
    file = tmp_path / "power.toml"
    with WAYS[way](supply) as settings:
        file.write_text("[bench]\n%s\nsettle_s = 0.05\noff_s = 0\n" % settings)
        report, code = boards.run_command(
            parsed("--target", board.console, "--power", "bench", "--power-config", str(file),
                   "--cuts", "1", "--seed", str(SEED)))  # fmt: skip
    assert code == 0 and report.distinct == 1 and not report.run["reset_only"]
    assert False in supply.told and supply.told[-1] is True
    assert report.run["acknowledged"] > 0 and report.run["power"].startswith("bench (")
    assert board.is_powered


@pytest.mark.filterwarnings("ignore:set(Daemon|Name).. is deprecated")
def test_a_reset_over_a_network_port_is_refused(board, tmp_path):
    with rfc2217_port() as (address, _):
        file = tmp_path / "power.toml"
        file.write_text('[own]\nkind = "rts"\nport = "%s"\n' % address)
        with pytest.raises(Usage, match="one program at a time"):
            boards.run_command(
                parsed("--target", address, "--power", "own", "--power-config", str(file),
                       "--reset-is-enough"))  # fmt: skip
