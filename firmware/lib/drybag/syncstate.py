"""How far a handset's sync has come: SETTING `sync` of its journal; SPEC.md "Settings of sync".

Which hub it is, and the networks, are in drybag.syncsettings.
"""

import struct

from drybag.errors import Damaged, NotFound
from drybag.layout import SETTING
from drybag.port import const

SYNC = b"sync"
HUB = b"hub"
_VERSION = const(1)
_STATE = "<BB8sI8sIIIII8sIIHH"
STATE_BYTES = const(62)
_DAY_S = const(86400)
_FEW = const(5)
MOST_STUCK = const(16)

# Flags of the state
OFF = const(1)  # the person wants no sync
REFUSED = const(2)  # the person wants the deletions not, that the hub asks for
HUB_HELD = const(4)  # the hub holds deletions of this handset back
HAS_OFFSITE = const(8)  # the hub has an off-site copy

_FIELDS = ("flags", "hub", "life", "ack_check", "acked", "agreed", "resend_below", "offsite",
           "cursor", "cursor_check", "deleted_since", "contact", "deleted", "allowed")  # fmt: skip


class State:
    """How far sync has come: the fields of SPEC.md "Settings", in their order.

    `stuck`: seqs of versions through which the hub acknowledged without having them, since they
    are damaged on the flash or more than the hub takes; MOST_STUCK at most.
    """

    __slots__ = _FIELDS + ("stuck",)

    def __init__(self, life=0):
        for name in _FIELDS:
            setattr(self, name, 0)
        self.hub = self.ack_check = self.cursor_check = bytes(8)
        self.life = life
        self.stuck = ()

    def pack(self):
        out = struct.pack(_STATE, _VERSION, *[getattr(self, name) for name in _FIELDS])
        return out + b"".join([struct.pack("<I", seq) for seq in self.stuck[-MOST_STUCK:]])

    def copy(self):
        return parse_state(self.pack())

    def has(self, flag):
        return self.flags & flag != 0

    def set(self, flag, on):
        self.flags = self.flags | flag if on else self.flags & ~flag

    def facts(self):
        """What is said of it: on, contact (stamp), at_hub and offsite (seqs; None: there is no
        off-site copy), stuck (seqs), held_by_hub."""
        return {
            "on": not self.flags & OFF,
            "contact": self.contact,
            "at_hub": self.agreed,
            "offsite": self.offsite if self.flags & HAS_OFFSITE else None,
            "stuck": self.stuck,
            "held_by_hub": self.flags & HUB_HELD != 0,
        }

    def places(self, seq):
        """(at the hub, off-site) of the version with `seq`, by the hub's own word."""
        if seq in self.stuck or seq > self.agreed:
            return False, False
        return True, self.flags & HAS_OFFSITE != 0 and seq <= self.offsite

    # -- deletions ----------------------------------------------------------------------------
    def may_delete(self, count, live, now):
        """True if `count` more of `live` records may go, for the hub's word alone."""
        if not count or count <= self.allowed:
            return True
        taken = self._taken(now)
        return taken + count <= max(_FEW, (live + taken) // 10)

    def _taken(self, now):
        """Deletions taken within 24 hours; without a clock all that were ever taken."""
        if now and self.deleted_since and now - self.deleted_since >= _DAY_S:
            return 0
        return self.deleted

    def note_deleted(self, count, now):
        """`count` records went for the hub's word."""
        if not count:
            return
        if count <= self.allowed:  # the person's word: it counts no more
            self.deleted = self.allowed = 0
            return
        taken = self._taken(now)
        if not taken or not self.deleted_since:
            self.deleted_since = now
        self.deleted = min(0xFFFF, taken + count)


def parse_state(data):
    """A State. Raises Damaged for anything else."""
    if len(data) < STATE_BYTES or data[0] != _VERSION:
        raise Damaged("the sync state of another version")
    s = State()
    values = struct.unpack_from(_STATE, data, 0)
    for i in range(len(_FIELDS)):
        setattr(s, _FIELDS[i], values[i + 1])
    s.stuck = tuple(
        [struct.unpack_from("<I", data, at)[0] for at in range(STATE_BYTES, len(data) - 3, 4)]
    )
    return s


def load(journal, random_u32):
    """The State of a paired handset, None of one that is not; the journal is told.

    To be called after each mount, before the first write. A state that cannot be read is begun
    anew: then everything is sent again.
    """
    state = None
    if journal.find_uid(SETTING, HUB):
        try:
            state = parse_state(journal.get(SETTING, SYNC).body)
        except (Damaged, NotFound):
            state = State(random_u32())
            state.resend_below = journal.last_seq
        if state.agreed > journal.last_seq:
            state.agreed = journal.last_seq
    if state:  # set back and not all sent again: checkpoints know fewer tombstones than the log
        journal.set_agreed(state.agreed, state.agreed < state.resend_below)
    else:
        journal.set_agreed(-1)
    return state


def save(journal, state):
    """Commit the state. Raises as journal.put."""
    journal.put(SETTING, SYNC, state.pack())
    if journal.agreed != state.agreed:
        journal.set_agreed(state.agreed)
