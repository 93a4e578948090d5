"""`drybag flash` on emulated boards, with unmodified esptool as a user runs it."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import flash_steps as steps
import pytest
import stock_images
from emulated_boards import wait_for

from drybag_host import cli, targets
from drybag_host.commands import flash as command
from drybag_host.emulator import loader_port
from drybag_host.emulator.rom.nor import NorFlash
from drybag_host.emulator.serial_server import SerialServer
from drybag_host.errors import Declined, Usage
from drybag_host.image import filesystem
from drybag_host.output import Output
from drybag_host.resources import version


@pytest.fixture
def run(capsys):
    """run(words..., code=0) -> the JSON document."""

    def call(*words, code=0):
        capsys.readouterr()
        got = cli.main([*map(str, words), "--json"])
        said = capsys.readouterr()
        assert got == code, (got, said.out[-2000:], said.err[-2000:])
        assert "Traceback" not in said.err
        return json.loads(said.out)

    return call


@pytest.fixture
def chip(monkeypatch):
    """What is done to the flash through the loader: `chip.done` [(op, address)]; `chip.cut(n)`."""

    class Chip(NorFlash):
        done: list = []
        cuts: list = []

        def __init__(self, *args):
            super().__init__(*args)
            self.on_command = lambda op, address, data: self.done.append((op, address))
            if self.cuts:
                self.cut_at(*self.cuts.pop())

    Chip.done, Chip.cuts = [], []
    monkeypatch.setattr(loader_port, "NorFlash", Chip)
    return Chip


@pytest.fixture
def small(flash_home):
    """The BoardModel of a board whose parts are small."""
    return steps.board_model.load(steps.board_file(flash_home, steps.SMALL))


def touched(chip, part):
    return [at for _, at in chip.done if part.offset <= at < part.offset + part.size]


def flash(run, model, *words, code=0):
    return run("flash", "emu:b", "--board", model.file, *words, code=code)


def test_a_used_handset_gets_new_firmware_and_keeps_everything(flash_home, run, chip, mpy_cache):
    model = steps.GENERIC
    board = steps.board_with(flash_home, model, steps.used_flash(model))
    (done,) = run("flash", "emu:b", "--board", "esp32-generic")["boards"]
    pim, vfs, app = (steps.row(model, label) for label in ("pim", "vfs", "factory"))
    assert not touched(chip, pim) and not touched(chip, steps.row(model, "nvs"))
    order = [part["part"] for part in done["parts"]]
    assert order == ["bootloader", "vfs", "vfs", "app", "app"]
    assert done["parts"][-1]["address"] == app.offset and done["parts"][2]["address"] == vfs.offset
    first, last = chip.done[0], chip.done[-1]
    assert first == ("erase", app.offset) and last[1] // 4096 == app.offset // 4096
    assert done["verified"] and done["started"] and not done["erased_pim"]
    assert done["kept_files"] == sorted(steps.MINE) and done["micropython"] == steps.NEW
    assert done["replaced_files"] == ["/boot.py", "/main.py"]
    copy = flash_home / "flash" / done["mac"].replace(":", "") / "replaced" / "main.py"
    assert copy.read_bytes() == steps.OLD_FILES["/main.py"]
    assert done["handset"]["counts"]["contact"] == 29
    assert done["handset"]["board"]["drybag"] == version()
    board.stop()
    after = board.image.read_bytes()
    assert steps.starts(after, model) == (steps.NEW, steps.wanted_files(mpy_cache))
    assert steps.records(steps.cut(after, pim)) == steps.records(steps.used_pim(pim.size))


def test_the_modules_alone(flash_home, run, chip, small, mpy_cache):
    raw = steps.used_flash(small)
    board = steps.board_with(flash_home, small, raw)
    (done,) = flash(run, small, "--app-only", "--clean")["boards"]
    pim, vfs, app = (steps.row(small, label) for label in ("pim", "vfs", "factory"))
    assert [part["part"] for part in done["parts"]] == ["vfs", "vfs", "app"]
    assert done["micropython"] == steps.OLD and done["kept_files"] == []
    assert {at // 4096 * 4096 for _, at in chip.done if at < vfs.offset} == {app.offset}
    assert not touched(chip, pim) and done["handset"]["counts"]["contact"] == 29
    board.stop()
    after = board.image.read_bytes()
    assert steps.starts(after, small) == (steps.OLD, steps.wanted_files(mpy_cache, mine=False))
    assert after[app.offset : vfs.offset] == raw[app.offset : vfs.offset]


def test_the_modules_alone_where_only_its_banner_names_micropython(
    flash_home, run, chip, small
):
    """So MicroPython 1.23 is; the banner lies far behind the application's first sector."""
    raw = steps.used_flash(small)
    app = steps.row(small, "factory")
    for version_there, code in (("v1.23.0", 0), ("none", 33)):
        old = steps.firmware_of(version_there, project="nameless")[app.offset - 0x1000 :]
        raw[app.offset : app.offset + len(old)] = old
        board = steps.board_with(flash_home, small, raw)
        said = flash(run, small, "--app-only", "--no-check", code=code)
        board.stop()
        board.remove()
        if code:
            assert "what it has names no project" in said["error"]["message"]
        else:
            assert said["boards"][0]["micropython"] == "v1.23.0"


