"""The handset's side of sync: what to ask the hub, and what to do with its answers. No I/O.

    engine = SyncEngine(journal, clock)
    gen = engine.run()                   # one sync
    action = next(gen)                   # then gen.send(result) until StopIteration
    ...                                  # whose value is an Outcome

Actions, and what is sent back for each:

    ("post", path, data)                 (status, headers, body)
    ("put", path, size, pieces)          (status, headers, body); `pieces` gives `size` bytes, or
                                         fewer: then drop the connection and answer status 0
    ("get", path, offset)                (status, headers, body); from byte `offset` on. At 200 and
                                         206 the body comes through "more" (None here)
    ("more",)                            the next bytes; b"" at the end, None if it broke
    ("pause",)                           None: let others run

`status` 0: no answer; then `body` is the reason, a str. `headers`: a dict with "content-length" at
least. `data`, `body` and pieces may be memoryviews that hold until the next action. A driver may
give up at any action (gen.close()), and the person may use the journal between any two.
Errors of the flash (OSError, JournalClosed) come out of the generator.
"""

import json

from drybag import syncstate
from drybag import syncwire as w
from drybag.port import const, random_u32
from drybag.syncoutcome import BROKEN, BUSY, REFUSED, SYNCED, UNREACHABLE, WAITING, Outcome, Stop
from drybag.syncpush import Push

POLL_S = const(300)
_FIRST_WAIT_S = const(5)
_LONGEST_WAIT_S = const(1800)
_WANTED_MOST = const(16)
_MOST_RESETS = const(3)
_Y2024 = const(757382400)
_REPLY_BYTES = w.REPLY_BYTES + _WANTED_MOST * w.BLOB_BYTES + 2
LEAST_BUFFER = const(4608)
MOST_BUFFER = const(24576)
MOST_ROOM = const(8192)


