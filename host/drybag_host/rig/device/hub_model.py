"""What the oracle knows for a hub: the base of each version, the deletions that must last."""

from binascii import crc32

from drybag_host.rig.device.hub_world import agreed_in_state

SETTING = 7
AGREED = (SETTING, b"agreed")


def agreed_in(live):
    """The seq through which the hub has everything, as the rig's setting says, or that of a
    handset that syncs; -1 without one."""
    return int(live[AGREED].body) if AGREED in live else agreed_in_state(live)


def content_id(version):
    """As SPEC.md "Bases", written out once more."""
    crc = crc32(version.parent.to_bytes(4, "little"))
    for sha in version.blobs:
        crc = crc32(sha, crc)
    return crc32(version.body, crc) or 1


class HubModel:
    """`bases`: {key: base} of live records, `graves`: {key: (seq, base)} of what was deleted since
    a hub was paired, `told` those of them that the hub has. `from_hub`: the call in flight carries
    out what the hub sent. `sent`: the hub may have what has a seq up to this one.
    `world`: a hub to sync with (hub_world.World), or None."""

    def __init__(self):
        self.bases = {}
        self.graves = {}
        self.told = {}
        self.from_hub = False
        self.sent = self._sent_then = 0
        self.world = None

    def copy(self):
        other = HubModel()
        other.bases, other.graves = dict(self.bases), dict(self.graves)
        other.told, other.from_hub = dict(self.told), self.from_hub
        other.sent, other._sent_then = self.sent, self._sent_then
        other.world = self.world and self.world.copy()
        return other

    def begin(self):
        """A call begins: what was sent until now is what it knows of."""
        self._sent_then = self.sent

    def applied(self, ops, seqs, live):
        """These operations count with these numbers; `live`: what was there before."""
        agreed = agreed_in(live)
        live = dict(live)
        for op, seq in zip(ops, seqs):  # noqa: B905, MicroPython's zip
            key = op[1], op[2]
            if op[1] == SETTING:
                continue
            if self.world and not self.from_hub:
                self.world.wrote(op, live.get(key))
            base = 0
            if agreed >= 0 and not self.from_hub:
                if key in live and live[key].seq <= agreed:
                    base = content_id(live[key])
                else:
                    base = self.bases.get(key, 0) or self.graves.get(key, (0, 0))[1]
                    if not base and key in live and live[key].seq <= self._sent_then:
                        base = content_id(live[key])
            self.graves.pop(key, None)
            self.told.pop(key, None)
            self.bases.pop(key, None)
            if op[0] == "put":
                self.bases[key] = base
            elif agreed >= 0 and not self.from_hub:
                self.graves[key] = seq, base
        self.from_hub = False

    def moved(self, live):
        """The setting says another number now: deletions up to it are the hub's. Those above it
        count again where the hub was set back."""
        agreed = agreed_in(live)
        self.sent = max(self.sent, agreed)
        for key in list(self.graves):
            if agreed < 0 or self.graves[key][0] <= agreed:
                self.told[key] = self.graves.pop(key)
        for key in list(self.told):
            if 0 <= agreed < self.told[key][0]:
                self.graves[key] = self.told.pop(key)

    def unsent(self, live):
        """[(seq, key, deleted, base)] of what the hub has not, by seq."""
        agreed = agreed_in(live)
        rows = [(seq, key, True, base) for key, (seq, base) in self.graves.items()]
        for key, version in live.items():
            if version.seq > agreed and key[0] != SETTING:
                rows.append((version.seq, key, False, self.bases.get(key, 0)))
        return sorted(rows)
