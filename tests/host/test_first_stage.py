"""The emulated chip starts an application only where its flash has one."""

import flash_steps as steps
import pytest
from emulated_boards import Talk, wait_for
from hypothesis import given
from hypothesis import strategies as st

from drybag_host.emulator.first_stage import refusal


def reader(raw):
    return lambda at, size: bytes(raw[at : at + size])


@pytest.mark.parametrize("chip", ["esp32", "esp32c3", "esp32s3"])
def test_what_starts(chip):
    boards = {"esp32": "esp32-generic", "esp32c3": "esp32-c3", "esp32s3": "m5stack-cardputer"}
    model = steps.board_model.load(boards[chip])
    stock = steps.stock.parse(steps.firmware_of(steps.NEW, chip), "x")
    raw = bytearray(steps.whole.join(model, steps.whole.parts(model, {}, stock)))
    assert refusal(reader(raw), chip) == b""
    assert refusal(reader(b"\xff" * model.flash_bytes), chip) == b""
    app = steps.row(model, "factory").offset
    raw[app : app + 4096] = b"\xff" * 4096
    assert b"invalid header: 0xffffffff" in refusal(reader(raw), chip)
    raw[0x8000:0x9000] = b"\xff" * 4096
    assert b"no application" in refusal(reader(raw), chip)
    raw[model.bootloader_offset] = 0
    assert b"invalid header: 0x00" in refusal(reader(raw), chip)
    assert refusal(reader(raw), None) == b""


@given(st.binary(max_size=300))
def test_no_table_breaks_it(data):
    raw = bytearray(b"\xff" * 0x10000)
    raw[0x1000] = 0xE9
    raw[0x8000 : 0x8000 + len(data)] = data
    assert b"rst:0x10" in refusal(reader(raw), "esp32")


def test_a_board_that_starts_nothing_says_so_until_it_can(flash_home, mpy_cache):
    model = steps.GENERIC
    raw = steps.used_flash(model, {"/main.py": b"print('it runs')\n"})
    app = steps.row(model, "factory").offset
    first = raw[app]
    raw[app] = 0xFF
    board = steps.board_with(flash_home, model, raw)
    talk = Talk(board)
    for _ in range(3):
        talk.until(b"invalid header")
    assert board.state()["power"] == "on" and board.state()["boots"] == 0
    with open(board.image, "r+b") as image:
        image.seek(app)
        image.write(bytes([first]))
    talk.until(b"it runs", 10)
    assert wait_for(lambda: board.state()["boots"] == 1)
    talk.close()