def test_a_board_that_had_micropython_alone(flash_home, run, small, chip):
    """Its `/` reaches into what becomes `pim`: nothing is formatted, and it says what to do."""
    raw = bytearray(b"\xff" * small.flash_bytes)
    table = steps.SMALL.partition("vfs")[0] + "vfs, data, fat, 0x30000, 0x70000\n"
    old = stock_images.firmware("esp32", "v1.26.0", table)
    raw[0x1000 : 0x1000 + len(old)] = old
    pim, vfs = steps.row(small, "pim"), steps.row(small, "vfs")
    raw[vfs.offset : vfs.offset + 0x70000] = filesystem.build(0x70000, steps.MINE)
    raw[pim.offset : pim.offset + 4096] = b"a file!\n" * 512
    board = steps.board_with(flash_home, small, raw)
    said = flash(run, small, code=7)
    (done,) = said["boards"]
    name = done["name"]
    assert done["verified"] and "--erase-pim " + name in said["error"]["hint"]
    assert done["kept_files"] == sorted(steps.MINE) and not touched(chip, pim)
    assert steps.cut(board.image.read_bytes(), pim) == steps.cut(raw, pim)
    said = flash(run, small, "--erase-pim", "drybag-x", code=24)
    assert "this is %s, not 'drybag-x'" % name in said["error"]["message"]
    (done,) = flash(run, small, "--app-only", "--erase-pim", name)["boards"]
    assert done["erased_pim"] and done["started"] and "error" not in done["handset"]


def test_an_older_micropython_that_does_not_mount_the_records(
    flash_home, run, small, chip, tmp_path
):
    """Written by 1.22 or newer: LittleFS's disk version 2.1, of which 1.21 knows nothing."""
    raw = steps.used_flash(small)
    board = steps.board_with(flash_home, small, raw)
    old = tmp_path / "old.bin"
    old.write_bytes(steps.firmware_of("v1.21.0"))
    words = ("--micropython", old, "--no-check")
    error = flash(run, small, *words, code=45)["error"]
    assert "disk version 2.1, and MicroPython v1.21.0 mounts only 2.0" in error["message"]
    assert "1.22 or newer" in error["hint"] and "drybag pull" in error["hint"]
    assert "--erase-pim drybag-" in error["hint"] and "--no-growth" in error["hint"]
    assert chip.done == [] and board.image.read_bytes() == raw
    (done,) = flash(run, small, *words, "--no-growth")["boards"]
    assert done["verified"] and done["micropython"] == "v1.21.0"
    assert not touched(chip, steps.row(small, "pim"))
    pim = steps.row(small, "pim")
    raw = steps.used_flash(small, {"/boot.py": b""})  # nothing in it writes to `pim`
    raw[pim.offset : pim.offset + pim.size] = filesystem.build(pim.size, {})  # 2.0
    board.stop()
    board.remove()
    steps.board_with(flash_home, small, raw)
    assert flash(run, small, *words)["boards"][0]["verified"]


MOVED = """
nvs,      data, nvs,      0x9000,   0x6000
phy_init, data, phy,      0xf000,   0x1000
factory,  app,  factory,  0x10000,  0x20000
pim,      data, littlefs, 0x30000,  0x80000
vfs,      data, fat,      0xb0000,  0x60000
"""


