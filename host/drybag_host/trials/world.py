"""Virtual time, the network, and what happens in it: a script is played, then judged.

One process, one thread, no real clock. A sync is the real engine's generator; what the network
does to each of its requests is drawn from the step that began the sync, and from the weather.
"""

import heapq
import itertools
import random

from drybag.errors import JournalClosed

from .checks import final
from .handset import Handset, PowerLost
from .hubhost import HubDied, HubHost
from .oracle import Oracle
from .script import WEATHERS

_TIMEOUT_S = 25.0
_REBOOT_S = 3.0
_SETTLE_ROUNDS = 40


class World:
    """Plays one Script. `trace`: a function that is told what happens, line by line."""

    def __init__(self, script, trace=None):
        self.script = script
        self.seed = script.seed
        self.now_s = 0.0
        self.weather = "good"
        self.oracle = Oracle()
        self.blobs = {}
        self.lost = []  # events that went down with the only place that had them
        self.counts = {"syncs": 0, "requests": 0, "cuts": 0, "kills": 0}
        self._trace = trace
        self._queue = []
        self._order = itertools.count()
        self._names = itertools.count()
        self.handsets = []
        self.hub = HubHost(self)
        self.handsets = [self.new_handset(number) for number in range(script.handsets)]

    def new_handset(self, number):
        handset = Handset(self, number, "h%d" % next(self._names))
        self.hub.enroll(handset)
        return handset

    def tell(self, text, *values):
        if self._trace:
            self._trace("%9.1f s  %s" % (self.now_s, text % values if values else text))

    def later(self, delay_s, act, *args):
        heapq.heappush(self._queue, (self.now_s + delay_s, next(self._order), act, args))

    # -- playing ------------------------------------------------------------------------------
    def play(self):
        """Everything, then the judgement: lines of what is wrong, [] if nothing is."""
        for step in self.script.steps:
            self.later(step.at_s - self.now_s, self._do, step)
        self._run()
        self.weather = "good"
        self.tell("the network is good from now on")
        wrong = self._settle()
        return wrong + final(self)

    def _run(self):
        while self._queue:
            at_s, _, act, args = heapq.heappop(self._queue)
            self.now_s = max(self.now_s, at_s)
            act(*args)

    def _do(self, step):
        who = "" if step.verb.startswith("hub") else " " + self.handsets[step.handset].name
        self.tell("step %d: %s%s", step.number, step.verb, who)
        acts = _ACTS.get(step.verb)
        if acts:
            acts(self, step)
        else:
            self._person(self.handsets[step.handset], step.verb, step.chance)

    def _person(self, handset, verb, chance):
        before = len(self.oracle.events)
        try:
            handset.act(verb, chance)
        except PowerLost:
            self._rebooted(handset, booted=True)
        for event in self.oracle.events[before:]:
            self.tell("   %s", event.text())

    # -- power and loss -----------------------------------------------------------------------
    def _rebooted(self, handset, booted=False):
        self._end_session(handset)
        self.counts["cuts"] += 1
        if handset.flash.dead or not booted:
            handset.boot()
        self.tell("   %s lost its power and is back", handset.name)

    def _reboot(self, step):
        handset = self.handsets[step.handset]
        handset.offset_s = None
        self._rebooted(handset)

    def _arm_cut(self, step):
        rng = random.Random(step.chance)
        handset = self.handsets[step.handset]
        handset.flash.cut_in(rng.randint(1, 40), rng.getrandbits(30))

    def _lose(self, step):
        old = self.handsets[step.handset]
        self._end_session(old)
        self.hub.revoke(old)
        self.handsets[step.handset] = new = self.new_handset(step.handset)
        self.tell("   %s is gone for good; %s in its place", old.name, new.name)
        self.mourn()

    def _take_image(self, step):
        handset = self.handsets[step.handset]
        handset.images.append(bytes(handset.flash.memory))

    def _set_back(self, step):
        handset = self.handsets[step.handset]
        if not handset.images:
            return
        self._end_session(handset)
        handset.flash.memory[:] = random.Random(step.chance).choice(handset.images)
        handset.boot()
        self.tell("   an old image is on %s's flash", handset.name)
        self.mourn()

    def mourn(self):
        """After something was destroyed: what of the past is nowhere any more is excused."""
        alive, tombstones = self.hub.alive()
        for handset in self.handsets:
            alive |= handset.alive()
            tombstones |= handset.tombstones()
        for event in self.oracle.destroyed(alive, tombstones):
            self.lost.append(event)
            self.tell("   lost with the only place that had it: %s", event.text())

    def _set_clock(self, step):
        rng = random.Random(step.chance)
        handset = self.handsets[step.handset]
        handset.offset_s = rng.choice((None, 0, -86400 * 365, -3600, 600, 86400 * 3650))
        self.tell("   %s's clock is off by %s s", handset.name, handset.offset_s)

    def _set_weather(self, step):
        self.weather = random.Random(step.chance).choice(WEATHERS)
        self.tell("   the network: %s", self.weather)

    def _same(self, step):
        """Two handsets change one record while neither knows of the other's change."""
        if len(self.handsets) < 2:
            return
        rng = random.Random(step.chance)
        pair = rng.sample(self.handsets, 2)
        both = sorted(set(pair[0].shown()) & set(pair[1].shown()))
        if not both:
            return
        key = rng.choice(both)
        verbs = rng.choice((("edit", "edit"), ("edit", "edit"), ("delete", "edit")))
        for handset, verb in zip(pair, verbs, strict=True):
            before = len(self.oracle.events)
            try:
                handset.act_on(key, verb, rng)
            except PowerLost:
                self._rebooted(handset, booted=True)
            for event in self.oracle.events[before:]:
                self.tell("   %s", event.text())

    # -- sync ---------------------------------------------------------------------------------
    def _begin_sync(self, step):
        handset = self.handsets[step.handset]
        if handset.session is None:
            self.start_session(handset, step.chance)

    def start_session(self, handset, chance):
        self.counts["syncs"] += 1
        handset.session = session = Session(self, handset, random.Random(chance))
        session.go_on(None)

    def _end_session(self, handset):
        if handset.session:
            handset.session.drop()
            handset.session = None

    def _settle(self):
        """Sync everybody until nobody has anything to say: lines of what is wrong."""
        quiet = 0
        for number in range(_SETTLE_ROUNDS):
            quiet += 1
            for handset in self.handsets:
                self._end_session(handset)
                handset.flash.power_on()
                before = (self.hub.moves(), handset.journal.last_seq)
                self.start_session(handset, number)
                self._run()
                outcome = handset.outcome
                if self._answer(handset) or before != (self.hub.moves(), handset.journal.last_seq):
                    quiet = 0
                if outcome.state != "synced":
                    quiet = 0
                self.now_s += 400
            if quiet == 2:
                return []
        return ["does not come to rest: " + ", ".join(
            "%s %s %s" % (h.name, h.outcome.state, h.outcome.reason) for h in self.handsets
        )]  # fmt: skip

    def _answer(self, handset):
        """What waits for a person gets an answer. True if something did."""
        rng = random.Random("%d %s" % (self.seed, handset.name))
        answered = False
        if handset.engine.held:
            answered = True
            if rng.random() < 0.5:
                handset.engine.accept()
                self.tell("   %s: the deletions are accepted", handset.name)
            else:
                handset.engine.refuse()
                self.oracle.undone(set(handset.shown()))
                self.tell("   %s: the deletions are refused", handset.name)
        return self.hub.answer(rng) or answered


