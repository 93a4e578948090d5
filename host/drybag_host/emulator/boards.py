"""Emulated boards from the host's side: create, start, power, remove; thin over a supervisor."""

import importlib.util
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path

from drybag_host.board_errors import AlreadyRunning, NotRunning
from drybag_host.errors import EmulatorError
from drybag_host.image import board_model, firmware, flash

from . import files, netfaults
from .rom.nor import STATES
from .virtual_board import VirtualBoard, given_image, lock

_START_TIMEOUT_S = 15
_HOST_DIR = Path(__file__).resolve().parent.parent.parent


def board_names(home=None):
    """The names of all emulated boards, sorted."""
    return EmulatedBoard.names(home)


def list_boards(home=None):
    """[{"name", "board", "running", "power", "console", "boots", "image"}] of all, by name."""
    rows = []
    for name in board_names(home):
        board = EmulatedBoard(name, home)
        state = board.state()
        rows.append(
            {
                "name": name,
                "board": board.settings["board"],
                "running": state["running"],
                "power": state["power"],
                "console": state["pty"],
                "boots": state["boots"],
                "wifi": board.wifi(),
                "net": board.net(),
                "image": str(board.image),
            }
        )
    return rows


class EmulatedBoard(VirtualBoard):
    """One emulated board by its name. Raises UnknownBoardName if there is none."""

    kind = "emu"
    title = "emulated board '%s'"
    settings_file = "chip.json"

    @classmethod
    def create(cls, name, board="esp32-generic", home=None, files_in_vfs=None, image=None):
        """A new board with a new flash image, not started.

        `board`: a name from boards/ or the path of a TOML file. `files_in_vfs`: {"/path": bytes}
        for `vfs`; None is the firmware, {} nothing. `image`: use this flash image, as it is.
        Raises NameTaken, BoardFileError, ImageProblem.
        """
        model = board_model.load(board)
        with cls.making(name, home) as folder:
            _fill(folder, model, home, files_in_vfs, image)
        return cls(name, home)

    @classmethod
    def like(cls, name, chip, image, home=None, boots=0):
        """A new board as `chip` (another board's) says, with this flash (bytes), not started.

        `boots`: how often that one had booted; what unsteady cells read follows from it.
        """
        folder = cls._all(home) / name
        folder.mkdir(parents=True)
        flash.write(folder / "flash.bin", image)
        _write_chip(folder, {**chip, "image": "flash.bin"})
        files.write_json(folder / "state.json", {"boots": boots})
        return cls(name, home)

    # -- what it is ---------------------------------------------------------------------------
    @property
    def counters(self):
        """Flash counters since creation: reads, read_bytes, programs, ..., commands, ms."""
        return files.read_counters(self.folder / "counters")[0]

    @property
    def is_running(self):
        """Is a supervisor there, so that the board has a console (with power or without)?"""
        return self.is_locked

    def state(self):
        """A dict: running, power (`on`/`off`), held, why_off, pid, pty, boots, cut, net.

        `held`: the processor stands still (see `hold`). `cut`: with the power off, where it was
        cut: {"op": "program", "erase" or None for between commands, "address" in the flash,
        "state" it was left in}; None if that is not known. `net`: see `net()`.
        """
        if self.is_running:
            try:
                return {"running": True, **self._ask("state")}
            except NotRunning:  # it has ended meanwhile
                pass
        saved = files.read_json(self.folder / "state.json", {})
        return {
            "running": False,
            "power": "off",
            "held": False,
            "why_off": "not started",
            "pid": None,
            "pty": None,
            "boots": saved.get("boots", 0),
            "cut": None,
            "net": self._saved_net(),
        }

    @property
    def is_powered(self):
        return self.state()["power"] == "on"

    @property
    def console(self):
        """Path of the pty, as the supervisor says itself. Raises NotRunning.

        What an earlier one has left in its file may be another board's pty by now.
        """
        path = self.state()["pty"]
        if not path:
            raise NotRunning(self._not_running())
        return path

    def has_console(self, path):
        """Is the pty `path`, which the caller has open, this board's?

        Ptys get the numbers of those that are gone. One that is open keeps its number: if the
        board has it now, it had it when it was opened.
        """
        return self.state()["pty"] == path

    # -- power --------------------------------------------------------------------------------
    def start(self, timing=False, baud=None):
        """Start the board and give it power. Raises AlreadyRunning, ImageProblem, ImageInUse.

        `timing`: flash commands take the time they take on the chip. `baud`: the console is as
        slow as a serial line of that speed.
        """
        self.power_on(timing=timing, baud=baud)

    def stop(self):
        """Power off and end the supervisor. Raises NotRunning."""
        if not self.is_running:
            raise NotRunning(self._not_running())
        self._ask("stop")
        deadline = time.monotonic() + 5
        while self.is_running and time.monotonic() < deadline:
            time.sleep(0.002)

    def power_off(self, seed=None):
        """Cut the power now, at whatever the chip is doing. Raises NotRunning."""
        if not self.is_running or self._ask("power_off", seed=seed).get("error"):
            raise NotRunning("'%s' has no power" % self.name)

    def power_on(self, cut_at=None, cut_state=None, seed=None, timing=False, baud=None,
                 trace=None):  # fmt: skip
        """Power on, starting the board if need be. Raises AlreadyRunning if it has power.

        `cut_at`: cut the power at the n-th program or erase command from now (1: the first), left
        in the torn state `cut_state` (an id of the fault model, None: drawn from `seed`). Raises
        ValueError for a state or number that cannot be; else as `start`, which see.
        """
        if cut_state not in (None, *STATES) or (cut_at is not None and cut_at < 1):
            raise ValueError("no such cut: at %r, state %r" % (cut_at, cut_state))
        request = {
            "cut_at": cut_at,
            "cut_state": cut_state,
            "seed": seed,
            "timing": timing,
            "baud": baud,
            "trace": trace and str(Path(trace).absolute()),
        }
        if not self.is_running:
            self._launch(request)
        elif self._ask("power_on", **request).get("error"):
            raise AlreadyRunning("'%s' has power already (console %s)" % (self.name, self.console))

    def reset(self):
        """The EN button: the processor starts again, the flash stays powered. NotRunning."""
        if not self.is_running or self._ask("reset").get("error"):
            raise NotRunning("'%s' has no power" % self.name)

    def hold(self):
        """EN low, or the ROM's loader: the flash has power, the processor is still. NotRunning."""
        if not self.is_running or self._ask("hold").get("error"):
            raise NotRunning("'%s' has no power" % self.name)

    @property
    def faults(self):
        """What `set_faults` was given last, or the flash has come to since."""
        return files.read_json(self.folder / "faults.json", files.NO_FAULTS)

    def wait_off(self, timeout_s=60.0):
        """Wait until the board has lost its power (a cut). True if it has."""
        deadline = time.monotonic() + timeout_s
        while self.is_powered:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def wifi(self, on=None):
        """Switch the access point in reach on or off; returns whether it is on."""
        path = self.folder / "wifi"
        if on is not None:
            with open(path, "r+b") as f:
                f.write(b"1" if on else b"0")
        return path.read_bytes()[:1] == b"1"

    def net(self, state=None):
        """Set the network's faults, see `netfaults.faults`; returns those that hold."""
        if state is not None and not self.is_running:
            files.write_json(self.folder / "net.json", state)
        elif state is not None:
            self._ask("net", state=state)
        return self._saved_net()

    def _saved_net(self):
        return files.read_json(self.folder / "net.json", None) or netfaults.faults()

    def set_faults(self, faults):
        """Give the flash what `NorFlash.fault_state()` returns (worn sectors ...), power off."""
        if not self.is_running:
            files.write_json(self.folder / "faults.json", faults)
        elif self._ask("faults", faults=faults).get("error"):
            raise AlreadyRunning("'%s' has power: faults are set with the power off" % self.name)

    # -- the supervisor -----------------------------------------------------------------------
    def _not_running(self):
        return "'%s' is not started" % self.name

    def _launch(self, power_on):
        program = os.environ.get("DRYBAG_MICROPYTHON")
        if program and not os.access(program, os.X_OK):
            raise EmulatorError(
                "DRYBAG_MICROPYTHON names no program: %s" % program,
                "it is the path of a unix port of MicroPython; unset it to run the one installed",
            )
        with open(self.folder / "lock", "r+b") as held, self.open_image() as image:
            if not lock(held, wait_s=0.1):  # others hold it for an instant to look
                raise AlreadyRunning("'%s' is started already" % self.name)
            ready, ready_in = os.pipe()
            with open(ready, "rb") as answer:
                self._spawn(held, image, ready_in, power_on)
                os.close(ready_in)
                said = answer.read()
        if said != b"ready":
            log = (self.folder / "log").read_text(errors="replace").strip()
            raise EmulatorError(
                "the supervisor of '%s' did not start: %s" % (self.name, log[-500:] or "no reason")
            )

    def _spawn(self, held, image, ready_in, power_on):
        """Start the supervisor, which takes over the locks, with a Python that loads little."""
        code = "import sys; sys.path[:0] = %r; from %s.supervisor import main; main()" % (
            _import_dirs(),
            __package__,
        )
        fds = (held.fileno(), image.fileno(), ready_in)
        with open(self.folder / "log", "wb") as log:
            subprocess.run(
                [sys.executable, "-I", "-S", "-c", code, str(self.folder)]
                + [str(fd) for fd in fds]
                + [json.dumps(power_on)],
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=_START_TIMEOUT_S,
                cwd="/",
            )

    def _ask(self, verb, **arguments):
        """One request to the supervisor; its reply. Raises NotRunning if it is gone."""
        try:
            return self.ask("control", {"do": verb, **arguments})[0]
        except (OSError, ValueError) as error:
            raise NotRunning(
                "the supervisor of '%s' does not answer (%s)" % (self.name, error)
            ) from None


