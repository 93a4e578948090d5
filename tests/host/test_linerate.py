"""The speed of the line: changed, left again where it does not work, 115200 at the end."""

import socket
import threading

import pytest
from handset_lines import Clock, SimHandset

from drybag_host.board import open_console
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.errors import LinkTimeout, NoSuchTarget
from drybag_host.linespeed import RATES, LineSpeed
from drybag_host.link import HandsetLink
from drybag_host.output import Output
from drybag_host.targets import Session, resolve


class RatedLine:
    """A UART's line to a handset in this process: ends at different speeds hear noise.

    `stands`: the fastest the wire carries; above it one byte in `every` is spoiled.
    `takes`: the fastest this computer's port can be set to.
    """

    name = "sim"
    has_speed = True

    def __init__(self, sim, stands=2000000, takes=2000000, every=1):
        self.sim, self.stands, self.takes, self.every = sim, stands, takes, every
        self.baud = 115200
        self.closed = False
        self._count = 0
        sound = sim.board.write
        sim.board.write = lambda data: sound(self._spoil(data))
        sim.start()

    def set_baud(self, baud):
        if baud > self.takes:
            raise ValueError("the port cannot")
        self.baud = baud

    @property
    def board_baud(self):
        return self.sim.board.bauds[-1] if self.sim.board.bauds else 115200

    def _spoil(self, data):
        if self.baud != self.board_baud:
            return b"U" * len(data)
        if self.baud <= self.stands:
            return data
        out = bytearray(data)
        for i in range(len(out)):
            self._count += 1
            if self._count % self.every == 0:
                out[i] ^= 1
        return bytes(out)

    def read(self, timeout_s=0.0):
        return self.sim.read(timeout_s)

    def write(self, data):
        self.sim.app.turn(0)  # it has had time since it was last heard
        self.sim.write(self._spoil(data))

    def close(self):
        self.closed = True


@pytest.fixture
def sim(monkeypatch):
    return SimHandset(Clock.install(monkeypatch))


def records(count):
    return [("put", 1, b"u%d" % i, b"FN:%d\nNOTE:%s\n" % (i, b"n" * 200)) for i in range(count)]


@pytest.mark.parametrize("stands", [2000000, 921600, 460800, 230400, 115200])
def test_the_fastest_that_works_is_found(sim, stands):
    line = RatedLine(sim, stands)
    link = HandsetLink(line)
    assert LineSpeed().apply(link) == stands == line.board_baud
    list(link.put_records(records(40)))
    assert len(list(link.changes(0))) == 40
    link.close()
    assert line.closed and line.baud == line.board_baud == 115200


@pytest.mark.parametrize("every", [40, 200, 400])
def test_a_speed_that_damages_some_bytes_is_left(sim, every):
    line = RatedLine(sim, 460800, every=every)
    assert LineSpeed().apply(HandsetLink(line)) == 460800


def test_a_port_that_cannot_be_set_so_fast(sim):
    line = RatedLine(sim, takes=1000000)
    assert LineSpeed().apply(HandsetLink(line)) == 921600
    assert 2000000 not in sim.board.bauds


def test_a_fixed_speed_is_the_only_one_tried(sim):
    line = RatedLine(sim)
    assert LineSpeed(460800).apply(HandsetLink(line)) == 460800
    assert sim.board.bauds == [460800]
    slow = RatedLine(SimHandset(sim.clock), stands=230400)
    assert LineSpeed(460800).apply(HandsetLink(slow)) == 115200


def test_noise_during_the_work_means_a_lower_speed_next_time(sim):
    line = RatedLine(sim)
    speed = LineSpeed()
    link = HandsetLink(line)
    speed.apply(link)
    list(link.put_records(records(60)))
    line.stands, line.every = 1000000, 300
    with pytest.raises(LinkTimeout):
        for _ in range(200):
            list(link.changes(0))
    link.close()
    line.baud = 115200  # the port is opened anew
    assert speed.apply(HandsetLink(line)) == RATES[1]


def test_a_line_without_speed_is_left_alone(sim):
    assert LineSpeed().apply(HandsetLink(sim)) is None
    assert sim.board.bauds == []


def test_a_host_that_went_away_is_missed(sim):
    """The handset is back at 115200 ten seconds after the last frame, also within an answer."""
    line = RatedLine(sim)
    link = HandsetLink(line)
    assert link.speed_up(921600)
    list(link.put_records(records(200)))
    stream = link.changes(0)
    next(stream)
    sim.clock.now_s += 9
    sim.app.turn(0)
    assert line.board_baud == 921600
    for _ in range(100):
        sim.app.turn(0)
        sim.clock.now_s += 0.2
    assert line.board_baud == 115200


