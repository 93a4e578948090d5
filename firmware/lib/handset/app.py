"""The application: one loop that serves a person's console and a machine's link, and waits.

No call in it waits for anybody. Whatever takes long is a generator that is advanced a step at a
time, so that each byte that comes is looked at soon.
"""

import gc
import sys

from drybag import layout
from drybag.errors import DrybagError, JournalClosed, NotMountable
from drybag.frame import FRAME, STATE, TEXT, WORKING, Decoder, lone
from drybag.port import const
from handset.memory import code_bytes, let_go
from handset.person import Person

_CTRL_C = const(3)
_READ_BYTES = const(64)
_FRAME_GAP_MS = const(500)
_WAIT_MS = const(500)
_TICK_MS = const(250)
_QUIET_MS = const(3000)
_DAY_MS = const(86400000)
_OPENING = b"Drybag opens the journal ...\r\n"
_BAUD = const(115200)
_LINK = ("handset.verbs", "handset.link", "drybag.protocol")
_SHARED = (
    "drybag.search", "drybag.bodies", "drybag.records", "drybag.contentline", "drybag.linetext",
    "drybag.dates", "drybag.scrub", "handset.looking",
)  # fmt: skip
_CONSOLE_WORDS = const(2400)
_COMMAND_WORDS = const(7000)  # the largest commands: find, show
_LINK_WORDS = const(8600)  # a computer's link with its buffers, searching
_COLLECT_EVERY_BYTES = const(16384)
_REFUSED_MS = const(100)
_BAUD_TRIAL_MS = const(3000)
_BAUD_SILENCE_MS = const(10000)


