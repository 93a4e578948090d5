"""`drybag flash` on emulated boards, with unmodified esptool as a user runs it."""

import json
import os
import subprocess
import sys
import threading

import flash_steps as steps
import pytest
import stock_images
from emulated_boards import wait_for
from flash_steps import APP, MODEL, PIM, VFS

from drybag_host import cli
from drybag_host.emulator import loader_port
from drybag_host.emulator.rom.nor import NorFlash
from drybag_host.emulator.serial_server import SerialServer
from drybag_host.image import filesystem, partitions
from drybag_host.resources import version

UNIX_VERSION = "on MicroPython 1."


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


def touched(chip, row):
    return [at for _, at in chip.done if row.offset <= at < row.offset + row.size]


def test_a_used_handset_gets_new_firmware_and_keeps_everything(flash_home, run, chip, mpy_cache):
    raw = steps.used_flash()
    board = steps.board_with(flash_home, raw)
    (done,) = run("flash", "emu:b", "--board", "esp32-generic")["boards"]
    assert not touched(chip, PIM) and not touched(chip, partitions.find(MODEL.partitions, "nvs"))
    order = [part["part"] for part in done["parts"]]
    assert order == ["bootloader", "vfs", "vfs", "app", "app"]
    assert done["parts"][-1]["address"] == APP.offset and done["parts"][2]["address"] == VFS.offset
    first, last = chip.done[0], chip.done[-1]
    assert first == ("erase", APP.offset) and last[1] // 4096 == APP.offset // 4096
    assert done["verified"] and done["started"] and not done["erased_pim"]
    assert done["kept_files"] == sorted(steps.MINE) and done["micropython"] == steps.NEW
    assert done["replaced_files"] == ["/boot.py", "/main.py"]
    copy = flash_home / "flash" / done["mac"].replace(":", "") / "replaced" / "main.py"
    assert copy.read_bytes() == steps.OLD_FILES["/main.py"]
    assert done["handset"]["counts"]["contact"] == 29
    assert done["handset"]["board"]["drybag"] == version()
    board.stop()
    after = board.image.read_bytes()
    assert steps.starts(after) == (steps.NEW, steps.wanted_files(mpy_cache))
    assert steps.records(steps.cut(after, PIM)) == steps.records(steps.used_pim())


