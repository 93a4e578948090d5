"""Writes a journal into an image file, or reads one; prints what it holds and its digest.

Arguments: the library folder, the image, "write" or "read". Run by both interpreters.
"""

import sys
from binascii import hexlify

sys.path.insert(0, sys.argv[1])
here = __file__.rpartition("/")[0] or "."
sys.path.insert(0, here + "/../../../host/drybag_host/emulator/rom")

import nor  # noqa: E402

from drybag import journal, recovery  # noqa: E402

SECTORS = 48
recovery.random_u32 = lambda: 0x0DB00002


def text(n, size):
    line = b"NOTE:%d the quick brown fox\n" % n
    return (line * (size // len(line) + 1))[:size]


def write(j):
    for n in range(120):
        j.put(1 + n % 6, b"r%d" % n, text(n, n * 7), (), n)
    j.batch([("put", 1, uid, uid) for uid in (b"u855", b"u59200")] + [("delete", 1, b"r0")])
    j.put(4, b"large", text(1, 9000))
    j.checkpoint()
    for n in range(400):
        j.put(1 + n % 4, b"r%d" % (n % 40), text(n, 200))
    j.undelete(1, b"r0") if not j.seq_of(1, b"r0") else None
    j.delete(2, b"r1")


def main():
    with open(sys.argv[2], "r+b") as f:
        memory = bytearray(f.read())
        flash = nor.NorFlash(len(memory), memory)
        part = nor.NorPartition(flash, 0, len(memory))
        j = journal.mount(part)
        if sys.argv[3] == "write":
            write(j)
            f.seek(0)
            f.write(memory)
        count, digest = j.digest()
        print(count, hexlify(digest).decode(), [j.count(kind) for kind in range(1, 7)])
        print([(r.uid, r.seq, r.rev, r.body_size) for r in j.records()])
        print(list(j.scrub())[-1]["damaged"], [r.uid for r in j.find("NOTE 3 quick", 4)])
        print([(v.seq, v.deleted) for v in j.history(1, b"r0")])


main()
