"""The link on a handset in this process: every call, noise, loss, reboots, broken cables."""

import hashlib
import io
import random

import pytest
from handset_lines import BootingHandset, Clock, CutLine, FarEnd, NoisyLine, SimHandset

from drybag import errors, layout
from drybag import protocol as p
from drybag.frame import WINDOW_BYTES
from drybag_host.errors import BoardRebooted, LinkLost, LinkTimeout, NotAHandset, PortBusy
from drybag_host.link import Ack, HandsetLink

SHA = bytes(32)
CARD = b"VERSION:3.0\nFN:Person %d\nTEL:+49 30 %07d\nNOTE:"


@pytest.fixture
def clock(monkeypatch):
    return Clock.install(monkeypatch)


@pytest.fixture
def sim(clock):
    return SimHandset(clock)


@pytest.fixture
def link(sim):
    return HandsetLink(sim)


def puts(count, seed=1, most=400):
    rng = random.Random(seed)
    return [
        ("put", 1, b"uid-%d" % i, CARD % (i, i) + rng.randbytes(rng.randrange(most)).hex().encode()
         + b"\n", (), 0)
        for i in range(count)
    ]  # fmt: skip


def bodies(link, since=0):
    return {r.uid: r.body for _, r in link.changes(since) if not r.deleted}


def blob(size, seed=5):
    data = random.Random(seed).randbytes(size)
    return hashlib.sha256(data).digest(), data


# -- the calls ----------------------------------------------------------------------------------


def test_hello_says_what_the_handset_is(link, sim):
    info = link.hello()
    assert info["name"] == "drybag-bbccdd" and info["epoch"] == sim.app.journal.epoch
    assert info["counts"] == dict.fromkeys(layout.KIND_NAMES.values(), 0)
    assert info["versions"]["protocol"] == p.VERSION and info["free"] > 500000
    assert link.hello()["boot"] == info["boot"]


def test_hello_sets_a_clock_that_does_not_know(link, sim, clock):
    link.hello()
    assert sim.board.clock() == int(clock.time()) - 946684800
    sim.board.set_clock(5)
    link.hello()
    assert sim.board.clock() == 5
    link.set_time(790000000)
    assert sim.board.clock() == 790000000


def test_records_go_in_and_come_out(link, sim):
    ops = puts(120)
    acks = list(link.put_records(ops))
    assert acks[-1] == Ack(120, sim.app.journal.seq_of(1, b"uid-119")) and 1 < len(acks) < 60
    assert [a.done for a in acks] == sorted(a.done for a in acks)
    assert bodies(link) == {op[2]: op[3] for op in ops}
    record = link.get(1, b"uid-7")
    assert (record.body, record.rev, record.seq) == (ops[7][3], 1, sim.app.journal.seq_of(
        1, b"uid-7"))  # fmt: skip
    assert link.digest() == sim.app.journal.digest()
    assert sorted(r.uid for r in link.find("PERSON 11")) == sorted(
        r.uid for r in sim.app.journal.find("person 11")
    )
    assert list(link.find("person", 2)) == []


def test_delete_undelete_history_and_changes(link):
    list(link.put_records(puts(3)))
    since = link.hello()["last_seq"]
    assert link.delete(1, b"uid-1") == since + 1
    with pytest.raises(errors.NotFound):
        link.get(1, b"uid-1")
    (_, gone), = link.changes(since)
    assert gone.deleted and gone.uid == b"uid-1" and gone.body == b""
    assert link.undelete(1, b"uid-1") == since + 2
    assert [(r.seq, r.deleted) for r in link.history(1, b"uid-1")] == [
        (since + 2, False), (since + 1, True), (link.history(1, b"uid-1")[2].seq, False),
    ]  # fmt: skip
    assert list(link.put_records([("delete", 1, b"uid-0"), ("delete", 1, b"uid-2")]))[-1].done == 2
    assert link.hello()["counts"]["contact"] == 1


