"""Any shell command for off and on."""

import os
import signal
import subprocess

from drybag_host.power_errors import SwitchFailed

from ._switch import Key, Switch

SUMMARY = "runs a shell command of yours for off and one for on"
NOTES = (
    "The commands find the board's name in $DRYBAG_TARGET; an exit code other than 0 is a no. "
    "'on' is also told to a board that is on."
)
KEYS = {
    "off": Key(str, None, "the command that takes the power away"),
    "on": Key(str, None, "the command that gives it back"),
    "timeout_s": Key(float, 10.0, "seconds a command may take"),
}
TRIED = "with the shell; in campaigns that switch an emulated board."
EXAMPLE = '[command]\noff = "pdu-client bench 4 off"\non = "pdu-client bench 4 on"\n'


class CommandSwitch(Switch):
    def __init__(self, off, on, timeout_s, target=""):
        self._commands = {"off": off, "on": on}
        self._timeout_s = timeout_s
        self._target = target

    def off(self, seed=None):
        self._run("off")

    def on(self):
        self._run("on")

    def _run(self, way):
        run_program(
            self._commands[way], self._timeout_s, "the command for '%s'" % way,
            "run it by hand: %s" % self._commands[way], DRYBAG_TARGET=self._target,
        )  # fmt: skip


def run_program(command, timeout_s, what, hint, **environment):
    """Run a shell line (str) or a program (list); its output as text. Raises SwitchFailed.

    One that takes too long is ended with all that it started.
    """
    try:
        process = subprocess.Popen(
            command, shell=isinstance(command, str), start_new_session=True, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, **environment}, errors="replace",
        )  # fmt: skip
    except OSError as error:
        raise SwitchFailed("%s does not start: %s" % (what, error), hint) from None
    try:
        said = process.communicate(timeout=timeout_s)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise SwitchFailed("%s took more than %g s" % (what, timeout_s), hint) from None
    if process.returncode:
        raise SwitchFailed(
            "%s failed with %d: %s"
            % (what, process.returncode, said.strip()[-300:] or "it said nothing"),
            hint,
        )
    return said


def open(settings, target):
    return CommandSwitch(settings["off"], settings["on"], settings["timeout_s"], target)
