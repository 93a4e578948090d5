"""A hub in this process, and handsets that speak its protocol without a journal."""

import hashlib

from drybag import syncwire, syncwirehost
from drybag.layout import CONTACT
from drybag.syncwire import Item, Request
from drybag_host.hub.memory import MemoryStorage
from drybag_host.hub.service import EPOCH_S, Service

NOW_S = 1_750_000_000
STAMP = NOW_S - EPOCH_S


class Clock:
    def __init__(self, now=NOW_S):
        self.now = now

    def __call__(self):
        return self.now


class DictBlobs:
    """Blobs in a dict, with the calls of drybag_host.hub.blobstore."""

    def __init__(self):
        self.parts = {}

    def have(self, sha, who=""):
        data, complete = self.parts.get(sha, (b"", False))
        return len(data), complete

    def append(self, sha, size, offset, chunks, who=""):
        data = self.parts.get(sha, (b"", False))[0]
        assert offset == len(data)
        data += b"".join(chunks)
        self.parts[sha] = data, len(data) == size
        return len(data)

    def open(self, sha, offset=0):
        yield self.parts[sha][0][offset:]


def add_owner(storage, owner="ada"):
    if storage.get("owners", [(owner,)])[0] is None:
        storage.commit([("owners", {"owner": owner})])


def add_device(storage, device="d1", owner="ada"):
    storage.commit([("devices", {"device": device, "owner": owner})])
    return storage.get("devices", [(device,)])[0]


def make_hub(storage=None, **options):
    """(service, storage, clock) with the owner ada."""
    storage = storage or MemoryStorage()
    clock = Clock()
    service = Service(storage, DictBlobs(), clock, **options)
    add_owner(storage)
    return service, storage, clock


class Device:
    """What a handset remembers of its hub, and the requests it makes of it."""

    def __init__(self, service, name="d1", owner="ada", life=7):
        self.service = service
        self.row = add_device(service.storage, name, owner)
        self.epoch, self.life = 99, life
        self.seq = 0
        self.acked, self.ack_check = 0, syncwire.NO_CHECK
        self.cursor, self.cursor_check = 0, syncwire.NO_CHECK
        self.records = {}  # what came from the hub: {(kind, uid): body or None}

    def item(self, uid, body, base=0, stamp=STAMP, kind=CONTACT, seq=None, **more):
        """The next entry of the journal."""
        if seq is None:
            self.seq += 1
            seq = self.seq
        deleted = body is None
        self.records[kind, uid] = body
        return Item(seq, kind, uid, body or b"", stamp, 1, deleted, base, **more)

    def request(self, items=(), room=8192, upto=None):
        r = Request()
        r.nonce, r.epoch, r.life = 5, self.epoch, self.life
        r.last_seq = self.seq
        r.acked, r.ack_check = self.acked, self.ack_check
        r.cursor, r.cursor_check = self.cursor, self.cursor_check
        r.upto = self.seq if upto is None else upto
        r.time, r.room = STAMP, room
        return syncwirehost.pack_request(r, items)

    def sync(self, *items, keep=True, **how):
        """(Reply, its items) for a request; `keep`: remember what it says."""
        data = self.service.sync(self.row, self.request(items, **how))
        return self.read(data, keep)

    def read(self, data, keep=True):
        reply = syncwire.parse_reply(data)
        changes = list(syncwire.parse_items(data, reply.items_at, reply.n))
        if keep:
            self.acked, self.ack_check = reply.ack, reply.ack_check
            self.cursor, self.cursor_check = reply.cursor, reply.cursor_check
            for item in changes:
                self.records[item.kind, item.uid] = None if item.deleted else item.body
        return reply, changes


def shown(service, owner="ada"):
    """{(kind, uid): body or None for deleted} as the hub shows it."""
    heads = service.storage.scan("heads", "", (owner,))
    rows = service.storage.get("versions", [(owner, h["pos"]) for h in heads])
    return {(r["kind"], r["uid"]): None if r["deleted"] else r["body"] for r in rows}


def roles(service, owner="ada"):
    """[(role, counts)] of the owner's log."""
    return [(r["role"], r["counts"]) for r in service.storage.scan("versions", "", (owner,))]


def sha256(data):
    return hashlib.sha256(data).digest()
