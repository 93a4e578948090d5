"""Dumps: the raw `pim` partition, or the whole flash, into a file.

Pieces go to FILE.part; FILE.part.json says of what, so that an interrupted dump goes on. Each
piece is compared with a hash that the chip made; the file gets its name when it is whole. Nobody
else may read it, since Wi-Fi passwords and the secret for the hub are in it.
"""

import json
import os
from hashlib import sha256

from drybag import protocol as p
from drybag import protocolhost as ph
from drybag.layout import SECTOR
from drybag_host.backup import disk
from drybag_host.board_errors import BoardFileError, ImageProblem
from drybag_host.errors import HostFile, LinkLost, LinkTimeout, NotVerified
from drybag_host.image import partitions
from drybag_host.linkline import Broken
from drybag_host.output import size_text

PIECE_SECTORS = 16
LOADER_PIECE_BYTES = 512 * 1024  # a run of esptool costs 2 s, a piece 12 s at 460800 baud
KEPT_PIECE_BYTES = 64 * 1024  # what was kept is compared in these; one is read in 1.4 s
_KEPT_PIECES = 100  # compared in a run of esptool
_ROUNDS = 4
_TRIES = 6
_LOADER_TRIES = 3


def _unheard(text):
    pass


def from_handset(session, path, advance_to=None, whole=False, say=_unheard):
    """The `pim` (`whole`: all) of the flash of a handset whose firmware runs, into `path`.

    (bytes, SHA-256 hex, resumed). If it was written to meanwhile it is read again; `say(text)`
    is told. Raises LinkError, NotVerified, HostFile, HostDiskFull; BadRequest of a firmware that
    gives no whole flash.
    """
    verb = p.READ_CHIP if whole else p.READ_FLASH
    size = int.from_bytes(_ask(session, verb, 0, 0), "little") * SECTOR
    if not size:
        raise p.BadRequest("this MicroPython does not give its whole flash")
    resumed = False
    for _ in range(_ROUNDS):
        state = {"handset": session.info.id, "boot": session.info.raw.get("boot"),
                 "last_seq": session.hello().last_seq, "size": size, "whole": whole}  # fmt: skip
        part, had = _open_part(path, state, say, PIECE_SECTORS * SECTOR, PIECE_SECTORS * SECTOR)
        resumed = resumed or had > 0
        with part:
            while part.tell() < size:
                piece = _piece(session, verb, part.tell() // SECTOR, size // SECTOR)
                _add(part, piece)
                if advance_to:
                    advance_to(part.tell(), size)
        if session.hello().last_seq == state["last_seq"]:
            return (*_finish(path), resumed)
    raise NotVerified(
        "%s is written to all the time: a dump would be of no one moment" % session.target,
        "let it rest and run the command again",
    )


class _Alone:
    """A session of one HandsetLink that nobody opens anew."""

    def __init__(self, link):
        self.link = link

    def attempt(self, work):
        return work(self.link)

    def progressed(self):
        return None


def whole_pim(link):
    """The bytes of the `pim` of the handset at the other end of a HandsetLink, as they are now.

    Raises LinkError, NotVerified.
    """
    session = _Alone(link)
    total = int.from_bytes(_ask(session, p.READ_FLASH, 0, 0), "little")
    return b"".join(
        _piece(session, p.READ_FLASH, first, total) for first in range(0, total, PIECE_SECTORS)
    )


def _piece(session, verb, first, total):
    """The bytes of up to PIECE_SECTORS sectors, compared with the SHA-256 behind them."""
    count = min(PIECE_SECTORS, total - first)
    for _ in range(_TRIES):
        data = _ask(session, verb, first, count)
        if len(data) == count * SECTOR + 32 and sha256(data[:-32]).digest() == data[-32:]:
            session.progressed()
            return data[:-32]
    raise NotVerified("sectors from %d on arrive with another SHA-256 each time" % first)


def _ask(session, verb, first, count):
    request = ph.numbered(verb, first, count.to_bytes(4, "little"))

    def work(link):
        try:
            return b"".join(bytes(piece) for piece in link.stream(request))
        except Broken as error:
            raise LinkTimeout("%s: a part of the flash did not arrive" % link.name) from error

    return session.attempt(lambda link: work(link._line))


def from_loader(tool, path, advance_to=None, whole=False, say=_unheard):
    """The `pim` (`whole`: all) of a flash by the chip's ROM loader, into `path`.

    `tool`: an Esptool. (bytes, SHA-256 hex, resumed). A board whose dump is interrupted starts,
    since a handset left dark would be taken for dead, and its recovery writes: what was kept is
    compared with the flash piece by piece, what differs is read again (`say` is told), and at the
    end one MD5 of the whole must fit. Raises what Esptool raises, HostFile, HostDiskFull;
    ImageProblem if the partition table shows no `pim`.
    """
    chip = tool.identify()
    address, size = (0, chip.flash_bytes) if whole else _pim(tool)
    part, had = _open_part(path, {"chip": chip.mac, "address": address, "size": size}, say)
    with part:
        stale = _stale(tool, part, address) if had else []
        old_bytes = sum(end - start for start, end in stale)
        if stale:
            sizes = (size_text(old_bytes), size_text(had))
            say("the board ran since the interrupted dump: %s of the %s kept are no longer what "
                "its flash holds, and are read again" % sizes)  # fmt: skip
        for tries in range(_ROUNDS):
            for start, end in [*stale, (part.seek(0, os.SEEK_END), size)]:
                _read_range(tool, part, (address, start, end, size), advance_to)
            if _holds(tool, address, part.name):
                break
            if tries < _ROUNDS - 1:
                stale = _stale(tool, part, address)
                again = sum(end - start for start, end in stale)
                say("the flash is no longer what was read: %s are read again" % size_text(again))
        else:
            raise NotVerified(
                "the flash differs from what was read of it each time",
                "check the supply; the flash may be worn out: drybag salvage FILE DIR takes what "
                "holds",
            )
    return (*_finish(path), had > old_bytes)


def _stale(tool, part, address):
    """[(start, end)] in the file of what the flash does not hold, in pieces."""
    pieces = []
    part.seek(0)
    while data := part.read(KEPT_PIECE_BYTES):
        pieces.append((address + part.tell() - len(data), data))
    found = []
    for n in range(0, len(pieces), _KEPT_PIECES):
        some = dict(pieces[n : n + _KEPT_PIECES])
        for at in tool.differing(list(some.items())):
            start, end = at - address, at - address + len(some[at])
            if found and found[-1][1] == start:
                start = found.pop()[0]
            found.append((start, end))
    return found


def _read_range(tool, part, place, advance_to):
    """Bytes `start` to `end` of what is at `address`, `size` bytes in all, into the file."""
    address, start, end, size = place
    part.seek(start)
    while part.tell() < end:
        _read_on(tool, part, address, end, lambda done: advance_to and advance_to(done, size))


def _read_on(tool, part, address, end, told):
    """The next piece into `part`; after a broken cable once more."""
    at = part.tell()
    count = min(LOADER_PIECE_BYTES, end - at)
    for tries in range(_LOADER_TRIES):
        try:
            _add(part, tool.read(address + at, count, lambda done, _: told(at + done)))
            return told(at + count)
        except (LinkLost, NotVerified):
            if tries == _LOADER_TRIES - 1:
                raise


def _holds(tool, address, path):
    """Does the flash hold the bytes of the file?"""
    try:
        tool.verify(address, path)
    except NotVerified:
        return False
    return True


def _pim(tool):
    """(address, size) of `pim` by the partition table on the flash. Raises ImageProblem."""
    raw = tool.read(partitions.TABLE_ADDR, partitions.SECTOR_BYTES)
    try:
        row = partitions.find(partitions.from_bytes(raw[: partitions.TABLE_BYTES]), "pim")
    except BoardFileError as error:
        raise ImageProblem(
            "the flash does not say where its records are: %s" % error,
            "drybag dump TARGET FILE --whole, then drybag salvage FILE DIR",
        ) from None
    return row.offset, row.size


def _add(part, data):
    """`data` at the end of FILE.part, on the disk when this returns."""
    with disk.explained(part.name):
        part.write(data)
        part.flush()
        os.fsync(part.fileno())


def _check_new(path):
    """Raises HostFile where `path` exists, or the folder that it would be in does not."""
    if os.path.lexists(path):
        raise HostFile("%s exists already" % path, "name another file")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise HostFile("%s: there is no folder %s" % (path, folder), "make it, or name another")


def _open_part(path, state, say=_unheard, grain_bytes=SECTOR, unsure_bytes=0):
    """(FILE.part open at its end, bytes it had) if it is of the same flash, else empty.

    `unsure_bytes`: so much at its end is read again, since a crash of this computer may have left
    its length there and not its bytes.
    """
    _check_new(path)
    old = disk.read_file(path + ".part.json", 4096)
    had = 0
    with disk.explained(path):
        there = os.path.getsize(path + ".part") if os.path.isfile(path + ".part") else 0
        if old == _pack(state):
            had = min(there, state["size"]) - unsure_bytes
            had = max(0, had - had % grain_bytes)
        elif there:
            say("what was read before is of another moment, board or part of the flash: "
                "beginning anew")  # fmt: skip
        if not had and os.path.lexists(path + ".part"):
            os.unlink(path + ".part")  # before the words that would say it is of this flash
        if old != _pack(state):
            disk.replace_file(path + ".part.json", _pack(state), disk.PRIVATE)
        mode, private = "r+b" if had else "w+b", disk.opener(disk.PRIVATE)
        part = open(path + ".part", mode, opener=private)  # noqa: SIM115 - the caller's
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
    _check_new(path)
    with disk.explained(image), open(image, "rb") as file:
        data = file.read()
    if not whole:
        row = partitions.find(partitions.from_image(image), "pim")
        data = data[row.offset : row.offset + row.size]
    disk.write_file(path + ".part", [data], disk.PRIVATE)
    disk.rename(path + ".part", path)
    return len(data), sha256(data).hexdigest(), False
