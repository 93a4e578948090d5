"""A full flash: what is refused, with what number, what goes on working, how space comes back."""

import pytest
from pim_flash import Flash, blob, bodies, fill, findings, noise, store_blob, text

from drybag import errors
from drybag.layout import CONTACT, NOTE, PHOTO

SIZES = (16, 18, 24, 64)
FILLINGS = [(16, 0), (16, 1480), (18, 100), (18, 700), (24, 0), (24, 300), (24, 1480), (64, 700)]
ROUND_TRIPS = 6


def photos(j, size=9000, limit=1000):
    """Store photos until there is no space: {uid: data}."""
    done = {}
    for n in range(limit):
        uid, data = b"p%04d" % n, noise(n, size)
        try:
            j.put(PHOTO, uid, b"FN:p\n", [store_blob(j, data)])
        except errors.NoSpace:
            return done
        done[uid] = data
    raise AssertionError("%d photos and never full" % limit)


def refusal(call, *args):
    """missing_bytes of the refusal, which must leave everything as it was."""
    with pytest.raises(errors.NoSpace) as caught:
        call(*args)
    assert caught.value.missing_bytes > 0
    assert str(caught.value.missing_bytes) in str(caught.value)
    assert "delete" in str(caught.value)
    return caught.value.missing_bytes


def entry_bytes(uid, body):
    return (22 + len(uid) + len(body) + 63) // 64 * 64


@pytest.mark.parametrize(("sectors", "size"), FILLINGS)
def test_all_that_was_accepted_is_there_and_the_rest_is_refused(sectors, size):
    flash = Flash(sectors)
    j = flash.mount()
    held = {(NOTE, uid): body for uid, body in fill(j, size).items()}
    assert len(held) >= 3 and j.free_bytes() < 4096
    refusal(j.put, NOTE, b"one more", text(0, max(size, 200)))
    refusal(j.put, NOTE, b"large", text(0, 60000))
    refusal(j.batch, [("put", NOTE, b"b%d" % n, text(0, 1400)) for n in range(40)])
    for _ in range(3):
        assert bodies(j) == held and j.count() == len(held)
        assert findings(j)[-1]["damaged"] == 0
        assert j.digest()[0] == len(held)
        assert len(list(j.changes(0))) == len(held)
        j = flash.mount()
        assert j.report["read_only"] is None


def test_a_full_mebibyte():
    flash = Flash(256)
    j = flash.mount()
    held = {(NOTE, uid): body for uid, body in fill(j, 1200).items()}
    stored = sum(entry_bytes(uid, body) for (_, uid), body in held.items())
    assert stored > 0.5 * 256 * 4096
    for n in range(0, 200, 2):
        j.delete(NOTE, b"f%05d" % n)
        del held[NOTE, b"f%05d" % n]
    for n in range(60):
        j.put(CONTACT, b"c%d" % n, text(n, 1200))
        held[CONTACT, b"c%d" % n] = text(n, 1200)
    assert bodies(j) == bodies(flash.mount()) == held


@pytest.mark.parametrize(("sectors", "size"), FILLINGS)
def test_missing_bytes_is_enough_to_free(sectors, size):
    j = Flash(sectors).mount()
    held = list(fill(j, size).items())
    for body in (text(7, 1480), text(8, 300)):
        try:
            j.put(NOTE, b"new", body)
            continue
        except errors.NoSpace as error:
            missing = error.missing_bytes
        freed = 0
        while freed < missing and held:
            uid, old = held.pop()
            j.delete(NOTE, uid)
            freed += entry_bytes(uid, old)
        j.put(NOTE, b"new", body)
        assert j.get(NOTE, b"new").body == body


@pytest.mark.parametrize("sectors", [24, 64])
def test_missing_bytes_of_a_photo_and_of_a_batch(sectors):
    j = Flash(sectors).mount()
    held = list(fill(j, 400).items())
    for call in (
        lambda: store_blob(j, noise(1, 9000)),
        lambda: j.batch([("put", NOTE, b"b%d" % n, text(n, 500)) for n in range(12)]),
    ):
        missing = refusal(call)
        while missing > 0:
            uid, old = held.pop()
            j.delete(NOTE, uid)
            missing -= entry_bytes(uid, old)
        call()


@pytest.mark.parametrize("sectors", SIZES)
def test_deletes_and_undeletes_work_when_full(sectors):
    flash = Flash(sectors)
    j = flash.mount()
    held = fill(j, 700)
    uids = sorted(held)
    j.delete(NOTE, uids[0])
    assert j.undelete(NOTE, uids[0]) == j.last_seq
    for n, uid in enumerate(uids):
        if n % 3 == 1:
            j = flash.mount()
        j.delete(NOTE, uid)
        del held[uid]
        if n % 5 == 4:
            assert bodies(flash.copy().mount()) == {(NOTE, u): b for u, b in held.items()}
    assert j.count() == 0 and bodies(flash.mount()) == {}


@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("sectors", [16, 24])
def test_a_full_flash_survives_any_number_of_boots(sectors, clean):
    flash = Flash(sectors)
    j = flash.mount()
    held = {(NOTE, uid): body for uid, body in fill(j, 400).items()}
    for n in range(60):
        if clean:
            j.close()
        j = flash.mount()
        assert j.report["read_only"] is None and j.report["clean"] is clean
        if n % 10 == 9:
            uid = min(held)[1]
            j.delete(NOTE, uid)
            del held[NOTE, uid]
    assert bodies(j) == held
    assert len(fill(j, 400, prefix=b"g")) >= 1


