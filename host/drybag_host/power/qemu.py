"""The power of a board in QEMU."""

from drybag_host.board.qemu import QemuBoard
from drybag_host.board_errors import AlreadyRunning, NotRunning
from drybag_host.power_errors import SwitchSettings

from ._switch import Key, Switch

SUMMARY = "kills QEMU, at any moment"
NOTES = (
    "For --target qemu:NAME, and without settings. QEMU's flash programs whole pages: a cut falls "
    "between them."
)
COMMON = {
    "settle_s": Key(float, 0.0, "seconds from 'off' until the supply has fallen"),
    "off_s": Key(float, 0.0, "seconds without power before it comes back, at least"),
}
KEYS: dict[str, Key] = {}
TRIED = (
    "with Espressif's QEMU 7.2.0 and MicroPython 1.23, 72 cuts, 12 of them of boots. QEMU is no "
    "chip: its flash tears nothing."
)
EXAMPLE = "[qemu]\n"


class QemuPower(Switch):
    def __init__(self, board):
        self._board = board

    @property
    def boot_s(self):
        return self._board.boot_took_s

    def off(self, seed=None):
        try:
            self._board.power_off()
        except NotRunning:
            return

    def on(self):
        try:
            self._board.power_on()
        except AlreadyRunning:
            return

    def is_off(self):
        return not self._board.is_powered


def open(settings, target):
    if not target.startswith("qemu:"):
        raise SwitchSettings(
            "the switch qemu has no power over %s" % target,
            "it belongs to --target qemu:NAME; drybag rig switches lists those for real boards",
        )
    return QemuPower(QemuBoard(target[5:]))