def test_the_repl_finds_its_own_speed_again(sim):
    line = RatedLine(sim)
    assert HandsetLink(line).speed_up(921600)
    sim.board.to_board.extend(b"\x03")
    sim.app.run()
    assert line.board_baud == 115200


def test_a_long_answer_is_no_silence(sim):
    line = RatedLine(sim)
    link = HandsetLink(line)
    list(link.put_records(records(20)))
    assert link.speed_up(921600)
    turn = sim.app.turn

    def slow(wait_ms):
        sim.clock.now_s += 4
        turn(wait_ms)

    sim.app.turn = slow
    assert link.digest()[0] == 20
    assert line.board_baud == 921600


@pytest.fixture
def paced(tmp_path, monkeypatch):
    """An emulated board with the firmware, its console paced to 115200 baud."""
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path))
    board = EmulatedBoard.create("b")
    board.start(baud=115200)
    yield board
    board.stop()


def test_speed_on_an_emulated_board(paced):
    """The port's speed and the board's are set, and set back, on a pty as on a port."""
    console = open_console("emu:b")
    assert not console.has_speed
    with HandsetLink(console) as link:
        assert LineSpeed(921600).apply(link) == 921600 == console.baud
        assert link.hello()["name"]
    with HandsetLink(open_console("emu:b")) as link:
        assert link.console.baud == 115200
        assert link.hello()["name"]


def bridge(path):
    """A TCP server that hands one client the tty at `path`; returns its port."""
    import serial

    tty = serial.Serial(path, timeout=0.02)
    server = socket.create_server(("127.0.0.1", 0))

    def down(client):
        while True:
            data = client.recv(4096)
            if not data:
                return
            tty.write(data)

    def up(client, reader):
        while reader.is_alive():
            data = tty.read(max(1, tty.in_waiting))
            if data:
                client.sendall(data)

    def serve():
        client, _ = server.accept()
        with server, client, tty:
            reader = threading.Thread(target=down, args=(client,))
            reader.start()
            up(client, reader)
            reader.join()

    threading.Thread(target=serve, daemon=True).start()
    return server.getsockname()[1]


def test_a_handset_behind_a_socket(paced):
    target = "socket://127.0.0.1:%d" % bridge(paced.console)
    assert resolve(target) == target
    with HandsetLink(open_console(target)) as link:
        assert link.hello()["name"]
        assert len(list(link.put_records(records(10)))) > 0
        assert len(list(link.changes(0))) == 10


def test_nobody_at_the_far_end(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(NoSuchTarget, match="socket://"):
        open_console("socket://127.0.0.1:%d" % port)
    with pytest.raises(NoSuchTarget):
        resolve(str(tmp_path / "nothing"))


def load_bench():
    import importlib.util
    from pathlib import Path

    path = Path(__file__).parents[2] / "tools" / "benches" / "pull.py"
    spec = importlib.util.spec_from_file_location("bench_pull", path)
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    return bench


def test_what_frames_and_heads_cost(monkeypatch, tmp_path):
    """Of all bytes on the line towards the computer 98 in 100 are the person's."""
    import hashlib

    bench = load_bench()
    sim = SimHandset(Clock.install(monkeypatch), 1 << 20)
    notes, photos = bench.payload()
    notes, photos = notes[::4], photos[::4]
    for photo in photos:
        writer = sim.app.journal.blob_writer(hashlib.sha256(photo).digest(), len(photo))
        writer.write(photo)
        writer.finish()
    shas = [hashlib.sha256(photo).digest() for photo in photos]
    for n, (uid, body) in enumerate(notes):
        sim.app.journal.put(1, uid, body, shas[n : n + 1])
    counted = bench.Counted(sim)
    with Session(lambda: HandsetLink(counted), "sim", Output(quiet=True)) as session:
        pull = bench.TimedPull(str(tmp_path / "backup"), session, session.out)
        assert pull.run().verified
    size = sum(map(len, photos)) + sum(len(uid) + len(body) for uid, body in notes)
    assert 0.98 < size / pull.came < 1


def test_the_bench_has_what_it_says():
    """tools/bench pull: 256 KiB as the backup counts them."""
    bench = load_bench()
    notes, photos = bench.payload()
    size = sum(map(len, photos)) + sum(len(uid) + len(body) for uid, body in notes)
    assert size == bench.TOTAL_BYTES
    assert len(notes) > 100 and len({uid for uid, _ in notes}) == len(notes)
    assert sum(map(len, bench.mpremote_files(notes, photos).values())) == size
