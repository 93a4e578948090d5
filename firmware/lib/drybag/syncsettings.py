"""Which hub a handset is paired with, and the networks it knows: SETTING records of its journal.

`hub` has the secret, `wifi:SSID` a password; neither is ever told again. SPEC.md "Settings of
sync".
"""

import struct

from drybag.errors import BadInput, Damaged, NotFound
from drybag.layout import SETTING
from drybag.port import const
from drybag.syncstate import HUB, SYNC, State, load

WIFI = b"wifi:"
_VERSION = const(1)
SSID_BYTES = const(32)
PASSWORD_BYTES = const(64)
_NAME_BYTES = const(64)
_SECRET_BYTES = const(43)
_CA_BYTES = const(1200)


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


def check_network(ssid, password):
    """Raises BadInput for bytes that are no network's name or password."""
    if not 1 <= len(ssid) <= SSID_BYTES:
        raise BadInput("a network's name has 1 to %d bytes" % SSID_BYTES)
    if len(password) > PASSWORD_BYTES:
        raise BadInput("a network's password has at most %d bytes" % PASSWORD_BYTES)


def set_network(journal, ssid, password, priority):
    """Know a network (bytes; an empty password: an open one). Higher priorities are tried first.

    Raises BadInput.
    """
    check_network(ssid, password)
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
