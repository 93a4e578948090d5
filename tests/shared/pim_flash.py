"""A flash chip that is one `pim` partition: put a journal on it, look at its bytes, harm them."""

import contextlib
import functools
import hashlib

from drybag import journal, layout, recovery
from drybag.errors import NoSpace
from drybag.index import key_hash
from drybag_host.emulator.rom.nor import NorFlash, NorPartition

SECTOR = 4096
PAGE = 256
EPOCH = 0x0DB00001


class Flash:
    """`memory` is the chip's bytes; `mount()` boots the journal on them."""

    def __init__(self, sectors=64, memory=None, faults=None):
        self.sectors = sectors
        self.memory = memory if memory is not None else bytearray(b"\xff" * sectors * SECTOR)
        self.nor = NorFlash(len(self.memory), self.memory)
        if faults:
            self.nor.restore_faults(faults)

    def copy(self):
        return Flash(self.sectors, bytearray(self.memory), self.nor.fault_state())

    def partition(self):
        return NorPartition(self.nor, 0, len(self.memory))

    def mount(self, clock=None):
        """journal.mount with a fixed epoch: every run writes the same bytes."""
        kept, recovery.random_u32 = recovery.random_u32, lambda: EPOCH
        try:
            return journal.mount(self.partition(), clock)
        finally:
            recovery.random_u32 = kept

    def harm(self, addr, data):
        """Write what rot, or another program, left at `addr`; NOR rules do not hold for it."""
        self.memory[addr : addr + len(data)] = data
        faults = self.nor.fault_state()
        pages = range(addr - addr % PAGE, addr + len(data), PAGE)
        faults["touched"] = sorted({*faults["touched"], *pages})
        self.nor.restore_faults(faults)

    def flip(self, addr, bit=0):
        self.harm(addr, bytes([self.memory[addr] ^ 1 << bit]))

    def segments(self, kind=None):
        """{sector: type} of the sectors that begin with a segment's prefix."""
        found = {}
        for sector in range(self.sectors):
            prefix = layout.parse_prefix(self.memory[sector * SECTOR : sector * SECTOR + 16])
            if prefix and kind in (None, prefix[1]):
                found[sector] = prefix[1]
        return found

    def numbers(self):
        """{number: sector} of the log segments, also of those that count no more."""
        return {
            layout.parse_prefix(self.memory[s * SECTOR : s * SECTOR + 16])[3]: s
            for s in self.segments(layout.LOG)
        }


def checkpoint_if_room(j):
    with contextlib.suppress(NoSpace):
        j.checkpoint()


class Clock:
    """Seconds since 2000 that move only when told."""

    def __init__(self, now=1000):
        self.now = now

    def __call__(self):
        return self.now


def text(n, size):
    """A body of exactly `size` bytes that tells its number."""
    line = b"NOTE:%d the quick brown fox\n" % n
    return (line * (size // len(line) + 1))[:size]


def noise(n, size):
    """Bytes that repeat nowhere and hold no prefix by chance."""
    out = b""
    while len(out) < size:
        out += hashlib.sha256(b"%d:%d" % (n, len(out))).digest()
    return out[:size]


def store_blob(j, data, piece=1000):
    """Store a blob in pieces; its SHA-256."""
    sha = hashlib.sha256(data).digest()
    writer = j.blob_writer(sha, len(data))
    for at in range(0, len(data), piece):
        writer.write(data[at : at + piece])
    writer.finish()
    return sha


def blob(j, sha):
    return b"".join(bytes(piece) for piece in j.read_blob(sha))


def bodies(j, kind=0):
    """{(kind, uid): body} of all live records; none may come twice."""
    found = {}
    for record in j.records(kind):
        assert (record.kind, record.uid) not in found
        found[record.kind, record.uid] = record.body
    return found


def fill(j, size, kind=layout.NOTE, prefix=b"f", limit=100000):
    """Put records with bodies of `size` bytes until there is no space: {uid: body}."""
    done = {}
    for n in range(limit):
        uid, body = prefix + b"%05d" % n, text(n, size)
        try:
            j.put(kind, uid, body)
        except NoSpace:
            return done
        done[uid] = body
    raise AssertionError("%d records and never full" % limit)


def findings(j):
    """What scrub finds, without its progress; the summary last."""
    return [finding for finding in j.scrub() if finding["kind"] != "progress"]


def where_is(j, kind, uid):
    """(sector, byte in it) of a live record's entry."""
    slot = j._log.lookup(kind, uid)[0]
    where = j._log.index.where(slot)
    return j._log.sectors[where >> 6], layout.unit_offset(where & 63)


@functools.cache
def colliding(count, kind=layout.CONTACT, prefix=b"c"):
    """`count` uids whose keys share one hash."""
    seen = {}
    for n in range(10**7):
        uid = prefix + b"%d" % n
        same = seen.setdefault(key_hash(kind, uid), [])
        same.append(uid)
        if len(same) == count:
            return same
    raise AssertionError("no collision found")


def digest_of(j):
    """(count, 32 bytes) over the live records, written out from SPEC.md once more."""
    acc = count = 0
    for record in j.records():
        data = bytes([record.kind, len(record.uid)]) + record.uid
        for number, size in ((record.parent, 4), (record.seq, 4), (record.stamp, 4),
                             (record.rev, 2), (len(record.blobs), 1)):  # fmt: skip
            data += number.to_bytes(size, "little")
        data += b"".join(record.blobs) + record.body
        acc ^= int.from_bytes(hashlib.sha256(data).digest(), "big")
        count += 1
    return count, acc.to_bytes(32, "big")
