"""The power of an emulated board."""

from drybag_host.board_errors import AlreadyRunning, NotRunning
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.power_errors import SwitchSettings

from ._switch import Key, Switch

SUMMARY = "kills the emulated board, at any moment or at a chosen flash command"
NOTES = "For --target emu:NAME, and without settings. It knows where every cut fell."
COMMON = {
    "settle_s": Key(float, 0.0, "seconds from 'off' until the supply has fallen"),
    "off_s": Key(float, 0.0, "seconds without power before it comes back, at least"),
}
KEYS = {"timing": Key(bool, True, "flash commands take as long as on the chip, so that cuts hit")}
TRIED = "in all tests of campaigns on boards."
EXAMPLE = '[emu]\ntiming = true\n'


class EmulatedPower(Switch):
    knows_commands = True

    def __init__(self, board, timing):
        self._board = board
        self._timing = timing
        self._armed = {}

    def arm(self, command, state, seed):
        """At the `command`-th flash command after the next `on` the power goes by itself."""
        self._armed = {"cut_at": command, "cut_state": state, "seed": seed}

    def off(self, seed=None):
        try:
            self._board.power_off(seed)
        except NotRunning:  # the armed cut came first
            return

    def on(self):
        armed, self._armed = self._armed, {}
        try:
            self._board.power_on(timing=self._timing, trace=self.trace, **armed)
        except AlreadyRunning:
            return

    def is_off(self):
        return not self._board.is_powered

    def fell(self):
        """Where the last cut fell: {"op": "program"|"erase"|None, "address", "state"}."""
        return self._board.state()["cut"]

    @property
    def counters(self):
        """What the flash has done so far."""
        return self._board.counters


def open(settings, target):
    if not target.startswith("emu:"):
        raise SwitchSettings(
            "the switch emu has no power over %s" % target,
            "it belongs to --target emu:NAME; drybag rig switches lists those for real boards",
        )
    return EmulatedPower(EmulatedBoard(target[4:]), settings["timing"])
