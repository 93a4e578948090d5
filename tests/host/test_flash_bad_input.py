"""Bad input to flashing: a clear error, an exit code of its own, what to do next, nothing half."""

import json

import flash_steps as steps
import pytest
import serial
import stock_images
from loader_boards import other_esptool

from drybag import layout
from drybag import protocol as p
from drybag_host import cli
from drybag_host.errors import LinkTimeout, NotVerified
from drybag_host.flash_errors import BootLoop
from drybag_host.flashing import greeting
from drybag_host.resources import version


@pytest.fixture
def fails(capsys):
    """fails(words..., code=N) -> the error's message and hint."""

    def call(*words, code):
        capsys.readouterr()
        got = cli.main([*map(str, words), "--json"])
        said = capsys.readouterr()
        error = json.loads(said.out)["error"]
        assert got == code == error["exit_code"], (got, error, said.err[-800:])
        assert error["hint"] and "Traceback" not in said.err
        return error["message"], error["hint"]

    return call


@pytest.fixture
def small(flash_home):
    return steps.board_model.load(steps.board_file(flash_home, steps.SMALL))


def board(flash_home, model, **files):
    raw = steps.used_flash(model, {"/%s.py" % k: text.encode() for k, text in files.items()})
    return steps.board_with(flash_home, model, raw), raw


def test_wrong_chip(flash_home, fails):
    made = steps.EmulatedBoard.create("b", "esp32-c3", files_in_vfs={})
    made.start()
    before = made.image.read_bytes()
    said, hint = fails("flash", "emu:b", "--board", "esp32-generic", code=38)
    assert "ESP32-C3" in said and "esp32-generic has an esp32" in said and "boards" in hint
    assert made.image.read_bytes() == before


def test_flash_too_small(flash_home, fails, small):
    made, raw = board(flash_home, small, main="x = 1")
    large = steps.board_file(flash_home, steps.SMALL, "large", flash_mib=8)
    said, hint = fails("flash", "emu:b", "--board", large, code=39)
    assert "the flash has 4 MiB; large has 8" in said and made.image.read_bytes() == raw


def test_a_board_file_with_overlapping_partitions(flash_home, fails):
    overlapping = steps.SMALL.replace("0x90000,  0x80000", "0x8f000,  0x80000")
    path = steps.board_file(flash_home, overlapping, "overlap")
    said, _ = fails("flash", "emu:nobody", "--board", path, code=35)
    assert "overlap" in said.lower()


def test_firmware_of_another_project_or_chip_or_none(flash_home, fails, small, tmp_path):
    made, raw = board(flash_home, small, main="x = 1")
    path = tmp_path / "firmware.bin"
    words = ("flash", "emu:b", "--board", small.file, "--micropython", path)
    path.write_bytes(stock_images.firmware(project="marauder"))
    said, hint = fails(*words, code=40)
    assert "another project (marauder)" in said and "micropython.org" in hint
    path.write_bytes(stock_images.firmware("esp32c3"))
    assert "for esp32c3" in fails(*words, code=33)[0]
    path.write_bytes(steps.firmware_of(steps.NEW)[:70000])
    assert "cut short" in fails(*words, code=33)[0]
    path.write_bytes(steps.stock.parse(steps.firmware_of(steps.NEW), "x").app)
    assert "without its bootloader" in fails(*words, code=33)[0]
    said, hint = fails(*words[:-1], "1.25", code=33)
    assert "no MicroPython 1.25 for small" in said
    assert "ESP32_GENERIC-DATE-v1.25.bin" in hint and "micropython.org/download" in hint
    assert made.image.read_bytes() == raw


def test_the_port_is_busy(flash_home, fails, small):
    made, raw = board(flash_home, small, main="x = 1")
    with serial.Serial(made.console, exclusive=True):
        said, hint = fails("flash", made.console, "--board", small.file, code=10)
        assert "busy" in said and "close the program" in hint


