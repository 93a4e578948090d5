"""Dump: the raw partition through the link, resumed, verified; an image of a stopped board."""

import hashlib
import io
import os

import pytest
from handset_lines import Clock, SimHandset

from drybag_host import cli
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.errors import HostFile
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
    assert len(DumpSource(path).records()) == 20


def test_it_goes_on_where_it_stopped(sim, tmp_path):
    path = str(tmp_path / "pim.bin")

    def stop(done, total):
        if done >= 2 * 65536:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dumping.from_handset(session(sim), path, stop)
    assert not os.path.exists(path) and os.path.getsize(path + ".part") == 2 * 65536
    seen = []
    assert dumping.from_handset(session(sim), path, lambda done, total: seen.append(done))[2]
    assert seen[0] == 3 * 65536 and (tmp_path / "pim.bin").read_bytes() == flash(sim)


def test_what_changes_meanwhile_is_read_again(sim, tmp_path):
    path = str(tmp_path / "pim.bin")
    changed = []

    def change(done, total):
        if not changed:
            changed.append(sim.app.journal.put(1, b"late", b"VERSION:3.0\nFN:Late\n"))

    dumping.from_handset(session(sim), path, change)
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
