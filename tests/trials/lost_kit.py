"""Handsets of this process at a real hub, and what that hub shows."""

from drybag import layout
from drybag_host.trials.driver import Driver
from drybag_host.trials.handset import Handset
from drybag_host.trials.oracle import Oracle

OWNER = "ada"
KEY = layout.CONTACT, b"uid-1"
CARD = b"VERSION:3.0\nFN:Ada\nTEL:1\n"


class Place:
    """What a trials.Handset wants around it; also of a Board."""

    def __init__(self, folder):
        self.folder = folder
        self.oracle, self.blobs, self.now_s, self.seed = Oracle(), {}, 0.0, 1

    def stamp(self):
        return 820_454_400

    def acknowledged(self, *what):
        pass


class Phone:
    """A handset of this process, paired with a hub, perhaps through a proxy."""

    def __init__(self, place, server, name, port=None, owner=OWNER):
        self.handset = Handset(place, 1 + sum(name.encode()) % 90, name)
        self.port = port
        self.pair(server, owner)

    def pair(self, server, owner=OWNER):
        hub = server.enrol(owner, self.handset.name)
        self.handset.pair(hub)
        self.driver = Driver(hub, self.port, timeout_s=5)

    def put(self, key, body, **more):
        return self.handset.journal.put(*key, body, **more)

    def sync(self):
        return self.driver.sync(self.handset.engine)

    def synced(self):
        outcome = self.sync()
        assert outcome.state == "synced", outcome.reason

    def shown(self):
        return {key: body for key, (body, _, _) in self.handset.shown().items()}


def heads(server, owner=OWNER):
    """{key: body} that the hub shows."""
    found = {}
    with server.storage() as storage:
        for head in storage.scan("heads", "", (owner,)):
            if not head["deleted"]:
                row = storage.get("versions", [(owner, head["pos"])])[0]
                found[row["kind"], row["uid"]] = row["body"]
    return found


def conflicts(server, owner=OWNER):
    with server.storage() as storage:
        rows = storage.scan("conflicts", "", (owner,))
        return [storage.get("versions", [(owner, r["pos"])])[0]["body"] for r in rows]
