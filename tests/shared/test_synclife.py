"""The handset's engine through what happens in a year: lost hubs, deletions, full flashes."""

import random
from pathlib import Path

import pytest
from both_interpreters import run_both
from hypothesis import given, settings
from hypothesis import strategies as st
from pim_flash import fill, store_blob, text
from sync_handset import DAY, HUB, NOW, Handset, same

from drybag import errors, layout, syncsettings, syncstate
from drybag.layout import CONTACT, NOTE, PHOTO, SETTING
from drybag.syncengine import SyncEngine
from drybag.syncoutcome import WAITING
from drybag_host.rig.device.toy_hub import ToyHub

SCRIPT = Path(__file__).parent / "scripts" / "sync_story.py"


@pytest.fixture
def h():
    return Handset()


# --- hubs that were lost, set back, exchanged ----------------------------------------------------


def test_a_new_empty_hub_gets_everything(h):
    for n in range(40):
        h.j.put(CONTACT, b"uid%d" % n, text(n, 100))
    h.hub.edit(CONTACT, b"from hub", b"FN:H\n")
    h.synced()
    h.j.delete(CONTACT, b"uid5")
    h.synced()
    h.driver.hub = h.hub = ToyHub(b"newempty")
    h.boot().synced()
    same(h)
    assert h.j.count() == 40 and (CONTACT, b"from hub") in h.hub.live()
    assert all(item.resend for item, _ in h.hub.log)


def test_a_hub_restored_from_an_old_backup(h):
    for n in range(10):
        h.j.put(CONTACT, b"uid%d" % n, text(n, 100))
    h.synced()
    old = h.hub.copy()
    old.name = b"restored"
    for n in range(5, 15):
        h.j.put(CONTACT, b"uid%d" % n, text(n, 120))
    h.hub.edit(CONTACT, b"far", b"FN:far\n")
    h.synced()
    h.driver.hub = h.hub = old
    h.synced()
    same(h)
    assert h.j.count() == 16 and not old.quarantined
    assert h.engine.unsent() == 0


def test_a_boot_between_a_hub_set_back_and_its_deletions_loses_none(h):
    for n in range(5):
        h.j.put(CONTACT, b"uid%d" % n, text(n, 100))
    h.synced()
    old = h.hub.copy()
    old.name = b"restored"
    h.j.delete(CONTACT, b"uid3")
    h.synced()
    h.j.checkpoint()  # without the tombstone, which the hub has
    h.driver.hub = h.hub = old
    gen = h.engine.run()
    action = next(gen)
    status, body = old.post("d0", action[2])
    gen.send((status, {}, body))  # the handset knows now, and has sent nothing
    gen.close()
    h.boot().synced()
    same(h)
    assert h.j.count() == 4


def test_a_journal_that_was_set_back_begins_a_new_life(h):
    for n in range(5):
        h.j.put(CONTACT, b"uid%d" % n, text(n, 100))
    h.synced()
    image = h.flash.copy()
    for n in range(3, 30):
        h.j.put(CONTACT, b"uid%d" % n, text(n, 150))
    h.synced()
    h.synced()  # the hub hears that its ack came
    life = h.engine.state.life
    back = Handset(hub=h.hub, flash=image)
    back.synced()
    assert back.engine.state.life != life
    assert back.j.count() == 30 and not h.hub.quarantined
    same(back)


def test_pairing_with_another_hub_sends_everything_there(h):
    for n in range(5):
        h.j.put(CONTACT, b"uid%d" % n, text(n, 100))
    h.synced()
    syncsettings.pair(h.j, HUB, h.number)
    h.driver.hub = h.hub = ToyHub(b"another1")
    h.boot().synced()
    same(h)


def test_unpaired_nothing_is_kept_for_a_hub(h):
    h.j.put(CONTACT, b"a", b"FN:A\n")
    h.synced()
    syncsettings.unpair(h.j)
    assert h.j.agreed == -1 and syncstate.load(h.j, h.number) is None
    assert syncsettings.load_hub(h.j) is None and h.j.settings() == []
    h.j.delete(CONTACT, b"a")
    assert h.j.unsent_count(0) == 0


def test_a_sync_state_that_rotted_sends_everything_again(h):
    for n in range(5):
        h.j.put(CONTACT, b"uid%d" % n, text(n, 100))
    h.synced()
    h.j.put(SETTING, syncstate.SYNC, b"?")
    h.boot().synced()
    same(h)
    assert not h.hub.quarantined and len(h.hub.live()) == 5


# --- many deletions ------------------------------------------------------------------------------


def deleting(h, count, records=60):
    for n in range(records):
        h.j.put(CONTACT, b"uid%d" % n, text(n, 60))
    h.synced()
    for n in range(count):
        h.hub.edit(CONTACT, b"uid%d" % n, deleted=True)


def test_a_tenth_may_go(h):
    deleting(h, 6)
    h.synced()
    assert h.j.count() == 54
    h.hub.edit(CONTACT, b"uid6", deleted=True)
    assert "1 of 54" in h.synced(WAITING).reason  # within 24 hours it is too many
    h.clock.now += DAY
    h.boot().synced()
    assert h.j.count() == 53