def _import_dirs():
    """Where the supervisor finds this package, MicroPython and `drybag`."""
    found = [str(_HOST_DIR)]
    for name, ups in (("micropython_run", 0), ("drybag", 1)):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise EmulatorError(
                "the Python module '%s' is not installed" % name, "install Drybag again"
            )
        found.append(str(Path(spec.origin).resolve().parents[ups]))
    return list(dict.fromkeys(found))


def _fill(folder, model, home, files_in_vfs, image):
    """The files of a new board."""
    if image is None:
        if files_in_vfs is None:
            cache = files.drybag_home(home) / "cache" / "mpy"
            files_in_vfs = firmware.firmware_files(cache_dir=cache)
        flash.write(folder / "flash.bin", flash.compose(model, files_in_vfs))
        image = "flash.bin"
    else:
        image = given_image(image, model)
    shutil.copyfile(model.file, folder / "board.toml")
    unique_id = bytes([0x24, 0x6F, 0x28]) + secrets.token_bytes(3)
    _write_chip(
        folder,
        {
            "board": model.name,
            "image": image,
            "flash_bytes": model.flash_bytes,
            "heap_kib": model.heap_kib,
            "freq_hz": model.freq_mhz * 1000000,
            "machine": model.machine,
            "unique_id": unique_id.hex(),
            "chip": model.chip,
        },
    )


def _write_chip(folder, chip):
    """The files of a board beside its image."""
    (folder / "wifi").write_bytes(b"0")
    (folder / "lock").touch()
    (folder / "counters").write_bytes(bytes(files.COUNTERS_BYTES))
    files.write_json(folder / "chip.json", chip)
