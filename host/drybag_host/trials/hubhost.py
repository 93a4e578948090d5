"""The hub of a history: the real service over memory, which dies, forgets and is put back."""

import json
import random

from drybag import syncsettings
from drybag_host.hub import owneractions, rows
from drybag_host.hub.blobstore import MemoryBlobs
from drybag_host.hub.memory import MemoryStorage
from drybag_host.hub.ownerlog import version_of
from drybag_host.hub.refusals import Refused
from drybag_host.hub.service import EPOCH_S, Service
from drybag_host.hub.uploads import Uploads

from .handset import stamp_at
from .oracle import tokens

OWNER = "ada"
_DOWN_S = 20.0


class HubDied(Exception):
    """The process was killed in mid-request."""


class _Storage(MemoryStorage):
    """Memory that dies at a commit, before or after it is durable. `kill`: "before" or "after"."""

    kill = ""
    kill_in = 0
    serving = False

    def _finish(self):
        if not self.serving or not self.kill:
            return super()._finish()
        self.kill_in -= 1
        if self.kill_in > 0:
            return super()._finish()
        kill, self.kill = self.kill, ""
        if kill == "before":
            self._abort()
        else:
            super()._finish()
        raise HubDied


def _copy(storage):
    """What the disk holds now, as a storage that can die."""
    plain, fresh = storage.copy(), _Storage()
    fresh.__dict__.update({k: v for k, v in plain.__dict__.items() if k != "_lock"})
    return fresh


