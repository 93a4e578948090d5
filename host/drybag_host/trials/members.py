"""The handsets of a drill: many of this process, a few emulated boards, used in the same way.

A Member's `write` and `delete` go to the oracle when the handset has acknowledged them; when its
power goes meanwhile it is booted, and what is on its flash decides.
"""

import random
import time
from contextlib import closing

from drybag import layout
from drybag import protocol as p
from drybag.errors import DrybagError, JournalClosed
from drybag_host.demo.run import BoardConsole
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.errors import LinkError
from drybag_host.link import HandsetLink

from .driver import Driver
from .handset import Handset, PowerLost
from .oracle import tokens

NETWORK = b"drybag"
_SYNC_S = 40
_QUIET_S = 4.5
_PATIENCE_S = 40  # many boards share this computer
_AT_WORK = "a computer is at work"  # it is us: it goes on when we are quiet
_CUT_COMMANDS = 60


class Member:
    """`online`: has a network; `gone`: lost for good; `cuts`: how often its battery was pulled."""

    form = ""

    def __init__(self, drill, owner, name):
        self.drill = drill
        self.owner = owner
        self.name = name
        self.online = True
        self.gone = False
        self.cuts = 0
        self.pulled = False  # lost what a RAM would have held

    def alive(self):
        """The tokens in its records."""
        return set().union(*[tokens(body) for body, _, _ in self.shown().values()])

    def try_write(self, key, make):
        """`make(body or None)` is written, or the record deleted where it gives None."""
        try:
            before = self.body(key)
        except PowerLost:
            self.boot()
            before = self.body(key)
        after = make(before)
        if after is None and before is None:
            return
        try:
            seq = self.put(key, after) if after is not None else self.delete(key)
        except PowerLost:
            self.boot()
            if self.body(key) != after:
                return
            seq = self.seq_of(key, after is None)
        self.drill.acknowledged(self, key, seq, before, after)


class InProcess(Member):
    """The real journal and engine in this process, over TLS to the hub."""

    form = "in this process"

    def __init__(self, drill, owner, name, number):
        super().__init__(drill, owner, name)
        self.handset = Handset(drill, number, name)
        self._driver = None

    def pair(self, hub):
        self.close()
        self.handset.pair(hub)
        self._driver = Driver(hub)

    def close(self):
        if self._driver:
            self._driver.close()

    def boot(self):
        self.close()
        self.handset.boot()

    def body(self, key):
        return self.handset.body(key)

    def put(self, key, body):
        return self.handset.guarded(self.handset.journal.put, *key, body)

    def delete(self, key):
        return self.handset.guarded(self.handset.journal.delete, *key)

    def seq_of(self, key, deleted):
        if deleted:
            return max(seq for _, k, seq in self.handset.tombstones() if k == key)
        return self.handset.journal.seq_of(*key)

    def shown(self):
        return self.handset.shown()

    def tombstones(self):
        return self.handset.tombstones()

    def sync(self):
        """True if nothing is unsent, nothing left to take."""
        if not self.online or self.gone:
            return False
        try:
            outcome = self._driver.sync(self.handset.engine)
        except (OSError, JournalClosed):
            if not self.handset.flash.dead:
                raise
            self.boot()
            return False
        self._answer()
        return outcome.state == "synced"

    def _answer(self):
        if self.handset.engine.held:
            self.handset.engine.accept()

    def why(self):
        return ""

    def pull_battery(self, rng, work):
        """Pull it at a random flash command of `work()`, and put it back."""
        self.handset.flash.cut_in(rng.randint(1, _CUT_COMMANDS), rng.getrandbits(30))
        work()
        self.boot()
        self.cuts += 1
        self.pulled = True

    def destroy(self):
        self.gone = True
        self.close()


