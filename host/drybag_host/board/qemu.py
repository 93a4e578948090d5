"""Boards in QEMU: `qemu-system-xtensa` with an ESP32 machine, stock MicroPython and our flash.

`$DRYBAG_HOME/qemu/NAME/`: qemu.json (settings), flash.bin, efuse.bin, lock (held by QEMU while
the board has power), pid, state.json (started? at which port? ready?), log (what QEMU itself
said), console.log (what the board said since its power-on), cut (its power was cut). Power off
is SIGKILL.
"""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time

from drybag_host.board_errors import AlreadyRunning, ImageProblem, NotRunning
from drybag_host.emulator.files import drybag_home, read_json, write_json
from drybag_host.emulator.virtual_board import VirtualBoard, given_image, lock
from drybag_host.errors import EmulatorError, LinkTimeout
from drybag_host.image import board_model, flash, whole

PROGRAM = "qemu-system-xtensa"
# A thread for each of the chip's two processors: one waits in a loop while the other uses the
# flash. Without tb-size (MiB of translated code) QEMU takes over 1 GB of memory.
OPTIONS = ("-accel", "tcg,thread=multi,tb-size=64")
_NO_WATCHDOG = "driver=timer.esp32.timg,property=wdt_disable,value=true"  # it knows host time
BOOT_S = 1200  # on a busy computer; a first boot formats
_REAL_BOOT_S = 2.0  # what a board takes to its prompt
_MOST_PACE = 60.0
_START_HINT = "'drybag qemu start NAME' starts a board"
_PROMPTS = (b"drybag> ", b">>> ")
_START_S = 20
_PORT_TRIES = 5
_POLL_S = 0.05
_TELL_S = 4.0  # then after twice the time, and so on
_LAUNCH = """
import os, sys
if os.fork():
    os._exit(0)
os.setsid()
with open("pid", "w") as file:
    file.write(str(os.getpid()))
try:
    os.execvp(sys.argv[1], sys.argv[1:])
except OSError as error:
    sys.exit("%s: %s" % (sys.argv[1], error.strerror))
"""


def board_names(home=None):
    """The names of all boards in QEMU, sorted."""
    return QemuBoard.names(home)


def list_boards(home=None):
    """[{"name", "board", "running", "power", "console", "image"}] of all, by name."""
    rows = []
    for name in board_names(home):
        board = QemuBoard(name, home)
        state = board.state()
        rows.append({"name": name, "board": board.settings["board"],
                     "running": state["running"], "power": state["power"],
                     "console": state["console"], "image": str(board.image)})  # fmt: skip
    return rows


