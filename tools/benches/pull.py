"""Pull at line rate: 256 KiB of records and photos over a paced line, mpremote beside it.

The line is the emulated board's console, paced to the baud rate, with the chip's ring of 260
bytes. Time is wall time: of `drybag pull` from the first request for records to the last byte of
the last photo (connecting, comparing and writing the backup come on top: `whole_pull_s`), of
`mpremote fs cp` from start to end of the program. Payload is what the backup holds: uids, bodies,
photos; a byte takes 10 bits. The same pull through an rfc2217:// and a socket:// URL is under
`urls`: the bridge behind it is the emulated board's, or a plain one of bytes.
`payload_share_of_line` is what a computer that is never late would reach.
"""

import contextlib
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from hashlib import sha256
from pathlib import Path

from drybag import layout
from drybag_host.backup.pull import Pull
from drybag_host.board import open_console
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.emulator.serial_server import SerialServer
from drybag_host.link import HandsetLink
from drybag_host.output import Output
from drybag_host.targets import Session

BAUDS = (115200, 921600)
LIMITS = {"115200": 0.97, "921600": 0.93}
TOTAL_BYTES = 256 * 1024
PHOTOS = 8
PHOTO_BYTES = 26000
BITS_A_BYTE = 10


def payload(seed=1):
    """([(uid, body)], [photo bytes]): TOTAL_BYTES in all, contacts of 200 to 400 bytes."""
    rng = random.Random(seed)
    photos = [rng.randbytes(PHOTO_BYTES) for _ in range(PHOTOS)]
    left = TOTAL_BYTES - PHOTOS * PHOTO_BYTES
    notes = []
    while left > 0:
        uid = b"%016x" % rng.getrandbits(64)
        size = min(rng.randrange(200, 400), left - len(uid)) if left > 700 else left - len(uid)
        head = b"UID:%s\nFN:Contact %d\nNOTE:" % (uid, len(notes))
        text = rng.randbytes(size).hex().encode()[: size - len(head) - 1]
        notes.append((uid, head + text + b"\n"))
        left -= len(uid) + size
    return notes, photos


def fill(board, notes, photos):
    """Write the payload to a board, over a line that is not paced. Returns the bytes of it.

    The photos hang on the first contacts, so that nothing but them, uids and bodies is there.
    """
    board.start()
    shas = [sha256(photo).digest() for photo in photos]
    with HandsetLink(open_console("emu:" + board.name)) as link:
        for sha, photo in zip(shas, photos, strict=True):
            link.put_blob(sha, len(photo), photo)
        ops = [
            ("put", layout.CONTACT, uid, body, (shas[i],) if i < len(shas) else ())
            for i, (uid, body) in enumerate(notes)
        ]
        for _ in link.put_records(ops):
            pass
    board.stop()
    return sum(map(len, photos)) + sum(len(uid) + len(body) for uid, body in notes)


class Counted:
    """A console that counts what comes through it."""

    def __init__(self, console):
        self._console = console
        self.came = 0

    def __getattr__(self, name):
        return getattr(self._console, name)

    def read(self, timeout_s=0.0):
        data = self._console.read(timeout_s)
        self.came += len(data)
        return data


class TimedPull(Pull):
    """A pull that notes when the records and photos are through, and what came for them."""

    transfer_s = 0.0
    came = 0

    def _stream(self, staging):
        with self._noted():
            super()._stream(staging)

    def _fetch_blobs(self, staging, contents):
        with self._noted():
            super()._fetch_blobs(staging, contents)

    @contextlib.contextmanager
    def _noted(self):
        began, before = time.monotonic(), self.session.link.console.came
        yield
        self.transfer_s += time.monotonic() - began
        self.came += self.session.link.console.came - before


@contextlib.contextmanager
def as_pty(board):
    yield "emu:" + board.name


@contextlib.contextmanager
def as_rfc2217(board):
    server = SerialServer(board)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server.url
    finally:
        server.stop()
        thread.join()


@contextlib.contextmanager
def as_socket(board):
    """The board's pty behind a TCP port, as ser2net does it."""
    tty = os.open(board.console, os.O_RDWR | os.O_NOCTTY)
    with socket.create_server(("127.0.0.1", 0)) as server:
        threads = []

        def copy(read, write):
            with contextlib.suppress(OSError):
                while True:
                    data = read(4096)
                    if not data:
                        return
                    write(data)

        def serve():
            peer, _ = server.accept()
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for pair in ((lambda n: os.read(tty, n), peer.sendall),
                         (peer.recv, lambda data: os.write(tty, data))):  # fmt: skip
                threads.append(threading.Thread(target=copy, args=pair, daemon=True))
                threads[-1].start()
            threads[1].join()
            peer.close()

        threading.Thread(target=serve, daemon=True).start()
        yield "socket://127.0.0.1:%d" % server.getsockname()[1]


