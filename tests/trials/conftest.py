"""A real hub process, and an emulated board that is paired with it."""

import pytest
from lost_kit import OWNER, Place

from drybag_host.trials.members import Board
from drybag_host.trials.server import HubServer


@pytest.fixture
def server(tmp_path):
    with HubServer(tmp_path / "hub", "--rate", "100000") as made:
        yield made


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture
def board(place, server, monkeypatch):
    monkeypatch.setenv("DRYBAG_HOME", str(place.folder / "home"))
    made = Board(place, OWNER, "board", 1)
    made.pair(server.enrol(OWNER, "board"))
    yield made
    made.close()
    if made.board.folder.exists() and made.board.is_running:
        made.board.stop()
