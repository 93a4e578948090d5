"""Handsets for tests of the link: in this process with a clock of their own, and bad lines.

The one in this process is the firmware's own application and the real journal on an emulated NOR
flash; only `handset.board` is replaced. Time stands still but for what the tests and reads spend,
so that patience costs nothing and every run is the same.
"""

import random
from collections import deque

from drybag_host.emulator.rom.nor import NorFlash, NorPartition
from handset.app import App


class Clock:
    """Stands for the module `time` in drybag_host.linkline and drybag_host.link."""

    def __init__(self):
        self.now_s = 1000.0

    def monotonic(self):
        return self.now_s

    def time(self):
        return 1.8e9 + self.now_s

    def sleep(self, seconds):
        self.now_s += max(seconds, 0.0001)  # time always moves, whatever floats round to

    @classmethod
    def install(cls, monkeypatch):
        from drybag_host import link, linkline

        clock = cls()
        monkeypatch.setattr(link, "time", clock)
        monkeypatch.setattr(linkline, "time", clock)
        return clock


class SimBoard:
    """What handset.board.Board is on a chip. `to_board`, `from_board`: bytes on the line."""

    boots = 0

    def __init__(self, clock, size_bytes=1 << 20, device=None):
        SimBoard.boots += 1
        self.boot = 4000000000 + SimBoard.boots
        self._clock = clock
        self.device = device or NorPartition(NorFlash(size_bytes), 0, size_bytes)
        self.to_board = deque()
        self.from_board = bytearray()
        self.bauds = []
        self._time = 0

    def read_into(self, buf, wait_ms):
        n = 0
        while n < len(buf) and self.to_board:
            buf[n] = self.to_board.popleft()
            n += 1
        return n

    def write(self, data):
        self.from_board += bytes(data)

    def set_baud(self, baud):
        self.bauds.append(baud)

    def partition(self):
        return self.device

    def chip_flash(self):
        return self.device

    def clock(self):
        return self._time

    def set_clock(self, seconds):
        self._time = seconds

    def civil(self, seconds):
        import datetime

        at = datetime.datetime(2000, 1, 1) + datetime.timedelta(seconds=seconds)
        return (at.year, at.month, at.day, at.hour, at.minute, at.second)

    def seconds(self, civil):
        import datetime

        return int((datetime.datetime(*civil) - datetime.datetime(2000, 1, 1)).total_seconds())

    def ticks_ms(self):
        return int(self._clock.now_s * 1000)

    def since_ms(self, ticks):
        return self.ticks_ms() - ticks

    def ago_ms(self, ms):
        return self.ticks_ms() - ms

    def uptime_s(self):
        return 0

    def identity(self):
        return "0011aabbccdd"

    def name(self):
        return "drybag-bbccdd"

    def model(self):
        return "a simulated board"

    def micropython(self):
        return "0.0.0"

    def hardware(self):
        return {"flash_bytes": 0, "partitions": [], "drybag": "0"}

    def reset_cause(self):
        return "power on"

    def heap_free(self):
        return 100000

    def random(self, n):
        return random.randbytes(n)


class SimHandset:
    """A handset in this process, and the console to it."""

    name = "sim"

    def __init__(self, clock, size_bytes=1 << 20):
        self.clock = clock
        self.board = SimBoard(clock, size_bytes)
        self.written = 0
        self.most_unread = 0
        self.start()

    def start(self):
        self.app = App(self.board)
        self.app.mount()
        self.app.person.greet()

    def reboot(self):
        """Power off and on: all but the flash is forgotten."""
        self.board = SimBoard(self.clock, device=self.board.device)
        self.start()

    def read(self, timeout_s=0.0):
        deadline = self.clock.now_s + timeout_s
        while True:
            self.app.turn(0)
            if self.board.from_board:
                data = bytes(self.board.from_board[:512])
                del self.board.from_board[:512]
                return data
            if self.clock.now_s >= deadline:
                return b""
            self.clock.now_s += 0.01

    def write(self, data):
        self.written += len(data)
        self.board.to_board.extend(data)
        self.most_unread = max(self.most_unread, len(self.board.to_board))

    def close(self):
        pass


