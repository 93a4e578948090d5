"""esptool as a program: `python -m esptool`, its progress, and its errors as ours.

esptool is GPL, so nothing of it is imported. What it says is read for three things: how far it
is, what chip and flash are there, and why it failed. A read or write counts as done only when
esptool says that its MD5 was compared.
"""

import codecs
import contextlib
import os
import re
import select
import subprocess
import sys
import tempfile
import time
from collections import namedtuple
from pathlib import Path

from drybag_host.errors import (
    PORT_DENIED,
    LinkLost,
    LinkTimeout,
    NoSuchTarget,
    NotVerified,
    PortBusy,
)
from drybag_host.flash_errors import EsptoolFailed, EsptoolMissing, WrongChip

MAJOR = 5
BAUD = 460800
_SILENCE_S = 240  # the longest without a word is the erase of a whole flash
_DOWNLOAD_HINT = "hold BOOT (IO0) while you press and let go of RESET, then run the command again"
_AS_IT_IS = ("--flash-mode", "keep", "--flash-freq", "keep", "--flash-size", "keep")
_OPEN_FAILED = (
    (r"Errno 2\]|FileNotFound|No such file", NoSuchTarget, "'drybag doctor' lists the ports"),
    (r"Errno 11[01]\]|refused|timed out|Name or service|getaddrinfo", NoSuchTarget,
     "does its server run?"),
    (r"Errno 13\]|Permission denied|Access is denied", PortBusy, PORT_DENIED),
    (r"Errno 25\]|Inappropriate ioctl", NoSuchTarget,
     "it is no serial port: 'drybag doctor' lists them"),
    ("", PortBusy, ""),
)  # fmt: skip
_FAILURES = (
    (r"MD5 of file does not match|Digest mismatch|Corrupt data|Verification failed", NotVerified,
     "check cable and supply and run the command again; if it stays, the flash is worn out"),
    (r"This chip is (\S+), not ", WrongChip, ""),
    (r"Failed to connect|Wrong boot mode|autodetect chip type", LinkTimeout, _DOWNLOAD_HINT),
    (r"port that is not open|disconnected|multiple access|stopped responding|No more data|"
     r"Broken pipe|Errno 5\]|Input/output error|"
     r"Connection reset|No such device|Errno 19\]|timeout|timed out|stream stopped|"
     r"Serial noise|head of packet|Invalid SLIP|Read more than|Expected digest", LinkLost, ""),
)  # fmt: skip

Chip = namedtuple("Chip", "chip model mac flash_bytes")
Chip.__doc__ = """What esptool found: `chip` as in board files ("esp32s3"), `model` as the chip
says ("ESP32-S3 (QFN56) (revision v0.2)"), `mac` "24:6f:..." and the size of its flash."""


