"""A worker process and the two pipes to it."""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import drybag
import drybag_host
from drybag_host.rig.errors import RigFailed

HEAP_BYTES = 32 << 20
SILENCE_S = 60.0
_HERE = Path(__file__).resolve().parent


class WorkerDied(RigFailed):
    """The process ended in the middle; `why` says how."""


class WorkerSilent(RigFailed):
    """No line for `SILENCE_S`: it hangs."""


class Worker:
    """One worker for one subject. A context manager; nothing is left of it afterwards."""

    def __init__(self, subject, heap_bytes=HEAP_BYTES, silence_s=SILENCE_S):
        self.subject = subject
        self.silence_s = silence_s
        self._heap_bytes = heap_bytes
        self._process = None
        self._out = None
        self._rest = b""
        self._heard = 0.0
        self.busy = False

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.kill()
        return False

    # -- life ------------------------------------------------------------------------------------
    def start(self):
        """Spawn it, unless it runs."""
        if self._process:
            return
        commands, ours = os.pipe()
        theirs, results = os.pipe()
        folders = [str(Path(module.__file__).resolve().parents[1])
                   for module in (drybag, drybag_host)]  # fmt: skip
        self._said = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(_HERE / "launch.py"), str(os.getpid()),
             str(self._heap_bytes), str(_HERE / "device" / "worker.py"), self.subject,
             str(commands), str(results), *folders],
            stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said,
            pass_fds=(commands, results), start_new_session=True,
        )  # fmt: skip
        os.close(commands)
        os.close(results)
        self._in, self._out = ours, theirs
        self._rest = b""
        self._heard = time.monotonic()

    def kill(self):
        """End it at once."""
        if not self._process:
            return
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self._said.close()
        self._process = self._out = None
        self.busy = False

    def fileno(self):
        return self._out

    # -- lines -----------------------------------------------------------------------------------
    def send(self, job):
        """Give it a job (JSON-able). Raises WorkerDied."""
        self.start()
        self._heard = time.monotonic()
        self.busy = True
        try:
            os.write(self._in, json.dumps(job).encode() + b"\n")
        except BrokenPipeError:
            raise WorkerDied(self._how()) from None

    def lines(self):
        """What has come since: text lines. Call it when the descriptor is readable."""
        data = os.read(self._out, 1 << 16)
        if not data:
            raise WorkerDied(self._how())
        self._heard = time.monotonic()
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [line.decode("utf-8", "replace") for line in whole if line]

    def check(self):
        """Raises WorkerSilent when a job has been going on without a line for too long."""
        if self.busy and time.monotonic() - self._heard > self.silence_s:
            raise WorkerSilent("no answer for %.0f s: it never ends" % self.silence_s)

    def ask(self, job):
        """Do a job and yield its answers as (mark, value), '=' last. Raises RigFailed."""
        self.send(job)
        while True:
            select.select([self], [], [], 0.5)
            self.check()
            if not select.select([self], [], [], 0)[0]:
                continue
            for line in self.lines():
                mark, value = line[0], line[1:]
                yield mark, json.loads(value) if mark in "#!?-=" else value
                if mark == "=":
                    self.busy = False
                    return

    def _how(self):
        """How it ended, with the last words it said."""
        code = self._process.wait()
        self._said.seek(0)
        said = self._said.read()[-600:].decode("utf-8", "replace").strip()
        how = "signal %d" % -code if code < 0 else "exit code %d" % code
        return "the worker ended by itself (%s)%s" % (how, ": " + said if said else "")
