"""The network between a board and the world, with faults: connections refused, silent, late, torn.

`FaultNet` stands in the supervisor's loop and carries each TCP connection of a board; `FaultProxy`
is the same between any client and one server, in a thread of its own:

    with FaultProxy(("127.0.0.1", hub_port)) as link:
        link.set(faults("cut-after", after=1000, direction="up", times=1))
        ...                         # connect to ("127.0.0.1", link.port)

What is set holds at once, for open connections too. The kinds:

    ok          everything is carried
    refuse      no connection is taken, open ones are reset
    drop        the far side is silent: nothing is carried, connections stay open
    latency     each piece comes `ms` milliseconds later
    cut-after   a connection carries `after` bytes (in `direction`: up is what the client sends,
                down what it gets, either both together), then it is torn: `how` is reset, close
                or stall
    duplicate   what a connection sent up is sent again over a second one when it has ended, the
                answer to that is thrown away

`times`: after so many cuts all is ok again; None: for ever.
"""

import errno
import os
import select
import socket
import sys
import threading
import time
from collections import deque

KINDS = ("ok", "refuse", "drop", "latency", "cut-after", "duplicate")
DIRECTIONS = ("up", "down", "either")
HOWS = ("reset", "close", "stall")
_PIECE_BYTES = 65536
_QUEUE_BYTES = 262144
_REPLAY_BYTES = 4 << 20
_REPLAY_S = 5.0
_AIR_S = 0.05
_LINGER_0 = (1).to_bytes(4, sys.byteorder) + bytes(4)


def faults(kind="ok", ms=0, after=0, direction="either", how="reset", times=None):
    """One state of the network, as `set()` takes it and JSON keeps it. Raises ValueError."""
    if kind not in KINDS or direction not in DIRECTIONS or how not in HOWS:
        raise ValueError("no such fault: %s %s %s" % (kind, direction, how))
    if ms < 0 or after < 0 or (times is not None and times < 1):
        raise ValueError("a number is below its least")
    return {
        "kind": kind, "ms": ms, "after": after, "direction": direction, "how": how, "times": times,
    }  # fmt: skip


def describe(state):
    """The state in a word or two."""
    kind = state["kind"]
    if kind == "latency":
        return "latency %d ms" % state["ms"]
    if kind != "cut-after":
        return kind
    way = "" if state["direction"] == "either" else " %s" % state["direction"]
    torn = "" if state["how"] == "reset" else ", %s" % state["how"]
    left = "" if state["times"] is None else ", %d times" % state["times"]
    return "cut-after %d%s%s%s" % (state["after"], way, torn, left)


def _end(sock, reset=False):
    if reset:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
        except OSError:
            pass
    sock.close()


def _has_gone(sock):
    """Has the far end closed it, whatever is still to be read?"""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP)
    return bool(poll.poll(0))


def _connect(target):
    sock = socket.socket(socket.AF_INET6 if ":" in target[0] else socket.AF_INET)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    failed = sock.connect_ex(target)
    if failed not in (0, errno.EINPROGRESS):
        sock.close()
        return None
    return sock


class _Way:
    """One direction of a connection: what was read from `source` and `sink` has not got yet."""

    def __init__(self, name, source, sink):
        self.name = name
        self.source = source
        self.sink = sink
        self.pieces = deque()
        self.waiting = 0
        self.carried = 0
        self.ended = False
        self.shut = False

    def wants_more(self):
        return not self.ended and self.waiting < _QUEUE_BYTES

    def due(self, now):
        return bool(self.pieces) and self.pieces[0][0] <= now

    def push(self, now):
        """Write what is due. Raises OSError if the sink is gone."""
        while self.due(now):
            at, piece = self.pieces[0]
            try:
                sent = self.sink.send(piece)
            except BlockingIOError:
                return
            self.waiting -= sent
            if sent < len(piece):
                self.pieces[0] = (at, piece[sent:])
                return
            self.pieces.popleft()
        if self.ended and not self.pieces and not self.shut:
            self.shut = True
            self.sink.shutdown(socket.SHUT_WR)


class _Connection:
    def __init__(self, client, server, target):
        self.target = target
        self.up = _Way("up", client, server)
        self.down = _Way("down", server, client)
        self.ways = (self.up, self.down)
        self.connecting = True
        self.torn = None
        self.held = False
        self.sent_up = bytearray()

    def count(self, direction):
        return sum(way.carried for way in self.ways if direction in ("either", way.name))

    def over(self):
        return all(way.shut for way in self.ways)