@pytest.fixture
def moved(flash_home):
    """moved(files) -> a used board whose table has `pim` where the small board has `vfs`."""
    model = steps.board_model.load(steps.board_file(flash_home, MOVED, "moved"))
    return lambda files: steps.board_with(flash_home, model, steps.used_flash(model, files))


def test_records_elsewhere_are_backed_up_and_nothing_is_written(
    run, moved, small, chip, mpy_cache
):
    moved(steps.firmware.firmware_files(cache_dir=mpy_cache))
    said = flash(run, small, code=41)
    assert chip.done == []
    error, name = said["error"], said["boards"][0]["name"]
    assert "at 0x30000" in error["message"] and "backup of its 29 records" in error["message"]
    assert "--erase-pim " + name in error["hint"] and "drybag restore" in error["hint"]
    assert error["records"] == 29 and run("verify", error["backup"])
    (done,) = flash(run, small, "--erase-pim", name)["boards"]
    assert done["handset"]["counts"].get("contact", 0) == 0
    run("restore", error["backup"], "emu:b", "--yes")
    assert run("status", "emu:b")["handset"]["counts"]["contact"] == 29


def test_records_elsewhere_on_a_board_whose_firmware_is_dead(run, moved, small, chip):
    moved({"/main.py": b"x = 1\n"})
    said = flash(run, small, code=41)
    assert chip.done == [] and "raw records" in said["error"]["message"]
    dump = said["error"]["dump"]
    assert steps.records(Path(dump).read_bytes()) == steps.records(steps.used_pim())
    assert "drybag salvage " + dump in said["error"]["hint"]


def test_without_a_table_records_are_looked_for(flash_home, run, small, chip):
    raw = steps.used_flash(small)
    pim, vfs = steps.row(small, "pim"), steps.row(small, "vfs")
    raw[vfs.offset : vfs.offset + vfs.size] = steps.cut(raw, pim)[-vfs.size :]
    raw[0x8000:0x9000] = bytes(0x1000)
    board = steps.board_with(flash_home, small, raw)
    said = flash(run, small, code=41)
    assert "records lie at 0x30000" in said["error"]["message"] and chip.done == []
    assert board.image.read_bytes() == raw


def test_the_cable_pulled_and_run_again(flash_home, run, small, chip, mpy_cache):
    raw = steps.used_flash(small)
    board = steps.board_with(flash_home, small, raw)
    pim = steps.row(small, "pim")
    for where in ((3000, "bits"), (5500, "neighbour")):
        chip.cuts.append(where)
        code = cli.main(["flash", "emu:b", "--board", str(small.file), "--quiet"])
        assert code == 13, where
        error = run("status", "emu:b", "--wait", "0", code=42)["error"]
        assert "invalid header" in error["message"] and "drybag flash" in error["hint"]
        board.stop()
        now = board.image.read_bytes()
        assert steps.starts(now, small) is None and steps.cut(now, pim) == steps.used_pim(), where
        board.start()
    (done,) = flash(run, small)["boards"]
    assert done["kept_files"] == sorted(steps.MINE)
    assert done["handset"]["counts"]["contact"] == 29
    board.stop()
    assert steps.starts(board.image.read_bytes(), small) == (
        steps.NEW,
        steps.wanted_files(mpy_cache),
    )