def test_a_cursor_goes_on_where_it_was(link):
    list(link.put_records(puts(40)))
    found = []
    for cursor, record in link.changes(0):  # noqa: B007
        found.append(record.uid)
        if len(found) == 15:
            break
    found += [record.uid for _, record in link.changes(0, cursor)]
    assert found == [b"uid-%d" % i for i in range(40)]


def test_compare(link):
    list(link.put_records(puts(100)))
    same = [
        (r.kind, r.uid, hashlib.sha256(layout.canonical(layout.Record(
            r.kind, r.uid, r.body, r.blobs, r.parent))).digest())
        for _, r in link.changes(0)
    ]  # fmt: skip
    other = [(1, b"uid-5", bytes(32)), (1, b"nobody", bytes(32))]
    assert link.compare(same + other) == [1] * 100 + [2, 0]
    assert link.compare([]) == []


@pytest.mark.parametrize("size", [0, 1, 1400, 1499, 1500, 2000, 2060, 2061, 4096, 65536])
def test_bodies_of_any_size(link, sim, size):
    body = random.Random(size).randbytes(size)
    ops = [("put", 4, b"n%d" % size, body, (), 3), ("put", 4, b"other", b"SUMMARY:x\n", (), 0)]
    assert list(link.put_records(ops))[-1].done == 2
    record = link.get(4, b"n%d" % size)
    assert (record.body, record.parent) == (body, 3)
    assert sim.app.journal.get(4, b"n%d" % size).body == body
    assert len(list(link.changes(0))) == 2


def test_blobs(link, sim):
    sha, data = blob(50000)
    link.put_blob(sha, len(data), io.BytesIO(data))
    empty, nothing = blob(0)
    link.put_blob(empty, 0, nothing)
    assert link.has_blobs([sha, empty, bytes(32)] * 40) == {sha, empty}
    assert link.blob_size(sha) == 50000
    assert b"".join(link.read_blob(sha)) == data
    assert b"".join(link.read_blob(sha, 12345)) == data[12345:]
    assert b"".join(link.read_blob(sha, 50000)) == b""
    put = ("put", 5, b"p", b"IMAGE:drybag:blob/%s\n" % sha.hex().encode(), (sha,), 0)
    assert list(link.put_records([put]))[-1].done == 1
    assert link.get(5, b"p").blobs == (sha,)
    written = sim.written
    link.put_blob(sha, len(data), data)
    assert sim.written - written < 200


def test_scrub_and_stats(link, sim):
    list(link.put_records(puts(30)))
    findings = list(link.scrub())
    assert findings[-1]["kind"] == "summary" and findings[-1]["records"] == 30
    assert link.stats()["records"]["contact"] == 30


# -- refusals -----------------------------------------------------------------------------------


def test_errors_of_the_handset_keep_their_class(link, sim):
    list(link.put_records(puts(2)))
    for wrong, call in [
        (errors.NotFound, lambda: link.get(2, b"x")),
        (errors.NotFound, lambda: link.delete(1, b"x")),
        (errors.NotFound, lambda: link.blob_size(bytes(32))),
        (errors.NotFound, lambda: list(link.read_blob(bytes(32)))),
        (errors.BadInput, lambda: link.undelete(1, b"uid-1")),
        (errors.MissingBlob, lambda: list(link.put_records([("put", 1, b"x", b"", [SHA])]))),
        (errors.TooLarge, lambda: list(link.put_records([("put", 1, b"x" * 201, b"")]))),
        (errors.TooLarge, lambda: list(link.put_records([("put", 1, b"x", bytes(65537))]))),
        (errors.BadInput, lambda: list(link.put_records([("put", 9, b"x", b"")]))),
        (errors.BadBlob, lambda: link.put_blob(bytes(32), 5000, bytes(5000))),
        (errors.BadBlob, lambda: link.put_blob(bytes(32), 5000, io.BytesIO(bytes(4000)))),
        (errors.TooLarge, lambda: link.put_blob(bytes(32), 1 << 30, b"")),
    ]:
        with pytest.raises(wrong):
            call()
    assert link.hello()["counts"]["contact"] == 2