class App:
    """`journal`, or None with `fault` the reason. `board`: handset.board.Board, or a test's."""

    def __init__(self, board):
        self.board = board
        self.journal = None
        self.fault = None
        self._verbs = self._link = None
        self._session = None  # what a link that was let go knew
        self.person = Person(self)
        self._decoder = Decoder()
        self._buf = bytearray(_READ_BYTES)
        self._new_baud = 0
        self._baud_since = self._baud_patience_ms = 0
        self.leaving = self.restart_wanted = False
        self._heard = board.ticks_ms()
        self._asked = self._heard  # when the last frame came
        self._quiet = False
        self._refused = None  # when there was no room for what somebody wants
        self.sync = None  # handset.sync.Sync while a hub is paired

    # -- the journal --------------------------------------------------------------------------
    def mount(self):
        """Open the journal. What is wrong with the partition ends up in `fault`, never worse."""
        if self.journal is not None:
            self.journal.abandon()
        self.journal = None
        self._verbs = None
        gc.collect()
        try:
            from drybag import journal

            self.journal = journal.mount(self.board.partition(), self.board.clock)
            self.fault = None
        except DrybagError as error:
            self.fault = error
        except Exception as error:
            self.fault = NotMountable(
                "the journal cannot be opened (%s): nothing was formatted" % describe(error)
            )
        let_go(("drybag.recovery", "drybag.unread"))
        self.pairing_changed()
        gc.collect()

    @property
    def link(self):
        """The machine's side of the line; loaded when a machine speaks."""
        if self._link is None:
            from handset.link import Link

            board = self.board
            self._link = Link(
                self, board.write, board.ticks_ms, board.since_ms, board.boot, self._session
            )
        return self._link

    @property
    def doing(self):
        """The verb that is at work for a computer, or 0."""
        return self._link.busy if self._link is not None else 0

    @property
    def receiving(self):
        """A blob is on its way from a computer, in one request after the other."""
        return self._verbs is not None and not self._verbs.at_rest

    def start(self, request):
        """For the link: a generator of the answer to a request."""
        if self._verbs is None:
            from handset.verbs import Verbs

            self._verbs = Verbs(self)
        return self._verbs.start(request)

    def rest(self, wholly=True):
        """Who is not at work here lets go of code that can be loaded again; see Person.rest."""
        self.person.rest(wholly)
        self._rest_link()
        if not self.doing and not self.person.at_work:
            let_go(_SHARED)
        gc.collect()

    def _rest_link(self):
        if not self.doing and not self._new_baud and not self.receiving:
            if self._link is not None:
                self._session = self._link.remember()
            self._verbs = self._link = None
            let_go(_LINK)

    def pairing_changed(self):
        """Sync while a hub is paired, and not a byte of its code without one."""
        journal = self.journal
        if self.sync is not None and journal is None:
            self.sync.mounted()
        elif journal is None or not journal.find_uid(layout.SETTING, b"hub"):
            if journal is not None:
                journal.set_agreed(-1)
            if self.sync is not None:
                self.sync.end()
                self.sync = None
        elif self.sync is None:
            gc.collect()
            from handset.sync import Sync

            self.sync = Sync(self)
        else:
            self.sync.mounted()

    def failed(self, error):
        """The DrybagError to show for an exception; mounts a journal that the flash closed."""
        if isinstance(error, MemoryError):
            gc.collect()
            if self.journal is not None and self.journal.cut_short:
                self.mount()
            return DrybagError(
                "the handset is out of memory (%d bytes free)" % self.board.heap_free()
            )
        if isinstance(error, OSError) or isinstance(error, JournalClosed):
            text = describe(error)
            self.mount()
            if self.journal is None:
                return self.fault
            return JournalClosed("the flash failed (%s): it was opened again, try again" % text)
        if isinstance(error, DrybagError):
            return error
        return DrybagError("the handset's fault: " + describe(error))

    def info(self):
        """What HELLO answers, a dict for JSON."""
        from drybag import protocol as p

        board, journal = self.board, self.journal
        info = {
            "id": board.identity(),
            "name": board.name(),
            "machine": board.model(),
            "versions": {
                "protocol": p.VERSION,
                "format": layout.VERSION,
                "micropython": board.micropython(),
            },
            "features": p.FEATURES,
            "request_bytes": p.REQUEST_BYTES,
            "boot": board.boot,
            "reset_cause": board.reset_cause(),
            "uptime_s": board.uptime_s(),
            "time": board.clock(),
            "heap": board.heap_free(),
            "epoch": 0,
            "last_seq": 0,
            "counts": {},
            "free": 0,
        }
        if journal is None:
            info["error"] = {"class": type(self.fault).__name__, "message": str(self.fault)}
            return info
        info["sync"] = self.sync_info()
        info["epoch"] = journal.epoch
        info["last_seq"] = journal.last_seq
        for kind in layout.KIND_NAMES:
            info["counts"][layout.KIND_NAMES[kind]] = journal.count(kind)
        info["free"] = journal.free_bytes()
        return info

    def sync_info(self):
        """How sync stands, a dict for JSON."""
        return self.sync.info() if self.sync is not None else {"paired": False}

    # -- the line -----------------------------------------------------------------------------
    def set_baud(self, baud):
        """Change speed after the answer is out; when frames stop coming at it, change back."""
        if not 9600 <= baud <= 2000000:
            from drybag.protocol import BadRequest

            raise BadRequest("a speed of %d baud" % baud)
        self._new_baud = baud

    def _change_baud(self):
        at_work = self.doing and not self._link.waiting
        if self._new_baud and not self.doing:
            baud, self._new_baud = self._new_baud, 0  # a port that refuses is asked once
            self.board.set_baud(baud)
            self._baud_since = self.board.ticks_ms() if baud != _BAUD else 0
            self._baud_patience_ms = _BAUD_TRIAL_MS
        elif self._baud_since and at_work:
            self._baud_since = self.board.ticks_ms()
        elif self._baud_since and self.board.since_ms(self._baud_since) > self._baud_patience_ms:
            self.board.set_baud(_BAUD)
            self._baud_since = 0

    def run(self):
        """Serve until Ctrl-C or `quit`; then the journal is closed."""
        self.person.greet()
        while not self.leaving:
            if self.sync is None:
                self._alone()
            else:
                from handset import tasks

                tasks.run(self._beside_sync(tasks))
        self._close()

    def _alone(self):
        while not self.leaving and self.sync is None:
            self._guarded_turn(_WAIT_MS)

    async def _beside_sync(self, tasks):
        """The same beside the task of sync, which gets its turn whenever this one has to wait."""
        sync = tasks.create_task(self.sync.run())
        ticking = tasks.create_task(self._ticking(tasks))
        try:
            while not self.leaving and self.sync is not None:
                if self._guarded_turn(0):
                    await tasks.sleep_ms(0)
                else:
                    await tasks.readable(self.board.console_stream())
        finally:
            sync.cancel()
            ticking.cancel()
            await tasks.sleep_ms(0)

    async def _ticking(self, tasks):
        """What silence is the sign for."""
        while True:
            await tasks.sleep_ms(_TICK_MS)
            self._silence(False)
            if self._new_baud or self._baud_since:
                self._change_baud()

    def unasked_ms(self):
        """Since a frame came."""
        return self.board.since_ms(self._asked)

    def _guarded_turn(self, wait_ms):
        """As turn; nothing but the end of the console ends it."""
        try:
            return self.turn(wait_ms)
        except (EOFError, KeyboardInterrupt):
            self.leaving = True
        except Exception as error:
            self._survive(error)
        return True

    def turn(self, wait_ms):
        """Once round the loop: a step of what is under way, then what has come meanwhile.

        False if there was nothing to do.
        """
        busy = self._link is not None and self._link.step()
        busy = self.person.step() or busy
        if self._new_baud or self._baud_since:
            self._change_baud()
        n = self.board.read_into(self._buf, 0 if busy else wait_ms)
        if n:
            self._heard = self.board.ticks_ms()
            self._quiet = False
            self._take(n)
            return True
        self._silence(busy)
        return busy

    def _silence(self, busy):
        silent_ms = self.board.since_ms(self._heard)
        if silent_ms > _DAY_MS:  # ticks wrap: what is long ago must not come near again
            self._heard = self.board.ago_ms(_DAY_MS)
        if self.board.since_ms(self._asked) > _DAY_MS:
            self._asked = self.board.ago_ms(_DAY_MS)
        if self._decoder.in_frame and silent_ms > _FRAME_GAP_MS:
            self._decoder.idle()
        elif not self._quiet and not busy and silent_ms > _QUIET_MS:
            self._quiet = True
            self.rest(False)

    def quiet_ms(self):
        """Since a key or a frame came."""
        return self.board.since_ms(self._heard)

    def _take(self, n):
        """Bytes of the console: frames for the link, the rest for the person."""
        at = 0
        decoder = self._decoder
        while at < n and not self.leaving:
            at = decoder.feed(self._buf, at, n)
            if decoder.event == FRAME:
                if self._baud_since:
                    self._baud_since = self.board.ticks_ms()
                    self._baud_patience_ms = _BAUD_SILENCE_MS
                self._asked = self._heard
                if self._link is not None or self.has_room_for_link():
                    self.link.frame(decoder)
                else:  # it will come again
                    self.board.write(lone(STATE, decoder.ident, decoder.session, WORKING))
            elif decoder.event == TEXT:
                if decoder.byte == _CTRL_C:
                    self.leaving = True
                else:
                    self.person.key(decoder.byte)

    def has_room_for_link(self):
        return self._has_room(_LINK_WORDS, "a computer is at work")

    def has_room_for_command(self):
        return self._has_room(_COMMAND_WORDS, "you are at work here")

    def has_room_for_console(self):
        return self._has_room(_CONSOLE_WORDS, "you are at work here")

    def _has_room(self, words, why):
        """True if so much code may be loaded. What can be loaded again is let go of for it. A
        sync that has the memory is told to give way, and says `why`: ask again (a computer hears
        that somebody is at work, and sends its frame again)."""
        sync, board = self.sync, self.board
        if self._refused is not None and board.since_ms(self._refused) < _REFUSED_MS:
            return False  # looking again takes time that the sync could use
        self._refused = None
        wanted = code_bytes(words) + (sync.will_take_bytes if sync is not None else 0)
        if board.heap_free() > wanted:
            return True
        self.rest()
        if sync is None or board.heap_free() > wanted:
            return True
        if sync.running:
            sync.give_way(why)
            self._refused = board.ticks_ms()
            return False
        sync.close()
        sync.let_go()
        return True

    def leave(self):
        """End at the next chance."""
        self.leaving = True

    def _survive(self, error):
        """A fault of this program must not end it."""
        gc.collect()
        try:
            self.board.write(("\r\n! " + describe(error) + "\r\n").encode())
        except MemoryError:
            gc.collect()

    def _close(self):
        if self._baud_since:
            self.board.set_baud(_BAUD)
        if self.sync is not None:
            self.sync.end()
        journal, self.journal = self.journal, None
        if journal is not None:
            try:
                journal.close()
            except (DrybagError, OSError) as error:
                self._survive(error)


def describe(error):
    """An exception in a line: its class where that says something, and its message."""
    text = str(error)
    if isinstance(error, DrybagError):
        return text
    return "%s: %s" % (type(error).__name__, text) if text else type(error).__name__


def main():
    """Run the application on this board; comes back when the REPL is wanted."""
    from handset.board import Board

    board = Board()
    board.take_console()
    try:
        app = App(board)
        board.write(_OPENING)  # a host that sees it waits, however long a first format takes
        app.mount()
        gc.threshold(_COLLECT_EVERY_BYTES)
        app.run()
    finally:
        board.leave_console()
    restart = app.restart_wanted
    board.write(
        b"\r\n"
        if restart
        else b"\r\nDrybag has stopped; what was saved is on the flash. Ctrl-D starts it again.\r\n"
    )
    del app
    for name in list(sys.modules):
        if name.split(".")[0] in ("handset", "drybag"):
            del sys.modules[name]
    gc.collect()
    if restart:
        board.restart()
