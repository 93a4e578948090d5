"""A handset on an emulated board syncs with a real hub over real TLS; what the person sees."""

import hashlib
import json
import os
import ssl
import subprocess
import sys
import time

import pytest
from emulated_boards import until
from hub_process import HubProcess, bearer

from drybag import protocol as p
from drybag import syncwire, syncwirehost
from drybag.errors import BadInput, NotFound
from drybag.layout import CONTACT, NOTE, PHOTO, content_id
from drybag_host.board import open_console
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.hub.certs import Certificates
from drybag_host.link import HandsetLink

SSID = b"drybag"
RECORDS = 60


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    process = HubProcess(tmp_path_factory.mktemp("hub") / "hub")
    yield process
    process.stop()


@pytest.fixture
def started(tmp_path, monkeypatch):
    """started(kind of board): the emulated board `emu:b`, with a network in reach."""
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path))
    boards = []

    def start(kind):
        boards.append(EmulatedBoard.create("b", kind, home=tmp_path))
        boards[0].start()
        boards[0].wifi(True)
        return boards[0]

    yield start
    for board in boards:
        board.stop()


@pytest.fixture
def board(started):
    return started("esp32-s3-psram")


def ca_of(hub):
    return ssl.PEM_cert_to_DER_cert((hub.data / "tls" / "ca.pem").read_text())


def pair(link, hub, name, port=None, ca=None, secret=None):
    """Pair the handset with the hub; (device, secret)."""
    device, real = hub.enrol("ada", name)
    link.know_network(SSID, b"password", 1)
    link.pair("127.0.0.1", port or hub.port, "ada", device, secret or real, ca or ca_of(hub))
    return device, real


def synced(state):
    return state["contact"] and not state["unsent"] and not state["running"]


def open_link():
    return HandsetLink(open_console("emu:b"))


def card(n, tel=0):
    return b"VERSION:3.0\nUID:u%d\nFN:Person %d\nTEL;TYPE=CELL:+44 20 %07d\n" % (n, n, tel or n)


def put(link, *ops):
    for _ in link.put_records(ops):
        pass


def heads(hub, owner="ada"):
    """{(kind, uid): version row} of what counts at the hub."""
    with hub.storage() as storage:
        rows = storage.scan("heads", "", (owner,), limit=5000)
        versions = storage.get("versions", [(owner, row["pos"]) for row in rows])
    return {(v["kind"], v["uid"]): v for v in versions if not v["deleted"]}


class Elsewhere:
    """Another handset of the same owner: it sends versions."""

    def __init__(self, hub, name):
        self.hub = hub
        self.device, self.secret = hub.enrol("ada", name)
        self.seq, self.life = 0, int.from_bytes(os.urandom(4), "little") | 1

    def send(self, *items):
        request = syncwire.Request()
        for item in items:
            self.seq += 1
            item.number = self.seq
        request.nonce, request.epoch, request.life = 5, 6, self.life
        request.last_seq = request.upto = self.seq
        data = syncwirehost.pack_request(request, items)
        connection = self.hub.connect()
        connection.request("POST", "/v1/sync", data, bearer(self.device, self.secret))
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        return syncwire.parse_reply(answer.read())


def test_up_and_down_and_what_the_person_sees(hub, board):
    data = os.urandom(20000)
    sha = hashlib.sha256(data).digest()
    with open_link() as link:
        assert link.hello()["sync"] == {"paired": False}
        put(link, *[("put", CONTACT, b"u%d" % n, card(n)) for n in range(RECORDS)])
        put(link, ("put", NOTE, b"long", b"DESCRIPTION:" + b"words " * 600 + b"\n"))
        link.put_blob(sha, len(data), data)
        put(link, ("put", PHOTO, b"photo", b"FN:x.jpg\n", (sha,)))
        _, secret = pair(link, hub, "first")
        state = until(link.sync, synced)
        assert state["owner"] == "ada" and state["why"] == ""
        assert state["saved"] >= state["at_hub"] > RECORDS and state["offsite"] is None
        seen = heads(hub)
        assert len(seen) == RECORDS + 2
        assert seen[CONTACT, b"u5"]["body"] == card(5)
        other = Elsewhere(hub, "other")
        other.send(
            syncwire.Item(0, CONTACT, b"u5", card(5, 777), 1, base=content_id(0, (), card(5))),
            syncwire.Item(0, CONTACT, b"new", b"VERSION:3.0\nFN:Newcomer\n", 2),
            syncwire.Item(0, CONTACT, b"u6", b"", 3, deleted=True,
                          base=content_id(0, (), card(6))),
        )  # fmt: skip
        link.sync(p.SYNC_NOW)
        until(link.sync, lambda state: synced(state) and next(link.find("Newcomer"), None))
        assert link.get(CONTACT, b"u5").body == card(5, 777)
        assert link.get(CONTACT, b"new").stamp == 2
        with pytest.raises(NotFound):
            link.get(CONTACT, b"u6")
        for verb in (p.GET, p.HISTORY):  # secrets do not come back
            with pytest.raises(BadInput):
                link._whole(bytes((verb,)) + bytes(12) + b"\x07\x03hub")
        stats = json.dumps(link.stats())
        assert '"sync"' in stats and secret not in stats
    said = command("status", "emu:b")
    assert "ada" in said and "last contact" in said and secret not in said
    console = open_console("emu:b")
    assert b"at the hub" in typed(console, b"sync")
    assert b"It is at the hub too." in typed(console, b"show Newcomer")
    typed(console, b"add contact Unsent Person")
    assert b"It is not at the hub yet." in typed(console, b"show Unsent")
    assert b"turns it on" not in typed(console, b"sync off") and secret.encode() not in typed(
        console, b"status"
    )
    console.close()
    with open_link() as link:
        state = link.sync()
        assert not state["on"] and state["unsent"] == 1
        link.unpair()
        assert link.sync() == {"paired": False}
        with pytest.raises(NotFound):
            link.sync(p.SYNC_NOW)
        assert link.hello()["counts"]["contact"] == RECORDS + 1


def typed(console, line):
    """What the handset's console says to a line."""
    console.write(line + b"\r")
    said, deadline = b"", time.monotonic() + 10
    while not said.rstrip().endswith(b"drybag>") or said.count(b"drybag>") < 1:
        said += console.read(0.1) or b""
        if b"-- more" in said:
            console.write(b"q")
        assert time.monotonic() < deadline, said
    return said


def command(*args):
    done = subprocess.run(
        [sys.executable, "-m", "drybag_host.cli", *args], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_another_hub_and_another_secret(hub, board, tmp_path):
    with open_link() as link:
        put(link, ("put", CONTACT, b"keep", card(1)))
        stranger = Certificates(str(tmp_path / "other"), ["localhost"])
        device, secret = pair(link, hub, "b", ca=stranger.ca_der)
        state = until(link.sync, lambda state: "certificate" in state["why"])
        assert state["unsent"] == 1 and not state["contact"]
        link.pair("127.0.0.1", hub.port, "ada", device, "x" * 43, ca_of(hub))
        until(link.sync, lambda state: state["why"].startswith("the hub refuses"))
        link.pair("127.0.0.1", hub.port, "ada", device, secret, ca_of(hub))
        until(link.sync, synced)
        assert (CONTACT, b"keep") in heads(hub)
