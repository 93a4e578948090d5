"""`drybag doctor`: findings on ports and handsets, and `auto` among USB ports."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
from serial.tools import list_ports

from drybag_host.cli import main
from drybag_host.commands import doctor
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.errors import NoSuchTarget
from drybag_host.targets import resolve

NOW = 1800000000


def usb(device, vid=0x10C4, pid=0xEA60, serial_number=None):
    return SimpleNamespace(
        device=device, vid=vid, pid=pid, serial_number=serial_number, description="a bridge"
    )


@pytest.fixture
def plugged(monkeypatch, tmp_path):
    """Sets the USB ports that pyserial reports."""
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path))
    return lambda *found: monkeypatch.setattr(list_ports, "comports", lambda: list(found))


def wrong(findings):
    return [f["what"] for f in findings if not f["ok"]]


def hello(**changes):
    return {"versions": {"protocol": 1}, "machine": "m", "reset_cause": "power on",
            "time": NOW - doctor._EPOCH_2000, "heap": 90000, **changes}  # fmt: skip


def test_auto_takes_the_board_among_other_ports(plugged):
    plugged(usb("/dev/ttyUSB0"), usb("/dev/ttyUSB1", 0x1234, 0x5678))
    assert resolve("auto") == "/dev/ttyUSB0"
    plugged(usb("/dev/ttyUSB1", 0x1234, 0x5678))
    assert resolve("auto") == "/dev/ttyUSB1"


def test_auto_refuses_to_guess_and_takes_a_serial_number(plugged):
    plugged(
        usb("/dev/ttyACM0", 0x303A, 0x1001, "24:6F:28:AA:BB:CC"), usb("/dev/ttyUSB0", None, None)
    )
    assert resolve("auto:246f28aabbcc") == resolve("auto:BB:CC") == "/dev/ttyACM0"
    plugged(usb("/dev/ttyUSB0", serial_number="0001"), usb("/dev/ttyUSB1", serial_number="0002"))
    with pytest.raises(NoSuchTarget, match="2 handsets found"):
        resolve("auto")
    assert resolve("auto:0002") == "/dev/ttyUSB1"
    with pytest.raises(NoSuchTarget, match="auto:0003: no handset found"):
        resolve("auto:0003")


def test_who_holds_a_port(plugged, tmp_path):
    path = tmp_path / "port"
    path.write_text("")
    plugged(usb(str(path)))
    assert wrong(doctor.ports()) == []
    code = "import sys; f = open(sys.argv[1]); print(1, flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        holder.stdout.read(1)
        assert [pid for pid, _ in doctor.holders_of(path)] == [holder.pid]
        assert "held by" in doctor.ports()[0]["is"]
        assert wrong(doctor.ports()) == ["port " + str(path)]
        holder.stdin.close()
    assert doctor.holders_of(path) == []


def test_a_port_that_may_not_be_opened(plugged):
    plugged(usb("/nonexistent/ttyUSB0"))
    (found,) = doctor.ports()
    assert "dialout" in found["do"] and 'ATTRS{idVendor}=="10c4"' in found["do"]


@pytest.mark.parametrize(
    "changes, names",
    [
        ({}, []),
        ({"time": 0}, ["clock"]),
        ({"time": NOW - doctor._EPOCH_2000 - 1000}, ["clock"]),
        ({"heap": 1000}, ["memory"]),
        ({"reset_cause": "watchdog"}, ["last reset"]),
    ],
)
def test_what_a_handset_says_of_itself(changes, names):
    found = doctor.about(hello(**changes), NOW)
    assert wrong(found) == names
    assert all(f["do"] for f in found if not f["ok"])


def test_what_the_journal_says(plugged):
    info = SimpleNamespace(counts={"contact": 2}, free_bytes=1 << 20)
    assert wrong(doctor.journal({"writable": True, "filesystem": "ok"}, info)) == []
    ill = {"bad_sectors": 2, "writable": False, "filesystem": "not mountable"}
    assert wrong(doctor.journal(ill, info)) == ["bad sectors", "journal", "file system"]
    info.free_bytes = 100
    assert wrong(doctor.journal({}, info)) == ["flash"]


def test_doctor_on_an_emulated_board(plugged, capsys):
    plugged()
    board = EmulatedBoard.create("d")
    board.start()
    try:
        assert main(["doctor", "emu:d", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
    finally:
        board.stop()
    names = [f["what"] for f in told["findings"]]
    assert {"handset", "firmware", "clock", "memory", "journal", "flash"} <= set(names)


def test_doctor_lists_what_to_do_and_ends_with_9(plugged, capsys):
    plugged(usb("/nonexistent/ttyUSB0"))
    assert main(["doctor"]) == 9
    assert "dialout" in capsys.readouterr().out
