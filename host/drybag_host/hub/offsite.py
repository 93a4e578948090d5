"""The off-site copy: a thread that ships what the hub has committed, to a folder or an S3 store.

Blobs first, then the rows that name them, as sealed segments (segments.py); then the watermark,
here, in table `local`: offsite_lsn, offsite_state, offsite_status. Of several hub processes on one
database one ships at a time; a segment is never written over, so two that both believe it is
their turn do no harm. Restoring: hub/restoring.py.
"""

import contextlib
import json
import random
import secrets
import threading
import time

from drybag.errors import BadBlob, DrybagError, NotFound
from drybag_host.hub import segments
from drybag_host.hub.blobstore import open_blobs
from drybag_host.hub.objects import RemoteFailed, open_objects
from drybag_host.hub.schema import clean_text
from drybag_host.hub.storage import Stale, StorageError, hub_id

__all__ = ["Offsite", "forget", "open_place_blobs", "shipped_lsn", "start_offsite", "status"]

ROWS = 2000  # of one segment, more where one commit has more
PACK = 500  # single segments that are put together: a store lists and reads many files slowly
PACE_S = 0.7  # between segments, unless an ack waits for one
LEASE_S = 12
NOT_SHIPPED = "offsite-blob"  # an audit: a photo is lost here, so the copy has not got it either
BACKOFF_S = (1.0, 60.0)
POLL_S = 0.2
LSN, STATE, STATUS, LEASE = "offsite_lsn", "offsite_state", "offsite_status", "offsite_lease"


def open_place_blobs(url):
    """The blobs of a place: `blobs/aa/...` in it."""
    if url.startswith("s3:"):
        return open_blobs(url)
    return open_blobs("dir:%s/blobs" % url.removeprefix("dir:"))


def _local(storage, name):
    row = storage.get("local", [(name,)])[0]
    return row["value"] if row else None


def shipped_lsn(storage):
    """Everything the hub wrote through this lsn is off-site; 0 if nothing is."""
    return int(_local(storage, LSN) or 0)


def status(storage):
    """What `stats` shows, None without a copy: url, lsn, behind (commits that are not there),
    at_ms (last success), error."""
    value = _local(storage, STATUS)
    if value is None:
        return None
    lsn = shipped_lsn(storage)
    behind = storage.last_lsn() - lsn if storage.changed(lsn, 1) else 0
    return {**json.loads(value), "lsn": lsn, "behind": behind}


def forget(storage):
    """Ship everything again, as to a new place: the off-site copy is lost."""
    storage.commit([_row(STATE, "null"), _row(LSN, "0")])


