"""What a person sees while a board is flashed: a bar, or on a bench a line now and then."""

import threading
import time

_LEAST_BYTES = 1 << 16  # what is read or written faster than that gets no bar
_EVERY_S = 5.0


class Telling:
    """For one board: messages, and a progress bar a stage. A context manager."""

    def __init__(self, out):
        self._out = out
        self._stage = None
        self._bar = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
        return False

    def close(self):
        """No bar any more."""
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
        self._bar = self._stage = None

    def says(self, text):
        self.close()
        self._out.say(text)

    def warns(self, text):
        self.close()
        self._out.warn(text)

    def moved(self, stage, done, total):
        """`done` of `total` bytes of a stage."""
        if total < _LEAST_BYTES:
            return
        if stage != self._stage:
            self.close()
            self._stage = stage
            self._bar = self._out.progress(stage, total, "bytes").__enter__()
        self._bar.set_done(done)


class BenchTelling:
    """For one of several boards: lines with its name, from its own thread."""

    _lock = threading.Lock()

    def __init__(self, out, target):
        self._out = out
        self._target = target
        self._stage = None
        self._said = 0.0

    def says(self, text):
        with self._lock:
            self._out.say("%s: %s" % (self._target, text))

    def warns(self, text):
        with self._lock:
            self._out.warn("%s: %s" % (self._target, text))

    def moved(self, stage, done, total):
        now = time.monotonic()
        if total < _LEAST_BYTES or (stage == self._stage and now - self._said < _EVERY_S):
            return
        self._stage, self._said = stage, now
        self.says("%s, %d %%" % (stage, 100 * done // total))
