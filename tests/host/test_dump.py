"""Dump: the raw partition through the link, resumed, verified; an image of a stopped board."""

import hashlib
import io
import json
import os
import random
import threading

import flash_steps
import pytest
from handset_lines import Clock, SimHandset

from drybag_host import cli, linkline
from drybag_host.board import loader
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.emulator.serial_server import SerialServer
from drybag_host.errors import HostFile, LinkLost, NotVerified
from drybag_host.esptool_run import Chip
from drybag_host.image import dumping, partitions
from drybag_host.link import HandsetLink
from drybag_host.output import Output
from drybag_host.sources import DumpSource
from drybag_host.targets import Session


@pytest.fixture
def sim(monkeypatch):
    sim = SimHandset(Clock.install(monkeypatch), 1 << 18)
    for n in range(20):
        sim.app.journal.put(1, b"uid-%d" % n, b"VERSION:3.0\nFN:Person %d\n" % n)
    return sim


def session(sim):
    return Session(lambda: HandsetLink(sim), "sim", Output(False, io.StringIO(), io.StringIO()))


def flash(sim):
    data = bytearray(1 << 18)
    device = sim.board.partition()
    for sector in range(len(data) // 4096):
        device.readblocks(sector, memoryview(data)[sector * 4096 : sector * 4096 + 4096])
    return bytes(data)


def test_the_file_is_the_flash(sim, tmp_path):
    path = str(tmp_path / "pim.bin")
    size, digest, resumed = dumping.from_handset(session(sim), path)
    data = (tmp_path / "pim.bin").read_bytes()
    assert data == flash(sim) and size == len(data) and not resumed
    assert digest == hashlib.sha256(data).hexdigest()
    assert os.listdir(tmp_path) == ["pim.bin"]
    assert os.stat(path).st_mode & 0o777 == 0o600  # the secret for the hub is in it
    assert len(DumpSource(path).records()) == 20


def test_into_the_folder_one_is_in(sim, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dumping.from_handset(session(sim), "pim.bin")
    assert os.listdir() == ["pim.bin"]


def test_it_goes_on_where_it_stopped(sim, tmp_path):
    path = str(tmp_path / "pim.bin")

    def stop(done, total):
        if done >= 2 * 65536:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dumping.from_handset(session(sim), path, stop)
    assert not os.path.exists(path) and os.path.getsize(path + ".part") == 2 * 65536
    assert {os.stat(path + end).st_mode & 0o777 for end in (".part", ".part.json")} == {0o600}
    with open(path + ".part", "r+b") as part:  # a crash of this computer kept only its length
        part.seek(65536)
        part.write(bytes(65536))
    seen = []
    assert dumping.from_handset(session(sim), path, lambda done, total: seen.append(done))[2]
    assert seen[0] == 2 * 65536 and (tmp_path / "pim.bin").read_bytes() == flash(sim)


def test_what_changes_meanwhile_is_read_again(sim, tmp_path):
    path = str(tmp_path / "pim.bin")
    changed, heard = [], []

    def change(done, total):
        if not changed:
            changed.append(sim.app.journal.put(1, b"late", b"VERSION:3.0\nFN:Late\n"))

    dumping.from_handset(session(sim), path, change, say=heard.append)
    assert len(heard) == 1 and "beginning anew" in heard[0]
    assert (tmp_path / "pim.bin").read_bytes() == flash(sim)
    assert len(DumpSource(path).records()) == 21


def test_a_file_that_is_there_is_kept(sim, tmp_path):
    (tmp_path / "pim.bin").write_bytes(b"mine")
    with pytest.raises(HostFile):
        dumping.from_handset(session(sim), str(tmp_path / "pim.bin"))
    assert (tmp_path / "pim.bin").read_bytes() == b"mine"


def test_without_a_journal_the_flash_can_be_read(sim, tmp_path):
    harmed = flash(sim)
    device = sim.board.partition()
    for sector in range(len(harmed) // 4096):
        device.ioctl(6, sector)
        device.writeblocks(sector, bytes(4096), 0)
    sim.reboot()
    path = str(tmp_path / "pim.bin")
    with Session(lambda: HandsetLink(sim), "sim", Output(False, io.StringIO(), io.StringIO()),
                 fault_ok=True) as broken:  # fmt: skip
        assert broken.info.raw["error"]
        dumping.from_handset(broken, path)
    assert (tmp_path / "pim.bin").read_bytes() == bytes(1 << 18)


@pytest.mark.parametrize("whole", [False, True])
def test_of_a_stopped_board_the_image(whole, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path / "home"))
    board = EmulatedBoard.create("d", files_in_vfs={})
    image = board.image.read_bytes()
    words = ["dump", "emu:d", str(tmp_path / "out.bin")] + ["--whole"] * whole
    assert cli.main(words) == 0
    row = partitions.find(partitions.from_image(board.image), "pim")
    expected = image if whole else image[row.offset : row.offset + row.size]
    assert (tmp_path / "out.bin").read_bytes() == expected
    assert cli.main(words) == 23
    capsys.readouterr()


TABLE = """
nvs,      data, nvs,      0x9000,   0x6000
phy_init, data, phy,      0xf000,   0x1000
factory,  app,  factory,  0x10000,  0x10000
vfs,      data, fat,      0x20000,  0x60000
pim,      data, littlefs, 0x80000,  0x30000
"""
PIM_AT, PIM_BYTES = 0x80000, 0x30000


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A board with power whose firmware is dead and whose `pim` is full of noise."""
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(linkline, "PATIENCE_S", 4)
    toml = flash_steps.board_file(tmp_path, TABLE, flash_mib=2)
    board = EmulatedBoard.create("d", toml, files_in_vfs={})
    write_image(board, PIM_AT, random.Random(1).randbytes(PIM_BYTES))
    board.start()
    yield board
    if board.is_running:
        board.stop()


def write_image(board, at, data):
    with open(board.image, "r+b") as image:
        image.seek(at)
        image.write(data)


def pim_of(board):
    return board.image.read_bytes()[PIM_AT : PIM_AT + PIM_BYTES]


def told(capsys):
    return json.loads(capsys.readouterr().out)


def test_a_dead_firmware_is_read_by_esptool(small, tmp_path, capsys):
    out = tmp_path / "out.bin"
    assert cli.main(["dump", "emu:d", str(out), "--json", "--quiet"]) == 0
    said = told(capsys)
    assert (said["source"], said["resumed"], said["bytes"]) == ("esptool", False, PIM_BYTES)
    assert out.read_bytes() == pim_of(small)
    assert sorted(os.listdir(tmp_path)) == ["home", "out.bin", "small.toml"]
    assert small.is_powered and not small.state()["held"]


def test_esptool_goes_on_where_it_was_stopped(small, pieces, tmp_path):
    path = str(tmp_path / "out.bin")
    with loader.open_loader("emu:d") as tool:

        def stop(done, total):
            if done > 2 * 0x10000:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            dumping.from_loader(tool, path, stop)
        assert os.path.getsize(path + ".part") == 2 * 0x10000
        seen = []
        _, digest, resumed = dumping.from_loader(tool, path, lambda done, _: seen.append(done))
    assert resumed and min(seen) > 2 * 0x10000
    assert digest == hashlib.sha256(pim_of(small)).hexdigest()


def test_a_living_board_goes_on_though_it_ran_in_between(tmp_path, monkeypatch):
    """Each end of a run starts the application, which writes: only what it wrote is read again."""
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path / "home"))
    board = EmulatedBoard.create("d", flash_steps.board_file(tmp_path, flash_steps.SMALL))
    write_image(board, 0x90000, flash_steps.used_pim())
    board.start()
    path, read, heard = str(tmp_path / "out.bin"), [], []

    def cable_breaks(*_):
        raise LinkLost("cable")

    def run(breaks=False):
        with loader.open_loader("emu:d") as tool:
            take = tool.read
            monkeypatch.setattr(tool, "read", lambda at, n, *x: read.append(n) or take(at, n, *x))
            if breaks:  # behind the last piece
                monkeypatch.setattr(tool, "verify", cable_breaks)
            done = dumping.from_loader(tool, path, say=heard.append)
            return done, board.image.read_bytes()[0x90000:0x110000]

    try:
        with pytest.raises(LinkLost):
            run(breaks=True)
        (tmp_path / "a.vcf").write_text(
            "BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Written meanwhile\r\nEND:VCARD\r\n"
        )
        assert cli.main(["import", "emu:d", str(tmp_path / "a.vcf"), "--quiet"]) == 0
        del read[:]
        (size, _, resumed), now = run()
    finally:
        board.stop()
    assert (tmp_path / "out.bin").read_bytes() == now and size == len(now)
    assert resumed and 0x10000 <= sum(read[1:]) <= 0x40000, read  # [0] is the table
    assert len(heard) == 1 and "524 KB kept" in heard[0], heard
    assert len(DumpSource(path).records()) == 30
    assert sum(b"Written meanwhile" in record.body for record in DumpSource(path).records()) == 1


class BytesTool:
    """As Esptool for dumping, on a flash of bytes; `on_read(address)` may change them."""

    def __init__(self, on_read=lambda address: None):
        self.flash = bytearray(random.Random(1).randbytes(0x40000))
        self.flash[0x8000:0x8C00] = partitions.to_binary("pim, data, littlefs, 0x10000, 0x30000\n")
        self.on_read = on_read

    def identify(self):
        return Chip("esp32", "ESP32", "24:6f:28:00:00:01", len(self.flash))

    def read(self, address, size, progress=None):
        data = bytes(self.flash[address : address + size])
        self.on_read(address)
        return data

    def differing(self, pieces):
        return [at for at, data in pieces if self.flash[at : at + len(data)] != data]

    def verify(self, address, path):
        with open(path, "rb") as file:
            data = file.read()
        if self.flash[address : address + len(data)] != data:
            raise NotVerified("differs")


@pytest.fixture
def pieces(monkeypatch):
    monkeypatch.setattr(dumping, "LOADER_PIECE_BYTES", 0x10000)
    monkeypatch.setattr(dumping, "KEPT_PIECE_BYTES", 0x4000)
    monkeypatch.setattr(dumping, "_KEPT_PIECES", 3)


@pytest.mark.parametrize(
    "changed, again",
    [((0,), [0]), ((0x4000, 0x8123, 0x1C000), [0x4000, 0x1C000]),
     (range(0, 0x20000, 0x1000), [0, 0x10000])],
    ids=["one", "two places", "all"],
)  # fmt: skip
def test_what_was_kept_and_is_no_longer_so_is_read_again(pieces, tmp_path, changed, again):
    path = str(tmp_path / "out.bin")
    read, heard = [], []
    tool = BytesTool(read.append)

    def stop(done, total):
        if done > 0x10000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dumping.from_loader(tool, path, stop)
    assert os.path.getsize(path + ".part") == 0x20000
    for at in changed:
        tool.flash[0x10000 + at] ^= 1
    del read[:]
    assert dumping.from_loader(tool, path, say=heard.append)[2] is (len(changed) < 10)
    assert read == [0x8000, *(0x10000 + at for at in again), 0x30000]
    assert (tmp_path / "out.bin").read_bytes() == tool.flash[0x10000:]
    assert len(heard) == 1 and "131 KB kept" in heard[0]


@pytest.mark.parametrize("changes, ends", [(2, True), (1000, False)])
def test_a_flash_that_changes_under_the_reading(pieces, tmp_path, changes, ends):
    """A piece is right when it is read; what the whole is, is looked at again at the end."""
    left = [changes]

    def change(address):
        if address >= 0x10000 and left[0]:
            left[0] -= 1
            tool.flash[0x10000] = (tool.flash[0x10000] + 1) & 0xFF

    tool = BytesTool(change)
    if ends:
        dumping.from_loader(tool, str(tmp_path / "out.bin"))
        assert (tmp_path / "out.bin").read_bytes() == tool.flash[0x10000:]
    else:
        with pytest.raises(NotVerified):
            dumping.from_loader(tool, str(tmp_path / "out.bin"))


def test_a_cable_that_breaks_twice_in_a_piece(pieces, tmp_path):
    breaks = [True, True]

    def break_off(address):
        if address > 0x10000 and breaks:
            breaks.pop()
            raise LinkLost("cable")

    tool = BytesTool(break_off)
    dumping.from_loader(tool, str(tmp_path / "out.bin"))
    assert (tmp_path / "out.bin").read_bytes() == tool.flash[0x10000:]


def test_without_a_partition_table_the_whole_can_be_read(small, tmp_path, monkeypatch, capsys):
    write_image(small, 0x8000, bytes(0x1000))
    monkeypatch.setattr(dumping, "LOADER_PIECE_BYTES", 0x100000)
    out = tmp_path / "out.bin"
    assert cli.main(["dump", "emu:d", str(out), "--by", "esptool", "--quiet"]) == 33
    assert "--whole" in capsys.readouterr().err and not out.exists()
    assert cli.main(["dump", "emu:d", str(out), "--by", "esptool", "--whole", "--quiet"]) == 0
    assert out.read_bytes() == small.image.read_bytes()


def test_the_firmware_gives_the_whole_flash(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path / "home"))
    board = EmulatedBoard.create("d")
    board.start()
    try:
        out = tmp_path / "out.bin"
        assert cli.main(["dump", "emu:d", str(out), "--whole", "--json", "--quiet"]) == 0
        assert told(capsys)["source"] == "firmware"
        assert out.read_bytes() == board.image.read_bytes()
        assert partitions.find(partitions.from_image(out), "pim")
    finally:
        board.stop()


def test_a_port_without_dtr_has_no_loader(capsys):
    assert cli.main(["dump", "socket://127.0.0.1:1", "x", "--by", "esptool"]) == 2
    assert "DTR" in capsys.readouterr().err


def test_as_a_user_does_it_at_a_port(small, tmp_path, capsys):
    """Over rfc2217://, where DTR and RTS bring the chip into its loader and back."""
    server = SerialServer(small)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        assert cli.main(["dump", server.url, str(tmp_path / "out.bin"), "--json", "--quiet"]) == 0
    finally:
        server.stop()
        thread.join()
    assert told(capsys)["source"] == "esptool"
    assert (tmp_path / "out.bin").read_bytes() == pim_of(small)


def test_a_folder_that_is_missing_is_named(tmp_path):
    from drybag_host.errors import HostFile
    from drybag_host.image import dumping

    path = tmp_path / "gone" / "pim.bin"
    with pytest.raises(HostFile, match="there is no folder %s$" % path.parent) as failed:
        dumping._open_part(str(path), {}, 4096)
    assert "part" not in str(failed.value) and failed.value.hint
