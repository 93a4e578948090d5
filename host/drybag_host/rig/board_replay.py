"""A moment of a board's campaign again, from its id: told step by step, booted, judged.

An emulated board's flash is made again from the id's own numbers: the flash as the life began,
every flash command up to the cut, and the torn state that its letter and seed name. Then it boots
with the firmware that it holds. Of a real board there is what was read after its recovery.
"""

import gzip
import tempfile
import time
from base64 import b64decode
from pathlib import Path

from drybag import layout
from drybag.errors import DrybagError
from drybag_host.board.backends import EmulatedConsole
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.emulator.files import read_trace
from drybag_host.emulator.rom.nor import NorFlash
from drybag_host.errors import LinkError
from drybag_host.image import partitions
from drybag_host.link import HandsetLink
from drybag_host.rig import board_keep, ids
from drybag_host.rig.board_oracle import (
    PREFIX,
    BoardOracle,
    Content,
    Mismatch,
    judge_boot,
    say_op,
)
from drybag_host.rig.device import plan
from drybag_host.rig.device.journal_subject import JournalSubject
from drybag_host.rig.errors import BadRigId, CannotJudge
from drybag_host.rig.tap import HOWS

SECTOR = 4096
_AROUND = 3
_COMMANDS_SHOWN = 40
_BOOT_S = 30.0
_SAME = "made again from the id's numbers, bit for bit what was kept"
_NOT_SAME = "as it was kept; the numbers alone give another (a finaliser wrote untraced)"


class Kept:
    """What was kept of an id. Raises CannotJudge where nothing is here, BadRigId for an id whose
    numbers are not those of what is."""

    def __init__(self, word):
        self.story = board_keep.load(word)
        self.folder = board_keep.folder_of(word)
        if self.story is None:
            raise CannotJudge(
                "nothing is kept of %s: no folder %s" % (word, self.folder),
                "a board's timing is not repeatable, so numbers alone do not bring it back: copy "
                "that folder from the computer that ran the campaign, or run it again (--seed %d)"
                % ids.decode(word).seed,
            )
        if self.story.get("version") != board_keep.STORY_VERSION:
            raise BadRigId("%s is of another version of the rig" % self.folder,
                           "replay it with the Drybag that kept it")  # fmt: skip
        *self.lives, self.last = self.story["lives"]
        self.is_emulated = self.story["chip"] is not None

    def flash(self, number):
        """(bytes, faults) as life `number` of the id began; one more: as the last cut left it."""
        with gzip.open(self.folder / ("flash-%d.bin.gz" % number), "rb") as file:
            faults = [*self.lives, self.last][number]["faults"]
            return file.read(), faults

    def trace(self, number):
        return read_trace(self.folder / ("trace-%d.bin" % number))

    def oracle(self):
        """The BoardOracle of that moment."""
        told, oracle = self.story["oracle"], BoardOracle()
        oracle.last_seq = told["last_seq"]
        for kind, uid, body, blobs in told["live"]:
            oracle.live[kind, b64decode(uid)] = _content(body, blobs)
        for kind, uid, body, blobs in told["ever"]:
            oracle.ever.setdefault((kind, b64decode(uid)), set()).add(_content(body, blobs))
        oracle.flight = told["flight"] and [_op(op) for op in told["flight"]]
        return oracle


def _content(body, blobs):
    return Content(b64decode(body), tuple(bytes.fromhex(sha) for sha in blobs))


def _op(op):
    if op[0] == "delete":
        return "delete", op[1], b64decode(op[2])
    blobs = tuple(bytes.fromhex(sha) for sha in op[4])
    return "put", op[1], b64decode(op[2]), b64decode(op[3]), blobs, 0


def flash_image(word, depth=None):
    """(bytes of the flash, what of it) as the last cut of the id left it, or the `depth`-th."""
    kept = Kept(word)
    if not kept.is_emulated:
        file = kept.folder / "pim.bin"
        if depth is not None or not file.exists():
            raise CannotJudge("no image of that moment: the chip of a real board is read only "
                              "through its firmware", kept.story["dump"])  # fmt: skip
        return file.read_bytes(), "partition pim, read after the recovery"
    if depth is not None and not 1 <= depth <= len(kept.lives):
        raise BadRigId("depth %d: the id has %d cuts" % (depth, len(kept.lives)),
                       "leave --depth out")  # fmt: skip
    return kept.flash(depth or len(kept.lives))[0], "the flash of %s" % kept.story["target"]


def made_again(kept, number):
    """True if life `number`'s flash, its commands and the id's torn state give what was kept."""
    image, faults = kept.flash(number)
    commands, after = kept.trace(number), kept.flash(number + 1)[0]
    _, letter, seed = kept.lives[number]["cut"]
    fell = kept.lives[number]["fell"]
    torn = bool(fell and fell["op"])
    if torn and not commands:
        return False
    # the processor may have died just before or just behind a command that it had announced
    for whole in (len(commands) - torn, len(commands) - 1 + torn):
        flash, memory = _chip(image, faults)
        _apply(flash, commands[: max(0, whole)])
        if torn:
            state = flash.tear(*commands[-1], seed=seed)
            if state != plan.LETTERS[letter]:
                continue
        if memory == after:
            return True
    return False


def _chip(image, faults):
    """(NorFlash, its memory) with these contents and faults."""
    memory = bytearray(image)
    flash = NorFlash(len(memory), memory)
    flash.restore_faults(faults)
    return flash, memory