def test_a_refused_batch_leaves_nothing(link):
    ops = [*puts(5, most=50), ("delete", 1, b"nobody")]  # small, so that one request holds all
    with pytest.raises(errors.NotFound):
        list(link.put_records(ops))
    assert bodies(link) == {}


def test_full_flash_says_how_much_is_missing(clock):
    link = HandsetLink(SimHandset(clock, 128 << 10))
    done = 0
    with pytest.raises(errors.NoSpace) as full:
        for ack in link.put_records(puts(2000)):
            done = ack.done
    assert full.value.missing_bytes > 0 and done > 100
    assert len(bodies(link)) == done
    link.delete(1, b"uid-3")
    assert link.digest()[0] == done - 1


def test_a_journal_that_cannot_be_opened_is_reported_and_kept(clock):
    sim = SimHandset(clock)
    nor = sim.board.device
    for sector in range(nor.ioctl(4, 0)):
        nor.ioctl(6, sector)
        nor.writeblocks(sector, b"not ours".ljust(64), 0)
    before = dump(nor)
    sim.reboot()
    link = HandsetLink(sim)
    with pytest.raises(errors.NotMountable):
        link.hello()
    info = link.hello(allow_fault=True)
    assert info["error"]["class"] == "NotMountable" and info["epoch"] == 0
    for call in (link.stats, link.digest, lambda: list(link.put_records(puts(1)))):
        with pytest.raises(errors.NotMountable):
            call()
    assert dump(nor) == before


def dump(device):
    out = bytearray(device.ioctl(4, 0) * 4096)
    device.readblocks(0, out, 0)
    return bytes(out)


def test_requests_that_make_no_sense_are_refused(link, sim):
    list(link.put_records(puts(1)))
    rng = random.Random(3)
    for i in range(400):
        data = bytes((i % 32,)) + rng.randbytes(rng.randrange(80))
        if data[0] in (p.SET_TIME, p.SET_BAUD, p.HELLO):
            continue
        try:
            link._line.request(data)
        except (errors.DrybagError, Exception) as error:
            assert not isinstance(error, LinkTimeout), data
    assert link.get(1, b"uid-0").body == puts(1)[0][3]


# -- a bad line ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("every", [3000, 600])
def test_noise_costs_time_and_nothing_else(clock, seed, every):
    sim = SimHandset(clock)
    line = NoisyLine(sim, seed, every)
    link = HandsetLink(line, patience_s=60)
    ops = puts(60, seed)
    assert list(link.put_records(ops))[-1].done == 60
    journal = sim.app.journal
    assert {r.uid: r.body for r in journal.records()} == {op[2]: op[3] for op in ops}
    assert all(len(journal.history(1, op[2])) == 1 for op in ops)
    assert bodies(link) == {op[2]: op[3] for op in ops}
    sha, data = blob(9000, seed)
    link.put_blob(sha, len(data), data)
    assert b"".join(link.read_blob(sha)) == data
    body = random.Random(seed).randbytes(20000)
    assert list(link.put_records([("put", 4, b"big", body, (), 0)]))[-1].done == 1
    assert link.get(4, b"big").body == body
    assert link.digest() == journal.digest()
    assert line.faults > 10


def test_a_clean_line_needs_no_second_sending(sim):
    link = HandsetLink(sim)
    link.hello()
    list(link.put_records(puts(80)))
    bodies(link)
    sha, data = blob(20000)
    link.put_blob(sha, len(data), data)
    assert link._line.resent == 0


