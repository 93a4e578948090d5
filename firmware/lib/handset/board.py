"""The board: its partition, clock, console and resets. Nothing else touches the hardware."""

import gc
import os
import select
import sys
import time
from binascii import hexlify

import esp32
import machine
import micropython

from drybag.errors import NotMountable
from drybag.port import const, random_u32

_Y2024 = 757382400
_FIFO_BYTES = const(128)
_ROOM_BYTES = const(96)  # each look at the register costs heap: its numbers are no small ones
_SLOW_BAUD = const(115200)
_CAUSES = {1: "power on", 2: "hard reset", 3: "watchdog", 4: "deep sleep", 5: "soft reset"}


class Board:
    """One serial line, one `pim` partition, a clock that may not know the time."""

    def __init__(self):
        self.boot = random_u32()
        self._stdin = sys.stdin.buffer
        self._stdout = sys.stdout.buffer
        self._poll = select.poll()
        self._poll.register(sys.stdin, select.POLLIN)
        self._one = bytearray(1)
        self._status = self._byte_us = 0
        self._epoch = 0 if time.gmtime(0)[0] == 2000 else 946684800
        self._started_s = time.time()

    # -- console ------------------------------------------------------------------------------
    def take_console(self):
        """Ctrl-C is a byte like any other from now on: nothing is interrupted half done."""
        micropython.kbd_intr(-1)

    def leave_console(self):
        micropython.kbd_intr(3)

    def read_into(self, buf, wait_ms):
        """Bytes of the console into `buf`, those that are there; waits at most `wait_ms`.

        One by one, because a read of more would wait for all of them. Raises EOFError when the
        console has ended (never on a chip).
        """
        n = 0
        size = len(buf)
        one = self._one
        while n < size:
            for _ in self._poll.ipoll(wait_ms):
                break
            else:
                break
            if not self._stdin.readinto(one):
                raise EOFError
            buf[n] = one[0]
            n += 1
            wait_ms = 0
        return n

    def console_stream(self):
        """What becomes readable when something has come."""
        return self._stdin

    def write(self, data):
        """Bytes to the console as they are: LF stays LF.

        MicroPython sleeps up to 10 ms where one write is longer than what the UART's FIFO of 128
        bytes has room for. At 115200 baud the FIFO lasts that long; at a faster line it does not,
        so there each write is of what fits.
        """
        at = 0
        size = len(data)
        if size > _FIFO_BYTES:
            data = memoryview(data)
        while at < size:
            n = min(size - at, _FIFO_BYTES)
            if self._status:
                n = min(n, self._room(min(n, _ROOM_BYTES)))
            sent = self._stdout.write(data[at : at + n] if n < size else data)
            at += n if sent is None else sent

    def _room(self, least):
        """Bytes that the FIFO has room for, once that are at least so many."""
        while True:
            room = _FIFO_BYTES - (machine.mem32[self._status] >> 16 & 0xFF)
            if room >= least:
                return room
            time.sleep_us((least - room) * self._byte_us)

    def set_baud(self, baud):
        machine.UART(0, baudrate=baud)
        self._status = _uart_status(self.model()) if baud > _SLOW_BAUD else 0
        self._byte_us = 10000000 // baud

    # -- storage and clock --------------------------------------------------------------------
    def partition(self):
        """The partition `pim`. Raises NotMountable if the partition table has none."""
        found = esp32.Partition.find(esp32.Partition.TYPE_DATA, label="pim")
        if not found:
            raise NotMountable(
                "the partition table has no 'pim': write Drybag's own with the firmware"
            )
        return found[0]

    def chip_flash(self):
        """The whole flash of the chip, for reading."""
        return ChipFlash()

    def clock(self):
        """Seconds since 2000-01-01, or 0 while nobody has set the clock."""
        now = time.time() - self._epoch
        return now if now > _Y2024 else 0

    def set_clock(self, seconds):
        """`seconds` since 2000-01-01."""
        t = time.gmtime(seconds + self._epoch)
        before = time.time()
        machine.RTC().datetime((t[0], t[1], t[2], t[6], t[3], t[4], t[5], 0))
        self._started_s += time.time() - before

    def civil(self, seconds):
        """(year, month, day, hour, minute, second) of seconds since 2000-01-01."""
        return time.gmtime(seconds + self._epoch)[:6]

    def seconds(self, civil):
        """Seconds since 2000-01-01 of (year, month, day, hour, minute, second)."""
        return int(time.mktime(tuple(civil) + (0, 0))) - self._epoch

    def ticks_ms(self):
        return time.ticks_ms()

    def since_ms(self, ticks):
        """Of use for 6 days: ticks of a chip have 30 bits."""
        return time.ticks_diff(time.ticks_ms(), ticks)

    def ago_ms(self, ms):
        """The ticks of so many ms ago."""
        return time.ticks_add(time.ticks_ms(), -ms)

    def uptime_s(self):
        """Seconds since the start. By the clock, as ticks wrap: set_clock() moves it too."""
        return time.time() - self._started_s

    # -- identity and state -------------------------------------------------------------------
    def identity(self):
        return hexlify(machine.unique_id()).decode()

    def name(self):
        return "drybag-" + self.identity()[-6:]

    def model(self):
        return getattr(sys.implementation, "_machine", sys.platform)

    def micropython(self):
        return ".".join([str(n) for n in sys.implementation.version[:3]])

    def hardware(self):
        """What BOARD answers: chip's flash in bytes (0: not known), partition table, version."""
        table = []
        for kind in (esp32.Partition.TYPE_APP, esp32.Partition.TYPE_DATA):
            for part in esp32.Partition.find(kind):
                kind, subtype, offset, size, label, _ = part.info()
                table.append((label, kind, subtype, offset, size))
        size = ChipFlash().size_bytes
        try:
            with open("/lib/handset/version") as file:
                version = file.read().strip()
        except OSError:
            version = ""
        return {"flash_bytes": size, "partitions": table, "drybag": version}

    def reset_cause(self):
        return _CAUSES.get(machine.reset_cause(), "unknown")

    def heap_free(self):
        return gc.mem_free()

    def random(self, n):
        return os.urandom(n)

    def restart(self):
        """Soft reset: does not return."""
        machine.soft_reset()


def _uart_status(model):
    """Address of UART0's status register, with the bytes in its FIFO in bits 16 to 23; or 0."""
    for chip, address in (
        ("ESP32S2", 0x3F40001C), ("ESP32S3", 0x6000001C), ("ESP32C3", 0x6000001C),
        ("ESP32C6", 0x6000001C), ("ESP32", 0x3FF4001C),
    ):  # fmt: skip
        if model.endswith(chip):
            return address
    return 0


class ChipFlash:
    """All of the flash as a block device that is only read; no sectors where `esp` is not."""

    def __init__(self):
        try:
            import esp

            self.size_bytes = esp.flash_size()
            self._read = esp.flash_read
        except (ImportError, AttributeError):
            self.size_bytes = 0

    def readblocks(self, sector, buf, offset=0):
        self._read(sector * 4096 + offset, buf)

    def ioctl(self, what, _):
        return self.size_bytes // 4096 if what == 4 else None
