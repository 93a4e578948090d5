"""Sync messages packed and read again; prints the bytes and what they mean.

Arguments: the library folder; "messages" for these alone, as tests/vectors/sync.txt has them.
"""

import sys

sys.path.insert(0, sys.argv[1])

from printed import refusal, text  # noqa: E402

from drybag import syncwire as w  # noqa: E402
from drybag import syncwirehost as wh  # noqa: E402

SHA = bytes(range(32))
CARD = b"VERSION:3.0\nUID:uid-1\nFN:Ada Lovelace\nN:Lovelace;Ada;;;\nTEL;TYPE=CELL:+44 20 1\n"


def said(item):
    line = "%d kind %d uid %s stamp %d rev %d deleted %d base %d parent %d blobs %d big %s %d%d %s"
    return line % (
        item.number, item.kind, text(item.uid), item.stamp, item.rev, item.deleted, item.base,
        item.parent, len(item.blobs), item.big and (text(item.big[0])[:8], item.big[1]),
        item.no_time, item.resend, "-" if item.body is None else text(item.body) or "empty",
    )  # fmt: skip


ITEMS = (
    w.Item(7, 1, b"uid-1", CARD, 800000000, 3, False, 0xDEADBEEF, 5),
    w.Item(8, 2, b"e", b"UID:e\nDTSTART:20260131T093000\n", 799999999),
    w.Item(300, 3, b"gone", b"", 0, 65535, True, 9, no_time=True),
    w.Item(0xFFFFFFF0, 5, b"\xff" * 99, b"tab\there\r\n\x1f\x00 x", 0xFFFFFFFF, blobs=(SHA, SHA)),
    w.Item(0xFFFFFFFF, 4, b"big", None, 1, big=(SHA, 5000), resend=True),
)


def messages():
    for octet, phrase in w.phrases():
        print("phrase", text(octet), text(phrase))
    request = w.Request()
    request.nonce, request.epoch, request.life, request.last_seq = 1, 2, 3, 0xFFFFFFFF
    request.acked, request.ack_check, request.upto = 5, b"ackcheck", 0xFFFFFFFF
    request.cursor, request.cursor_check, request.time = 6, b"curcheck", 800000001
    request.room = 16384
    data = wh.pack_request(request, ITEMS)
    print("request", text(data))
    read, items = wh.parse_request(data)
    print([getattr(read, name) for name in w.Request.__slots__])
    for item in items:
        print(said(item), text(wh.item_sha(item)))
    reply = w.Reply()
    reply.flags, reply.nonce, reply.hub, reply.ack = w.MORE | w.OFFSITE, 1, b"hub hub!", 7
    reply.ack_check, reply.offsite, reply.time = b"ackcheck", 4, 800000002
    reply.cursor, reply.cursor_check, reply.wait_s = 9, b"curcheck", 60
    reply.wanted = ((SHA, 4096),)
    data, n = wh.pack_reply(reply, ITEMS[:2], 4096)
    print("reply", text(data), n)
    read = w.parse_reply(data)
    read.wanted = [(text(sha), have) for sha, have in read.wanted]
    print([getattr(read, name) for name in w.Reply.__slots__])
    for item in w.parse_items(memoryview(data), read.items_at, read.n):
        print(said(item))
    return data


def refusals(data):
    for cut in range(0, len(data), 3):
        print(cut, refusal(whole, data[:cut]))
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 0x55
        print(at, refusal(whole, bytes(changed)))
    for packed, uid in (
        (b"\x1f", b"uid"), (b"\x01", b"uid"), (b"\x01", b"ui\x02d"), (b"\x01" * 8, b"u" * 200),
        (b"\x1e" * 467, b"u"), (b"\x1fa\x1e\x01", b"four"), (b"\x1f\x1f" + b"\x1e" * 467, b"u"),
    ):  # fmt: skip
        print(refusal(w.unpack_body, packed, uid))
    for status, body in (
        (403, b'{"class": "Revoked", "message": "by the owner", "wait_s": 60}'),
        (503, b'{"class": "Busy", "message": "\\u00e9\\u0007 soon", "wait_s": -1}'),
        (500, b"<html>"), (400, b"[1]"), (400, b'{"class": 1, "message": ""}'), (400, b"\xff"),
    ):  # fmt: skip
        print(w.parse_error(status, body))


def whole(data):
    read = w.parse_reply(data)
    return len([said(item) for item in w.parse_items(data, read.items_at, read.n)])


reply = messages()
if sys.argv[2:] != ["messages"]:
    refusals(reply)
