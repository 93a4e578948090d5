"""The network with faults: between any client and a server, and of an emulated board."""

import json
import socket
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drybag_host import cli
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.emulator.netfaults import FaultProxy, describe, faults


class Server:
    """Takes a line, answers it twice over, ends. `heard`: what each connection sent."""

    def __init__(self):
        self.heard = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = self.listener.getsockname()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(peer,), daemon=True).start()

    def _talk(self, peer):
        said = b""
        with peer:
            try:
                while not said.endswith(b"\n"):
                    piece = peer.recv(4096)
                    if not piece:
                        break
                    said += piece
                else:
                    peer.sendall(said * 2)
            except OSError:
                pass
        self.heard.append(said)


@pytest.fixture
def server():
    made = Server()
    yield made
    made.listener.close()


@pytest.fixture
def link(server):
    with FaultProxy(server.address) as proxy:
        yield proxy


def ask(port, line, timeout_s=5.0):
    """What comes back, and how it ended: "end", "reset", "refused" or "silence"."""
    got = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout_s) as s:
            s.sendall(line)
            while True:
                piece = s.recv(4096)
                if not piece:
                    return got, "end"
                got += piece
    except ConnectionRefusedError:
        return got, "refused"
    except (ConnectionResetError, BrokenPipeError):
        return got, "reset"
    except TimeoutError:
        return got, "silence"


def heard(server, count):
    until = time.monotonic() + 5
    while len(server.heard) < count and time.monotonic() < until:
        time.sleep(0.005)
    return server.heard


def test_carries_everything_when_all_is_well(server, link):
    big = b"x" * 3_000_000 + b"\n"
    assert ask(link.port, big) == (big * 2, "end")
    assert link.totals == {"connections": 1, "cuts": 0, "up": len(big), "down": 2 * len(big)}


def test_refuses_and_takes_again_at_the_same_port(server, link):
    with socket.create_connection(("127.0.0.1", link.port), 5) as open_one:
        open_one.sendall(b"half")
        link.set(faults("refuse"))
        with pytest.raises(ConnectionResetError):
            open_one.recv(1)
    assert ask(link.port, b"a\n") == (b"", "refused")
    link.set(faults())
    assert ask(link.port, b"a\n") == (b"a\na\n", "end")


def test_silence_holds_an_open_connection_and_lets_it_go_on(server, link):
    with socket.create_connection(("127.0.0.1", link.port), 5) as s:
        s.sendall(b"one ")
        link.set(faults("drop"))
        s.sendall(b"two\n")
        s.settimeout(0.1)
        with pytest.raises(TimeoutError):
            s.recv(1)
        assert ask(link.port, b"x\n", 0.1) == (b"", "silence")
        link.set(faults())
        s.settimeout(5)
        assert s.recv(100, socket.MSG_WAITALL) == b"one two\none two\n"


def test_latency_delays_each_way(server, link):
    link.set(faults("latency", ms=60))
    began = time.monotonic()
    assert ask(link.port, b"a\n") == (b"a\na\n", "end")
    assert time.monotonic() - began >= 0.12


@pytest.mark.parametrize("direction", ("up", "down", "either"))
def test_cuts_at_each_byte(server, link, direction):
    line = b"0123456\n"
    total = {"up": 8, "down": 16, "either": 24}[direction]
    for n in range(total + 1):
        link.set(faults("cut-after", after=n, direction=direction, times=1))
        count = len(server.heard)
        got, how = ask(link.port, line)
        sent = heard(server, count + 1)[-1]
        assert how == "reset", (n, how)
        up = {"up": n, "down": min(n, 1) * 8, "either": min(n, 8)}[direction]
        down = {"up": 0, "down": n, "either": max(0, n - 8)}[direction]
        assert sent == line[:up]
        assert (line * 2)[:down].startswith(got)  # what was under way at a reset may be lost
        assert ask(link.port, line) == (line * 2, "end")  # times=1
        heard(server, count + 2)


def test_a_cut_that_closes_gives_all_that_was_carried(server, link):
    link.set(faults("cut-after", after=11, direction="down", how="close"))
    assert ask(link.port, b"0123456\n") == (b"0123456\n012", "end")
    assert ask(link.port, b"0123456\n") == (b"0123456\n012", "end")  # each connection
    link.set(faults("cut-after", after=3, direction="down", how="stall"))
    assert ask(link.port, b"0123456\n", 0.2) == (b"012", "silence")