class FaultNet:
    """Listeners, connections and their faults, without a loop of its own.

    `route(host, port)` gives the port on loopback that leads to that address. `carries()` False:
    nothing gets through (no access point in reach). `on_change(state)`: `times` ran out.
    `totals`: connections, cuts, and bytes read `up` and `down` since the begin. `torn_at`: of each
    cut, {"up", "down"}: bytes that the connection had carried since the last set().
    """

    def __init__(self, carries=lambda: True, on_change=lambda state: None, state=None):
        self._carries = carries
        self._on_change = on_change
        self.state = state or faults()
        self.totals = {"connections": 0, "cuts": 0, "up": 0, "down": 0}
        self.torn_at = []
        self._ports = {}
        self._listeners = {}
        self._connections = []
        self._ghosts = []
        self._replays = []
        self._asked = {}
        self._questions = None

    # -- what the owner does ------------------------------------------------------------------
    def set(self, state):
        """From now on, for open connections too; bytes to a cut are counted from now on."""
        was_refusing = self.state["kind"] == "refuse"
        was_still = self._still()
        self.state = dict(state)
        for connection in list(self._connections):
            for way in connection.ways:
                way.carried = 0
            given_up = was_still and _has_gone(connection.up.source)
            if connection.held or given_up or state["kind"] == "refuse":
                self._tear(connection, "reset")
        if state["kind"] == "refuse":
            for listener in self._listeners.values():
                listener.close()
            self._listeners.clear()
        elif was_refusing:
            for target, port in list(self._ports.items()):
                self._listen(target, port)

    def route(self, host, port):
        """The port on loopback behind which that address is."""
        target = (host, port)
        if target not in self._ports:
            self._listen(target, 0)
        return self._ports[target]

    def answer_routes(self):
        """Listen for lines `HOST PORT`, answered by the port of `route`; returns where."""
        self._questions = _listener(0)
        return self._questions.getsockname()[1]

    def silence(self):
        """The client has lost its power: the far ends hear nothing of it any more."""
        for connection in self._connections:
            _end(connection.up.source)
            self._ghosts.append(connection.up.sink)
        self._connections.clear()

    def wake(self):
        """The client has power again and knows of no connection: those far ends are reset."""
        for sock in self._ghosts:
            _end(sock, reset=True)
        self._ghosts.clear()

    def close(self):
        self.wake()
        for connection in list(self._connections):
            self._tear(connection, "reset")
        for sock in [*self._listeners.values(), *self._asked, *(r[0] for r in self._replays)]:
            sock.close()
        if self._questions:
            self._questions.close()
        self._listeners.clear()
        self._replays.clear()

    # -- the loop's questions -----------------------------------------------------------------
    def _still(self):
        return self.state["kind"] == "drop" or not self._carries()

    def readers(self):
        found = [*self._listeners.values(), *self._asked]
        if self._questions:
            found.append(self._questions)
        found += [replay[0] for replay in self._replays]
        if not self._still():
            for c in self._connections:
                if not c.torn and not c.held and not c.connecting:
                    found += [way.source for way in c.ways if way.wants_more()]
        return found

    def writers(self):
        now = time.monotonic()
        found = [replay[0] for replay in self._replays if replay[1]]
        if self._still():
            return found
        for c in self._connections:
            if c.connecting:
                found.append(c.up.sink)
            elif not c.held:
                found += [way.sink for way in c.ways if way.due(now)]
        return found

    def wait_s(self):
        """Seconds until something is due by itself; None: nothing is."""
        now = time.monotonic()
        moments = [replay[2] for replay in self._replays]
        if not self._carries():
            if self._connections:
                moments.append(now + _AIR_S)
        elif self.state["kind"] != "drop":
            for c in self._connections:
                if not c.held:
                    moments += [way.pieces[0][0] for way in c.ways if way.pieces]
        return max(0.0, min(moments) - now) if moments else None

    def handle(self, readable, writable):
        """Do what select() found, and what is due."""
        ready, free, now = set(readable), set(writable), time.monotonic()
        for target, listener in list(self._listeners.items()):
            if listener in ready:
                self._accept(target, listener)
        self._answer(ready)
        for connection in list(self._connections):
            try:
                self._carry(connection, ready, free, now)
            except OSError:
                self._tear(connection, "reset")
        for replay in list(self._replays):
            self._go_on_replaying(replay, ready, free, now)

    # -- inside -------------------------------------------------------------------------------
    def _listen(self, target, port):
        try:
            self._listeners[target] = listener = _listener(port)
            self._ports[target] = listener.getsockname()[1]
        except OSError:  # somebody took that port meanwhile: the next question gets another
            self._ports.pop(target, None)

    def _accept(self, target, listener):
        try:
            client, _ = listener.accept()
        except OSError:
            return
        server = _connect(target)
        if server is None:
            _end(client, reset=True)
            return
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.totals["connections"] += 1
        connection = _Connection(client, server, target)
        self._connections.append(connection)
        self._look_for_cut(connection)

    def _answer(self, ready):
        if self._questions and self._questions in ready:
            peer, _ = self._questions.accept()
            peer.settimeout(1)
            self._asked[peer] = b""
        for peer in [peer for peer in self._asked if peer in ready]:
            try:
                said = peer.recv(256)
                self._asked[peer] += said
                if not self._asked[peer].endswith(b"\n") and said:
                    continue
                host, port = self._asked[peer].split()
                peer.sendall(b"%d\n" % self.route(host.decode(), int(port)))
            except (OSError, ValueError, KeyError):
                pass
            del self._asked[peer]
            peer.close()

    def _carry(self, c, ready, free, now):
        if c.connecting and c.up.sink in free:
            failed = c.up.sink.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if failed:
                raise OSError(failed, "the far end refuses")
            c.connecting = False
        if c.connecting or c.held or self._still():
            return
        for way in c.ways:
            if way.source in ready and way.wants_more() and not c.torn:
                self._read(c, way, now)
        for way in c.ways:
            if way.sink in free or way.pieces or way.ended:
                way.push(now)
        if c.torn and not any(way.pieces for way in c.ways):
            self._tear(c, c.torn)
        elif c.over():
            self._tear(c, "close")

    def _read(self, c, way, now):
        room, state = _PIECE_BYTES, self.state
        if state["kind"] == "cut-after" and state["direction"] in ("either", way.name):
            room = min(room, state["after"] - c.count(state["direction"]))
        try:
            piece = way.source.recv(room)
        except BlockingIOError:
            return
        way.carried += len(piece)
        self.totals[way.name] += len(piece)
        if not piece:
            way.ended = True
            return
        if way is c.up and len(c.sent_up) < _REPLAY_BYTES:
            c.sent_up += piece
        late_s = state["ms"] / 1000 if state["kind"] == "latency" else 0.0
        way.pieces.append((now + late_s, piece))
        way.waiting += len(piece)
        self._look_for_cut(c)

    def _look_for_cut(self, c):
        state = self.state
        if state["kind"] != "cut-after" or c.torn or c.held:
            return
        if c.count(state["direction"]) < state["after"]:
            return
        c.torn = state["how"]
        self.totals["cuts"] += 1
        self.torn_at.append({way.name: way.carried for way in c.ways})
        if state["times"] is not None:
            left = state["times"] - 1
            self.state = {**state, "times": left} if left else faults()
            self._on_change(self.state)

    def _tear(self, c, how):
        """End a connection: reset, close, or stall (nothing moves until the state changes)."""
        if how == "stall":
            c.held = True
            c.torn = None
            return
        if c in self._connections:
            self._connections.remove(c)
        for way in c.ways:
            _end(way.source, reset=how == "reset")
        if self.state["kind"] == "duplicate" and c.sent_up:
            sock = _connect(c.target)
            if sock:
                until = time.monotonic() + _REPLAY_S
                self._replays.append([sock, bytes(c.sent_up), until])

    def _go_on_replaying(self, replay, ready, free, now):
        sock, left, until = replay
        over = now >= until
        try:
            if left and sock in free:
                replay[1] = left[sock.send(left) :]
            if sock in ready and not sock.recv(_PIECE_BYTES):
                over = True
        except BlockingIOError:
            pass
        except OSError:
            over = True
        if over:
            self._replays.remove(replay)
            sock.close()


