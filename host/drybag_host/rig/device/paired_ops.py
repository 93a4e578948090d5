"""A handset with a hub: a workload's operations, and what a cut must leave for the hub."""

from drybag.errors import Damaged, NotFound
from drybag_host.rig.device import hub_model
from drybag_host.rig.device import oracle as model
from drybag_host.rig.device.hub_model import AGREED, SETTING
from drybag_host.rig.device.ops import text
from drybag_host.rig.device.oracle import Problem
from drybag_host.rig.device.sync_ops import SyncOps

_ALL = 100000


class PairedOps(SyncOps):
    """Mixed into JournalUser, whose `oracle`, `j`, `_call` it uses."""

    def _tell_agreed(self, booted=True):
        """After each boot: what the journal's own setting says."""
        if booted:  # who knows what was sent before
            self.oracle.hub.sent = self.j.last_seq
        if self.oracle.hub.world:
            return self._new_engine()
        try:
            agreed = int(self.j.get(*AGREED).body)
        except (NotFound, Damaged, ValueError):
            agreed = -1
        self.j.set_agreed(agreed)

    def _op_agree(self, behind=0):
        """The hub has everything but the last `behind` seqs: kept in a setting, then told. The
        first time the handset is paired."""
        body = b"%d" % max(0, self.j.agreed, self.j.last_seq - behind)
        op = ("put", SETTING, AGREED[1], body, (), 0)
        self._call([op], self.j.put, *op[1:])
        self._told()

    def _told(self):
        self.oracle.hub.moved(self.oracle.live)
        self._tell_agreed(booted=False)

    def _op_setting(self, n, size):
        op = ("put", SETTING, b"set%d" % (n % 3), text(n, size), (), 0)
        self._call([op], self.j.put, *op[1:])

    def _op_stored(self, n, ops):
        """A batch of a person's with a setting in it."""
        self._op_batch(ops + [("put", SETTING, b"set%d" % (n % 3), text(n, 40))])

    def _op_from_hub(self, ops):
        """What the hub sent and that it has been taken, in one batch. Deletes what is there."""
        live = self.oracle.live
        ops = [op for op in ops if op[0] == "put" or (op[1], op[2]) in live]
        ops.append(("put", SETTING, AGREED[1], b"%d" % (self.j.last_seq + len(ops) + 1)))
        self.oracle.hub.from_hub = True
        self._call(ops, lambda: self.j.batch(ops, from_hub=True))
        self.oracle.hub.from_hub = False
        self._told()

    def _op_grave(self, n):
        """A record whose deletion the hub has not is put again."""
        keys = sorted(self.oracle.hub.graves)
        if keys:
            self._op_put(*keys[n % len(keys)], text(n, 60 + n))

    def _person(self):
        """{key: Version} of live PIM records."""
        return {key: v for key, v in self.oracle.live.items() if key[0] != SETTING}

    # -- judging -------------------------------------------------------------------------------
    def _judge_hub(self, bases):
        """`bases`: {key: base} of the records shown."""
        oracle = self.oracle
        agreed = hub_model.agreed_in(oracle.live)
        if agreed < 0:
            return []
        oracle.hub.moved(oracle.live)
        for key, base in bases.items():
            wanted = oracle.hub.bases.get(key, 0) if key[0] != SETTING else 0
            if base != wanted:
                return [Problem(model.BASE_LOST, "base %08x of %r" % (wanted, key),
                                "%08x" % base)]  # fmt: skip
        wanted = oracle.hub.unsent(oracle.live)
        found = [(r.seq, (r.kind, r.uid), r.deleted, r.base)
                 for r in self.j.unsent(agreed, _ALL)]  # fmt: skip
        return _compare(wanted, found, self.j.unsent_count(agreed))


def _compare(wanted, found, count):
    for row in wanted:
        if row not in found:
            gone = row[2] and not [f for f in found if f[:3] == row[:3]]
            what = model.DELETION_LOST if gone else model.BASE_LOST
            return [Problem(what, "unsent: %r" % (row,), "not there, or another")]
    if found != wanted or count != len(found):
        rows = [row for row in found if row not in wanted]
        return [Problem(model.NEVER_WRITTEN, "nothing else is unsent, by seq",
                        "%r, count %d of %d" % (rows, count, len(wanted)))]  # fmt: skip
    return []