@pytest.mark.parametrize("sectors", [16, 24])
def test_an_update_of_the_same_length_is_accepted_when_full_or_refused_without_loss(sectors):
    flash = Flash(sectors)
    j = flash.mount()
    held = {(NOTE, uid): body for uid, body in fill(j, 200).items()}
    for n, key in enumerate(sorted(held) * 3):
        try:
            j.put(*key, text(n, 200))
            held[key] = text(n, 200)
        except errors.NoSpace:
            if key in held:
                j.delete(*key)
                del held[key]
    assert bodies(j) == bodies(flash.mount()) == held


@pytest.mark.parametrize("sectors", [18, 24, 64])
def test_space_comes_back_every_time(sectors):
    flash = Flash(sectors)
    j = flash.mount()
    free, counts = j.free_bytes(), []
    for turn in range(ROUND_TRIPS):
        held = fill(j, 100 + 300 * (turn % 3), prefix=b"%d-" % turn)
        counts.append(len(held))
        for uid in held:
            j.delete(NOTE, uid)
        assert j.free_bytes() == free
        if turn % 2:
            j = flash.mount()
    assert counts[:3] == counts[3:]
    assert bodies(flash.mount()) == {}


@pytest.mark.parametrize("sectors", [24, 64])
def test_photos_fill_and_give_back(sectors):
    flash = Flash(sectors)
    j = flash.mount()
    counts = []
    for turn in range(ROUND_TRIPS):
        held = photos(j)
        counts.append(len(held))
        if turn % 2:
            j = flash.mount()
        for uid, data in held.items():
            assert blob(j, j.get(PHOTO, uid).blobs[0]) == data
        assert findings(j)[-1]["damaged"] == 0
        for uid in held:
            j.delete(PHOTO, uid)
    assert counts[0] >= 1 and len(set(counts)) == 1
    assert len(fill(j, 400)) > 0


@pytest.mark.parametrize("sectors", [24, 64])
def test_records_get_the_space_of_deleted_photos(sectors):
    before = len(fill(Flash(sectors).mount(), 400))
    flash = Flash(sectors)
    j = flash.mount()
    for uid in photos(j):
        j.delete(PHOTO, uid)
    assert len(fill(j, 400)) >= before - 9


@pytest.mark.parametrize("sectors", [24, 64])
def test_replaced_large_bodies_give_their_space_back(sectors):
    flash = Flash(sectors)
    j = flash.mount()
    for n in range(200):
        j.put(NOTE, b"n", text(n, 20000))
        if n % 50 == 49:
            j = flash.mount()
    assert bodies(j) == {(NOTE, b"n"): text(199, 20000)}
    assert j.stats()["blob_sectors"] <= sectors - 8


@pytest.mark.parametrize("sectors", SIZES)
def test_a_photo_larger_than_the_flash_is_refused_before_a_byte_is_written(sectors):
    flash = Flash(sectors)
    j = flash.mount()
    j.put(NOTE, b"n", b"kept")
    before = bytes(flash.memory)
    missing = refusal(j.blob_writer, bytes(32), sectors * 4096)
    assert missing < sectors * 4096
    assert bytes(flash.memory) == before
    assert j.get(NOTE, b"n").body == b"kept"


def test_the_largest_photo_that_is_promised_fits():
    flash = Flash(64)
    j = flash.mount()
    low, high = 0, 64 * 4096
    while high - low > 4032:  # the size at which the writer begins to refuse
        size = (low + high) // 2
        try:
            j.blob_writer(bytes(32), size).abort()
            low = size
        except errors.NoSpace:
            high = size
    j.put(PHOTO, b"p", b"", [store_blob(j, noise(1, low), 4032)])
    j = flash.mount()
    assert blob(j, j.get(PHOTO, b"p").blobs[0]) == noise(1, low)
    assert low > 32 * 4096


def test_free_bytes_is_about_what_can_be_put():
    for size in (100, 1400):
        j = Flash(64).mount()
        promised = j.free_bytes()
        put = sum(entry_bytes(uid, body) for uid, body in fill(j, size).items())
        assert 0.6 * promised < put <= 1.05 * promised


def test_a_checkpoint_of_a_full_flash_leaves_it_working():
    flash = Flash(32)
    j = flash.mount()
    held = {(NOTE, uid): body for uid, body in fill(j, 10).items()}
    assert len(held) > 480  # so many that a checkpoint needs more than the reserve
    for _ in range(4):
        j.checkpoint()
    for uid in list(held)[:5]:
        j.delete(*uid)
        del held[uid]
    j.checkpoint()
    j = flash.mount()
    assert j.report["read_only"] is None
    assert bodies(j) == held
    j.delete(*min(held))


def test_a_batch_of_deletes_works_on_a_full_flash():
    flash = Flash(24)
    j = flash.mount()
    uids = list(fill(j, 300))
    j.batch([("delete", NOTE, uid) for uid in uids[:30]])
    j = flash.mount()
    assert j.count() == len(uids) - 30
    assert fill(j, 300, prefix=b"again")


def test_a_photo_whose_undelete_was_refused_still_gives_its_space_back():
    flash = Flash(24)
    j = flash.mount()
    j.put(PHOTO, b"p", b"FN:p\n", [store_blob(j, noise(1, 9000))])
    j.delete(PHOTO, b"p")
    j = flash.mount()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(j._compactor, "admit", no_space)
        with pytest.raises(errors.NoSpace):
            j.undelete(PHOTO, b"p")
    assert j._blobs.sweep() == 3


def no_space(*args):
    raise errors.NoSpace("full", 4096)
