"""The board's processor: one child process which is MicroPython, and its death."""

import ctypes
import fcntl
import json
import os
import signal
import time

_PR_SET_PDEATHSIG = 1
_SPARE_FD = 40
_F_SETSIG = 10
_INTERRUPTS_APART_S = 0.005  # as on the chip, two at once are one
_libc = ctypes.CDLL(None, use_errno=True)


class Processor:
    """Spawns MicroPython on the board's descriptors and ends it as power loss does.

    `program`: a unix port of MicroPython to run, of another version than the one installed.
    """

    def __init__(self, rom_dir, heap_bytes, program=None):
        self._program = program
        self._interrupt = signal.SIGINT if program else signal.SIGUSR1
        self._argv = ["micropython", "-X", "heapsize=%d" % heap_bytes, "-i", rom_dir + "/start.py"]
        self.pid = None
        self._interrupted_at = 0.0

    def spawn(self, stdio, flash, messages, counters, air, config):
        """Start it with `config` (JSON-able) in its environment."""
        environment = json.dumps(config)
        pid = os.fork()
        if pid:
            self.pid = pid
            return
        status = 1
        try:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            os.setsid()
            _arrange(stdio, stdio, stdio, flash, messages, counters, air)
            signal.set_wakeup_fd(-1)
            for number in (
                signal.SIGCHLD,
                signal.SIGINT,
                signal.SIGPIPE,
                signal.SIGTERM,
                signal.SIGHUP,
            ):
                signal.signal(number, signal.SIG_DFL)
            os.chdir("/")
            _interrupt_pipe(7, self._interrupt)
            if self._program:
                os.execve(self._program, self._argv, {"DRYBAG_CHIP": environment})
            os.environ.clear()
            os.environ["DRYBAG_CHIP"] = environment
            import micropython_run

            _take_interrupts(micropython_run.__file__)
            status = micropython_run.run_main(self._argv)
        finally:
            os._exit(status & 0xFF)

    def kill(self):
        """Stop at once: nothing that follows runs, finalisers included."""
        if self.pid is None:
            return
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        self.pid = None

    def ended(self):
        """None while it runs; else how it ended: an exit code, or minus the signal."""
        if self.pid is None:
            return None
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if not pid:
            return None
        self.pid = None
        return os.waitstatus_to_exitcode(status)

    def interrupt(self):
        """Ctrl-C. True if code runs and takes it; else the byte is for the REPL to read."""
        if self.pid is None or not self._catches_interrupt():
            return False
        now = time.monotonic()
        if now - self._interrupted_at > _INTERRUPTS_APART_S:
            self._interrupted_at = now
            os.kill(self.pid, self._interrupt)
        return True

    def _catches_interrupt(self):
        with open("/proc/%d/status" % self.pid, "rb") as f:
            for line in f:
                if line.startswith(b"SigCgt:"):
                    return bool(int(line.split()[1], 16) & (1 << (signal.SIGINT - 1)))
        return False


def _interrupt_pipe(fd, number):
    """`fd` becomes a pipe with one byte in it, `fd` + 1 its other end.

    A byte written there sends the signal `number` to ourselves, see `guarded` in `rom/chip.py`.
    """
    for at, end in enumerate(os.pipe()):
        os.dup2(end, fd + at)
        os.set_inheritable(fd + at, True)
    os.write(fd + 1, b"i")
    fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(fd, _F_SETSIG, number)
    fcntl.fcntl(fd, fcntl.F_SETFL, os.O_ASYNC)


def _take_interrupts(library):
    """Let SIGUSR1 ask for KeyboardInterrupt at the next bytecode, as the chip's UART does.

    The unix port's own SIGINT handler jumps out of whatever C code runs, LittleFS or the
    collector included, which no chip does. A program of its own has no other way, unless its
    configuration sets MICROPY_ASYNC_KBD_INTR to 0.
    """
    handler = ctypes.cast(ctypes.CDLL(library).mp_sched_keyboard_interrupt, ctypes.c_void_p)
    _libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
    _libc.signal.restype = ctypes.c_void_p
    _libc.signal(signal.SIGUSR1, handler)
    _libc.siginterrupt(signal.SIGUSR1, 1)


def _arrange(*fds):
    """Make `fds` 0, 1, 2, ... and close all others."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, _SPARE_FD) for fd in fds]
    for number, fd in enumerate(high):
        os.dup2(fd, number)
    os.closerange(len(fds), 65536)
