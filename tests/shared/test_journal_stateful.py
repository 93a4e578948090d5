"""The journal against a dict, step by step, with clean and unclean boots, on a small flash."""

import hashlib

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pim_flash import (
    Clock,
    Flash,
    blob,
    bodies,
    checkpoint_if_room,
    digest_of,
    findings,
    store_blob,
    text,
)

from drybag import errors

UIDS = st.sampled_from([b"a", b"b", b"u855", b"u59200", b"a longer uid", b"\xff" * 200])
KINDS = st.integers(1, 4)
KEYS = st.tuples(KINDS, UIDS)
BODIES = st.builds(
    text, st.integers(0, 99), st.one_of(st.integers(0, 700), st.sampled_from([1512, 2000, 9000]))
)


class JournalMachine(RuleBasedStateMachine):
    """`live` is what was acknowledged: {(kind, uid): (body, seq)}."""

    @initialize(sectors=st.integers(20, 26))
    def start(self, sectors):
        self.flash = Flash(sectors)
        self.clock = Clock()
        self.live = {}
        self.last_seq = 0
        self.j = self.flash.mount(self.clock)

    def _acknowledged(self, seq):
        assert seq > self.last_seq
        self.last_seq = seq
        return seq

    @rule(key=KEYS, body=BODIES, seconds=st.integers(-5, 9))
    def put(self, key, body, seconds):
        self.clock.now += seconds
        try:
            self.live[key] = body, self._acknowledged(self.j.put(*key, body))
        except errors.NoSpace as error:
            assert error.missing_bytes > 0

    @rule(key=KEYS, body=BODIES, times=st.integers(2, 30))
    def put_many(self, key, body, times):
        for _ in range(times):
            self.put(key, body, 1)

    @rule(key=KEYS)
    def delete(self, key):
        try:
            self._acknowledged(self.j.delete(*key))
            del self.live[key]
        except errors.NotFound:
            assert key not in self.live

    @rule(key=KEYS)
    def undelete(self, key):
        versions = [v for v in self.j.history(*key) if not v.deleted]
        try:
            seq = self.j.undelete(*key)
        except errors.BadInput:
            assert key in self.live
        except (errors.NotFound, errors.NoSpace):
            assert key not in self.live
        else:
            assert key not in self.live
            self.live[key] = versions[0].body, self._acknowledged(seq)

    @rule(puts=st.lists(st.tuples(KEYS, BODIES), min_size=1, max_size=8), gone=st.sets(KEYS))
    def batch(self, puts, gone):
        ops = [("put", *key, body) for key, body in puts]
        ops = [("delete", *key) for key in sorted(gone)] + ops
        try:
            seq = self.j.batch(ops)
        except errors.NotFound:
            assert not gone <= set(self.live)
        except errors.NoSpace as error:
            assert error.missing_bytes > 0
        else:
            assert gone <= set(self.live)
            first = self._acknowledged(seq) - len(ops) + 1
            for key in gone:
                del self.live[key]
            for n, (key, body) in enumerate(puts):
                self.live[key] = body, first + len(gone) + n

    @rule(size=st.integers(0, 9000), uid=UIDS)
    def photo(self, size, uid):
        try:
            sha = store_blob(self.j, text(size, size))
            seq = self.j.put(5, uid, b"FN:p\n", [sha])
        except errors.NoSpace:
            return
        self.live[5, uid] = b"FN:p\n", self._acknowledged(seq)
        assert blob(self.j, sha) == text(size, size)

    @rule()
    def checkpoint(self):
        checkpoint_if_room(self.j)

    @rule(clean=st.booleans())
    def boot(self, clean):
        if clean:
            self.j.close()
        self.j = self.flash.mount(self.clock)
        assert self.j.report["read_only"] is None
        assert self.j.last_seq >= self.last_seq
        assert findings(self.j)[-1]["damaged"] == 0

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def read(self, data):
        key = data.draw(st.sampled_from(sorted(self.live)))
        record = self.j.get(*key)
        assert (record.body, record.seq) == self.live[key]
        assert self.j.history(*key)[0].seq == record.seq
        for sha in record.blobs:
            assert hashlib.sha256(blob(self.j, sha)).digest() == sha

    @invariant()
    def holds_what_it_acknowledged(self):
        if not hasattr(self, "j"):
            return
        assert self.j.count() == len(self.live)
        assert bodies(self.j) == {key: body for key, (body, _) in self.live.items()}
        assert self.j.digest() == digest_of(self.j)


TestJournal = JournalMachine.TestCase
TestJournal.settings = settings(
    max_examples=30, stateful_step_count=25, derandomize=True, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