class HubHost:
    def __init__(self, world):
        self.world = world
        self._ids = random.Random(world.seed)
        self._down_until = 0.0
        self.backups = []
        self.restored = False
        self._names = {}  # device: the handset's
        self._fresh()

    # -- life and death -----------------------------------------------------------------------
    def _fresh(self):
        self.storage = _Storage()
        self.blobs = MemoryBlobs()
        self._name()
        self.storage.commit([("owners", {"owner": OWNER, "chain": rows.NO_CHAIN})])
        self._start()

    def _name(self):
        """This store is another one than any before."""
        text = "%016x" % self._ids.getrandbits(64)
        self.storage.commit([("meta", {"name": "hub_id", "value": text})])

    def _start(self):
        self.service = Service(self.storage, self.blobs, self._clock)
        self.uploads = Uploads(self.service)

    def _clock(self):
        return EPOCH_S + stamp_at(self.world.now_s)

    def arm_kill(self, chance):
        rng = random.Random(chance)
        self.storage.kill = rng.choice(("before", "after"))
        self.storage.kill_in = rng.randint(1, 4)

    def backup(self):
        self.backups.append((_copy(self.storage), self.blobs.copy()))

    def restore(self, chance):
        if not self.backups:
            return
        storage, blobs = random.Random(chance).choice(self.backups)
        self.storage, self.blobs = _copy(storage), blobs.copy()
        self._name()
        self._enroll_all()
        self._start()
        self.restored = True
        self.world.tell("   the hub holds an older backup")
        self.world.mourn()

    def empty(self):
        self._fresh()
        self._enroll_all()
        self.world.tell("   the hub is empty")
        self.world.mourn()

    # -- handsets -----------------------------------------------------------------------------
    def enroll(self, handset):
        """Pair a handset with this hub, as the cable does."""
        name = "%016x" % self._ids.getrandbits(64)
        self._names[name] = handset.name
        row = {"device": name, "owner": OWNER, "name": handset.name}
        self.storage.commit([("devices", row)])
        handset.hub_row = self.storage.get("devices", [(name,)])[0]
        handset.pair(syncsettings.Hub("hub", 443, OWNER, name, "s" * 43, b"ca"))

    def revoke(self, handset):
        """A lost handset may not come any more."""
        handset.hub_row = None

    def _enroll_all(self):
        """Accounts are known again: whoever runs the hub has a list of them."""
        for handset in self.world.handsets:
            self.storage.commit([("devices", dict(handset.hub_row))])

    # -- requests -----------------------------------------------------------------------------
    def handle(self, handset, verb, path, body, offset):
        """(status, headers, body) of one request. Raises HubDied."""
        if self.world.now_s < self._down_until:
            raise HubDied
        if handset.hub_row is None:
            return 403, {}, b'{"class":"Revoked","message":"this handset was lost"}'
        try:
            self.storage.serving = True
            return self._handle(handset.hub_row, verb, path, body, offset)
        except Refused as refused:
            return refused.status, {}, _json(refused.answer())
        except HubDied:
            self._down_until = self.world.now_s + _DOWN_S
            self._start()
            self.world.counts["kills"] += 1
            self.world.tell("   the hub is killed in mid-request, and comes back")
            raise
        finally:
            self.storage.serving = False

    def _handle(self, device, verb, path, body, offset):
        if verb == "post":
            return 200, {}, self.service.sync(device, body)
        name, _, query = path.partition("?")
        sha = bytes.fromhex(name.rsplit("/", 1)[1])
        owner = device["owner"]
        if verb == "put":
            wanted = dict(pair.split("=") for pair in query.split("&"))
            return self._put_blob(owner, sha, int(wanted["size"]), int(wanted["offset"]), body)
        data = b"".join(self.uploads.read(owner, sha, offset))
        return (206 if offset else 200), {"content-length": str(len(data)), "stream": True}, data

    def _put_blob(self, owner, sha, size, offset, body):
        """`body` may be less than was announced: the link broke in the middle."""
        have = size
        if not self.uploads.check(owner, sha, size, offset, size - offset):
            have = self.uploads.add(owner, sha, size, offset, body)
        return 200, {}, _json({"have": have, "complete": have == size})

    # -- what the checks look at --------------------------------------------------------------
    def moves(self):
        """Changes when something happens to a record."""
        return self.storage.get("owners", [(OWNER,)])[0]["pos"]

    def _versions(self):
        return self.storage.scan("versions", "", (OWNER,))

    def heads(self):
        """{key: (body, blobs, parent)} of what counts and is not deleted."""
        found = {}
        for head in self.storage.scan("heads", "", (OWNER,)):
            if not head["deleted"]:
                row = self.storage.get("versions", [(OWNER, head["pos"])])[0]
                version = version_of(row)
                found[row["kind"], row["uid"]] = (row["body"], version.blobs, row["parent"])
        return found

    def kept(self):
        """{key: tokens of the versions that conflicts keep}.

        A restore forgets newer conflicts: what they kept is in the history then.
        """
        found = {}
        for row in self._versions() if self.restored else ():
            found.setdefault((row["kind"], row["uid"]), set()).update(tokens(row["body"]))
        for row in self.storage.scan("conflicts", "", (OWNER,)):
            version = self.storage.get("versions", [(OWNER, row["pos"])])[0]
            found.setdefault((row["kind"], row["uid"]), set()).update(tokens(version["body"]))
        return found

    def alive(self):
        """(tokens in any version, (handset, key, seq) of deletions)."""
        alive, tombstones = set(), set()
        for row in self._versions():
            alive |= tokens(row["body"])
            if row["deleted"] and row["device"]:
                name = self._names[row["device"]]
                tombstones.add((name, (row["kind"], row["uid"]), row["seq"]))
        return alive, tombstones

    def answer(self, rng):
        """The owner's word on held deletions; True if any waited."""
        waiting = owneractions.held(self.storage, OWNER)
        for row in waiting:
            accept = rng.random() < 0.5
            owneractions.decide_held(
                self.storage, self.blobs, OWNER, accept, self.service.now_ms(), [row["pos"]]
            )
            if not accept:
                self.world.oracle.undone({(row["kind"], row["uid"])})
            self.world.tell("   the owner says %s to the deletion of %s",
                            "yes" if accept else "no", row["uid"].decode())  # fmt: skip
        return bool(waiting)

    def wrong(self):
        """What is wrong with the log itself: lines."""
        found, chain, live = [], rows.NO_CHAIN, 0
        owner = self.storage.get("owners", [(OWNER,)])[0]
        versions = self._versions()
        for pos, row in enumerate(versions, 1):
            chain = rows.chain_after(chain, row)
            if row["pos"] != pos or row["chain"] != chain:
                found.append("the hub's chain breaks at %d" % row["pos"])
                break
        if owner["pos"] != len(versions) or (owner["chain"] or rows.NO_CHAIN) != chain:
            found.append("the owner's chain is not that of the log")
        for _, blobs, _ in self.heads().values():
            live += 1
            for sha in blobs:
                if not self.blobs.have(sha)[1] or self.blobs.read(sha) != self.world.blobs[sha]:
                    found.append("the hub lacks a photo")
        if owner["live"] != live:
            found.append("the owner has %d live records, not %d" % (live, owner["live"]))
        return found


def _json(value):
    return json.dumps(value).encode()
