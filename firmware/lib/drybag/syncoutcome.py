"""How a sync ends. See drybag.syncengine."""

from drybag.port import const

SYNCED = "synced"  # nothing is unsent, nothing is left to take
WAITING = "waiting"  # all is sent; changes wait for the person or for space
UNREACHABLE = "unreachable"
BUSY = "busy"
REFUSED = "refused"  # by the hub, with its reason
BROKEN = "broken"  # what the hub says makes no sense; nothing of it was used

_KEEP_OPEN_S = const(600)
_KEEP_OPEN_BYTES = const(60000)


class Outcome:
    """state (see above), reason (for the person, "" without), wait_s: seconds to the next sync."""

    def __init__(self, state, reason="", wait_s=0):
        self.state = state
        self.reason = reason
        self.wait_s = wait_s

    def keeps_connection(self, free_bytes):
        """True if the connection may stay until the next sync: that is soon, and TLS leaves
        `free_bytes` of heap, which are enough for whatever the person does meanwhile."""
        return self.wait_s <= _KEEP_OPEN_S and free_bytes >= _KEEP_OPEN_BYTES


class Stop(Exception):
    """Ends a sync that failed: state, reason; wait_s, where longer than backing off takes."""

    def __init__(self, state, reason, wait_s=0):
        super().__init__(reason)
        self.outcome = Outcome(state, reason, wait_s)
