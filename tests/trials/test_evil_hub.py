"""A hub that wants a board's records gone: it lies, replays what it said, asks for deletions."""

import http.client
import socket
import ssl
import threading
import time

import pytest
from emulated_boards import Talk, until
from lost_kit import CARD, KEY, OWNER, Phone, heads

from drybag import layout, syncwire
from drybag import protocol as p
from drybag_host import cli
from drybag_host.board import open_console
from drybag_host.link import HandsetLink

RECORDS = 20
MANY = 16  # of them are to go


def is_synced(info):
    """True after a good sync, if there was a word: until it has begun, the next is in 0 s."""
    waits = not info["next_s"] or info["running"]
    return not (waits or info["unsent"] or info["why"] or info["held"])


def synced(board):
    board.say(p.SYNC_NOW)
    return until(board.say, is_synced)


def refused(board, liar, answer):
    """A sync at a liar that answers so; how sync stands then. The board must be as before."""
    want, before = board.shown(), board.say()
    liar.answer = answer
    asked = liar.asked
    board.say(p.SYNC_NOW)
    info = until(board.say, lambda info: liar.asked > asked and not info["running"], 60)
    for name in ("saved", "at_hub", "unsent", "contact", "held"):
        assert info[name] == before[name], name
    assert board.shown() == want
    return info


def _listen(port, timeout_s=30):
    """The port that the hub had; a connection of another test may hold it for a moment."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return socket.create_server(("127.0.0.1", port))
        except OSError:
            assert time.monotonic() < deadline, "port %d stays in use" % port
            time.sleep(0.1)


class Liar:
    """A server with the hub's own certificate, at the port that its handsets know.

    It answers every request with `answer`; without one it asks the hub, at another port, and
    notes the whole answer in `heard`.
    """

    def __init__(self, server, port):
        self._server = server
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls = server.data / "tls"
        context.load_cert_chain(tls / "server.pem", tls / "server-key.pem")
        self.answer = b""
        self.asked = 0
        self.heard = []
        self._context = context
        self._listener = _listen(port)
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            try:
                with self._context.wrap_socket(plain, server_side=True) as peer:
                    request = peer.makefile("rb")
                    while self._one(peer, request):
                        pass
            except OSError:
                pass

    def _one(self, peer, request):
        """Answer a request; False at the end of the connection."""
        verb = request.readline().split()
        if not verb:
            return False
        headers = http.client.parse_headers(request)
        data = request.read(int(headers.get("Content-Length", 0)))
        self.asked += 1
        peer.sendall(self.answer or self._of_the_hub(verb, headers, data))
        return True

    def _of_the_hub(self, verb, headers, data):
        trust = ssl.create_default_context(cadata=self._server.ca_der())
        trust.check_hostname = False
        link = http.client.HTTPSConnection("127.0.0.1", self._server.port, context=trust)
        headers = {"Authorization": headers["Authorization"]}
        link.request(verb[0].decode(), verb[1].decode(), data, headers)
        answer = link.getresponse()
        body = answer.read()
        link.close()
        whole = b"HTTP/1.1 %d x\r\nContent-Length: %d\r\n\r\n" % (answer.status, len(body)) + body
        if verb[1] == b"/v1/sync" and answer.status == 200:
            self.heard.append((syncwire.parse_reply(body), whole))
        return whole

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def liar(board, server):
    """Where the board believes its hub to be; the hub itself goes on elsewhere."""
    known, server.port = server.port, 0
    server.kill()
    server.start()
    made = Liar(server, known)
    yield made
    made.close()


def test_a_hub_that_lies_takes_nothing_from_a_board(board, liar, server):
    board.put(KEY, CARD)
    synced(board)
    liar.answer = b"rubbish"  # whenever it syncs by itself
    board.put((layout.NOTE, b"n"), b"SUMMARY:unsent\n")
    want = board.shown()
    for answer in (
        b"\x00\xff rubbish \r\n\r\n" * 50,
        b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n" + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n" + b"\xd6\x01" + bytes(58),
    ):
        assert refused(board, liar, answer)["why"]
    liar.answer = b""
    synced(board)
    assert heads(server) == {key: body for key, (body, _, _) in want.items()}


def test_an_old_reply_is_of_no_use(board, liar, server):
    """Nor are those that would undo an edit, bring back a record, or have all sent again."""
    phone = Phone(board.drill, server, "phone")
    other = layout.CONTACT, b"other"
    board.put(KEY, CARD)
    synced(board)
    phone.synced()
    phone.put(KEY, CARD + b"NOTE:old\n")
    phone.put(other, CARD)
    phone.synced()
    synced(board)
    assert board.body(other) == CARD
    server.kill()
    with server.storage() as storage:  # as a hub that was restored: all counters begin anew
        storage.commit([("meta", {"name": "hub_id", "value": "5a" * 8})])
    server.start()
    synced(board)
    phone.synced()
    phone.put(KEY, CARD + b"NOTE:new\n")
    phone.handset.journal.delete(*other)
    phone.synced()
    synced(board)
    liar.answer = liar.heard[-1][1]
    board.put((layout.NOTE, b"n"), b"SUMMARY:unsent\n")
    want = board.shown()
    assert want[KEY][0].endswith(b"NOTE:new\n") and other not in want
    assert board.say()["unsent"] == 1
    old = {(reply.flags, reply.n > 0): whole for reply, whole in liar.heard}
    resets = syncwire.ACK_RESET | syncwire.CURSOR_RESET
    assert {flags & resets for flags, _ in old} == {0, resets}
    assert {brings for _, brings in old} == {True, False}
    for whole in old.values():
        assert refused(board, liar, whole)["why"] == "an old reply came"
    liar.answer = b""
    synced(board)
    assert heads(server) == {key: body for key, (body, _, _) in want.items()}


def typed(board, line):
    """What the board's console says to a line."""
    board.close()
    talk = Talk(board.board)
    talk.port.write(line + b"\r")
    said = talk.until(b"drybag>").decode()
    talk.close()
    return said


