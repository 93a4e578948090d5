"""Room for recovery: whatever comes and goes, each boot finds a sector to copy the tail to."""

import hashlib
import random

import pytest
from pim_flash import EPOCH, Flash, blob, bodies, noise, store_blob, text

from drybag import errors
from drybag.layout import BLOB, CONTACT, NOTE, PHOTO, pack_blob_header, parse_prefix
from drybag.pool import FREE, Pool
from drybag_host.emulator.rom.prng import Rng


def boots_again(flash, live, times=3):
    """So many boots without a shutdown, each of which must leave a journal that can be written."""
    flash = flash.copy()
    for _ in range(times):
        j = flash.mount()
        assert j.report["read_only"] is None
        assert j._log.pool.free >= 2
    found = bodies(j)
    assert found == live
    try:
        j.put(CONTACT, b"probe", text(1, 300))
    except errors.NoSpace:
        if live:
            j.delete(*min(live))
    assert flash.mount().report["read_only"] is None


def put(j, live, kind, uid, body, *rest):
    """True if there was room."""
    try:
        j.put(kind, uid, body, *rest)
    except errors.NoSpace:
        return False
    live[kind, uid] = body
    return True


def test_large_bodies_that_come_and_go_leave_recovery_its_sector():
    """The same order of puts and deletes made a journal read-only for good at its 55th step."""
    flash, rng, live = Flash(24), Rng(388), {}
    j = flash.mount()
    for n in range(64):
        what = rng.below(100)
        if what < 30:
            put(j, live, NOTE, b"big%d" % rng.below(3), text(n, 1700))
        elif what < 60:
            key = NOTE, b"big%d" % rng.below(3)
            if live.pop(key, None):
                j.delete(*key)
        else:
            put(j, live, CONTACT, b"k%d" % rng.below(8), text(n, 1300))
        boots_again(flash, live)


@pytest.mark.parametrize("seed", range(6))
def test_photos_and_large_bodies_on_a_nearly_full_flash(seed):
    """Boots in between too, so that what was let go comes back as blobs; deletes always work."""
    rng = random.Random(seed)
    flash, live = Flash(rng.randint(16, 28)), {}
    j = flash.mount()
    for n in range(90):
        what = rng.random()
        if what < 0.4:
            for _ in range(rng.randint(1, 4)):
                body = text(n, rng.choice([0, 300, 1400, 1700, 5000, 9000]))
                put(j, live, rng.randint(1, 4), b"k%d" % rng.randrange(6), body)
        elif what < 0.6:
            try:
                sha = store_blob(j, noise(n, rng.randint(0, 9000)))
            except errors.NoSpace:
                continue
            put(j, live, PHOTO, b"p%d" % rng.randrange(3), b"FN:%d\n" % n, [sha])
        elif what < 0.8 and live:
            key = rng.choice(sorted(live))
            j.delete(*key)
            del live[key]
        elif what < 0.9:
            sizes = rng.choices([9, 700, 3000], k=3)
            ops = [("put", NOTE, b"b%d" % i, text(n, size)) for i, size in enumerate(sizes)]
            try:
                j.batch(ops)
            except errors.NoSpace:
                continue
            live.update({(op[1], op[2]): op[3] for op in ops})
        else:
            j = flash.mount()
            assert j.report["read_only"] is None
        if n % 3 == 0:
            boots_again(flash, live)


@pytest.mark.parametrize("seed", [0, 5, 11, 26])
def test_records_that_are_put_while_blobs_come_in(seed):
    """Room is made when a blob is begun: what others take meanwhile must not be missing later."""
    rng = random.Random(seed)
    flash, live, writers = Flash(rng.randint(16, 40)), {}, []
    j = flash.mount()
    for n in range(120):
        what = rng.random()
        if what < 0.1 and len(writers) < 3:
            data = noise(n, rng.randint(4000, 40000))
            try:
                writer = j.blob_writer(hashlib.sha256(data).digest(), len(data))
            except errors.NoSpace:
                continue
            writers.append([writer, data])
        elif what < 0.5 and writers:
            chosen = rng.choice(writers)
            size = rng.randint(1, 9000)
            try:
                chosen[0].write(chosen[1][:size])
                chosen[1] = chosen[1][size:]
                if not chosen[1]:
                    chosen[0].finish()
                    writers.remove(chosen)
            except errors.NoSpace:
                writers.remove(chosen)
        elif what < 0.95 or not live:
            put(j, live, CONTACT, b"k%d" % rng.randrange(60), text(n, rng.randint(0, 1500)))
        else:
            key = rng.choice(sorted(live))
            j.delete(*key)
            del live[key]
        if n % 4 == 0:
            boots_again(flash, live)


