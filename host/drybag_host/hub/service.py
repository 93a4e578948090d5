"""The hub without its network: what a handset's request does to the store, and the answer.

    service = Service(storage, blobs)
    service.sync(device_row, request_bytes) -> reply bytes

`take` and `answer` are its two halves: the first belongs into a batch of the storage, the second
comes when that batch is durable. Decisions are in rules.py and drybag.merge.
"""

import contextlib
import hashlib
import time

from drybag import syncwire, syncwirehost
from drybag.errors import NotFound
from drybag.syncwire import BadMessage, Item, Reply, SyncNewer
from drybag_host.hub import accounts, ownerlog, rules
from drybag_host.hub.continuity import Continuity
from drybag_host.hub.ownerlog import OwnerLog, version_of
from drybag_host.hub.refusals import Revoked, Unsound, UpdateNeeded
from drybag_host.hub.rules import EPOCH_S
from drybag_host.hub.storage import Stale, hub_id
from drybag_host.hub.uploads import sender

__all__ = ["EPOCH_S", "Service", "Taken"]

TRIES = 20
PAGE = 64
MOST_HEADS = 2000  # looked at for one reply
SEEN_MS = 600_000


class Taken:
    """A request that was carried out; answer() makes the reply once it is durable."""

    __slots__ = ("ack", "agrees", "device", "lsn", "owner_pos", "request", "set_back", "stream",
                 "wanted")  # fmt: skip

    def __init__(self, device, request):
        self.device = device
        self.request = request
        self.agrees = self.set_back = False
        self.ack = self.lsn = 0  # ack: what this request alone may be told
        self.stream = None
        self.owner_pos = 0
        self.wanted = ()


