"""The board's serial line: two ptys and the bytes between them.

What the chip's UART and USB bridge do happens here: Ctrl-C interrupts running code, nobody
listening means that output is lost. A line paced to a baud rate has the chip's ring of 260 bytes
too: what comes while it is full is lost.
"""

import fcntl
import os
import pty
import termios
import time
import tty

_CHUNK_BYTES = 4096
_QUEUE_BYTES = 16384
_UART_RING_BYTES = 260
_NOBODY_LISTENS_S = 2.0
_RAW_BANNER = b"raw REPL; CTRL-B to exit\r\n>"
_FRIENDLY_BANNER = b'Type "help()" for more information.\r\n'
_PROMPT = b">>> "
_TEXT_CONTROLS = b"\t\n\r\x1b\b"


def _open_pty():
    master, slave = pty.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    return master, slave


class Console:
    """`path` is the pty for the host's programs; `child_slave` is the board's stdin and stdout.

    `interrupt()`, called at Ctrl-C, returns True when the running code took it.
    """

    def __init__(self, interrupt):
        self.host, self._host_slave = _open_pty()
        self.child, self.child_slave = _open_pty()
        self.path = os.ttyname(self._host_slave)
        self.baud = None
        self._interrupt = interrupt
        self._to_child = bytearray()
        self._to_host = bytearray()
        self._stuck_since = None
        self._last_paced = time.monotonic()
        self._budget = {"child": 0.0, "host": 0.0}
        self._waiting = 0
        self._tail = b""
        self.raw = False
        self.restart(False)

    def restart(self, enter_raw):
        """A new processor listens. `enter_raw`: bring it back to the raw REPL."""
        self._enter_raw = enter_raw
        self._tail = b""
        self.raw = False
        self.listening = False
        self.at_repl = False

    def listen(self):
        """The board's code runs: what came meanwhile reaches it now."""
        self.listening = True
        early = bytes(self._to_child)
        self._to_child.clear()
        self._from_host(early)

    def power_off(self):
        """What the chip has not read is gone, and what a paced line had still to carry."""
        self.read_child()
        self._to_child.clear()
        if self.baud:
            self._to_host.clear()
        termios.tcflush(self.child_slave, termios.TCIFLUSH)

    def say(self, text):
        """What the chip itself prints."""
        self._to_host += text

    # -- the loop's questions -----------------------------------------------------------------
    def readers(self):
        fds = []
        if len(self._to_child) < _QUEUE_BYTES:
            fds.append(self.host)
        if len(self._to_host) < _QUEUE_BYTES:
            fds.append(self.child)
        return fds

    def writers(self):
        fds = []
        if self._to_host and self._allowance("host"):
            fds.append(self.host)
        if self._to_child and self.listening and self._allowance("child"):
            fds.append(self.child)
        return fds

    def wait_s(self):
        """How soon the loop must come back, None if only events matter."""
        if self.baud and (self._to_host or self._to_child):
            return 0.005
        return 0.25 if self._to_host else None

    def handle(self, readable, writable, has_power):
        if self.host in readable:
            data = self._read(self.host)
            if has_power:
                self._from_host(data)
        if self.child in readable:
            self.read_child()
        self._pace()
        if self._to_child and self.listening:
            self._send("child", self.child, self._to_child)
        if self._to_host:
            self._send_to_host()
        self._waiting = len(self._to_host)

    # -- towards the board --------------------------------------------------------------------
    def _from_host(self, data):
        """Queue for the board; Ctrl-C while code runs is an interrupt and no byte."""
        while data:
            at = data.find(3)
            if at < 0 or not self.listening:
                self._to_child += data
                return
            self._to_child += data[:at]
            self._send("child", self.child, self._to_child)
            if not self._interrupt():
                self._to_child.append(3)
            data = data[at + 1 :]

    # -- towards the host ---------------------------------------------------------------------
    def read_child(self):
        """Take all the board has written so far."""
        while True:
            data = self._read(self.child)
            if not data:
                return
            self._watch(data)
            if self.at_repl and not self.raw:
                data = _with_returns(data)
            self._to_host += data
            if len(self._to_host) >= _QUEUE_BYTES:
                return

    def _watch(self, data):
        """Learn from the board's output which REPL it is in."""
        seen = self._tail + data
        raw_at, friendly_at = seen.rfind(_RAW_BANNER), seen.rfind(_FRIENDLY_BANNER)
        if raw_at >= 0 or friendly_at >= 0:
            self.raw = raw_at > friendly_at
        if self._enter_raw and self.at_repl and seen.endswith(_PROMPT):
            self._enter_raw = False
            self._to_child[:0] = b"\x01"
        self._tail = seen[-64:] if raw_at < 0 and friendly_at < 0 else seen[-4:]

    def repl_reached(self):
        """The board has run its files and now reads commands."""
        self.at_repl = True
        self._watch(b"")

    def _send_to_host(self):
        if self._send("host", self.host, self._to_host) or not self._to_host:
            self._stuck_since = None
            return
        now = time.monotonic()
        if self._stuck_since is None:
            self._stuck_since = now
        elif now - self._stuck_since > _NOBODY_LISTENS_S:
            self._to_host.clear()
            termios.tcflush(self._host_slave, termios.TCIFLUSH)
            self._stuck_since = now

    # -- bytes --------------------------------------------------------------------------------
    def _read(self, fd):
        try:
            return os.read(fd, _CHUNK_BYTES)
        except (BlockingIOError, InterruptedError):
            return b""

    def _send(self, way, fd, queue):
        n = self._allowance(way)
        if not n or not queue:
            return 0
        data = queue[:n]
        if self.baud and way == "child":
            lost = len(data) - max(0, _UART_RING_BYTES - self._unread_by_board())
            if lost > 0:  # the ring is full: the chip drops what comes now
                del queue[len(data) - lost : len(data)]
                self._budget[way] -= lost
                data = data[: len(data) - lost]
        try:
            sent = os.write(fd, data) if data else 0
        except (BlockingIOError, InterruptedError):
            return 0
        del queue[:sent]
        if self.baud:
            self._budget[way] -= sent
        return sent

    def _allowance(self, way):
        return int(self._budget[way]) if self.baud else _CHUNK_BYTES

    def _pace(self):
        if not self.baud:
            return
        now = time.monotonic()
        earned = (now - self._last_paced) * self.baud / 10
        self._last_paced = now
        most = max(16, self.baud / 10 * 0.02)
        for way in self._budget:
            # what lay here all the time went on while this process was not asked
            limit = max(most, self._waiting) if way == "host" else most
            self._budget[way] = min(self._budget[way] + earned, limit)

    def _unread_by_board(self):
        """Bytes the board has received and not read yet."""
        raw = fcntl.ioctl(self.child_slave, termios.FIONREAD, b"\0\0\0\0")
        return int.from_bytes(raw, "little")


def _with_returns(data):
    """CR before the lone LF that the C part of the friendly REPL prints, if all of it is text."""
    if b"\n" not in data or any(c < 32 and c not in _TEXT_CONTROLS for c in data):
        return data
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
