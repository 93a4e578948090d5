"""The journal's workloads W1, W2, W3 and what people write instead, on the emulated NOR flash.

Runs under MicroPython (argv: directory of nor.py, directory of drybag, image file) and prints
one JSON object.
"""

import sys

sys.path[:0] = sys.argv[1:3]

import gc  # noqa: E402
import json  # noqa: E402

from nor import NorFlash, NorPartition  # noqa: E402
from vfs import VfsLfs2  # noqa: E402

from drybag import journal, layout  # noqa: E402

SIZE = 1 << 20
SAMPLE = 120
FILLER = "The quick brown fox jumps over the lazy dog; pack my box with five dozen liquor jugs. "


class Random:
    """xorshift32: the same steps in every run and on every machine."""

    def __init__(self, seed):
        self.x = seed

    def below(self, n):
        self.x ^= (self.x << 13) & 0xFFFFFFFF
        self.x ^= self.x >> 17
        self.x ^= (self.x << 5) & 0xFFFFFFFF
        return self.x % n


def body(size):
    text = "VERSION:3.0\nFN:" + FILLER * (size // len(FILLER) + 1)
    return text[: size - 1].encode() + b"\n"


class Meter:
    """Flash counters per record, and the worst single operation, of one store on one flash."""

    def __init__(self, nor):
        self.nor = nor
        self.restart()

    def restart(self):
        self.nor.reset_counters()
        self.records = 0
        self.worst = 0
        self.mark = 0.0

    def done(self, records=1):
        ms = self.nor.ms
        self.worst = max(self.worst, ms - self.mark)
        self.mark = ms
        self.records += records

    def result(self):
        c, n = self.nor.counters, self.records
        return {
            "erases_per_record": round(c["erases"] / n, 4),
            "programmed_bytes_per_record": round(c["programmed_bytes"] / n, 1),
            "modelled_ms_per_record": round(c["ms"] / n, 3),
            "worst_put_ms": round(self.worst, 1),
            "records": n,
        }


class Ours:
    name = "drybag"

    def __init__(self, nor):
        self.part = NorPartition(nor, 0, SIZE)
        journal.mount(self.part).close()
        self.j = journal.mount(self.part)

    def put(self, uid, data):
        self.j.put(layout.CONTACT, uid, data)

    def delete(self, uid):
        self.j.delete(layout.CONTACT, uid)

    def batch(self, items):
        self.j.batch([("put", layout.CONTACT, uid, data) for uid, data in items])


class Files:
    """A LittleFS with MicroPython's default geometry, or a larger cache where files need it."""

    geometry = 32

    def __init__(self, nor):
        part = NorPartition(nor, 0, SIZE)
        VfsLfs2.mkfs(part, readsize=self.geometry, progsize=self.geometry)
        self.fs = VfsLfs2(part, readsize=self.geometry, progsize=self.geometry, mtime=False)
        self.begin()

    def begin(self):
        pass


class AppendFlush(Files):
    name = "append_flush"

    def begin(self):
        self.f = self.fs.open("/log.jsonl", "ab")

    def put(self, uid, data):
        self.f.write(uid + b" " + data)
        self.f.flush()

    def delete(self, uid):
        self.f.write(uid + b" -\n")
        self.f.flush()

    def batch(self, items):
        for uid, data in items:
            self.f.write(uid + b" " + data)
        self.f.flush()


class FilePerRecord(Files):
    name = "file_per_record"
    geometry = 128

    def put(self, uid, data):
        f = self.fs.open("/" + uid.decode(), "wb")
        f.write(data)
        f.close()

    def delete(self, uid):
        self.fs.remove("/" + uid.decode())

    def batch(self, items):
        for uid, data in items:
            self.put(uid, data)


class JsonRewrite(Files):
    name = "json_rewrite"

    def begin(self):
        self.data = {}

    def save(self):
        f = self.fs.open("/new.json", "wb")
        f.write("{")
        for uid in self.data:
            f.write(json.dumps(uid.decode()) + ":" + json.dumps(self.data[uid].decode()) + ",")
        f.write("}")
        f.close()
        self.fs.rename("/new.json", "/pim.json")

    def put(self, uid, data):
        self.data[uid] = data
        self.save()

    def delete(self, uid):
        del self.data[uid]
        self.save()

    def batch(self, items):
        for uid, data in items:
            self.data[uid] = data
        self.save()


class RawLimit:
    """Appends to erased flash, nothing else: 15 bytes of header and CRC, no way to delete."""

    name = "raw_limit"

    def __init__(self, nor):
        self.nor, self.at, self.end = nor, 0, 0

    def put(self, uid, data):
        entry = b"\x00" * 15 + data
        for i in range(0, len(entry), 64):
            piece = entry[i : i + 64]
            while self.at + len(piece) > self.end:
                self.nor.erase(self.end % SIZE)
                self.end += 4096
            self.program(piece)

    def program(self, piece):
        room = 4096 - self.at % 4096
        self.nor.program(self.at % SIZE, piece[:room])
        if piece[room:]:
            self.nor.program((self.at + room) % SIZE, piece[room:])
        self.at += len(piece)

    def delete(self, uid):
        self.put(uid, b"")

    def batch(self, items):
        for uid, data in items:
            self.put(uid, data)


def w1(store, meter, count):
    data = body(100)
    meter.restart()
    for i in range(count):
        store.put(b"c%05d" % i, data)
        meter.done()
    return meter.result()


class Mixed:
    """W2's steps: 35 % new, 35 % updates, 30 % deletes, bodies of 60 to 400 bytes."""

    def __init__(self, store, meter):
        self.store, self.meter = store, meter
        self.rng = Random(20091013)
        self.live, self.next = [], 0

    def new(self):
        uid = b"%08x" % self.next
        self.next += 1
        self.store.put(uid, body(60 + self.rng.below(341)))
        self.live.append(uid)

    def step(self):
        what = self.rng.below(100)
        if what < 35 or not self.live:
            self.new()
        elif what < 70:
            uid = self.live[self.rng.below(len(self.live))]
            self.store.put(uid, body(60 + self.rng.below(341)))
        else:
            i = self.rng.below(len(self.live))
            uid, self.live[i] = self.live[i], self.live[-1]
            self.live.pop()
            self.store.delete(uid)
        self.meter.done()

    def run(self, steps):
        self.meter.restart()
        for _ in range(steps):
            self.step()
        return self.meter.result()


def w2(store, meter):
    mixed = Mixed(store, meter)
    for _ in range(500):
        mixed.new()
    if store.name != "drybag":
        result = mixed.run(SAMPLE // 8 if store.name == "json_rewrite" else SAMPLE)
        result["live"] = len(mixed.live)
        return result
    fresh = mixed.run(2000)
    turns = store.j._log.first
    while store.j._log.first < turns + store.j._log.device.sectors:
        mixed.step()
    result = mixed.run(2000)
    result["live"] = len(mixed.live)
    result["worst_put_ms"] = max(result["worst_put_ms"], fresh["worst_put_ms"])
    result["from_fresh_flash"] = fresh
    return result


def w3(store, meter):
    items = [(b"c%05d" % i, body(100)) for i in range(500)]
    meter.restart()
    store.batch(items)
    meter.done(500)
    return meter.result()


def main():
    out = {}
    for workload in ("W1", "W2", "W3"):
        out[workload] = {}
        for cls in (Ours, AppendFlush, FilePerRecord, JsonRewrite, RawLimit):
            gc.collect()
            nor = NorFlash(SIZE)
            store = cls(nor)
            meter = Meter(nor)
            if workload == "W1":
                slow = cls is JsonRewrite
                result = w1(store, meter, SAMPLE if slow else 600)
            else:
                result = (w2 if workload == "W2" else w3)(store, meter)
            if cls is Ours:
                out[workload].update(result)
            else:
                out[workload][cls.name] = result
            store = nor = None
    print(json.dumps(out))


main()
