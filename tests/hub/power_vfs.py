"""A disk under SQLite that loses power: what was not synced is gone, torn, or there.

Everything written goes on to real files, and into a record by file. `after_cut` makes the files
as a disk may hold them after a cut between any two calls: what was synced, and of each later
write none, some or all of its sectors, in whatever order.
"""

import apsw

SECTOR = 512


class PowerVFS(apsw.VFS):
    """calls: [(path, what, offset or size, data)] of all files, in order."""

    def __init__(self, name="power"):
        self.calls = []
        super().__init__(name, "")

    def xOpen(self, name, flags):
        return _File(name, flags, self.calls)

    def xDelete(self, filename, syncdir):
        super().xDelete(filename, syncdir)
        self.calls.append((filename, "delete", 0, b""))


class _File(apsw.VFSFile):
    def __init__(self, name, flags, calls):
        super().__init__("", name, flags)
        self.path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self.calls = calls

    def xWrite(self, data, offset):
        super().xWrite(data, offset)
        self.calls.append((self.path, "write", offset, bytes(data)))

    def xTruncate(self, size):
        super().xTruncate(size)
        self.calls.append((self.path, "truncate", size, b""))

    def xSync(self, flags):
        super().xSync(flags)
        self.calls.append((self.path, "sync", 0, b""))


def after_cut(calls, rng):
    """{path: bytes} of a disk whose power went after these calls; `rng` draws what got lost."""
    last_sync = {}
    for number, (path, what, _, _) in enumerate(calls):
        if what in ("sync", "delete"):
            last_sync[path] = number
    files = {}
    for number, (path, what, at, data) in enumerate(calls):
        image = files.setdefault(path, bytearray())
        synced = number < last_sync.get(path, -1)
        if what == "delete":
            image.clear()
        elif what == "truncate" and (synced or rng.random() < 0.5):
            del image[at:]
            image.extend(bytes(max(0, at - len(image))))
        elif what == "write":
            _write(image, at, data, synced, rng)
    return files


def _write(image, at, data, synced, rng):
    keep = 1.0 if synced else rng.choice([0.0, 0.5, 1.0])
    for start in range(0, len(data), SECTOR):
        if rng.random() < keep or keep == 1.0:
            piece = data[start : start + SECTOR]
            image.extend(bytes(max(0, at + start + len(piece) - len(image))))
            image[at + start : at + start + len(piece)] = piece
