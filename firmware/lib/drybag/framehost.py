"""Frames on the serial line: the host's end of drybag.frame. Pure; runs on both interpreters."""

import struct
from binascii import crc32

from drybag.frame import (
    _HEAD,
    CRC_BYTES,
    ESCAPE,
    FROM_BOARD,
    HEAD_BYTES,
    MAX_FROM_BOARD,
    TO_BOARD,
    _checked,
)

_TEXT_BYTES = 4096


def pack(kind, ident, session, index, payload=b""):
    """A frame from the board as bytes, for tests and simulations of a handset."""
    return bytes((FROM_BOARD,)) + _frame(kind, ident, session, index, payload)


def _frame(kind, ident, session, index, payload):
    head = struct.pack(_HEAD, kind, ident, session, index, len(payload))
    head += struct.pack("<H", crc32(head) & 0xFFFF)
    return head + payload + struct.pack("<I", crc32(payload, crc32(head)))


def _stuffed(c):
    c ^= 0x80
    if c < 32 or c == 127 or c >= ESCAPE:
        return bytes((ESCAPE, c ^ 0x40))
    return bytes((c,))


_STUFFED = [_stuffed(c) for c in range(256)]


def pack_stuffed(kind, ident, session, index, payload=b""):
    """A frame towards the board as bytes for the line: no control characters in it."""
    frame = _frame(kind, ident, session, index, payload)
    return bytes((TO_BOARD,)) + b"".join([_STUFFED[c] for c in frame])


def stuffed_size(data):
    """Bytes that `data` takes on the line towards the board."""
    return sum([len(_STUFFED[c]) for c in data])


def fitting(data, start, limit):
    """How many bytes of `data` from `start` on take at most `limit` bytes on the line."""
    n = 0
    for c in data[start : start + limit]:
        limit -= len(_STUFFED[c])
        if limit < 0:
            break
        n += 1
    return n


class RawDecoder:
    """Takes frames out of what comes from the board; the rest is `text` (the last 4 KiB of it).

    `session`: only frames of this session are frames (None: all), so that bytes which a record
    happens to hold are not taken for one after noise. A frame that does not check is searched
    for the beginning of another; `damaged` counts those whose header was sound.
    """

    def __init__(self, session=None):
        self.session = session
        self.text = bytearray()
        self.broken = 0
        self.damaged = 0
        self._buf = bytearray()

    def feed(self, data):
        """The frames that are complete now: [(kind, ident, session, index, payload)]."""
        self._buf += data
        frames = []
        while self._next(frames):
            pass
        return frames

    def idle(self):
        """Nothing more comes: an unfinished frame is none. Gives the frames found within it."""
        frames = []
        while self._buf:
            self.damaged += len(self._buf) > HEAD_BYTES
            self._reject()
            while self._next(frames):
                pass
        return frames

    def _reject(self):
        self.broken += 1
        self._text(1)

    def _text(self, n):
        self.text += self._buf[:n]
        self._buf = self._buf[n:]
        if len(self.text) > _TEXT_BYTES:
            self.text = self.text[-_TEXT_BYTES:]

    def _next(self, frames):
        """One step; False when more bytes are needed."""
        buf = self._buf
        at = buf.find(bytes((FROM_BOARD,)))
        if at:
            self._text(len(buf) if at < 0 else at)
            return at > 0
        if len(buf) <= HEAD_BYTES:
            return False
        view = memoryview(buf)[1:]
        kind, ident, session, index, length = struct.unpack_from(_HEAD, buf, 1)
        if (
            length > MAX_FROM_BOARD
            or (self.session is not None and session != self.session)
            or not _checked(view)
        ):
            del view
            self._reject()
            return True
        end = 1 + HEAD_BYTES + length
        if len(buf) < end + CRC_BYTES:
            return False
        if crc32(view[: end - 1]) != struct.unpack_from("<I", buf, end)[0]:
            del view
            self.damaged += 1
            self._reject()
            return True
        frames.append((kind, ident, session, index, bytes(buf[1 + HEAD_BYTES : end])))
        self._buf = buf[end + CRC_BYTES :]
        return True
