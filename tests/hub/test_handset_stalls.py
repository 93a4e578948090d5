"""An emulated board whose link to a real hub goes silent in the middle of a sync: it gives up in
time, says why, waits, tries again by itself, and nothing is doubled or lost.

The board's firmware is ours but for its patience, which is short here.
"""

import hashlib
import os
import re

import pytest
from emulated_boards import until
from hub_process import HubProcess
from test_handset_sync import card, pair, put, synced, typed

from drybag.layout import CONTACT, PHOTO
from drybag_host import cli
from drybag_host.board import open_console
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.image import firmware
from drybag_host.link import HandsetLink
from drybag_host.resources import firmware_dir

# What is waited for, in milliseconds or seconds, in place of 15 s, 60 s; 30 s, 5 s; 5 s.
HURRIED = {
    "handset/https.py": {"_PATIENCE_MS": 1500, "_ANSWER_MS": 2500},
    "handset/sync.py": {"_FIRST_WAIT_S": 2, "_SETTLE_S": 1},
    "drybag/syncengine.py": {"_FIRST_WAIT_S": 2},
}
GIVES_UP_S = 1.5 + 2.5  # a byte's on the way there, and the answer's
MACHINE_S = 12  # a busy computer
LONGEST_WAIT_S = 2 * 2 * 1.5  # before a second or third try, with all its jitter
FIFTH_WAIT_S = 2 * 8 * 1.5
POLL_S = 0.3
RECORDS = 30
PHOTO_BYTES = 60000

STALLS = {
    "nothing is carried": ("drop",),
    "within the handshake": ("cut-after", "400", "--direction", "down", "--how", "stall"),
    "within a request": ("cut-after", "1500", "--direction", "up", "--how", "stall"),
    # so early that a second try, which goes on where it stopped, stalls too: nobody can miss it
    "within a photo": ("cut-after", "20000", "--direction", "up", "--how", "stall"),
}


def hurried(cache):
    """The firmware's files with the short times."""
    files = firmware.firmware_files()
    for name, constants in HURRIED.items():
        text = (firmware_dir() / "lib" / name).read_text()
        for constant, value in constants.items():
            text, n = re.subn(
                r"(?m)^%s = const\(\d+\)" % constant, "%s = const(%d)" % (constant, value), text
            )
            assert n == 1, constant
        source = cache / name.replace("/", "-")
        source.write_text(text)
        files["/lib/%s.mpy" % name[:-3]] = firmware.compile_module(source, name)
    return files


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    home = tmp_path_factory.mktemp("stalls")
    made = EmulatedBoard.create("b", "esp32-s3-psram", home=home, files_in_vfs=hurried(home))
    made.start()
    made.wifi(True)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    process = HubProcess(tmp_path_factory.mktemp("stalls-hub") / "hub")
    yield process
    process.stop()


def versions(hub, uids):
    """How many versions of each the hub has in its log."""
    with hub.storage() as storage:
        rows = storage.scan("versions", "", ("ada",), limit=5000)
    return [sum(row["uid"] == uid for row in rows) for uid in uids]


@pytest.mark.parametrize("where", STALLS)
def test_a_link_that_stalls(hub, board, where, monkeypatch):
    monkeypatch.setenv("DRYBAG_HOME", str(board.home))
    name = where.replace(" ", "-").encode()
    uids = [b"%s-%d" % (name, n) for n in range(RECORDS)]
    data = os.urandom(PHOTO_BYTES)
    sha = hashlib.sha256(data).digest()
    assert cli.main(["emu", "net", "b", "ok"]) == 0
    with HandsetLink(open_console("emu:b")) as link:
        link.hello()
        pair(link, hub, where)
        until(link.sync, synced, 60, POLL_S)
        link.put_blob(sha, len(data), data)
        assert cli.main(["emu", "net", "b", "refuse"]) == 0  # a connection that was kept goes
        put(link, *[("put", CONTACT, uid, card(n)) for n, uid in enumerate(uids)],
            ("put", PHOTO, name, b"FN:x.jpg\n", (sha,)))  # fmt: skip
        assert cli.main(["emu", "net", "b", *STALLS[where]]) == 0
        state = until(
            link.sync,
            lambda it: "silent" in it["why"] and not it["running"],
            GIVES_UP_S + MACHINE_S + LONGEST_WAIT_S,
            POLL_S,
        )
        assert state["unsent"]
        assert state["next_s"] <= LONGEST_WAIT_S
    console = open_console("emu:b")
    assert b"silent" in typed(console, b"sync")
    console.close()
    with HandsetLink(open_console("emu:b")) as link:
        link.hello()
        if where == "nothing is carried":  # a second time: it waits, and comes by itself
            before = link.sync()["next_s"]
            state = until(
                link.sync, lambda it: it["next_s"] > before, 2 * LONGEST_WAIT_S + MACHINE_S, POLL_S
            )
            assert "silent" in state["why"] and state["next_s"] <= FIFTH_WAIT_S
        assert cli.main(["emu", "net", "b", "ok"]) == 0
        until(link.sync, synced, 2 * FIFTH_WAIT_S + MACHINE_S, POLL_S)
    assert versions(hub, [*uids, name]) == [1] * (RECORDS + 1)
