"""The files of one emulated board: where they are and how they are read from outside.

`$DRYBAG_HOME/emu/NAME/`, by default below `~/.local/share/drybag`:
    board.toml   copy of the board's description
    chip.json    what the supervisor needs of it, and the image's path
    flash.bin    the flash image (unless `create` was given another)
    counters     flash counters and the command under way, see `rom/chip.py`
    faults.json  unstable cells, pages torn, worn sectors
    state.json   power, process ids, pty
    net.json     faults of the network, see `netfaults.py`; not there: none
    wifi         one byte, `1` or `0`
    lock         held while a supervisor runs
    control      socket of the supervisor
"""

import json
import os
from array import array
from pathlib import Path

COUNTERS_BYTES = 160
_DATA_AT = 96
_TRACE_HEAD = 32
_PROGRAM = 1
_MAGIC = 0x4252444F4D554531
_NAMES = (
    "reads",
    "read_bytes",
    "programs",
    "programmed_bytes",
    "erases",
    "overprograms",
    "commands",
)
NO_FAULTS: dict[str, list] = {"unstable": [], "touched": [], "worn": []}


def drybag_home(home=None):
    """The folder of everything Drybag keeps: `home`, `$DRYBAG_HOME` or the user's data folder."""
    if home is None:
        home = os.environ.get("DRYBAG_HOME")
    if home is None:
        data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
        home = os.path.join(data, "drybag")
    return Path(home).absolute()


def write_json(path, value):
    """Replace the file as a whole."""
    path = Path(path)
    spare = path.with_name("%s.%d.new" % (path.name, os.getpid()))
    spare.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(spare, path)


def read_json(path, default):
    """The file's value; `default` if there is no such file."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        return default


def read_counters(path):
    """`(counters, command under way)` of a board, running or not.

    Counters: a dict as `NorFlash.counters` plus `overprograms` and `commands`. The command:
    None, `("program", address, data)` or `("erase", address, None)`.
    """
    try:
        raw = Path(path).read_bytes()
    except FileNotFoundError:
        raw = b""
    words = array("Q", bytes(_DATA_AT))
    if len(raw) >= _DATA_AT and int.from_bytes(raw[:8], "little") == _MAGIC:
        words = array("Q", raw[:_DATA_AT])
    counters = dict(zip(_NAMES, words[1:8], strict=True))
    counters["ms"] = round(
        0.025 * counters["reads"]
        + 0.0001 * counters["read_bytes"]
        + 0.03 * counters["programs"]
        + 0.00145 * counters["programmed_bytes"]
        + 45.0 * counters["erases"],
        3,
    )
    under_way = None
    if words[8] == 1:
        under_way = ("program", words[9], raw[_DATA_AT : _DATA_AT + words[10]])
    elif words[8] == 2:
        under_way = ("erase", words[9], None)
    return counters, under_way


def clear_under_way(path):
    """No command is under way any more."""
    with open(path, "r+b") as f:
        f.seek(64)
        f.write(bytes(8))


def read_trace(path):
    """[(op, address, data or None)] of the flash commands in a trace, the last maybe cut short.

    Finalisers of MicroPython, which may not allocate, write without a trace.
    """
    data, at, commands = Path(path).read_bytes(), 0, []
    while at + _TRACE_HEAD <= len(data):
        op, address, size, _ = array("Q", data[at : at + _TRACE_HEAD])
        at += _TRACE_HEAD
        if op == _PROGRAM and at + size > len(data):
            break
        commands.append(("program", address, data[at : at + size]) if op == _PROGRAM
                        else ("erase", address, None))  # fmt: skip
        at += size
    return commands
