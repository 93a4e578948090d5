"""The commands end to end: processes, the emulated board, its flash, its serial line."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from binascii import crc32

import pytest
import serial
from emulated_boards import make_board, wait_for
from formats_store import corpus_params

from drybag import layout
from drybag_host import cli, formats, targets
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.image import board_model

BAUD = 460800
CARDS = b"".join(
    b"BEGIN:VCARD\r\nVERSION:3.0\r\nUID:u%d\r\nFN:Person %d\r\nNOTE:%s\r\nEND:VCARD\r\n"
    % (i, i, b"x" * (i * 37 % 300))
    for i in range(300)
)


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """A flash image with the firmware, to copy: composing one takes longer than booting it."""
    home = tmp_path_factory.mktemp("image")
    return EmulatedBoard.create("blank", home=home).image.read_bytes()


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    monkeypatch.setenv("DRYBAG_HOME", str(folder))
    yield folder
    for name in os.listdir(folder / "emu") if (folder / "emu").exists() else ():
        board = EmulatedBoard(name, folder)
        if board.is_running:
            board.stop()


@pytest.fixture
def new_board(home, image):
    """new_board(name, **options of start()) -> a started board with an empty journal."""

    def make(name="b", **options):
        board = EmulatedBoard.create(name, home=home, files_in_vfs={})
        board.image.write_bytes(image)
        board.start(**options)
        return board

    return make


@pytest.fixture
def run(capsys):
    """run(words..., code=0) -> the JSON document."""

    def call(*words, code=0):
        capsys.readouterr()
        got = cli.main([str(w) for w in words] + ["--json"])
        out = capsys.readouterr()
        assert got == code, (got, out.out[-2000:], out.err[-2000:])
        assert "Traceback" not in out.err
        return json.loads(out.out)

    return call


def start(*words):
    """A drybag process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "drybag_host.cli", *map(str, words), "--json"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def end(process, code=0):
    out, err = process.communicate(timeout=90)
    assert process.returncode == code, (process.returncode, out[-2000:], err[-2000:])
    return json.loads(out) if out else None


def records(path):
    """{uid: body} of a backup's records.jsonl."""
    with open(path / "records.jsonl", encoding="utf-8") as file:
        return {r["uid"]: r["body"] for r in map(json.loads, file)}


@pytest.mark.parametrize("path", corpus_params())
def test_corpus_round_trip_through_the_flash(run, new_board, tmp_path, path):
    """import, power cut, boot, pull, export: every property of every file is there."""
    board = new_board()
    first = run("import", "emu:b", path)
    board.power_off()
    board.power_on()
    again = run("import", "emu:b", path)
    assert again["added"] == again["updated"] == 0
    assert again["unchanged"] == first["added"] == sum(first["by_kind"]["added"].values())
    assert run("pull", "emu:b", tmp_path / "backup")["verified"]
    run("export", tmp_path / "backup", tmp_path / "out", "--vcard", "as-is")
    assert formats.compare_files(path, tmp_path / "out") == []


def test_restore_to_another_board_and_compare(run, new_board, tmp_path):
    new_board("one")
    (tmp_path / "a.vcf").write_bytes(CARDS)
    run("import", "emu:one", tmp_path / "a.vcf")
    first = run("pull", "emu:one", tmp_path / "b1")
    new_board("two")
    assert run("restore", tmp_path / "b1", "emu:two")["compared"] == 300
    run("pull", "emu:two", tmp_path / "b2")
    assert records(tmp_path / "b1") == records(tmp_path / "b2")
    assert run("verify", tmp_path / "b1")["restore_compared"]["records"] == 300
    error = run("pull", "emu:two", tmp_path / "b1", code=20)["error"]
    assert error["class"] == "OtherHandset"
    assert run("pull", "emu:one", tmp_path / "b1")["digest"] == first["digest"]
    assert len(run("inspect", "emu:one", "--entries")["entries"]) >= 300
    assert run("find", "emu:one", "\udcff") == {"records": []}  # no UTF-8, as a shell may hand on


def cut_again_and_again(board, stop, cuts):
    """The power goes at flash commands while somebody writes, and comes back each time."""
    while not stop.is_set() and len(cuts) < 6:
        if not board.is_powered:
            cuts.append(board.state()["why_off"])
            again = {"cut_at": 150 + 30 * len(cuts)} if len(cuts) < 6 else {}
            board.power_on(seed=len(cuts), **again)
        time.sleep(0.02)