class Board(Member):
    """An emulated board: the firmware on a real MicroPython, its console, Wi-Fi and TLS."""

    form = "emulated board"

    def __init__(self, drill, owner, name, number):
        super().__init__(drill, owner, name)
        self.board = EmulatedBoard.create(name, home=drill.folder / "home")
        self.board.wifi(True)
        self.board.start()
        self._link = None
        self._number = number

    def _connected(self):
        if not self.board.is_powered:
            self.board.power_on()
        if self._link is None:
            link = HandsetLink(BoardConsole(self.board), patience_s=_PATIENCE_S)
            try:
                link.hello()
            except BaseException:
                link.close()
                raise
            self._link = link
        return self._link

    def _ask(self, act, *args):
        """One thing over the cable. Raises PowerLost if the board has none."""
        try:
            return act(self._connected(), *args)
        except (LinkError, OSError):
            self.close()
            if self.board.is_powered:
                raise
            raise PowerLost from None

    def pair(self, hub):
        link = self._connected()
        link.pair(hub.host, hub.port, hub.owner, hub.device, hub.secret, hub.ca)
        link.know_network(NETWORK, b"password")
        link.set_time(self.drill.stamp())

    def close(self):
        if self._link is not None:
            self._link.close()
            self._link = None

    def boot(self):
        self.close()
        if not self.board.is_powered:
            self.board.power_on()
        self._connected().set_time(self.drill.stamp())

    def body(self, key):
        def get(link):
            try:
                return link.get(*key).body
            except DrybagError as error:
                if isinstance(error, LinkError):
                    raise
                return None

        return self._ask(get)

    def put(self, key, body):
        return self._ask(lambda link: [a.seq for a in link.put_records([("put", *key, body)])][-1])

    def delete(self, key):
        return self._ask(lambda link: link.delete(*key))

    def seq_of(self, key, deleted):
        return self._connected().history(*key)[0].seq

    def _changes(self):
        def read(link):
            with closing(link.changes(0)) as stream:
                return [record for _, record in stream]

        try:
            return self._ask(read)
        except PowerLost:  # the cut came while it booted, or just now
            self.boot()
            return self._ask(read)

    def shown(self):
        return {
            (r.kind, r.uid): (r.body, tuple(r.blobs), r.parent)
            for r in self._changes() if not r.deleted
        }  # fmt: skip

    def tombstones(self):
        return {(self.name, (r.kind, r.uid), r.seq) for r in self._changes() if r.deleted}

    def say(self, word=p.SYNC_TELL):
        """How sync stands, after a word to it."""
        return self._ask(lambda link: link.sync(word))

    def sync(self):
        if not self.online or self.gone:
            return False
        info, until = self.say(p.SYNC_NOW), time.monotonic() + _SYNC_S
        while time.monotonic() < until:
            time.sleep(_QUIET_S)  # it does not sync while a computer speaks with it
            info = self.say()
            if info.get("held"):
                self.say(p.SYNC_ACCEPT)
            elif not info["running"] and not info["unsent"] and not info["why"]:
                return True
            elif not info["running"] and info["why"] != _AT_WORK:
                break
        self._why = info.get("why")
        return False

    def why(self):
        return getattr(self, "_why", "")

    def pull_battery(self, rng, work):
        """Cut at a random flash command from now on; power comes back when it has none."""
        self.close()
        self.board.power_off(seed=rng.randint(1, 1 << 30))
        self.board.power_on(cut_at=rng.randint(1, _CUT_COMMANDS), seed=rng.randint(1, 1 << 30))
        work()
        if self.board.is_powered:
            self.board.power_off(seed=rng.randint(1, 1 << 30))
        self.boot()
        self.cuts += 1
        self.pulled = True

    def destroy(self):
        self.gone = True
        self.close()
        self.board.stop()
        self.board.remove()


def record_key(name, number):
    """A key that only this handset makes."""
    return layout.CONTACT, b"%s-%03d" % (name.encode(), number)


def chance(seed, what):
    return random.Random("%d %s" % (seed, what))
