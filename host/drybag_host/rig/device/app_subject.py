"""Anybody's MicroPython file as the subject of the rig: `setup()`, `step(n)`, `check(acked)`.

Each boot is a fresh run of the file: RAM is gone, LittleFS is mounted at `/` as MicroPython's own
boot does it, `setup()` is called, then `step(n)` with growing n; what it returns is acknowledged
from then on (None: nothing). `check(acked)` gets the list of all that, after a boot, and raises or
returns what is wrong: a text or a list of them. With `RAW = True` in the file there is no file
system, and `setup(flash)` gets the block device. Runs on MicroPython only.
"""

import hashlib
import os
import sys

import vfs

from drybag_host.rig.device import oracle as model
from drybag_host.rig.device.ops import Workload
from drybag_host.rig.device.oracle import Problem

_CALLS = 200000
_DEAD_CALLS = 2000
_ENOSPC = 28
_STEPS = 30
_SECTORS = 20
_STEADY = 120
_KINDS = (model.RECORD_LOST, model.TORN_SHOWN, model.DELETED_BACK, model.NEVER_WRITTEN,
          model.MOUNT_LOST)  # fmt: skip


class Full(Exception):
    """The app found no room: that is no fault of the flash."""


class NeverEnds(BaseException):
    """The app or its file system goes on for ever; no handler of the app may stop this."""


class GaveUp(Exception):
    """The app went on for ever, or ended itself."""


class AppSubject:
    """One app. Raises SyntaxError; ValueError where a part is missing."""

    full = (Full,)

    def __init__(self, path):
        self.name = "app:" + path
        self.folder, _, self.file = path.rpartition("/")
        with open(path) as f:
            text = f.read()
        self.code = compile(text, self.file, "exec")
        for part in ("setup", "step", "check"):
            if "\ndef " + part + "(" not in "\n" + text:
                raise ValueError("%s has no function %s()" % (self.file, part))
        says = _constants(text)
        self.raw = bool(says.get("RAW"))
        self.steps = says.get("STEPS", _STEPS)
        self.sectors = says.get("SECTORS", _SECTORS)

    def workload(self, name, seed):
        """`steps`: the first STEPS steps; `steady`: as many after 120 that are not swept.

        Raises ValueError for others.
        """
        first = {"steps": 0, "steady": _STEADY}.get(name)
        if first is None:
            raise ValueError("an app has the workloads 'steps' and 'steady', not '%s'" % name)
        ops = [("format",), ("boot",)] + [("step", n) for n in range(first + self.steps)]
        return Workload(name, self.sectors, ops, first + 2 if first else 1)

    def oracle(self):
        return AppOracle()

    def user(self, chip, oracle):
        return AppUser(self, chip, oracle)

    def place(self, memory, op, addr, data):
        """Where on flash a command works; the first two blocks hold LittleFS's root."""
        where = "flash" if self.raw else "superblock" if addr < 8192 else "littlefs"
        return "erase of " + where if op == "erase" else where


class AppOracle:
    """What the app acknowledged; nothing of what it means."""

    def __init__(self):
        self.acked = []
        self.next = 0
        self.flight = None
        self.revision = 0
        self.mark = b""

    def copy(self):
        other = AppOracle()
        other.acked = self.acked[:]
        other.next, other.flight = self.next, self.flight
        other.revision, other.mark = self.revision, self.mark
        return other

    def begin(self, n):
        self.flight = n
        self.next = n + 1
        self._said("begin %d" % n)

    def acknowledged(self, value):
        if value is not None:
            self.acked.append(value)
        self.flight = None
        self._said("ack %r" % (value,))

    def _said(self, what):
        self.revision += 1
        self.mark = hashlib.sha256(self.mark + what.encode()).digest()[:8]

    def expects(self):
        """The last acknowledgements as lines of text."""
        lines = ["%d acknowledgements, the last: %r" % (len(self.acked), self.acked[-3:])]
        if self.flight is not None:
            lines.append("in flight: step(%d)" % self.flight)
        return lines


