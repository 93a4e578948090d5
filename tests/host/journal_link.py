"""HandsetLink's methods on a journal in this process: the commands without the serial line.

The journal is the real one on an emulated NOR flash. `break_at(n, error)` makes the link fail at
its n-th step from now, as a pulled cable or a reboot would; the connection after it works again.
"""

import io
from collections import namedtuple

from drybag import journal, layout
from drybag.errors import NotFound
from drybag_host import targets
from drybag_host.emulator.rom.nor import NorFlash, NorPartition
from drybag_host.errors import LinkLost
from drybag_host.output import Output
from drybag_host.targets import Session

targets._PAUSE_S = 0.01

Ack = namedtuple("Ack", "done seq")


class Handset:
    """A journal that can be reached by links."""

    def __init__(self, size_bytes=1 << 20, ident="a1b2c3", name="test"):
        self.ident = ident
        self.name = name
        self.size_bytes = size_bytes
        self.breaks = []
        self.steps = 0
        self.wipe()

    def boot(self):
        self.journal = journal.mount(self.device, clock=lambda: 800000000)

    def wipe(self):
        """A formatted handset: the same board, a new journal."""
        self.nor = NorFlash(self.size_bytes)
        self.device = NorPartition(self.nor, 0, self.size_bytes)
        self.boot()

    def break_at(self, steps, error=None):
        self.breaks.append((self.steps + steps, error or LinkLost("the cable was pulled")))

    def put(self, kind, uid, body, blobs=(), parent=0):
        return self.journal.put(kind, uid, body, blobs, parent)

    def put_blob(self, data):
        from hashlib import sha256

        sha = sha256(data).digest()
        writer = self.journal.blob_writer(sha, len(data))
        writer.write(data)
        writer.finish()
        return sha

    def live(self):
        """{(kind, uid): (body, blobs, parent)}"""
        return {
            (r.kind, bytes(r.uid)): (bytes(r.body), tuple(map(bytes, r.blobs)), r.parent)
            for r in self.journal.records()
        }

    def session(self, out=None, wait_s=5):
        return Session(lambda: Link(self), "emu:" + self.name, out or quiet(), wait_s)


def quiet(json_mode=False):
    return Output(json_mode, io.StringIO(), io.StringIO())


class Link:
    """What link.HandsetLink offers, one step a call or item."""

    console = None  # there is no line here, and no speed

    def __init__(self, handset):
        self.handset = handset
        self.dead = False
        self.damaged = []
        self._step()

    @property
    def _j(self):
        return self.handset.journal

    def _step(self):
        self.handset.steps += 1
        if self.dead:
            raise LinkLost("the link is gone")
        for at, error in self.handset.breaks:
            if at == self.handset.steps:
                self.dead = True
                raise error

    def close(self):
        self.dead = True

    def hello(self, allow_fault=False):
        self._step()
        j = self._j
        return {
            "id": self.handset.ident,
            "name": self.handset.name,
            "versions": {"firmware": "0.1.0", "format": 1},
            "epoch": j.epoch,
            "last_seq": j.last_seq,
            "counts": {name: j.count(kind) for kind, name in layout.KIND_NAMES.items()},
            "free": j.free_bytes(),
            "heap": 90000,
        }

    def put_records(self, ops):
        done = 0
        for op in ops:
            self._step()
            seq = self._j.batch([op])
            done += 1
            self._step()
            yield Ack(done, seq)

    def put_blob(self, sha, size, reader):
        self._step()
        writer = self._j.blob_writer(sha, size)
        while chunk := reader.read(4000):
            self._step()
            writer.write(chunk)
        writer.finish()

    def has_blobs(self, shas):
        self._step()
        return {sha for sha in shas if self._j.has_blob(sha)}

    def changes(self, since=0, cursor=0):
        for place, record in self._j.changes(since, cursor):
            self._step()
            yield place, record

    def read_blob(self, sha, offset=0):
        self._step()
        data = b"".join(bytes(piece) for piece in self._j.read_blob(sha))
        for start in range(offset, len(data), 1000):
            self._step()
            yield data[start : start + 1000]

    def blob_size(self, sha):
        self._step()
        return self._j.blob_size(sha)

    def digest(self):
        self._step()
        return self._j.digest()

    def get(self, kind, uid):
        self._step()
        return self._j.get(kind, uid)

    def find(self, text, kind=0):
        self._step()
        return list(self._j.find(text, kind))

    def history(self, kind, uid):
        self._step()
        return self._j.history(kind, uid)

    def delete(self, kind, uid):
        self._step()
        return self._j.delete(kind, uid)

    def undelete(self, kind, uid):
        self._step()
        return self._j.undelete(kind, uid)

    def compare(self, items):
        from hashlib import sha256

        self._step()
        out = []
        for kind, uid, sha in items:
            try:
                r = self._j.get(kind, uid)
            except NotFound:
                out.append(0)
                continue
            plain = layout.Record(kind, uid, bytes(r.body), r.blobs, r.parent)
            out.append(1 if sha256(layout.canonical(plain)).digest() == sha else 2)
        return out

    def scrub(self):
        self._step()
        yield from self._j.scrub()

    def stats(self):
        self._step()
        return self._j.stats()

    def set_time(self):
        self._step()