def test_never_more_on_the_line_than_the_ring_takes(sim):
    link = HandsetLink(sim)
    list(link.put_records(puts(50)))
    sha, data = blob(20000)
    link.put_blob(sha, len(data), data)
    bodies(link)
    assert 200 < sim.most_unread <= WINDOW_BYTES


def test_a_request_is_carried_out_once_however_often_its_frames_come(sim):
    """Every frame towards the handset comes three times; and answers are lost."""

    class Stutter:
        name, close = "stutter", sim.close
        lose = 0

        def write(self, data):
            for _ in range(3):
                sim.write(data)

        def read(self, timeout_s=0.0):
            data = sim.read(timeout_s)
            self.lose = (self.lose + 1) % 5
            return b"" if self.lose == 1 else data

    link = HandsetLink(Stutter())
    ops = puts(20)
    assert list(link.put_records(ops))[-1].done == 20
    assert link.delete(1, b"uid-3")
    history = sim.app.journal.history(1, b"uid-3")
    assert [r.deleted for r in history] == [True, False]
    assert all(sim.app.journal.get(1, b"uid-%d" % i).rev == 1 for i in (0, 1, 19))


def test_two_streams_at_once(link):
    ops = puts(200)
    list(link.put_records(ops))
    sha, data = blob(40000)
    link.put_blob(sha, len(data), data)
    pieces, found = [], {}
    reading = link.read_blob(sha)
    for _, record in link.changes(0):
        found[record.uid] = record.body
        pieces.append(next(reading, b""))
    pieces += list(reading)
    assert b"".join(pieces) == data and len(found) == 200


def test_a_consumer_that_takes_a_day_finds_the_line_alive(link, clock):
    list(link.put_records(puts(200)))
    found = 0
    for _ in link.changes(0):
        found += 1
        if found % 60 == 0:
            clock.now_s += 86400
    assert found == 200


def test_records_written_at_the_console_meanwhile(link, sim):
    list(link.put_records(puts(100)))
    found = {}
    for i, (_, record) in enumerate(link.changes(0)):
        found[record.uid] = record.body
        if i % 10 == 0:
            sim.app.journal.put(1, b"uid-99", b"FN:At the console %d\n" % i)
    assert len(found) == 100 and found[b"uid-99"].startswith(b"FN:At the console")


# -- breaks -------------------------------------------------------------------------------------


def test_a_reboot_in_the_middle_is_named_and_the_rest_can_be_had(sim):
    link = HandsetLink(sim)
    ops = puts(150)
    list(link.put_records(ops))
    found = {}
    with pytest.raises(BoardRebooted):
        for cursor, record in link.changes(0):  # noqa: B007
            found[record.uid] = record.body
            if len(found) == 70:
                sim.reboot()
    assert 70 <= len(found) < 150
    link = HandsetLink(sim)
    for _, record in link.changes(0, cursor):
        found[record.uid] = record.body
    assert found == {op[2]: op[3] for op in ops}


def test_a_reboot_between_batches(sim):
    link = HandsetLink(sim)
    acks = link.put_records(puts(100))
    ack = next(acks)
    sim.reboot()
    with pytest.raises(BoardRebooted):
        next(acks)
    assert len(bodies(HandsetLink(sim))) == ack.done


def test_hello_notices_a_reboot(sim):
    link = HandsetLink(sim)
    link.hello()
    sim.reboot()
    with pytest.raises(BoardRebooted):
        link.hello()


def test_another_program_on_the_line(sim):
    first, second = HandsetLink(sim), HandsetLink(sim)
    first.hello()
    second.hello()
    with pytest.raises(PortBusy):
        first.stats()
    assert second.stats()["writable"]


@pytest.mark.parametrize("after", [400, 3000, 11000])
def test_a_pulled_cable_while_reading(sim, after):
    list(HandsetLink(sim).put_records(puts(60)))
    link = HandsetLink(CutLine(sim, read=after))
    found, cursor = {}, 0
    with pytest.raises(LinkLost):
        for cursor, record in link.changes(0):  # noqa: B007
            found[record.uid] = record.body
    for _, record in HandsetLink(sim).changes(0, cursor):
        found[record.uid] = record.body
    assert found == {op[2]: op[3] for op in puts(60)}


