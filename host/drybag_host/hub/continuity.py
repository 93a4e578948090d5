"""Was a journal set back, before it had told that it knew of a later ack?

Seqs do not say so, as they skip 64 at a boot. But a handset that remembers a lower ack than the
hub gave has missed a reply, and then sends what came after that ack again, or something newer of
the same records. If it does not, it has them no more.
"""

from collections import OrderedDict

from drybag_host.hub.rules import QUARANTINE

__all__ = ["Continuity"]

PAGE = 256
MOST = 1000  # streams that are in doubt at once
MOST_SENT = 20_480  # versions that are looked through: a page has some hundreds


class Continuity:
    """Doubts live in RAM: a handset sends pages, and only after the last one can it be said."""

    def __init__(self, storage):
        self._storage = storage
        self._doubts = OrderedDict()  # stream: (ack then, {(kind, uid): seq})
        self._given = set()  # streams in doubt that were given that ack, for what they sent since

    def is_broken(self, stream, request, items):
        """True if this journal lacks what it sent before."""
        key = (stream["device"], stream["epoch"], stream["life"])
        if request.acked < stream["ack"] and key not in self._doubts:
            sent = self._sent(key, request.acked, stream["ack"])
            if sent is None:
                return True
            self._doubts[key] = stream["ack"], sent
            if len(self._doubts) > MOST:
                self._forget(next(iter(self._doubts)))
        ack, missing = self._doubts.get(key, (0, None))
        if missing is None:
            return False
        if request.acked == ack and key not in self._given:  # an old request had come late
            self._forget(key)
            return False
        for item in items:
            if item.number >= missing.get((item.kind, item.uid), item.number + 1):
                del missing[item.kind, item.uid]
        if missing and not request.room:  # more pages come
            return False
        self._forget(key)
        return bool(missing)

    def gave(self, key, ack):
        """Note that a request was given `ack`. A page that ends with just the ack there was makes
        nobody know it: what was sent before may lack all the same."""
        if self._doubts.get(key, (0,))[0] == ack > 0:
            self._given.add(key)

    def proves(self, key):
        """True if an ack that this stream shows is word of a reply that came in time."""
        return key not in self._given

    def _forget(self, key):
        del self._doubts[key]
        self._given.discard(key)

    def _sent(self, key, low, high):
        """{(kind, uid): newest seq} of what was sent after `low`, up to `high`; None if that is
        more than replies can have been missed for."""
        newest, after = {}, (low, "\U0010ffff")
        for _ in range(MOST_SENT // PAGE):
            rows = self._storage.scan("versions", "stream", key, after, PAGE)
            for row in rows:
                if row["seq"] <= high and row["role"] != QUARANTINE:
                    newest[row["kind"], row["uid"]] = row["seq"]
            if len(rows) < PAGE or rows[-1]["seq"] > high:
                return newest
            after = (rows[-1]["seq"], rows[-1]["owner"], rows[-1]["pos"])
        return None
