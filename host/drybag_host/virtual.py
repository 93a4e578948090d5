"""Boards that are programs on this computer: `emu:NAME` and `qemu:NAME`."""


def is_virtual(target):
    """True for a target that is such a board."""
    return target.startswith(("emu:", "qemu:"))


def virtual_board(target):
    """The EmulatedBoard or QemuBoard of a target. Raises UnknownBoardName."""
    kind, _, name = target.partition(":")
    if kind == "emu":
        from drybag_host.emulator.boards import EmulatedBoard

        return EmulatedBoard(name)
    from drybag_host.board.qemu import QemuBoard

    return QemuBoard(name)


def virtual_boards():
    """[(target, what it is)] of all that have power."""
    from drybag_host.board import qemu
    from drybag_host.emulator import boards

    found = []
    for kind, what, rows in (("emu", "emulated", boards.list_boards()),
                             ("qemu", "in QEMU:", qemu.list_boards())):  # fmt: skip
        for row in rows:
            if row["running"] and row["power"] not in (False, "off"):
                found.append(("%s:%s" % (kind, row["name"]), "%s %s" % (what, row["board"])))
    return found
