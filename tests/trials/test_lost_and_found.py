"""What gets lost, and is found: real hub processes, TLS on loopback, kills, boards, broken links.

In-process handsets have the real journal and sync engine. (The hub's own tests have more: kills
under load in test_hub_serve.py, `restore hub:URL` in test_hub_source.py, copies in
test_hub_lost.py.)
"""

import hashlib
import random
import shutil
import threading

import pytest
from lost_kit import CARD, KEY, OWNER, Phone, conflicts, heads

from drybag import layout
from drybag_host import cli
from drybag_host.emulator.netfaults import FaultProxy, faults
from drybag_host.trials.driver import Driver
from drybag_host.trials.script import Script, Step
from drybag_host.trials.server import HubServer
from drybag_host.trials.world import World

RECORD_BYTES = 16_384  # of TLS: one that is cut is of no use


def test_a_hub_that_is_killed_again_and_again_has_all_that_it_acknowledged(server, place):
    rng = random.Random(5)
    phones = [Phone(place, server, "p%d" % n, owner="o%d" % n) for n in range(4)]
    over = threading.Event()

    def work(phone, n):
        number = 0
        while not over.is_set():
            number += 1
            key = layout.NOTE, b"%s-%d" % (phone.handset.name.encode(), number % 60)
            phone.put(key, b"SUMMARY:%d %d\n" % (n, number))
            phone.sync()

    threads = [threading.Thread(target=work, args=(p, n)) for n, p in enumerate(phones)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            threading.Event().wait(0.3 + rng.random() / 2)
            server.kill()
            server.start()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    for n, phone in enumerate(phones):
        agreed = phone.handset.engine.state.agreed
        assert agreed
        there = heads(server, "o%d" % n)
        for record in phone.handset.journal.records():
            if record.seq <= agreed:
                assert there[record.kind, record.uid] == record.body
        assert phone.sync().state == "synced"
        assert heads(server, "o%d" % n) == phone.shown()


def test_a_hub_from_an_old_backup_gets_what_is_missing_without_pairing(
    server, place, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("DRYBAG_CA_PASSPHRASE", "four words or more")
    data = str(server.data)
    a, b = Phone(place, server, "a"), Phone(place, server, "b")
    for n in range(8):
        a.put((layout.CONTACT, b"u%d" % n), CARD + b"NOTE:%d\n" % n)
    for phone in (a, b, a, b):
        phone.sync()
    assert cli.main(["hub", "ca", "seal", "--data", data]) == 0
    assert cli.main(["hub", "backup", str(tmp_path / "backup"), "--data", data]) == 0
    a.put((layout.CONTACT, b"u1"), CARD + b"NOTE:newer\n")
    b.handset.journal.delete(layout.CONTACT, b"u2")
    a.put((layout.CONTACT, b"new"), CARD)
    for phone in (a, b, a):
        assert phone.sync().state == "synced"
    want = a.shown()
    assert want == b.shown() and (layout.CONTACT, b"u2") not in want
    server.kill()
    shutil.rmtree(server.data)
    assert cli.main(["hub", "restore", "--from", str(tmp_path / "backup"), "--data", data]) == 0
    server.start()
    assert (layout.CONTACT, b"new") not in heads(server)
    for phone in (b, a, b, a):
        phone.synced()
    assert heads(server) == want == a.shown() == b.shown()
    assert conflicts(server) == []
    capsys.readouterr()


def test_two_edits_of_one_contact_are_both_there(server, place):
    a, b = Phone(place, server, "a"), Phone(place, server, "b")
    a.put(KEY, CARD)
    for phone in (a, b):
        phone.sync()
    a.put(KEY, CARD + b"EMAIL:a@example.com\n")
    b.put(KEY, CARD.replace(b"TEL:1", b"TEL:2"))
    for phone in (a, b, a):
        phone.sync()
    body = heads(server)[KEY]
    assert b"EMAIL:a@example.com" in body and b"TEL:2" in body
    assert a.shown() == b.shown() == {KEY: body}
    a.put(KEY, body.replace(b"FN:Ada", b"FN:Ada L."))
    b.put(KEY, body.replace(b"FN:Ada", b"FN:Ada K."))
    for phone in (a, b, a):
        phone.sync()
    both = heads(server)[KEY] + b"".join(conflicts(server))
    assert b"FN:Ada L." in both and b"FN:Ada K." in both
    a.handset.journal.delete(*KEY)
    b.put(KEY, b.shown()[KEY] + b"NOTE:kept\n")
    for phone in (a, b, a):
        phone.sync()
    assert b"NOTE:kept" in a.shown()[KEY] and a.shown() == b.shown()


def test_a_link_that_breaks_at_every_byte_of_a_sync(tmp_path, place):
    with HubServer(tmp_path / "plain", "--insecure-loopback", "--rate", "100000") as server:
        with FaultProxy(("127.0.0.1", server.port)) as link:
            phone = Phone(place, server, "p", link.port)
            other = Phone(place, server, "q")
            phone.sync()
            phone.put(KEY, CARD)
            before = link.totals
            phone.sync()
            total = {way: link.totals[way] - before[way] for way in ("up", "down")}
            for way, size in total.items():
                for n in range(size + 1):
                    phone.driver.close()
                    body = CARD + b"NOTE:%s %d\n" % (way.encode(), n)
                    phone.put(KEY, body)
                    link.set(faults("cut-after", after=n, direction=way, times=1))
                    phone.sync()
                    link.set(faults())
                    assert phone.shown() == {KEY: body}
                    assert phone.sync().state == "synced"
            assert heads(server) == phone.shown()
            other.sync()
            assert other.shown() == phone.shown() and conflicts(server) == []


@pytest.mark.parametrize("how", ("stall", "reset", "close"))
def test_a_photo_goes_on_where_its_link_broke(server, place, how):
    data = random.Random(3).randbytes(80_000)
    with FaultProxy(("127.0.0.1", server.port)) as link:
        a, b = Phone(place, server, "a", link.port), Phone(place, server, "b", link.port)
        sha = hashlib.sha256(data).digest()
        writer = a.handset.journal.blob_writer(sha, len(data))
        writer.write(data)
        writer.finish()
        a.put((layout.PHOTO, b"ph"), b"FN:x\nIMAGE:drybag:blob/%s\n" % sha.hex().encode(),
              blobs=(sha,))  # fmt: skip
        for number, (way, phone) in enumerate((("up", a), ("down", b)), 1):
            link.set(faults("cut-after", after=60_000, direction=way, times=1, how=how))
            breaks = Driver(phone.driver._hub, link.port, timeout_s=3)
            while link.totals["cuts"] < number:  # a busy machine may be late, and begin anew
                before = link.totals[way]
                assert breaks.sync(phone.handset.engine).state == "unreachable"
            link.set(faults())
            patient = Driver(phone.driver._hub, link.port, timeout_s=60)
            assert patient.sync(phone.handset.engine).state == "synced"
            again = link.totals[way] - before - 60_000
            assert 20_000 <= again < 20_000 + RECORD_BYTES + 10_000  # and not all 80,000
        assert b"".join(bytes(p) for p in b.handset.journal.read_blob(sha)) == data


@pytest.mark.parametrize("verb", ("push", "pull"))
def test_the_power_goes_at_every_flash_command_of_a_sync(verb):
    """A handset sends its edits, or takes another's: cut, booted, and nothing is wrong."""
    acts = (("add", 0), ("sync", 0), ("sync", 1), ("edit", 0), ("add", 0), ("photo", 0))
    steps = [Step(n, n + 1, act, who, n + 11) for n, (act, who) in enumerate(acts)]
    if verb == "pull":
        steps.append(Step(6, 7, "sync", 0, 17))
    who = 0 if verb == "push" else 1
    cuts = 0
    for n in range(1, 400):
        world = World(Script(n, 2, tuple(steps)))
        world.later(20, lambda w=world, n=n: w.handsets[who].flash.cut_in(n, n))
        world.later(21, lambda w=world: w.start_session(w.handsets[who], 1))
        assert world.play() == []
        if not world.counts["cuts"]:
            break
        cuts += world.counts["cuts"]
    assert cuts > 2  # a push writes little: its state


# --- an emulated board ------------------------------------------------------------------------


def test_a_board_and_a_phone_through_a_torn_network(board, server, place, capsys):
    phone = Phone(place, server, "phone")
    board.put(KEY, CARD)
    assert cli.main(["emu", "net", "board", "cut-after", "1500", "--times", "1"]) == 0
    board.sync()  # whether it went on by itself or not
    assert cli.main(["emu", "net", "board", "ok"]) == 0
    assert board.sync(), board.why()
    assert phone.sync().state == "synced" and phone.shown() == {KEY: CARD}
    phone.put(KEY, CARD + b"NOTE:by phone\n")
    phone.sync()
    board.put(KEY, CARD.replace(b"TEL:1", b"TEL:9"))
    assert board.sync(), board.why()
    phone.sync()
    body = phone.shown()[KEY]
    assert b"NOTE:by phone" in body and b"TEL:9" in body and board.body(KEY) == body
    capsys.readouterr()


def test_both_gone_and_a_backup_folder_left(board, server, place, tmp_path, monkeypatch, capsys):
    board.put(KEY, CARD)
    board.close()
    folder = str(tmp_path / "pulled")
    assert cli.main(["pull", "emu:board", folder]) == 0
    server.kill()
    board.board.stop()
    board.board.remove()
    shutil.rmtree(server.data)
    server.start()
    monkeypatch.setenv("DRYBAG_HUB_PASSWORD", "correct horse battery")
    assert cli.main(["hub", "users", "add", OWNER, "--data", str(server.data)]) == 0
    assert cli.main(
        ["hub", "restore", "--from", folder, "--owner", OWNER, "--data", str(server.data)]
    ) == 0  # fmt: skip
    assert heads(server) == {KEY: CARD}
    phone = Phone(place, server, "new")
    assert phone.sync().state == "synced" and phone.shown() == {KEY: CARD}
    capsys.readouterr()
