"""Cutting a board's power again and again while it writes, and judging each boot."""

import hashlib
import random
import time
from dataclasses import dataclass

from drybag import layout
from drybag import protocol as p
from drybag.errors import DrybagError, NoSpace
from drybag_host.errors import LinkError, NoSuchTarget, NotAHandset, PortBusy
from drybag_host.image import dumping
from drybag_host.link import HandsetLink
from drybag_host.power_errors import NotSwitching
from drybag_host.rig.board_keep import Keeper
from drybag_host.rig.board_oracle import (
    PREFIX,
    BoardOracle,
    Mismatch,
    Writer,
    judge_boot,
    read_records,
)
from drybag_host.rig.errors import CannotJudge
from drybag_host.rig.tap import Plan, Tap, answers

_ORDERS = {
    True: ("moment", "command", "ack", "moment", "request", "command", "boot", "moment"),
    False: ("moment", "ack", "moment", "request", "moment", "boot"),
}
_SPAN_S = {True: 0.6, False: 3.0}
_BOOT_SPAN_S = {True: 0.5, False: 2.0}
_MOST_COMMANDS = 300
_PATIENCE_S = 6.0
_UNASKED = 3
_FREED_AT_ONCE = 8
_ROOM_BYTES = 96 * 1024
_NOT_THERE = "read its output (mpremote connect PORT), and save its flash before any repair"


class MountLost(Exception):
    """The handset cannot open its journal any more: the campaign is over."""


@dataclass
class Cut:
    """One cut and what became of it. `fell`: see EmulatedBoard.state, None where not known."""

    number: int
    how: str
    fell: dict | None = None
    in_flight: bool = False
    judged: bool = False
    failed: bool = False


