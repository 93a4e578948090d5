"""LittleFS images in the one geometry that firmware, emulator and host tools share."""

import signal
import threading
import zlib
from contextlib import contextmanager

from littlefs import LittleFS, LittleFSError

from drybag_host.board_errors import ImageProblem

SECTOR_BYTES = 4096
GEOMETRY = {"read_size": 32, "prog_size": 32, "cache_size": 128, "lookahead_size": 32}
DISK_VERSION = 0x00020000  # MicroPython 1.20 and 1.21 mount no 2.1; newer ones mount both

_CRC_TAG, _INLINE_TAG = 0x500, 0x201


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


def disk_version(superblocks):
    """The disk version (0x00020001: 2.1) that the first two sectors of a LittleFS tell; 0 if none.

    A newer LittleFS notes its own behind what is there, so the log of the newer sector is read.
    """
    found = [_noted(superblocks[at : at + SECTOR_BYTES]) for at in (0, SECTOR_BYTES)]
    found = [(revision, version) for revision, version in found if version]
    if len(found) == 2 and (found[1][0] - found[0][0]) & 0xFFFFFFFF < 0x80000000:
        found.reverse()
    return found[0][1] if found else 0


def _noted(sector):
    """(revision, disk version or 0) by the commits of a sector whose CRC is right.

    LittleFS, SPEC "metadata blocks": a tag is the xor of its big-endian word and the tag before.
    """
    at, begun, tag = 4, 0, 0xFFFFFFFF
    version, new, head = 0, 0, bytes(sector[:4])
    while at + 8 <= len(sector):
        tag ^= int.from_bytes(sector[at : at + 4], "big")
        kind, size = tag >> 20 & 0x7FF, tag & 0x3FF
        size = 0 if size == 0x3FF else size
        if tag >> 31 or at + 4 + size > len(sector):
            break
        at += 4
        if kind & 0x780 == _CRC_TAG:
            if zlib.crc32(head + sector[begun or 4 : at]) ^ 0xFFFFFFFF != _u32(sector, at):
                break
            version, head, begun = new, b"", at + size
            tag ^= (kind & 1) << 31
        elif kind == _INLINE_TAG and not tag >> 10 & 0x3FF and size >= 24:
            new = _u32(sector, at)
        at += size
    return _u32(sector, 0), version


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
