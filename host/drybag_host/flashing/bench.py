"""Several boards at once: a thread and an esptool each, and a result each."""

import threading
from dataclasses import dataclass

from drybag.errors import DrybagError
from drybag_host.flash_errors import RecordsElsewhere
from drybag_host.output import Output

from .flasher import Done, Flasher
from .telling import BenchTelling

_POLL_S = 0.2


@dataclass
class Result:
    """What became of one board; `error`: the exception that ended it, or None."""

    target: str
    done: Done
    error: BaseException | None = None

    @property
    def ok(self):
        return self.error is None

    @property
    def hint(self):
        return getattr(self.error, "hint", "")

    def text(self):
        if self.error is not None:
            return str(self.error)
        return "flashed and verified in %.1f s" % self.done.seconds

    def fields(self):
        """For --json."""
        found = {"ok": self.ok, **self.done.fields()}
        if self.error is not None:
            found["error"] = {
                "class": type(self.error).__name__,
                "message": str(self.error),
                "exit_code": getattr(self.error, "exit_code", 70),
                "hint": self.hint,
            }
        return found


class Bench:
    """Flashes `targets` after one Order, in parallel."""

    def __init__(self, targets, order, home, out):
        self._out = out
        self._flashers = [
            Flasher(target, order, home, BenchTelling(out, target)) for target in targets
        ]
        self._results = [Result(f.target, f.done) for f in self._flashers]

    def run(self, rescued, judge):
        """[Result] in the order of the targets.

        `rescued(target, error, out)` -> the error to report of a board whose records lie
        elsewhere; `judge(done)` raises where a board that was flashed is not well.
        """
        threads = [
            threading.Thread(target=self._work, args=(n, rescued, judge), daemon=True)
            for n in range(len(self._flashers))
        ]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                while thread.is_alive():
                    thread.join(_POLL_S)
        except KeyboardInterrupt:
            for flasher in self._flashers:
                flasher.stop()
            for thread in threads:
                thread.join(10 * _POLL_S)
            raise
        return self._results

    def _work(self, n, rescued, judge):
        flasher, result = self._flashers[n], self._results[n]
        try:
            judge(flasher.run())
        except RecordsElsewhere as error:
            quiet = Output(quiet=True, stderr=self._out.stderr)
            try:
                result.error = rescued(flasher.target, error, quiet)
            except Exception as failed:
                result.error = failed
        except (DrybagError, OSError, KeyboardInterrupt) as error:
            result.error = error
        except Exception as error:
            result.error = error
        flasher.tell.says(result.text())
