"""What is kept of each moment of a board's campaign after which something was missing.

`$DRYBAG_HOME/rig/kept/ID/` (':' in the id is '_'):
    story.json       board, cuts, operations, what the oracle knew, what was found
    flash-0.bin.gz   an emulated board's flash as the id's first life began, flash-1 as the next
                     one did, ...; the last is the flash as the last cut left it
    trace-0.bin      the flash commands of each life, see `files.read_trace`
    pim.bin          a real board's partition, read through its firmware after the recovery
"""

import gzip
import json
import shutil
from base64 import b64encode
from dataclasses import dataclass

from drybag.errors import DrybagError
from drybag_host.emulator.files import drybag_home, read_trace, write_json
from drybag_host.rig import ids
from drybag_host.rig.device import plan

STORY_VERSION = 1
_MOST = 50
_MOST_DUMPS = 3
_LONGEST_CHAIN = 4
_OPERATIONS = 12
_SECTOR = 4096
_TOLD = ("number", "how", "fell", "cut", "faults", "boots")
_LETTER = {name: letter for letter, name in plan.LETTERS.items()}


def kept_folder():
    """Where all of them are kept."""
    return drybag_home() / "rig" / "kept"


def folder_of(word):
    """Where the moment of that id is kept."""
    return kept_folder() / word.replace(":", "_")


@dataclass
class Life:
    """One life of a board, from power-on to its cut. `boots`: the board's count at power-on."""

    number: int
    how: str
    image: bytes = b""
    faults: dict | None = None
    boots: int = 0
    trace: bytes = b""
    fell: dict | None = None
    cut: tuple = ()


class Keeper:
    """Knows the last lives of a board and keeps them when asked. `board`: the EmulatedBoard, None
    for a real one. `trace`: the file that the board's flash commands go to.

    `wear`: {sector of the flash: [erases, programs]} of all lives between two cuts.
    """

    def __init__(self, target, seed, board, trace):
        self.target = target
        self.seed = seed
        self.board = board
        self.trace = trace
        self.kept = {}
        self.wear = {}
        self._dumps = 0
        self._chain = []
        self._after = None
        self._operations = []
        self._told = {}

    # -- lives ----------------------------------------------------------------------------------
    def begins(self, number, how):
        """The power is off, and a life is about to begin."""
        self._life = Life(number, how)
        if self.board is not None:
            self.trace.unlink(missing_ok=True)
            self._life.image, self._life.faults, self._life.boots = self._flash()

    def fell(self, fell, seed, at_work, oracle, operations):
        """It ended: where the cut fell, the seed of what it left, whether anything had been asked
        for, what the oracle knew and the requests of this life."""
        life = self._life
        life.fell = fell
        if self.board is not None:
            life.trace = self.trace.read_bytes() if self.trace.exists() else b""
            commands = self._count() if life.trace else 0
            torn = bool(fell and fell["op"])
            life.cut = (
                (commands - 1, _LETTER[fell["state"]], seed) if torn else (commands, "c", 1)
            )
            self._after = self._flash()
        if at_work or not self._chain or self.board is None:
            self._chain, self._operations = [], []
        self._chain = [*self._chain, life][-_LONGEST_CHAIN:]
        self._operations += operations[-_OPERATIONS:]
        self._told = {"oracle": _oracle(oracle), "operations": [
            {"ops": [_op(op) for op in ops], "seq": seq} for ops, seq in self._operations
        ]}  # fmt: skip

    def _count(self):
        """How many flash commands this life gave; each sector's are added up."""
        commands = read_trace(self.trace)
        for op, address, _ in commands:
            self.wear.setdefault(address // _SECTOR, [0, 0])[op != "erase"] += 1
        return len(commands)

    def _flash(self):
        board = self.board
        return board.image.read_bytes(), board.faults, board.state()["boots"]

    # -- keeping --------------------------------------------------------------------------------
    def word(self):
        """The id of the last cut."""
        chain = self._chain
        number = chain[0].number if chain else 0
        cuts = [life.cut for life in chain if life.cut]
        return ids.encode(ids.of_board(self.target, number, self.seed, cuts))

    def keep(self, problem, handset, baseline, dump=None):
        """Something was missing after the last cut; its id. `dump()`: the partition's bytes."""
        word = self.word()
        if not self._chain or (word not in self.kept and len(self.kept) >= _MOST):
            return word
        folder = folder_of(word)
        if word not in self.kept:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            self.kept[word] = {
                "version": STORY_VERSION, "id": word, "target": self.target, "seed": self.seed,
                "handset": handset, "baseline": baseline, **self._told, "problems": [],
                "chip": self.board and self.board.settings, "lives": self._write_flash(folder),
                "dump": self._write_dump(folder, dump),
            }  # fmt: skip
        self.kept[word]["problems"].append(list(map(str, problem)))
        write_json(folder / "story.json", self.kept[word])
        return word

    def _write_flash(self, folder):
        lives = []
        after = self._after or (b"", None, 0)
        for n, life in enumerate(self._chain):
            lives.append({key: getattr(life, key) for key in _TOLD})
            if self.board is not None:
                _write(folder / ("flash-%d.bin.gz" % n), life.image)
                (folder / ("trace-%d.bin" % n)).write_bytes(life.trace)
        if self.board is not None:
            _write(folder / ("flash-%d.bin.gz" % len(lives)), after[0])
        return [*lives, {"faults": after[1], "boots": after[2]}]

    def _write_dump(self, folder, dump):
        """Why there is no dump, "" if there is one or none is needed."""
        if self.board is not None:
            return ""
        if dump is None or self._dumps >= _MOST_DUMPS:
            return "not read: at most %d dumps a run" % _MOST_DUMPS if dump else "no link"
        self._dumps += 1
        try:
            (folder / "pim.bin").write_bytes(dump())
        except (DrybagError, OSError) as error:
            return "not read: %s" % error
        return ""


def _write(path, data):
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(data)


def _oracle(oracle):
    """What a BoardOracle knows, JSON-able."""
    return {
        "last_seq": oracle.last_seq,
        "live": [_record(key, content) for key, content in sorted(oracle.live.items())],
        "ever": [_record(key, c) for key, known in sorted(oracle.ever.items()) for c in known],
        "flight": oracle.flight and [_op(op) for op in oracle.flight],
    }


def _record(key, content):
    return [key[0], _text(key[1]), _text(content.body), [sha.hex() for sha in content.blobs]]


def _op(op):
    if op[0] == "delete":
        return ["delete", op[1], _text(op[2])]
    return ["put", op[1], _text(op[2]), _text(op[3]), [sha.hex() for sha in op[4]]]


def _text(data):
    return b64encode(data).decode()


def load(word):
    """The story of an id that was kept here, None if there is none."""
    try:
        return json.loads((folder_of(word) / "story.json").read_text())
    except (FileNotFoundError, NotADirectoryError):
        return None
