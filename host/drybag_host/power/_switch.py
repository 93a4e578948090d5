"""What every switch can do, and how its settings are described."""

from collections import namedtuple

Key = namedtuple("Key", "kind default what")
Key.__doc__ = "`kind`: the Python type; `default`: None where it must be given; `what`: a line."

COMMON_KEYS = {
    "settle_s": Key(float, 0.5, "seconds from 'off' until the supply has really fallen"),
    "off_s": Key(float, 1.0, "seconds without power before it comes back, at least"),
}


class Switch:
    """A board's supply. `off` and `on` return once the switch has done it; SwitchFailed if not.

    `settle_s`: how long the supply takes to fall then (capacitors). `reset_only`: it holds the
    processor in reset and the flash keeps its power. `knows_commands`: `arm` can choose a flash
    command to cut, `fell` says where each cut fell, and the flash commands go to the file `trace`.
    `boot_s`: seconds of a boot, where the console opens only after it; else None.
    """

    name = kind = ""
    settle_s = 0.5
    off_s = 1.0
    reset_only = False
    knows_commands = False
    trace = None
    boot_s = None

    def off(self, seed=None):
        """Take the power away. `seed`: what is left to chance, where the switch can repeat it."""
        raise NotImplementedError

    def on(self):
        raise NotImplementedError

    def is_off(self):
        """True or False if the switch can tell, else None."""
        return None

    def close(self):
        """Let go of it. The board keeps its power where the switch allows that."""
