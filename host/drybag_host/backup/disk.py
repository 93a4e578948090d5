"""Files that survive a crash of this computer: every durable step of a backup goes through here.

Nothing is overwritten in place. A file counts once `sync_file` and the `sync_dir` of its folder
have returned; a name changes by rename, in one step. Raises HostDiskFull and HostFile.
"""

import contextlib
import errno
import os
import stat
from hashlib import sha256

from drybag_host.errors import BackupBusy, HostDiskFull, HostFile

try:
    import fcntl
except ImportError:  # Windows: no flock, so no lock
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
PRIVATE = 0o600  # for what holds passwords: nobody else reads it, from its first byte on
PIECE_BYTES = 1 << 18
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_disk_full(error):
    """True for an OSError that means no room: disk, quota or file size limit."""
    return error.errno in _FULL


@contextlib.contextmanager
def explained(path):
    """OSError of the block becomes HostDiskFull or HostFile that names `path`."""
    try:
        yield
    except OSError as error:
        where = error.filename or path
        if is_disk_full(error):
            raise HostDiskFull("the disk is full while writing %s" % where) from error
        hint = owner_hint(where) if isinstance(error, PermissionError) else ""
        if error.errno == errno.EROFS:
            hint = "name a place elsewhere: nothing can be written there"
        reason = os.strerror(error.errno or errno.EIO)
        raise HostFile("%s: %s" % (where, reason), hint) from error


def owner_hint(path):
    """What to do where `path` is another user's, or in a folder of theirs; else ""."""
    path = os.path.abspath(path)
    while True:
        try:
            uid = os.stat(path).st_uid
            break
        except OSError:
            path = os.path.dirname(path)
    if not hasattr(os, "geteuid") or uid == os.geteuid():
        return ""
    import pwd

    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = "user %d" % uid
    return "%s belongs to %s: run the command as that user" % (path, name)


def make_dirs(path, mode=0o777):
    """Create a folder, with these permissions less the umask, and its parents; synced."""
    with explained(path):
        if os.path.isdir(path):
            return
        if os.path.exists(path):
            raise HostFile("%s is a file" % path, "name a folder")
        parent = os.path.dirname(os.path.abspath(path))
        make_dirs(parent)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, mode)
        _sync_dir(parent)


def opener(mode):
    """For open(): a file that is made gets these permissions, less the umask."""
    return lambda path, flags: os.open(path, flags, mode)


def write_file(path, chunks, mode=0o666):
    """Write a new file from bytes pieces and sync it; returns its size in bytes."""
    size_bytes = 0
    with explained(path), open(path, "wb", opener=opener(mode)) as file:
        for chunk in chunks:
            _write(file, chunk)
            size_bytes += len(chunk)
        _sync(file)
    return size_bytes


def replace_file(path, data, mode=0o666):
    """Write a whole file so that either the old or the new one is there."""
    temporary = path + ".tmp"
    with explained(path), contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    try:
        write_file(temporary, [data], mode)
        rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def rename(old, new):
    """Rename a file or folder, replacing a file; both folders are synced."""
    with explained(new):
        _rename(old, new)
        before, after = [os.path.dirname(path) or os.curdir for path in (old, new)]
        _sync_dir(after)
        if before != after and os.path.isdir(before):
            _sync_dir(before)


def sync_tree(path):
    """The files in a folder and in its folders, and the names of all, are on the disk."""
    for folder, _, names in os.walk(path):
        for name in names:
            with explained(folder), open(os.path.join(folder, name), "rb") as file:
                _sync(file)
        sync_folder(folder)


def sync_folder(path):
    """The names in a folder are on the disk."""
    with explained(path):
        _sync_dir(path)


def free_name(path):
    """`path`, or with .1, .2 ... behind it the first that nothing has."""
    name, number = path, 1
    while os.path.lexists(name):
        name, number = "%s.%d" % (path, number), number + 1
    return name


def remove_tree(path):
    """Remove a folder with what is in it; a symbolic link in it is removed, not followed."""
    if not os.path.lexists(path):
        return
    with explained(path):
        if os.path.islink(path) or not os.path.isdir(path):
            os.unlink(path)
            return
        for entry in os.scandir(path):
            if entry.is_dir(follow_symlinks=False):
                remove_tree(entry.path)
            else:
                os.unlink(entry.path)
        os.rmdir(path)


class Appender:
    """A file that only grows; `flush()` makes what was added durable."""

    def __init__(self, path, keep_bytes=0):
        with explained(path):
            self.path = path
            self.file = open(path, "ab")
            self.file.truncate(keep_bytes)
            self.size_bytes = keep_bytes

    def add(self, data):
        with explained(self.path):
            _write(self.file, data)
        self.size_bytes += len(data)

    def flush(self):
        with explained(self.path):
            _sync(self.file)

    def close(self):
        with contextlib.suppress(OSError):
            self.file.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
        return False


def read_file(path, limit_bytes=None):
    """The bytes of a regular file; None where there is none. A symbolic link is refused."""
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise HostFile("%s: %s" % (path, os.strerror(error.errno))) from error
    if not stat.S_ISREG(mode):
        raise HostFile("%s: not a regular file" % path)
    with explained(path), open(path, "rb") as file:
        return file.read() if limit_bytes is None else file.read(limit_bytes)


def sha256_of(path):
    """The 32-byte SHA-256 of a file."""
    digest = sha256()
    with explained(path), open(path, "rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return digest.digest()


def pieces(file, offset, piece_bytes=PIECE_BYTES):
    """The bytes of an open file from `offset` on; closes it."""
    with explained(file.name), file:
        file.seek(offset)
        while piece := file.read(piece_bytes):
            yield piece


def free_bytes(path):
    """Free space where `path` is or will be, in bytes."""
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    with explained(path):
        room = os.statvfs(path)
    return room.f_bavail * room.f_frsize


def lock(folder):
    """One writer a backup. Raises BackupBusy while another program holds it."""
    busy = BackupBusy("another drybag writes to %s" % folder, "wait until it has finished")
    return lock_file(os.path.join(folder, LOCK), busy)


@contextlib.contextmanager
def lock_file(path, busy):
    """Hold a lock file, made if it is not there; raises the error `busy` while another does.

    The lock goes with the process, however that ends.
    """
    if fcntl is None:
        yield
        return
    with explained(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise busy from error
        yield
    finally:
        os.close(handle)


# The four steps below are all that touches the disk when writing: the tests fail each of them.


def _write(file, data):
    file.write(data)


def _sync(file):
    file.flush()
    os.fsync(file.fileno())


def _rename(old, new):
    os.replace(old, new)


def _sync_dir(path):
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
