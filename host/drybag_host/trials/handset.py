"""One handset of a history: real journal on flash in RAM, real sync engine, and a person."""

import functools
import hashlib
import random

from drybag import journal, layout, recovery, syncsettings, syncstate
from drybag.errors import DrybagError, NoSpace
from drybag.syncengine import SyncEngine

from .flash import RamFlash
from .oracle import tokens
from .script import PROPERTIES

SECTORS = 48
_Y2026 = 820_454_400  # 2026-01-01 as a stamp
_KEYS = 14
_LONG_BYTES = 1600
_BULK = 24


def stamp_at(now_s):
    """The stamp of a moment of virtual time."""
    return _Y2026 + int(now_s)


@functools.cache
def _formatted(number):
    """The flash of a handset that was switched on once; formatting takes longer than the rest."""
    flash = RamFlash(SECTORS)
    _mount(flash, None, random.Random(number))
    return bytes(flash.memory)


def _mount(flash, clock, rng):
    """journal.mount with random numbers that come from `rng`."""
    kept, recovery.random_u32 = recovery.random_u32, lambda: rng.randrange(1, 1 << 32)
    try:
        return journal.mount(flash, clock)
    finally:
        recovery.random_u32 = kept


class PowerLost(Exception):
    """The armed cut came while the person, or the sync, was writing."""