class AppUser:
    """Runs the app as its board would."""

    def __init__(self, subject, chip, oracle):
        self.subject = subject
        self.chip = chip
        self.oracle = oracle
        self.device = None
        self._world = None
        self._names = None

    # -- operations ------------------------------------------------------------------------------
    def do(self, op):
        getattr(self, "_op_" + op[0])(*op[1:])

    def _op_format(self):
        """The board comes with a file system, made where no cut can reach it."""
        if not self.subject.raw:
            vfs.VfsLfs2.mkfs(self.chip.partition())

    def _op_boot(self):
        self.boot()

    def _op_step(self, n):
        self.oracle.begin(n)
        try:
            value = self._call("step", n)
        except OSError as error:
            if error.errno == _ENOSPC and not self.chip.nor.dead:
                raise Full("step(%d) found no room" % n)
            raise
        if self.chip.nor.dead:  # whatever it says, the power was gone
            raise OSError(5)
        self.oracle.acknowledged(value)

    def boot(self):
        """Power on: mount, run the file from its first line, `setup()`."""
        self.device = self.chip.partition()
        subject = self.subject
        self._names = {"__name__": "app", "__file__": subject.file}
        watched = Watched(self.device, self.chip.nor)
        try:
            self._world = World(watched, subject.raw, subject.folder)
            self._world.run(exec, subject.code, self._names)
        except (NeverEnds, SystemExit) as error:
            raise GaveUp("boot: %r" % error)
        self._call("setup", *((watched,) if subject.raw else ()))

    def _call(self, what, *args):
        """Call one of the app's functions. No cut leaves it alive to say more than OSError."""
        try:
            return self._world.run(self._names[what], *args)
        except (NeverEnds, SystemExit) as error:
            if self.chip.nor.dead:
                raise OSError(5)
            raise GaveUp("%s(): %r" % (what, error))

    # -- judging ---------------------------------------------------------------------------------
    def judge(self, deep=False):
        """What `check` says."""
        try:
            said = self._call("check", self.oracle.acked[:])
        except MemoryError:
            raise
        except Exception as error:
            said = "%s: %s" % (type(error).__name__, error)
        self.oracle.flight = None
        if not said:
            return []
        return [_problem(text) for text in ([said] if isinstance(said, str) else said)]

    judge_damaged = judge

    def probe(self, rng):
        """The next step."""
        self._op_step(self.oracle.next)

    def more(self, rng):
        for _ in range(4):
            self._op_step(self.oracle.next)

    def notes(self):
        return ["the app runs, the next step is step(%d)" % self.oracle.next]


class World:
    """What the app sees while it runs: its flash at `/`, its folder read-only at `/lib`; a RAW
    one the computer's files, read-only. Modules from its folder are forgotten, as RAM is.
    """

    def __init__(self, flash, raw, folder):
        self._flash = flash
        self._raw = raw
        self._folder = folder
        self._modules = {}
        self._root = None if raw else vfs.VfsLfs2(flash, mtime=False)

    def run(self, function, *args):
        """Call `function` in this world; everything is back in place afterwards."""
        self._flash.calls = 0
        engine, path = vfs.VfsPosix(), sys.path[:]
        vfs.umount("/")
        self._enter(engine)
        sys.modules.update(self._modules)
        try:
            return function(*args)
        finally:
            self._forget("/lib/")
            self._forget(self._folder + "/")
            if not self._raw:
                vfs.umount("/lib")
            vfs.umount("/")
            vfs.mount(engine, "/")
            sys.path[:] = path

    def _enter(self, engine):
        if self._raw:
            vfs.mount(engine, "/", readonly=True)
            sys.path.insert(0, self._folder)
        else:
            vfs.mount(self._root, "/")
            vfs.mount(vfs.VfsPosix(self._folder), "/lib", readonly=True)
            sys.path[:] = ["/lib"]
        os.chdir("/")

    def _forget(self, folder):
        """Take the modules that came from `folder` out of everybody else's sight."""
        for name in list(sys.modules):
            if getattr(sys.modules[name], "__file__", "").startswith(folder):
                self._modules[name] = sys.modules.pop(name)


class Watched:
    """The block device of one boot, which notices when somebody goes on for ever."""

    def __init__(self, device, nor):
        self._device = device
        self._nor = nor
        self.calls = 0

    def _count(self):
        self.calls += 1
        if self.calls > (_DEAD_CALLS if self._nor.dead else _CALLS):
            self.calls = 0
            raise NeverEnds("it goes on for ever")

    def readblocks(self, block, buf, off=0):
        self._count()
        return self._device.readblocks(block, buf, off)

    def writeblocks(self, block, buf, off=None):
        self._count()
        return self._device.writeblocks(block, buf, off)

    def ioctl(self, op, arg=0):
        self._count()
        return self._device.ioctl(op, arg)


def _constants(text):
    """The numbers that the file gives to RAW, STEPS and SECTORS at the beginning of a line."""
    found = {}
    for line in text.split("\n"):
        name, _, value = line.partition("=")
        if name.strip() in ("RAW", "STEPS", "SECTORS") and not line.startswith(" "):
            value = value.partition("#")[0].strip()
            words = {"True": 1, "False": 0}
            found[name.strip()] = words[value] if value in words else int(value)
    return found


def _problem(text):
    """A Problem; a text that begins with the name of a kind is of that kind."""
    text = str(text)
    for what in _KINDS:
        if text.startswith(what):
            return Problem(what, "check() finds everything", text[len(what) :].strip(" :"))
    return Problem(model.RECORD_LOST, "check() finds everything", text)
