"""Every call that writes is broken off at every step: by the chip, and by a heap that is full.

Afterwards the flash says what stood before the call or what it was to do, nothing between. A
journal that did not close itself agrees with its flash and goes on; one that did needs a mount.
"""

import functools
import sys

import pytest
from pim_flash import Flash, bodies, noise, store_blob, text

from drybag import errors, journal
from drybag.layout import NOTE, PHOTO
from drybag.pool import Pool

CALLS = {
    "put": lambda j: j.put(NOTE, b"new", text(5, 700)),
    "update": lambda j: j.update(NOTE, b"n1", text(5, 1300)),
    "large body": lambda j: j.put(NOTE, b"large", text(9, 2500)),
    "delete": lambda j: j.delete(NOTE, b"n5"),
    "undelete": lambda j: j.undelete(NOTE, b"n3"),
    "batch": lambda j: j.batch([
        ("put", NOTE, b"n1", text(1, 200)), ("delete", NOTE, b"n2"),
        ("put", NOTE, b"q", text(2, 500)), ("put", NOTE, b"n7", text(3, 1200)),
    ]),
    "blob": lambda j: store_blob(j, noise(3, 4500)),
    "set back": lambda j: j.set_agreed(1, True),
    "checkpoint": lambda j: j.checkpoint(),
    "close": lambda j: j.close(),
}  # fmt: skip
KEYS = [b"n%d" % n for n in range(15)]
STEPS = 16  # of each call at which the heap is full
MOST = 24  # of its programs and erases that fail
FEW = 4  # of its reads


@functools.cache
def worn_in():
    """A paired flash in steady state, at which the next put has to make room first."""
    flash = Flash(20)
    j = flash.mount()
    j.set_agreed(0)
    j.put(PHOTO, b"p", b"FN:p\n", [store_blob(j, noise(1, 5000))])
    j.put(NOTE, b"large", text(1, 3000))
    for n in range(400):
        j.put(NOTE, KEYS[n % 15], text(n, 20 + n * 37 % 900))
        if n > 120:
            probe = flash.copy()
            k = opened(probe)
            k.delete(NOTE, b"n3")
            before = k._compactor.steps
            CALLS["put"](k)
            if k._compactor.steps > before + 20:
                j.delete(NOTE, b"n3")
                return flash
    raise AssertionError("it never makes room")


def opened(flash):
    j = flash.mount()
    j.set_agreed(0)
    return j


def told(j):
    return {(r.kind, r.uid): (r.body, r.rev, r.blobs) for r in j.records()}


@functools.cache
def outcome(name):
    """What the records are before and after the call, and what it does to the device."""
    flash = worn_in().copy()
    j = opened(flash)
    before = told(j)
    device = j._log.device.bdev = Breaking(j._log.device.bdev)
    CALLS[name](j)
    return before, told(j), device.kinds


class Breaking:
    """A block device whose operation number `at` raises `error`, done (`late`) or not."""

    def __init__(self, bdev, at=0, error=None, late=False):
        self._bdev, self._at, self._error, self._late = bdev, at, error, late
        self.kinds = []
        self.hit = False

    def _run(self, kind, function, *args):
        self.kinds.append(kind)
        now = len(self.kinds) == self._at
        self.hit = self.hit or now
        if now and not self._late:
            raise self._error
        result = function(*args)
        if now:
            raise self._error
        return result

    def readblocks(self, block, buf, off=0):
        return self._run("read", self._bdev.readblocks, block, buf, off)

    def writeblocks(self, block, buf, off=None):
        return self._run("write", self._bdev.writeblocks, block, buf, off)

    def ioctl(self, op, arg=0):
        if op != 6:
            return self._bdev.ioctl(op, arg)
        return self._run("erase", self._bdev.ioctl, op, arg)


def check(name, flash, j, raised):
    before, after, _ = outcome(name)
    again = flash.copy()
    fresh = told(mounted := again.mount())
    assert mounted.put(NOTE, b"probe", b"works")
    assert fresh in (before, after)
    if raised is None:
        assert fresh == after
    if not j._log.failed:
        assert told(j) == fresh
        live = {key: value[0] for key, value in fresh.items()}
        for n in range(90):  # once round the log: what is not copied then is lost
            key = NOTE, b"k%d" % (n % 4)
            try:
                j.put(*key, text(n, 400))
            except errors.NoSpace:  # a sector that failed is left alone: there is one less
                continue
            live[key] = text(n, 400)
        assert bodies(j) == bodies(flash.copy().mount()) == live
    elif name != "close":
        memory = bytes(flash.memory)
        for call in ("put", "delete", "batch", "blob"):
            with pytest.raises(errors.JournalClosed, match="mount the journal again"):
                CALLS[call](j)
        j.close()
        assert bytes(flash.memory) == memory


def points(kinds):
    """Each program and erase (of many, every third or so), and some of the reads."""
    changing = [at for at, kind in enumerate(kinds, 1) if kind != "read"]
    yield from changing[:: 1 + len(changing) // MOST]
    yield from range(1, len(kinds) + 1, 1 + len(kinds) // FEW)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("error", [OSError(5), MemoryError()], ids=["chip", "heap"])
@pytest.mark.parametrize("name", CALLS)
def test_a_call_whose_device_fails_once(name, error, late):
    hits = 0
    for at in points(outcome(name)[2]):
        flash = worn_in().copy()
        j = opened(flash)
        device = j._log.device.bdev = Breaking(j._log.device.bdev, at, error, late)
        raised = None
        try:
            CALLS[name](j)
        except (OSError, MemoryError, errors.DrybagError) as caught:
            raised = caught
        hits += device.hit
        j._log.device.bdev = device._bdev
        check(name, flash, j, raised)
    assert hits or not outcome(name)[2]


class FullHeap:
    """For sys.settrace: no memory at the line number `left` of the journal's that is run."""

    def __init__(self, left):
        self.left = left
        self._place = journal.__file__.rsplit("/", 1)[0]

    def __call__(self, frame, event, arg):
        if not frame.f_code.co_filename.startswith(self._place):
            return None
        if event == "line":
            self.left -= 1
            if not self.left:
                raise MemoryError
        return self


def traced(call, j, left):
    """The exception that ended the call, and the lines that were left."""
    tracer, old = FullHeap(left), sys.gettrace()
    sys.settrace(tracer)
    try:
        call(j)
    except MemoryError as error:
        return error, tracer.left
    finally:
        sys.settrace(old)
    return None, tracer.left


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_runs_out_of_memory_at_any_line(name):
    most = 10**9
    lines = most - traced(CALLS[name], opened(worn_in().copy()), most)[1]
    for step in range(STEPS):
        flash = worn_in().copy()
        j = opened(flash)
        raised, _ = traced(CALLS[name], j, 1 + step * lines // STEPS)
        check(name, flash, j, raised)


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_compaction_that_finds_no_sector_once_loses_nothing(nth, monkeypatch):
    """What it could not copy must not be taken for copied."""
    flash = worn_in().copy()
    j = opened(flash)
    take, taken = Pool.take, []

    def refuse(pool, *args):
        taken.append(pool)
        if len(taken) == nth:
            raise errors.NoSpace("no free sector", 4096)
        return take(pool, *args)

    monkeypatch.setattr(Pool, "take", refuse)
    with pytest.raises(errors.NoSpace):
        j._compactor.make_room(0, j._log.pool.ready())
    assert len(taken) >= nth
    monkeypatch.undo()
    check("checkpoint", flash, j, None)
