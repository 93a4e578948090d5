"""The handset's application in this process: long uptimes, a heap that is full in a write."""

import importlib
import sys
import types
from unittest.mock import Mock

import pytest
from handset_lines import Clock, SimBoard, SimHandset

from drybag import layout
from drybag.errors import DrybagError, JournalClosed

PERIOD_MS = 1 << 30  # of a chip's ticks
DAY_S = 86400
FIFO_BYTES = 128
STATUS = {"ESP32": 0x3FF4001C, "ESP32S3": 0x6000001C, "ESP32C3": 0x6000001C}


def diff(a, b):
    return ((a - b + PERIOD_MS // 2) & (PERIOD_MS - 1)) - PERIOD_MS // 2


class ChipTime:
    """What handset.board uses of `time`, as an ESP32 has it."""

    def __init__(self):
        self.now_ms = 900_000_000
        self.set_s = 0

    def ticks_ms(self):
        return self.now_ms & (PERIOD_MS - 1)

    def ticks_diff(self, a, b):
        return diff(a, b)

    def ticks_add(self, a, ms):
        return (a + ms) & (PERIOD_MS - 1)

    def time(self):
        return self.set_s + self.now_ms // 1000

    def sleep_us(self, us):
        assert us > 0

    def gmtime(self, seconds):
        return (2000, 1, 1, 0, 0, 0, 0, seconds)

    def datetime(self, civil):
        self.set_s = 800_000_000


@pytest.fixture
def board(monkeypatch):
    now = ChipTime()
    chip = types.SimpleNamespace(RTC=lambda: now, UART=lambda *_, **__: None)
    for name, module in (("esp32", None), ("machine", chip), ("micropython", None)):
        monkeypatch.setitem(sys.modules, name, module or types.ModuleType(name))
    monkeypatch.delitem(sys.modules, "handset.board", raising=False)
    board = importlib.import_module("handset.board")
    monkeypatch.setattr(board, "time", now)
    monkeypatch.setattr(board, "select", Mock())
    yield board.Board(), now
    sys.modules.pop("handset.board", None)


def test_uptime_grows_for_ever_and_whatever_the_clock_is_set_to(board):
    """Sync counts by it when it is due next: it must not go back after 6 days."""
    board, now = board
    assert board.uptime_s() == 0
    now.now_ms += 3000
    board.set_clock(800_000_000)
    assert board.clock() and board.uptime_s() == 3
    for day in range(1, 31):
        now.now_ms += DAY_S * 1000
        assert board.uptime_s() == 3 + day * DAY_S


class Uart:
    """stdout, FIFO and status register of a chip; a byte leaves at each look at the register."""

    def __init__(self, address):
        self.address = address
        self.fifo = self.longest = self.slept = 0
        self.sent = bytearray()

    def __getitem__(self, address):
        assert address == self.address
        self.fifo = max(0, self.fifo - 1)
        return 0xE0000000 | self.fifo << 16 | 0x0B

    def write(self, data):
        self.longest = max(self.longest, len(data))
        self.slept += len(data) > FIFO_BYTES - self.fifo
        self.fifo = min(FIFO_BYTES, self.fifo + len(data))
        self.sent += data
        return len(data)


def fast(board, uart, chip, baud):
    """The board on that chip, at that speed, with `uart`."""
    sys.modules["machine"].mem32 = board._stdout = uart
    board.model = lambda: "Some board with " + chip
    board.set_baud(baud)


@pytest.mark.parametrize("chip", STATUS)
@pytest.mark.parametrize("size", [1, 128, 129, 2060])
def test_writes_to_a_fast_line_never_sleep(board, chip, size):
    """MicroPython sleeps a tick of 10 ms where a write is longer than the FIFO has room for."""
    uart = Uart(STATUS[chip])
    fast(board[0], uart, chip, 921600)
    data = bytes(n % 251 for n in range(size))
    for _ in range(3):
        board[0].write(data)
    assert uart.sent == 3 * data and uart.slept == 0


@pytest.mark.parametrize("chip, baud", [("ESP32", 115200), ("ESP32", 9600), ("ESP32H9", 2000000)])
def test_writes_where_the_fifo_lasts_or_is_not_known(board, chip, baud):
    uart = Uart(None)
    fast(board[0], uart, chip, baud)
    data = bytes(range(250)) * 8
    board[0].write(data)
    board[0].write(memoryview(data)[:5])
    assert uart.sent == data + data[:5] and uart.longest == FIFO_BYTES


class WrappingBoard(SimBoard):
    def ticks_ms(self):
        return super().ticks_ms() & (PERIOD_MS - 1)

    def ago_ms(self, ms):
        return (self.ticks_ms() - ms) & (PERIOD_MS - 1)

    def since_ms(self, ticks):
        return diff(self.ticks_ms(), ticks)


def test_who_was_silent_for_days_stays_silent():
    """Else sync would wait for days: it looks for networks only while nobody is at work."""
    clock = Clock()
    handset = SimHandset(clock)
    handset.board = WrappingBoard(clock, device=handset.board.device)
    handset.start()
    app = handset.app
    for _ in range(20 * 24):
        clock.now_s += 3600
        app.turn(0)
        assert app.quiet_ms() >= 3600_000 and app.unasked_ms() >= 3600_000
    handset.board.to_board += b"x"
    app.turn(0)
    assert app.quiet_ms() < 1000


def test_a_heap_that_is_full_in_a_write_is_no_end(monkeypatch):
    """The journal is opened again at once: what is read then is what is on the flash."""
    handset = SimHandset(Clock())
    app, old = handset.app, handset.app.journal
    old.put(layout.NOTE, b"a", b"1\n")
    writer = old.blob_writer(bytes(32), 9000)
    with monkeypatch.context() as patch:
        patch.setattr(old._log.index, "load", full)
        with pytest.raises(MemoryError) as caught:
            old.put(layout.NOTE, b"b", b"2\n")
    error = app.failed(caught.value)
    assert isinstance(error, DrybagError) and "out of memory" in str(error)
    assert app.journal is not old
    assert [r.uid for r in app.journal.records()] == [b"a", b"b"]  # committed, though not told
    app.journal.put(layout.NOTE, b"c", b"3\n")
    with pytest.raises(JournalClosed):
        writer.write(bytes(9000))


def full(*args):
    raise MemoryError


def test_one_that_was_mounted_again_lets_nobody_write_through_the_old():
    """An error in reading (no memory of a write at fault) mounts it again too."""
    handset = SimHandset(Clock())
    app, old = handset.app, handset.app.journal
    app.failed(OSError(5))
    assert app.journal is not old and app.journal is not None
    before = bytes(handset.board.device.nor._store._view)
    for write in (lambda: old.put(layout.NOTE, b"a", b"1\n"), old.checkpoint):
        with pytest.raises(JournalClosed, match="again"):
            write()
    old.close()
    assert bytes(handset.board.device.nor._store._view) == before
