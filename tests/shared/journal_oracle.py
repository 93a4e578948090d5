"""What the journal tests share: a chip to cut, and an oracle that learns from acknowledgements.

The oracle is told what a call was given before it is made and that it returned; it never looks at
flash or at the journal's code. Its canonical form of a record is written out here once more, so
that the digest has a second opinion.
"""

import hashlib
from collections import namedtuple

from drybag import journal, recovery
from drybag.errors import JournalClosed, NoSpace
from drybag_host.emulator.rom.nor import NorFlash, NorPartition

EPOCH = 0x5EED0001
SECTOR = 4096

Version = namedtuple("Version", "body blobs parent seq stamp rev")
Command = namedtuple("Command", "op addr data oracle")


class Mismatch(AssertionError):
    """The journal does not hold what it acknowledged."""


class Clock:
    """Seconds since 2000 that move only when told."""

    def __init__(self, now=1000):
        self.now = now

    def __call__(self):
        return self.now


def mount(bdev, clock=None, epoch=EPOCH):
    """journal.mount with a fixed epoch, so that a failure comes again from its id."""
    kept, recovery.random_u32 = recovery.random_u32, lambda: epoch
    try:
        return journal.mount(bdev, clock)
    finally:
        recovery.random_u32 = kept


class Chip:
    """A flash chip that is one `pim` partition; copies are cheap."""

    def __init__(self, sectors, memory=None, faults=None, seed=1):
        self.sectors = sectors
        self.memory = memory if memory is not None else bytearray(b"\xff" * sectors * SECTOR)
        self.nor = NorFlash(sectors * SECTOR, self.memory, seed)
        if faults:
            self.nor.restore_faults(faults)

    def copy(self, seed=1):
        return Chip(self.sectors, bytearray(self.memory), self.nor.fault_state(), seed)

    def partition(self):
        return NorPartition(self.nor, 0, self.sectors * SECTOR)

    def mount(self, clock=None):
        return mount(self.partition(), clock)

    def key(self):
        """What tells two flash states apart."""
        h = hashlib.blake2b(self.memory, digest_size=16)
        for page, mask in sorted(self.nor._unstable.items()):
            h.update(b"%d:%d" % (page, mask))
        return h.digest()