class Service:
    """clock: seconds since 1970. ack_offsite: an ack waits for the off-site copy; offsite: one
    is configured."""

    def __init__(self, storage, blobs, clock=time.time, *, offsite=False, ack_offsite=False):
        self.storage = storage
        self.blobs = blobs
        self.clock = clock
        self.offsite = offsite
        self.ack_offsite = ack_offsite
        self.hub = bytes.fromhex(hub_id(storage))
        self.seen = {}  # device: ms of its last contact, written now and then
        self._written = {}  # device: when it was written last
        self.continuity = Continuity(storage)
        self.told = {}  # stream: its highest acked that agreed, written likewise

    def now_ms(self):
        return int(self.clock() * 1000)

    def stamp(self):
        return max(0, int(self.clock()) - EPOCH_S)

    def write_seen(self):
        """Write down when devices were heard of last, and what they know; little depends on it."""
        for key in list(self.told):
            told = self.told.pop(key)
            row = self.storage.get("streams", [key])[0]
            if row and row["told"] < told:
                guard = ("streams", key, "lsn", row["lsn"])
                with contextlib.suppress(Stale):
                    self.storage.commit([("streams", {**row, "told": told})], [guard])
        for device in list(self.seen):
            at_ms = self.seen.pop(device)

            def change(row, at_ms=at_ms):
                row["seen_ms"] = max(row["seen_ms"], at_ms)

            with contextlib.suppress(NotFound):
                accounts.update(self.storage, "devices", (device,), change)

    def _heard_of(self, device):
        """Note when; the first time, and after a long while, with this batch."""
        self.seen[device["device"]] = now_ms = self.now_ms()
        written = max(device["seen_ms"], self._written.get(device["device"], 0))
        if now_ms - written > SEEN_MS:
            self._written[device["device"]] = now_ms
            with contextlib.suppress(NotFound):
                accounts.update(self.storage, "devices", (device["device"],),
                                lambda row: row.update(seen_ms=now_ms))  # fmt: skip

    # --- a sync ---

    def sync(self, device, data):
        """The reply to a request of a device (its row). Raises Refused."""
        return self.answer(self.take(device, data))

    def take(self, device, data):
        """Carry a request out: all of it, or nothing (Refused). Durable when the batch is."""
        try:
            request, items = syncwirehost.parse_request(data)
        except SyncNewer as error:
            raise UpdateNeeded(str(error)) from error
        except BadMessage as error:
            raise Unsound("this request makes no sense: %s" % error) from error
        self._heard_of(device)
        for _ in range(TRIES):
            try:
                return self._take(device, request, items)
            except Stale:
                continue
        return self._take(device, request, items)

    def _take(self, device, request, items):
        taken = Taken(device, request)
        key = (device["device"], request.epoch, request.life)
        found = self.storage.get("streams", [key])[0]
        stream = dict(found or _new_stream(key))
        taken.stream = stream
        taken.agrees = self._agrees(key, request)
        log = self._open(device["owner"])
        doubtful = not taken.agrees and stream["ack"] > request.acked
        if taken.agrees:
            taken.set_back = self._is_set_back(key, stream, request) or self.continuity.is_broken(
                stream, request, items
            )
        if taken.set_back or doubtful:
            items = []  # they come again: if set back, in a life and with seqs of their own
        take, taken.wanted = self._with_blobs(log, items)
        hashes = self._take_items(log, taken, take)
        ack = request.upto if len(take) == len(items) else items[len(take)].number - 1
        if taken.set_back or doubtful:
            ack = 0
        self.continuity.gave(key, ack)
        moved = taken.agrees and self._acknowledge(log, taken, key, ack, hashes)
        if taken.agrees and request.room and not taken.set_back:
            stream["told"] = max(stream["told"], request.acked)  # all that it has came by now
        went_on = request.cursor > stream["cursor"] and self._follows(taken, request)
        if went_on:
            stream["cursor"] = request.cursor
        if moved or went_on or log.changed():
            # room is asked for where nothing else is unsent: what is newer is the handset's own
            stream["last_seq"] = request.upto if request.room else request.last_seq
            log.put("streams", stream)
            taken.lsn = log.commit()
        taken.owner_pos = log.row["pos"]
        self.told[key] = stream["told"]
        return taken

    def _open(self, owner):
        try:
            return OwnerLog(self.storage, self.blobs, owner, self.now_ms())
        except NotFound as error:
            raise Revoked("the owner of this handset has no account here any more") from error

    def _acknowledge(self, log, taken, key, ack, hashes):
        """Note what this request has brought; True if the stream's ack went on."""
        stream = taken.stream
        taken.ack = max(ack, taken.request.acked)
        further = ack > stream["ack"]
        if not further and (
            ack <= taken.request.acked or self.storage.get("marks", [(*key, ack)])[0]
        ):
            return False
        check = hashlib.sha256(stream["ack_check"] + ack.to_bytes(4, "little") + hashes)
        check8 = check.digest()[:8]
        mark = {"device": key[0], "epoch": key[1], "life": key[2], "ack": ack, "check8": check8}
        log.put("marks", mark)
        if further:
            stream.update(ack=ack, ack_check=check8)
        return further

    def _agrees(self, key, request):
        """True if this hub gave the ack that the handset remembers."""
        if not request.acked:
            return True
        mark = self.storage.get("marks", [(*key, request.acked)])[0]
        return bool(mark) and self._bound(mark["check8"]) == request.ack_check

    def _is_set_back(self, key, stream, request):
        """True if this handset knew of a higher ack before: an old image was written to it."""
        stream["told"] = told = max(stream["told"], self.told.get(key, 0))
        if request.acked < told:
            return True
        if request.acked == stream["ack"] and self.continuity.proves(key):
            marks = self.storage.scan("marks", "", key, (told,), 1)
            # one that missed a reply may be an old image: told stays until all that it has came
            if not marks or marks[0]["ack"] == request.acked:
                stream["told"] = request.acked
        return False

    def _bound(self, check):
        """A check as it is given out: bound to this store, so that none outlives a restore."""
        return hashlib.sha256(self.hub + check).digest()[:8]

    def _with_blobs(self, log, items):
        """(items before the first whose blobs are not there, what that one needs)."""
        named = {sha for item in items for sha in item.names()}
        if not named:
            return items, ()
        rows = self.storage.get("blobs", [(log.owner, sha) for sha in named])
        there = {row["sha"] for row in rows if row}
        for i, item in enumerate(items):
            missing = [sha for sha in dict.fromkeys(item.names()) if sha not in there]
            if missing:
                return items[:i], tuple((sha, self.partial(log.owner, sha)) for sha in missing)
        return items, ()

    def partial(self, owner, sha):
        """How many bytes of a blob this owner has sent so far."""
        have, complete = self.blobs.have(sha, sender(owner))
        return 0 if complete else have

    def _take_items(self, log, taken, items):
        """Take all of them; returns their hashes, one behind another.

        Of a journal that gave a seq twice, only what it gave twice is kept: it was set back.
        """
        if not items:
            return b""
        stream = taken.stream
        log.load([(item.kind, item.uid) for item in items])
        sent = self._sent_before(stream, items)
        hashes, new = [], []
        for item in items:
            sha = syncwirehost.item_sha(item)
            hashes.append(sha)
            earlier = sent.get(item.number, ())
            first = [row for row in earlier if row["role"] != rules.QUARANTINE]
            if any(row["item_sha"] == sha for row in first):
                continue
            version = self._version(taken, item)
            if not earlier:
                new.append((version, item, sha))
            elif rules.repeat_of(version, map(version_of, first)) == rules.QUARANTINE:
                taken.set_back = True
                if all(row["item_sha"] != sha for row in earlier):
                    ownerlog.quarantine(log, version, item, sha)
        if taken.set_back:
            return b""
        cursor = stream["cursor"]
        follows = taken.request.cursor > cursor and self._follows(taken, taken.request)
        for version, item, sha in new:
            late = item.number < stream["next_item"] and ownerlog.is_late(log, version)
            if late:
                ownerlog.quarantine(log, version, item, sha, "after a newer version")
            else:  # what was never sent before was made behind the last page taken
                seen = taken.request.cursor if follows and not item.resend else cursor
                ownerlog.take(log, version, item, sha, seen, stream["told"])
        stream["next_item"] = max(stream["next_item"], items[-1].number + 1)
        return b"".join(hashes)

    def _version(self, taken, item):
        """What an item says, its stamp believed."""
        request = taken.request
        return rules.Version(
            item.kind, item.uid, self._body(item), deleted=item.deleted,
            stamp=rules.clamp(item.stamp, self.stamp()), parent=item.parent, blobs=item.blobs,
            device=taken.device["device"], epoch=request.epoch, life=request.life,
            seq=item.number, cid=item.base if item.deleted else None,
        )  # fmt: skip

    def _sent_before(self, stream, items):
        """{seq: rows} of what this stream sent already under the seqs of these items."""
        first, last = items[0].number, items[-1].number
        sent = {}
        if first >= stream["next_item"]:
            return sent
        after = (first - 1,)
        prefix = (stream["device"], stream["epoch"], stream["life"])
        while True:
            rows = self.storage.scan("versions", "stream", prefix, after, PAGE)
            for row in rows:
                if row["seq"] > last:
                    return sent
                sent.setdefault(row["seq"], []).append(row)
            if len(rows) < PAGE:
                return sent
            after = (rows[-1]["seq"], rows[-1]["owner"], rows[-1]["pos"])

    def _body(self, item):
        if item.big:
            return b"".join(bytes(piece) for piece in self.blobs.open(item.big[0], 0))
        return item.body

    # --- the reply ---

    def answer(self, taken):
        """The reply, from what is durable now."""
        request = taken.request
        reply = Reply()
        reply.nonce, reply.hub, reply.time = request.nonce, self.hub, self.stamp()
        reply.wanted = taken.wanted[:255]
        key = (taken.device["device"], request.epoch, request.life)
        self._acks(reply, taken, key)
        if self._holds(taken.device):
            reply.flags |= syncwire.HELD
        items = self._changes(reply, taken, key)
        self._resets(reply, taken)
        return syncwirehost.pack_reply(reply, items, request.room)[0]

    def _resets(self, reply, taken):
        """One reset alone is no word of another store's: where there is nothing to set back the
        flag costs nothing, and says so."""
        request = taken.request
        if taken.set_back:
            reply.flags |= syncwire.SET_BACK
        if not taken.agrees:
            reply.flags |= syncwire.ACK_RESET
            if not request.cursor:
                reply.flags |= syncwire.CURSOR_RESET
        elif reply.flags & syncwire.CURSOR_RESET and not request.acked:
            reply.flags |= syncwire.ACK_RESET

    def _acks(self, reply, taken, key):
        ack, check = taken.stream["ack"], taken.stream["ack_check"]
        most = min(ack, taken.ack if taken.agrees else taken.request.acked)
        if self.offsite:
            reply.flags |= syncwire.OFFSITE
            row = self.storage.get("offsite", [key])[0]
            reply.offsite = min(row["ack"], ack) if row else 0
            if self.ack_offsite:
                most = min(most, reply.offsite)
        if most < ack:
            marks = self.storage.scan("marks", "", key, (most + 1,), 1, descending=True)
            ack = marks[0]["ack"] if marks else 0
            check = marks[0]["check8"] if marks else syncwire.NO_CHECK
        reply.ack = ack
        reply.ack_check = self._bound(check) if ack else syncwire.NO_CHECK
        if taken.agrees and taken.request.acked > ack:  # what was said once stays said
            reply.ack, reply.ack_check = taken.request.acked, taken.request.ack_check

    def _holds(self, device):
        """True if deletions of this device wait for the owner.

        Those before a page of decided ones are not looked for: it is asked with every request.
        """
        owner, after = device["owner"], None
        while True:
            page = self.storage.scan("held", "", (owner,), after, PAGE, descending=True)
            waiting = [(owner, row["pos"]) for row in page if not row["decided_ms"]]
            rows = self.storage.get("versions", waiting)
            if any(row["device"] == device["device"] for row in rows):
                return True
            if len(page) < PAGE or not waiting:
                return False
            after = (page[-1]["pos"],)

    def _changes(self, reply, taken, key):
        """The items of the reply; sets its cursor and flags."""
        request, owner = taken.request, taken.device["owner"]
        cursor = request.cursor
        if cursor > taken.owner_pos or not self._follows(taken, request):
            reply.flags |= syncwire.CURSOR_RESET
            cursor = 0
        items = []
        if request.room:
            cursor, more = self._changes_after(owner, key, cursor, request.room, items)
            cursor = cursor if more else max(cursor, taken.owner_pos)
        else:
            more = cursor < taken.owner_pos
        if more:
            reply.flags |= syncwire.MORE
        reply.cursor, reply.cursor_check = cursor, self._cursor_check(owner, cursor)
        return items

    def _changes_after(self, owner, key, cursor, room, items):
        """Append changes to `items` while they fit: (position behind them, are there more)."""
        for _ in range(MOST_HEADS // PAGE):
            heads = self.storage.scan("heads", "changes", (owner,), (cursor,), PAGE)
            others = [h for h in heads if (h["device"], h["epoch"], h["life"]) != key]
            rows = self.storage.get("versions", [(owner, h["pos"]) for h in others])
            before = len(items)
            items += [_item_of(row) for row in rows]
            fits = syncwirehost.fit(items, room) if rows else before
            if fits < len(items):
                cursor = items[fits - 1].number if fits else cursor
                del items[fits:]
                return cursor, True
            cursor = heads[-1]["pos"] if heads else cursor
            if len(heads) < PAGE:
                return cursor, False
        return cursor, True

    def _follows(self, taken, request):
        """True if the handset's cursor is one of this log."""
        there = self._cursor_check(taken.device["owner"], request.cursor)
        return there == request.cursor_check

    def _cursor_check(self, owner, pos):
        if not pos:
            return syncwire.NO_CHECK
        row = self.storage.get("versions", [(owner, pos)])[0]
        return self._bound(row["chain"]) if row else b""


def _new_stream(key):
    return {"device": key[0], "epoch": key[1], "life": key[2], "ack": 0,
            "ack_check": syncwire.NO_CHECK, "next_item": 0, "told": 0, "cursor": 0}  # fmt: skip


def _item_of(row):
    """A version as it goes down to a handset."""
    body, big = row["body"], None
    if len(body) > syncwire.BODY_BYTES:
        big = hashlib.sha256(body).digest(), len(body)
    version = version_of(row)
    return Item(row["pos"], row["kind"], row["uid"], body, row["stamp"], row["rev"],
                bool(row["deleted"]), 0, row["parent"], version.blobs, big,
                bool(row["no_time"]))  # fmt: skip