def test_more_wait_until_the_person_accepts(h):
    deleting(h, 40)
    h.j.put(CONTACT, b"new", b"FN:N\n")
    assert h.synced(WAITING).reason.startswith("the hub wants 40 of 61 records deleted")
    assert h.j.count() == 61 and h.engine.unsent() == 0  # sending goes on
    h.boot().synced(WAITING)
    assert h.engine.accept()
    h.boot().synced()
    assert h.j.count() == 21
    h.hub.edit(CONTACT, b"uid50", deleted=True)
    h.synced()
    same(h)


def test_more_wait_until_the_person_refuses(h):
    deleting(h, 60)
    sha = store_blob(h.j, text(4, 5000))
    h.j.put(PHOTO, b"uid0", b"FN:p\n", (sha,))
    h.j.put(NOTE, b"long", text(2, 4000))
    h.synced(WAITING)
    h.hub.edit(NOTE, b"long", deleted=True)
    h.synced(WAITING)
    assert h.engine.refuse()
    h.synced()
    assert h.j.count() == 62
    same(h)
    assert not h.state.has(syncstate.REFUSED)


def test_without_a_word_there_is_nothing_to_accept(h):
    assert not h.engine.accept() and not h.engine.refuse()


# --- limits of the handset -----------------------------------------------------------------------


def test_a_full_flash_stops_changes_and_not_sending():
    h = Handset(18)
    for n in range(12):
        h.j.put(CONTACT, b"first%d" % n, text(n, 300))
    h.synced()
    fill(h.j, 400)
    h.hub.edit(NOTE, b"no room", text(1, 1200))
    h.hub.edit(CONTACT, b"first1", deleted=True)
    outcome = h.synced(WAITING)
    assert outcome.reason.startswith("changes wait: ")
    assert h.engine.unsent() == 0 and not h.j.find_uid(NOTE, b"no room")
    for n in range(12):
        h.j.delete(NOTE, b"f%05d" % n)
    h.synced()
    assert h.j.get(NOTE, b"no room").body == text(1, 1200)
    same(h)


def test_deletions_by_the_hub_work_on_a_full_flash():
    h = Handset(18)
    done = fill(h.j, 400)
    h.synced()
    uid = sorted(done)[0]
    h.hub.edit(NOTE, uid, deleted=True)
    h.synced()
    assert not h.j.find_uid(NOTE, uid)


def test_a_record_that_is_damaged_is_named_and_the_rest_goes_on(h):
    sha = store_blob(h.j, text(5, 3000))
    seq = h.j.put(PHOTO, b"bad", b"FN:x\n", (sha,))
    h.j.put(CONTACT, b"good", b"FN:G\n")
    for sector in h.flash.segments(layout.BLOB):
        h.flash.flip(sector * 4096 + 700)
    h.synced()
    assert list(h.hub.live()) == [(CONTACT, b"good")]
    assert h.engine.stuck == [seq] and h.engine.state.places(seq) == (False, False)
    assert h.boot().engine.stuck == [seq] and h.engine.unsent() == 1
    h.synced()
    assert h.engine.stuck == [seq]
    h.j.put(PHOTO, b"bad", b"FN:no picture\n")
    h.synced()
    h.synced()
    assert h.engine.stuck == [] and h.state.stuck == ()


def test_a_photo_too_large_for_the_hub_is_tried_again_after_a_restart(h):
    h.j.put(PHOTO, b"p", b"FN:x\n", (store_blob(h.j, text(5, 3000)),))
    h.j.put(CONTACT, b"good", b"FN:G\n")
    h.answering(lambda a, answer: (413, {}, b"") if a[0] == "put" else answer)
    h.synced()
    assert len(h.engine.stuck) == 1 and h.engine.unsent() == 1
    h.answering(lambda a, answer: answer)
    h.boot().synced()
    assert h.engine.stuck == [] and h.state.stuck == ()
    same(h)


def test_a_flash_that_fails_comes_out_of_the_engine(h):
    h.hub.edit(CONTACT, b"a", b"FN:A\n")
    gen = h.engine.run()
    action = next(gen)
    status, body = h.hub.post("d0", action[2])
    h.flash.nor.dead = True
    with pytest.raises(OSError):
        while True:
            gen.send((status, {}, body))
            status = None


def test_times(h):
    h.clock.now = 0
    told = []
    h.engine = SyncEngine(h.j, h.clock, h.number, told.append)
    h.hub.time = NOW + 50
    h.hub.edit(CONTACT, b"early", b"FN:E\n", stamp=5)
    h.synced()
    assert told == [NOW + 50]
    h.clock.now = NOW
    h.hub.edit(CONTACT, b"late", b"FN:L\n", stamp=NOW + 100 * DAY)
    h.synced()
    assert h.j.get(CONTACT, b"early").stamp == 5
    assert h.j.get(CONTACT, b"late").stamp == NOW + DAY
    h.j.put(CONTACT, b"mine", b"FN:M\n")
    assert h.j.get(CONTACT, b"mine").stamp == NOW + DAY  # a stamp of the person's never goes back
    h.boot()
    h.j.put(CONTACT, b"mine", b"FN:M2\n")
    assert h.j.get(CONTACT, b"mine").stamp == NOW + DAY


