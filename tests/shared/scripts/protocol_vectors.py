"""Requests, records and errors encoded and read again; prints the bytes and what they mean.

Argument: the library folder.
"""

import sys

sys.path.insert(0, sys.argv[1])

from printed import refusal, text  # noqa: E402

from drybag import errors, layout  # noqa: E402
from drybag import protocol as p  # noqa: E402
from drybag import protocolhost as ph  # noqa: E402

SHA = bytes(range(32))
print(text(ph.hello(8, 700000000)), p.parse_hello(ph.hello(8, 700000000)))
print(text(ph.key(1, b"uid")), p.parse_key(ph.key(1, b"uid") + b"rest"))
print(refusal(ph.key, 1, b"x" * 201), refusal(p.parse_key, b"\x01\x05abc"))
request = ph.ranged(p.CHANGES, 77, 1 << 31, 5, b"rest")
start, seq, done, rest = p.parse_range(request)
print(text(request), start, seq, done, bytes(rest), refusal(p.parse_range, request[:9]))
ops = (
    ph.put(1, b"a", b"FN:A\n")
    + ph.put(2, b"b", SHA, (SHA, bytes(range(32, 64))), 0xFFFFFFFF, 65536)
    + ph.delete(3, b"c")
    + ph.undelete(4, b"d")
    + ph.put(5, b"e" * 200, b"", [SHA] * 14, 1)
)
print(text(ops))
for op in p.parse_ops(memoryview(b"\x14" + ops)):
    print(op)
for cut in range(len(ops)):
    print(cut, refusal(p.parse_ops, memoryview(b"\x14" + ops[:cut])))
print(refusal(p.parse_ops, b"\x14\x09\x01\x01a"))
print(refusal(ph.put, 1, b"x", b"", [SHA] * 16))

records = [
    layout.Record(1, b"uid-1", b"FN:A\n", (), 0, 5, 700000000, 1),
    layout.Record(2, b"\xff\x00", b"x" * 3000, (SHA,), 9, 1 << 25, 0, 65535),
    layout.Record(4, b"gone", b"", (), 0, 6, 0, 2, True),
]
stream = b"\0\0\0\0"
for i in range(len(records)):
    stream += b"".join([bytes(piece) for piece in p.record_pieces(records[i], 64 * i + 1)])
print(len(stream), text(stream[:80]))
reader = ph.RecordReader()
data = reader.begin(stream)
for at in range(0, len(data), 999):
    for cursor, record in reader.feed(data[at : at + 999]):
        print(cursor, record.kind, record.uid, len(record.body), record.blobs, record.parent,
              record.seq, record.stamp, record.rev, record.deleted)  # fmt: skip
    print(reader.cursor, reader.count, reader.seq, reader.done)

no_space = errors.NoSpace("no room: 5 KiB are missing", 5120)
no_session = p.NoSession("restarted")
no_session.boot = 0xFFFFFFFF
for error in (no_space, no_session, ValueError("\u20ac" * 300), OSError(28), errors.Damaged()):
    packed = p.pack_error(error)
    print(len(packed), ph.parse_error(packed)[0], ph.parse_error(packed)[2])
print(
    ph.parse_numbers(b"\x01\0\0\0\xff\xff\xff\xff"), ph.parse_digest(b"\2\0\0\0" + SHA)
)
