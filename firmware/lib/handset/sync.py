"""Sync as the application sees it: when, over which network, and what to tell the person.

What is sent and taken is decided in drybag.syncengine; its code is loaded for a sync and let go.
"""

import gc
import sys

from drybag import syncstate
from drybag.errors import DrybagError
from drybag.layout import SETTING
from drybag.port import const, random_u32
from handset.https import Broken, Https
from handset.tasks import sleep_ms
from handset.wifi import Wifi

_TICK_MS = const(250)
_SETTLE_S = const(5)  # after a change, before it is sent: there may be more of them
_RETRY_NETWORK_S = const(30)
_LONGEST_NETWORK_S = const(1800)
_QUIET_MS = const(5000)
_SMALL_BYTES = const(1024)
_KEEP_OPEN_S = const(600)
_LET_GO = (
    "drybag.syncengine", "drybag.syncpull", "drybag.syncpush", "drybag.syncwire",
    "drybag.syncoutcome",
)  # fmt: skip


def is_paired(journal):
    return journal is not None and journal.find_uid(SETTING, b"hub")


class Sync:
    """A handset that is paired. `app`: its journal and board."""

    def __init__(self, app):
        self._app = app
        self.wifi = Wifi()
        self.running = False
        self._engine = None
        self._remembered = None
        self._https = None
        self._next_s = _SETTLE_S
        self._network_s = 0
        self._seen_seq = -1
        self._wanted = False
        self._stale = False
        self.why = "not yet since the start"
        self.held = None
        self.unsent = 0
        self.mounted()

    def mounted(self):
        """The journal was mounted, or a hub was paired: what is under way ends."""
        self._stale = True
        self._engine = self._remembered = None
        self.state = self.hub = None
        self._close()
        journal = self._app.journal
        if journal is None:
            return
        self.state = syncstate.load(journal, random_u32)
        try:
            self.hub = syncstate.load_hub(journal)
        except DrybagError as error:
            self.why = str(error)
        self._count()

    def _close(self):
        if self._https is not None:
            self._https.close()
            self._https = None

    def end(self):
        """No more: unpaired, or the application ends."""
        self._close()
        self.wifi.leave()

    def _count(self):
        """What is unsent, if the journal has changed since it was last counted."""
        journal = self._app.journal
        if journal is not None and self.state is not None and journal.last_seq != self._seen_seq:
            self._seen_seq = journal.last_seq
            before = self.unsent
            self.unsent = journal.unsent_count(self.state.agreed) + len(self.state.stuck)
            if self.unsent > before:
                self._next_s = min(self._next_s, self._now_s() + _SETTLE_S)

    def _now_s(self):
        return self._app.board.uptime_s()

    # -- for the person -----------------------------------------------------------------------
    def info(self):
        """For JSON: HELLO, STATS, drybag status."""
        state, journal = self.state, self._app.journal
        if state is None or journal is None:
            return {"paired": True, "why": self.why}
        self._count()
        return {
            "paired": True,
            "hub": self.hub.host if self.hub else "",
            "owner": self.hub.owner if self.hub else "",
            "on": not state.has(syncstate.OFF),
            "running": self.running,
            "contact": state.contact,
            "unsent": self.unsent,
            "saved": journal.last_seq,
            "at_hub": state.agreed,
            "offsite": state.offsite if state.has(syncstate.HAS_OFFSITE) else None,
            "stuck": len(state.stuck),
            "held": self.held[0] if self.held else 0,
            "held_by_hub": state.has(syncstate.HUB_HELD),
            "why": self.why,
            "next_s": max(0, self._next_s - self._now_s()),
        }

    def now(self):
        """At the next chance."""
        self._wanted = True
        self._next_s = 0
        self._network_s = 0

    def turn(self, on):
        self._with_engine().turn(on)
        self._after_word()
        if not on:
            self.why = "it is off: sync now turns it on"

    def accept(self):
        """False if no deletions wait."""
        done = self._with_engine().accept()
        self._after_word()
        return done

    def refuse(self):
        done = self._with_engine().refuse()
        self._after_word()
        return done

    def _after_word(self):
        self.state = self._engine.state
        if not self.running:
            self._let_go()
            self.now()

    # -- the task -----------------------------------------------------------------------------
    async def run(self):
        """For ever. Nothing that goes wrong here ends it."""
        while True:
            await sleep_ms(_TICK_MS)
            if self.state is None or self.hub is None or self._app.journal is None:
                continue
            self._count()
            off = self.state.has(syncstate.OFF) and not self._wanted
            if off or self._now_s() < self._next_s or self._app.link.busy:
                continue
            self.running = True
            try:
                await self._once()
            except Exception as error:
                self.why = "%s" % self._app.failed(error)
                self._next_s = self._now_s() + _RETRY_NETWORK_S
            finally:
                self.running = self._wanted = False
                self._let_go()

    async def _once(self):
        app = self._app
        if self.state.has(syncstate.OFF):
            self.turn(True)
        why = await self.wifi.join(syncstate.networks(app.journal), self._may_block)
        if why:
            self.why = why
            self._network_s = min(_LONGEST_NETWORK_S, 2 * self._network_s or _RETRY_NETWORK_S)
            wait_s = self._network_s * (512 + random_u32() % 1024) // 1024
            self._next_s = self._now_s() + wait_s
            return
        self._network_s = 0
        if self._https is None:
            self._https = Https(self.hub)
        engine = self._with_engine()
        engine.retry = engine.retry or self._wanted
        self._stale = False
        outcome = await self._drive(engine, self._https)
        if outcome is None:
            return
        self.state, self.held = engine.state, engine.held
        self.why = outcome.reason
        self._next_s = self._now_s() + outcome.wait_s
        self._seen_seq = -1
        self._count()
        if outcome.wait_s > _KEEP_OPEN_S:
            self._close()

    async def _drive(self, engine, https):
        """Carry out the engine's actions; its Outcome, None if it ended before its time."""
        gen = engine.run()
        result = None
        small = bytearray(_SMALL_BYTES)
        try:
            while not self._stale:
                action = gen.send(result)
                if action[0] == "pause":
                    result = None
                    await sleep_ms(0)
                elif action[0] == "more":
                    result = await _more(https)
                else:
                    result = await _answer(engine, https, action, small)
        except StopIteration as end:
            return end.value
        finally:
            gen.close()

    def _may_block(self):
        """Looking for networks stops everything for seconds: not while somebody is at work."""
        return self._app.quiet_ms() > _QUIET_MS

    def _with_engine(self):
        if self._engine is None:
            gc.collect()
            from drybag.syncengine import SyncEngine

            board = self._app.board
            self._engine = SyncEngine(
                self._app.journal, board.clock, random_u32, board.set_clock, self._remembered
            )
        return self._engine

    def _let_go(self):
        """Keep what the engine must remember; its code goes."""
        engine, self._engine = self._engine, None
        if engine is not None:
            self._remembered = engine.remember()
        del engine
        for name in _LET_GO:
            parent, _, child = name.partition(".")
            if sys.modules.pop(name, None) and hasattr(sys.modules[parent], child):
                delattr(sys.modules[parent], child)
        gc.collect()


async def _more(https):
    try:
        return await https.piece()
    except Broken:
        return None


async def _answer(engine, https, action, small):
    """(status, headers, body) of a request; status 0 and the reason where there is no answer."""
    try:
        try:
            return await _request(engine, https, action, small)
        except Broken:
            # a connection that was kept may have ended since: once more, with a new one
            if https.fresh or https.answered or action[0] == "put":
                raise
            return await _request(engine, https, action, small)
    except Broken as error:
        https.close()
        return 0, {}, str(error)


async def _request(engine, https, action, small):
    what, path = action[0], action[1]
    if what == "post":
        status, headers = await https.request("POST", path, len(action[2]), (action[2],))
    elif what == "put":
        status, headers = await https.request("PUT", path, action[2], action[3])
    else:
        more = "Range: bytes=%d-\r\n" % action[2] if action[2] else ""
        status, headers = await https.request("GET", path, 0, (), more)
        if status in (200, 206):
            return status, headers, None
    buf = engine.buf if what == "post" and status == 200 else small
    n = await https.read_into(buf)
    return status, headers, memoryview(buf)[:n]