class Oracle:
    """The records that must be there. `flight`: the call that has not returned, if any."""

    def __init__(self):
        self.live = {}
        self.ever = {}
        self.blobs = {}
        self.last_seq = 0
        self.stamp = 0
        self.flight = None
        self.revision = 0

    def copy(self):
        other = Oracle()
        other.__dict__.update(self.__dict__)
        other.live = dict(self.live)
        other.ever = dict(self.ever)
        return other

    # -- what the caller says ------------------------------------------------------------------
    def begin(self, ops, now):
        """These operations (as Journal.batch takes them) are about to be asked for."""
        self.stamp = max(self.stamp, now)
        self.flight = [_normal(op) for op in ops]
        self.revision += 1

    def acknowledged(self, seq):
        """The call returned `seq`: the last of as many consecutive numbers as it had operations."""
        first = seq - len(self.flight) + 1
        assert first > self.last_seq, "seq %d after %d" % (first, self.last_seq)
        seqs = range(first, seq + 1)
        self.live = self._after(seqs)
        self._remember(seqs)
        self.last_seq = seq
        self.flight = None
        self.revision += 1

    def refused(self):
        """The call raised and the chip is alive: nothing has changed."""
        self.flight = None
        self.revision += 1

    def _after(self, seqs):
        """The live records once the operations in flight count with these numbers."""
        live = dict(self.live)
        for op, seq in zip(self.flight, seqs, strict=True):
            key = op[1], op[2]
            if op[0] == "delete":
                live.pop(key, None)
            else:
                rev = self.live[key].rev + 1 if key in self.live else 1
                live[key] = Version(op[3], op[4], op[5], seq, self.stamp, rev)
        return live

    def _remember(self, seqs):
        for op, seq in zip(self.flight, seqs, strict=True):
            key = op[1], op[2]
            body = None if op[0] == "delete" else op[3]
            self.ever[key] = self.ever.get(key, frozenset()) | {(seq, body)}

    # -- what the journal must show --------------------------------------------------------------
    def judge(self, j, deep=False):
        """Compare every record byte for byte; take note whether the call in flight counts.

        Raises Mismatch. Cheap but thorough; `deep` reads history and changes as well.
        """
        found = {}
        for record in j.records():
            key = record.kind, record.uid
            if key in found:
                raise Mismatch("%r comes twice" % (key,))
            found[key] = Version(
                record.body, record.blobs, record.parent, record.seq, record.stamp, record.rev
            )
        if found != self.live:
            self._adopt(found, j)
        self.flight = None
        if j.last_seq < self.last_seq:
            raise Mismatch("last_seq %d, acknowledged %d" % (j.last_seq, self.last_seq))
        count, digest = j.digest()
        if (count, digest) != self.digest():
            raise Mismatch("the digest differs")
        if j.count() != count:
            raise Mismatch("count() %d, digest %d" % (j.count(), count))
        self._judge_reads(j, found, deep)
        if deep:
            self._judge_history(j)
            self._judge_changes(j)

    def _adopt(self, found, j):
        if self.flight:
            seqs = self._seqs_in(found, j)
            if seqs and found == self._after(seqs):
                self._remember(seqs)
                self.live, self.last_seq = found, max(seqs)
                return
        raise Mismatch(
            "missing or different %s, extra %s, in flight %s"
            % (
                [(k, _short(v), _short(found.get(k))) for k, v in self.live.items()
                 if found.get(k) != v][:4],
                [(k, _short(v)) for k, v in found.items() if k not in self.live][:4],
                [op[:3] for op in self.flight or ()][:4],
            )
        )  # fmt: skip

    def _seqs_in(self, found, j):
        """The numbers that the operations in flight have if they count."""
        for at, (what, *key) in enumerate(op[:3] for op in self.flight):
            seq = found[tuple(key)].seq if tuple(key) in found else 0
            if what == "delete" and not seq:
                newest = j.history(*key)[:1]
                seq = newest[0].seq if newest and newest[0].deleted else 0
            if seq > self.last_seq and not any(list(o[1:3]) == key for o in self.flight[at + 1 :]):
                return range(seq - at, seq - at + len(self.flight))
        return ()

    def _judge_reads(self, j, found, deep):
        keys = list(found)
        for kind, uid in keys if deep else keys[:2] + keys[-2:]:
            if j.get(kind, uid).body != found[kind, uid].body:
                raise Mismatch("get() of %r differs" % uid)
        for version in found.values():
            for sha in version.blobs:
                if b"".join(bytes(p) for p in j.read_blob(sha)) != self.blobs[sha]:
                    raise Mismatch("a blob differs")

    def _judge_history(self, j):
        for (kind, uid), known in self.ever.items():
            versions = j.history(kind, uid)
            for version in versions:
                what = version.seq, None if version.deleted else version.body
                if what not in known:
                    raise Mismatch("history of %r has what never was: %d" % (uid, version.seq))
            if (kind, uid) in self.live:
                newest = self.live[kind, uid].seq
                if not versions or versions[0].seq != newest:
                    raise Mismatch("history of %r does not begin with the live version" % uid)

    def _judge_changes(self, j):
        live = set()
        for _, record in j.changes(0):
            key = record.kind, record.uid
            if record.deleted:
                if key in self.live or key not in self.ever:
                    raise Mismatch("changes() has a tombstone of %r" % (key,))
            else:
                live.add((key, record.seq))
        if live != {(key, version.seq) for key, version in self.live.items()}:
            raise Mismatch("changes() does not end in the live records")

    def digest(self):
        """(count, 32 bytes) as SPEC.md says, from what was acknowledged."""
        acc = 0
        for (kind, uid), v in self.live.items():
            data = bytes([kind, len(uid)]) + uid
            for number, size in ((v.parent, 4), (v.seq, 4), (v.stamp, 4), (v.rev, 2)):
                data += number.to_bytes(size, "little")
            data += bytes([len(v.blobs)]) + b"".join(v.blobs) + v.body
            acc ^= int.from_bytes(hashlib.sha256(data).digest(), "big")
        return len(self.live), acc.to_bytes(32, "big")