def test_esptool_is_missing_or_another(flash_home, fails, small, tmp_path, monkeypatch):
    made, raw = board(flash_home, small, main="x = 1")
    words = ("flash", "emu:b", "--board", small.file)
    for name, source, says in (("a", None, "not installed"), ("b", "print('v4.9')", "4.9")):
        other_esptool(tmp_path / name, monkeypatch, source)
        said, hint = fails(*words, code=36)
        assert says in said and "pip install 'esptool>=5,<6'" in hint
    assert made.image.read_bytes() == raw


def test_a_board_in_a_boot_loop(flash_home, fails, small):
    resets = "import machine\nprint('rst:0xc (SW_CPU_RESET),boot:0x13')\nmachine.reset()\n"
    board(flash_home, small, main=resets)
    said, hint = fails("status", "emu:b", "--wait", "0", code=42)
    assert "starts again and again" in said and "drybag flash" in hint


def test_another_program_has_the_repl(flash_home, fails, small):
    board(flash_home, small, main="import micropython, time\nmicropython.kbd_intr(-1)\n"
          "while True:\n    print('temperature 21')\n    time.sleep_ms(50)\n")  # fmt: skip
    said, hint = fails("status", "emu:b", "--wait", "0", code=43)
    assert "temperature 21" in said and "stop that program" in hint


def test_a_truncated_dump(fails, small, tmp_path):
    path, whole = tmp_path / "pim.bin", steps.used_pim()
    for size in (len(whole) - 4096, len(whole) // 2 + 7):
        path.write_bytes(whole[:size])
        for words in (("show", path), ("find", path, "Person"), ("verify", path),
                      ("export", path, tmp_path / "out")):  # fmt: skip
            said, hint = fails(*words, code=44)
            assert "%d of the %d bytes" % (size, len(whole)) in said and "salvage" in hint
    pim = steps.row(small, "pim")
    path.write_bytes(steps.used_flash(small)[: pim.offset + pim.size - 1])
    fails("show", path, code=44)
    assert cli.main(["salvage", str(path), str(tmp_path / "saved"), "--quiet"]) in (0, 9)


def test_a_worn_out_sector_is_not_reported_as_done(flash_home, fails, small):
    made, raw = board(flash_home, small, main="x = 1")
    made.stop()
    vfs = steps.row(small, "vfs").offset
    made.set_faults({"unstable": [], "touched": [], "worn": [[vfs + 0x3000, False]]})
    made.start()
    said, hint = fails("flash", "emu:b", "--board", small.file, code=22)
    assert "MD5" in said and "worn" in hint
    made.stop()
    now = made.image.read_bytes()
    assert steps.starts(now, small) is None
    assert steps.cut(now, steps.row(small, "pim")) == steps.used_pim()


def hello(**changes):
    versions = {"protocol": p.VERSION, "format": layout.VERSION}
    return {"id": "246f28aabbcc", "name": "drybag-aabbcc", "versions": versions,
            "board": {"drybag": version()}, **changes}  # fmt: skip


@pytest.mark.parametrize(
    "answer, says",
    [
        (hello(), ""),
        (hello(id="246f28000000"), "another board"),
        (hello(board={"drybag": "0.0.1"}), "runs version 0.0.1"),
        (hello(versions={"protocol": 9, "format": 1}), "protocol 9"),
    ],
)
def test_who_answers_after_a_flash(answer, says, monkeypatch):
    monkeypatch.setattr(greeting, "_ask", lambda target: answer)
    if not says:
        assert greeting.greet("emu:b", "24:6f:28:aa:bb:cc") is answer
        return
    with pytest.raises(NotVerified, match="everything was written and verified, but.*" + says):
        greeting.greet("emu:b", "24:6f:28:aa:bb:cc")


@pytest.mark.parametrize("error", [BootLoop("it loops"), LinkTimeout("nothing answers")])
def test_a_board_that_does_not_start_after_a_flash(error, monkeypatch):
    def ask(target):
        raise error

    monkeypatch.setattr(greeting, "_ask", ask)
    with pytest.raises(type(error), match="was written and verified, but (it|nothing)") as failed:
        greeting.greet("emu:b", "24:6f:28:aa:bb:cc", wait_s=0)
    assert failed.value.hint
