"""Our journal as the subject of the rig: a person with a handset. judging.py has the judge."""

import hashlib

from drybag import journal, layout, recovery
from drybag.errors import JournalClosed, NoSpace, NotFound
from drybag_host.rig.device import damage, workloads
from drybag_host.rig.device.fault_ops import Broken, FaultOps
from drybag_host.rig.device.judging import Judging
from drybag_host.rig.device.ops import text
from drybag_host.rig.device.oracle import Oracle
from drybag_host.rig.device.paired_ops import PairedOps

EPOCH = 0x5EED0001
UNIT = 64
_LONGEST = 1536
_CHUNK = 4032
_NEAR_LAST_SEQ = 0xFFFFFFFF - 64


class JournalSubject:
    """What the rig's engine asks of a subject; see /host/drybag_host/rig/device/sweep.py."""

    full = (NoSpace,)

    def __init__(self, name="journal"):
        self.name = name

    def workload(self, name, seed):
        return workloads.workload(name, seed)

    def oracle(self):
        return Oracle()

    def user(self, chip, oracle):
        return JournalUser(chip, oracle)

    def place(self, memory, op, addr, data):
        """Where on flash a command works: 'log header', 'entry', 'parity', 'blob', ..."""
        sector, offset = addr - addr % 4096, addr % 4096
        if op == "program" and offset == 0:
            prefix = layout.parse_prefix(data) if len(data) >= 16 else None
        else:
            prefix = layout.parse_prefix(memoryview(memory)[sector : sector + 16])
        if prefix is None:
            return "littlefs" if op == "program" else "erase of littlefs or blank"
        kind = {layout.LOG: "log", layout.BLOB: "blob", layout.SPARE: "spare"}[prefix[1]]
        if op == "erase":
            return "erase of " + kind
        if offset == 0:
            return kind + " header"
        if kind == "log":
            return "parity" if offset >= 15 * 256 and offset % 256 < 192 else "entry"
        return kind


