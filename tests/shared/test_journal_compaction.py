"""Compaction: bounded work a call, order kept, tombstones, wear spread; what a boot reads."""

import random

import pytest
from pim_flash import SECTOR, Clock, Flash, bodies, colliding, findings, text

from drybag import layout
from drybag.layout import CONTACT, NOTE

WORST_PUT_MS = 250
BOOT_BYTES = 128 * 1024


def churn(j, steps, seed, call=lambda f: f(), live=500, held=None):
    """Workload W2: new, updated and deleted records; what must be there in the end."""
    rng = random.Random(seed)
    held = {} if held is None else held
    for step in range(steps):
        dice = rng.random()
        body = text(step, rng.randrange(60, 400))
        if len(held) < live or dice < 0.35:
            uid = b"u%d-%d" % (seed, step)
        else:
            uid = rng.choice(list(held))
            if dice > 0.7:
                call(lambda u=uid: j.delete(CONTACT, u))
                del held[uid]
                continue
        call(lambda u=uid, b=body: j.put(CONTACT, u, b))
        held[uid] = body
    while len(held) > live:
        j.delete(CONTACT, held.popitem()[0])
    return {(CONTACT, uid): body for uid, body in held.items()}


class Meter:
    """Flash commands and modelled time of single calls."""

    def __init__(self, flash):
        self.nor = flash.nor
        self.ms = []
        self.erases = []
        self.programs = []

    def __call__(self, call):
        before = self.nor.counters
        call()
        after = self.nor.counters
        self.ms.append(after["ms"] - before["ms"])
        self.erases.append(after["erases"] - before["erases"])
        self.programs.append(after["programs"] - before["programs"])