def test_ctrl_c_and_run_again(flash_home, run, small):
    steps.board_with(flash_home, small, steps.used_flash(small))
    process = subprocess.Popen(
        [sys.executable, "-m", "drybag_host.cli", "flash", "emu:b", "--board", small.file],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    kept = flash_home / "flash"
    assert wait_for(lambda: list(kept.glob("*/kept.json")), 60)  # from here on it writes
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130 and "run the same command again" in said, said
    assert "Traceback" not in said and list(kept.glob("*/kept.json"))
    (done,) = flash(run, small, "--no-check")["boards"]
    assert done["verified"] and done["kept_files"] == sorted(steps.MINE)


def test_a_bench_with_one_wrong_board(flash_home, run, small):
    steps.board_with(flash_home, small, steps.used_flash(small), "one")
    steps.board_with(flash_home, small, b"\xff" * small.flash_bytes, "two")
    steps.EmulatedBoard.create("c3", "esp32-c3", files_in_vfs={}).start()
    targets = ["emu:one", "emu:c3", "emu:two"]
    said = run("flash", *targets, "--board", small.file, code=9)
    assert [row["ok"] for row in said["boards"]] == [True, False, True]
    assert said["boards"][1]["error"]["exit_code"] == 38
    assert "emu:c3" in said["error"]["message"] and "1 of 3" in said["error"]["message"]
    assert [b["target"] for b in said["boards"]] == targets
    assert [b["handset"].get("counts", {}).get("contact") for b in said["boards"]] == [29, None, 0]


def test_all_are_those_plugged_in_and_the_running_ones(flash_home, small, monkeypatch):
    steps.EmulatedBoard.create("off", str(small.file), files_in_vfs={})
    steps.board_with(flash_home, small, b"\xff" * small.flash_bytes, "on")
    ports = [
        SimpleNamespace(device="/dev/ttyUSB%d" % n, vid=vid, pid=pid)
        for n, (vid, pid) in enumerate([(0x10C4, 0xEA60), (0x1234, 1), (0x1A86, 0x7523)])
    ]
    monkeypatch.setattr(targets, "usb_ports", lambda: ports)
    args = SimpleNamespace(all=True, targets=[], erase_pim=None, backup=None, start=False)
    assert command._targets(args, small) == ["/dev/ttyUSB0", "/dev/ttyUSB2", "emu:on"]
    args.erase_pim = "x"
    with pytest.raises(Usage):
        command._targets(args, small)
    args.all = False
    with pytest.raises(Usage):
        command._targets(args, small)
    args.targets, args.erase_pim = ["socket://127.0.0.1:1"], None
    with pytest.raises(Usage, match="DTR and RTS"):
        command._targets(args, small)


def test_erasing_records_takes_the_name(monkeypatch):
    typed = io.StringIO("drybag-aabbcc\ny\n")
    args = SimpleNamespace(erase_pim="", out=Output(False, io.StringIO(), io.StringIO()))
    monkeypatch.setattr(sys, "stdin", typed)
    with pytest.raises(Declined, match="nobody is there"):
        command._confirm(args, "drybag-aabbcc")
    typed.isatty = lambda: True
    assert command._confirm(args, "drybag-aabbcc")
    assert "ALL RECORDS of drybag-aabbcc" in args.out.stderr.getvalue()
    with pytest.raises(Declined, match="not 'y': nothing was written"):
        command._confirm(args, "drybag-aabbcc")


def test_another_micropython_than_was_written_is_told():
    done = SimpleNamespace(target="/dev/ttyUSB0", micropython="v1.23.0-preview.5",
                           handset={"versions": {"micropython": "1.23.0"}})  # fmt: skip
    assert command._other_micropython(done) == ""
    done.micropython = "v1.28.0"
    assert "MicroPython 1.23.0, not v1.28.0" in command._other_micropython(done)
    done.target = "emu:b"
    assert command._other_micropython(done) == ""


def test_over_rfc2217_as_at_a_port(flash_home, tmp_path, small, mpy_cache):
    """The command as a process; with pySerial's own polling this would take minutes."""
    quick = tmp_path / "quick"
    quick.mkdir()
    (quick / "sitecustomize.py").write_text(
        "import time\nslow = time.sleep\ntime.sleep = lambda s: slow(0.002 if s == 0.05 else s)\n"
    )
    board = steps.board_with(flash_home, small, steps.used_flash(small))
    server = SerialServer(board)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "drybag_host.cli", "flash", server.url, "--board", small.file],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(quick), *sys.path])},
            capture_output=True, text=True, timeout=240,
        )  # fmt: skip
    finally:
        server.stop()
        thread.join()
    assert done.returncode == 0, (done.stdout[-500:], done.stderr[-2000:])
    assert "29 records" in done.stdout and "untouched" in done.stdout
    assert "/data/notes.txt" in done.stdout and "by the chip's MD5" in done.stdout
    board.stop()
    after = board.image.read_bytes()
    assert steps.starts(after, small) == (steps.NEW, steps.wanted_files(mpy_cache))