class Clock:
    """Seconds since 2000 that move only when told."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


class JournalUser(FaultOps, PairedOps, Judging):
    """Every call goes to the oracle and to the journal."""

    def __init__(self, chip, oracle):
        self.chip = chip
        self.oracle = oracle
        self.clock = Clock(max(1000, oracle.stamp))
        self.j = None
        self.device = None
        self.harm = damage.harm(chip.memory, chip.rotted) if chip.rotted else None
        self.named = damage.named(chip.memory, chip.rotted) if chip.rotted else {}

    # -- operations ------------------------------------------------------------------------------
    def boot(self):
        """Power is there: mount, recover, be ready for writes."""
        self.device = self.chip.partition()
        self.j = mount(self.device, self.clock)
        self._tell_agreed()

    def do(self, op):
        """One operation of ops.py. Raises what the journal raises when the power goes."""
        getattr(self, "_op_" + op[0])(*op[1:])

    def _op_boot(self):
        self.boot()

    def _op_seal(self):
        self.j.close()
        self.oracle.shut_down()
        self.boot()

    def _op_format(self, number, seq, ckpt_id, blob):
        real = recovery._begin

        def begin(log, report):
            log.first = log.next_number = number
            log.next_seq, log.ckpt_id, log.next_blob = seq, ckpt_id, blob
            return real(log, report)

        recovery._begin = begin
        try:
            self.boot()
        finally:
            recovery._begin = real

    def _op_put(self, kind, uid, body, blobs=(), parent=0):
        shas = tuple([self._sha(*blob) for blob in blobs])
        op = ("put", kind, uid, body, shas, parent)
        self._call([op], self.j.put, *op[1:])

    def _op_delete(self, kind, uid):
        self._call([("delete", kind, uid)], self.j.delete, kind, uid)

    def _op_batch(self, ops):
        self._call(ops, self.j.batch, ops)

    def _op_undelete(self, kind, uid):
        was = self.oracle.graves.get((kind, uid))
        if was is None or (kind, uid) in self.oracle.live:
            return
        op = ("put", kind, uid, was.body, was.blobs, was.parent)
        self._call([op], self.j.undelete, kind, uid)

    def _op_blob(self, n, size):
        self._stored(n, size)

    def _stored(self, n, size):
        """False if there was no room for a blob, where there may be none."""
        try:
            self._store(n, size)
        except NoSpace as error:
            if self._roomy(size / _CHUNK + 1):
                raise Broken("a blob was refused on a flash with room: %r" % error)
            return False
        return True

    def _store(self, n, size, piece=1000):
        data = text(n, size)
        sha = self._sha(n, size)
        writer = self.j.blob_writer(sha, size)
        for at in range(0, size, piece):
            writer.write(data[at : at + piece])
        writer.finish()
        return sha

    def _sha(self, n, size):
        sha = hashlib.sha256(text(n, size)).digest()
        self.oracle.blobs[sha] = (n, size)
        return sha

    def _op_photo(self, uid, n, size):
        if self._stored(n, size):
            self._op_put(5, uid, b"FN:" + uid + b"\n", ((n, size),))

    def _op_update(self, n, size):
        key = self._newest()
        if key is None:
            self._must_refuse(NotFound, self.j.update, 1, b"nobody", b"x")
        else:
            op = ("put", key[0], key[1], text(n, size), (), 0)
            self._call([op], self.j.update, *op[1:])

    def _op_remove(self):
        key = self._oldest()
        if key is None:
            self._must_refuse(NotFound, self.j.delete, 1, b"nobody")
        else:
            self._op_delete(*key)

    def _op_mixed(self, n):
        ops = [("put", 2, b"m%d-%d" % (n, i), text(i, 30 + 150 * i)) for i in range(3)]
        newest, oldest = self._newest(), self._oldest()
        if newest:
            ops.insert(1, ("put", newest[0], newest[1], text(n, 120), (), 5))
        if oldest and oldest != newest:
            ops.append(("delete", oldest[0], oldest[1]))
        self._op_batch(ops)

    def _op_restore(self):
        """As restoring a backup does: what is missing comes back, what is there is put again."""
        for kind, uid in sorted(self.oracle.graves, reverse=True):
            if (kind, uid) not in self.oracle.live:
                return self._op_undelete(kind, uid)
        key = self._newest()
        if key:
            was = self.oracle.live[key]
            op = ("put", key[0], key[1], was.body, was.blobs, was.parent)
            self._call([op], self.j.put, *op[1:])

    def _op_compaction(self, n):
        """Updates of two long records until the oldest segment has gone."""
        log = self.j._log
        first = log.first
        for i in range(200):
            before = self.oracle.last_seq
            self._op_put(1, b"turn%d" % (i % 2), text(n + i, 1300))
            if log.first != first:
                return
            if self.oracle.last_seq == before:  # the flash is full
                self._op_remove()
        raise Broken("no compaction in 200 long updates")

    def _op_fill(self, kind, size, prefix=b"f"):
        """Put records with bodies of `size` bytes until there is no space."""
        for n in range(10000):
            before = self.oracle.last_seq
            self._op_put(kind, prefix + b"%04d" % n, text(n, size))
            if self.oracle.last_seq == before:
                return
        raise Broken("%d records and never full" % n)

    def _op_checkpoint(self):
        self.j.checkpoint()

    def _op_scrub(self):
        for finding in self.j.scrub():
            if finding["kind"] not in ("progress", "summary"):
                raise Broken("scrub of an undamaged journal found %r" % finding)

    def _newest(self):
        live = self._person()
        return max(live, key=lambda key: live[key].seq) if live else None

    def _oldest(self):
        live = self._person()
        return min(live, key=lambda key: live[key].seq) if live else None

    # -- calls -----------------------------------------------------------------------------------
    def _call(self, ops, call, *args):
        """One call that writes. A refusal must have a reason that the oracle can see."""
        try:
            self.told(ops, call, *args)
        except Exception as error:
            if self.chip.nor.dead or not self._may_refuse(ops, error):
                raise

    def told(self, ops, call, *args):
        """One call that writes, of which the oracle is told; returns the last seq."""
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

    def _may_refuse(self, ops, error):
        if isinstance(error, NotFound):
            live = self.oracle.live
            gone = [op for op in ops if op[0] == "delete" and (op[1], op[2]) not in live]
            return gone or len(ops) == 1 and ops[0][0] == "put"  # an undelete, compacted
        if self._counted_out() and isinstance(error, (NoSpace, JournalClosed)):
            return True
        if isinstance(error, NoSpace):
            return not self._roomy() and any(op[0] != "delete" for op in ops)
        return False

    def _counted_out(self):
        """True if the journal has come to the end of its numbers, where it may refuse."""
        log = self.j._log
        return log.next_seq > _NEAR_LAST_SEQ or log.next_number > layout.MAX_NUMBER

    def _roomy(self, more=0):
        """True if so little is live that nothing may be refused for want of space; `more`: sectors
        that are asked for besides. The bound is what was found to fit in the worst order, less a
        tenth: 3 sectors' worth of 16, 5 of 18, 7 of 20, then 35 %."""
        units, chunks = 0, {}
        for key, version in self.oracle.live.items():
            size = 22 + len(key[1]) + 4 + 32 * len(version.blobs) + len(version.body)
            if size > _LONGEST:
                chunks[key] = (len(version.body) + _CHUNK - 1) // _CHUNK
                size = 64
            units += (size + UNIT - 1) // UNIT
            for sha in version.blobs:
                chunks[sha] = (self.oracle.blobs[sha][1] + _CHUNK - 1) // _CHUNK
        sectors = self.chip.sectors
        room = min(sectors - 13, 0.35 * sectors)
        return units / 60 + sum(chunks.values()) + more < room and self._whole()

    def _whole(self):
        """True if no sector is worn out and LittleFS can be mounted."""
        return self.j.report["filesystem"] == "ok" and not self.chip.nor._worn

    def _must_refuse(self, kind, call, *args):
        try:
            call(*args)
        except kind:
            return
        raise Broken("%s should have been raised" % kind.__name__)

    # -- epilogue --------------------------------------------------------------------------------
    def probe(self, rng):
        """One acknowledged write. Raises NoSpace where there is no room, others where it fails."""
        op = ("put", 3, b"probe%d" % rng.below(1000), text(1, rng.below(400)), (), 0)
        self.clock.now += 7
        self.oracle.begin([op], self.clock.now)
        try:
            seq = self.j.put(*op[1:])
        except (NoSpace, JournalClosed) as error:
            self.oracle.refused()
            if self._counted_out():
                return
            if self._roomy() or isinstance(error, JournalClosed):
                raise Broken("refused on a flash with room: %r" % error)
            return self._probe_delete()
        self.oracle.acknowledged(seq)

    def _probe_delete(self):
        """On a full flash a delete must work."""
        key = self._oldest()
        if key:
            self.oracle.begin([("delete", key[0], key[1])], self.clock.now)
            self.oracle.acknowledged(self.j.delete(*key))

    def more(self, rng):
        """Further writes and deletes, in which the second cut may fall."""
        live = list(self._person())
        for n in range(4):
            if live and rng.below(10) < 4:
                self._op_delete(*live.pop(rng.below(len(live))))
            else:
                self._op_put(2, b"more%d" % n, text(n, rng.below(700)))

    def notes(self):
        """What recovery said, for a person."""
        report = self.j.report
        lines = ["%s: %s" % (key, report[key]) for key in sorted(report)]
        log = self.j._log
        lines.append("open segment %d in sector %d, next seq %d" % (
            log.writer.number, log.writer.sector, log.next_seq))  # fmt: skip
        return lines


def mount(device, clock):
    """journal.mount with a fixed epoch, so that a failure comes again from its id."""
    kept, recovery.random_u32 = recovery.random_u32, lambda: EPOCH
    try:
        return journal.mount(device, clock)
    finally:
        recovery.random_u32 = kept


__all__ = ["Broken", "JournalClosed", "JournalSubject", "JournalUser"]
