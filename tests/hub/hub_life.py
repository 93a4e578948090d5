"""A hub that owners write to, for the tests of its copies."""

from hashlib import sha256

from hub_rows import bare

from drybag_host.hub.blobstore import MemoryBlobs
from drybag_host.hub.memory import MemoryStorage
from drybag_host.hub.ownerlog import OwnerLog
from drybag_host.hub.rules import Version
from drybag_host.hub.schema import TABLES

DEVICE = {"device": "d" * 16, "epoch": 1, "life": 1}


class Life:
    """A hub's storage and blobs, and owners who go on writing."""

    def __init__(self, storage=None):
        self.storage = storage or MemoryStorage()
        self.blobs = MemoryBlobs()
        self.lsn = 0
        self.now_ms = 1000

    def write(self, count=1, owner="ada", blob=False, kind=1, uid=b"u%d", body=b"FN:%d\n"):
        """Contacts, one commit each, as the service writes them: every seventh place again."""
        for _ in range(count):
            log = self.log(owner)
            pos = log.row["pos"] + 1
            names = []
            if blob:
                data = b"photo %d of %s" % (pos, owner.encode())
                names = [sha256(data).digest()]
                self.blobs.put(names[0], data)
                log.add_blob(names[0], len(data))
            uid_now = uid % (pos % 7) if b"%d" in uid else uid
            body_now = body % pos if b"%d" in body else body
            version = Version(kind, uid_now, body_now, blobs=names, stamp=pos, seq=pos, **DEVICE)
            self.append(log, version)
        return self

    def delete(self, uid, owner="ada", kind=1):
        """A deletion that was believed."""
        log = self.log(owner)
        pos = log.row["pos"] + 1
        self.append(log, Version(kind, uid, deleted=True, stamp=pos, seq=pos, **DEVICE))
        return self

    def log(self, owner):
        if self.storage.get("owners", [(owner,)])[0] is None:
            self.storage.commit([("owners", {"owner": owner, "password_hash": "scrypt$..."})])
        return OwnerLog(self.storage, self.blobs, owner, self.now_ms)

    def append(self, log, version, role="pushed", counts=True):
        log.append(version, role, counts, rev=1)
        log.put("streams", {**DEVICE, "ack": version.seq, "last_seq": version.seq})
        self.lsn = log.commit()

    def rows(self):
        """Everything that is copied, by table."""
        return {
            name: [bare(row) for row in self.storage.scan(name)]
            for name, table in TABLES.items()
            if table.shipped and name not in ("meta", "audits")
        }
