"""Dumps: the raw `pim` partition, or the whole flash, into a file.

Pieces go to FILE.part; FILE.part.json says of what, so that an interrupted dump goes on. Each
piece comes with its SHA-256; the file gets its name when it is whole.
"""

import json
import os
from hashlib import sha256

from drybag import protocol as p
from drybag import protocolhost as ph
from drybag.layout import SECTOR
from drybag_host.backup import disk
from drybag_host.errors import HostFile, LinkTimeout, NotVerified
from drybag_host.image import partitions
from drybag_host.linkline import Broken

PIECE_SECTORS = 16
_ROUNDS = 4
_TRIES = 6


def from_handset(session, path, advance_to=None):
    """The `pim` of a handset whose firmware runs, into `path`; (bytes, SHA-256 hex, resumed).

    If it was written to meanwhile it is read again. Raises LinkError, NotVerified, HostFile,
    HostDiskFull.
    """
    size = int.from_bytes(_ask(session, 0, 0), "little") * SECTOR
    resumed = False
    for _ in range(_ROUNDS):
        state = {"handset": session.info.id, "boot": session.info.raw.get("boot"),
                 "last_seq": session.hello().last_seq, "size": size}  # fmt: skip
        part, had = _open_part(path, state)
        resumed = resumed or had > 0
        with part:
            while part.tell() < size:
                part.write(_piece(session, part.tell() // SECTOR, size // SECTOR))
                part.flush()
                if advance_to:
                    advance_to(part.tell(), size)
        if session.hello().last_seq == state["last_seq"]:
            return (*_finish(path), resumed)
    raise NotVerified(
        "%s is written to all the time: a dump would be of no one moment" % session.target,
        "let it rest and run the command again",
    )


def _piece(session, first, total):
    """The bytes of up to PIECE_SECTORS sectors, compared with the SHA-256 behind them."""
    count = min(PIECE_SECTORS, total - first)
    for _ in range(_TRIES):
        data = _ask(session, first, count)
        if len(data) == count * SECTOR + 32 and sha256(data[:-32]).digest() == data[-32:]:
            session.progressed()
            return data[:-32]
    raise NotVerified("sectors from %d on arrive with another SHA-256 each time" % first)


def _ask(session, first, count):
    request = ph.numbered(p.READ_FLASH, first, count.to_bytes(4, "little"))

    def work(link):
        try:
            return b"".join(bytes(piece) for piece in link.stream(request))
        except Broken as error:
            raise LinkTimeout("%s: a part of the flash did not arrive" % link.name) from error

    return session.attempt(lambda link: work(link._line))


def _open_part(path, state):
    """(FILE.part open at its end, bytes it had) if it is of the same flash, else empty."""
    if os.path.lexists(path):
        raise HostFile("%s exists already" % path, "name another file")
    old = disk.read_file(path + ".part.json", 4096)
    had = 0
    with disk.explained(path):
        if old == _pack(state) and os.path.isfile(path + ".part"):
            had = min(os.path.getsize(path + ".part"), state["size"])
            had -= had % (PIECE_SECTORS * SECTOR)
        else:
            disk.replace_file(path + ".part.json", _pack(state))
        part = open(path + ".part", "r+b" if had else "wb")  # noqa: SIM115 - the caller's
        part.truncate(had)
        part.seek(had)
    return part, had


def _pack(state):
    return json.dumps(state).encode()


def _finish(path):
    """FILE.part becomes FILE; (bytes, SHA-256 in hex) as read back from disk."""
    with disk.explained(path):
        with open(path + ".part", "r+b") as file:
            os.fsync(file.fileno())
            digest = sha256(file.read()).hexdigest()
            size = file.tell()
        disk.rename(path + ".part", path)
        os.unlink(path + ".part.json")
    return size, digest


def from_image(image, path, whole):
    """Copy a stopped emulated board's flash, or its `pim`; (bytes, SHA-256 hex, False)."""
    if os.path.lexists(path):
        raise HostFile("%s exists already" % path, "name another file")
    with disk.explained(image), open(image, "rb") as file:
        data = file.read()
    if not whole:
        row = partitions.find(partitions.from_image(image), "pim")
        data = data[row.offset : row.offset + row.size]
    disk.write_file(path + ".part", [data])
    disk.rename(path + ".part", path)
    return len(data), sha256(data).hexdigest(), False
