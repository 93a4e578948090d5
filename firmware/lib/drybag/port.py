"""What differs between MicroPython and CPython; the only shared file that knows which one runs.

The geometry of the `pim` file system is named here, once, for firmware and host tools. Programs
of 256 bytes: each of LittleFS's commits has a page of its own, so that a cut inside one cannot
harm an earlier one (DESIGN.md). The cache is what MicroPython makes of it: 4 * PROG_SIZE.
"""

import os
import sys

READ_SIZE = 32
PROG_SIZE = 256
CACHE_SIZE = 1024
LOOKAHEAD = 32
LOOKAHEAD_LARGE = 256
LARGE_SECTORS = 1024
BLOCK_CYCLES = 100

MICROPYTHON = sys.implementation.name == "micropython"

try:
    from micropython import const
except ImportError:

    def const(value):
        return value


def random_u32():
    """A random 32-bit number that is not 0, from the hardware or the operating system."""
    value = 0
    while not value:
        value = int.from_bytes(os.urandom(4), "little")
    return value


def lookahead(sectors):
    """LittleFS lookahead size in bytes for a partition of so many sectors."""
    return LOOKAHEAD_LARGE if sectors > LARGE_SECTORS else LOOKAHEAD


def mkfs(dev, sectors):
    """Format `dev` (block-device protocol) as LittleFS. Raises OSError."""
    _vfs_class().mkfs(dev, readsize=READ_SIZE, progsize=PROG_SIZE, lookahead=lookahead(sectors))


def open_fs(dev, sectors):
    """A LittleFS on `dev`, VfsLfs2's methods, not mounted in the name space. Raises OSError."""
    cls = _vfs_class()
    return cls(
        dev,
        readsize=READ_SIZE,
        progsize=PROG_SIZE,
        lookahead=lookahead(sectors),
        mtime=False,
    )


def _vfs_class():
    if not MICROPYTHON:
        from drybag.port_cpython import VfsLfs2

        return VfsLfs2
    try:
        from vfs import VfsLfs2
    except ImportError:
        from os import VfsLfs2
    return VfsLfs2