def _apply(flash, commands):
    for op, address, data in commands:
        try:
            if op == "erase":
                flash.erase(address)
            else:
                flash.program(address, data)
        except OSError:
            continue  # a worn-out sector that says so


def replay(word):
    """(steps: [{kind, text}], result) as replay.replay.

    "recorded" in the result: a real board's, told as it was and not run again.
    """
    kept, steps = Kept(word), []

    def say(kind, text):
        steps.append({"kind": kind, "text": text})

    for request in kept.story["operations"]:
        end = "seq %d" % request["seq"] if request["seq"] else "not acknowledged"
        ops = [say_op(_op(op)) for op in request["ops"]]
        say("operation", "%s: %s" % (", ".join(ops), end))
    for number in range(len(kept.lives)):
        _tell_cut(kept, number, say)
    oracle = kept.oracle()
    for line in oracle.expects():
        say("expected", line)
    if not kept.is_emulated:
        what, expected, found = kept.story["problems"][0]
        return steps, {"failure": what, "expected": expected, "found": found,
                       "recorded": kept.story["dump"] or str(kept.folder / "pim.bin")}  # fmt: skip
    for number in range(len(kept.lives)):
        how = _SAME if made_again(kept, number) else _NOT_SAME
        say("flash", "after cut %d: %s" % (number + 1, how))
    problems = _boot(kept, oracle, say)
    if not problems:
        return steps, {"failure": None}
    for problem in problems:
        say("found", str(problem.found))
    return steps, {name: str(getattr(problems[0], key)) for name, key in (
        ("failure", "what"), ("expected", "expected"), ("found", "found"))}  # fmt: skip


def _tell_cut(kept, number, say):
    life = kept.lives[number]
    if not kept.is_emulated:
        say("cut", "in life %d, %s: where it fell is not known of a real board"
            % (life["number"], HOWS.get(life["how"], life["how"])))  # fmt: skip
        return
    n, letter, seed = life["cut"]
    commands = kept.trace(number)
    when = HOWS.get(life["how"], life["how"])
    say("cut", "in life %d, %s, at flash command %d of that life: %s, seed %d" % (
        life["number"], when, n, plan.LETTERS[letter], seed))  # fmt: skip
    image, faults = kept.flash(number)
    pim = _pim(image)
    flash, memory = _chip(image, faults)
    first = max(0, n - _AROUND)
    _apply(flash, commands[:first])
    for at, command in enumerate(commands[first : n + 1], first):
        mark = "->" if at == n else "  "
        say("command", "%s %d %s" % (mark, at, _command(command, pim, memory)))
        if at < n:
            _apply(flash, [command])
    if n >= len(commands):
        say("command", "-> %d (between commands)" % n)


def _tell_recovery(commands, pim, image, faults, say):
    flash, memory = _chip(image, faults)
    for at, command in enumerate(commands[:_COMMANDS_SHOWN]):
        say("recovery command", "%d %s" % (at, _command(command, pim, memory)))
        _apply(flash, [command])
    if len(commands) > _COMMANDS_SHOWN:
        say("recovery command", "and %d more" % (len(commands) - _COMMANDS_SHOWN))


def _pim(image):
    table = image[partitions.TABLE_ADDR :][: partitions.TABLE_BYTES]
    return partitions.find(partitions.from_bytes(table), "pim")


def _command(command, pim, memory):
    op, address, data = command
    place = ""
    if pim.offset <= address < pim.offset + pim.size:
        view = memoryview(memory)[pim.offset : pim.offset + pim.size]
        address -= pim.offset
        place = " (%s)" % JournalSubject().place(view, op, address, data)
    text = "%s sector %d byte %d" % (op, address // SECTOR, address % SECTOR)
    return text + (", %d bytes" % len(data) if data else "") + place


def _boot(kept, oracle, say):
    """Boot the kept flash, judge it, write once: the Mismatches."""
    image, faults = kept.flash(len(kept.lives))
    pim = _pim(image)
    with tempfile.TemporaryDirectory(prefix="drybag-") as home:
        board = EmulatedBoard.like("kept", kept.story["chip"], image, home, kept.last["boots"])
        board.set_faults(faults)
        trace = Path(home) / "trace"
        board.power_on(trace=trace)
        try:
            with HandsetLink(EmulatedConsole(board, "the kept flash")) as link:
                problems = _judge(link, kept, oracle, say, board)
                _tell_recovery(read_trace(trace), pim, *kept.flash(len(kept.lives)), say)
                return problems or _write(link)
        except LinkError as error:
            raise CannotJudge(
                "the kept flash does not boot: %s" % error,
                "save it with 'drybag rig image' and look at it: drybag inspect FILE",
            ) from error
        finally:
            board.stop()


def _judge(link, kept, oracle, say, board):
    deadline = time.monotonic() + _BOOT_S
    while True:
        try:
            info = link.hello(allow_fault=True)
            break
        except LinkError:
            if time.monotonic() > deadline:
                raise
    say("stage", "booted")
    now = board.counters
    say("reads", "%d reads, %d bytes, up to the first answer" % (now["reads"], now["read_bytes"]))
    for key in ("error", "recovery", "counts", "last_seq", "epoch"):
        if info.get(key):
            say("recovery", "%s: %s" % (key, info[key]))
    return judge_boot(link, info, oracle, kept.story["baseline"])


def _write(link):
    """A write works after recovery."""
    try:
        list(link.put_records([("put", layout.NOTE, PREFIX + b"probe", b"SUMMARY:x\n", (), 0)]))
    except LinkError:
        raise
    except DrybagError as error:
        return [Mismatch("write refused after recovery", "a write works", str(error))]
    return []