def test_a_blob_goes_on_after_a_pulled_cable(sim):
    sha, data = blob(60000)
    with pytest.raises(LinkLost):
        HandsetLink(CutLine(sim, written=40000)).put_blob(sha, len(data), io.BytesIO(data))
    written = sim.written
    link = HandsetLink(sim)
    link.put_blob(sha, len(data), io.BytesIO(data))
    assert sim.written - written < 45000
    assert b"".join(link.read_blob(sha)) == data


def test_a_silent_line_times_out(clock):
    with pytest.raises(LinkTimeout, match="nothing answers"):
        HandsetLink(FarEnd(clock, lambda data: b"")).hello()


def test_a_line_that_goes_silent(sim, clock, monkeypatch):
    link = HandsetLink(sim)
    link.hello()
    monkeypatch.setattr(sim, "read", lambda timeout_s=0.0: clock.sleep(timeout_s) or b"")
    began = clock.now_s
    with pytest.raises(LinkTimeout):
        link.stats()
    assert clock.now_s - began < 20


def test_something_else_at_the_far_end(clock):
    login = b"\r\nPassword incorrect\r\n\x1b[1mvoyager login: "
    with pytest.raises(NotAHandset, match="voyager login:"):
        HandsetLink(FarEnd(clock, lambda data: login)).hello()


def test_an_echo_is_no_handset(clock):
    """A plug that connects the line's two wires."""
    with pytest.raises((NotAHandset, LinkTimeout)):
        HandsetLink(FarEnd(clock, lambda data: data)).hello()


@pytest.mark.parametrize("heard", [True, False])
@pytest.mark.parametrize("loads_s", [0.2, 4.0, 5.3])
def test_no_ctrl_c_is_left_behind_an_answer(clock, loads_s, heard):
    """However slow the boot: once HELLO is answered, nothing on the line ends the application."""
    for tenths in (0, 9, 31, 37):
        sim = BootingHandset(clock, loads_s, tenths / 10, heard)
        with HandsetLink(sim) as link:
            assert link.hello()["name"] and 3 not in sim.board.to_board
            starts = sim.starts
            list(link.put_records(puts(5)))
            clock.sleep(5)
            assert link.hello()["counts"] == {**link.hello()["counts"], "contact": 5}
            assert sim.starts == starts
            assert starts == 1 or loads_s + tenths / 10 > 5  # one in time is left alone
            assert starts == 1 or loads_s > 5 or not heard  # and one that was heard


def test_versions_that_have_nothing_in_common(sim, monkeypatch):
    monkeypatch.setattr(p, "parse_hello", lambda data: (7, 9, 8, 2048, 0))
    with pytest.raises(errors.BadInput, match="version 1 of the protocol, the host 7 to 9"):
        HandsetLink(sim).hello()


def test_a_flash_that_fails_is_opened_again(link, sim, monkeypatch):
    list(link.put_records(puts(3)))
    broken = sim.app.journal

    def fail(*args):
        broken._log.failed = "the flash failed"
        raise OSError(5)

    monkeypatch.setattr(broken._log, "append", fail)
    with pytest.raises(errors.JournalClosed, match="try again"):
        link.delete(1, b"uid-1")
    assert sim.app.journal is not broken
    assert link.delete(1, b"uid-1") and link.hello()["counts"]["contact"] == 2


def test_speed_up(sim):
    link = HandsetLink(sim)
    assert link.speed_up(921600) is False
    sim.baud = 115200
    sim.set_baud = lambda baud: setattr(sim, "baud", baud)
    assert link.speed_up(921600) is True
    assert sim.board.bauds == [921600] and sim.baud == 921600
