"""One emulated board at a real hub: no network, a revoked device, broken links, small polls."""

import hashlib
import os
import ssl
import time

import pytest
from hub_process import HubProcess

from drybag import protocol as p
from drybag.layout import CONTACT, PHOTO
from drybag_host.board import open_console
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.emulator.netfaults import FaultProxy, faults
from drybag_host.hub import accounts
from drybag_host.link import HandsetLink

POLL_BYTES = 400
PHOTO_BYTES = 300000
CUT_BYTES = 200000
TLS_SHARE = 0.1  # of records as older versions make them: up to 93 bytes around 1,024
ROUND_BYTES = 8000  # requests and TLS around the photo itself


class Place:
    """The hub, a link to it that counts and breaks, and the board behind that."""

    def __init__(self, hub, proxy, board):
        self.hub, self.proxy, self.board = hub, proxy, board
        self.device = None
        self.number = 0

    def pair(self, link):
        self.number += 1
        self.device, secret = self.hub.enrol("ada", "b%d" % self.number)
        link.know_network(b"drybag", b"password", 1)
        ca = ssl.PEM_cert_to_DER_cert((self.hub.data / "tls" / "ca.pem").read_text())
        link.pair("127.0.0.1", self.proxy.port, "ada", self.device, secret, ca)

    def here(self, kind, uid):
        """Has the hub the record?"""
        with self.hub.storage() as storage:
            return storage.get("heads", [("ada", kind, uid)])[0] is not None


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    home = tmp_path_factory.mktemp("links")
    hub = HubProcess(home / "hub")
    board = EmulatedBoard.create("b", "esp32-s3-psram", home=home)
    board.start()
    with FaultProxy(("127.0.0.1", hub.port)) as proxy:
        yield Place(hub, proxy, board)
    board.stop()
    hub.stop()


@pytest.fixture
def link(place, monkeypatch):
    """A link to the board, paired anew; the network is there and whole."""
    monkeypatch.setenv("DRYBAG_HOME", str(place.board.home))
    place.proxy.set(faults())
    place.board.wifi(True)
    with HandsetLink(open_console("emu:b")) as made:
        made.hello()
        place.pair(made)
        yield made


def until(link, condition, timeout_s=60):
    """Ask how sync stands, and let it try now, until `condition(it)`; what it was then."""
    deadline = time.monotonic() + timeout_s
    while True:
        state = link.sync()
        if condition(state):
            return state
        assert time.monotonic() < deadline, str(state)
        if not state["running"] and state["why"]:
            link.sync(p.SYNC_NOW)
        time.sleep(0.3)


def synced(state):
    return state["contact"] and not state["unsent"] and not state["running"] and not state["why"]


def put(link, *ops):
    for _ in link.put_records(ops):
        pass


def card(n):
    return b"VERSION:3.0\nUID:u%d\nFN:Person %d\nTEL;TYPE=CELL:+44 20 %07d\n" % (n, n, n)


def test_without_a_network_it_says_so(place, link):
    until(link, synced)
    place.board.wifi(False)
    put(link, ("put", CONTACT, b"offline", card(1)))
    state = until(link, lambda state: "network" in state["why"])
    assert state["unsent"] == 1
    link.close()
    console = open_console("emu:b")
    console.write(b"sync\r")
    said, deadline = b"", time.monotonic() + 10
    while b"off-site" not in said and time.monotonic() < deadline:
        said += console.read(0.1) or b""
    console.close()
    assert b"the network drybag is not in reach" in said and b"1 changes" in said
    place.board.wifi(True)
    with HandsetLink(open_console("emu:b")) as again:
        again.sync(p.SYNC_NOW)
        until(again, synced)
    assert place.here(CONTACT, b"offline")


def test_a_revoked_device_is_told_and_keeps_its_records(place, link):
    until(link, synced)
    with place.hub.storage() as storage:
        accounts.revoke(storage, place.device, int(time.time() * 1000))
    put(link, ("put", CONTACT, b"mine", card(2)))
    state = until(link, lambda state: "refuses" in state["why"])
    assert state["unsent"] == 1 and "revoked" in state["why"]
    assert link.get(CONTACT, b"mine").body == card(2)
    assert not place.here(CONTACT, b"mine")


