"""Sync as the application sees it: when it is due, and what to tell the person.

Its code takes some 60 KB: handset.syncing is loaded for a sync and let go after it.

Where the heap has no room for a sync and for what somebody wants, they take turns. Who asks is
answered once the request on its way is; at the latest after 2 s. A sync that was stopped so gets
more time at its next turn, twice as much each time: up to 4 s where it gets on, up to 32 s where
it does not. So neither waits for ever, however often the other comes.
"""

from drybag.port import const, random_u32
from handset.memory import code_bytes, let_go
from handset.tasks import sleep_ms

_TICK_MS = const(250)
_SETTLE_S = const(5)  # after a change, before it is sent: there may be more of them
_FIRST_WAIT_S = const(30)
_TURN_MS = const(500)  # a sync that gave way before goes on so long, doubling to 4 s
_MOST_TURNS = const(3)
_LIMIT_MS = const(2000)  # it ends now, whatever is on its way; doubling to 32 s
_MOST_LIMITS = const(4)
_STOPPED_WAIT_S = const(2)  # after it gave way to somebody's work
_FORGET_MS = const(5000)  # who does not ask again has gone
_OVERDUE_S = const(30)  # then it takes its turn, even of a computer that asks all the time
_LONGEST_WAIT_S = const(1800)
_QUIET_MS = const(700)
_LEFT_ALONE_MS = const(60000)  # in the middle of a command
_CODE_WORDS = const(7000)
_NOT_YET = "not yet since the start"
_LET_GO = (
    "handset.syncing", "drybag.syncengine", "drybag.syncpull", "drybag.syncpush",
    "drybag.syncwire", "drybag.syncoutcome",
)  # fmt: skip
_STATE = ("drybag.syncsettings", "drybag.syncstate")


