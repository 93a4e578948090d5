"""A console that cuts the power at a moment of what goes over it, and knows when it is gone.

The switch works in a thread of its own: the board goes on being fed until the supply has really
fallen, so that a slow switch does not make every cut fall into idleness.
"""

import contextlib
import secrets
import threading
import time
from collections import namedtuple

from drybag import framehost
from drybag import protocol as p
from drybag import protocolhost as ph
from drybag_host.errors import LinkError, LinkLost, NoSuchTarget

Plan = namedtuple("Plan", "how delay_s count state seed")
Plan.__doc__ = """One cut. `how`: one of HOWS; `delay_s`: from the first write, or from power-on;
`count`: of acknowledgements, requests or flash commands; `state`, `seed`: for the emulated."""

HOWS = {
    "idle": "while nothing was written",
    "moment": "a random moment of writing",
    "boot": "a random moment of booting",
    "ack": "just after an acknowledgement",
    "request": "just after sending part of a request",
    "command": "a chosen flash command",
}
AT_RANDOM = ("moment", "boot")
_STEP_S = 0.02


class PowerGone(LinkLost):
    """The planned cut has come."""


class Tap:
    """`console` with a cut planned: `plan` (or None), by `switch`.

    `patience_s`: how long writing may go on if the planned moment does not come. Reads raise
    PowerGone once the switch has done it and the board has been silent for `quiet_s`.
    """

    def __init__(self, console, switch, plan, patience_s=8.0, quiet_s=0.1):
        self.name = console.name
        self.pace = getattr(console, "pace", 1.0)
        self._console = console
        self._switch = switch
        self._plan = plan
        self._quiet_s = quiet_s
        self._acks = self._requests = 0
        self._is_writing = False
        self._thread = None
        self._error = None
        self._heard = time.monotonic()
        self._patience_s = patience_s * self.pace
        self._cut_at = None
        self._asked_s = 0.0
        if plan is not None and plan.how == "boot":
            self._cut_at = self._heard + plan.delay_s

    # -- the console's calls --------------------------------------------------------------------
    def read(self, timeout_s=0.0):
        deadline = time.monotonic() + timeout_s
        while True:
            now = time.monotonic()
            self._look(now)
            wait_s = max(0.0, min(deadline - now, _STEP_S))
            if self._cut_at is not None and self._thread is None:
                wait_s = min(wait_s, max(0.0, self._cut_at - now))
            data = self._console.read(wait_s)
            if data:
                self._heard = time.monotonic()
                return data
            if time.monotonic() >= deadline:
                return b""

    def write(self, data):
        self._console.write(data)
        if self._is_writing and self._plan.how == "request":
            self._requests += 1
            self._count(self._requests)

    def close(self):
        self._console.close()

    # -- when -----------------------------------------------------------------------------------
    def writing(self):
        """The first request with records is about to be sent."""
        plan = self._plan
        if plan is None or plan.how == "boot":
            return
        self._is_writing = True
        wait_s = plan.delay_s if plan.how == "moment" else self._patience_s
        self._cut_at = time.monotonic() + wait_s

    def acked(self):
        """An acknowledgement has come."""
        self._acks += 1
        if self._plan is not None and self._plan.how == "ack":
            self._count(self._acks)

    @contextlib.contextmanager
    def spared(self):
        """No cut comes meanwhile by the clock; one whose time has come comes at the end."""
        kept, self._cut_at = self._cut_at, None
        try:
            yield
        finally:
            self._cut_at = kept

    def _count(self, number):
        if number >= self._plan.count:
            self.cut()

    def cut(self):
        """Begin to take the power away."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._off, daemon=True)
            self._thread.start()

    def _off(self):
        try:
            self._switch.off(self._plan.seed if self._plan else None)
        except Exception as error:  # raised again in `ended`, in the thread that asked for it
            self._error = error

    def _look(self, now):
        """Is it time to cut? Is the power gone? Raises PowerGone."""
        if self._plan is None:
            return
        if self._thread is None:
            if self._cut_at is not None and now >= self._cut_at:
                self.cut()
            elif self._plan.how == "command" and now - self._asked_s > _STEP_S:
                self._asked_s = now
                if self._switch.is_off():
                    self.cut()
        elif not self._thread.is_alive() and now - self._heard > self._quiet_s:
            raise PowerGone("%s: the power is cut" % self.name)

    @property
    def is_cut(self):
        """Has the switch been told?"""
        return self._thread is not None

    def joined(self):
        """Wait for the switch, if it was told anything."""
        if self._thread is not None:
            self._thread.join()

    def ended(self):
        """Wait for the switch. Raises what it raised."""
        self.joined()
        if self._error is not None:
            raise self._error


def answers(open_console, wait_s):
    """Does anything come from the board when it is asked, within `wait_s`? A port that is gone
    does not answer either."""
    try:
        console = open_console()
    except (LinkError, NoSuchTarget):
        return b""
    said = b""
    try:
        while console.read(0.0):
            continue  # what came before the power went
        ask = framehost.pack_stuffed(
            p.REQUEST | p.LAST, 1, secrets.randbelow(0x10000), 0, ph.hello(1)
        )
        console.write(ask)
        deadline = time.monotonic() + wait_s
        while not said and time.monotonic() < deadline:
            said += console.read(deadline - time.monotonic())
    except (LinkError, OSError):
        return said
    finally:
        with contextlib.suppress(LinkError, OSError):
            console.close()
    return said