def test_off_site_is_told_apart(h):
    seq = h.j.put(CONTACT, b"a", b"FN:A\n")
    assert h.engine.state.places(seq) == (False, False)
    h.synced()
    assert h.engine.state.places(seq) == (True, False)
    h.hub.offsite = True
    h.synced()
    assert h.state.places(seq) == (True, True)


def test_where_memory_is_short_the_buffer_gets_smaller(h, monkeypatch):
    real = bytearray

    def small(size):
        if size > 10000:
            raise MemoryError
        return real(size)

    monkeypatch.setattr("drybag.syncengine.bytearray", small, raising=False)
    for n in range(200):
        h.j.put(CONTACT, b"uid%d" % n, text(n, 100))
        h.hub.edit(CONTACT, b"far%d" % n, text(n, 100))
    h.synced()
    same(h)
    assert h.engine.buffer_bytes == 6144


# --- settings ------------------------------------------------------------------------------------


def test_settings_survive_and_secrets_are_checked(h):
    hub = syncsettings.load_hub(h.j)
    assert [getattr(hub, n) for n in hub.__slots__] == [getattr(HUB, n) for n in hub.__slots__]
    for name, value in (("host", ""), ("port", 0), ("secret", "x" * 44), ("device", "a b"),
                        ("ca", b""), ("owner", "x" * 65), ("host", 5)):  # fmt: skip
        bad = syncsettings.parse_hub(HUB.pack())
        setattr(bad, name, value)
        with pytest.raises(errors.BadInput):
            syncsettings.pair(h.j, bad, h.number)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_setting_or_damaged(data):
    for parse in (syncsettings.parse_hub, syncstate.parse_state):
        for start in (b"", b"\x01"):
            try:
                parse(start + data)
            except errors.Damaged:
                pass


def test_networks_by_priority(h):
    syncsettings.set_network(h.j, b"cafe", b"", 1)
    syncsettings.set_network(h.j, b"home", b"secret", 9)
    syncsettings.set_network(h.j, b"work", b"pass", 1)
    assert syncsettings.networks(h.boot().j) == [
        (9, b"home", b"secret"), (1, b"cafe", b""), (1, b"work", b"pass"),
    ]  # fmt: skip
    syncsettings.remove_network(h.j, b"cafe")
    with pytest.raises(errors.NotFound):
        syncsettings.remove_network(h.j, b"cafe")
    with pytest.raises(errors.BadInput):
        syncsettings.set_network(h.j, b"x" * 33, b"", 1)
    assert len(syncsettings.networks(h.j)) == 2


# --- at random -----------------------------------------------------------------------------------


def harm(rng):
    """An `answering`: answers get lost, cut, doubled, or are somebody else's.

    Not flipped: below TLS no bit changes unseen.
    """
    old = []

    def change(action, answer):
        if action[0] == "pause":
            return None
        roll = rng.random()
        if action[0] == "more":
            return None if roll < 0.05 else answer
        old.append(answer)
        if roll < 0.1:
            return 0, {}, "lost"
        if roll < 0.15:
            return rng.choice(old)
        if roll < 0.25 and answer[2]:
            return rng.choice((200, 302, 500, 413)), answer[1], rng.randbytes(rng.randrange(99))
        if roll < 0.3 and answer[2]:
            return answer[0], answer[1], answer[2][: rng.randrange(len(answer[2]))]
        return answer

    return change


def act(rng, h, n):
    key = rng.choice((CONTACT, NOTE)), b"r%d" % rng.randrange(12)
    roll = rng.random()
    if roll < 0.6:
        h.j.put(*key, text(n, rng.choice((30, 300, 1450, 2000))))
    elif roll < 0.7 and h.j.find_uid(*key):
        h.j.delete(*key)
    elif roll < 0.8:
        h.j.put(PHOTO, b"p%d" % rng.randrange(3), b"FN:p\n", (store_blob(h.j, text(n, 4500)),))
    elif roll < 0.9:
        h.boot()
    else:
        h.hub.edit(*key, text(n, 40), stamp=NOW + rng.randrange(1000))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1 << 32))
def test_whatever_happens_two_handsets_end_up_alike(seed):
    rng = random.Random(seed)
    hub = ToyHub()
    pair = [Handset(hub=hub, device="d%d" % n) for n in range(2)]
    for n in range(24):
        h = rng.choice(pair)
        h.clock.now += rng.randrange(100)
        act(rng, h, n)
        if rng.random() < 0.4:
            h.answering(harm(rng))
            h.sync()
    for _ in range(3):
        for h in pair:
            h.boot().answering(lambda action, answer: answer)
            for _ in range(9):
                h.clock.now += DAY
                if h.sync().state != WAITING:
                    break
                h.engine.accept()
    same(pair[0])
    same(pair[1])


def test_both_interpreters_sync_alike():
    assert len(run_both(SCRIPT, heap="4M")) > 20
