"""A handset without PSRAM, with 2,000 records and a hub: whatever is asked is answered, and all of
it gets to the hub, a photo too; also while a computer asks all the time."""

import hashlib
import json
import os
import ssl
import time

import pytest
from hub_process import PASSWORD, HubProcess

from drybag import journal, layout
from drybag import protocol as p
from drybag_host import cli
from drybag_host.board import open_console
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.emulator.netfaults import faults
from drybag_host.emulator.rom.nor import NorFlash, NorPartition
from drybag_host.image import flash, partitions
from drybag_host.link import HandsetLink

RECORDS = 2000
FEW = 300
LATE_MS = 600  # so that connection, handshake and request take longer than 2 s
LONGEST_ANSWER_S = 40  # by the rules of handset.sync 32 s, and a little for the machine
CARD = b"VERSION:3.0\nUID:u%d\nFN:Person %d Lovelace\nTEL;TYPE=CELL:+44 20 %07d\n"


def fill(board, count):
    """Contacts, put into the board's flash before it starts."""
    image = bytearray(board.image.read_bytes())
    row = partitions.find(partitions.from_image(board.image), "pim")
    chip = NorFlash(len(image), image)
    j = journal.mount(NorPartition(chip, row.offset, row.size), lambda: 820_454_400)
    for n in range(count):
        j.put(layout.CONTACT, b"u%d" % n, CARD % (n, n, n))
    j.close()
    flash.write(board.image, image)


@pytest.fixture(params=[RECORDS])
def small(tmp_path, monkeypatch, request):
    """(hub, board): the board has so many records."""
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path))
    hub = HubProcess(tmp_path / "hub", "--rate", "100000")
    board = EmulatedBoard.create("x", "esp32-generic", home=tmp_path)
    fill(board, request.param)
    board.start()
    yield hub, board
    board.stop()
    hub.stop()


def pair(hub):
    device, secret = hub.enrol("ada", "x")
    ca = ssl.PEM_cert_to_DER_cert((hub.data / "tls" / "ca.pem").read_text())
    with HandsetLink(open_console("emu:x")) as link:
        assert link.hello()["counts"]["contact"] == RECORDS
        link.know_network(b"drybag", b"password", 1)
        link.pair("127.0.0.1", hub.port, "ada", device, secret, ca)


def typed(line):
    """What the console says to a line."""
    console = open_console("emu:x")
    console.write(line + b"\r")
    said, deadline = b"", time.monotonic() + 60
    while not said.rstrip().endswith(b"drybag>"):
        said += console.read(0.1) or b""
        assert time.monotonic() < deadline, said
    console.close()
    return said


def at_hub(hub):
    with hub.storage() as storage:
        return storage.counts("heads", ("ada",))


def add_photo():
    data = os.urandom(60000)
    sha = hashlib.sha256(data).digest()
    with HandsetLink(open_console("emu:x")) as link:
        link.hello()
        link.put_blob(sha, len(data), data)
        for _ in link.put_records([("put", layout.PHOTO, b"photo", b"FN:x.jpg\n", (sha,))]):
            pass


def test_2000_records_a_photo_and_a_person(small):
    hub, board = small
    add_photo()
    pair(hub)
    for on in (False, True):
        board.wifi(on)
        for _ in range(2):
            with HandsetLink(open_console("emu:x")) as link:
                link.hello()
                assert [r.uid for r in link.find("Person 1234")] == [b"u1234"]
            assert b"+44 20 0001236" in typed(b"find 1236")
            assert b"+44 20 0001236" in typed(b"show 1")
            assert b"unsent" in typed(b"sync")
    with HandsetLink(open_console("emu:x")) as link:
        link.hello()
        link.sync(p.SYNC_NOW)
    deadline = time.monotonic() + 240
    while at_hub(hub) <= RECORDS:
        assert time.monotonic() < deadline, (at_hub(hub), typed(b"sync"))
        time.sleep(0.5)
    assert b"1237" in typed(b"find 1237")
    with HandsetLink(open_console("emu:x")) as link:
        assert link.hello()["counts"]["contact"] == RECORDS


@pytest.mark.parametrize("small", [FEW], indirect=True)
def test_a_computer_that_asks_all_the_time_and_a_slow_link(small, monkeypatch, capsys):
    """Each gets its turn: the sync ends, and each question is answered."""
    hub, board = small
    add_photo()
    hub.enrol("ada")
    monkeypatch.setenv("DRYBAG_HUB_PASSWORD", PASSWORD)
    monkeypatch.setenv("DRYBAG_WIFI_PASSWORD", "password")
    board.wifi(True)
    board.net(faults("latency", ms=LATE_MS))
    where = "%s/#sha256=%s" % (hub.url, hub.fingerprint)
    words = ["pair", "emu:x", "--hub", where, "--wifi", "drybag", "--owner", "ada", "--json"]
    code, said = cli.main(words), json.loads(capsys.readouterr().out)
    assert code == 0 and said["sync"]["contact"], said
    deadline = time.monotonic() + 120
    while at_hub(hub) <= FEW:
        began = time.monotonic()
        assert cli.main(["status", "emu:x", "--json"]) == 0
        sync = json.loads(capsys.readouterr().out)["handset"]["sync"]
        assert time.monotonic() - began < LONGEST_ANSWER_S
        assert time.monotonic() < deadline, (at_hub(hub), sync)
        time.sleep(max(0, 1 - (time.monotonic() - began)))