def counted_erases(flash):
    """Erases of each sector from now on: a list that counts along."""
    erases = [0] * flash.sectors

    def count(op, addr, _):
        if op == "erase":
            erases[addr // SECTOR] += 1

    flash.nor.on_command = count
    return erases


@pytest.mark.parametrize("live", [500, 1500])
def test_no_put_waits_for_a_whole_compaction(live):
    flash = Flash(256)
    j = flash.mount()
    meter = Meter(flash)
    held = churn(j, 5000, live, meter, live)
    assert j._compactor.steps > 2000  # it did compact
    assert max(meter.ms) <= WORST_PUT_MS
    assert max(meter.erases) <= 4
    assert max(meter.programs) <= 200
    assert bodies(flash.mount()) == held


def test_no_put_waits_when_full():
    flash = Flash(64)
    j = flash.mount()
    n = 0
    while j.free_bytes() > 5000:
        j.put(NOTE, b"n%d" % n, text(n, 300))
        n += 1
    meter = Meter(flash)
    for i in range(1500):
        meter(lambda i=i: j.put(NOTE, b"n%d" % (i * 7 % n), text(i, 300)))
    assert max(meter.ms) <= WORST_PUT_MS
    assert sum(meter.ms) / len(meter.ms) < 60
    assert j.count() == n == flash.mount().count()


def test_wear_is_spread_over_all_sectors():
    flash = Flash(64)
    j = flash.mount()
    for n in range(100):
        j.put(NOTE, b"still%d" % n, text(n, 200))  # cold records must not pin their sectors
    held = {}
    churn(j, 3000, 100, live=60, held=held)
    erases = counted_erases(flash)
    for turn in range(8):
        churn(j, 1000, turn, live=60, held=held)
        j.close()
        j = flash.mount()
    used = [erases[sector] for sector in flash.segments()]
    assert min(used) >= 8
    assert max(used) <= min(used) + 3
    assert len(used) >= 50
    assert sum(erases) == sum(used)  # LittleFS's own metadata is not written at all


@pytest.mark.parametrize("clean", [True, False])
def test_wear_is_spread_over_many_short_lives(clean):
    flash = Flash(64)
    j = flash.mount()
    for n in range(200):
        j.put(NOTE, b"n%d" % n, text(n, 200))
    erases = counted_erases(flash)
    for n in range(400):
        if clean:
            j.close()
        j = flash.mount()
        j.put(NOTE, b"n%d" % (n % 50), text(n, 100))
    assert sum(erases) <= 450  # about one a life
    assert max(erases) <= 100  # and not always the same


def test_the_order_of_seqs_is_kept_whatever_is_moved():
    flash = Flash(24)
    clock = Clock()
    j = flash.mount(clock)
    want, revs = {}, {}
    for n in range(2500):
        clock.now += 1
        uid = b"n%d" % (n * n % 37)
        seq = j.put(NOTE, uid, text(n, n % 300), (), n)
        revs[uid] = revs.get(uid, 0) + 1
        want[uid] = (seq, text(n, n % 300), n, clock.now)
    for journal in (j, flash.mount(clock)):
        found = {r.uid: (r.seq, r.body, r.parent, r.stamp) for r in journal.records()}
        assert found == want
        for uid in want:
            assert journal.get(NOTE, uid).rev == revs[uid]


def test_seqs_only_grow_over_clean_and_unclean_boots():
    flash = Flash(24)
    last = 0
    for turn in range(12):
        j = flash.mount()
        assert j.last_seq >= last
        for n in range(20):
            seq = j.put(NOTE, b"n%d" % n, b"")
            assert seq > last
            last = seq
        if turn % 3:
            j.close()


def test_the_last_seq_never_goes_back():
    """Also where numbers were skipped and nothing was written before the next shutdown: who asked
    for changes up to it would miss those that come."""
    flash = Flash(24)
    j = flash.mount()
    j.put(NOTE, b"x", b"")
    j = flash.mount()
    last = j.last_seq
    for _ in range(3):
        j.close()
        j = flash.mount()
        assert j.last_seq >= last
    assert j.put(NOTE, b"x", b"") > last
    for _ in range(2):
        j = flash.mount()
        assert j.last_seq >= last
        last = j.last_seq
    j.close()
    assert flash.mount().last_seq >= last


def test_tombstones_hold_until_every_older_version_is_gone():
    flash = Flash(20)
    j = flash.mount()
    for n in range(40):
        j.put(NOTE, b"gone%d" % n, text(n, 150))
    for n in range(40):
        j.delete(NOTE, b"gone%d" % n)
    gone_from_log = False
    for turn in range(120):
        for n in range(8):
            j.put(CONTACT, b"c%d" % n, text(turn, 250))
        if turn % 6 == 5:
            j = flash.mount()  # without a checkpoint everything is replayed
            assert j.count(NOTE) == 0
        gone_from_log = gone_from_log or not j.history(NOTE, b"gone0")
    assert gone_from_log
    assert j.count() == 8


def test_records_of_a_batch_stand_alone_once_they_are_moved():
    flash = Flash(20)
    j = flash.mount()
    j.batch([("put", NOTE, b"b%d" % n, text(n, 200)) for n in range(20)])
    for n in range(1500):
        j.put(CONTACT, b"c%d" % (n % 10), text(n, 200))
        if n % 100 == 99:
            j = flash.mount()
            assert {b"b%d" % i for i in range(20)} == {r.uid for r in j.records(NOTE)}
    assert all(j.get(NOTE, b"b%d" % n).body == text(n, 200) for n in range(20))


def test_compaction_keeps_records_with_one_hash_apart():
    flash = Flash(20)
    j = flash.mount()
    uids = colliding(3)
    for n in range(1500):
        j.put(CONTACT, uids[n % 3], text(n, 200))
        j.put(NOTE, b"n%d" % (n % 7), text(n, 150))
        if n % 200 == 100:
            j = flash.mount()
    assert [j.get(CONTACT, uid).body for uid in uids] == [text(n, 200) for n in (1497, 1498, 1499)]


# --- what a boot reads, and what it says ---------------------------------------------------------


@pytest.fixture(scope="module")
def address_book():
    flash = Flash(256)
    j = flash.mount()
    for n in range(2000):
        j.put(CONTACT, b"u%06d" % n, text(n, 100))
    return flash


def boot(flash):
    flash.nor.reset_counters()
    j = flash.mount()
    return j, flash.nor.counters


@pytest.mark.parametrize("after", ["cut", "clean", "checkpoint", "churn", "checkpoint after boot"])
def test_a_boot_reads_the_checkpoint_and_what_came_after(address_book, after):
    flash = address_book.copy()
    j = flash.mount()
    if after == "churn":
        churn(j, 1500, 3)
    if after == "checkpoint after boot":
        j.close()
        j = flash.mount()
    if after.startswith("checkpoint"):
        j.checkpoint()
    if after != "cut":
        j.close()
    j, counters = boot(flash)
    assert j.report["checkpoint"]
    assert j.report["clean"] is (after != "cut")
    assert counters["read_bytes"] <= BOOT_BYTES + (20000 if after == "churn" else 0)
    assert counters["ms"] < 500
    if after.startswith("checkpoint"):
        assert j.report["replayed_entries"] < 40
        assert counters["read_bytes"] <= 60000
    if after != "cut":
        assert counters["programs"] == counters["erases"] == 0
    assert j.count() >= 1999 and j.digest()[0] == j.count()


def test_an_unfinished_checkpoint_is_not_used(address_book):
    flash = address_book.copy()
    j = flash.mount()
    j.checkpoint()
    for n in range(50):
        j.put(CONTACT, b"u%06d" % n, b"new")
    j._checkpointer._since = -(1 << 29)
    assert not j._checkpointer.step()  # its first piece is there, the rest is not
    for turn in range(3):
        j = flash.mount()
        assert j.count() == 2000 and j.digest()[0] == 2000
        assert all(j.get(CONTACT, b"u%06d" % n).body == b"new" for n in range(50))
        for n in range(30):
            j.put(NOTE, b"z%d" % n, text(turn, 200))
        j.delete(NOTE, b"z0")
        for n in range(1, 30):
            j.delete(NOTE, b"z%d" % n)


def test_the_report_says_what_recovery_did():
    flash = Flash(64)
    j = flash.mount()
    assert j.report["formatted"] and j.report["clean"]
    for n in range(10):
        j.put(NOTE, b"n%d" % n, text(n, 100))
    j = flash.mount()
    first = dict(j.report)
    assert (first["formatted"], first["clean"], first["healed"]) == (False, False, False)
    assert first["copied_entries"] >= 10 and first["replayed_entries"] == 10
    assert not first["checkpoint"] and first["read_only"] is None
    assert first["filesystem"] == "ok"
    j.close()
    again = flash.mount().report
    assert again["clean"] and again["copied_entries"] == 0
    assert again["replayed_entries"] in (10, 11)  # the seal may count


def test_a_harmed_page_is_healed_and_reported():
    flash = Flash(64)
    j = flash.mount()
    for n in range(30):
        j.put(NOTE, b"n%d" % n, text(n, 20))
    flash.nor.cut_at(1, "neighbour", 5)
    with pytest.raises(OSError):
        j.put(NOTE, b"cut", b"")
    flash.nor.power_on()
    j = flash.mount()
    assert j.report["healed"]
    assert j.count(NOTE) in (30, 31)
    assert findings(j)[-1]["damaged"] == 0
    assert not flash.mount().report["healed"]


def test_segment_numbers_that_stand_twice_hide_nothing():
    """A header torn so that one boot cannot read it and the next one can: its number went on."""
    flash = Flash(24)
    j = flash.mount()
    for n in range(6):
        j.put(NOTE, b"o%d" % n, text(n, 1400))
    before = set(flash.numbers().values())
    while set(flash.numbers().values()) == before:
        image = bytes(flash.memory)
        j.put(NOTE, b"last", text(n, 300))
        n += 1
    number, sector = max(flash.numbers().items())
    header = bytes(flash.memory[sector * SECTOR : sector * SECTOR + 64])
    flash = Flash(24, bytearray(image))
    flash.harm(sector * SECTOR, b"\0" + header[1:16])  # begun, and cut
    j = flash.mount()
    for n in range(4):
        j.put(NOTE, b"new%d" % n, text(n, 1400))
    want = bodies(j)
    assert number in flash.numbers() and flash.numbers()[number] != sector
    flash.harm(sector * SECTOR, header[:16])  # the cells read differently now
    for _ in range(3):
        j = flash.mount()
        assert bodies(j) == want and layout.parse_prefix(header)[3] == number
        assert findings(j)[-1]["damaged"] == 0
