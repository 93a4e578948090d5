"""Blobs on their way in: what is there, what fits, whose they are.

Bytes are stored once for all owners. An owner has a blob once it has sent all of its bytes: that
the store has them from somebody else is not told, and gives no right to them.
"""

from collections import OrderedDict
from hashlib import sha256

from drybag.errors import BadBlob
from drybag_host.hub import blobstore
from drybag_host.hub.refusals import BadBlobSent, NotThere, TooMuch, WrongOffset

__all__ = ["MAX_BLOB_BYTES", "Uploads", "sender"]

MAX_BLOB_BYTES = blobstore.MAX_BLOB_BYTES
MOST_PROOFS = 1000


def sender(owner):
    """Under what name a blob store keeps what an owner has sent of a blob so far."""
    return sha256(owner.encode("utf-8", "surrogatepass")).hexdigest()[:16]


class Uploads:
    """The blobs of a service. Calls for one blob must not overlap."""

    def __init__(self, service):
        self._service = service
        self._storage = service.storage
        self._blobs = service.blobs
        self._proofs = OrderedDict()  # (owner, name): bytes of a stored blob it has sent too

    def size(self, owner, sha):
        """Size of a blob of this owner. Raises NotThere."""
        row = self._storage.get("blobs", [(owner, sha)])[0]
        if row is None:
            raise NotThere("no such blob")
        return row["size"]

    def state(self, owner, sha):
        """(bytes that are here, complete) as far as this owner is concerned."""
        row = self._storage.get("blobs", [(owner, sha)])[0]
        if row is not None:
            return row["size"], True
        have, complete = self._blobs.have(sha, sender(owner))
        return (self._proofs.get((owner, sha), 0), False) if complete else (have, False)

    def check(self, owner, sha, size, offset, length):
        """Before any byte is taken; True if there is nothing to take. Raises Refused."""
        if size > MAX_BLOB_BYTES:
            raise TooMuch("a photo or attachment has at most %d bytes" % MAX_BLOB_BYTES)
        have, complete = self.state(owner, sha)
        if complete:
            return True
        if offset != have or offset > size:
            raise WrongOffset("the blob goes on at byte %d" % have, have=have)
        if length > size - offset:
            raise TooMuch("more bytes than are left of the blob")
        return False

    def add(self, owner, sha, size, offset, data):
        """Take bytes, durably; returns how many are here. Raises Refused."""
        if self._blobs.have(sha)[1]:
            return self._prove(owner, sha, size, offset, data)
        try:
            have = self._blobs.append(sha, size, offset, [data], sender(owner))
        except BadBlob as error:
            raise BadBlobSent("these bytes are not that blob: send it anew") from error
        except blobstore.WrongOffset as error:
            raise WrongOffset(str(error), have=error.have) from error
        if have == size:
            self._own(owner, sha, size)
        return have

    def _prove(self, owner, sha, size, offset, data):
        stored = bytearray()
        for piece in self._blobs.open(sha, offset):
            stored += piece
            if len(stored) >= len(data):
                break
        if bytes(stored[: len(data)]) != data or self._blobs.size(sha) != size:
            self._proofs.pop((owner, sha), None)
            raise BadBlobSent("these bytes are not that blob: send it anew")
        have = offset + len(data)
        self._proofs[owner, sha] = have
        if len(self._proofs) > MOST_PROOFS:
            self._proofs.popitem(last=False)
        if have == size:
            self._own(owner, sha, size)
            del self._proofs[owner, sha]
        return have

    def _own(self, owner, sha, size):
        now_ms = self._service.now_ms()
        row = {"owner": owner, "sha": sha, "size": size, "created_ms": now_ms}
        self._storage.commit([("blobs", row)])

    def read(self, owner, sha, offset):
        """Pieces of a blob of this owner from a byte on. Raises NotThere."""
        self.size(owner, sha)
        return self._blobs.open(sha, offset)
