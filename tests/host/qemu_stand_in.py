"""A program that stands for `qemu-system-xtensa`: its command line, its sockets, its death.

It runs the handset's application on CPython over the real journal, on the flash file that
`-drive if=mtd` names. Serial line: the socket of `-chardev`; monitor: that of `-qmp`. What comes
before the prompt is lost, and SIGKILL ends it in the middle of whatever it does.

DRYBAG_STAND_IN: `mute` never prints a prompt, `refuses` ends at once with a message, `no-rom` a
little later.
"""

import json
import os
import random
import select
import socket
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "firmware" / "lib"), str(ROOT / "host"), str(ROOT / "tests" / "host")]
BOOT_S = 0.2


def option(words, name, starts=""):
    """The value behind a word of the command line, as (first part, {key: value})."""
    for at, word in enumerate(words[:-1]):
        if word == name and starts in words[at + 1]:
            first, *rest = words[at + 1].split(",")
            return first, dict(part.split("=", 1) for part in [first, *rest] if "=" in part)
    raise SystemExit("stand-in: no %s %s" % (name, starts))


class Line:
    """The board's serial line: a listening socket with one client, and a record in a file."""

    def __init__(self, port, record):
        self.server = socket.create_server(("127.0.0.1", port))
        self.client = None
        self.record = open(record, "ab", buffering=0)  # noqa: SIM115

    def write(self, data):
        self.record.write(data)
        if self.client is not None:
            try:
                self.client.sendall(data)
            except OSError:
                self.client = None

    def read(self, wait_s):
        """What has come; b"" for nothing. A new client takes the place of none."""
        ready = [self.client] if self.client is not None else [self.server]
        if not select.select(ready, [], [], wait_s)[0]:
            return b""
        if self.client is None:
            self.client, _ = self.server.accept()
            self.client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return b""
        try:
            data = self.client.recv(4096)
        except OSError:
            data = b""
        if not data:
            self.client = None
        return data


class Monitor:
    """QMP, as far as `system_reset`."""

    def __init__(self, path):
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(path)
        self.server.listen(1)

    def reset_wanted(self):
        if not select.select([self.server], [], [], 0)[0]:
            return False
        peer, _ = self.server.accept()
        with peer:
            peer.sendall(b'{"QMP": {}}\n')
            verbs = []
            for line in peer.makefile("rb"):
                verbs.append(json.loads(line)["execute"])
                peer.sendall(b'{"return": {}}\n')
        return "system_reset" in verbs


def board_class():
    from handset_lines import Clock, SimBoard

    from drybag_host.emulator.rom.nor import NorFlash, NorPartition
    from drybag_host.image import partitions

    class RealClock(Clock):
        def __init__(self):
            pass

        now_s = property(lambda self: time.monotonic())

    class Board(SimBoard):
        def __init__(self, line, monitor, image, identity):
            flash = NorFlash(os.path.getsize(image), open(image, "r+b", buffering=0))  # noqa: SIM115
            row = partitions.find(partitions.from_image(image), "pim")
            super().__init__(RealClock(), device=NorPartition(flash, row.offset, row.size))
            self.line, self.monitor, self._identity = line, monitor, identity
            self.boot = random.randrange(1, 1 << 32)

        def read_into(self, buf, wait_ms):
            if self.monitor.reset_wanted():
                os.execv(sys.executable, [sys.executable, *sys.argv])
            if not self.to_board:
                self.to_board.extend(self.line.read(wait_ms / 1000))
            return super().read_into(buf, 0)

        def write(self, data):
            self.line.write(bytes(data))

        def take_console(self):
            pass

        leave_console = take_console

        def identity(self):
            return self._identity

        def name(self):
            return "drybag-" + self._identity[-6:]

        def micropython(self):
            return "1.29.0"

    return Board


def main():
    words = sys.argv[1:]
    mode = os.environ.get("DRYBAG_STAND_IN", "")
    if mode == "refuses":
        raise SystemExit("unsupported machine type: '%s'" % option(words, "-M")[0])
    image = option(words, "-drive", "if=mtd")[1]["file"]
    chardev = option(words, "-chardev", "socket")[1]
    fuses = Path(option(words, "-drive", "id=efuse")[1]["file"]).read_bytes()
    line = Line(int(chardev["port"]), chardev["logfile"])
    path = option(words, "-qmp")[0].removeprefix("unix:")
    if os.path.exists(path):
        os.unlink(path)
    monitor = Monitor(path)
    line.read(0.5)  # the first client has just come, or nobody listens
    line.write(b"ets Jul 29 2019 12:21:46\r\n\r\nrst:0x1 (POWERON_RESET),boot:0x12\r\n")
    if mode == "no-rom":
        raise SystemExit("Error: -bios argument not set, and ROM code binary not found")
    booted = time.monotonic() + BOOT_S
    while mode == "mute" or time.monotonic() < booted:
        line.read(0.02)  # lost: nothing listens yet
    from handset.app import App

    identity = (fuses[8:10][::-1] + fuses[4:8][::-1]).hex()
    app = App(board_class()(line, monitor, image, identity))
    app.mount()
    app.run()


if __name__ == "__main__":
    main()
