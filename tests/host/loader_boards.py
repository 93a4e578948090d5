"""Emulated boards in their ROM's loader, and programs that stand for other esptools."""

from contextlib import contextmanager

from emulated_boards import make_board

from drybag_host.emulator.loader_port import LoaderPort
from drybag_host.esptool_run import Esptool


@contextmanager
def in_loader(home, **options):
    """(board, LoaderPort, Esptool) of a new board that is held in its loader."""
    board = make_board(home, **options)
    board.start()
    try:
        with LoaderPort(board) as port:
            yield board, port, Esptool(port.path, before="no-reset", name="the board")
    finally:
        if board.is_running:
            board.stop()


def other_esptool(folder, monkeypatch, source):
    """`python -m esptool` is `source` from now on; None: there is none."""
    package = folder / "esptool"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    if source is not None:
        (package / "__main__.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(folder))
