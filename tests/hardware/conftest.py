"""One suite, three kinds of boards: emulated, in QEMU, and real.

    tools/test tests/hardware                         an emulated board, and QEMU where named
    tools/test tests/hardware --target /dev/ttyUSB0   a real one

On a real board nothing that is there is lost: what the tests write they delete again, and every
record that was there before is compared at the end. Power is cut only with --power, firmware is
written only with --flash-ok, records are erased only with --erase-ok.
"""

import os
import shutil
import sys
from pathlib import Path

import pytest
from bench import Bench

sys.path.append(str(Path(__file__).resolve().parents[1] / "host"))

NO_PORT = "needs a board: tools/test tests/hardware --target /dev/ttyUSB0"
NO_QEMU = (
    "needs QEMU and MicroPython for ESP32: DRYBAG_QEMU=/path/to/qemu-system-xtensa "
    "DRYBAG_QEMU_MICROPYTHON=/path/to/ESP32_GENERIC-v1.29.0.bin tools/test tests/hardware "
    "(DRYBAG_QEMU_ROM=/path/to/pc-bios if QEMU does not find its ROM)"
)


def pytest_addoption(parser):
    group = parser.getgroup("boards")
    group.addoption("--target", help="a real board: a serial port, rfc2217:// or socket://")
    group.addoption("--power", help="its power switch: a name or kind of 'drybag rig switches'")
    group.addoption("--power-config", help="the file that describes the switch")
    group.addoption("--cuts", type=int, default=10, help="power cuts, if there is a switch")
    group.addoption("--board", help="its board file, for --flash-ok and --erase-ok")
    group.addoption("--micropython", help="MicroPython for it: a file, or a version in the cache")
    group.addoption("--flash-ok", action="store_true", help="its firmware may be written anew")
    group.addoption("--erase-ok", action="store_true", help="ALL ITS RECORDS may be erased")


def pytest_generate_tests(metafunc):
    if "bench" in metafunc.fixturenames:
        kinds = [
            "emu",
            pytest.param("qemu", marks=pytest.mark.qemu),
            pytest.param("port", marks=pytest.mark.hardware),
        ]
        if metafunc.config.getoption("--target", default=None):
            kinds = kinds[2:]
        metafunc.parametrize("bench", kinds, indirect=True, scope="module")


@pytest.fixture(scope="module")
def bench(request, tmp_path_factory):
    """A Bench with a board that answers; afterwards all is as it was."""
    option = lambda name: request.config.getoption(name, default=None)  # noqa: E731
    home = tmp_path_factory.mktemp("home")
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patch:
        if request.param == "port":
            if not option("--target"):
                pytest.skip(NO_PORT)
            made = Bench(
                option("--target"), option("--power"), option("--power-config"), option("--cuts"),
                option("--board"), option("--micropython"), option("--flash-ok"),
                option("--erase-ok"),
            )  # fmt: skip
            stop = lambda: None  # noqa: E731
        else:
            patch.setenv("DRYBAG_HOME", str(home))
            board = _emulated() if request.param == "emu" else _in_qemu()
            ours = request.param == "emu"  # QEMU's serial line has no way to the ROM's loader
            firmware = _stand_in(home) if ours else None
            made = Bench("%s:b" % request.param, request.param, None, 3, "esp32-generic",
                         firmware, ours, ours)  # fmt: skip
            stop = board.stop
        try:
            made.look()
            yield made
            made.restore_what_was()
        finally:
            stop()


def _stand_in(home):
    """A file that is MicroPython's firmware but for the code, which no emulated board runs."""
    import stock_images

    path = home / "micropython.bin"
    path.write_bytes(stock_images.firmware())
    return str(path)


def _emulated():
    from drybag_host.emulator.boards import EmulatedBoard

    board = EmulatedBoard.create("b")
    board.start()
    return board


def _in_qemu():
    """A board in the QEMU that the environment names."""
    from drybag_host.board.qemu import QemuBoard
    from drybag_host.image import stock

    program = os.environ.get("DRYBAG_QEMU", "qemu-system-xtensa")
    firmware = os.environ.get("DRYBAG_QEMU_MICROPYTHON")
    if not firmware or not shutil.which(program):
        pytest.skip(NO_QEMU)
    board = QemuBoard.create(
        "b", micropython=stock.read(Path(firmware)), program=program,
        rom=os.environ.get("DRYBAG_QEMU_ROM"),
    )  # fmt: skip
    board.start()
    return board


@pytest.fixture
def drybag(bench, capsys):
    """drybag(words..., code=0) -> the JSON document of that command."""

    def call(*words, code=0):
        capsys.readouterr()
        got, document, err = bench.command(capsys, *words)
        assert got == code, (got, document, err[-2000:])
        return document

    return call
