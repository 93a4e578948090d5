"""What MicroPython 1.20 lacks is not used, and its modules load there.

The other tests of this folder run on it too, where it is named:
`DRYBAG_MICROPYTHON=/path/to/micropython tools/test tests/shared`.
"""

import ast
import os
import subprocess

import pytest
from both_interpreters import LIB, micropython, version_of

SOURCES = sorted(path for path in LIB.rglob("*.py"))
LACKING_MODULES = {"vfs", "tls", "deflate", "typing", "dataclasses", "enum", "pathlib", "logging"}


def calls(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_nothing_newer_is_used(path):
    tree = ast.parse(path.read_text())
    for call in calls(tree):
        if getattr(call.func, "attr", "") in ("startswith", "endswith"):
            assert not isinstance(call.args[0], ast.Tuple), (
                "%s:%d: 1.20 knows one prefix, not a tuple of them" % (path, call.lineno)
            )
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Match), "%s:%d: match" % (path, node.lineno)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_newer_modules_have_a_fallback(path):
    """An import of what not every version has stands in a `try` or in a function of its own."""
    tree = ast.parse(path.read_text())
    for node in tree.body:
        names = {alias.name.split(".")[0] for alias in getattr(node, "names", [])}
        names |= {(getattr(node, "module", None) or "").split(".")[0]}
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            assert not names & LACKING_MODULES, "%s:%d" % (path, node.lineno)


def test_the_compiled_modules_load(tmp_path):
    """.mpy files of version 6 without machine code: what 1.19 to 1.29 all load."""
    from drybag_host.image import firmware

    files = firmware.firmware_files(cache_dir=os.environ.get("DRYBAG_MPY_CACHE"))
    compiled = {path: data for path, data in files.items() if path.endswith(".mpy")}
    assert len(compiled) > 25
    for path, data in compiled.items():
        assert data[:2] == b"M\x06", path
        assert data[2] == 0, "%s holds machine code, or needs its sub-version" % path
        target = tmp_path / path[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    script = tmp_path / "load.py"
    script.write_text(
        "import sys\nsys.path[:] = [%r, '.frozen']\n" % str(tmp_path / "lib")
        + "".join("import %s\n" % name for name in _portable(compiled))
        + "print('loaded')\n"
    )
    done = micropython_run(script)
    assert done.stdout == b"loaded\n", done.stderr


_MOUNT = """
import os, sys
try:
    from vfs import VfsLfs2
except ImportError:
    from os import VfsLfs2
data = open(sys.argv[1], "rb").read()
class Flash:
    def readblocks(self, n, buf, off=0):
        buf[:] = data[n * 4096 + off : n * 4096 + off + len(buf)]
    def ioctl(self, what, arg):
        return {4: len(data) // 4096, 5: 4096}.get(what, 0)
print(sorted(row[0] for row in VfsLfs2(Flash()).ilistdir("/lib")))
"""


def test_the_file_system_mounts(tmp_path):
    """`vfs` as `drybag image build` makes it; its disk version is what the oldest can read."""
    from drybag_host.image import filesystem

    image = filesystem.build(64 * 4096, {"/lib/a.mpy": b"M", "/lib/b.py": bytes(9000)})
    (tmp_path / "vfs").write_bytes(image)
    script = tmp_path / "mount.py"
    script.write_text(_MOUNT)
    done = micropython_run(script, str(tmp_path / "vfs"))
    assert done.stdout == b"['a.mpy', 'b.py']\n", done.stderr


def _portable(paths):
    """Module names that import nothing of the chip."""
    names = [path[5:-4].replace("/", ".") for path in sorted(paths)]
    return [name for name in names if name not in ("handset.board", "handset.wifi")]


def micropython_run(script, *args):
    return subprocess.run([micropython(), str(script), *args], capture_output=True, timeout=60)


def test_the_version_named_is_the_one_that_runs():
    named = os.environ.get("DRYBAG_MICROPYTHON")
    if not named:
        pytest.skip("another interpreter is named so: DRYBAG_MICROPYTHON=/path/to/micropython")
    assert (1, 20) <= version_of(named) < (1, 30)
