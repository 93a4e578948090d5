"""What can go wrong with power switches, on top of `drybag_host.errors`.

Usage (2)
    SwitchSettings    no switch of that name, or its settings are wrong
HostError
    SwitchFailed (3)  the switch could not be told: no port, no answer, a command that fails
    NotSwitching (3)  it was told, and the board goes on running or stays dark
"""

from drybag_host.errors import HostError, Usage


class SwitchSettings(Usage):
    hint = "drybag rig switches lists the switches and their keys"


class SwitchFailed(HostError):
    exit_code = 3


class NotSwitching(HostError):
    exit_code = 3
