"""A journal with a hub against a model: bases, pending tombstones, what is unsent."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from pim_flash import Flash, checkpoint_if_room, findings, text

from drybag import errors
from drybag.layout import SETTING, content_id, units_for

UIDS = st.sampled_from([b"a", b"b", b"u855", b"u59200", b"\xff" * 200, b"forty bytes".ljust(40)])
KEYS = st.tuples(st.integers(1, 3), UIDS)
BODIES = st.builds(
    text, st.integers(0, 99), st.one_of(st.integers(0, 700), st.sampled_from([1508, 1512, 5000]))
)


class PairedMachine(RuleBasedStateMachine):
    """`live`: {key: (body, seq, base)}; `graves`: {key: (seq, base)} of pending tombstones;
    `buried`: all that ever were."""

    @initialize(sectors=st.integers(20, 26))
    def start(self, sectors):
        self.flash = Flash(sectors)
        self.live, self.graves, self.buried = {}, {}, set()
        self.j = self.flash.mount()
        self.sent = self.j.last_seq
        self._agree(0)

    def _agree(self, seq):
        """Kept on flash first: what is written next then has a higher seq, whatever boots come."""
        self.j.put(SETTING, b"agreed", b"%10d" % seq)
        self.j.set_agreed(seq)
        self.sent = max(self.sent, seq)

    def _base(self, key, from_hub):
        if from_hub:
            return 0
        if key in self.live:
            body, seq, base = self.live[key]
            maybe = not base and seq <= self.sent
            return content_id(0, (), body) if seq <= self.j.agreed or maybe else base
        return self.graves.get(key, (0, 0))[1]

    def _counts(self, key, body, seq, base):
        self.graves.pop(key, None)
        self.live[key] = body, seq, base

    def _gone(self, key, seq, base, from_hub):
        body, _, own = self.live.pop(key)
        size = 22 + len(key[1]) + len(body) + (4 if own else 0)
        inline = size - 22 <= 1514
        if inline and units_for(len(key[1]) + 4) > (size + 63) // 64:
            base = 0
        if not from_hub:
            self.graves[key] = seq, base
            self.buried.add((key, seq, base))

    @rule(key=KEYS, body=BODIES, from_hub=st.booleans())
    def put(self, key, body, from_hub):
        base = self._base(key, from_hub)
        try:
            seq = self.j.put(*key, body, from_hub=from_hub)
        except errors.NoSpace:
            return
        self._counts(key, body, seq, base)

    @rule(key=KEYS, body=BODIES, times=st.integers(2, 40))
    def put_many(self, key, body, times):
        for _ in range(times):
            self.put(key, body, False)

    @rule(key=KEYS, from_hub=st.booleans())
    def delete(self, key, from_hub):
        base = self._base(key, from_hub)
        try:
            seq = self.j.delete(*key, from_hub=from_hub)
        except errors.NotFound:
            assert key not in self.live
        else:
            self._gone(key, seq, base, from_hub)

    @rule(puts=st.dictionaries(KEYS, BODIES, max_size=4), gone=st.sets(KEYS), hub=st.booleans())
    def batch(self, puts, gone, hub):
        gone = sorted(key for key in gone if key in self.live and key not in puts)
        ops = [("delete", *key) for key in gone]
        ops += [("put", *key, body) for key, body in puts.items()]
        bases = [self._base((op[1], op[2]), hub) for op in ops]
        ops.append(("put", SETTING, b"sync", b"state"))
        try:
            seq = self.j.batch(ops, from_hub=hub) - len(ops) + 1
        except errors.NoSpace:
            return
        for n, key in enumerate(gone):
            self._gone(key, seq + n, bases[n], hub)
        for n, (key, body) in enumerate(puts.items()):
            self._counts(key, body, seq + len(gone) + n, bases[len(gone) + n])

    @rule(behind=st.integers(0, 12))
    def agree(self, behind):
        self._agree(max(self.j.agreed, self.j.last_seq - behind))
        self.graves = {k: g for k, g in self.graves.items() if g[0] > self.j.agreed}

    @rule(behind=st.integers(0, 200))
    def hub_set_back(self, behind):
        self._agree(max(0, self.j.agreed - behind))
        found = {(r.kind, r.uid): (r.seq, r.base) for r in self.j.unsent(0, 999) if r.deleted}
        assert set(self.graves.items()) <= set(found.items())
        for key, grave in found.items():
            assert (key, *grave) in self.buried and key not in self.live
            assert grave[0] > self.j.agreed
        self.graves = found

    @rule()
    def checkpoint(self):
        checkpoint_if_room(self.j)

    @rule(clean=st.booleans())
    def boot(self, clean):
        if clean:
            self.j.close()
        self.j = self.flash.mount()
        self.sent = self.j.last_seq
        self.j.set_agreed(int(self.j.get(SETTING, b"agreed").body))
        assert findings(self.j)[-1]["damaged"] == 0

    @invariant()
    def holds(self):
        if not hasattr(self, "j"):
            return
        j = self.j
        assert {(r.kind, r.uid): (r.body, r.seq, r.base) for r in j.records()} == self.live
        wanted = [(seq, key, True, base) for key, (seq, base) in self.graves.items()]
        wanted += [(seq, key, False, base) for key, (_, seq, base) in self.live.items()
                   if seq > j.agreed]  # fmt: skip
        found = [(r.seq, (r.kind, r.uid), r.deleted, r.base) for r in j.unsent(j.agreed, 999)]
        assert found == sorted(wanted)
        assert j.unsent_count(j.agreed) == len(wanted)
        assert j.count() == len(self.live) == j.digest()[0]


TestPaired = PairedMachine.TestCase
TestPaired.settings = settings(
    max_examples=25, stateful_step_count=25, derandomize=True, deadline=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
