"""`drybag doctor`: findings on ports and handsets, and `auto` among USB ports."""

import json
import os
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serial.tools import list_ports

from drybag_host.backup import verified
from drybag_host.backup.manifest import Manifest
from drybag_host.board import health
from drybag_host.cli import main
from drybag_host.commands import doctor
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.errors import NoSuchTarget
from drybag_host.image import board_model
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
    return {"versions": {"micropython": "1.29.0"}, "machine": "m", "reset_cause": "power on",
            "time": NOW - health.EPOCH_2000, "heap": 90000, **changes}  # fmt: skip


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
        ({"time": NOW - health.EPOCH_2000 - 1000}, ["clock"]),
        ({"heap": 1000}, ["memory"]),
        ({"reset_cause": "watchdog"}, ["last reset"]),
    ],
)
def test_what_a_handset_says_of_itself(changes, names):
    found = health.about(hello(**changes), NOW)
    assert wrong(found) == names
    assert all(f["do"] for f in found if not f["ok"])


def test_what_the_journal_says(plugged):
    info = SimpleNamespace(counts={"contact": 2}, free_bytes=1 << 20)
    assert wrong(health.journal({"writable": True, "filesystem": "ok"}, info)) == []
    ill = {"bad_sectors": 2, "writable": False, "filesystem": "not mountable"}
    assert wrong(health.journal(ill, info)) == ["bad sectors", "journal", "file system"]
    info.free_bytes = 100
    assert wrong(health.journal({}, info)) == ["flash"]


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
    assert main(["doctor", "/nonexistent/ttyUSB1"]) == 15
    assert "dialout" in capsys.readouterr().out


@pytest.mark.parametrize("version, ok", [("1.20.0", True), ("1.29.1", True), ("1.19.1", False),
                                         ("1.30.0", False), ("", False)])  # fmt: skip
def test_which_micropython(version, ok):
    found = health.about(hello(versions={"micropython": version}), NOW)
    assert (wrong(found) == []) == ok


MODELS = [board_model.load_file(path) for path in board_model.board_files()]
GENERIC = next(model for model in MODELS if model.name == "esp32-generic")
ROWS = [list(row) for row in GENERIC.partitions]


def told(**changes):
    return {"flash_bytes": 4 << 20, "partitions": ROWS, "drybag": "1", **changes}


def test_what_the_chip_has():
    found = health.hardware(told(), GENERIC.machine, "1", MODELS)
    assert wrong(found) == []
    assert "ESP32, flash of 4 MiB" in found[1]["is"] and "that of esp32-generic" in found[2]["is"]


@pytest.mark.parametrize(
    "changes, names",
    [
        ({"drybag": "0.9"}, ["firmware"]),
        ({"partitions": ROWS[:-1]}, ["partition table"]),
        ({"partitions": []}, ["partition table"]),
        ({"flash_bytes": 2 << 20}, ["partition table"]),
    ],
)
def test_what_is_wrong_with_the_chip(changes, names):
    found = health.hardware(told(**changes), GENERIC.machine, "1", MODELS)
    assert wrong(found) == names and all(f["do"] for f in found if not f["ok"])


def test_a_firmware_that_does_not_tell():
    assert wrong(health.hardware({}, GENERIC.machine, "1", MODELS)) == ["firmware"]


@pytest.mark.parametrize(
    "state, ok, text",
    [
        (None, True, "no hub"),
        ({"paired": False}, True, "no hub"),
        ({"paired": True}, False, "never"),
        ({"paired": True, "contact": 1, "hub": "home", "unsent": 3}, True,
         "2000-01-01T00:00:01Z with home; 3"),
        ({"paired": True, "contact": 1, "why": "no network"}, False, "no network"),
        ({"paired": True, "contact": 1, "held": 7}, False, "7 records deleted"),
    ],
)
def test_the_last_sync(state, ok, text):
    found = health.sync(state)
    assert found["ok"] == ok and text in found["is"] and bool(found["do"]) != ok


def known(**changes):
    return {"handset": "a", "dir": "/b", "epoch": 1, "last_seq": 5,
            "verified_at": "2027-01-14T08:00:00Z", **changes}  # fmt: skip


HOLDS = SimpleNamespace(counts={"note": 1}, epoch=1, last_seq=5)
COMPARED = SimpleNamespace(restore_compared={"at": "2027-01-14T09:00:00Z"})
NEVER = SimpleNamespace(restore_compared=None)


@pytest.mark.parametrize(
    "args, names",
    [
        ((None, None), ["last verified backup"]),
        ((known(), COMPARED), []),
        ((known(), NEVER), ["restore of it compared"]),
        ((known(), None), ["last verified backup"]),
        ((known(epoch=2), COMPARED), ["last verified backup"]),
        ((known(last_seq=4), COMPARED), []),
        ((known(last_seq=4, verified_at="2027-01-01T00:00:00Z"), COMPARED),
         ["last verified backup"]),
    ],
)  # fmt: skip
def test_the_last_backup(args, names):
    found = health.backup(*args, HOLDS, NOW)
    assert wrong(found) == names and all(f["do"] for f in found if not f["ok"])


def test_a_handset_without_records_needs_no_backup():
    empty = SimpleNamespace(counts={}, epoch=1, last_seq=0)
    assert wrong(health.backup(None, None, empty, NOW)) == []


@given(st.binary(max_size=200))
def test_what_is_remembered_of_backups_may_be_anything(data):
    with tempfile.TemporaryDirectory() as home:
        os.mkdir(home + "/verified")
        with open(home + "/verified/a.json", "wb") as file:
            file.write(data)
        assert verified.last(home, "a") is None


def test_the_name_of_a_handset_is_no_path(tmp_path):
    manifest = Manifest()
    manifest.handset_id, manifest.verified_at = "../../x", "2027-01-14T08:00:00Z"
    verified.note(tmp_path, "b", manifest, None)
    assert verified.last(tmp_path, "../../x")["dir"] == os.path.abspath("b")
    assert [path.parent.name for path in tmp_path.rglob("*.json")] == ["verified"]


def test_doctor_from_backup_to_dead_board(plugged, capsys, tmp_path):
    """A pull is remembered; a firmware that does not answer leaves the chip's own loader."""
    plugged()
    board = EmulatedBoard.create("d")
    card = tmp_path / "c.vcf"
    card.write_bytes(b"BEGIN:VCARD\r\nVERSION:3.0\r\nUID:u\r\nFN:Ada\r\nEND:VCARD\r\n")
    board.start()
    try:
        assert main(["import", "emu:d", str(card), "--quiet"]) == 0
        assert main(["doctor", "emu:d"]) == 9
        assert "none that this computer knows of" in capsys.readouterr().out
        assert main(["pull", "emu:d", str(tmp_path / "backup"), "--quiet"]) == 0
        capsys.readouterr()
        assert main(["doctor", "emu:d", "--json"]) == 9
        found = json.loads(capsys.readouterr().out)["findings"]
        assert wrong(found) == ["restore of it compared"]
        assert any("that of esp32-generic" in f["is"] for f in found)
        board.stop()
        with open(board.image, "r+b") as image:
            image.seek(0x200000)
            image.write(bytes(0x80000))  # `vfs`, and with it the firmware, is gone
        board.start()
        assert main(["doctor", "emu:d", "--json"]) == 11
        found = json.loads(capsys.readouterr().out)["findings"]
        assert wrong(found) == ["handset", "records"]
        assert {"chip", "partition table"} <= {f["what"] for f in found}
    finally:
        board.stop()
