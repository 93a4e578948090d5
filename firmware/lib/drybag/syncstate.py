"""What a handset keeps of its hub, as SETTING records of the journal; SPEC.md "Settings".

`sync`: how far sync has come. `hub`: which hub, and the secret. `wifi:SSID`: a network.
"""

import struct

from drybag.errors import BadInput, Damaged, NotFound
from drybag.layout import SETTING
from drybag.port import const

SYNC = b"sync"
HUB = b"hub"
WIFI = b"wifi:"
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

SSID_BYTES = const(32)
PASSWORD_BYTES = const(64)
_NAME_BYTES = const(64)
_SECRET_BYTES = const(43)
_CA_BYTES = const(1200)


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
    journal.set_agreed(state.agreed if state else -1)
    return state


def save(journal, state):
    """Commit the state. Raises as journal.put."""
    journal.put(SETTING, SYNC, state.pack())
    if journal.agreed != state.agreed:
        journal.set_agreed(state.agreed)


# --- which hub --------------------------------------------------------------------------------


class Hub:
    """host, port; owner, device (16 hex digits), secret (43 characters); ca: DER of its CA."""

    __slots__ = ("host", "port", "owner", "device", "secret", "ca")

    def __init__(self, host, port, owner, device, secret, ca):
        self.host = host
        self.port = port
        self.owner = owner
        self.device = device
        self.secret = secret
        self.ca = ca

    def check(self):
        """Raises BadInput for what no hub would give; the text names no secret."""
        for name, size in (("host", _NAME_BYTES), ("owner", _NAME_BYTES), ("device", 16),
                           ("secret", _SECRET_BYTES)):  # fmt: skip
            value = getattr(self, name)
            if not isinstance(value, str) or not 1 <= len(value.encode()) <= size:
                raise BadInput("the hub's %s must be a text of 1 to %d bytes" % (name, size))
            for c in value:
                if c <= " " and name != "owner" or c < " " or c == "\x7f":
                    raise BadInput("the hub's %s has characters that no %s has" % (name, name))
        if not isinstance(self.port, int) or not 1 <= self.port <= 65535:
            raise BadInput("the hub's port must be 1 to 65535")
        if not isinstance(self.ca, bytes) or not 1 <= len(self.ca) <= _CA_BYTES:
            raise BadInput("the hub's CA certificate must have 1 to %d bytes" % _CA_BYTES)

    def pack(self):
        out = struct.pack("<BH", _VERSION, self.port)
        for text in (self.host, self.owner, self.device, self.secret):
            text = text.encode()
            out += bytes((len(text),)) + text
        return out + self.ca


def parse_hub(data):
    """A Hub. Raises Damaged."""
    try:
        if len(data) < 3 or data[0] != _VERSION:
            raise ValueError
        _, port = struct.unpack_from("<BH", data, 0)
        texts, at = [], 3
        for _ in range(4):
            size = data[at]
            texts.append(bytes(data[at + 1 : at + 1 + size]).decode())
            at += 1 + size
        hub = Hub(texts[0], port, texts[1], texts[2], texts[3], bytes(data[at:]))
        hub.check()
    except (ValueError, IndexError, BadInput):
        raise Damaged("the hub's setting cannot be read: pair again")
    return hub


def load_hub(journal):
    """The Hub, or None. Raises Damaged."""
    if not journal.find_uid(SETTING, HUB):
        return None
    return parse_hub(journal.get(SETTING, HUB).body)


def pair(journal, hub, random_u32):
    """From now on this is the hub. Everything is sent to it, whatever another one has."""
    hub.check()
    old = load(journal, random_u32)
    state = State(random_u32())
    if old:
        state.resend_below = max(old.resend_below, old.agreed)
    journal.batch([("put", SETTING, HUB, hub.pack()), ("put", SETTING, SYNC, state.pack())])
    journal.set_agreed(0)
    return state


def unpair(journal):
    """Forget the hub and its secret; the records and the networks stay."""
    ops = [("delete", SETTING, uid) for uid in (HUB, SYNC) if journal.find_uid(SETTING, uid)]
    if ops:
        journal.batch(ops)
    journal.set_agreed(-1)


# --- networks ---------------------------------------------------------------------------------


def set_network(journal, ssid, password, priority):
    """Know a network (bytes; an empty password: an open one). Higher priorities are tried first.

    Raises BadInput.
    """
    if not 1 <= len(ssid) <= SSID_BYTES:
        raise BadInput("a network's name has 1 to %d bytes" % SSID_BYTES)
    if len(password) > PASSWORD_BYTES:
        raise BadInput("a network's password has at most %d bytes" % PASSWORD_BYTES)
    journal.put(SETTING, WIFI + ssid, bytes((_VERSION, priority & 0xFF)) + password)


def remove_network(journal, ssid):
    """Raises NotFound."""
    if not journal.find_uid(SETTING, WIFI + ssid):
        raise NotFound("this network is not known")
    journal.delete(SETTING, WIFI + ssid)


def networks(journal):
    """[(priority, SSID, password)], the highest priority first."""
    found = []
    for uid in journal.settings():
        if uid[: len(WIFI)] == WIFI:
            try:
                body = journal.get(SETTING, uid).body
            except (Damaged, NotFound):
                continue
            if len(body) >= 2 and body[0] == _VERSION:
                found.append((body[1], uid[len(WIFI) :], body[2:]))
    found.sort(key=lambda network: (-network[0], network[1]))
    return found
