"""A board that is a folder: what emulated boards and those in QEMU have in common.

The folder, `$DRYBAG_HOME/KIND/NAME/`, is there whole or not at all. Its settings are one JSON
file; `lock` is held while the board is started, and the flash image while it is in use.
"""

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import socket
import time
from pathlib import Path

from drybag_host.board_errors import (
    AlreadyRunning,
    ImageInUse,
    ImageProblem,
    NameTaken,
    UnknownBoardName,
)
from drybag_host.emulator.files import drybag_home, read_json

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ANSWER_S = 10


class VirtualBoard:
    """One board by its name. Raises UnknownBoardName if there is none."""

    kind = ""  # the folder below Drybag's, the target and the command
    title = "%s"  # what a board is called in messages
    settings_file = ""

    def __init__(self, name, home=None):
        self.name = name
        self.home = home
        self.folder = self._all(home) / name
        if not _NAME.fullmatch(name) or not (self.folder / self.settings_file).exists():
            known = ", ".join(self.names(home)) or "none yet"
            raise UnknownBoardName(
                "no %s (there are: %s)" % (self.title % name, known),
                "'drybag %s list' shows them, 'drybag %s create NAME' makes one"
                % (self.kind, self.kind),
            )

    @classmethod
    def _all(cls, home):
        return drybag_home(home) / cls.kind

    @classmethod
    def names(cls, home=None):
        """The names of all boards of this kind, sorted."""
        return sorted(path.parent.name for path in cls._all(home).glob("*/" + cls.settings_file))

    @classmethod
    @contextlib.contextmanager
    def making(cls, name, home=None):
        """A folder to fill, which is the board's when the block ends well. Raises NameTaken."""
        if not _NAME.fullmatch(name):
            raise NameTaken(
                "'%s' cannot be a name: letters, digits, '.', '_', '-', at most 64" % name,
                "choose another name",
            )
        taken = NameTaken(
            "there is one already: %s" % (cls.title % name),
            "choose another name, or remove the board with 'drybag %s rm NAME'" % cls.kind,
        )
        folder = cls._all(home) / name
        if folder.exists():
            raise taken
        folder.parent.mkdir(parents=True, exist_ok=True)
        spare = _beside(folder)
        spare.mkdir()
        try:
            yield spare
            try:
                spare.rename(folder)
            except OSError:
                raise taken from None
        finally:
            shutil.rmtree(spare, ignore_errors=True)

    @property
    def settings(self):
        return read_json(self.folder / self.settings_file, {})

    @property
    def image(self):
        """Path of the flash image."""
        return (self.folder / self.settings["image"]).resolve()

    @property
    def is_locked(self):
        """Does a program hold the board?"""
        try:
            with open(self.folder / "lock", "rb") as held:
                return not lock(held, fcntl.LOCK_SH)
        except FileNotFoundError:  # it was deleted
            return False

    def check_image(self):
        """Raises ImageProblem where the flash image is missing or not as large as the flash."""
        check_size(self.image, self.settings["flash_bytes"], "the board's flash")

    def open_image(self):
        """The flash image, locked for us. Raises ImageProblem, ImageInUse, AlreadyRunning."""
        self.check_image()
        path = self.image
        try:
            image = open(path, "r+b", buffering=0)
        except OSError as error:
            raise ImageProblem("flash image %s: %s" % (path, error.strerror)) from None
        if not lock(image):
            image.close()
            if self.is_locked:
                raise AlreadyRunning("'%s' is started already" % self.name)
            raise ImageInUse("another board runs on flash image %s" % path)
        return image

    def ask(self, file, *requests):
        """Send JSON lines to the socket `file` of the folder; the answers. OSError, ValueError.

        By a descriptor of the folder: the path of a socket may have no more than 108 bytes.
        """
        folder_fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with socket.socket(socket.AF_UNIX) as peer:
                peer.settimeout(_ANSWER_S)
                peer.connect("/proc/self/fd/%d/%s" % (folder_fd, file))
                lines, answers = peer.makefile("rb"), []
                for request in requests:
                    if request is not None:  # None: what the other end says first
                        peer.sendall(json.dumps(request).encode() + b"\n")
                    answers.append(json.loads(lines.readline()))
                return answers
        finally:
            os.close(folder_fd)

    def remove(self):
        """Delete the board with its image. Raises AlreadyRunning."""
        if self.is_running:
            raise AlreadyRunning(
                "'%s' is started" % self.name, "'drybag %s stop' it first" % self.kind
            )
        doomed = _beside(self.folder)
        self.folder.rename(doomed)
        shutil.rmtree(doomed)

    @property
    def is_running(self):
        """Is it started (with power or without)?"""
        raise NotImplementedError


def lock(file, how=fcntl.LOCK_EX, wait_s=0.0):
    """Take the file's lock. False if another has it."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
            return True
        except OSError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)


def given_image(path, model):
    """The absolute path of an image that a new board is to run on. Raises ImageProblem."""
    check_size(path, model.flash_bytes, "the flash of " + model.name)
    return str(Path(path).resolve())


def check_size(path, wanted, what):
    """Raises ImageProblem where a file is missing or has not `wanted` bytes, those of `what`."""
    try:
        size = os.stat(path).st_size
    except OSError as error:
        raise ImageProblem("flash image %s: %s" % (path, error.strerror)) from None
    if size != wanted:
        raise ImageProblem(
            "flash image %s has %d bytes, %s %d" % (path, size, what, wanted),
            "take a copy of the whole flash of such a board (drybag image build, drybag dump "
            "--whole, drybag rig image --board), or create a board without --image",
        )


def _beside(folder):
    """A name of no other folder, which `names` does not show."""
    return folder.with_name(".%s.%s" % (folder.name, secrets.token_hex(4)))
