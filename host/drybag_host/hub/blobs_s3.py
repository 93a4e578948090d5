"""Blobs in an S3-compatible store: `blobs/aa/aabb...` whole, `partial/HEX/OFFSET` pieces.

A store takes whole objects only, and parts of an upload of at least 5 MiB. So what has arrived
of a blob is kept as pieces; the last one brings them together, checked, under the blob's name.
"""

import re
from hashlib import sha256

from drybag_host.hub.blobstore import BlobStore, _hex, check_offset, check_whole, missing
from drybag_host.hub.objects import S3Objects

PIECE_BYTES = 4 << 20
_NAME = re.compile(r"blobs/([0-9a-f]{2})/([0-9a-f]{64})")


class S3Blobs(BlobStore):
    """`s3://BUCKET/PREFIX?endpoint=URL`. Several processes may use one store."""

    def __init__(self, url):
        self.url = url
        self.objects = S3Objects(url)

    def open(self, sha, offset=0):
        name = _hex(sha)
        pieces = self.objects.open(_place(name), offset)
        if pieces is None:
            raise missing(name)
        return pieces

    def size(self, sha):
        return self.objects.size(_place(_hex(sha)))

    def names(self):
        for name, _ in self.objects.list("blobs"):
            match = _NAME.fullmatch(name)
            if match and match[2].startswith(match[1]):
                yield bytes.fromhex(match[2])

    def _pieces(self, name):
        """[(object, bytes of it to leave out)] that follow each other from 0, and their end."""
        out, end = [], 0
        for piece, size in self.objects.list("partial/" + name):
            offset = int(piece.rpartition("/")[2])
            if offset > end:
                break
            if offset + size > end:
                out.append((piece, end - offset))
                end = offset + size
        return out, end

    def _partial(self, part):
        return self._pieces(part)[1]

    def _append(self, name, part, size, offset, chunks):
        pieces, have = self._pieces(part)
        if have > size:
            self._drop(part)
            pieces, have = [], 0
        check_offset(offset, have)
        held = bytearray()
        try:
            for chunk in chunks:
                held += chunk
                if have + len(held) > size:
                    break
                if len(held) >= PIECE_BYTES and have + len(held) < size:
                    pieces.append((self._keep(part, have, held), 0))
                    have += len(held)
                    held = bytearray()
        except BaseException:
            if held:
                self._keep(part, have, held)
            raise
        if have + len(held) < size:
            if held:
                self._keep(part, have, held)
            return have + len(held)
        self._finish(name, part, size, pieces, held)
        return size

    def _keep(self, name, offset, data):
        piece = "partial/%s/%012d" % (name, offset)
        self.objects.put(piece, bytes(data))
        return piece

    def _finish(self, name, part, size, pieces, held):
        """All of it in memory (a blob has at most 16 MiB), checked, then one object."""
        data = bytearray()
        for piece, skip in pieces:
            data += (self.objects.get(piece) or b"")[skip:]
        data += held
        try:
            check_whole(name, size, len(data), sha256(data))
        except BaseException:
            self._drop(part)
            raise
        self.objects.put(_place(name), bytes(data))
        if pieces:
            self._drop(part)

    def _drop(self, name):
        for piece, _ in self.objects.list("partial/" + name):
            self.objects.delete(piece)


def _place(name):
    return "blobs/%s/%s" % (name[:2], name)