class Handset:
    """`number`: its place in the world; `device`: its row at the hub, set when it is paired."""

    def __init__(self, world, number, name):
        self.world = world
        self.number = number
        self.name = name
        self.flash = RamFlash(memory=_formatted(number))
        self.images = []
        self.offset_s = 0  # of its clock; None: not set
        self.hub_row = None
        self.session = self.outcome = None
        self.cuts = 0
        self._boots = 0
        self.boot()

    # -- power --------------------------------------------------------------------------------
    def boot(self):
        """Mount the journal on what the flash holds. The sync engine begins anew."""
        self.flash.power_on()
        self._boots += 1
        rng = random.Random("%s %d %d" % (self.name, self._boots, self.world.seed))
        self._draw = lambda: rng.randrange(1, 1 << 32)
        self.journal = _mount(self.flash, self.clock, rng)
        self.engine = None
        if self.journal.find_uid(layout.SETTING, syncstate.HUB):
            self._start_engine()

    def _start_engine(self):
        self.engine = SyncEngine(self.journal, self.clock, self._draw, self.set_clock)

    def pair(self, hub):
        """`hub`: a syncsettings.Hub."""
        syncsettings.pair(self.journal, hub, self._draw)
        self._start_engine()

    def guarded(self, act, *args):
        """Do something that writes. Raises PowerLost when the power went meanwhile."""
        try:
            return act(*args)
        except Exception:
            if self.flash.dead:
                self.cuts += 1
                self.offset_s = None
                raise PowerLost from None
            raise

    def clock(self):
        if self.offset_s is None:
            return 0
        return stamp_at(self.world.now_s + self.offset_s)

    def set_clock(self, stamp):
        self.offset_s = stamp - stamp_at(self.world.now_s)

    # -- what it shows ------------------------------------------------------------------------
    def body(self, key):
        """The record's body, None without one."""
        if not self.journal.find_uid(*key):
            return None
        return self.journal.get(*key).body

    def shown(self):
        """{key: (body, blobs, parent)} of all live records."""
        return {
            (r.kind, r.uid): (r.body, tuple(r.blobs), r.parent) for r in self.journal.records()
        }

    def tombstones(self):
        """(name, key, seq) of each deletion that the journal can still tell of."""
        found = set()
        for _, record in self.journal.changes(0):
            if record.deleted:
                found.add((self.name, (record.kind, record.uid), record.seq))
        return found

    # -- what the person does -----------------------------------------------------------------
    def act(self, verb, chance):
        """One act, as its verb and chance say. Raises PowerLost."""
        rng = random.Random(chance)
        getattr(self, "_" + verb)(rng)

    def act_on(self, key, verb, rng):
        """Change or delete this record. Raises PowerLost."""
        if verb == "delete":
            self._forget(key)
        else:
            self._change(key, rng)

    def _key(self, rng, here):
        """A key: of a record that is here, or any; few, so that handsets meet."""
        keys = [(r.kind, r.uid) for r in self.journal.records()]
        if here:
            return rng.choice(sorted(keys)) if keys else None
        number = rng.randrange(_KEYS)
        return (layout.CONTACT, layout.NOTE)[number % 2], b"uid-%02d" % number

    def _add(self, rng):
        key = self._key(rng, here=False)
        if self.body(key) is not None:
            return self._change(key, rng)
        lines = [b"VERSION:3.0"]
        for name in rng.sample(PROPERTIES, rng.randint(1, 3)):
            lines.append(name.encode() + b":" + self.world.oracle.new_token())
        if rng.random() < 0.05:
            lines.append(b"NOTE:" + b"long " * (_LONG_BYTES // 5))
        return self._put(key, b"\n".join(lines) + b"\n")

    def _edit(self, rng):
        key = self._key(rng, here=True)
        if key:
            self._change(key, rng)

    def _change(self, key, rng):
        """Another value for one property, or one more line of it."""
        record = self.journal.get(*key)
        lines = record.body.rstrip(b"\n").split(b"\n")
        name = rng.choice(PROPERTIES).encode() + b":"
        line = name + self.world.oracle.new_token()
        places = [i for i, text in enumerate(lines) if text.startswith(name)]
        if places and rng.random() < 0.85:
            lines[rng.choice(places)] = line
        else:
            lines.append(line)
        others = [text for text in lines[1:] if text != line]
        if others and rng.random() < 0.1:  # and one property less
            lines.remove(rng.choice(others))
        self._put(key, b"\n".join(lines) + b"\n", record.blobs, record.parent)

    def _delete(self, rng):
        key = self._key(rng, here=True)
        if key:
            self._forget(key)

    def _again(self, rng):
        """A record that was there once is made anew under its uid."""
        gone = [key for key in self.world.oracle.keys() if self.body(key) is None]
        if gone:
            body = b"VERSION:3.0\nFN:" + self.world.oracle.new_token() + b"\n"
            self._put(rng.choice(sorted(gone)), body)

    def _photo(self, rng):
        data = rng.randbytes(rng.choice((300, 2000, 9000)))
        sha = hashlib.sha256(data).digest()
        body = b"FN:%s\nMEDIATYPE:image/png\nIMAGE:drybag:blob/%s\n" % (
            self.world.oracle.new_token(), sha.hex().encode(),
        )  # fmt: skip
        try:
            writer = self.journal.blob_writer(sha, len(data))
            self.guarded(writer.write, data)
            self.guarded(writer.finish)
        except NoSpace:
            return
        self.world.blobs[sha] = data
        self._put((layout.PHOTO, b"photo-%08x" % rng.getrandbits(32)), body, (sha,))

    def _bulk(self, rng):
        """Many records at once."""
        for number in range(_BULK):
            key = layout.TODO, b"todo-%d-%02d" % (self.number, number)
            if self.body(key) is None:
                self._put(key, b"SUMMARY:" + self.world.oracle.new_token() + b"\n")

    def _wipe(self, rng):
        """Most of what is here is deleted."""
        keys = sorted(self.shown())
        for key in rng.sample(keys, len(keys) * 2 // 3):
            self._forget(key)

    def _put(self, key, body, blobs=(), parent=0):
        before = self.body(key)
        try:
            self.guarded(self.journal.put, *key, body, blobs, parent)
        except NoSpace:
            return
        except PowerLost:
            self.boot()
            if self.body(key) == body:  # it is there whole, so it counts
                self._edited(key, before, body)
            raise
        self._edited(key, before, body)

    def _edited(self, key, before, body):
        seq = self.journal.seq_of(*key)
        self.world.oracle.edited(self.name, key, seq, before, body)

    def _forget(self, key):
        before = self.body(key)
        try:
            seq = self.guarded(self.journal.delete, *key)
        except PowerLost:
            self.boot()
            if self.body(key) is None:
                seq = max(t[2] for t in self.tombstones() if t[1] == key)
                self.world.oracle.deleted(self.name, key, seq, before)
            raise
        self.world.oracle.deleted(self.name, key, seq, before)

    # -- the end ------------------------------------------------------------------------------
    def wrong(self):
        """What is wrong with the journal itself: lines."""
        found = []
        for key, (_, blobs, _) in self.shown().items():
            for sha in blobs:
                try:
                    data = b"".join(bytes(piece) for piece in self.journal.read_blob(sha))
                except DrybagError as error:
                    data = str(error).encode()
                if data != self.world.blobs[sha]:
                    found.append("%s: photo of %s is not whole" % (self.name, key[1].decode()))
        return found

    def alive(self):
        """Tokens that the records here show."""
        return set().union(*[tokens(body) for body, _, _ in self.shown().values()])
