"""A handset and a hub for some days; prints what each sync did. Argument: the library folder."""

import sys

HERE = __file__.rpartition("/")[0] or "."
ROOT = HERE + "/../../.."
sys.path[:0] = [sys.argv[1], ROOT + "/host/drybag_host/rig/device",
                ROOT + "/host/drybag_host/emulator/rom"]  # fmt: skip

import hashlib  # noqa: E402

import nor  # noqa: E402
from toy_hub import Driver, ToyHub  # noqa: E402

from drybag import journal, recovery, syncsettings  # noqa: E402
from drybag.syncengine import SyncEngine  # noqa: E402

recovery.random_u32 = lambda: 0x5EED0001
now = [800000000]
numbers = [0]


def clock():
    return now[0]


def number():
    numbers[0] = numbers[0] * 1103515245 + 12345 & 0x7FFFFFFF
    return numbers[0] or 1


def said(what, outcome):
    s = engine.state
    print(what, outcome.state, outcome.reason, outcome.wait_s, "unsent", engine.unsent(), "acked",
          s.acked, "agreed", s.agreed, "cursor", s.cursor, "last", j.last_seq, "seen",
          len(driver.seen), "records", j.count())  # fmt: skip
    driver.seen = []


def edit(kind, uid, *more, **named):
    hub.edit(kind, uid, *more, **named)


def digest():
    count, sha = j.digest()
    print("digest", count, "".join(["%02x" % c for c in sha]))


size = 96 * 4096
part = nor.NorPartition(nor.NorFlash(size, bytearray(b"\xff" * size)), 0, size)
j = journal.mount(part, clock)
secret = "s" * 43
syncsettings.pair(j, syncsettings.Hub("h", 1, "ada", "0" * 16, secret, b"der"), number)
engine = SyncEngine(j, clock, number)
hub = ToyHub()
driver = Driver(hub)
for n in range(120):
    j.put(1, b"uid-%d" % n, b"VERSION:3.0\nUID:uid-%d\nFN:Name %d\nTEL:%d\n" % (n, n, n))
said("first", driver.run(engine))
said("idle", driver.run(engine))
data = b"picture" * 900
sha = hashlib.sha256(data).digest()
writer = j.blob_writer(sha, len(data))
writer.write(data)
writer.finish()
j.put(5, b"photo", b"FN:p\n", (sha,))
j.put(4, b"long", b"DESCRIPTION:" + b"words " * 700 + b"\n")
j.delete(1, b"uid-7")
said("photo", driver.run(engine))
for n in range(90):
    now[0] += 1
    body = b"UID:e-%d\nSUMMARY:Event %d\nDTSTART:20260101T090000\n" % (n, n)
    edit(2, b"e-%d" % n, body, stamp=n)
other = hub.blob(b"other picture" * 500)
edit(5, b"other", b"FN:o\n", blobs=(other,))
big = hub.blob(b"long text " * 300)
edit(4, b"b", big=(big, 3000))
said("changes", driver.run(engine))
digest()
for n in range(80):
    edit(2, b"e-%d" % n, deleted=True)
said("many", driver.run(engine))
print(engine.held, engine.accept())
said("accepted", driver.run(engine))
j.close()
j = journal.mount(part, clock)
engine = SyncEngine(j, clock, number)
driver.hub = hub = ToyHub(b"another!")
said("new hub", driver.run(engine))
digest()
for key in sorted(hub.live())[:12]:
    print(key, hub.head(*key).stamp)
