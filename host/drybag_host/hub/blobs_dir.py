"""Blobs in a folder: `aa/aabb...` whole ones, by the SHA-256 in hex; `partial/*.part` unfinished.

A blob is synced before it gets its name, by rename; the folder is synced after that.
"""

import contextlib
import fcntl
import os
import re
from hashlib import sha256

from drybag_host.backup import disk
from drybag_host.errors import Usage
from drybag_host.hub.blobstore import BlobStore, _hex, check_offset, check_whole, missing
from drybag_host.hub.storage import StorageBusy

PARTIAL = "partial"
CHUNK_BYTES = 1 << 18
_NAME = re.compile(r"[0-9a-f]{64}")


class DirBlobs(BlobStore):
    """`dir:PATH`. Several processes may use one folder."""

    def __init__(self, url):
        self.url = url
        self.path = os.path.expanduser(url[len("dir:") :])
        if not self.path or "\0" in self.path:
            raise Usage("%r: no folder is named" % url, "dir:PATH, for instance dir:hub-blobs")
        disk.make_dirs(self.path, 0o700)
        disk.make_dirs(os.path.join(self.path, PARTIAL))

    def open(self, sha, offset=0):
        name = _hex(sha)
        try:
            file = open(self._place(name), "rb")
        except FileNotFoundError:
            raise missing(name) from None
        return disk.pieces(file, offset)

    def size(self, sha):
        return self._file_size(self._place(_hex(sha)))

    def names(self):
        with disk.explained(self.path):
            folders = sorted(f for f in os.listdir(self.path) if len(f) == 2)
            for folder in folders:
                for name in sorted(os.listdir(os.path.join(self.path, folder))):
                    if _NAME.fullmatch(name) and name.startswith(folder):
                        yield bytes.fromhex(name)

    def _place(self, name):
        return os.path.join(self.path, name[:2], name)

    def _part(self, name):
        return os.path.join(self.path, PARTIAL, name + ".part")

    def _file_size(self, path):
        with disk.explained(path):
            try:
                return os.path.getsize(path)
            except FileNotFoundError:
                return None

    def _partial(self, part):
        return self._file_size(self._part(part)) or 0

    def _append(self, name, part, size, offset, chunks):
        part = self._part(part)
        with self._held(part, name) as file:
            have = os.fstat(file.fileno()).st_size
            if have > size:
                with disk.explained(part):
                    file.truncate(0)
                have = 0
            check_offset(offset, have)
            try:
                for chunk in chunks:
                    with disk.explained(part):
                        disk._write(file, chunk)
                    have += len(chunk)
                    if have > size:
                        break
            finally:
                with disk.explained(part):
                    disk._sync(file)
            if have >= size:
                self._finish(name, size, have, part)
        return have

    def _finish(self, name, size, have, part):
        """Check what is in the file itself, and give it its name."""
        digest = sha256()
        with disk.explained(part):
            with open(part, "rb") as file:
                while chunk := file.read(CHUNK_BYTES):
                    digest.update(chunk)
            try:
                check_whole(name, size, have, digest)
            except BaseException:
                os.unlink(part)
                raise
            disk.make_dirs(os.path.dirname(self._place(name)))
            disk.rename(part, self._place(name))

    @contextlib.contextmanager
    def _held(self, part, name):
        """The partial file, open to append, for this writer alone.

        Nobody keeps a handle of a file that was finished: its bytes were checked.
        """
        while True:
            with disk.explained(part):
                file = open(part, "ab")
            with file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise StorageBusy("blob %s is being written" % name[:12]) from error
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(file.fileno()), os.stat(part)):
                        yield file
                        return