class Driver:
    """A person with a handset: every call goes to the oracle and to the journal."""

    def __init__(self, chip, oracle, clock=None):
        self.chip = chip
        self.oracle = oracle
        self.clock = clock or Clock(max(1000, oracle.stamp))
        self.j = None

    def mount(self):
        self.j = self.chip.mount(self.clock)
        return self.j

    def _do(self, ops, call, *args):
        """Returns the seq. On any error the oracle knows whether the call can still count."""
        self.clock.now += 7
        self.oracle.begin(ops, self.clock.now)
        try:
            seq = call(*args)
        except Exception:
            if not self.chip.nor.dead:
                self.oracle.refused()
            raise
        self.oracle.acknowledged(seq)
        return seq

    def put(self, kind, uid, body, blobs=(), parent=0):
        op = ("put", kind, uid, body, tuple(blobs), parent)
        return self._do([op], self.j.put, *op[1:])

    def delete(self, kind, uid):
        return self._do([("delete", kind, uid)], self.j.delete, kind, uid)

    def batch(self, ops):
        return self._do(ops, self.j.batch, ops)

    def undelete(self, kind, uid, was):
        """`was`: the Version that must come back."""
        op = ("put", kind, uid, was.body, was.blobs, was.parent)
        return self._do([op], self.j.undelete, kind, uid)

    def blob(self, data, piece=1000):
        """Store a blob; returns its SHA-256."""
        sha = hashlib.sha256(data).digest()
        self.oracle.blobs[sha] = data
        writer = self.j.blob_writer(sha, len(data))
        for at in range(0, len(data), piece):
            writer.write(data[at : at + piece])
        writer.finish()
        return sha

    def fill(self, kind, size, prefix=b"f", limit=10000):
        """Put records with bodies of `size` bytes until there is no space; returns how many."""
        for n in range(limit):
            try:
                self.put(kind, prefix + b"%04d" % n, text(n, size))
            except NoSpace:
                return n
        raise AssertionError("%d records and never full" % limit)


def trace(driver, run):
    """Run `run(driver)` and return its flash commands, each with the oracle of that moment."""
    commands, oracle, kept = [], driver.oracle, {}

    def note(op, addr, data):
        if oracle.revision not in kept:
            kept.clear()
            kept[oracle.revision] = oracle.copy()
        commands.append(Command(op, addr, data and bytes(data), kept[oracle.revision]))

    driver.chip.nor.on_command = note
    try:
        run(driver)
    finally:
        driver.chip.nor.on_command = None
    return commands


def cut_short(driver, run):
    """Run `run(driver)` until it ends or the armed cut comes; True if it came."""
    try:
        run(driver)
    except (OSError, NoSpace, JournalClosed):
        if not driver.chip.nor.dead:
            raise
    return driver.chip.nor.dead


def text(n, size):
    """A body of exactly `size` bytes that tells its number."""
    line = b"NOTE:%d the quick brown fox\n" % n
    return (line * (size // len(line) + 1))[:size]


def _normal(op):
    if op[0] == "delete":
        return op
    return op[:4] + ((tuple(op[4]) if len(op) > 4 else ()), op[5] if len(op) > 5 else 0)


def _short(version):
    return version and (version.seq, version.rev, len(version.body), version.body[:12])


__all__ = [
    "EPOCH", "SECTOR", "Chip", "Clock", "Command", "Driver", "Mismatch", "Oracle", "Version",
    "cut_short", "mount", "text", "trace",
]  # fmt: skip
