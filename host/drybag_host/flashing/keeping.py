"""What a flash takes from a board and gives back, kept on this computer until it is done.

`$DRYBAG_HOME/flash/MAC/`: `vfs.bin`, the board's `/` as it was; `head.bin`, the first sector of
an application that stays; `kept.json`, the SHA-256 of both. A flash that was cut short finds
them here. `replaced/` holds copies of boot.py and main.py that were another's.
"""

import hashlib
import json
from pathlib import Path

from drybag_host.backup import disk
from drybag_host.board_errors import ImageProblem
from drybag_host.image import filesystem, firmware

_FILES = ("vfs", "head")
_MOST_BYTES = 32 << 20


class Keeping:
    """The folder of one board. Raises HostFile, HostDiskFull."""

    def __init__(self, home, mac):
        self.folder = Path(home) / "flash" / mac.replace(":", "")

    def save(self, vfs, head):
        """Keep both, of which each may be None, before the board is touched."""
        self._make()
        digests = {}
        for name, data in zip(_FILES, (vfs, head), strict=True):
            if data is not None:
                disk.replace_file(str(self.folder / (name + ".bin")), data)
                digests[name] = hashlib.sha256(data).hexdigest()
        disk.replace_file(str(self.folder / "kept.json"), json.dumps(digests).encode())

    def _make(self):
        """Passwords may be in a board's files: only this user reads them."""
        disk.make_dirs(str(self.folder))
        with disk.explained(str(self.folder)):
            self.folder.chmod(0o700)

    def load(self):
        """(vfs, head) of a flash that was not completed, None for what there is not."""
        try:
            digests = json.loads((self.folder / "kept.json").read_bytes())
        except (OSError, ValueError):
            return None, None
        return tuple(self._read(name, digests) for name in _FILES)

    def _read(self, name, digests):
        path = self.folder / (name + ".bin")
        wanted = digests.get(name) if isinstance(digests, dict) else None
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            return None
        data = path.read_bytes()
        return data if hashlib.sha256(data).hexdigest() == wanted else None

    def keep_unreadable(self, raw):
        """A copy of a partition that has a root and cannot be read; its path."""
        self._make()
        path = self.folder / "vfs-unreadable.bin"
        disk.replace_file(str(path), raw)
        return path

    def done(self):
        """The board has it all again."""
        for name in ("kept.json", "vfs.bin", "head.bin"):
            (self.folder / name).unlink(missing_ok=True)

    def keep_replaced(self, files):
        """Copies of {"/path": bytes}; the folder they are in."""
        folder = self.folder / "replaced"
        self._make()
        disk.make_dirs(str(folder))
        there = [path.read_bytes() for path in folder.iterdir() if path.is_file()]
        for path, data in files.items():
            name = str(folder / path.strip("/").replace("/", "_"))
            if data not in there:  # one that is kept already is somebody's, and stays
                disk.replace_file(disk.free_name(name), data)
        return folder


def has_root(superblocks):
    """Do these first two sectors of a partition begin a LittleFS file system?"""
    return b"littlefs" in superblocks[:64] or b"littlefs" in superblocks[4096 : 4096 + 64]


def is_readable(image):
    """Can every file of this file system be read?"""
    try:
        filesystem.read_files(image)
    except ImageProblem:
        return False
    return True


def merge(old, new):
    """(files for `/`, theirs, replaced) from the file system `old` and our {"/path": bytes}.

    `theirs`: paths that are not the firmware's, and stay; `replaced`: {"/path": bytes} of
    boot.py and main.py that say something else than ours. Raises ImageProblem if `old` cannot
    be read.
    """
    files = filesystem.read_files(old)
    theirs = {path: data for path, data in files.items() if not firmware.is_ours(path)}
    replaced = {
        path: files[path]
        for path in ("/boot.py", "/main.py")
        if path in files and files[path] != new.get(path)
    }
    return {**theirs, **new}, sorted(theirs), replaced