WAYS = {"rfc2217": as_rfc2217, "socket": as_socket}


def drybag_pull(board, folder, baud, way=as_pty):
    """(seconds of the transfer, seconds of the whole pull, bytes that came) at `baud`."""
    board.start(baud=baud)
    try:
        began = time.monotonic()
        out = Output(quiet=True)
        with way(board) as target:
            connect = lambda: HandsetLink(Counted(open_console(target)))  # noqa: E731
            with Session(connect, target, out) as session:
                pull = TimedPull(folder, session, out)
                report = pull.run()
        if not report.verified or report.reconnects:
            raise SystemExit("the pull at %d baud failed: %s" % (baud, report.fields()))
        return pull.transfer_s, time.monotonic() - began, pull.came
    finally:
        board.stop()


def mpremote_copy(board, folder, baud):
    """Seconds of `mpremote fs cp -r :/data folder` at `baud`."""
    board.start(baud=baud)
    try:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "mpremote", "connect", board.console,
             "fs", "cp", "-r", ":/data", str(folder)],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit("mpremote: %s%s" % (done.stdout[-500:], done.stderr[-500:]))
        return time.monotonic() - began
    finally:
        board.stop()


def mpremote_files(notes, photos):
    """The same bytes as files: one of all records, one a photo."""
    files = {"/data/records": b"".join(uid + body for uid, body in notes)}
    for i, photo in enumerate(photos):
        files["/data/photo%d" % i] = photo
    return files


def run():
    notes, photos = payload()
    result = {
        "payload_bytes": 0, "records": len(notes), "photos": len(photos),
        "fraction_of_line_rate": {}, "mpremote": {}, "seconds": {}, "limits": LIMITS,
        "urls": {way: {} for way in WAYS},
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["DRYBAG_HOME"] = scratch
        board = EmulatedBoard.create("pulled")
        size_bytes = result["payload_bytes"] = fill(board, notes, photos)
        other = EmulatedBoard.create("copied", files_in_vfs=mpremote_files(notes, photos))
        for baud in BAUDS:
            ideal_s = size_bytes * BITS_A_BYTE / baud
            folder = os.path.join(scratch, "b%d" % baud)
            transfer_s, whole_s, came = drybag_pull(board, folder, baud)
            for name, way in WAYS.items():
                path = os.path.join(scratch, "%s%d" % (name, baud))
                url_s, _, _ = drybag_pull(board, path, baud, way)
                result["urls"][name][str(baud)] = round(ideal_s / url_s, 3)
            folder = Path(scratch) / ("m%d" % baud)
            folder.mkdir()
            mpremote_s = mpremote_copy(other, folder, baud)
            result["fraction_of_line_rate"][str(baud)] = round(ideal_s / transfer_s, 3)
            result["payload_share_of_line"] = round(size_bytes / came, 4)
            result["mpremote"][str(baud)] = round(ideal_s / mpremote_s, 3)
            result["seconds"][str(baud)] = {
                "line": round(ideal_s, 2), "transfer": round(transfer_s, 2),
                "whole_pull": round(whole_s, 2), "mpremote": round(mpremote_s, 2),
            }  # fmt: skip
    return result


def table(result):
    print("%d bytes: %d records, %d photos; %.1f%% of what the line carries" % (
        result["payload_bytes"], result["records"], result["photos"],
        100 * result["payload_share_of_line"],
    ))  # fmt: skip
    heads = ("baud", "pull", "aim", *WAYS, "mpremote", "whole pull")
    print("%8s %8s %8s %8s %8s %9s %11s" % heads)
    for baud, share in result["fraction_of_line_rate"].items():
        print("%8s %7.1f%% %7.1f%% %7.1f%% %7.1f%% %8.1f%% %9.1f s" % (
            baud, 100 * share, 100 * LIMITS[baud],
            *(100 * result["urls"][way][baud] for way in WAYS),
            100 * result["mpremote"][baud], result["seconds"][baud]["whole_pull"],
        ))  # fmt: skip
