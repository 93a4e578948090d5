"""LittleFS images in the one geometry that firmware, emulator and host tools share."""

import signal
import threading
from contextlib import contextmanager

from littlefs import LittleFS, LittleFSError

from drybag_host.board_errors import ImageProblem

SECTOR_BYTES = 4096
GEOMETRY = {"read_size": 32, "prog_size": 32, "cache_size": 128, "lookahead_size": 32}
DISK_VERSION = 0x00020000  # MicroPython 1.20 and 1.21 mount no 2.1; newer ones mount both


@contextmanager
def _uninterrupted():
    """Ctrl-C and SIGTERM wait until the file system is done (milliseconds).

    littlefs-python's callbacks can't pass an exception on: an interrupt that falls into one is
    printed and lost, and so are the bytes that it was to program.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread alone
        return
    came = []
    before = {
        number: signal.signal(number, lambda number, frame: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
        if came:
            signal.raise_signal(came[0])


@_uninterrupted()
def build(size_bytes, files):
    """A LittleFS image of `size_bytes` with `files` ({"/lib/x.mpy": bytes}).

    Raises ImageProblem when they do not fit.
    """
    fs = LittleFS(
        block_size=SECTOR_BYTES,
        block_count=size_bytes // SECTOR_BYTES,
        disk_version=DISK_VERSION,
        **GEOMETRY,
    )
    try:
        for path, data in sorted(files.items()):
            folder = path.rpartition("/")[0]
            if folder:
                fs.makedirs(folder, exist_ok=True)
            with fs.open(path, "wb") as f:
                f.write(data)
    except LittleFSError as error:
        raise ImageProblem(
            "the files (%d bytes) do not fit into a partition of %d bytes: %s"
            % (sum(map(len, files.values())), size_bytes, error)
        ) from None
    fs.unmount()
    return bytes(fs.context.buffer)


def declared_bytes(image):
    """How large a partition its LittleFS says it has, by its superblock; 0 if that is not told.

    LittleFS, DESIGN "superblock": behind the magic come version, block size and block count.
    """
    for at in (0, SECTOR_BYTES):
        head = bytes(image[at : at + 32])
        if head[8:16] == b"littlefs" and _u32(head, 24) == SECTOR_BYTES:
            return _u32(head, 28) * SECTOR_BYTES
    return 0


def _u32(data, at):
    return int.from_bytes(data[at : at + 4], "little")


@_uninterrupted()
def mount(image):
    """A LittleFS over the bytes of an image, for reading. Raises ImageProblem if it is none."""
    fs = LittleFS(
        block_size=SECTOR_BYTES,
        block_count=len(image) // SECTOR_BYTES,
        mount=False,
        **GEOMETRY,
    )
    fs.context.buffer = bytearray(image)
    try:
        fs.mount()
    except LittleFSError as error:
        raise ImageProblem("no LittleFS file system in the image: %s" % error) from None
    return fs


@_uninterrupted()
def read_files(image):
    """{"/path": bytes} of everything in the image. Raises ImageProblem if not all can be read."""
    fs = mount(image)
    files = {}
    try:
        for folder, _, names in fs.walk("/"):
            for name in names:
                path = folder.rstrip("/") + "/" + name
                with fs.open(path, "rb") as f:
                    files[path] = f.read()
    except (LittleFSError, UnicodeDecodeError) as error:
        raise ImageProblem("the file system in the image is damaged: %s" % error) from None
    return files