def test_import_through_pulled_batteries(run, new_board, tmp_path):
    """The power goes 6 times while records arrive: one import command brings all of them in."""
    board = new_board()
    (tmp_path / "a.vcf").write_bytes(CARDS)
    stop, cuts = threading.Event(), []
    board.power_off()
    board.power_on(cut_at=100, seed=1)
    thread = threading.Thread(target=cut_again_and_again, args=(board, stop, cuts))
    thread.start()
    try:
        document = run("import", "emu:b", tmp_path / "a.vcf")
    finally:
        stop.set()
        thread.join()
    assert cuts == ["cut"] * 6
    assert document["failed"] == 0 and document["added"] == 300
    assert run("pull", "emu:b", tmp_path / "b")["verified"]
    assert len(records(tmp_path / "b")) == 300
    run("export", tmp_path / "b", tmp_path / "out")
    assert formats.compare_files(tmp_path / "a.vcf", tmp_path / "out") == []


@pytest.fixture
def slow_board(run, new_board, tmp_path):
    """A board with 300 contacts behind a slow line: a pull takes about 2 s."""
    board = new_board()
    (tmp_path / "a.vcf").write_bytes(CARDS)
    run("import", "emu:b", tmp_path / "a.vcf")
    board.stop()
    board.start(baud=BAUD)
    return board


def arrived(path):
    try:
        return (path / ".partial" / "incoming.jsonl").stat().st_size
    except OSError:
        return 0


def test_pull_goes_on_after_kill_minus_9(run, slow_board, tmp_path):
    path = tmp_path / "b"
    sizes = []
    for _ in range(2):
        process = start("pull", "emu:b", path)
        before = arrived(path)
        assert wait_for(lambda floor=before: arrived(path) > floor + 20000, 30)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        process.stderr.close()
        sizes.append(arrived(path))
        assert not (path / "manifest.json").exists()
    assert run("verify", path, code=16)["error"]["class"] == "BackupDamaged"
    document = run("pull", "emu:b", path)
    assert document["resumed"] and document["verified"] and sizes[1] > sizes[0]
    assert len(records(path)) == 300
    assert run("verify", path)["ok"]


def test_pull_goes_on_after_the_power_went(slow_board, tmp_path):
    path = tmp_path / "b"
    process = start("pull", "emu:b", path)
    assert wait_for(lambda: arrived(path) > 20000, 30)
    slow_board.power_off()
    time.sleep(0.7)
    slow_board.power_on(baud=BAUD)
    document = end(process)
    assert document["verified"] and document["reconnects"] >= 1 and not document["resumed"]
    assert len(records(path)) == 300


def test_pull_goes_on_after_a_reset(slow_board, tmp_path):
    path = tmp_path / "b"
    process = start("pull", "emu:b", path)
    assert wait_for(lambda: arrived(path) > 20000, 30)
    slow_board.reset()
    document = end(process)
    assert document["verified"] and len(records(path)) == 300


def test_power_that_stays_away(slow_board, tmp_path):
    process = start("pull", "emu:b", tmp_path / "b", "--wait", "1")
    assert wait_for(lambda: arrived(tmp_path / "b") > 20000, 30)
    slow_board.power_off()
    out, err = process.communicate(timeout=60)
    assert process.returncode in (12, 13), err
    assert "again" in json.loads(out)["error"]["hint"]