class QemuBoard(VirtualBoard):
    """One board in QEMU by its name. Raises UnknownBoardName if there is none."""

    kind = "qemu"
    title = "board '%s' in QEMU"
    settings_file = "qemu.json"

    @classmethod
    def create(cls, name, board="esp32-generic", home=None, micropython=None, image=None,
               program=PROGRAM, machine=None, rom=None, network=None, options=None,
               boot_s=None, pace=None):  # fmt: skip
        """A new board with a new flash, not started.

        `micropython`: a Stock, with `image` None; `image`: use this flash, as it is. `program`,
        `machine` (None: the chip's name), `rom` (folder, None: QEMU's own), `network` (what
        follows -nic, None: none), `options`: more words, None: OPTIONS, `boot_s`: how long a
        boot may take, `pace`: how many times slower than a board it is, None: as measured at
        each boot. Raises NameTaken, BoardFileError, ImageProblem.
        """
        model = board_model.load(board)
        with cls.making(name, home) as folder:
            settings = {
                "board": model.name, "program": program, "machine": machine or model.chip,
                "rom": rom, "network": network, "chip": model.chip,
                "options": list(OPTIONS if options is None else options),
                "flash_bytes": model.flash_bytes, "boot_s": boot_s or BOOT_S, "pace": pace,
                "image": _new_image(folder, model, home, micropython, image),
            }  # fmt: skip
            write_json(folder / "qemu.json", settings)
            (folder / "efuse.bin").write_bytes(efuse(bytes([0x24, 0x6F, 0x28])
                                                     + secrets.token_bytes(3)))  # fmt: skip
            (folder / "lock").touch()
        return cls(name, home)

    # -- what it is ---------------------------------------------------------------------------
    @property
    def is_powered(self):
        """Does QEMU run?"""
        return self.is_locked

    @property
    def is_running(self):
        """Is it started (with power or without)?"""
        return self.is_powered or bool(self._saved().get("started"))

    @property
    def console(self):
        """URL of its serial line. Raises NotRunning."""
        if not self.is_powered:
            raise NotRunning(self._no_power(), _START_HINT)
        return "socket://127.0.0.1:%d" % self._saved()["port"]

    def state(self):
        """A dict: running, power (`on`/`off`), console, boots."""
        on, saved = self.is_powered, self._saved()
        return {
            "running": on or bool(saved.get("started")),
            "power": "on" if on else "off",
            "console": self.console if on else None,
            "boots": saved.get("boots", 0),
        }

    @property
    def pace(self):
        """How many times slower than a board it is: as set, or by its last boot; at least 1."""
        given = self.settings.get("pace")
        return given or min(_MOST_PACE, max(1.0, (self.boot_took_s or 0) / _REAL_BOOT_S))

    @property
    def boot_took_s(self):
        """Seconds from power-on to the prompt at its last boot that came so far, or None."""
        return self._saved().get("boot_took_s")

    def await_prompt(self, read, tell=None):
        """Read what it says until it has booted; those bytes. `read(timeout_s)` -> bytes.

        What is sent before the prompt is lost, or stops the boot. `tell(text)` is called now and
        then meanwhile. Raises LinkTimeout; `read` its own.
        """
        saved, said = self._saved(), bytearray()
        if saved.get("ready"):
            return b""
        tell_at_s = _TELL_S
        booted, last = self._booted(saved)
        while not booted:
            said += read(_POLL_S)
            booted, last = self._booted(saved)
            on_s = time.time() - saved["on_at"]
            if not booted and on_s > self.settings["boot_s"]:
                raise LinkTimeout(
                    "qemu:%s: no prompt %d s after power-on; it said: %s"
                    % (self.name, on_s, last),
                    "it goes on; more time: drybag qemu start %s --boot SECONDS; all it said: %s"
                    % (self.name, self.folder / "console.log"),
                )
            if tell and not booted and on_s > tell_at_s:
                tell(self._boots(on_s, last))
                tell_at_s = 2 * on_s
        write_json(
            self.folder / "state.json",
            {**self._saved(), "ready": True, "boot_took_s": round(booted - saved["on_at"], 1)},
        )
        return bytes(said)

    def _booted(self, saved):
        """When the prompt of this boot was seen, or 0, and the last line that was said.

        From QEMU's own record of the line: there it stands also if nobody listened.
        """
        path = self.folder / "console.log"
        try:
            when = path.stat().st_mtime
            said = path.read_bytes()[saved.get("said_before", 0) :]
        except FileNotFoundError:
            return 0, "nothing"
        seen = any(prompt in said for prompt in _PROMPTS)
        return (max(when, saved["on_at"]) if seen else 0), _last_line(said)

    def _boots(self, on_s, last):
        """A line about the boot under way."""
        took_s = self.boot_took_s
        before = " (%d s the last time)" % took_s if took_s else ""
        return "qemu:%s has been booting for %d s%s; it said: %s" % (
            self.name, on_s, before, last,
        )  # fmt: skip

    def _saved(self):
        return read_json(self.folder / "state.json", {})

    def _log(self):
        try:
            text = (self.folder / "log").read_text(errors="replace").strip()
        except FileNotFoundError:
            text = ""
        return text[-500:] or "it gave no reason"

    def check_alive(self, wait_s=0.0):
        """Raises EmulatorError if QEMU has ended by itself, not by `power_off`.

        `wait_s`: how long it may take to end, after its line has broken.
        """
        deadline = time.monotonic() + wait_s
        while self.is_powered and time.monotonic() < deadline:
            time.sleep(0.01)
        was_cut = (self.folder / "cut").exists()
        if self._saved().get("started") and not was_cut and not self.is_powered:
            raise EmulatorError(
                "QEMU of '%s' has ended by itself: %s" % (self.name, self._log()),
                "drybag qemu start %s; if it ends again at once: does it find the chip's ROM "
                "(drybag qemu create --rom DIR), and a machine %s?"
                % (self.name, self.settings["machine"]),
            )

    def _no_power(self):
        return "'%s' %s" % (self.name, "has no power" if self._saved().get("started")
                            else "is not started")  # fmt: skip

    def set_boot_s(self, seconds):
        """How long a boot may take, from now on."""
        write_json(self.folder / self.settings_file, {**self.settings, "boot_s": seconds})

    # -- power --------------------------------------------------------------------------------
    def start(self):
        """Start it. Raises AlreadyRunning, ImageProblem, ImageInUse, EmulatorError."""
        if self.is_powered:
            raise AlreadyRunning("'%s' has power already" % self.name)
        self.power_on()

    def power_on(self):
        """As `start`."""
        for _ in range(_PORT_TRIES):
            port = _free_port()
            self._launch(port)
            if self._comes_up():
                boots = self._saved().get("boots", 0) + 1
                return self._booting({**self._saved(), "started": True, "port": port,
                                      "boots": boots, "said_before": 0})  # fmt: skip
            if "in use" not in self._log():
                break
        raise EmulatorError(
            "QEMU (%s) did not start: %s" % (self.settings["program"], self._log()),
            "it needs an ESP32 machine: Espressif's QEMU; drybag qemu create --program names it",
        )

    def _booting(self, state):
        state = {**state, "ready": False, "on_at": time.time()}
        write_json(self.folder / "state.json", state)

    def power_off(self):
        """SIGKILL, whatever it is doing. Raises NotRunning."""
        if not self.is_powered:
            raise NotRunning(self._no_power(), _START_HINT)
        (self.folder / "cut").touch()
        with contextlib.suppress(ProcessLookupError):
            os.kill(int((self.folder / "pid").read_text()), signal.SIGKILL)
        deadline = time.monotonic() + 5
        while self.is_powered:
            if time.monotonic() > deadline:
                raise EmulatorError("QEMU of '%s' does not end" % self.name)
            time.sleep(0.002)

    def stop(self):
        """Power off, and stopped until it is started again. Raises NotRunning."""
        if not self.is_running:
            raise NotRunning(self._no_power(), _START_HINT)
        if self.is_powered:
            self.power_off()
        write_json(self.folder / "state.json", {**self._saved(), "started": False})

    def reset(self):
        """The EN button: QEMU's own reset, the flash stays powered. Raises NotRunning."""
        if not self.is_powered:
            raise NotRunning(self._no_power(), _START_HINT)
        said = (self.folder / "console.log").stat().st_size
        self._booting({**self._saved(), "said_before": said})
        try:
            self.ask("qmp", None, {"execute": "qmp_capabilities"}, {"execute": "system_reset"})
        except (OSError, ValueError) as error:
            raise EmulatorError("QEMU's monitor does not answer: %s" % error) from None

    # -- QEMU ---------------------------------------------------------------------------------
    def command(self, port):
        """The words of QEMU's command line; it runs in the board's folder."""
        s = self.settings
        words = [
            s["program"], "-M", s["machine"], "-display", "none", "-monitor", "none",
            "-drive", "file=%s,if=mtd,format=raw" % str(self.image).replace(",", ",,"),
            "-chardev", "socket,id=line,host=127.0.0.1,port=%d,server=on,wait=off,nodelay=on,"
            "logfile=console.log" % port,
            "-serial", "chardev:line", "-qmp", "unix:qmp,server=on,wait=off",
        ]  # fmt: skip
        if s["chip"] == "esp32":
            words += ["-drive", "file=efuse.bin,if=none,format=raw,id=efuse", "-global",
                      "driver=nvram.esp32.efuse,property=drive,value=efuse",
                      "-global", _NO_WATCHDOG]  # fmt: skip
        if s["rom"]:
            words += ["-L", s["rom"]]
        words += ["-nic", s["network"] or "none"]
        return words + s["options"]

    def _launch(self, port):
        """Start QEMU, which keeps the locks of board and image while it runs."""
        with open(self.folder / "lock", "r+b") as held, self.open_image() as image:
            if not lock(held, wait_s=0.1):
                raise AlreadyRunning("'%s' has power already" % self.name)
            for name in ("qmp", "console.log", "cut"):
                (self.folder / name).unlink(missing_ok=True)
            with open(self.folder / "log", "wb") as log:
                subprocess.run(
                    [sys.executable, "-I", "-S", "-c", _LAUNCH, *self.command(port)],
                    pass_fds=(held.fileno(), image.fileno()), cwd=self.folder,
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=_START_S,
                )  # fmt: skip

    def _comes_up(self):
        """Wait until QEMU has opened its sockets. False if it ends instead."""
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            if not self.is_powered:
                return False
            if (self.folder / "qmp").exists():
                return True
            time.sleep(0.01)
        self.power_off()
        return False


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def _last_line(data):
    lines = [line for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].strip()[-80:] if lines else "nothing"


def _new_image(folder, model, home, micropython, image):
    """Where the flash of a new board is, made if need be. Raises ImageProblem."""
    if image is None:
        if micropython is None:
            raise ImageProblem(
                "QEMU runs MicroPython's own firmware, and none was given",
                "name one for %s: --micropython FILE" % model.chip,
            )
        files = whole.firmware_files(drybag_home(home))
        found = whole.parts(model, files, micropython)
        flash.write(folder / "flash.bin", whole.join(model, found))
        return "flash.bin"
    return given_image(image, model)


def efuse(mac):
    """The fuses of an ESP32 of revision 2 with that MAC (6 bytes): 124 bytes."""
    words = [0] * 31
    words[1] = int.from_bytes(mac[2:], "big")
    words[2] = int.from_bytes(mac[:2], "big") | _crc8(mac) << 16
    words[3] = 1 << 15
    words[5] = 1 << 20
    return b"".join(word.to_bytes(4, "little") for word in words)


def _crc8(data):
    """CRC-8/MAXIM, the one of ESP-IDF's esp_crc8."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x8C if crc & 1 else 0)
    return crc
