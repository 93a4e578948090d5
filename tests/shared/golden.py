"""The golden vectors of tests/vectors: how they are made, and read. Runs on both interpreters.

As a script, with the folder of the library first:
    golden.py LIB read IMAGE     the records that a stored image holds, a line each
    golden.py LIB make NAME      every sector of the journal in image NAME, made anew
    golden.py LIB newer IMAGE    what a mount says to a sector of a newer version
    golden.py LIB frames         frames and messages, a line each
    golden.py LIB store FOLDER   make all of it anew and store it (only with a new format version)
"""

import hashlib
import sys
from binascii import crc32, hexlify, unhexlify

HERE = __file__.rpartition("/")[0] or "."
sys.path[:0] = [sys.argv[1], HERE + "/../../host/drybag_host/emulator/rom"]

import nor  # noqa: E402

from drybag import (  # noqa: E402
    errors,
    framehost,
    journal,
    layout,
    protocol,
    protocolhost,
    recovery,
)

EPOCH = 0x5EED0001
SECTORS = 16
SECTOR = 4096
UNIT = 64
BLANK = b"\xff" * UNIT
IMAGES = ("life", "cut", "paired")


# --- images as text: offset, 64 bytes, how often they follow one another; the rest is 0xFF -----


def unpack(path):
    image = bytearray(b"\xff" * (SECTORS * SECTOR))
    with open(path) as file:
        for line in file:
            if line.startswith("#") or not line.strip():
                continue
            at, data, times = line.split()
            for i in range(int(times)):
                start = int(at, 16) + i * UNIT
                image[start : start + UNIT] = unhexlify(data)
    return image


def pack(image):
    lines = []
    at = 0
    while at < len(image):
        unit = bytes(image[at : at + UNIT])
        times = 1
        while bytes(image[at + times * UNIT : at + (times + 1) * UNIT]) == unit:
            times += 1
        if unit != BLANK:
            lines.append("%05x %s %d" % (at, text(unit), times))
        at += times * UNIT
    return lines


def text(data):
    return hexlify(data).decode()


# --- what is done to a handset -------------------------------------------------------------------


class Handset:
    """A chip with a fixed epoch and a clock that goes on by 7 s a call."""

    def __init__(self, image):
        self.now = 800000000
        self.nor = nor.NorFlash(len(image), image)
        self.j = None

    def clock(self):
        self.now += 7
        return self.now

    def mount(self):
        recovery.random_u32 = lambda: EPOCH
        part = nor.NorPartition(self.nor, 0, self.nor.size_bytes)
        self.j = journal.mount(part, self.clock)
        return self.j

    def blob(self, data):
        sha = hashlib.sha256(data).digest()
        writer = self.j.blob_writer(sha, len(data))
        writer.write(data)
        writer.finish()
        return sha


def same_hash():
    """Two uids of notes whose 22 bits of hash are equal: the second gets salt 1."""
    seen = {}
    n = 0
    while True:
        uid = b"twin-%d" % n
        h = crc32(uid, layout.NOTE) & 0xFFFFFC00
        if h in seen:
            return seen[h], uid
        seen[h] = uid
        n += 1


def life(image):
    """Every kind of entry: a day in the life of a handset."""
    h = Handset(image)
    j = h.mount()
    head = b"VERSION:2.0\nPRODID:-//Example//EN\nX-WR-CALNAME:Work\n"
    calendar = b"c" + text(hashlib.sha256(head).digest())[:16].encode()
    j.put(layout.CALENDAR, calendar, head)
    event = b"UID:e1@example\nDTSTART:20260131T093000Z\nSUMMARY:Caf\xc3\xa9\n"
    alarm = b"BEGIN:VALARM\nACTION:DISPLAY\nTRIGGER:-PT15M\nEND:VALARM\n"
    j.put(layout.EVENT, b"e1@example", event + alarm, (), crc32(calendar))
    j.put(layout.CONTACT, b"ada", b"VERSION:3.0\nFN:Ada Lovelace\nitem1.X-ODD;a=\"b\":c\\,d\n")
    j.put(layout.TODO, b"todo", b"SUMMARY:call back\nDUE;VALUE=DATE:20260201\n")
    j.put(layout.NOTE, b"latin\xff", b"SUMMARY:not UTF-8: \xe9\n")
    sha = h.blob(b"0123456789abcdef" * 312 + b"!")
    body = b"FN:sea.jpg\nMEDIATYPE:image/jpeg\nIMAGE:drybag:blob/" + text(sha).encode() + b"\n"
    j.put(layout.PHOTO, b"sea", body, (sha,))
    j.put(layout.NOTE, b"long", b"DESCRIPTION:" + b"sixteen letters " * 125 + b"\n")
    j.put(layout.CONTACT, b"ada", b"VERSION:3.0\nFN:Ada King\n")
    j.delete(layout.TODO, b"todo")
    one, other = same_hash()
    j.put(layout.NOTE, one, b"SUMMARY:one\n")
    j.put(layout.NOTE, other, b"SUMMARY:other\n")
    j.batch([
        ("put", layout.CONTACT, b"bob", b"VERSION:4.0\nFN:Bob\n"),
        ("put", layout.CONTACT, b"gone", b"VERSION:4.0\nFN:Gone\n"),
        ("delete", layout.NOTE, one),
    ])  # fmt: skip
    j.checkpoint()
    j.delete(layout.CONTACT, b"gone")
    j.close()
    j = h.mount()
    j.put(layout.TODO, b"after", b"SUMMARY:after a clean shutdown\n")
    return h