class Sync:
    """A handset that is paired. `app`: its journal and board. `facts`: what is known, for JSON."""

    def __init__(self, app):
        self.app = app
        self.running = False
        self.stale = False  # what is under way is of an older mount or pairing
        self.yielding = False  # it ends when the request on its way is answered
        self.wanted = False  # the person has asked for it
        self.link = None  # a connection that is kept
        self.remembered = None
        self.why = _NOT_YET
        self.held = None
        self.facts = {}
        self.next_s = _SETTLE_S
        self.failures = 0
        self._engine = None
        self._asked = self._asked_last = None  # when somebody began to ask, and did so last
        self._gave_way = 0  # times in a row
        self._seen_seq = -1
        self._unsent = 0
        self.mounted()

    def mounted(self):
        """The journal was mounted, or a hub was paired: what is under way ends."""
        self.stale = True
        self.why = _NOT_YET
        self.failures = 0
        self.next_s = self.now_s() + _SETTLE_S
        self._engine = self.remembered = self.held = None
        self.close()
        self.facts = {}
        self._seen_seq = -1
        journal = self.app.journal
        if journal is None:
            return
        from drybag import syncsettings, syncstate
        from drybag.errors import DrybagError

        state = syncstate.load(journal, random_u32)
        try:
            hub = syncsettings.load_hub(journal)
            self.facts = {"hub": hub.host, "owner": hub.owner}
        except DrybagError as error:
            self.why = str(error)
        self.note(state)
        if not self.running:
            let_go(_STATE)

    def note(self, state):
        """What of the state the person may ask for."""
        self.facts.update(state.facts())
        self._seen_seq = -1
        self._count()

    def close(self):
        if self.link is not None:
            self.link.close()
            self.link = None

    def give_way(self, why):
        """Somebody wants the memory: end between two requests, or in the middle of one that takes
        too long. There will be another sync soon."""
        board, times = self.app.board, self._gave_way
        if self._asked is None or board.since_ms(self._asked_last) > _FORGET_MS:
            self._asked = board.ticks_ms()
        self._asked_last = board.ticks_ms()
        waited_ms = board.since_ms(self._asked)
        if times and waited_ms < _TURN_MS << min(times - 1, _MOST_TURNS):
            return
        self.yielding = True
        self.why = why
        if waited_ms > _LIMIT_MS << min(times, _MOST_LIMITS):
            self.stale = True
            self.why = why + "; the hub had not answered by then"
            if self.link is not None:
                self.link.cancelled = True

    def end(self):
        """No more: unpaired, or the application ends."""
        self.close()
        self.stale = True

    def _count(self):
        """What is unsent, if the journal has changed since it was last counted."""
        journal = self.app.journal
        if journal is not None and journal.last_seq != self._seen_seq and "at_hub" in self.facts:
            self._seen_seq = journal.last_seq
            before = self._unsent
            self._unsent = journal.unsent_count(self.facts["at_hub"]) + len(self.facts["stuck"])
            if self._unsent > before and not self.failures:
                self.next_s = min(self.next_s, self.now_s() + _SETTLE_S)

    @property
    def will_take_bytes(self):
        """Heap that the sync under way has still to take for its code."""
        return code_bytes(_CODE_WORDS) if self.running and self._engine is None else 0

    def now_s(self):
        return self.app.board.uptime_s()

    # -- for the person -----------------------------------------------------------------------
    def info(self):
        """For JSON: HELLO, STATS, drybag status."""
        self._count()
        info = {"paired": True, "running": self.running, "why": self.why, "unsent": self._unsent}
        info.update(self.facts)
        if self.app.journal is not None and "at_hub" in info:
            info["saved"] = self.app.journal.last_seq
            info["stuck"] = len(info["stuck"])
        info["held"] = self.held[0] if self.held else 0
        info["next_s"] = max(0, self.next_s - self.now_s())
        return info

    def places(self, seq):
        """(at the hub, off-site) of the version with `seq`, by the hub's own word."""
        facts = self.facts
        if "at_hub" not in facts or seq in facts["stuck"] or seq > facts["at_hub"]:
            return False, False
        return True, facts["offsite"] is not None and seq <= facts["offsite"]

    def now(self):
        """At the next chance."""
        self.wanted = True
        self.failures = 0
        self.next_s = self.now_s()

    def turn(self, on):
        self._say("turn", on)
        if not on:
            self.why = "it is off: sync now turns it on"

    def accept(self):
        """False if no deletions wait."""
        return self._say("accept")

    def refuse(self):
        return self._say("refuse")

    def _say(self, word, *more):
        """Tell the engine, one that is running or one for this alone."""
        engine = self.engine()
        result = getattr(engine, word)(*more)
        self.note(engine.state)
        if not self.running:
            self.let_go()
            if word != "turn":
                self.now()
        return result

    # -- the task -----------------------------------------------------------------------------
    async def run(self):
        """For ever. Nothing that goes wrong here ends it."""
        while True:
            await sleep_ms(_TICK_MS)
            if "at_hub" not in self.facts or "hub" not in self.facts or self.app.journal is None:
                continue
            self._count()
            off = not self.facts["on"] and not self.wanted
            if off or self.now_s() < self.next_s or self._in_the_way():
                continue
            self.running, self.stale, self.yielding, self._asked = True, False, False, None
            self.app.rest()
            try:
                from handset.syncing import once

                await once(self)
            except Exception as error:
                self.close()
                self.failed("%s" % self.app.failed(error))
            finally:
                self._ended()

    def _ended(self):
        """A sync is over: by itself, or since somebody wants its memory."""
        self._gave_way = self._gave_way + 1 if self.yielding else 0
        if self.yielding:
            self.next_s = self.now_s() + _STOPPED_WAIT_S
        else:
            self.wanted = False
        self.running = False
        if self.stale:
            self.close()  # a request may be half sent
        self.let_go()

    def _in_the_way(self):
        """True while somebody is at work, where the heap has no room for both."""
        app = self.app
        if app.doing:
            return True
        if app.board.heap_free() >= code_bytes(2 * _CODE_WORDS):
            return False
        if app.person.at_work and app.quiet_ms() < _LEFT_ALONE_MS:
            return True
        unasked_ms = app.unasked_ms()
        if app.receiving:
            return unasked_ms < _LEFT_ALONE_MS
        return unasked_ms < _QUIET_MS and self.now_s() - self.next_s < _OVERDUE_S

    def failed(self, why):
        """No sync came about: again after a while, longer each time."""
        self.why = why
        wait_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S << min(self.failures, 6))
        self.failures += 1
        self.next_s = self.now_s() + wait_s * (512 + random_u32() % 1024) // 1024

    def engine(self):
        """The engine of the sync under way, or a new one."""
        if self._engine is None:
            from drybag.syncengine import SyncEngine

            board = self.app.board
            self._engine = SyncEngine(
                self.app.journal, board.clock, random_u32, board.set_clock, self.remembered
            )
        return self._engine

    def let_go(self):
        """Keep what the engine must remember; its code goes."""
        engine, self._engine = self._engine, None
        if engine is not None:
            self.remembered = engine.remember()
            self.held = engine.held
        engine = None
        let_go(_LET_GO + _STATE)
        if self.link is None:
            let_go(("handset.https", "handset.wifi"))