def _listener(port):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(("127.0.0.1", port))
    except OSError:
        sock.close()
        raise
    sock.listen(64)
    sock.setblocking(False)
    return sock


class FaultProxy:
    """A `FaultNet` in front of one server, in a thread: a context manager; `port` on loopback."""

    def __init__(self, target, state=None):
        self._net = FaultNet(state=state)
        self._wakes, self._wake = os.pipe()
        self._orders = deque()
        self._running = True
        self.port = self._net.route(*target)
        self._thread = threading.Thread(target=self._run, name="fault proxy", daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def set(self, state):
        """As `FaultNet.set`, from any thread; holds when it returns."""
        self._order(lambda: self._net.set(state))

    @property
    def state(self):
        return self._net.state

    @property
    def totals(self):
        """{"connections", "cuts", "up", "down"} since the begin: a copy."""
        return dict(self._net.totals)

    @property
    def torn_at(self):
        """As of the FaultNet: a copy."""
        return list(self._net.torn_at)

    def close(self):
        """End all connections and the thread."""
        if self._running:
            self._order(self._stop)
            self._thread.join()
            os.close(self._wake)
            os.close(self._wakes)

    def _stop(self):
        self._running = False
        self._net.close()

    def _order(self, what):
        done = threading.Event()
        self._orders.append((what, done))
        os.write(self._wake, b"w")
        done.wait()

    def _run(self):
        net = self._net
        while self._running:
            readers = [self._wakes, *net.readers()]
            readable, writable, _ = select.select(readers, net.writers(), [], net.wait_s())
            net.handle(readable, writable)
            if self._wakes in readable:
                os.read(self._wakes, 4096)
            while self._orders:
                what, done = self._orders.popleft()
                what()
                done.set()