def test_an_idle_poll_is_small(place, link):
    until(link, synced)
    until(link, synced)
    figures = []
    for _ in range(3):
        before, contact = place.proxy.totals, link.sync()["contact"]
        link.sync(p.SYNC_NOW)
        until(link, lambda state, c=contact: synced(state) and state["contact"] >= c)
        time.sleep(1.2)
        after = place.proxy.totals
        figures.append({key: after[key] - before[key] for key in before})
    kept = [f for f in figures if not f["connections"] and f["up"]]
    assert kept, figures
    assert all(f["up"] < POLL_BYTES and f["down"] < POLL_BYTES for f in kept), figures


CUTS = [
    faults("cut-after", after=900, direction="up", times=1),
    faults("cut-after", after=3000, direction="either", times=1),
    faults("cut-after", after=60, direction="down", how="close", times=1),  # within the reply
    faults("cut-after", after=0, direction="up", how="close", times=1),
]


def torn_bytes(cut, direction):
    return sum(size for way, size in cut.items() if direction in ("either", way))


@pytest.mark.parametrize("number", range(len(CUTS)))
def test_a_link_that_breaks_is_made_good(place, link, number):
    """Each cut comes at its byte; then all is there, once, and nobody sees a conflict."""
    until(link, synced)
    fault = CUTS[number]
    cards = {b"cut%d-%d" % (number, n): note(n) for n in range(40)}
    cuts = len(place.proxy.torn_at)
    place.proxy.set(fault)
    put(link, *[("put", CONTACT, uid, body) for uid, body in cards.items()])
    state = until(link, lambda it: len(place.proxy.torn_at) > cuts)
    state = until(link, synced)
    torn = place.proxy.torn_at[cuts:]
    assert [torn_bytes(cut, fault["direction"]) for cut in torn] == [fault["after"]]
    assert state["unsent"] == 0 and place.proxy.state == faults()
    assert_there_once(place, link, cards)


def test_a_hub_that_refuses_connections_gets_it_later(place, link):
    until(link, synced)
    cards = {b"late-%d" % n: note(n) for n in range(40)}
    place.proxy.set(faults("refuse"))
    put(link, *[("put", CONTACT, uid, body) for uid, body in cards.items()])
    assert until(link, lambda it: it["why"])["unsent"] >= 40
    place.proxy.set(faults())
    until(link, synced)
    assert_there_once(place, link, cards)


def note(n):
    return card(n) + b"NOTE:%s\n" % os.urandom(50).hex().encode()


def assert_there_once(place, link, cards):
    """Handset and hub have these bodies, the hub's log has each one time, without a conflict."""
    with place.hub.storage() as storage:
        rows = [r for r in storage.scan("versions", "", ("ada",)) if r["uid"] in cards]
        assert len(rows) == len(cards)
        assert {r["uid"]: r["body"] for r in rows} == cards
        assert {(r["role"], r["counts"]) for r in rows} == {("pushed", 1)}
        assert not [r for r in storage.scan("conflicts", "", ("ada",)) if r["uid"] in cards]
    assert all(place.here(CONTACT, uid) for uid in cards)
    assert {uid: link.get(CONTACT, uid).body for uid in cards} == cards


def kept_bytes(place):
    """What the hub has of a photo that is on its way."""
    found = [f for f in (place.hub.data / "blobs").rglob("*.part*") if f.is_file()]
    return found[0].stat().st_size if found else 0


def test_a_photo_goes_on_at_the_byte_where_the_link_broke(place, link):
    until(link, synced)
    data = os.urandom(PHOTO_BYTES)
    sha = hashlib.sha256(data).digest()
    link.put_blob(sha, len(data), data)
    before = place.proxy.totals
    place.proxy.set(faults("cut-after", after=CUT_BYTES, direction="up", how="close", times=1))
    put(link, ("put", PHOTO, b"photo", b"FN:x.jpg\n", (sha,)))
    until(link, lambda state: place.proxy.totals["cuts"] > before["cuts"])
    deadline = time.monotonic() + 10
    while not kept_bytes(place):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert place.proxy.torn_at[-1]["up"] == CUT_BYTES
    kept = kept_bytes(place)
    until(link, synced)
    sent = place.proxy.totals["up"] - before["up"]
    left = PHOTO_BYTES - kept
    assert 0 <= sent - CUT_BYTES - left < ROUND_BYTES + left * TLS_SHARE
    assert place.here(PHOTO, b"photo")
