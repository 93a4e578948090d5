"""What the oracle knows of a hub that a handset really syncs with: the hub, and what a sync that
has come to its end must leave on both sides."""

from drybag_host.rig.device.toy_hub import ToyHub

HUB_SETTING = 7, b"hub"
SYNC_SETTING = 7, b"sync"
_BOTH = b"both"
_HUB_ID_AT, _AGREED_AT = 2, 26  # SPEC.md "Settings of sync"


def hub_id(live):
    """The hub that the handset's state speaks of; None without one."""
    return live[SYNC_SETTING].body[_HUB_ID_AT:][:8] if SYNC_SETTING in live else None


def agreed_in_state(live):
    """The seq through which nothing needs sending; -1 if no hub is paired."""
    if SYNC_SETTING not in live or HUB_SETTING not in live:
        return -1
    return int.from_bytes(live[SYNC_SETTING].body[_AGREED_AT:][:4], "little")


class World:
    """`hub` is no part of a cut: what it has acknowledged stands. `kept`: a copy of it from
    earlier. `wanted`: {key: (body, blobs, parent), None once deleted} by the latest of all edits,
    here and elsewhere. Two at once for one record are only made of those whose uid begins with
    `both`: their bodies have the same lines at all times, and each edit counts line by line."""

    def __init__(self):
        self.hub = ToyHub()
        self.hub.merges = True
        self.kept = None
        self.wanted = {}
        self._number = 1

    def copy(self):
        other = World()
        other.hub = self.hub.copy()
        other.kept = self.kept  # set once, then only copied
        other.wanted = dict(self.wanted)
        other._number = self._number
        return other

    def number(self):
        """Random enough, and the same in each replay."""
        self._number = self._number * 1103515245 + 12345 & 0x7FFFFFFF
        return self._number or 1

    def wrote(self, op, before):
        """The person did this; `before`: the version that was here, or None."""
        made = (op[3], op[4], op[5]) if op[0] == "put" else None
        self._want((op[1], op[2]), made, before and before.body)

    def edited(self, kind, uid, body, blobs, before):
        """So did somebody elsewhere; `before`: the body that the hub had, or None."""
        self._want((kind, uid), None if body is None else (body, blobs, 0), before)

    def _want(self, key, made, before):
        wanted = self.wanted.get(key)
        if key[1][: len(_BOTH)] == _BOTH and made and wanted and before:
            rows = [text.split(b"\n") for text in (before, made[0], wanted[0])]
            lines = [rows[2 if rows[0][i] == rows[1][i] else 1][i] for i in range(len(rows[0]))]
            made = (b"\n".join(lines),) + made[1:]
        self.wanted[key] = made

    def held(self):
        """{key: (body, blobs, parent)} of what the hub has."""
        return {key: self._content(item) for key, item in self.hub.live().items()}

    def has(self, key, version):
        """True if the hub has ever had this version."""
        wanted = version.body, version.blobs, version.parent
        for item, _ in self.hub.log:
            if (item.kind, item.uid) == key and not item.deleted:
                if self._content(item) == wanted:
                    return True
        return False

    def _content(self, item):
        body = self.hub.blobs[item.big[0]] if item.big else item.body
        return body, tuple(item.blobs), item.parent