class Session:
    """One sync of one handset: the engine's actions, carried by a network that has its moods."""

    def __init__(self, world, handset, rng):
        self.world = world
        self.handset = handset
        self.hub = world.hub
        self._rng = rng
        self._gen = handset.engine.run()
        self._pieces = []
        self._late = None
        self.live = True

    def drop(self):
        """Nobody waits for its end any more."""
        self.live = False
        self._gen.close()

    def go_on(self, result):
        """The engine gets a result and goes on to its next request."""
        if not self.live:
            return
        try:
            while True:
                action = self._gen.send(result)
                if action[0] == "pause":
                    if self._rng.random() < 0.1:
                        self.world.later(0.05, self.go_on, None)
                        return
                    result = None
                elif action[0] == "more":
                    result = self._pieces.pop(0) if self._pieces else b""
                else:
                    self._ask(action)
                    return
        except StopIteration as end:
            self.handset.session = None
            self.handset.outcome = end.value
            self.world.tell("   %s: %s %s", self.handset.name, end.value.state, end.value.reason)
        except (OSError, JournalClosed):
            if not self.handset.flash.dead:
                raise
            self.handset.offset_s = None
            self.world._rebooted(self.handset)

    # -- the network --------------------------------------------------------------------------
    def _ask(self, action):
        """Carry one request: lost, late, twice, torn, or as it should be."""
        world, rng = self.world, self._rng
        world.counts["requests"] += 1
        verb, path = action[0], action[1]
        body, whole = b"", True
        if verb == "post":
            body = bytes(action[2])
        elif verb == "put":
            body, whole = self._read_pieces(action)
        offset = action[2] if verb == "get" else 0
        request = (verb, path, body, offset)
        if not whole:
            return self._fail(0.1, "the photo cannot be read")
        weather = world.weather
        chance = rng.random()
        if weather == "down":
            return self._fail(rng.choice((0.1, _TIMEOUT_S)), "no route")
        if weather == "lossy" and chance < 0.2:
            if verb == "put" and len(body) > 1:  # torn in mid-photo: what came is kept
                part = (verb, path, body[: rng.randrange(len(body))], offset)
                world.later(0.1, self._arrive, part, None)
            return self._fail(rng.choice((0.2, _TIMEOUT_S)), "the request is lost")
        up_s, down_s = 0.05, 0.05
        if weather == "slow":
            up_s, down_s = rng.uniform(0, 20), rng.uniform(0, 20)
        if weather == "twice":
            world.later(up_s + rng.choice((0.0, rng.uniform(0, 300))), self._arrive, request, None)
        lost = weather == "lossy" and chance < 0.4
        self._wait = rng.getrandbits(30)
        world.later(up_s, self._arrive, request, None if lost else (self._wait, down_s))
        if lost or up_s + down_s > _TIMEOUT_S:
            world.later(_TIMEOUT_S, self._time_out, self._wait)

    def _read_pieces(self, action):
        body = b"".join(bytes(piece) for piece in action[3])
        return body, len(body) == action[2]

    def _fail(self, after_s, why):
        self._wait = None
        self.world.later(after_s, self.go_on, (0, {}, why))

    def _time_out(self, wait):
        if self._wait == wait:
            self._wait = None
            self.go_on((0, {}, "no answer in time"))

    def _arrive(self, request, reply_to):
        """The request is at the hub. `reply_to`: (who waits, seconds), None: nobody."""
        try:
            answer = self.hub.handle(self.handset, *request)
        except HubDied:
            answer = (0, {}, "the connection broke")
        if reply_to and self.live:
            self.world.later(reply_to[1], self._reply, reply_to[0], answer)

    def _reply(self, wait, answer):
        if not self.live or self._wait != wait:
            return
        self._wait = None
        if self.world.weather == "twice" and self._late and self._rng.random() < 0.1:
            answer = self._late  # an old reply comes in place of the new one
        elif answer[0] == 200:
            self._late = answer
        self._deliver(answer)

    def _deliver(self, answer):
        status, headers, body = answer
        if status in (200, 206) and headers.get("stream"):
            cut = None
            if self.world.weather == "lossy" and self._rng.random() < 0.3:
                cut = self._rng.randrange(len(body) + 1)
            size = 1000
            data = body[:cut] if cut is not None else body
            self._pieces = [data[at : at + size] for at in range(0, len(data), size)]
            if cut is not None and cut < len(body):
                self._pieces.append(None)
            body = None
        self.go_on((status, headers, body))


_ACTS = {
    "sync": World._begin_sync,
    "weather": World._set_weather,
    "cut": World._arm_cut,
    "reboot": World._reboot,
    "clock": World._set_clock,
    "image": World._take_image,
    "set-back": World._set_back,
    "lost": World._lose,
    "same": World._same,
    "hub-kill": lambda world, step: world.hub.arm_kill(step.chance),
    "hub-backup": lambda world, step: world.hub.backup(),
    "hub-restore": lambda world, step: world.hub.restore(step.chance),
    "hub-empty": lambda world, step: world.hub.empty(),
}
