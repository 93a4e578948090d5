"""The id of one state: everything that is needed to see it again, in one short word.

    r1:journal:puts:1:17n2:3b1

version of the rig's format, subject, workload, seed of the workload, then a cut for each depth:
number of the flash command, letter of the torn state, seed of that state. Characters that a shell
or the format itself would take amiss are written %XX.

    r1:board@demo:life-7:11:23n981

Life 7 (between two cuts) of a campaign on the board `demo`: what was written follows from the
seed, the flash it began with was kept, see board_keep.py. Of a real board the cut is not known.
"""

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

from drybag_host.rig.device.plan import LETTERS
from drybag_host.rig.errors import BadRigId

VERSION = 1
MAX_LENGTH = 2000
MAX_DEPTH = 64
_CUT = re.compile(r"(0|[1-9][0-9]{0,8})([a-z])(0|[1-9][0-9]{0,9})", re.ASCII)
_NUMBER = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_PLAIN = "!,=+@/"
_BOARD, _LIFE = "board@", "life-"


class RigId(NamedTuple):
    """`cuts`: a (command, letter, seed) for each depth; none: the uncut workload."""

    subject: str
    workload: str
    seed: int
    cuts: tuple = ()

    @property
    def is_board(self):
        """Of a campaign on a board, whose flash was kept?"""
        return self.subject.startswith(_BOARD)


def of_board(target, life, seed, cuts):
    """The RigId of a cut, or of a row of them, in a campaign on that board."""
    name = target.removeprefix("emu:").rsplit("/", 1)[-1]
    return RigId(_BOARD + name, _LIFE + str(life), seed, tuple(cuts))


def encode(rig_id):
    """The id as a word."""
    cuts = ["%d%s%d" % cut for cut in rig_id.cuts]
    fields = [quote(rig_id.subject, _PLAIN), quote(rig_id.workload, _PLAIN), str(rig_id.seed)]
    return ":".join(["r%d" % VERSION, *fields, *cuts])


def of_path(subject, workload, seed, path):
    """The id of a state whose path a worker gave as text ('17n2:3b1')."""
    return ":".join([encode(RigId(subject, workload, seed)), path])


def decode(word):
    """The RigId of a word. Raises BadRigId that says what is wrong."""
    word = word.strip()
    if len(word) > MAX_LENGTH:
        raise BadRigId("an id of %d characters: at most %d" % (len(word), MAX_LENGTH))
    version, *fields = word.split(":")
    if not re.fullmatch("r[0-9]+", version, re.ASCII):
        raise BadRigId("'%s' is no id of the rig: they begin with 'r%d:'" % (word[:40], VERSION))
    if version != "r%d" % VERSION:
        raise BadRigId(
            "'%s' is an id of version %s of the rig, this one reads version %d"
            % (word[:40], version[1:], VERSION),
            "replay it with the Drybag that printed it, or run the campaign again with this one",
        )
    if len(fields) < (3 if fields[:1] and unquote(fields[0]).startswith(_BOARD) else 4):
        raise BadRigId("'%s' is cut short: subject, workload, seed and a cut must follow" % word)
    subject, workload, seed, *cuts = fields
    if not _NUMBER.fullmatch(seed):
        raise BadRigId("'%s' is no seed" % seed)
    if len(cuts) > MAX_DEPTH:
        raise BadRigId("%d cuts: at most %d" % (len(cuts), MAX_DEPTH))
    names = [unquote(name, errors="replace") for name in (subject, workload)]
    if not all(name and name.isprintable() for name in names):
        raise BadRigId("'%s' names no subject or no workload" % word)
    return RigId(names[0], names[1], int(seed), tuple(_cut(cut) for cut in cuts))


def _cut(text):
    match = _CUT.fullmatch(text)
    if not match or match.group(2) not in LETTERS:
        raise BadRigId(
            "'%s' is no cut: a command's number, one of %s, a seed" % (text, "".join(LETTERS))
        )
    return int(match.group(1)), match.group(2), int(match.group(3))
