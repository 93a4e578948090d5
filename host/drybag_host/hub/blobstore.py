"""Blobs by their SHA-256: the interface of a blob store, and the one in memory.

    store = open_blobs("dir:PATH" | "s3://BUCKET/PREFIX?endpoint=URL" | "memory:")
    store.have(sha, who)                    (bytes there, complete)
    store.append(sha, size, offset, chunks, who)   bytes there now; durable when it returns
    store.open(sha, offset)                 iterator of bytes
    store.size(sha)                         bytes, None if it is not there (complete)
    store.names()                           every complete blob
    store.close()

A name is 32 bytes, nothing else: no path comes from outside. A blob counts when its SHA-256 was
checked over all of it. What arrived of one before a link broke is kept and continued, for each
`who` (letters and digits) apart: nobody completes what somebody else began. Errors:
WrongOffset (not at the end of what is there), BadBlob (the bytes are not those of the name: the
partial copy is dropped), TooLarge, BadInput, NotFound, StorageBusy (it is being written),
HostDiskFull, HostFile, RemoteFailed.
"""

import threading
from hashlib import sha256

from drybag import layout
from drybag.errors import BadBlob, BadInput, NotFound, TooLarge
from drybag_host.errors import HostError, Usage
from drybag_host.hub.storage import Closing

__all__ = ["BlobStore", "MemoryBlobs", "WrongOffset", "open_blobs"]

MAX_BLOB_BYTES = layout.MAX_BLOB_CHUNKS * layout.BLOB_DATA


class WrongOffset(HostError):
    """The blob goes on at `have`, in bytes."""

    exit_code = 3

    def __init__(self, have):
        super().__init__("the blob goes on at byte %d" % have)
        self.have = have


class BlobStore(Closing):
    """Base of the stores: checks and the order of things. They fill in what raises here."""

    url = ""

    def have(self, sha, who=""):
        """(bytes there, True if that is all of it)."""
        size = self.size(sha)
        return (self._partial(_part(_hex(sha), who)), False) if size is None else (size, True)

    def append(self, sha, size, offset, chunks, who=""):
        """Add pieces from `offset` on to a blob of `size` bytes; returns how much is there.

        An error of `chunks` passes through; what came before it is kept.
        """
        name = _hex(sha)
        if not 0 <= size <= MAX_BLOB_BYTES:
            raise TooLarge("a blob of %d bytes: the limit is %d" % (size, MAX_BLOB_BYTES))
        there = self.size(sha)
        if there is not None:
            if there != size:
                raise BadBlob("blob %s has %d bytes, not %d" % (name[:12], there, size))
            return there
        return self._append(name, _part(name, who), size, offset, chunks)

    def put(self, sha, data):
        """A whole blob of which the bytes are here."""
        have, complete = self.have(sha)
        if not complete:
            self.append(sha, len(data), have, [data[have:]])

    def read(self, sha):
        """A whole blob, checked. Raises NotFound, BadBlob."""
        data = b"".join(self.open(sha))
        if sha256(data).digest() != bytes(sha):
            raise BadBlob("blob %s is damaged in %s" % (bytes(sha).hex(), self.url))
        return data

    def open(self, sha, offset=0):
        raise NotImplementedError

    def size(self, sha):
        raise NotImplementedError

    def names(self):
        raise NotImplementedError

    def _partial(self, part):
        """Bytes there of a blob that is not complete; part: see _part()."""
        raise NotImplementedError

    def _append(self, name, part, size, offset, chunks):
        raise NotImplementedError


class MemoryBlobs(BlobStore):
    """Blobs in a dict, for simulations. `copy()`: what a disk holds at a moment."""

    url = "memory:"

    def __init__(self):
        self._whole = {}
        self._parts = {}
        self._lock = threading.Lock()

    def copy(self):
        other = MemoryBlobs()
        with self._lock:
            other._whole = dict(self._whole)
            other._parts = {name: bytearray(data) for name, data in self._parts.items()}
        return other

    def open(self, sha, offset=0):
        name = _hex(sha)
        if name not in self._whole:
            raise missing(name)
        return iter([self._whole[name][offset:]] if offset < len(self._whole[name]) else [])

    def size(self, sha):
        data = self._whole.get(_hex(sha))
        return None if data is None else len(data)

    def names(self):
        return iter([bytes.fromhex(name) for name in sorted(self._whole)])

    def _partial(self, part):
        return len(self._parts.get(part, b""))

    def _append(self, name, part_name, size, offset, chunks):
        part = self._parts.setdefault(part_name, bytearray())
        if len(part) > size:
            part.clear()
        check_offset(offset, len(part))
        for chunk in chunks:
            part += chunk
            if len(part) > size:
                break
        with self._lock:
            if len(part) >= size:
                del self._parts[part_name]
                check_whole(name, size, len(part), sha256(part))
                self._whole[name] = bytes(part)
        return len(part)


def check_offset(offset, have):
    """Raises WrongOffset unless a piece at `offset` goes on where the blob ends."""
    if offset != have:
        raise WrongOffset(have)


def check_whole(name, size, found, digest):
    """Raises BadBlob unless `found` bytes with this hash object are the blob."""
    if found != size:
        raise BadBlob("blob %s has more than the %d bytes announced" % (name[:12], size))
    if digest.hexdigest() != name:
        raise BadBlob("the bytes are not those of blob %s; send it again from 0" % name[:12])


def _part(name, who):
    """What is called what `who` sends of a blob, until it is complete."""
    return "%s-%s" % (name, who) if who else name


def missing(name):
    return NotFound("blob %s is not in the store" % name)


def _hex(sha):
    if not isinstance(sha, (bytes, bytearray, memoryview)) or len(sha) != 32:
        raise BadInput("a blob's name is 32 bytes")
    return bytes(sha).hex()


def open_blobs(url):
    """The store of a URL; a folder is made if it is not there. Raises Usage, RemoteFailed."""
    if url.startswith("dir:"):
        from drybag_host.hub.blobs_dir import DirBlobs

        return DirBlobs(url)
    if url.startswith("s3:"):
        from drybag_host.hub.blobs_s3 import S3Blobs

        return S3Blobs(url)
    if url == "memory:":
        return MemoryBlobs()
    raise Usage("%s: no blob store of that form" % url, "dir:PATH or s3://BUCKET/PREFIX")