def test_a_request_comes_twice(server, link):
    link.set(faults("duplicate"))
    assert ask(link.port, b"pay\n") == (b"pay\npay\n", "end")
    assert heard(server, 2) == [b"pay\n", b"pay\n"]


def test_a_server_that_is_not_there(server, link):
    server.listener.shutdown(socket.SHUT_RDWR)
    server.listener.close()
    assert ask(link.port, b"a\n")[1] == "reset"


@settings(max_examples=30, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 5000), max_size=4),
    after=st.integers(0, 9000),
    how=st.sampled_from(("reset", "close")),
)
def test_never_carries_more_than_the_cut_allows(sizes, after, how):
    server = Server()
    with FaultProxy(server.address, faults("cut-after", after=after, how=how)) as link:
        for size in sizes:
            line = b"x" * size + b"\n"
            got, ended = ask(link.port, line)
            assert len(got) <= max(0, after - len(line))
            assert (got == line * 2) or 3 * len(line) >= after or ended != "end"
    server.listener.close()


def test_states_and_words():
    assert describe(faults()) == "ok"
    assert describe(faults("latency", ms=20)) == "latency 20 ms"
    state = faults("cut-after", after=9, direction="up", how="stall", times=2)
    assert describe(state) == "cut-after 9 up, stall, 2 times"
    for wrong in ({"kind": "gone"}, {"ms": -1}, {"direction": "left"}, {"times": 0}):
        with pytest.raises(ValueError):
            faults(**wrong)


# --- an emulated board ---

_CLIENT = """
import network, socket, time
w = network.WLAN(network.STA_IF)
w.active(True)
w.connect("drybag", "x")
def ask(text, port=%d):
    try:
        s = socket.socket()
        s.connect(socket.getaddrinfo("localhost", port)[0][-1])
        s.settimeout(0.3)
        s.send(text)
        got = b""
        while True:
            piece = s.recv(100)
            if not piece:
                return got
            got += piece
    except OSError as e:
        return e.errno
    finally:
        s.close()
"""


@pytest.fixture
def board(server, tmp_path, monkeypatch):
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path))
    main = (_CLIENT % server.address[1]).encode()
    made = EmulatedBoard.create("n", files_in_vfs={"/main.py": main})
    made.wifi(True)
    yield made
    if made.is_running:
        made.stop()


def test_a_boards_network_breaks_and_heals(board, server, capsys):
    from emulated_boards import PROMPT, Talk

    def emu(*words):
        code = cli.main(["emu", "net", "n", *words])
        return code, capsys.readouterr().out

    talk = Talk.from_boot(board)
    talk.until(PROMPT)
    assert talk.line("ask(b'hi\\n')") == r"b'hi\nhi\n'"
    assert emu("refuse") == (0, "the network of n: refuse\n")
    assert talk.line("ask(b'hi\\n')") == "111"
    assert emu("drop")[0] == 0
    assert talk.line("ask(b'hi\\n') in (110, 11)") == "True"
    assert emu("cut-after", "4", "--times", "1", "--how", "close")[1].endswith("1 times\n")
    assert talk.line("ask(b'hi\\n')") == "b'h'"
    assert emu() == (0, "the network of n: ok\n")
    assert talk.line("ask(b'hi\\n')") == r"b'hi\nhi\n'"
    assert emu("latency", "40")[0] == 0
    talk.line("t = time.ticks_ms(); r = ask(b'hi\\n')")
    assert talk.line("r, time.ticks_diff(time.ticks_ms(), t) >= 80") == r"(b'hi\nhi\n', True)"
    assert emu("sideways")[0] == emu("latency")[0] == emu("ok", "5")[0] == 2
    cli.main(["emu", "list", "--json"])
    assert json.loads(capsys.readouterr().out)["boards"][0]["net"]["kind"] == "latency"
    board.stop()
    assert describe(board.net(faults("drop"))) == describe(board.state()["net"]) == "drop"
    talk.close()


def test_a_board_without_power_is_silent_then_resets(board, server):
    from emulated_boards import PROMPT, Talk

    talk = Talk.from_boot(board)
    talk.until(PROMPT)
    talk.line("s = socket.socket()")
    talk.line("s.connect(socket.getaddrinfo('127.0.0.1', %d)[0][-1])" % server.address[1])
    talk.line("s.send(b'half')")
    board.power_off()
    time.sleep(0.1)
    assert server.heard == []  # no FIN: nobody has told the server
    board.power_on()
    assert heard(server, 1) == [b"half"]
    talk.close()