class Offsite(threading.Thread):
    """Ships in the background until close(). `error`: why it does not, "" if it does."""

    def __init__(self, url, storage, blobs, clock=time.time):
        super().__init__(name="drybag-offsite", daemon=True)
        self.url = url
        self.storage = storage
        self.blobs = blobs
        self.clock = clock
        self.error = ""
        self.holder = secrets.token_hex(8)
        self.hub = hub_id(storage)
        self._place = self._remote = None
        self._shipped = shipped_lsn(storage) if self._state_here() else 0
        self._waiting = 0
        self._ending = False
        self._changed = threading.Condition()

    # --- for the service ---

    def wait(self, lsn, timeout_s):
        """True once everything through `lsn` is off-site; False if that takes too long."""
        end = time.monotonic() + timeout_s
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            try:
                while self._shipped < lsn:
                    left = end - time.monotonic()
                    if left <= 0 or self._ending:
                        return False
                    self._changed.wait(min(left, POLL_S))
                return True
            finally:
                self._waiting -= 1

    def poke(self):
        """Something was committed; without this it is seen within a second."""
        with self._changed:
            self._changed.notify_all()

    def close(self):
        """Stop after the segment under way."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        if self.is_alive():
            self.join(60)
        with contextlib.suppress(DrybagError):
            self._give_up_lease()

    # --- the thread ---

    def run(self):
        delay = BACKOFF_S[0]
        while not self._ending:
            try:
                moved = self.step()
                delay = BACKOFF_S[0]
                pause = 0 if moved == "more" else PACE_S
            except Exception as error:  # whatever it is: shipping goes on when it is over
                self._note(str(error) or type(error).__name__)
                pause, delay = delay * random.uniform(0.5, 1.5), min(delay * 2, BACKOFF_S[1])
            self._sleep(pause, urgent=not self.error)

    def _sleep(self, pause, urgent):
        """Wait; not while an ack waits for what is not shipped yet, unless shipping fails."""
        end = time.monotonic() + pause
        with self._changed:
            while not self._ending:
                left = end - time.monotonic()
                if left <= 0 or (urgent and self._waiting):
                    return
                self._changed.wait(left)

    def step(self):
        """Ship one segment: "more" if there is more at once, "done", or "" if nothing is due."""
        if not self._lease():
            self._see(shipped_lsn(self.storage) if self._state_here() else 0)
            time.sleep(POLL_S if self._waiting else 0)
            return ""
        if self._place is None:
            self._place, self._remote = open_objects(self.url), open_place_blobs(self.url)
        state = self._state_here() or self._begin()
        upto = self.storage.last_lsn()
        changed = self.storage.changed(state["lsn"], ROWS)
        whole = len(changed) < ROWS
        if not changed:
            if self.error:
                self._note("")
            self._see(upto)
            time.sleep(0.005 if self._waiting else 0)
            return ""
        for table, row in changed:
            if table == "blobs":
                self._ship_blob(row["sha"])
        line = segments.Line(self._place, self.hub, state["line"])
        if state["segment"] and self._place.size(line.file(state["segment"])) is None:
            raise RemoteFailed(
                "%s: what was shipped before is not there: is the disk mounted?" % self.url,
                "if that copy is lost for good: drybag hub reship",
            )
        segment = segments.Segment(
            self.hub, line.name, state["segment"] + 1, state["sha256"], state["lsn"], changed,
            whole,
        )  # fmt: skip
        if not line.add(segment):
            self._taken(line, state)
            return "more"
        self._write(state, segment)
        self._see(max(upto, segment.last_lsn) if whole else segment.last_lsn)
        if segment.segment - state.get("packed", 0) > PACK:
            self._put_together(line)
        return "done" if whole else "more"

    def _put_together(self, line):
        """Pack the single segments but the newest; not now, if one of them cannot be read."""
        state = self._state_here()
        packed = state.get("packed", 0)
        try:
            packed = line.pack(packed + 1, state["segment"] - 1)
        except segments.BadSegment as error:
            packed = state["segment"]  # a restore will name it; shipping goes on
            self._audit("offsite-damaged", str(error))
        self.storage.commit([_row(STATE, json.dumps({**state, "packed": packed}))])

    def _audit(self, what, detail):
        row = {"at_ms": int(self.clock() * 1000), "what": what, "detail": clean_text(detail, 500)}
        self.storage.commit([("audits", row)])

    def _ship_blob(self, sha):
        if self._remote.have(sha)[1]:
            return
        try:
            data = self.blobs.read(sha)
        except (NotFound, BadBlob) as error:  # a lost blob must not keep all the rest at home
            self._audit(NOT_SHIPPED, "not shipped: %s" % error)
            return
        self._remote.put(sha, data)

    def _taken(self, line, state):
        """There is a segment of the number that is next: ours, from before a crash, or not."""
        try:
            found = line.read(state["segment"] + 1)
            later = line.file(found.segment + 1)
            ours = found.previous == state["sha256"] and self._place.size(later) is None
            ours = ours and segments.agrees(self.storage, found)
        except segments.BadSegment:
            ours = False
        if ours:
            line.set_head(found)
            self._write(state, found)
        else:  # this database was set back: what it writes now is another history
            self._begin()

    # --- what it remembers ---

    def _state_here(self):
        """The state of the line at this URL, or None."""
        state = json.loads(_local(self.storage, STATE) or "null")
        return state if state and state["url"] == self.url and state["hub"] == self.hub else None

    def _begin(self):
        """A new line, from the first row on; nothing counts as off-site before it is there."""
        line = segments.next_line(self._place, self.hub)
        state = {"url": self.url, "hub": self.hub, "line": line.number, "segment": 0,
                 "sha256": segments.NO_SHA, "lsn": 0}  # fmt: skip
        puts = [("offsite", {**row, "ack": 0}) for row in self.storage.scan("offsite")]
        puts += [_row(STATE, json.dumps(state)), _row(LSN, "0")]
        self.storage.commit(puts)
        with self._changed:
            self._shipped = 0
        return state

    def _write(self, state, segment):
        """The watermark, and of each stream how far it is off-site, in one commit."""
        state = {**state, "segment": segment.segment, "sha256": segment.sha,
                 "lsn": segment.last_lsn}  # fmt: skip
        acks = {}
        for table, row in segment.rows:
            if table == "streams":
                acks[row["device"], row["epoch"], row["life"]] = row["ack"]
        puts = [("offsite", {"device": d, "epoch": e, "life": n, "ack": ack})
                for (d, e, n), ack in acks.items()]  # fmt: skip
        puts += [_row(STATE, json.dumps(state)), _row(LSN, str(segment.last_lsn))]
        self.error = ""
        puts.append(self._status_row())
        self.storage.commit(puts)

    def _status_row(self):
        at_ms = int(self.clock() * 1000)
        if self.error:
            old = json.loads(_local(self.storage, STATUS) or "{}")
            at_ms = old.get("at_ms", 0)
        value = {"url": self.url, "at_ms": at_ms, "error": clean_text(self.error, 500)}
        return _row(STATUS, json.dumps(value, ensure_ascii=False))

    def _note(self, error):
        """Why it stands still, or "" when it goes on; told to the storage when it changes."""
        if error == self.error:
            return
        self.error = error
        with contextlib.suppress(StorageError):
            self.storage.commit([self._status_row()])

    def _see(self, lsn):
        with self._changed:
            self._shipped = max(self._shipped, lsn)
            self._changed.notify_all()

    # --- whose turn it is ---

    def _lease(self):
        """True if this process ships; asks the database for it, and for more time.

        A hub process that was killed keeps its turn until the lease is over; not in a database
        that takes one hub process only.
        """
        if self.storage.alone:
            return True
        now = self.clock()
        value = _local(self.storage, LEASE)
        lease = json.loads(value) if value else {"holder": "", "until": 0}
        mine = lease["holder"] == self.holder
        if mine and lease["until"] - now > LEASE_S / 2:
            return True
        if not mine and now < lease["until"] <= now + LEASE_S:
            return False
        fresh = json.dumps({"holder": self.holder, "until": int(now) + LEASE_S})
        try:
            self.storage.commit([_row(LEASE, fresh)], [("local", (LEASE,), "value", value)])
        except Stale:
            return False
        return True

    def _give_up_lease(self):
        value = _local(self.storage, LEASE)
        if value and json.loads(value)["holder"] == self.holder:
            free = json.dumps({"holder": "", "until": 0})
            self.storage.commit([_row(LEASE, free)], [("local", (LEASE,), "value", value)])


def _row(name, value):
    return "local", {"name": name, "value": value}


@contextlib.contextmanager
def start_offsite(url, storage, blobs):
    """The running off-site copy of a hub. Raises Usage for a URL of no known form."""
    open_objects(url)
    copies = Offsite(url, storage, blobs)
    copies.start()
    try:
        yield copies
    finally:
        copies.close()
