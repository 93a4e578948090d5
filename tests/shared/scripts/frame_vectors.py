"""Frames packed, damaged and decoded; prints what came of each. Argument: the library folder."""

import sys
from binascii import hexlify

sys.path.insert(0, sys.argv[1])

from drybag import frame, framehost  # noqa: E402


def numbers(seed):
    while True:
        seed = (seed * 1103515245 + 12345) & 0x3FFFFFFF
        yield seed >> 8


def text(data):
    return hexlify(data).decode()


def towards_board(data):
    """What a Decoder makes of bytes, and how many frames it gave up."""
    decoder = frame.Decoder()
    out = []
    at = 0
    while at < len(data):
        at = decoder.feed(data, at, len(data))
        if decoder.event == frame.FRAME:
            out.append(
                "%d %d %d %d %s"
                % (decoder.kind, decoder.ident, decoder.session, decoder.index,
                   text(decoder.payload))
            )  # fmt: skip
        elif decoder.event == frame.TEXT:
            out.append("text %d" % decoder.byte)
    return out, decoder.broken


def from_board(data):
    decoder = framehost.RawDecoder()
    frames = decoder.feed(data) + decoder.idle()
    return [f[:4] + (text(f[4]),) for f in frames], decoder.broken, text(decoder.text)


random = numbers(1)
for size in (0, 1, 7, 100, 239, 240):
    payload = bytes([next(random) & 0xFF for _ in range(size)])
    wire = framehost.pack_stuffed(size & 0x7F, 255 - size % 9, 0xFEFB, size * 77 & 0xFFFF, payload)
    print("to", text(wire))
    print(towards_board(b"ab" + wire + b"c\r" + wire))
    for i in range(8):
        bad = bytearray(wire)
        place = next(random) % len(bad)
        bad[place] ^= 1 << i
        print(towards_board(bytes(bad) + wire))
        print(towards_board(wire[:place] + wire[place + 1 :] + wire))
for size in (0, 1, 100, 2047, 2048):
    payload = bytes([next(random) & 0xFF for _ in range(size)])
    buf = bytearray(size + frame.OVERHEAD_BYTES)
    buf[11 : 11 + size] = payload
    n = frame.pack_into(buf, 18, 5, 0xFBFE, 3, size)
    wire = bytes(buf[:n])
    print("from", text(wire), wire == framehost.pack(18, 5, 0xFBFE, 3, payload))
    print(from_board(b"boot\r\n" + wire + b"\xfb\xfb" + wire))
    for i in range(8):
        bad = bytearray(wire)
        place = next(random) % len(bad)
        bad[place] ^= 1 << i
        print(from_board(bytes(bad) + wire))
        print(from_board(wire[:place] + wire[place + 1 :] + wire + b"\xfb"))
