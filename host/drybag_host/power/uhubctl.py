"""USB hubs that can switch their ports, by the program uhubctl."""

import re

from drybag_host.power_errors import SwitchFailed

from ._switch import Key, Switch
from .command import run_program

SUMMARY = "switches a port of a USB hub with the program uhubctl"
NOTES = (
    "Many hubs say they can and keep 5 V on: the rig notices. 'uhubctl' alone lists hubs. "
    "Install it with: sudo apt install uhubctl"
)
KEYS = {
    "location": Key(str, None, "the hub, as uhubctl names it: 1-1"),
    "port": Key(int, None, "the hub's port, from 1"),
    "program": Key(str, "uhubctl", "the program, if it is not in the PATH"),
    "timeout_s": Key(float, 15.0, "seconds it may take"),
}
TRIED = "the program of Debian 12 (2.5.0) without a hub, and what it prints; no hub of metal."
EXAMPLE = '[uhubctl]\nlocation = "1-1"\nport = 2\n'


class HubPort(Switch):
    def __init__(self, settings):
        self._settings = settings

    def off(self, seed=None):
        self._do("off")

    def on(self):
        self._do("on")

    def _do(self, action):
        s = self._settings
        command = [s["program"], "-l", s["location"], "-p", str(s["port"]), "-a", action]
        said = run_program(
            command, s["timeout_s"], "uhubctl",
            "is it installed (sudo apt install uhubctl), may you use it (its README has the udev "
            "rule), and is this the hub: %s" % " ".join(command[:5]),
        )  # fmt: skip
        states = powered(said, s["port"])
        if any(is_on != (action == "on") for is_on in states):
            raise SwitchFailed(
                "uhubctl: port %d of hub %s did not go %s" % (s["port"], s["location"], action),
                "this hub cannot switch that port: use another hub, or a relay",
            )


def powered(said, port):
    """Has the port power, by what uhubctl says afterwards: one bool for each hub it told.

    A hub of USB 3 is two, and both must switch. The text in brackets is the device's own.
    """
    states = []
    for after in said.split("New status for hub ")[1:]:
        for flags in re.findall(r"^ +Port %d: [0-9a-f]{4}([^\n\[]*)" % port, after, re.M)[:1]:
            states.append("power" in flags.split())
    return states


def open(settings, target):
    return HubPort(settings)
