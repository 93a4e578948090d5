"""Frames on the serial line: the handset's end. Pure; SPEC.md "Frames" says it in words.

A frame is a 10-byte header, a payload and a CRC32 over both, little endian:

    type u8, id u8, session u16, index u16, length u16, check u16 (low half of the CRC32 of the
    8 bytes before), payload, CRC32 u32

From the board it goes out as it is behind the byte FROM_BOARD: a 2 KiB chunk costs the handset
no work a byte. Towards the board it goes behind TO_BOARD with every byte XOR 0x80, and those that
would then be a control character, DEL, or above 0xFC as ESCAPE and the byte XOR 0x40. So no frame
can interrupt a program, drive a REPL or end a line; a control character within one is noise, and
ends it. Both markers are bytes that UTF-8 text never holds.
"""

import struct
from binascii import crc32

from drybag.port import const

TO_BOARD = const(0xFE)
FROM_BOARD = const(0xFB)
ESCAPE = const(0xFD)
HEAD_BYTES = const(10)
CRC_BYTES = const(4)
OVERHEAD_BYTES = const(15)
MAX_TO_BOARD = const(240)
MAX_FROM_BOARD = const(2048)
WINDOW_BYTES = const(250)
FRAME = const(1)
TEXT = const(2)
STATE = const(0x14)  # kind of a frame from the board; its index says which state:
WORKING = const(2)
_HEAD = "<BBHHH"


def pack_into(buf, kind, ident, session, index, length):
    """Make a frame from the board in `buf`, whose payload stands at byte 11; returns its size.

    `buf`: a bytearray of at least `length` + OVERHEAD_BYTES.
    """
    buf[0] = FROM_BOARD
    struct.pack_into(_HEAD, buf, 1, kind, ident, session, index, length)
    view = memoryview(buf)
    struct.pack_into("<H", buf, 9, crc32(view[1:9]) & 0xFFFF)
    end = 1 + HEAD_BYTES + length
    struct.pack_into("<I", buf, end, crc32(view[1:end]))
    return end + CRC_BYTES


def lone(kind, ident, session, index):
    """A frame from the board without a payload, as bytes."""
    buf = bytearray(OVERHEAD_BYTES)
    pack_into(buf, kind, ident, session, index, 0)
    return buf


class Decoder:
    """Takes frames out of what comes towards the board; what is no frame is text.

    `feed` stops with `event` FRAME (`kind`, `ident`, `session`, `index`, `payload` hold it until
    the next call) or TEXT (`byte`). Memory is bounded and given once.
    """

    def __init__(self):
        self._buf = bytearray(HEAD_BYTES + MAX_TO_BOARD + CRC_BYTES)
        self._view = memoryview(self._buf)
        self._n = -1
        self._need = HEAD_BYTES
        self._escaped = False
        self.event = 0
        self.byte = 0
        self.broken = 0
        self.kind = self.ident = self.session = self.index = 0
        self.payload = self._view[:0]

    @property
    def in_frame(self):
        return self._n >= 0

    def idle(self):
        """The line has been silent: what has come of a frame is nothing."""
        if self._n >= 0:
            self.broken += 1
        self._n = -1

    def feed(self, buf, start, end):
        """Take bytes from `buf[start:end]` up to the next event; returns the place after it."""
        self.event = 0
        n = self._n
        while start < end:
            c = buf[start]
            start += 1
            if c == TO_BOARD:
                if n >= 0:
                    self.broken += 1
                n = 0
                self._need = HEAD_BYTES
                self._escaped = False
            elif n < 0:
                self.byte = c
                self.event = TEXT
                break
            elif c < 32 or c == 127:
                self.broken += 1
                n = -1
            elif c == ESCAPE:
                self._escaped = True
            else:
                if self._escaped:
                    self._escaped = False
                    c ^= 0x40
                self._buf[n] = c ^ 0x80
                n += 1
                if n == self._need and self._complete(n):
                    n = -1
                    if self.event:
                        break
        self._n = n
        return start

    def _complete(self, n):
        """Header or frame is there. True if the frame is over, well or not."""
        buf = self._buf
        if n == HEAD_BYTES:
            kind, ident, session, index, length = struct.unpack_from(_HEAD, buf, 0)
            if length <= MAX_TO_BOARD and _checked(self._view):
                self.kind, self.ident, self.session = kind, ident, session
                self.index = index
                self._need = HEAD_BYTES + length + CRC_BYTES
                return False
        else:
            end = n - CRC_BYTES
            if crc32(self._view[:end]) == struct.unpack_from("<I", buf, end)[0]:
                self.payload = self._view[HEAD_BYTES:end]
                self.event = FRAME
                return True
        self.broken += 1
        return True


def _checked(view):
    return crc32(view[:8]) & 0xFFFF == view[8] | view[9] << 8