class BoardRun:
    """A board behind `open_console()`, its `switch`, and all that is drawn from `seed`.

    `cuts`: a Cut each; `problems`: (cut number, Mismatch, id), where 0 is the cut of `prepare`.
    `keeper`: keeps the flash of a cut after which something was missing. Methods raise
    CannotJudge, SwitchFailed, NotSwitching, MountLost.
    """

    def __init__(self, open_console, switch, seed, boot_timeout_s=30.0, keeper=None):
        self._open_console = open_console
        self.switch = switch
        self.seed = seed
        self.keeper = keeper or Keeper("board", seed, None, None)
        self.operations = []
        self._boot_timeout_s = boot_timeout_s
        self.oracle = BoardOracle()
        self._writer = Writer(random.Random(seed), self.oracle)
        self.cuts = []
        self.problems = []
        self.info = {}
        self.removed_before = 0
        self.others = []
        self._baseline = 0
        self._boot_id = None
        self._pending = []
        self._off_at = None
        self._unasked = 0
        self._to_free = 0

    # -- before and after -----------------------------------------------------------------------
    def prepare(self):
        """Power on, look what is there, and switch off once while nothing is written."""
        self.switch.on()
        with self._session() as link:
            if self.info.get("error"):
                raise CannotJudge(
                    "the handset cannot open its journal: %s" % self.info["error"]["message"],
                    "there is nothing to test before that is mended: drybag scrub, drybag pull",
                )
            self.removed_before = self._remove_own(link, 0)
            info = link.hello()
            if info["free"] < _ROOM_BYTES:
                raise CannotJudge(
                    "the handset has no room: %d bytes, and the rig writes up to %d"
                    % (info["free"], _ROOM_BYTES),
                    "delete something (drybag delete), or take another handset",
                )
            self._baseline = info["last_seq"]
            self.oracle.last_seq = self._baseline
            self.others = [
                (r.kind, bytes(r.uid), _content_sha(r))
                for _, r in link.changes(0)
                if not r.deleted
            ]
        self.switch.off()
        self._off_at = time.monotonic()
        self._check_off()

    def abandon(self):
        """Power off, after something broke into the middle of a cut."""
        self.switch.off()
        self._off_at = time.monotonic()

    def finish(self, keep_records=False):
        """Judge the last cut, see whether other records are untouched, clean up; a sentence."""
        self._power_on()
        with self._session() as link:
            self._judge(link)
            self._judge_others(link)
            if keep_records:
                return "%d records of the rig are left on the handset" % len(self.oracle.live)
            return "%d records of the rig deleted again" % self._remove_own(link, self._baseline)

    def _judge_others(self, link):
        states = link.compare(self.others) if self.others else []
        for (kind, uid, _), state in zip(self.others, states, strict=True):
            if state != p.SAME:
                name = "%s %r, there before" % (layout.KIND_NAMES.get(kind, kind), uid)
                self._problem(Mismatch("record lost", name, "not as it was"))

    def _remove_own(self, link, since):
        keys = sorted(read_records(link, since))
        for key in keys:
            link.delete(*key)  # one by one: a full flash takes that, and not a batch
        return len(keys)

    # -- one cut --------------------------------------------------------------------------------
    def plan(self, number):
        """What cut `number` (from 1) will be: the same for the same seed."""
        rng = random.Random("%d/%d" % (self.seed, number))
        fast = self.switch.knows_commands
        order = _ORDERS[fast]
        how = order[(number - 1) % len(order)]
        span_s = (_BOOT_SPAN_S if how == "boot" else _SPAN_S)[fast]
        count = rng.randrange(1, 30)
        if how == "command":
            count = rng.choice((rng.randrange(1, 30), rng.randrange(1, _MOST_COMMANDS)))
        return Plan(how, rng.uniform(0.0, span_s), count, None, rng.randrange(1, 1 << 30))

    def cut(self, number):
        """Power on, judge what is there, write, cut the power. Returns the Cut."""
        plan = self.plan(number)
        self.operations = []
        self.keeper.begins(number, plan.how)
        if plan.how == "command":
            self.switch.arm(plan.count, plan.state, plan.seed)
        self._power_on()
        if plan.how == "boot" and self.switch.boot_s:
            time.sleep(plan.delay_s / _BOOT_SPAN_S[False] * self.switch.boot_s)
            self.switch.off(plan.seed)
        else:
            self._live_and_cut(plan)
        self._off_at = time.monotonic()
        cut = Cut(number, plan.how, in_flight=self.oracle.flight is not None)
        self.cuts.append(cut)
        self._pending.append(cut)
        self._check_off()
        if self.switch.knows_commands:
            cut.fell = self.switch.fell()
        self.keeper.fell(cut.fell, plan.seed, bool(self.operations), self.oracle, self.operations)
        return cut

    def _live_and_cut(self, plan):
        """Judge what is there and write, until the cut."""
        tap = Tap(self._open(), self.switch, plan)
        try:
            self._live(tap)
        except LinkError as error:
            if not tap.is_cut:
                self._not_asked_for(error)
                tap.cut()
        finally:
            tap.close()
            tap.joined()
        tap.ended()

    def _live(self, tap):
        """From power-on until the cut, which comes as a LinkError."""
        link = self._connected(tap)
        self._judge(link)
        tap.writing()
        while True:
            self._write(link, tap)

    def _write(self, link, tap):
        ops, blob = (self._writer.deletes(1), None) if self._to_free else self._writer.next()
        self._to_free = max(0, self._to_free - 1)
        if not ops:
            return
        try:
            if blob is not None:
                self.oracle.blobs[blob[0]] = blob[1]
                link.put_blob(blob[0], len(blob[1]), blob[1])
            self.oracle.begin(ops)
            self.operations.append((ops, None))
            for ack in link.put_records(ops):
                self.oracle.ack(ack.seq)
                self.operations[-1] = ops, ack.seq
                tap.acked()
        except NoSpace:
            self.oracle.refused()
            self._to_free = _FREED_AT_ONCE
        except LinkError:
            raise
        except DrybagError as error:
            self.oracle.refused()
            self._problem(Mismatch("write refused after recovery", ops[0][0], str(error)))
            self._not_asked_for(error)

    def _not_asked_for(self, error):
        """The board broke off or said no by itself. Raises CannotJudge when that is too often."""
        self._unasked += 1
        if self._unasked > _UNASKED:
            raise CannotJudge(
                "the board stops by itself, not at a cut: %s" % error,
                "is its supply strong enough, and the cable good? Look at its output",
            )

    # -- judging --------------------------------------------------------------------------------
    def _judge(self, link):
        """Compare what is there with what was acknowledged; what is pending is judged then."""
        problems = judge_boot(link, self.info, self.oracle, self._baseline)
        if problems:
            with link.console.spared():
                for problem in problems:
                    self._problem(problem, link)
        self._judged()
        if self.info.get("error"):
            raise MountLost

    def _judged(self):
        for cut in self._pending:
            cut.judged = True
        self._pending = []

    def _problem(self, mismatch, link=None):
        number = self.cuts[-1].number if self.cuts else 0
        for cut in self._pending or self.cuts[-1:]:
            cut.failed = True
        dump = None if link is None else lambda: dumping.whole_pim(link)
        word = self.keeper.keep(mismatch, self.info, self._baseline, dump)
        self.problems.append((number, mismatch, word))

    # -- power and link -------------------------------------------------------------------------
    def _open(self):
        """The console, for which a USB port may have to come back first. Raises CannotJudge."""
        deadline = time.monotonic() + self._boot_timeout_s
        while True:
            try:
                return self._open_console()
            except (LinkError, NoSuchTarget) as error:
                busy = isinstance(error, PortBusy) and self._boot_id is None
                if busy or time.monotonic() > deadline:
                    raise CannotJudge("%s" % error, error.hint) from None
                time.sleep(0.1)

    def _session(self):
        """A link with no cut planned, connected."""
        return self._connected(Tap(self._open(), self.switch, None))

    def _connected(self, tap):
        """A link on a booted handset; `info` is what it said. Raises LinkError once it is cut."""
        deadline = time.monotonic() + self._boot_timeout_s
        while True:
            link = HandsetLink(tap, _PATIENCE_S)
            try:
                self.info = link.hello(allow_fault=True)
                break
            except LinkError as error:
                if tap.is_cut:
                    raise
                if time.monotonic() > deadline:
                    tap.close()
                    raise self._never_boots(error) from None
                time.sleep(0.1)
        boot_id = self.info["boot"]
        if self._off_at is not None and boot_id == self._boot_id:
            raise NotSwitching(
                "the switch '%s' was told off and on, and the board never restarted"
                % self.switch.name,
                "does it switch this board's supply? Look at the board's lamp while you try it",
            )
        self._boot_id = boot_id
        self._off_at = None
        return link

    def _never_boots(self, error):
        if self._boot_id is None and isinstance(error, NotAHandset):
            return CannotJudge(str(error), error.hint)
        after = " after %d cuts" % len(self.cuts) if self.cuts else ""
        return CannotJudge(
            "the board does not boot%s: nothing for %g s; %s"
            % (after, self._boot_timeout_s, error),
            _NOT_THERE,
        )

    def _power_on(self):
        if self._off_at is not None:
            time.sleep(max(0.0, self._off_at + self.switch.off_s - time.monotonic()))
        self.switch.on()

    def _check_off(self):
        """Is the supply really off: no answer on the port? Raises NotSwitching."""
        time.sleep(self.switch.settle_s)
        is_off = self.switch.is_off()
        said = answers(self._open_console, 0.03 if is_off else 0.5)
        if said or is_off is False:
            raise NotSwitching(
                "the switch '%s' was told off, and the board still %s"
                % (self.switch.name, "answers" if said else "has power"),
                "is it the right channel and polarity, has the supply time to fall (settle_s), "
                "and is the board fed from nowhere else, such as its USB cable?",
            )


def _content_sha(record):
    """SHA-256 of a record's canonical form with seq, stamp and rev 0; see HandsetLink.compare."""
    bare = layout.Record(record.kind, record.uid, record.body, record.blobs, record.parent)
    return hashlib.sha256(layout.canonical(bare)).digest()


__all__ = ["PREFIX", "BoardRun", "Cut", "MountLost"]