def delete_at_the_hub(server, phone, uids, capsys):
    """`phone` deletes these; what the hub holds back of it, its owner lets go."""
    for uid in uids:
        phone.handset.journal.delete(layout.CONTACT, uid)
    phone.synced()
    assert cli.main(["hub", "held", "accept", OWNER, "--data", str(server.data)]) == 0
    capsys.readouterr()
    assert not [uid for uid in uids if (layout.CONTACT, uid) in heads(server)]


def test_many_deletions_by_the_hub_wait_for_a_persons_word(board, server, capsys):
    uids = [b"u%02d" % n for n in range(RECORDS)]
    for uid in uids:
        board.put((layout.CONTACT, uid), CARD + b"UID:%s\n" % uid)
    synced(board)
    want = board.shown()
    everything = {key: body for key, (body, _, _) in want.items()}
    assert len(want) == RECORDS
    phone = Phone(board.drill, server, "phone")
    phone.synced()
    delete_at_the_hub(server, phone, uids[:MANY], capsys)

    asks = "the hub wants %d of %d records deleted" % (MANY, RECORDS)
    board.say(p.SYNC_NOW)
    info = until(board.say, lambda info: info["held"])
    assert info["held"] == MANY and info["why"].startswith(asks) and board.shown() == want
    board.close()
    with HandsetLink(open_console("emu:board")) as link:
        assert link.hello()["sync"]["held"] == link.stats()["sync"]["held"] == MANY
    said = " ".join(typed(board, b"sync").split())
    assert asks in said and "%d records deleted: sync accept, or sync refuse" % MANY in said
    assert "sync refuse" in typed(board, b"status")
    assert cli.main(["status", "emu:board"]) == 0
    assert "the hub wants %d records deleted" % MANY in capsys.readouterr().out
    board.board.power_off()
    board.boot()  # no word: it asks again
    board.say(p.SYNC_NOW)
    assert until(board.say, lambda info: info["held"])["held"] == MANY and board.shown() == want

    assert "They stay, and go back to the hub." in typed(board, b"sync refuse")
    until(board.say, is_synced)
    assert board.shown() == want and heads(server) == everything
    assert "No deletions wait" in typed(board, b"sync accept")
    phone.synced()
    assert phone.shown() == everything

    delete_at_the_hub(server, phone, uids[-MANY:], capsys)
    board.say(p.SYNC_NOW)
    assert until(board.say, lambda info: info["held"])["held"] == MANY and board.shown() == want
    assert "%d records will be deleted" % MANY in typed(board, b"sync accept")
    until(board.say, is_synced)
    left = {(layout.CONTACT, uid) for uid in uids[:-MANY]}
    assert set(board.shown()) == set(heads(server)) == left
