"""The ROM's loader of a target's chip, through esptool; for an emulated board through its own."""

import contextlib

from drybag_host.errors import LinkError, Usage
from drybag_host.esptool_run import BAUD, Esptool


def is_possible(target):
    """False for a target whose chip cannot be brought into its loader from here."""
    return not target.startswith(("socket://", "qemu:"))


@contextlib.contextmanager
def open_loader(target, baud=BAUD):
    """An Esptool at `target` (an emulated board with power, a port, rfc2217://).

    At the end the board starts its application again. Raises Usage for a target without a
    loader, and what Esptool's methods raise.
    """
    if not is_possible(target):
        raise Usage("%s: esptool needs DTR and RTS, which this target has not" % target)
    if target.startswith("emu:"):
        from drybag_host.emulator.boards import EmulatedBoard
        from drybag_host.emulator.loader_port import LoaderPort

        board = EmulatedBoard(target.partition(":")[2])
        try:
            with LoaderPort(board) as port:
                yield Esptool(port.path, before="no-reset", name=target)
        finally:
            if board.is_powered:
                board.reset()
        return
    tool = Esptool(target, baud, name=target)
    try:
        yield tool
    finally:
        with contextlib.suppress(LinkError):
            tool.restart()