def test_the_modules_alone(flash_home, run, chip, mpy_cache):
    raw = steps.used_flash()
    board = steps.board_with(flash_home, raw)
    (done,) = run("flash", "emu:b", "--board", "esp32-generic", "--app-only", "--clean")["boards"]
    assert [part["part"] for part in done["parts"]] == ["vfs", "vfs", "app"]
    assert done["micropython"] == steps.OLD and done["kept_files"] == []
    assert {at // 4096 * 4096 for _, at in chip.done if at < VFS.offset} == {APP.offset}
    assert not touched(chip, PIM) and done["handset"]["counts"]["contact"] == 29
    board.stop()
    after = board.image.read_bytes()
    assert steps.starts(after) == (steps.OLD, steps.wanted_files(mpy_cache, mine=False))
    assert after[APP.offset : VFS.offset] == raw[APP.offset : VFS.offset]


@pytest.mark.parametrize("table", [stock_images.TABLE_WITH_VFS, stock_images.TABLE_SINCE_126])
def test_a_board_that_had_micropython_alone(table, flash_home, run, mpy_cache):
    """Its `/` may reach into what becomes `pim`: then nothing is formatted, and it says so."""
    raw = bytearray(b"\xff" * MODEL.flash_bytes)
    old = stock_images.firmware("esp32", "v1.26.0", table)
    raw[0x1000 : 0x1000 + len(old)] = old
    raw[VFS.offset : 4 << 20] = filesystem.build(0x200000, {**steps.MINE, "/big": bytes(900000)})
    board = steps.board_with(flash_home, raw)
    said = run("flash", "emu:b", "--board", "esp32-generic", "--clean", code=7)
    name = said["boards"][0]["name"]
    assert said["boards"][0]["verified"] and "--erase-pim " + name in said["error"]["hint"]
    assert steps.cut(board.image.read_bytes(), PIM) == steps.cut(raw, PIM)
    if table == stock_images.TABLE_WITH_VFS:
        return
    said = run("flash", "emu:b", "--board", "esp32-generic", "--erase-pim", "drybag-x", code=24)
    assert "this is %s, not 'drybag-x'" % name in said["error"]["message"]
    said = run("flash", "emu:b", "--board", "esp32-generic", "--erase-pim", code=24)
    assert "nobody is there" in said["error"]["message"]
    (done,) = run("flash", "emu:b", "--board", "esp32-generic", "--erase-pim", name)["boards"]
    assert done["erased_pim"] and done["started"] and "error" not in done["handset"]


MOVED = """
nvs,      data, nvs,      0x9000,   0x6000
phy_init, data, phy,      0xf000,   0x1000
factory,  app,  factory,  0x10000,  0x1f0000
pim,      data, littlefs, 0x200000, 0x180000
vfs,      data, fat,      0x380000, 0x80000
"""


def moved_board(flash_home, files):
    """A used board whose table has `pim` where esp32-generic has `vfs`."""
    path = flash_home / "moved.toml"
    here = 'partitions = "partitions/4mib.csv"'
    path.write_text(MODEL.file.read_text().replace(here, 'partitions = """%s"""' % MOVED))
    model = steps.board_model.load(str(path))
    return steps.board_with(flash_home, steps.used_flash(model, files), board=str(path))


def test_records_elsewhere_are_backed_up_and_nothing_is_written(flash_home, run, chip, mpy_cache):
    moved_board(flash_home, steps.firmware.firmware_files(cache_dir=mpy_cache))
    said = run("flash", "emu:b", "--board", "esp32-generic", code=41)
    assert chip.done == []
    error, name = said["error"], said["boards"][0]["name"]
    assert "at 0x200000" in error["message"] and "backup of its 29 records" in error["message"]
    assert "--erase-pim " + name in error["hint"] and "drybag restore" in error["hint"]
    verdict = run("verify", error["backup"])
    assert verdict and error["records"] == 29
    (done,) = run("flash", "emu:b", "--board", "esp32-generic", "--erase-pim", name)["boards"]
    assert done["handset"]["counts"].get("contact", 0) == 0
    run("restore", error["backup"], "emu:b", "--yes")
    assert run("status", "emu:b")["counts"]["contact"] == 29


def test_records_elsewhere_on_a_board_whose_firmware_is_dead(flash_home, run, chip):
    moved_board(flash_home, {"/main.py": b"x = 1\n"})
    said = run("flash", "emu:b", "--board", "esp32-generic", code=41)
    assert chip.done == [] and "raw records" in said["error"]["message"]
    dump = said["error"]["dump"]
    assert run("find", dump, "Person", "--limit", "50")["count"] == 29
    assert "drybag salvage " + dump in said["error"]["hint"]


def test_without_a_table_records_are_looked_for(flash_home, run, chip):
    raw = steps.used_flash()
    raw[VFS.offset : VFS.offset + 65536] = steps.used_pim()[:65536]
    raw[0x8000:0x9000] = b"\x00" * 0x1000
    board = steps.board_with(flash_home, raw)
    said = run("flash", "emu:b", "--board", "esp32-generic", code=41)
    assert "records lie at 0x200000" in said["error"]["message"] and chip.done == []
    assert board.image.read_bytes() == raw


def pulled_at(chip, total):
    """Where in a flash of `total` commands the cable is pulled: at each part, and in between."""
    return [(2, "erase-partial"), (6, "clean"), (total // 3, "bits"), (total - 40, "neighbour"),
            (total - 1, "prefix")]  # fmt: skip


def test_the_cable_pulled_and_run_again(flash_home, run, chip, mpy_cache):
    raw = steps.used_flash()
    board = steps.board_with(flash_home, raw)
    run("flash", "emu:b", "--board", "esp32-generic", "--no-check")
    whole = len(chip.done)
    board.stop()
    board.image.write_bytes(raw)
    for where in pulled_at(chip, whole):
        board.start()
        chip.cuts.append(where)
        code = cli.main(["flash", "emu:b", "--board", "esp32-generic", "--no-check", "--quiet"])
        assert code in (10, 13, 15), (where, code)
        board.stop()
        now = board.image.read_bytes()
        assert steps.starts(now) is None and steps.cut(now, PIM) == steps.used_pim(), where
    board.start()
    (done,) = run("flash", "emu:b", "--board", "esp32-generic")["boards"]
    assert done["kept_files"] == sorted(steps.MINE)
    assert done["handset"]["counts"]["contact"] == 29
    board.stop()
    assert steps.starts(board.image.read_bytes()) == (steps.NEW, steps.wanted_files(mpy_cache))


def test_a_bench_with_one_wrong_board(flash_home, run):
    for name, board in (("one", "esp32-generic"), ("two", "esp32-generic"), ("c3", "esp32-c3")):
        steps.EmulatedBoard.create(name, board, files_in_vfs={}).start()
    targets = ["emu:one", "emu:c3", "emu:two"]
    said = run("flash", *targets, "--board", "esp32-generic", code=9)
    assert [row["ok"] for row in said["boards"]] == [True, False, True]
    assert said["boards"][1]["error"]["exit_code"] == 38
    assert "emu:c3" in said["error"]["message"] and "1 of 3" in said["error"]["message"]
    assert [b["target"] for b in said["boards"]] == targets
    said = run("flash", "--all", "--board", "esp32-generic", "--app-only", code=9)
    assert [b["target"] for b in said["boards"]] == ["emu:one", "emu:two"]
    assert "no MicroPython" in said["boards"][0]["error"]["message"] or said["boards"][0]["ok"]


def test_over_rfc2217_as_at_a_port(flash_home, tmp_path, mpy_cache):
    """The command as a process; with pySerial's own polling this would take minutes."""
    quick = tmp_path / "quick"
    quick.mkdir()
    (quick / "sitecustomize.py").write_text(
        "import time\nslow = time.sleep\ntime.sleep = lambda s: slow(0.002 if s == 0.05 else s)\n"
    )
    board = steps.board_with(flash_home, steps.used_flash())
    server = SerialServer(board)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "drybag_host.cli", "flash", server.url, "--board",
             "esp32-generic"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(quick), *sys.path])},
            capture_output=True, text=True, timeout=240,
        )  # fmt: skip
    finally:
        server.stop()
        thread.join()
    assert done.returncode == 0, (done.stdout[-500:], done.stderr[-2000:])
    assert "29 records" in done.stdout and "untouched" in done.stdout
    assert "/data/notes.txt" in done.stdout and "by the chip's MD5" in done.stdout
    assert wait_for(lambda: board.is_powered)
    board.stop()
    after = board.image.read_bytes()
    assert steps.starts(after) == (steps.NEW, steps.wanted_files(mpy_cache))
