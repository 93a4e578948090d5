"""Fixtures of several modules here."""

import os

import flash_steps
import pytest

from drybag_host.emulator.boards import EmulatedBoard


@pytest.fixture(scope="session")
def mpy_cache(tmp_path_factory):
    """Compiled modules, so that each test need not compile them anew."""
    return tmp_path_factory.mktemp("mpy")


@pytest.fixture
def flash_home(tmp_path, monkeypatch, mpy_cache):
    """A DRYBAG_HOME with MicroPython in its cache; its boards are stopped at the end."""
    home = flash_steps.home_with_firmware(tmp_path / "home", monkeypatch, mpy_cache)
    yield home
    for name in os.listdir(home / "emu") if (home / "emu").exists() else ():
        board = EmulatedBoard(name, home)
        if board.is_running:
            board.stop()