def version():
    """esptool's version as text. Raises EsptoolMissing if there is none, or not of MAJOR."""
    try:
        done = subprocess.run(
            [*_program(), "version"],
            capture_output=True,
            text=True,
            timeout=60,
            env=_environment(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EsptoolMissing("esptool does not run: %s" % error) from None
    if "No module named" in done.stderr:
        raise EsptoolMissing("esptool is not installed (for %s)" % sys.executable)
    text = re.search(r"(\d+)\.\d+[\w.]*", done.stdout)
    if done.returncode or text is None:
        raise EsptoolMissing("esptool does not run: %s" % _last_line(done.stderr or done.stdout))
    if int(text[1]) != MAJOR:
        raise EsptoolMissing(
            "esptool %s is installed; Drybag works with version %d" % (text[0], MAJOR)
        )
    return text[0]


def _program():
    return [sys.executable, "-m", "esptool"]


def _environment():
    """Plain UTF-8 lines, however narrow the terminal is."""
    return {**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1", "NO_COLOR": "1",
            "TERM": "dumb", "COLUMNS": "200"}  # fmt: skip


def _last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


class Esptool:
    """esptool at one port. `port`: a path or rfc2217:// URL; `name` is what messages call it.

    `chip`: "esp32s3"; "auto" finds it out. `before`: how the loader is entered, esptool's word.
    Each method is one run of esptool and leaves the chip in its loader (`after`: "hard-reset"
    starts the application). They raise PortBusy, NoSuchTarget, LinkTimeout (the loader does not
    answer), LinkLost, WrongChip, NotVerified, EsptoolFailed, EsptoolMissing; `progress` is
    called with (bytes done, bytes in all). `log`: a list that gets all that esptool says.
    """

    def __init__(self, port, baud=BAUD, chip="auto", before="default-reset", name=None, log=None):
        self.port = port
        self.baud = baud
        self.chip = chip
        self.before = before
        self.name = name or port
        self.log = log
        self._process = None

    def identify(self, after="no-reset"):
        """The Chip at the port; later runs are for this chip alone."""
        said = self._run(["flash-id"], after)
        chip = re.search(r"(?:Connected to|Detecting chip type\.\.\.) *(ESP[\w-]+)", said)
        model = re.search(r"Chip type: *(.+)", said)
        mac = re.search(r"MAC: *([0-9a-fA-F:]{17})", said)
        size = re.search(r"Detected flash size: *(\d+)([KM])B", said)
        if not chip or not mac:
            raise EsptoolFailed("%s: esptool does not say what chip it found" % self.name)
        if not size:
            raise EsptoolFailed("%s: the chip's flash does not say its size" % self.name)
        self.chip = chip[1].lower().replace("-", "")
        return Chip(
            self.chip,
            model[1].strip() if model else chip[1],
            mac[1].lower(),
            int(size[1]) << (10 if size[2] == "K" else 20),
        )

    def read(self, address, size, progress=None, after="no-reset"):
        """`size` bytes of the flash from `address`, compared with the chip's MD5 of them."""
        with tempfile.TemporaryDirectory(prefix="drybag-") as folder:
            path = Path(folder) / "flash.bin"
            words = ["read-flash", hex(address), hex(size), str(path)]
            self._run(words, after, _Progress(((address, size),), progress))
            data = path.read_bytes() if path.exists() else b""
        if len(data) != size:
            raise LinkLost("%s: %d of %d bytes were read" % (self.name, len(data), size))
        return data

    def write(self, pieces, progress=None, after="no-reset"):
        """Write [(address, bytes)], in this order, erasing what they cover; each is verified.

        Addresses are multiples of 4096; pieces do not overlap.
        """
        with tempfile.TemporaryDirectory(prefix="drybag-") as folder:
            words = ["write-flash", *_AS_IT_IS, *self._as_files(folder, pieces)]
            sizes = [(address, len(data)) for address, data in pieces]
            said = self._run(words, after, _Progress(sizes, progress))
        compared = said.count("Hash of data verified")
        if compared != len(pieces):
            raise NotVerified(
                "%s: %d of %d pieces were verified" % (self.name, compared, len(pieces)),
                "run the command again",
            )

    def verify(self, address, path, after="no-reset"):
        """Compare a file with the flash from `address` on, by the chip's MD5. NotVerified."""
        self._run(["verify-flash", *_AS_IT_IS, hex(address), str(path)], after)

    def differing(self, pieces, after="no-reset"):
        """The addresses of those [(address, bytes)] that the flash does not hold, by its MD5s.

        One run for all of them, whose files esptool keeps open: not more than a hundred or so.
        """
        with tempfile.TemporaryDirectory(prefix="drybag-") as folder:
            words = ["verify-flash", *_AS_IT_IS, *self._as_files(folder, pieces)]
            said, code = self._said(words, after)
        if code:
            error = self._error(said, code)
            if not isinstance(error, NotVerified):
                raise error
        verdicts = re.findall(r"^Verification (successful|failed) \(", said, re.MULTILINE)
        if len(verdicts) != len(pieces):  # whatever else it says: nothing counts as compared
            return [address for address, _ in pieces]
        found = zip(pieces, verdicts, strict=True)
        return [address for (address, _), verdict in found if verdict == "failed"]

    def erase(self, address, size, after="no-reset"):
        """Erase `size` bytes from `address`, both multiples of 4096."""
        self._run(["erase-region", hex(address), hex(size)], after)

    def restart(self):
        """Reset the board, so that its application starts."""
        self._run(["chip-id"], "hard-reset")

    def stop(self):
        """End the run under way, from another thread; its method raises."""
        process = self._process
        if process is not None:
            with contextlib.suppress(OSError):
                process.terminate()

    # -- one run ------------------------------------------------------------------------------
    def _as_files(self, folder, pieces):
        """[(address, bytes)] as esptool's words, with a file in `folder` each."""
        words = []
        for address, data in pieces:
            path = Path(folder) / ("%08x.bin" % address)
            path.write_bytes(data)
            words += [hex(address), str(path)]
        return words

    def _run(self, words, after, progress=None):
        """All that esptool said. Raises what it failed with."""
        said, code = self._said(words, after, progress)
        if code:
            raise self._error(said, code)
        return said

    def _said(self, words, after, progress=None):
        """(all that esptool said, its exit code)."""
        head = ["--port", self.port, "--baud", str(self.baud), "--chip", self.chip,
                "--before", self.before, "--after", after]  # fmt: skip
        process = self._process = subprocess.Popen(
            _program() + head + words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(),
        )
        try:
            said = self._listen(process, progress)
            code = process.wait()
        finally:
            self._process = None
            if process.poll() is None:
                process.kill()
                process.wait()
            process.stdout.close()
        return said, code

    def _listen(self, process, progress):
        decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        lines, rest = [], ""
        heard = time.monotonic()
        while True:
            ready, _, _ = select.select([process.stdout], [], [], 1.0)
            if not ready:
                if time.monotonic() - heard > _SILENCE_S:
                    raise LinkTimeout("%s: esptool has been silent too long" % self.name)
                continue
            data = os.read(process.stdout.fileno(), 65536)
            heard = time.monotonic()
            *whole, rest = re.split(r"[\r\n]+", rest + decode(data, final=not data))
            for line in whole + ([rest] if not data else []):
                if progress is None or not progress.line(line):
                    lines.append(line.rstrip())
                    if self.log is not None:
                        self.log.append(line.rstrip())
            if not data:
                return "\n".join(lines)

    def _error(self, said, code):
        """The exception for a run that failed."""
        if "No module named esptool" in said:
            return EsptoolMissing("esptool is not installed (for %s)" % sys.executable)
        found = re.search(r"(?:fatal|exception) error occurred: *(.*)", said, re.DOTALL)
        text = _plain(found[1]) if found else _last_line(said[-2000:])
        message = "%s: %s" % (self.name, text)
        if "Could not open" in said and "busy or doesn't exist" in said:
            for pattern, kind, hint in _OPEN_FAILED:
                if re.search(pattern, said):
                    return kind(message, hint)
        for pattern, kind, hint in _FAILURES:
            if re.search(pattern, text, re.IGNORECASE):
                return kind(message, hint)
        if code < 0:
            return EsptoolFailed("%s: esptool was stopped (signal %d)" % (self.name, -code))
        return EsptoolFailed(message)


def _plain(text):
    """esptool's message on one line, without its pointers to web pages."""
    asides = ("For troubleshooting", "Hint", "Note: This error")
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith(asides)]
    return " ".join(lines[:4]).rstrip(".")


class _Progress:
    """Turns lines such as 'Writing at 0x00044000 ...' into bytes done of all pieces."""

    _LINE = re.compile(r"\s*(?:Writing at|Reading from) 0x([0-9a-fA-F]+)\b")

    def __init__(self, sizes, tell):
        self._sizes = sizes
        self._tell = tell
        self._total = sum(size for _, size in sizes)
        self._piece = 0
        self._done = 0

    def line(self, text):
        """True if this was a line about progress."""
        found = self._LINE.match(text)
        if not found:
            return False
        at = int(found[1], 16)
        for index in range(self._piece, len(self._sizes)):
            address, size = self._sizes[index]
            done = sum(size for _, size in self._sizes[:index]) + at - address
            # where a piece ends that is written last, another may have begun
            if address <= at <= address + size and done >= self._done:
                self._piece, self._done = index, done
                if self._tell:
                    self._tell(done, self._total)
                break
        return True