def cut(image):
    """A harmed row in the tail, half a batch, and a recovery that was cut while it copied."""
    h = life(image)
    h.mount()  # unclean: copies the tail
    for n in range(14):
        h.j.put(layout.CONTACT, b"k%d" % n, b"FN:k%d\n" % n + b"NOTE:sixteen letters\n" * (n // 3))
    h.nor.cut_at(4, "neighbour", 5)
    last_call(h.j.batch, [("put", 1, b"never%d" % n, b"FN:never\n") for n in range(5)])
    h.nor.power_on()
    h.nor.cut_at(12, "bits", 9)
    last_call(h.mount)
    h.nor.power_on()
    return h


def paired(image):
    """A hub is paired: bases, deletions that it has not, settings, a checkpoint of them all."""
    h = Handset(image)
    j = h.mount()
    j.set_agreed(0)
    for n in range(4):
        j.put(layout.CONTACT, b"k%d" % n, b"VERSION:4.0\nFN:k%d\n" % n, (), n)
    j.put(layout.NOTE, b"long", b"DESCRIPTION:" + b"sixteen letters " * 125 + b"\n")
    j.put(layout.SETTING, b"sync", b"agreed 5")
    j.set_agreed(5)
    j.put(layout.CONTACT, b"k0", b"VERSION:4.0\nFN:edited\n")
    j.put(layout.CONTACT, b"k0", b"VERSION:4.0\nFN:twice\n", (), 8)
    j.put(layout.NOTE, b"long", b"SUMMARY:short now\n")
    j.delete(layout.CONTACT, b"k1")
    j.put(layout.TODO, b"new", b"SUMMARY:never sent\n")
    j.delete(layout.TODO, b"new")
    j.batch([
        ("put", layout.CONTACT, b"k2", b"VERSION:4.0\nFN:from the hub\n"),
        ("delete", layout.CONTACT, b"k3"),
        ("put", layout.SETTING, b"sync", b"agreed 5, cursor 9"),
    ], from_hub=True)  # fmt: skip
    j.checkpoint()
    j.delete(layout.CONTACT, b"k0")
    j.batch([("put", layout.CONTACT, b"k1", b"VERSION:4.0\nFN:again\n"),
             ("delete", layout.CONTACT, b"k2")])  # fmt: skip
    return h


def last_call(function, *args):
    """Call it; the power goes meanwhile."""
    try:
        function(*args)
    except OSError:
        return
    raise AssertionError("the power did not go")


def made(name):
    image = bytearray(b"\xff" * (SECTORS * SECTOR))
    {"life": life, "cut": cut, "paired": paired}[name](image)
    return image


# --- what is said of it --------------------------------------------------------------------------


def records(image):
    """The records of an image, mounted as a copy, as lines; the digest last."""
    h = Handset(bytearray(image))
    # what a cut leaves may be programmed over; the model knows that only of its own cuts
    h.nor.restore_faults({"unstable": [], "touched": range(0, len(image), 256), "worn": []})
    j = h.mount()
    lines = []
    for r in list(j.records()) + list(j.records(layout.SETTING)):
        body = r.body if len(r.body) <= 400 else hashlib.sha256(r.body).digest()
        lines.append("%d %s %d %d %d %d %s %s" % (
            r.kind, text(r.uid), r.seq, r.stamp, r.rev, r.parent,
            ",".join([text(sha) for sha in r.blobs]) or "-", text(body),
        ) + (" base %08x" % r.base if r.base else ""))  # fmt: skip
        for sha in r.blobs:
            data = b"".join([bytes(piece) for piece in j.read_blob(sha)])
            lines.append("blob %d %s" % (len(data), text(hashlib.sha256(data).digest())))
    for r in j.unsent(0, 1000):
        if r.deleted:
            lines.append("deleted %d %s %d base %08x" % (r.kind, text(r.uid), r.seq, r.base))
    lines.sort()
    count, digest = j.digest()
    return lines + ["digest %d %s" % (count, text(digest))]


def sectors(image):
    """Each sector that bears a prefix of the journal: type, number, SHA-256 of its bytes."""
    lines = []
    for at in range(0, len(image), SECTOR):
        found = layout.parse_prefix(image[at : at + 16])
        if found:
            sha = hashlib.sha256(image[at : at + SECTOR]).digest()
            lines.append("%d %06x %s" % (found[1], found[3], text(sha)))
    return sorted(lines)


def newer(image):
    """Give one sector version 2 and mount: refused, and not a byte is changed."""
    for at in range(0, len(image), SECTOR):
        if layout.parse_prefix(image[at : at + 16]):
            image[at + 2] = 2
            image[at + 12 : at + 16] = crc32(image[at : at + 12]).to_bytes(4, "little")
            break
    before = bytes(image)
    try:
        Handset(image).mount()
    except errors.FormatNewer:
        return ["refused", "untouched" if bytes(image) == before else "damaged"]
    return ["mounted"]


def frames():
    """Frames both ways and the messages in them: what they say, and their bytes."""
    lines = []
    for payload in (b"", b"Hi", bytes(range(256))):
        piece = payload[:240]
        head = protocol.REQUEST | protocol.LAST, len(piece) & 0xFF, 0xFEFB, 3
        wire = framehost.pack_stuffed(head[0], head[1], head[2], head[3], piece)
        lines.append("to-board %d %d %d %d %s %s" % (head + (text(piece) or "-", text(wire))))
        head = protocol.CHUNK, len(payload) & 0xFF, 0xFEFB, 0xFFFF
        wire = framehost.pack(head[0], head[1], head[2], head[3], payload)
        lines.append("from-board %d %d %d %d %s %s" % (head + (text(payload) or "-", text(wire))))
    sha = bytes(range(32))
    record = layout.Record(layout.CONTACT, b"u", b"FN:A\n", (sha,), 5, 6, 7, 8)
    stream = b"".join([bytes(piece) for piece in protocol.record_pieces(record, 9)])
    key = protocolhost.key(layout.NOTE, b"n")
    writes = protocolhost.put(layout.CONTACT, b"u", b"FN:A\n", (sha,), 5)
    writes += protocolhost.delete(layout.NOTE, b"n")
    for name, data in (
        ("HELLO window 8 time 1000", protocolhost.hello(8, 1000)),
        ("GET note n, 3 bytes of seq 2", protocolhost.ranged(protocol.GET, 0, 2, 3, key)),
        ("WRITE put and delete", bytes((protocol.WRITE,)) + writes),
        ("WRITE body in blob", bytes((protocol.WRITE,))
         + protocolhost.put(layout.NOTE, b"n", sha, (), 0, 5000)),
        ("BLOB_BEGIN 5000", protocolhost.numbered(protocol.BLOB_BEGIN, 5000, sha)),
        ("a record in a stream, cursor 9", stream),
        ("an error", protocol.pack_error(errors.NoSpace("full", 4096))),
        ("canonical form", layout.canonical(record)),
    ):  # fmt: skip
        lines.append("message %s: %s" % (name, text(data)))
    return lines


def store(folder):
    for name in IMAGES:
        image = made(name)
        _write(folder + "/" + name + ".image", pack(image))
        _write(folder + "/" + name + ".records", records(image))
    _write(folder + "/frames.txt", frames())


def _write(path, lines):
    with open(path, "w") as file:
        file.write("\n".join(lines) + "\n")


def main(what, argument=None):
    if what == "store":
        store(argument)
        return
    if what == "read":
        lines = records(unpack(argument))
    elif what == "make":
        lines = sectors(made(argument))
    elif what == "newer":
        lines = newer(unpack(argument))
    else:
        lines = frames()
    print("\n".join(lines))


main(*sys.argv[2:])
