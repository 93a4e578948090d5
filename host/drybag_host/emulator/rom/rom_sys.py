"""`sys` and `print` as the chip has them: text goes out with CR LF, `stdout.buffer` as it is."""
# mypy: ignore-errors
# ruff: noqa: F403

import builtins
import io
import sys as _host
from sys import *

import chip

_GET_FILENO = 10
_EINVAL = 22
platform = "esp32"
argv = []
executable = ""


class _Implementation:
    name = _host.implementation.name
    version = _host.implementation.version
    _machine = chip.config["machine"]
    _mpy = _host.implementation._mpy
    _build = "ESP32_GENERIC"

    def __getitem__(self, at):
        return (self.name, self.version, self._machine, self._mpy)[at]

    def __repr__(self):
        return "(name='%s', version=%s, _machine='%s', _mpy=%d)" % (
            self.name,
            self.version,
            self._machine,
            self._mpy,
        )


implementation = _Implementation()


def _cook(text):
    if isinstance(text, str):
        return text.replace("\r\n", "\n").replace("\n", "\r\n") if "\n" in text else text
    text = bytes(text)
    return text.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") if b"\n" in text else text


class _Out(io.IOBase):
    """A text stream on the console; `buffer` takes bytes and changes nothing."""

    def __init__(self, stream, buffer):
        self.buffer = buffer
        self._stream = stream

    def write(self, text):
        self._stream.write(_cook(text))
        return len(text)

    def flush(self):
        pass

    def ioctl(self, op, arg):
        return arg & 4 if op == 3 else 0


class _In(io.IOBase):
    """The console's keys, where the host's `stdin` has no `buffer` (1.20)."""

    def __init__(self, stream, buffer):
        self.buffer = buffer
        self.read = stream.read
        self.readline = stream.readline

    def ioctl(self, op, arg):
        return 0 if op == _GET_FILENO else -_EINVAL


if hasattr(_host.stdout, "buffer"):
    stdout = _Out(_host.stdout, _host.stdout.buffer)
else:
    stdin = _In(_host.stdin, open(0, "rb"))
    stdout = _Out(_host.stdout, open(1, "wb"))
stderr = stdout
_print = builtins.print


def _chip_print(*args, sep=" ", end="\n", file=None):
    if file is not None and file is not stdout:
        return _print(*args, sep=sep, end=end, file=file)
    if len(args) == 1 and isinstance(args[0], str):
        text = args[0] + end
    else:
        out = io.StringIO()
        _print(*args, sep=sep, end=end, file=out)
        text = out.getvalue()
    stdout.write(text)


def print_exception(error, file=None):
    out = io.StringIO()
    _host.print_exception(error, out)
    (file or stdout).write(out.getvalue())


def exit(value=None):
    raise SystemExit(value)


def install():
    builtins.print = _chip_print