class BootingHandset(SimHandset):
    """One with power since now: its code loads, its journal opens, and behind it is a REPL.

    `loads_s`: Ctrl-C interrupts meanwhile; `opens_s`: from then on it is a byte like any other.
    `heard`: somebody listened when it said so. `starts`: how often the application began.
    """

    def __init__(self, clock, loads_s, opens_s, heard):
        self._times_s, self._says = (loads_s, opens_s), heard
        self.starts = 0
        super().__init__(clock)

    def start(self):
        self.app, self.at_repl = None, False
        self.starts += 1
        self._loaded_s = self.clock.now_s + self._times_s[0]
        self._open_s = self._loaded_s + self._times_s[1]
        self._opening = False

    def _stops(self):
        self.app, self.at_repl = None, True
        self.board.write(b"\r\nDrybag has stopped.\r\nMicroPython\r\n>>> ")

    def _turn(self):
        if self.at_repl:
            while self.board.to_board and self.at_repl:
                self._typed(self.board.to_board.popleft())
        elif self.app is not None:
            self.app.turn(0)
            if self.app.leaving:
                self._stops()
        elif self.clock.now_s >= self._open_s:
            super().start()
        elif self.clock.now_s >= self._loaded_s and not self._opening:
            self._opening = True
            if self._says:
                self.board.write(b"Drybag opens the journal ...\r\n")

    def _typed(self, c):
        if c == 4:
            self._times_s, self._says = (0.5, 0.1), True  # it is formatted by now
            self.board.write(b"\r\nMPY: soft reboot\r\n")
            self.start()
        else:
            self.board.write(b"\r\n>>> " if c in (2, 3, 13) else bytes((c,)))

    def read(self, timeout_s=0.0):
        deadline = self.clock.now_s + timeout_s
        while True:
            self._turn()
            if self.board.from_board:
                data = bytes(self.board.from_board)
                self.board.from_board.clear()
                return data
            if self.clock.now_s >= deadline:
                return b""
            self.clock.now_s += 0.03

    def write(self, data):
        loads = self.app is None and not self.at_repl and self.clock.now_s < self._loaded_s
        if loads and 3 in data:
            before, _, data = bytes(data).rpartition(b"\x03")
            super().write(before.replace(b"\x03", b""))
            self._stops()
        super().write(data)


class NoisyLine:
    """A console that now and then flips, drops, doubles or inserts a byte, both ways.

    `every`: bytes between two faults on average.
    """

    def __init__(self, console, seed, every):
        self._console = console
        self._random = random.Random(seed)
        self.every = every
        self.name = console.name
        self.faults = 0
        self.close = console.close

    def _spoil(self, data):
        out = bytearray()
        for c in data:
            fault = self._random.randrange(self.every * 4)
            self.faults += fault < 4
            if fault == 0:
                out.append(c ^ 1 << self._random.randrange(8))
            elif fault == 1:
                pass
            elif fault == 2:
                out += bytes((c, c))
            elif fault == 3:
                out += bytes((self._random.randrange(256), c))
            else:
                out.append(c)
        return bytes(out)

    def read(self, timeout_s=0.0):
        return self._spoil(self._console.read(timeout_s))

    def write(self, data):
        self._console.write(self._spoil(data))


class CutLine:
    """A console whose cable is pulled after so many bytes read or written (None: never)."""

    def __init__(self, console, read=None, written=None):
        self._console = console
        self._left = [read, written]
        self.name = console.name

    def _spend(self, way, n):
        if self._left[way] is not None:
            self._left[way] -= n
            if self._left[way] < 0:
                raise OSError(5, "Input/output error")

    def read(self, timeout_s=0.0):
        data = self._console.read(timeout_s)
        self._spend(0, len(data))
        return data

    def write(self, data):
        self._spend(1, len(data))
        self._console.write(data)

    def close(self):
        self._console.close()


class FarEnd:
    """Something that is no handset: what is written is answered with `answer(data)`."""

    name = "/dev/ttyUSB7"

    def __init__(self, clock, answer):
        self._clock = clock
        self._answer = answer
        self._said = b""

    def read(self, timeout_s=0.0):
        self._clock.sleep(timeout_s)
        said, self._said = self._said, b""
        return said

    def write(self, data):
        self._said += self._answer(data)

    def close(self):
        pass
