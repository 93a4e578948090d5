"""A handset that syncs: its own engine and a toy hub, as operations of a workload, and what must
hold at both ends whenever a cut came.

The hub keeps its power: after a cut it is as it was at that moment, with all it had acknowledged.
"""

from drybag import syncsettings
from drybag.syncengine import MOST_BUFFER, SyncEngine
from drybag.syncoutcome import SYNCED
from drybag_host.rig.device import oracle as model
from drybag_host.rig.device.fault_ops import Broken
from drybag_host.rig.device.hub_world import World, agreed_in_state, hub_id
from drybag_host.rig.device.ops import text
from drybag_host.rig.device.oracle import Problem
from drybag_host.rig.device.toy_hub import Driver

_HUB = syncsettings.Hub("10.0.0.1", 8443, "ada", "0123456789abcdef", "s" * 43, b"\x30DER")
_BODY_BYTES = 1400  # SPEC.md "Items": longer ones travel as blobs
_MOST_SYNCS = 3
_buffer = bytearray(MOST_BUFFER)


class SyncOps:
    """Mixed into JournalUser by way of PairedOps; works where the oracle has a World."""

    engine = None

    def _new_engine(self):
        """After each boot; tells the journal what its setting says."""
        number = self.oracle.hub.world.number
        self.engine = SyncEngine(_Told(self), self.clock, number)

    def _op_pair(self):
        self.oracle.hub.world = world = World()
        for key, version in self._person().items():
            world.wanted[key] = version.body, version.blobs, version.parent
        syncsettings.pair(_Told(self), _HUB, world.number)
        self._new_engine()

    def _op_elsewhere(self, kind, uid, body, photos=()):
        """Another handset's edit comes to the hub; `body` None: a deletion."""
        world = self.oracle.hub.world
        self.clock.now += 7
        blobs = tuple([self._sha(*photo) for photo in photos])
        for photo in photos:
            world.hub.blob(text(*photo))
        big = None
        if body and len(body) > _BODY_BYTES:
            big = world.hub.blob(body), len(body)
        head = world.hub.head(kind, uid)
        before = head.body if head and not head.deleted else None
        world.hub.edit(kind, uid, b"" if big else body or b"", body is None, blobs,
                       self.clock.now, big)  # fmt: skip
        world.edited(kind, uid, body, blobs, before)
        self.oracle.hub_changed(world.hub)

    def _op_hub_kept(self):
        """Somebody makes a backup of the hub,"""
        world = self.oracle.hub.world
        world.kept = world.hub.copy()

    def _op_hub_back(self):
        """and restores it, as another one."""
        world = self.oracle.hub.world
        world.hub = world.kept.copy()
        world.hub.name = b"restored"
        self.oracle.hub_changed(world.hub)

    def _op_sync(self, meanwhile=()):
        """To the end. `meanwhile`: what the person does while the first request is on its way."""
        way = _Way(self.oracle, [lambda op=op: self.do(op) for op in meanwhile])
        for _ in range(_MOST_SYNCS):
            self.engine.spare = _buffer
            outcome = way.run(self.engine)
            if outcome.state != SYNCED:
                raise Broken("a sync ends as '%s': %s" % (outcome.state, outcome.reason))
            if not self.engine.unsent():
                return
        raise Broken("%d records are not sent" % self.engine.unsent())

    # -- judging -------------------------------------------------------------------------------
    def _judge_sync(self):
        """Once the journal holds: what it says of the hub is true, and a sync makes them equal."""
        world = self.oracle.hub.world
        if world is None:
            return []
        problems = self._judge_told(world)
        try:
            return problems or self._judge_end(world)
        except Broken as error:
            return [Problem(model.HUB_DIFFERS, "a sync comes to its end", str(error))]

    def _judge_end(self, world):
        self._op_sync()
        problems = self._judge_equal(world)
        if problems:
            return problems
        for _ in range(2):  # the first may store the hub's ack of what it has sent
            seq = self.j.last_seq
            self._op_sync()
            if self.j.last_seq == seq:
                return []
        return [Problem(model.HUB_DIFFERS, "a sync without news writes nothing",
                        "seq %d after %d" % (self.j.last_seq, seq))]  # fmt: skip

    def _judge_told(self, world):
        """What the handset calls sent must be at that hub."""
        live = self.oracle.live
        if hub_id(live) != world.hub.name:  # it has not heard yet that the hub was set back
            return []
        agreed = agreed_in_state(live)
        for key, version in self._person().items():
            if version.seq <= agreed and not world.has(key, version):
                return [Problem(model.HUB_DIFFERS, "at the hub: " + model.name(key, version),
                                "not there, though agreed is %d" % agreed)]  # fmt: skip
        return []

    def _judge_equal(self, world):
        here = {}
        for record in self.j.records():
            here[record.kind, record.uid] = record.body, record.blobs, record.parent
        for found, where in ((here, "here"), (world.held(), "at the hub")):
            for key, content in world.wanted.items():
                other = found.pop(key, None)
                if other != content:
                    return [_differs(key, content, other, where)]
            if found:
                return [Problem(model.NEVER_WRITTEN, "no other records " + where,
                                "%r" % list(found))]  # fmt: skip
        if world.hub.quarantined:
            return [Problem(model.HUB_DIFFERS, "no seq is used twice",
                            "%r" % [item.number for item in world.hub.quarantined])]  # fmt: skip
        return []


def _differs(key, wanted, found, where):
    what = model.HUB_DIFFERS
    if wanted is None:
        what = model.DELETED_BACK
    elif where == "here":
        what = model.RECORD_LOST
    return Problem(what, "%s after a sync: %d/%s %s" % (
        where, key[0], key[1].decode(), _short(wanted)), _short(found))  # fmt: skip


def _short(content):
    if content is None:
        return "absent"
    return "%d bytes, begins %r, %d blobs" % (len(content[0]), content[0][:16], len(content[1]))


class _Way(Driver):
    """The oracle hears of each moment at which the hub changed."""

    def __init__(self, oracle, meanwhile):
        Driver.__init__(self, oracle.hub.world.hub)
        self._oracle = oracle
        self._left = meanwhile

    def answer(self, action, answer):
        if action[0] in ("post", "put"):
            self._oracle.hub_changed(self.hub)
            left, self._left = self._left, []
            for act in left:
                act()
        return answer


class _Told:
    """The journal as the engine sees it: the oracle is told of what it commits."""

    def __init__(self, user):
        self._user = user

    def __getattr__(self, name):
        return getattr(self._user.j, name)

    def note_sent(self, seq):
        self._user.j.note_sent(seq)
        self._user.oracle.hub.sent = max(self._user.oracle.hub.sent, seq)

    def put(self, kind, uid, body, blobs=(), parent=0):
        user = self._user
        seq = user.told([("put", kind, uid, bytes(body), blobs, parent)], user.j.put, kind, uid,
                        body, blobs, parent)  # fmt: skip
        user.oracle.hub.moved(user.oracle.live)
        return seq

    def batch(self, ops, from_hub=False):
        user = self._user
        hub = user.oracle.hub
        whole = [self._whole(op) for op in ops]
        hub.from_hub = from_hub
        try:
            seq = user.told(whole, lambda: user.j.batch(ops, from_hub=from_hub))
        finally:
            hub.from_hub = False
        hub.moved(user.oracle.live)
        return seq

    def _whole(self, op):
        """The operation with the body itself."""
        if op[0] == "put" and isinstance(op[3], tuple):
            return op[:3] + (self._user.oracle.hub.world.hub.blobs[op[3][0]],) + op[4:]
        return op
