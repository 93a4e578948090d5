"""One background process a board: power, resets, console, and what outlives the processor.

Started by `EmulatedBoard`; obeys JSON lines on the socket `control`; writes `state.json`. If it
dies, the processor dies with it and the image stays as it is.
"""

import json
import os
import select
import signal
import socket
import sys
import time
from collections import deque

from .console import Console
from .files import NO_FAULTS, clear_under_way, read_counters, read_json, write_json
from .first_stage import refusal
from .netfaults import FaultNet
from .processor import Processor
from .rom.nor import NorFlash

PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5
# What the modules in rom/ take of it: their code, and with their 500 names a larger pool of
# names than an application has without them.
_ROM_HEAP_BYTES = 78 * 1024
_CRASHES_IN_A_ROW = 5
_CRASH_S = 1.0
_RESETS_A_SECOND = 10
_BREATH_S = 0.2
_LOOP_S = 0.3  # between two tries of a chip that finds nothing to start


def _fell(op, address, state):
    """Where a cut fell: a command, its address in the flash, its torn state; Nones if between."""
    return {"op": op, "address": address, "state": state}


class Supervisor:
    def __init__(self, folder, lock_fd, image_fd):
        self.folder = folder
        self._lock_fd = lock_fd
        self._image_fd = image_fd
        self._chip = read_json(folder + "/chip.json", None)
        self._faults = read_json(folder + "/faults.json", NO_FAULTS)
        self._counters_path = folder + "/counters"
        rom = os.path.join(os.path.dirname(os.path.abspath(__file__)), "rom")
        heap_bytes = self._chip["heap_kib"] * 2048 + _ROM_HEAP_BYTES
        self._processor = Processor(rom, heap_bytes, os.environ.get("DRYBAG_MICROPYTHON"))
        self.console = Console(self._processor.interrupt)
        self._messages, self._messages_in = os.pipe()
        os.set_blocking(self._messages, False)
        self._control = self._listen()
        self._counters_fd = os.open(self._counters_path, os.O_RDWR | os.O_CREAT, 0o644)
        self._air_fd = os.open(folder + "/wifi", os.O_RDONLY)
        self._net = FaultNet(
            carries=lambda: os.pread(self._air_fd, 1, 0) == b"1",
            on_change=self._save_net,
            state=read_json(folder + "/net.json", None),
        )
        self._router = self._net.answer_routes()
        self._power = False
        self._why_off = "not started"
        self._fell = None
        self._boots = read_json(folder + "/state.json", {}).get("boots", 0)
        self._cut = (0, None, 0)
        self._timing = False
        self._trace = None
        self._crashes = 0
        self._running = True
        self._resets = deque(maxlen=_RESETS_A_SECOND)
        self._reset_chip_state()

    def _reset_chip_state(self):
        """What a loss of power wipes."""
        self._clock_offset_us = -time.monotonic_ns() // 1000
        self._rtc_memory = ""
        self._boot_later = None
        self._watchdog_at = None
        self._pending = b""
        self._held = False

    def _listen(self):
        folder_fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.unlink(self.folder + "/control")
        except FileNotFoundError:
            pass
        control = socket.socket(socket.AF_UNIX)
        control.bind("/proc/self/fd/%d/control" % folder_fd)  # AF_UNIX paths are short
        os.close(folder_fd)
        control.listen(8)
        control.setblocking(False)
        return control

    def state(self):
        return {
            "power": "on" if self._power else "off",
            "held": self._held,
            "why_off": None if self._power else self._why_off,
            "pid": os.getpid(),
            "pty": self.console.path,
            "boots": self._boots,
            "cut": None if self._power else self._fell,
            "net": self._net.state,
        }

    def save_state(self):
        write_json(self.folder + "/state.json", self.state())

    # -- power --------------------------------------------------------------------------------
    def power_on(self, cut_at=None, cut_state=None, seed=None, timing=False, baud=None,
                 trace=None):  # fmt: skip
        self._reset_chip_state()
        self.console.power_off()
        commands = read_counters(self._counters_path)[0]["commands"]
        self._cut = (commands + cut_at if cut_at else 0, cut_state, seed or 1)
        self._timing = timing
        self._trace = trace
        self.console.baud = baud
        self._power = True
        self._fell = None
        self._crashes = 0
        self._boot(PWRON_RESET)

    def power_off(self, why, seed=None):
        """At whatever the chip is doing: a flash command under way is left torn."""
        self._kill()
        if not self._power:
            return
        self._power = False
        self._why_off = why
        _, under_way = read_counters(self._counters_path)
        if under_way:
            self._tear(under_way, self._boots if seed is None else seed)
        elif self._fell is None:
            self._fell = _fell(None, None, None)
        if why.startswith(("rule", "panic")):
            self.console.say(("\r\n%s\r\n" % why).encode())
        else:
            self.console.power_off()
        self._reset_chip_state()
        self.save_state()

    def _kill(self):
        """End the processor; of its last words those count that outlive it."""
        self._net.silence()
        self._processor.kill()
        self._read_messages(dead=True)
        self.console.listening = False

    def _tear(self, command, seed):
        with open(os.dup(self._image_fd), "r+b", buffering=0) as image:
            flash = NorFlash(self._chip["flash_bytes"], image)
            flash.restore_faults(self._faults)
            state = flash.tear(*command, seed=seed)
        self._fell = _fell(command[0], command[1], state)
        self._set_faults(flash.fault_state())
        clear_under_way(self._counters_path)

    def hold(self):
        """The processor runs nothing of the flash, as while EN is low or in the ROM's loader."""
        self._kill()
        self.console.read_child()
        clear_under_way(self._counters_path)
        self._boot_later = self._watchdog_at = None
        self._held = True

    def _boot(self, cause, run_main=True, enter_raw=False):
        self._net.wake()
        self._held = False
        self._boot_later = None
        words = refusal(lambda at, n: os.pread(self._image_fd, n, at), self._chip.get("chip"))
        if words:
            self.save_state()
            self.console.say(words)
            self._boot_later = (time.monotonic() + _LOOP_S, WDT_RESET, run_main, enter_raw)
            return
        self._boots += 1
        self.save_state()
        self._started_at = time.monotonic()
        self._watchdog_at = None
        self._pending = b""
        self.console.restart(enter_raw)
        counters = read_counters(self._counters_path)[0]
        cut_at, cut_state, cut_seed = self._cut
        config = {
            "flash_bytes": self._chip["flash_bytes"],
            "machine": self._chip["machine"],
            "freq_hz": self._chip["freq_hz"],
            "unique_id": self._chip["unique_id"],
            "reset_cause": cause,
            "run_main": run_main,
            "clock_offset_us": self._clock_offset_us,
            "rtc_memory": self._rtc_memory,
            "timing": self._timing,
            "trace": self._trace,
            "cut_at": cut_at,
            "cut_state": cut_state,
            "cut_seed": cut_seed,
            "seed": self._boots,
            "faults": self._faults,
            "router": self._router,
            "counters": [counters[name] for name in list(counters)[:7]],
        }
        stdio = self.console.child_slave
        self._processor.spawn(
            stdio, self._image_fd, self._messages_in, self._counters_fd, self._air_fd, config
        )

    def reset(self, cause, run_main=True, enter_raw=False):
        """The processor starts again; the flash chip stays powered."""
        self._kill()
        self.console.read_child()
        clear_under_way(self._counters_path)
        if cause == SOFT_RESET:
            self.console.say(b"MPY: soft reboot\r\n")
        now = time.monotonic()
        hasty = len(self._resets) == _RESETS_A_SECOND and now - self._resets[0] < 1.0
        self._resets.append(now)
        if hasty:  # a board that resets itself for ever must not take the host's processor
            self._boot_later = (now + _BREATH_S, cause, run_main, enter_raw)
        else:
            self._boot(cause, run_main, enter_raw)

    # -- what the processor says --------------------------------------------------------------
    def _read_messages(self, dead=False):
        while True:
            try:
                self._pending += os.read(self._messages, 65536)
            except BlockingIOError:
                return
            *lines, self._pending = self._pending.split(b"\n")
            for line in lines:
                word, _, rest = line.decode().partition(" ")
                if not self._keep(word, rest) and not dead:
                    self._obey_chip(word, rest)

    def _keep(self, word, rest):
        """What outlives the processor. False if it is something else."""
        if word == "faults":
            self._set_faults(json.loads(rest))
        elif word == "clock":
            self._clock_offset_us = int(rest)
        elif word == "rtc_memory":
            self._rtc_memory = rest
        elif word == "cut" and rest:
            op, address, state = rest.split()
            self._fell = _fell(op, int(address), state)
            return False
        else:
            return False
        return True

    def _obey_chip(self, word, rest):
        if word == "up":
            self.console.listen()
        elif word == "repl":
            self.console.read_child()
            self.console.repl_reached()
            self._crashes = 0
        elif word == "wdt":
            self._watchdog_at = time.monotonic() + int(rest) / 1000
        elif word == "baud":
            if self.console.baud:
                self.console.baud = int(rest)
        else:
            self._stop_or_reset(word, rest)

    def _stop_or_reset(self, word, rest):
        if word == "reset":
            self.reset(HARD_RESET)
        elif word == "soft":
            self.reset(SOFT_RESET)
        elif word == "deepsleep":
            self._kill()
            self.console.read_child()
            self._watchdog_at = None
            if int(rest) >= 0:
                self._boot_later = (time.monotonic() + int(rest) / 1000, DEEPSLEEP_RESET)
        elif word in ("cut", "rule", "panic"):
            self.power_off(word if word == "cut" else "%s: %s" % (word, rest))

    def _set_faults(self, faults):
        self._faults = faults
        write_json(self.folder + "/faults.json", faults)

    def _save_net(self, state):
        write_json(self.folder + "/net.json", state)

    def _processor_ended(self, how):
        """A soft reset (Ctrl-D ends the process) or a crash."""
        self.console.read_child()
        self._read_messages()
        if self._processor.pid is not None or not self._power:
            return
        quick = time.monotonic() - self._started_at < _CRASH_S and not self.console.at_repl
        self._crashes = self._crashes + 1 if quick or how < 0 else 0
        if self._crashes >= _CRASHES_IN_A_ROW:
            self.power_off("panic: the processor ended %d times (%d)" % (self._crashes, how))
        elif how < 0:
            self.console.say(b"\r\npanic: processor ended by signal %d\r\n" % -how)
            self.reset(WDT_RESET)
        else:
            raw = self.console.raw
            self.reset(SOFT_RESET, run_main=not raw, enter_raw=raw)

    # -- what the host asks -------------------------------------------------------------------
    def _answer(self):
        try:
            peer, _ = self._control.accept()
        except BlockingIOError:
            return
        with peer:
            peer.settimeout(2)
            try:
                request = json.loads(peer.makefile("rb").readline() or b"{}")
                reply = self._do(request)
                peer.sendall(json.dumps(reply).encode() + b"\n")
            except (OSError, ValueError):
                return

    def _do(self, request):
        verb = request.pop("do", None)
        if verb == "power_on":
            if self._power:
                return {"error": "already"}
            self.power_on(**request)
        elif verb == "power_off":
            if not self._power:
                return {"error": "off"}
            self.power_off("power off", request.get("seed"))
        elif verb == "reset":
            if not self._power:
                return {"error": "off"}
            self.console.power_off()
            self.reset(PWRON_RESET)
        elif verb == "hold":
            if not self._power:
                return {"error": "off"}
            self.hold()
        elif verb == "stop":
            self.power_off("stopped")
            self._running = False
        elif verb == "faults":
            if self._power and not self._held:
                return {"error": "already"}
            self._set_faults(request["faults"])
        elif verb == "net":
            self._net.set(request["state"])
            self._save_net(request["state"])
        elif verb != "state":
            return {"error": "unknown request"}
        return self.state()

    # -- the loop -----------------------------------------------------------------------------
    def _timers(self):
        now = time.monotonic()
        if self._boot_later and now >= self._boot_later[0]:
            self._boot(*self._boot_later[1:])
        if self._watchdog_at is not None and now >= self._watchdog_at:
            self._watchdog_at = None
            self.reset(WDT_RESET)
        moments = (self._boot_later and self._boot_later[0], self._watchdog_at)
        waits = [max(0.0, at - now) for at in moments if at is not None]
        waits += [s for s in (self.console.wait_s(), self._net.wait_s()) if s is not None]
        return min(waits, default=None)

    def run(self):
        child_wakes, child_ends = os.pipe()
        for fd in (child_wakes, child_ends):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(child_ends)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while self._running:
            wait_s = self._timers()
            fds = [child_wakes, self._messages, self._control.fileno(), *self.console.readers()]
            fds += self._net.readers()
            writers = self.console.writers() + self._net.writers()
            readable, writable, _ = select.select(fds, writers, [], wait_s)
            self.console.handle(readable, writable, self._power)
            self._net.handle(readable, writable)
            if self._messages in readable:
                self._read_messages()
            if child_wakes in readable:
                os.read(child_wakes, 4096)
            how = self._processor.ended()
            if how is not None:
                self._processor_ended(how)
            if self._control.fileno() in readable:
                self._answer()
        os.unlink(self.folder + "/control")


def main():
    """`folder lock_fd image_fd ready_fd power_on-request`: detach, run until told to stop."""
    folder = sys.argv[1]
    lock_fd, image_fd, ready_fd = (int(word) for word in sys.argv[2:5])
    if os.fork():
        os._exit(0)
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    supervisor = Supervisor(folder, lock_fd, image_fd)
    import micropython_run  # noqa: F401  loaded once, so that a boot is only a fork

    supervisor.power_on(**json.loads(sys.argv[5]))
    os.write(ready_fd, b"ready")
    os.close(ready_fd)
    supervisor.run()
