"""`machine`: identity, resets, sleep, watchdog, clock; pins and UARTs that lead nowhere."""
# mypy: ignore-errors
# ruff: noqa: F401, I001

from binascii import hexlify, unhexlify
from machine import Signal, idle

import chip
import rom_time

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
DEEPSLEEP_RESET = 4
SOFT_RESET = 5
PIN_WAKE = 2
TIMER_WAKE = 4



class _Registers:
    """Peripherals that have nothing to do: each register reads 0."""

    def __getitem__(self, address):
        return 0

    def __setitem__(self, address, value):
        pass


mem8 = mem16 = mem32 = _Registers()
before_soft_reset = None
_freq_hz = chip.config["freq_hz"]


def unique_id():
    return unhexlify(chip.config["unique_id"])


def reset():
    chip.stop("reset")


def soft_reset():
    before_soft_reset()
    chip.stop("soft")


def reset_cause():
    return chip.config["reset_cause"]


def wake_reason():
    return TIMER_WAKE if reset_cause() == DEEPSLEEP_RESET else 0


def bootloader(timeout=0):
    chip.stop("reset")


def freq(hz=None):
    global _freq_hz
    if hz is None:
        return _freq_hz
    if hz not in (20000000, 40000000, 80000000, 160000000, 240000000):
        raise ValueError("frequency must be 20MHz, 40MHz, 80Mhz, 160MHz or 240MHz")
    _freq_hz = hz


def lightsleep(time_ms=None):
    """Sleep with RAM kept; without a time for ever, as no pin can wake the board."""
    if time_ms is None:
        while True:
            rom_time.sleep_ms(1000)
    rom_time.sleep_ms(time_ms)


def deepsleep(time_ms=None):
    """Power down but for the clock and its memory; the board boots again after `time_ms`."""
    chip.stop("deepsleep %d" % (-1 if time_ms is None else time_ms))


sleep = lightsleep


def disable_irq():
    return 0


def enable_irq(state=0):
    pass


class RTC:
    """The real-time clock and its 2048 bytes of memory: kept by resets and deep sleep."""

    def __init__(self, id=0):
        pass

    def datetime(self, value=None):
        """(year, month, day, weekday, hours, minutes, seconds, microseconds)."""
        if value is None:
            now = chip.now_us()
            t = rom_time.gmtime(now // 1000000)
            return (t[0], t[1], t[2], t[6], t[3], t[4], t[5], now % 1000000)
        secs = rom_time.mktime((value[0], value[1], value[2], value[4], value[5], value[6]))
        chip.set_now_us(secs * 1000000 + value[7])

    def init(self, value):
        """(year, month, day, weekday, hours, minutes, seconds, microseconds)."""
        self.datetime(value)

    def memory(self, data=None):
        if data is None:
            return unhexlify(chip.config["rtc_memory"])
        if len(data) > 2048:
            raise ValueError("buffer too long")
        chip.config["rtc_memory"] = hexlify(data).decode()
        chip.tell("rtc_memory " + chip.config["rtc_memory"])


class WDT:
    """The watchdog: without feed() for `timeout` ms the board resets."""

    def __init__(self, id=0, timeout=5000):
        if id != 0 or timeout <= 0:
            raise ValueError("no such watchdog")
        self._timeout = timeout
        self.feed()

    def feed(self):
        chip.tell("wdt %d" % self._timeout)


class Pin:
    IN = 1
    OUT = 3
    OPEN_DRAIN = 7
    PULL_UP = 2
    PULL_DOWN = 1
    IRQ_RISING = 1
    IRQ_FALLING = 2

    def __init__(self, id, mode=-1, pull=-1, value=None):
        self.id = id
        self._value = (1 if pull == self.PULL_UP else 0) if value is None else int(value)

    def init(self, mode=-1, pull=-1, value=None):
        if value is not None:
            self._value = int(value)

    def value(self, value=None):
        if value is None:
            return self._value
        self._value = int(bool(value))

    __call__ = value

    def on(self):
        self._value = 1

    def off(self):
        self._value = 0

    def irq(self, handler=None, trigger=3):
        pass

    def __repr__(self):
        return "Pin(%d)" % self.id


class UART:
    """Number 0 is the console, whose speed may be set; the others have nobody at the far end."""

    def __init__(self, id, baudrate=115200, **options):
        self.id = id
        self.init(baudrate)

    def init(self, baudrate=115200, **options):
        if self.id == 0:
            chip.tell("baud %d" % baudrate)

    def any(self):
        return 0

    def read(self, n=-1):
        return None

    readline = read

    def readinto(self, buf, n=-1):
        return None

    def write(self, data):
        return len(data)

    def deinit(self):
        pass


class ADC:
    """A pin that measures: the middle of the range."""

    ATTN_0DB = 0
    ATTN_2_5DB = 1
    ATTN_6DB = 2
    ATTN_11DB = 3

    def __init__(self, pin, atten=3):
        pass

    def atten(self, atten):
        pass

    def read_u16(self):
        return 32768

    def read_uv(self):
        return 1650000