class SyncEngine:
    """One handset and its hub. `journal` must be paired (syncstate.pair).

    clock() gives seconds since 2000-01-01, 0 unknown; set_clock(seconds), where that is wanted.
    `remembered`: what an earlier engine of this journal gave.
    """

    def __init__(self, journal, clock, random=random_u32, set_clock=None, remembered=None):
        self.journal = journal
        self.clock = clock
        self.random = random
        self.state = syncstate.load(journal, random)
        self.buf = None
        self.spare = None  # a buffer to use for the next sync
        self.failures = 0
        self.held = None  # (deletions, records) that wait for the person
        self.stuck = list(self.state.stuck) if self.state else []
        self.stopped = ""  # why changes are not taken
        self.retry = True  # try to send what is stuck once more
        self.buffer_bytes = MOST_BUFFER
        self._set_clock = set_clock
        self._push = Push(self)
        self._pull = None  # its code is loaded when there are changes to take
        self.part = None  # of a blob that is on its way: (writer, name, size)
        if remembered:
            self.failures, self.held, self.retry, self.buffer_bytes, self.part = remembered

    def remember(self):
        """For the next engine of this journal, in the same life of the board."""
        return (self.failures, self.held, self.retry, self.buffer_bytes, self.part)

    # -- for the person -----------------------------------------------------------------------
    def unsent(self):
        """Records and deletions that the hub has not."""
        return self.journal.unsent_count(self.state.agreed) + len(self.stuck)

    def accept(self):
        """The deletions that wait may go; False if none wait."""
        if not self.held:
            return False
        new = self.state.copy()
        new.allowed = min(0xFFFF, self.held[0])
        new.set(syncstate.REFUSED, False)
        self.store(new)
        return True

    def refuse(self):
        """The records that the hub wants deleted stay, and go back to it; False if none wait."""
        if not self.held:
            return False
        new = self.state.copy()
        new.allowed = 0
        new.set(syncstate.REFUSED, True)
        self.store(new)
        return True

    def turn(self, on):
        """Sync or not, from now on."""
        if self.state.has(syncstate.OFF) == on:
            new = self.state.copy()
            new.set(syncstate.OFF, not on)
            self.store(new)

    # -- one sync -----------------------------------------------------------------------------
    def run(self):
        """A generator of actions; see the head of this file. Ends with an Outcome."""
        try:
            outcome = yield from self._session()
            self.failures = 0
            self.retry = False
        except Stop as end:
            self.failures += 1
            outcome = end.outcome
            outcome.wait_s = max(outcome.wait_s, self._backoff_s())
        finally:
            self.buf = None
        return outcome

    def _backoff_s(self):
        """5 s, doubling to 30 min, times 0.5 to 1.5 at random."""
        wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S << min(self.failures - 1, 9))
        return wait_s * (512 + self.random() % 1024) // 1024

    def _session(self):
        self._allocate()
        self.stopped = ""
        self.held = None
        self._resets = 0
        self._push.session_begins()
        self.taken = 0
        self._pull = None
        while True:
            before = self._progress()
            request, size = yield from self._push.request(self.buf, self._room())
            answer = yield ("post", "/v1/sync", memoryview(self.buf)[:size])
            written = self.journal.last_seq > request.last_seq  # by the person, meanwhile
            if answer[0] == 413 and self.buffer_bytes > LEAST_BUFFER:
                self.buffer_bytes = max(LEAST_BUFFER, self.buffer_bytes // 2)
                self._allocate()
                continue
            data = self.accepted(answer)
            reply = self._checked(request, data)
            self._push.took(reply.wanted)
            new = self._acked(request, reply)
            taken = False
            # else the page is one for another past, or tombstones that count again come first
            same = new.life == self.state.life and new.agreed >= self.state.agreed
            if same and request.room and not self.journal.unsent_count(new.agreed):
                taken = yield from self._take(reply, data, new)
            if not taken:
                self.keep(new)
            if reply.wanted:
                yield from self._push.blobs(reply.wanted)
            more = not self.stopped and not self.held and (reply.flags & w.MORE or not taken)
            if not more and not self.journal.unsent_count(self.state.agreed):
                return self._done(reply)
            if reply.wait_s:
                return Outcome(BUSY, "the hub asks to wait", reply.wait_s)
            if self._progress() == before and not written:
                raise Stop(BROKEN, "the hub takes nothing and gives nothing")

    def _progress(self):
        s = self.state
        done = self._push.done, self.taken, len(self.stuck), self._resets
        return (s.acked, s.agreed, s.cursor, s.life) + done

    def _take(self, reply, data, new):
        """Take the changes of a reply; see syncpull.Pull.page. A generator of actions."""
        if not reply.n:
            new = new.copy()
            new.cursor, new.cursor_check = reply.cursor, reply.cursor_check
            self.keep(new)
            return True
        if self._pull is None:
            from drybag.syncpull import Pull

            self._pull = Pull(self)
        return (yield from self._pull.page(reply, data, new))

    def _allocate(self):
        """A buffer for request and reply: smaller where the heap has no room."""
        self.buf, self.spare = self.spare, None
        if self.buf is not None:
            return
        while self.buf is None:
            try:
                self.buf = bytearray(self.buffer_bytes)
            except MemoryError:
                if self.buffer_bytes <= LEAST_BUFFER:
                    raise Stop(BUSY, "not enough memory for a sync")
                self.buffer_bytes = max(LEAST_BUFFER, self.buffer_bytes // 2)

    def _room(self):
        """Bytes of changes that a reply may bring."""
        return min(MOST_ROOM, len(self.buf) - _REPLY_BYTES)

    def _done(self, reply):
        wait_s = max(POLL_S, reply.wait_s)
        if not self.held and not self.stopped:
            return Outcome(SYNCED, "", wait_s)
        wait_s = max(_LONGEST_WAIT_S, wait_s)
        if self.held:
            reason = "the hub wants %d of %d records deleted: sync accept, or sync refuse"
            return Outcome(WAITING, reason % self.held, wait_s)
        return Outcome(WAITING, self.stopped, wait_s)

    # -- answers ------------------------------------------------------------------------------
    def accepted(self, answer):
        """The body of an answer of status 200; else Stop with the hub's reason."""
        status, _, body = answer
        if status == 200:
            return body
        if status == 0:
            raise Stop(UNREACHABLE, body or "no answer")
        name, text, wait_s = w.parse_error(status, body)
        if status in (401, 403, 426):
            raise Stop(REFUSED, "the hub refuses: " + text, max(wait_s, POLL_S))
        if status in (429, 503):
            raise Stop(BUSY, "the hub is busy: " + text, wait_s)
        raise Stop(BROKEN, "the hub: " + text, wait_s)

    def json(self, answer):
        """The object that an answer of status 200 or 409 bears."""
        if answer[0] == 409:
            answer = (200,) + tuple(answer[1:])
        try:
            said = json.loads(bytes(self.accepted(answer)).decode())
            if isinstance(said, dict):
                return said
        except ValueError:
            pass
        raise Stop(BROKEN, "the hub's answer makes no sense")

    def _checked(self, request, data):
        """The Reply, if it is one to this request and by this hub. Raises Stop."""
        s = self.state
        try:
            reply = w.parse_reply(data)
            for _ in w.parse_items(data, reply.items_at, reply.n):
                pass
        except w.SyncNewer as error:
            raise Stop(REFUSED, str(error), POLL_S)
        except w.BadMessage as error:
            raise Stop(BROKEN, "the hub's reply: %s" % error)
        resets = reply.flags & (w.ACK_RESET | w.CURSOR_RESET)
        if reply.nonce != request.nonce:
            why = "an old reply came"
        elif len(data) - reply.items_at > request.room:
            why = "the reply is longer than was asked for"
        elif not resets & w.ACK_RESET and reply.ack < s.acked:
            why = "the hub has less than it said, and does not say why"
        elif not resets & w.CURSOR_RESET and reply.cursor < s.cursor:
            why = "the hub's changes go back"
        elif reply.hub != s.hub and (s.acked or s.cursor) and (
            resets != w.ACK_RESET | w.CURSOR_RESET
        ):
            why = "another hub answers"
        elif [name for name, _ in reply.wanted if name not in self._push.named]:
            why = "the hub wants photos that this request does not name"
        else:
            return reply
        raise Stop(BROKEN, why)

    def _acked(self, request, reply):
        """The state that this reply makes, not yet kept."""
        self._base = self.state
        new = self.state.copy()
        # another hub, which cannot know that it lacks what this handset only took from the last
        lacks = reply.hub != new.hub and new.cursor and not new.acked
        new.hub = reply.hub
        new.stuck = tuple(self._still_stuck())
        new.set(syncstate.HUB_HELD, reply.flags & w.HELD)
        new.set(syncstate.HAS_OFFSITE, reply.flags & w.OFFSITE)
        if reply.flags & w.CURSOR_RESET:
            new.cursor, new.cursor_check = 0, w.NO_CHECK
        # an old image was written to the flash
        old = reply.flags & w.SET_BACK or reply.ack > self.journal.last_seq
        set_back = lacks or old
        if set_back or reply.flags & (w.ACK_RESET | w.CURSOR_RESET):
            self._resets += 1
            if self._resets > _MOST_RESETS:
                raise Stop(BROKEN, "the hub changes its mind again and again")
        if set_back or reply.flags & w.ACK_RESET:
            new.resend_below = max(new.resend_below, new.agreed)
        if old:  # what that image had still to send may have been sent after it was taken
            new.resend_below = self.journal.last_seq
        if set_back:
            new.life = self.random()
            new.acked = new.agreed = new.offsite = 0
            new.ack_check = w.NO_CHECK
            return new
        if reply.flags & w.ACK_RESET:
            new.agreed = min(new.agreed, reply.ack)
        else:
            new.agreed = max(new.agreed, reply.ack)
        if reply.wanted and request.upto > self.state.agreed:  # the last one was not taken
            new.agreed = min(new.agreed, request.upto - 1)
        new.acked, new.ack_check = reply.ack, reply.ack_check
        new.offsite = min(reply.offsite, reply.ack)
        now = self.clock()
        if not now and self._set_clock and _Y2024 < reply.time:
            self._set_clock(reply.time)
            now = reply.time
        new.contact = now
        return new

    def _still_stuck(self):
        """Of what could not be sent, what has not been replaced since."""
        left = [seq for seq in self.stuck if seq not in self._push.cleared and self._is_live(seq)]
        self.stuck = left[-syncstate.MOST_STUCK :]
        return self.stuck

    def _is_live(self, seq):
        for record in self.journal.unsent(seq - 1, 1):
            return record.seq == seq
        return False

    def keep(self, new):
        """Store the state, unless only the time of contact differs."""
        if self.state is not self._base:  # the person has said something meanwhile
            new.allowed = self.state.allowed
            for flag in (syncstate.OFF, syncstate.REFUSED):
                new.set(flag, self.state.has(flag))
        contact, new.contact = new.contact, self.state.contact
        same = new.pack() == self.state.pack()
        new.contact = contact
        if same:
            self.state = new
        else:
            self.store(new)

    def store(self, new, page=None):
        """Commit changes from the hub and the state in one batch. Raises as journal.batch."""
        journal = self.journal
        if page is None:
            syncstate.save(journal, new)
        else:
            new.agreed = journal.last_seq + len(page) + 2  # the state and the commit come too
            page.last = ("put", syncstate.SETTING, syncstate.SYNC, new.pack())
            journal.batch(page, from_hub=True)
            journal.set_agreed(new.agreed)
        self.state = new
