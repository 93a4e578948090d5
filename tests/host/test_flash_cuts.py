"""A flash cut short at any command: nothing half starts, records stay, the next run completes.

The steps are the command's own; in place of esptool a few lines do what it does to the flash, so
that many cuts can be tried. test_flash.py cuts esptool itself.
"""

import hashlib
import shutil
from contextlib import contextmanager

import flash_steps as steps
import pytest

from drybag_host.board_errors import ImageProblem
from drybag_host.emulator.rom.nor import NorFlash, PowerCut
from drybag_host.errors import LinkLost, OtherHandset
from drybag_host.esptool_run import Chip
from drybag_host.flashing import flasher
from drybag_host.flashing.flasher import Flasher, Order

CUTS = 40
STATES = ("prefix", "bits", "neighbour", "erase-none", "erase-zeroed", "erase-partial", "clean")


class Tool:
    """As Esptool, straight at a NorFlash: erases what a piece covers, then programs it."""

    baud = 115200

    def __init__(self, flash):
        self.flash = flash

    def identify(self):
        return Chip("esp32", "ESP32", "24:6f:28:aa:bb:cc", self.flash.size_bytes)

    def read(self, address, size, progress=None):
        data = bytearray(size)
        self.flash.read_into(address, data)
        return bytes(data)

    def write(self, pieces, progress=None):
        for address, data in pieces:
            self.erase(address, -(-len(data) // 4096) * 4096)
            self.flash.program(address, data)
            digest = hashlib.md5(self.read(address, len(data))).digest()
            assert digest == hashlib.md5(data).digest()

    def erase(self, address, size):
        for sector in range(address, address + size, 4096):
            self.flash.erase(sector)


class Silent:
    warned: list = []

    def says(self, text):
        pass

    def warns(self, text):
        self.warned.append(text)

    def moved(self, stage, done, total):
        pass


@pytest.fixture
def board(flash_home, monkeypatch, mpy_cache):
    """board(raw, app_only, cut) -> the flash's bytes after a flash, and its NorFlash."""
    model = steps.board_model.load(steps.board_file(flash_home, steps.SMALL))
    stock = steps.stock.parse(steps.firmware_of(steps.NEW), "new")
    files = steps.firmware.firmware_files(cache_dir=mpy_cache)

    def run(raw, app_only=False, cut=None):
        flash = NorFlash(len(raw), bytearray(raw))
        if cut:
            flash.cut_at(*cut)

        @contextmanager
        def open_loader(target, baud):
            try:
                yield Tool(flash)
            except PowerCut:
                raise LinkLost("the cable is pulled") from None

        monkeypatch.setattr(flasher, "open_loader", open_loader)
        order = Order(model, files, None if app_only else stock, app_only, start=False)
        done = None
        try:
            done = Flasher("port", order, flash_home, Silent()).run()
        except LinkLost:
            assert cut
        flash.power_on()
        after = bytearray(len(raw))
        flash.read_into(0, after)
        return after, flash, done

    run.model = model
    return run


@pytest.mark.parametrize("app_only", [False, True])
def test_cut_anywhere_and_run_again(board, app_only, mpy_cache):
    model = board.model
    raw = steps.used_flash(model)
    before = steps.starts(raw, model)
    whole, flash, done = board(raw, app_only)
    after = steps.starts(whole, model)
    version = steps.OLD if app_only else steps.NEW
    assert after == (version, steps.wanted_files(mpy_cache)) and done.verified
    pim, total = steps.row(model, "pim"), flash.commands
    early = list(range(1, 8)) + [total - n for n in (66, 65, 64, 1, 0)]
    points = sorted({*early, *range(9, total, total // (CUTS - len(early)))})
    seen = set()
    for n, point in enumerate(points):
        now, _, done = board(raw, app_only, (point, STATES[n % len(STATES)], n))
        found = steps.starts(now, model)
        seen.add("old" if found == before else "new" if found == after else found)
        assert steps.cut(now, pim) == steps.used_pim(), point
        assert done is None or point > total
        again, _, done = board(now, app_only)
        assert again == whole and done.verified, point
        assert done.kept_files == sorted(steps.MINE), point
    assert seen <= {None, "old", "new"} and None in seen


def test_cut_again_and_again(board, mpy_cache):
    """Each run is cut a little later than the one before, on what that one left."""
    model = board.model
    now = raw = steps.used_flash(model)
    whole, flash, _ = board(raw)
    for n, point in enumerate((1, 3, 5, 30, 800, 3000, flash.commands - 70, flash.commands - 2)):
        now, _, done = board(now, cut=(point, STATES[n % len(STATES)], n))
        assert done is None
        assert steps.cut(now, steps.row(model, "pim")) == steps.used_pim()
        assert steps.starts(now, model) in (None, steps.starts(raw, model))
    assert board(now)[0] == whole


def test_another_board_at_the_port_is_not_written(board, flash_home, monkeypatch):
    """The cable of one is pulled, another comes up under its name: no second try there."""
    model, macs = board.model, iter(["24:6f:28:aa:bb:cc", "24:6f:28:00:00:01"])
    raw = steps.used_flash(model)
    flash = NorFlash(len(raw), bytearray(raw))

    class Swapped(Tool):
        baud = 460800

        def identify(self):
            return super().identify()._replace(mac=next(macs))

        def write(self, pieces, progress=None):
            assert self.baud == Swapped.baud, "tried again"
            raise LinkLost("the cable is pulled")

    @contextmanager
    def open_loader(target, baud):
        yield Swapped(flash)

    monkeypatch.setattr(flasher, "open_loader", open_loader)
    files = steps.firmware.firmware_files()
    order = Order(model, files, steps.stock.parse(steps.firmware_of(steps.NEW), "new"))
    with pytest.raises(OtherHandset, match="another board is at port now"):
        Flasher("port", order, flash_home, Silent()).run()
    assert not flash.commands


def test_cut_short_and_gone_on_from_another_computer(board, flash_home):
    """What was kept is not there: the modules alone are refused, the whole flash completes."""
    model = board.model
    whole, flash, _ = board(steps.used_flash(model))
    now, _, _ = board(steps.used_flash(model), cut=(flash.commands - 70, "clean", 1))
    assert steps.starts(now, model) is None
    shutil.rmtree(flash_home / "flash")
    with pytest.raises(ImageProblem, match="no application"):
        board(now, app_only=True)
    del Silent.warned[:]
    again, _, done = board(now)
    assert again == whole and done.verified
    assert any("from another computer" in text for text in Silent.warned)


def test_a_board_that_never_had_firmware_was_not_cut_short(board, flash_home):
    """As `drybag emu create` makes it: a table, files and records, nothing that boots."""
    model, blank = board.model, b"\xff" * 4096
    raw = steps.used_flash(model)
    app = steps.row(model, "factory")
    raw[model.bootloader_offset : 0x8000] = b"\xff" * (0x8000 - model.bootloader_offset)
    raw[app.offset : app.offset + app.size] = blank * (app.size // 4096)
    del Silent.warned[:]
    whole, _, done = board(raw)
    assert done.verified and not Silent.warned
    assert set(steps.MINE) <= set(steps.starts(whole, model)[1])
