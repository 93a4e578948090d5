"""`os` with what the chip has and nothing of the host."""
# mypy: ignore-errors
# ruff: noqa: F401, I001

import os as _host
from os import (
    VfsFat,
    VfsLfs2,
    chdir,
    getcwd,
    ilistdir,
    listdir,
    mkdir,
    mount,
    remove,
    rename,
    rmdir,
    sep,
    stat,
    statvfs,
    umount,
    unlink,
    urandom,
)

import chip
from sys import implementation as _implementation

_version = ".".join(str(n) for n in _implementation[1][:3])
_machine = chip.config["machine"]


class _Uname:
    sysname = "esp32"
    nodename = "esp32"
    release = _version
    version = "v" + _version
    machine = _machine

    def __getitem__(self, at):
        return (self.sysname, self.nodename, self.release, self.version, self.machine)[at]

    def __repr__(self):
        return "(sysname='%s', nodename='%s', release='%s', version='%s', machine='%s')" % (
            self.sysname,
            self.nodename,
            self.release,
            self.version,
            self.machine,
        )


def uname():
    return _Uname()


def sync():
    pass


def dupterm(stream, index=0):
    return None