def test_ctrl_c_and_again(run, slow_board, tmp_path):
    slow_board.power_off()
    slow_board.power_on(baud=BAUD // 8)  # the rest would take many times what a signal can take
    process = start("pull", "emu:b", tmp_path / "b")
    assert wait_for(lambda: arrived(tmp_path / "b") > 4000, 60)
    process.send_signal(signal.SIGINT)
    assert end(process, 130)["error"]["class"] == "Interrupted"
    slow_board.power_off()
    slow_board.power_on()
    assert run("pull", "emu:b", tmp_path / "b")["resumed"]


# --- the wrong thing at the other end --------------------------------------------------------


def test_micropython_without_drybag_is_not_a_handset(run, home, tmp_path):
    make_board(home, "plain").start()
    error = run("status", "emu:plain", code=11)["error"]
    assert error["class"] == "NotAHandset" and error["hint"]


@pytest.fixture
def strange_port():
    """strange_port(answer) -> a pty that says `answer` whenever something comes."""
    stop, lines = threading.Event(), []

    def serve(answer):
        controller, line = os.openpty()
        lines.append(line)

        def work():
            while not stop.is_set():
                try:
                    data = os.read(controller, 1000)
                except OSError:
                    return
                if answer and data:
                    os.write(controller, answer)

        threading.Thread(target=work, daemon=True).start()
        return os.ttyname(line)

    yield serve
    stop.set()
    for line in lines:
        os.close(line)


def test_something_else_at_the_port(strange_port):
    """Silence, a login, noise, a modem: all refused in reasonable time."""
    started = time.monotonic()
    answers = (b"", b"login: ", b"\xff\xfe\x00" * 30, b"OK\r\n")
    processes = [start("status", strange_port(answer)) for answer in answers]
    for process in processes:
        error = json.loads(process.communicate(timeout=60)[0])["error"]
        assert process.returncode in (11, 12) and error["hint"]
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("damage", ["foreign", "newer"])
def test_journal_that_cannot_be_opened(run, new_board, tmp_path, damage):
    """Reported with its own code, by status with what is known; never formatted."""
    board = new_board()
    (tmp_path / "a.vcf").write_bytes(CARDS[:2000])
    run("import", "emu:b", tmp_path / "a.vcf", code=9)
    board.stop()
    data = bytearray(board.image.read_bytes())
    start, size = next(
        (p.offset, p.size)
        for p in board_model.load("esp32-generic").partitions
        if p.label == "pim"
    )
    ruin(data, start, size, damage)
    board.image.write_bytes(data)
    board.start()
    for words in (["status", "emu:b"], ["pull", "emu:b", tmp_path / "x"]):
        document = run(*words, code=7)
        assert document["error"]["class"] in ("NotMountable", "FormatNewer")
    assert document["error"]["hint"]
    board.stop()
    assert board.image.read_bytes()[start : start + size] == bytes(data[start : start + size])


def ruin(data, start, size, damage):
    """Other people's bytes over the partition; or a journal of a version to come."""
    if damage == "foreign":
        data[start : start + size] = bytes(range(256)) * (size // 256)
        return
    for sector in range(start, start + size, 4096):
        if layout.parse_prefix(data[sector : sector + 16]):
            _, kind, epoch, number = layout.parse_prefix(data[sector : sector + 16])
            head = data[sector : sector + 2] + bytes([layout.VERSION + 1, kind])
            head += epoch.to_bytes(4, "little") + number.to_bytes(4, "little")
            data[sector : sector + 16] = head + crc32(head).to_bytes(4, "little")


def test_port_that_another_program_has(run, new_board):
    board = new_board()
    other = serial.Serial(board.console, exclusive=True)
    try:
        error = run("status", "emu:b", code=10)["error"]
        assert error["class"] == "PortBusy" and error["hint"]
    finally:
        other.close()
    assert run("status", "emu:b")["handset"]["id"]


def test_two_drybags_at_one_board(slow_board, run, tmp_path):
    process = start("pull", "emu:b", tmp_path / "b")
    assert wait_for(lambda: arrived(tmp_path / "b") > 5000, 30)
    assert run("status", "emu:b", code=10)["error"]["class"] == "PortBusy"
    assert end(process)["verified"]


def test_targets(run, new_board, home, tmp_path, monkeypatch):
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: [])
    (tmp_path / "file").write_text("x")
    assert run("status", "auto", code=15)["error"]["class"] == "NoSuchTarget"
    assert run("status", "emu:nobody", code=15)["error"]["class"] == "UnknownBoardName"
    assert run("status", tmp_path / "file", code=7)["error"]  # no dump of a journal
    assert run("pull", tmp_path, tmp_path / "b", code=15)["error"]
    board = new_board("one")
    assert run("status", "auto")["target"] == "emu:one"
    assert run("status")["targets"][0]["target"] == "emu:one"
    new_board("two")
    assert run("status", "auto", code=15)["error"]["candidates"] == ["emu:one", "emu:two"]
    board.stop()
    assert run("status", "emu:one", code=32)["error"]["hint"]
    assert run("status", "emu:one", "--start")["handset"]["id"]
    board.power_off()
    assert "no power" in run("status", "emu:one", code=32)["error"]["message"]
    assert run("status", "emu:one", "--start")["handset"]["id"]


def test_port_without_permission(run, tmp_path, monkeypatch):
    monkeypatch.setattr(targets.os, "access", lambda path, mode: False)
    controller, line = os.openpty()
    error = run("status", os.ttyname(line), code=10)["error"]
    assert "dialout" in error["hint"]
    os.close(controller)
    os.close(line)


def test_disk_of_this_computer_is_full(run, new_board, tmp_path):
    """A file system of 200 KB, where the machine lets us make one."""
    board = new_board()
    (tmp_path / "a.vcf").write_bytes(CARDS)
    (tmp_path / "p.jpg").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF" + os.urandom(300_000))
    run("import", "emu:b", tmp_path / "a.vcf")
    small = tmp_path / "small"
    small.mkdir()
    mount = shutil.which("mount")
    size = ["-t", "tmpfs", "-o", "size=400k", "tmpfs", str(small)]
    if not mount or subprocess.run([mount, *size], capture_output=True).returncode:
        pytest.skip("no small file system can be mounted here")
    try:
        assert run("pull", "emu:b", small / "b")["verified"]
        digest = run("verify", small / "b")["digest"]
        run("import", "emu:b", tmp_path / "p.jpg")
        error = run("pull", "emu:b", small / "b", code=17)["error"]
        assert error["class"] == "HostDiskFull"
        assert run("verify", small / "b")["digest"] == digest
        subprocess.run([mount, "-o", "remount,size=4m", str(small)], check=True)
        assert run("pull", "emu:b", small / "b")["verified"]
        assert run("verify", small / "b")["records"] == 301
    finally:
        subprocess.run(["umount", str(small)], check=True)
    board.stop()