def test_what_a_sweep_lets_go_is_taken_first_and_free_sectors_stay_free(monkeypatch):
    flash = Flash(24)
    j = flash.mount()
    pool, taken = j._log.pool, []

    def take(self, *args):
        sector = real(self, *args)
        taken.append(sector)
        return sector

    j.put(NOTE, b"n", text(1, 12000))
    j.put(NOTE, b"n", text(2, 12000))
    erased = flash.memory.count(b"\xff" * 4080)
    real = Pool.take
    monkeypatch.setattr(Pool, "take", take)
    assert pool.free >= 3 and j._blobs.sweep() == pool.stale == 3
    assert flash.memory.count(b"\xff" * 4080) == erased  # there were enough: nothing is erased
    stale = [n for n in flash.segments(BLOB) if pool.number[n] >> 12 == 1]
    free = pool.free
    j.put(NOTE, b"m", text(3, 9000))
    assert sorted(taken) == sorted(stale) and pool.free == free and not pool.stale


def test_a_sweep_with_too_few_free_sectors_erases_what_it_lets_go():
    flash = Flash(24)
    j = flash.mount()
    pool = j._log.pool
    j.put(NOTE, b"n", text(1, 12000))
    j.delete(NOTE, b"n")
    while pool.free > 1:
        sector = pool._next(FREE)
        pool.retire(sector)
    assert j._blobs.sweep() == 3
    assert (pool.free, pool.stale) == (3, 1)
    on_flash = [parse_prefix(flash.memory[s * 4096 : s * 4096 + 16])[1] for s in range(24)
                if pool.state[s] == FREE]  # fmt: skip
    assert BLOB not in on_flash


def test_recovery_without_any_sector_writes_nothing_and_serves_what_it_read(monkeypatch):
    """Not even over blobs that no record names: its last entry may read otherwise at the next
    boot, and then name one of them, or bring back a record that does."""
    flash = Flash(24)
    j = flash.mount()
    held = {}
    while put(j, held, NOTE, b"n%d" % len(held), text(len(held), 1400)):
        pass
    pool = j._log.pool
    for sector in range(24):
        if pool.state[sector] == FREE:
            unnamed = pack_blob_header(EPOCH, 77 << 12 | sector, bytes(32), 4032 * 99, 4032, 0)
            flash.harm(sector * 4096, unnamed)
    before = bytes(flash.memory)
    monkeypatch.setattr(Pool, "_grow", lambda pool, head: -1)  # LittleFS has no more
    j = flash.mount()
    assert j.report["read_only"] and bodies(j) == held
    with pytest.raises(errors.JournalClosed):
        j.put(NOTE, b"n", b"x")
    assert bytes(flash.memory) == before


STATES = ("clean", "prefix", "bits", "neighbour", "erase-none", "erase-zeroed", "erase-partial",
          "unstable")  # fmt: skip


def mounted(flash, rng):
    """The journal after boots, up to three of which power cuts as well."""
    for _ in range(rng.choice([0, 0, 1, 3])):
        flash.nor.cut_at(rng.randint(1, 40), rng.choice(STATES), rng.randrange(10**6))
        try:
            flash.mount()
        except (OSError, errors.DrybagError):
            assert flash.nor.dead
        flash.nor.power_on()
    j = flash.mount()
    assert j.report["read_only"] is None
    return j


def change(rng, j, n, after):
    """One change, of which `after` is told before it is asked for."""
    what = rng.random()
    if what < 0.2 and after:
        key = rng.choice(sorted(after))
        del after[key]
        j.delete(*key)
    elif what < 0.4:
        key = PHOTO, b"p%d" % rng.randrange(2)
        sha = store_blob(j, noise(n, rng.randint(0, 6000)))
        after[key] = b"FN:%d\n" % n
        j.put(*key, after[key], [sha])
    else:
        key = rng.randint(1, 4), b"k%d" % rng.randrange(4)
        after[key] = text(n, rng.choice([0, 700, 1400, 1700, 5000]))
        j.put(*key, after[key])


@pytest.mark.parametrize("seed", range(8))
def test_lives_with_cuts_in_every_kind_of_command(seed):
    rng = random.Random(seed)
    flash, live = Flash(rng.randint(18, 26)), {}
    j = flash.mount()
    for n in range(150):
        after = dict(live)
        if n % 4 == 3:
            flash.nor.cut_at(rng.randint(1, 250), rng.choice(STATES), rng.randrange(10**6))
        try:
            change(rng, j, n, after)
            live = after
        except errors.NoSpace:
            assert len(after) >= len(live)  # a delete is never refused
        except (OSError, errors.DrybagError):
            assert flash.nor.dead
        if flash.nor.dead:
            flash.nor.power_on()
            j = mounted(flash, rng)
            assert bodies(j) in (live, after)
            live = bodies(j)
            for record in j.records(PHOTO):
                assert hashlib.sha256(blob(j, record.blobs[0])).digest() == record.blobs[0]
    assert bodies(mounted(flash, rng)) == live
