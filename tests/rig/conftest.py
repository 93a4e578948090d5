"""Boards that the campaigns of this folder cut."""

import pytest
from bad_boards import FORGETFUL

from drybag_host.board.backends import SerialConsole
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.image import firmware
from drybag_host.link import HandsetLink


@pytest.fixture(scope="module")
def first_home(tmp_path_factory):
    """Where `image` is made; its cache of compiled modules serves others."""
    return tmp_path_factory.mktemp("image")


@pytest.fixture(scope="module")
def image(first_home):
    """A flash image with the firmware, formatted by a first boot."""
    home = first_home
    board = EmulatedBoard.create("blank", home=home)
    board.start()
    with HandsetLink(SerialConsole(board.console)) as link:
        link.hello()
    board.stop()
    return board.image.read_bytes()


@pytest.fixture
def board(tmp_path, monkeypatch, image):
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path / "home"))
    file = tmp_path / "flash.bin"
    file.write_bytes(image)
    board = EmulatedBoard.create("b", image=file)
    yield board
    if board.is_running:
        board.stop()


@pytest.fixture
def forgetful(tmp_path, monkeypatch, first_home):
    """A board whose firmware acknowledges a batch before it writes the one before."""
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path))
    files = firmware.firmware_files(cache_dir=first_home / "cache" / "mpy")
    files["/main.py"] = FORGETFUL + files["/main.py"]
    board = EmulatedBoard.create("b", files_in_vfs=files)
    yield board
    if board.is_running:
        board.stop()
