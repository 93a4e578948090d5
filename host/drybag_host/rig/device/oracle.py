"""The independent model: what must be on flash after a cut, from what was acknowledged alone.

The oracle is told what a call was given before it is made and that it returned; it never looks
at flash or at the journal's code. Its canonical form of a record is written out here once more,
so that the digest has a second opinion.
"""

import hashlib
from collections import namedtuple

from drybag_host.rig.device.hub_model import SETTING, HubModel

Version = namedtuple("Version", ("body", "blobs", "parent", "seq", "stamp", "rev"))
Problem = namedtuple("Problem", ("what", "expected", "found"))

RECORD_LOST = "record lost"
TORN_SHOWN = "torn record shown"
DELETED_BACK = "deleted came back"
NEVER_WRITTEN = "never written appears"
NOT_REPORTED = "damage not reported"
DIFFERS = "recovery differs"
MOUNT_LOST = "mount lost"
DELETION_LOST = "deletion lost before the hub had it"
BASE_LOST = "base of an edit lost"
HUB_DIFFERS = "hub and handset differ"
WRITE_REFUSED = "write refused after recovery"


class Oracle:
    """The records that must be there. `flight`: the call that has not returned, if any.

    `before`: what was live before the last call; `sealed`: a clean shutdown came after it.
    `graves` has the last version of what is deleted, `blobs` what photos must hold, by SHA-256.
    `hub`: HubModel.

    `revision` grows with everything that is said; `mark` is a hash of all of it.
    """

    def __init__(self):
        self.live = {}
        self.before = {}
        self.ever = {}
        self.graves = {}
        self.blobs = {}
        self.last_seq = 0
        self.stamp = 0
        self.flight = None
        self.hub = HubModel()
        self.sealed = False
        self.revision = 0
        self.mark = b""

    def copy(self):
        other = Oracle()
        other.live, other.before = dict(self.live), self.before
        other.ever = dict(self.ever)
        other.graves = dict(self.graves)
        other.blobs, other.hub = self.blobs, self.hub.copy()
        other.last_seq, other.stamp, other.sealed = self.last_seq, self.stamp, self.sealed
        other.flight, other.revision, other.mark = self.flight, self.revision, self.mark
        return other

    # -- what the caller says ------------------------------------------------------------------
    def begin(self, ops, now):
        """These operations (as Journal.batch takes them) are about to be asked for."""
        self.stamp = max(self.stamp, now)
        self.sealed = False
        self.flight = [_normal(op) for op in ops]
        self.hub.begin()
        self._said(repr(self.flight))

    def acknowledged(self, seq):
        """The call returned `seq`: the last of consecutive numbers, one an operation."""
        first = seq - len(self.flight) + 1
        if first <= self.last_seq:
            raise ValueError("seq %d was given after %d" % (first, self.last_seq))
        seqs = range(first, seq + 1)
        live = self._after(seqs)
        self._remember(seqs)
        self.hub.applied(self.flight, seqs, self.live)
        self.before, self.live = self.live, live
        self.last_seq = seq
        self.flight = None
        self._said("ack %d" % seq)

    def refused(self):
        """The call raised and the chip is alive: nothing has changed."""
        self.flight = None
        self._said("refused")

    def shut_down(self):
        """A clean shutdown has come to its end."""
        self.sealed = True
        self._said("shut down")

    def hub_changed(self, hub):
        """The hub that a handset syncs with is another now."""
        self._said("hub %r %d %d" % (hub.name, len(hub.log), hub.requests))

    def _said(self, what):
        self.revision += 1
        self.mark = hashlib.sha256(self.mark + what.encode()).digest()[:8]

    def _after(self, seqs):
        """The live records once the operations in flight count with these numbers."""
        live = dict(self.live)
        for op, seq in zip(self.flight, seqs):  # noqa: B905, MicroPython's zip
            key = op[1], op[2]
            if op[0] == "delete":
                live.pop(key, None)
            else:
                rev = self.live[key].rev + 1 if key in self.live else 1
                stamp = op[6] if len(op) > 6 else self.stamp
                live[key] = Version(op[3], op[4], op[5], seq, stamp, rev)
        return live

    def _remember(self, seqs):
        for op, seq in zip(self.flight, seqs):  # noqa: B905, MicroPython's zip
            key = op[1], op[2]
            body = None if op[0] == "delete" else op[3]
            if body is None and key in self.live:
                self.graves[key] = self.live[key]
            self.ever[key] = self.ever.get(key, ()) + ((seq, body),)

    # -- what the subject shows ------------------------------------------------------------------
    def settle(self, found, deleted_seq):
        """Compare `found` ({key: Version}) with what must be there; returns problems.

        The call in flight counts from now on if `found` shows all of it. `deleted_seq(kind, uid)`
        is the seq of the newest tombstone the subject still has, 0 if none.
        """
        flight, self.flight = self.flight, None
        if found == self.live:
            return []
        if flight:
            self.flight = flight
            seqs = self._seqs_in(found, deleted_seq)
            if seqs and found == self._after(seqs):
                self._remember(seqs)
                self.hub.applied(flight, seqs, self.live)
                self.live, self.last_seq = found, max(seqs)
                self.flight = None
                return []
            self.flight = None
        return self._differences(found, flight or ())

    def _seqs_in(self, found, deleted_seq):
        """The numbers that the operations in flight have if they count."""
        for at, op in enumerate(self.flight):
            key = op[1], op[2]
            seq = found[key].seq if key in found else 0
            if op[0] == "delete" and not seq:
                seq = deleted_seq(*key)
            if seq > self.last_seq and not any((o[1], o[2]) == key for o in self.flight[at + 1 :]):
                return range(seq - at, seq - at + len(self.flight))
        return ()

    def _differences(self, found, flight):
        flying = [(op[1], op[2]) for op in flight]
        problems = []
        for key, version in self.live.items():
            other = found.get(key)
            if other != version:
                if other is None or (other.seq, other.body) in self.ever[key]:
                    what = RECORD_LOST
                else:
                    what = TORN_SHOWN
                problems.append(Problem(what, name(key, version), name(key, other)))
        for key, version in found.items():
            if key not in self.live:
                what = NEVER_WRITTEN
                if key in self.ever and (version.seq, version.body) in self.ever[key]:
                    what = DELETED_BACK
                elif key in flying:
                    what = TORN_SHOWN
                problems.append(Problem(what, name(key, None), name(key, version)))
        return problems

    def known(self, key, version):
        """True if such a version was once acknowledged (or is in flight)."""
        if (version.seq, version.body) in self.ever.get(key, ()):
            return True
        for op in self.flight or ():
            if op[0] == "put" and (op[1], op[2]) == key and op[3] == version.body:
                return True
        return False

    def digest(self):
        """(count, 32 bytes) as SPEC.md says, from what was acknowledged."""
        acc = count = 0
        for (kind, uid), v in self.live.items():
            if kind == SETTING:
                continue
            count += 1
            data = bytes([kind, len(uid)]) + uid
            for number, size in ((v.parent, 4), (v.seq, 4), (v.stamp, 4), (v.rev, 2)):
                data += number.to_bytes(size, "little")
            data += bytes([len(v.blobs)]) + b"".join(v.blobs) + v.body
            acc ^= int.from_bytes(hashlib.sha256(data).digest(), "big")
        return count, acc.to_bytes(32, "big")

    def expects(self):
        """The model as lines of text: live records, and the call in flight."""
        lines = [name(key, self.live[key]) for key in sorted(self.live)]
        if self.flight:
            calls = [_call(op) for op in self.flight]
            lines.append("in flight, all or nothing: " + ", ".join(calls))
        return lines


def name(key, version):
    """One record as text: 'contact old0 seq 3 rev 1, 60 bytes'."""
    text = "%d/%s" % (key[0], key[1].decode())
    if version is None:
        return text + " absent"
    return "%s seq %d rev %d, %d bytes, begins %r" % (
        text, version.seq, version.rev, len(version.body), version.body[:16],
    )  # fmt: skip


def _call(op):
    size = " (%d bytes)" % len(op[3]) if op[0] == "put" else ""
    return "%s %d/%s%s" % (op[0], op[1], op[2].decode(), size)


def _normal(op):
    if op[0] == "delete":
        return tuple(op)
    blobs = tuple(op[4]) if len(op) > 4 else ()
    return tuple(op[:4]) + (blobs, op[5] if len(op) > 5 else 0) + tuple(op[6:7])
