"""MicroPython's VfsLfs2 for CPython, over littlefs-python: the same C code under both."""

from littlefs import LittleFS, LittleFSError, lfs
from littlefs.context import UserContext

from drybag import port

_DISK_VERSION = 0x00020001


class _Context(UserContext):
    """Passes LittleFS's calls to a block device; keeps what was raised, as C cannot."""

    def __init__(self, dev):
        self.dev = dev
        self.raised = None

    def _call(self, function, *args):
        if self.raised is not None:
            return -5
        try:
            return function(*args) or 0
        except OSError as error:
            return -(error.errno or 5)
        except Exception as error:
            self.raised = error
            return -5

    def read(self, cfg, block, off, size):
        buf = bytearray(size)
        self._call(self.dev.readblocks, block, buf, off)
        return buf

    def prog(self, cfg, block, off, data):
        return self._call(self.dev.writeblocks, block, bytes(data), off)

    def erase(self, cfg, block):
        return self._call(self.dev.ioctl, 6, block)

    def sync(self, cfg):
        return self._call(self.dev.ioctl, 3, 0)


class VfsLfs2:
    """The part of MicroPython's VfsLfs2 that Drybag uses, same names and errors (OSError)."""

    def __init__(self, dev, readsize=32, progsize=32, lookahead=32, mtime=True, _mount=True):
        self._context = _Context(dev)
        self._fs = LittleFS(
            context=self._context,
            mount=False,
            block_size=dev.ioctl(5, 0),
            block_count=dev.ioctl(4, 0),
            read_size=readsize,
            prog_size=progsize,
            cache_size=min(dev.ioctl(5, 0), 4 * max(readsize, progsize)),
            lookahead_size=lookahead,
            block_cycles=port.BLOCK_CYCLES,
            disk_version=_DISK_VERSION,
        )
        if _mount:
            self._do(self._fs.mount)

    def _do(self, function, *args):
        try:
            return function(*args)
        except LittleFSError as error:
            raise OSError(-error.code, str(error))
        finally:
            if self._context.raised is not None:
                raised, self._context.raised = self._context.raised, None
                raise raised

    @staticmethod
    def mkfs(dev, readsize=32, progsize=32, lookahead=32):
        fs = VfsLfs2(dev, readsize, progsize, lookahead, _mount=False)
        fs._do(fs._fs.format)

    def open(self, path, mode):
        flags = {"rb": 1, "wb": 2 | 0x100 | 0x400, "ab": 2 | 0x100 | 0x800}[mode]
        return _File(self, self._do(lfs.file_open, self._fs.fs, path.lstrip("/"), flags))

    def ilistdir(self, path):
        for entry in self._do(lambda: list(self._fs.scandir(path))):
            yield (entry.name, 0x8000 if entry.type == 1 else 0x4000, 0, entry.size)

    def mkdir(self, path):
        self._do(self._fs.mkdir, path)

    def stat(self, path):
        info = self._do(self._fs.stat, path)
        return (0x8000 if info.type == 1 else 0x4000, 0, 0, 0, 0, 0, info.size, 0, 0, 0)

    def statvfs(self, path):
        block, count = self._fs.cfg.block_size, self._fs.cfg.block_count
        free = count - self._do(lambda: self._fs.used_block_count)
        return (block, block, count, free, free, 0, 0, 0, 0, 255)


class _File:
    """LittleFS's own calls: a close that fails has closed, and must not be tried again."""

    def __init__(self, fs, file):
        self._owner = fs
        self._file = file

    def write(self, data):
        return self._owner._do(lfs.file_write, self._owner._fs.fs, self._file, bytes(data))

    def read(self, size):
        return self._owner._do(lfs.file_read, self._owner._fs.fs, self._file, size)

    def flush(self):
        self._owner._do(lfs.file_sync, self._owner._fs.fs, self._file)

    def close(self):
        self._owner._do(lfs.file_close, self._owner._fs.fs, self._file)
