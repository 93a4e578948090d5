"""What the journal refuses and with which error; blobs and large bodies."""

import hashlib

import pytest
from pim_flash import Flash, blob, bodies, findings, noise, store_blob, text

from drybag import errors, layout
from drybag.layout import CONTACT, KIND_NAMES, MAX_BLOBS, NOTE, PHOTO

EXIT_CODES = {
    errors.DrybagError: 1, errors.BadInput: 3, errors.TooLarge: 3, errors.BadBlob: 3,
    errors.MissingBlob: 3, errors.NotFound: 4, errors.NoSpace: 5, errors.Damaged: 6,
    errors.FormatNewer: 7, errors.NotMountable: 7, errors.JournalClosed: 8,
}  # fmt: skip


def test_every_error_has_its_exit_code_and_says_so_in_the_docstring():
    classes = {c for c in vars(errors).values() if isinstance(c, type)}
    assert classes == set(EXIT_CODES)
    for cls, code in EXIT_CODES.items():
        assert cls.exit_code == code and issubclass(cls, errors.DrybagError)
        assert cls.__name__ in errors.__doc__


# --- sizes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 41, 42, 43, 199, 200])
def test_a_uid_of_any_allowed_length(flash, j, size):
    uid = noise(size, size)
    j.put(CONTACT, uid, b"short")
    j.put(NOTE, uid, text(1, 1500))
    for journal in (j, flash.copy().mount()):
        assert journal.get(CONTACT, uid).body == b"short"
        assert journal.get(NOTE, uid).body == text(1, 1500)
    j = flash.mount()
    j.delete(CONTACT, uid)
    assert bodies(flash.mount()) == {(NOTE, uid): text(1, 1500)}


@pytest.mark.parametrize("size", [0, 201, 1000])
def test_a_uid_out_of_bounds_is_refused(j, size):
    for call in (
        lambda: j.put(CONTACT, b"u" * size, b""),
        lambda: j.put_blob_body(CONTACT, b"u" * size, bytes(32), 3),
        lambda: j.batch([("put", CONTACT, b"u" * size, b"")]),
    ):
        with pytest.raises(errors.TooLarge, match="uid of %d bytes: 1 to 200" % size):
            call()


# every length around the boundaries: a unit, an entry, a blob chunk, a sector, the limit
SIZES = [0, 1, 20, 21, 22, 23, 39, 40, 41, 42, 43, 105, 106, 107, 1470, 1510, 1511, 1512, 1513,
         1514, 1515, 4031, 4032, 4033, 4095, 4096, 4097, 8064, 8065, 65535, 65536]  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
def test_a_body_of_any_allowed_length(flash, j, size):
    body = noise(size, size)
    j.put(NOTE, b"n", body)
    for journal in (j, flash.copy().mount()):
        record = journal.get(NOTE, b"n")
        assert record.body == body and record.body_size == size
        assert b"".join(bytes(piece) for piece in record.body_chunks()) == body
        assert max([len(p) for p in record.body_chunks()]) <= 4032
        assert [r.body for r in journal.records()] == [body]
    assert findings(journal)[-1]["damaged"] == 0


def test_a_body_over_the_limit_is_refused_by_name(flash, j):
    before = bytes(flash.memory)
    with pytest.raises(errors.TooLarge, match="body of 65537 bytes in my note: at most 65536"):
        j.put(NOTE, b"my note", b"x" * 65537)
    with pytest.raises(errors.TooLarge, match="65537"):
        j.put_blob_body(NOTE, b"my note", bytes(32), 65537)
    assert bytes(flash.memory) == before and j.count() == 0


@pytest.mark.parametrize("kind", [0, 8, -1, 255, None])
def test_an_unknown_kind_is_refused(j, kind):
    assert kind not in KIND_NAMES
    with pytest.raises(errors.BadInput, match="unknown kind"):
        j.put(kind, b"x", b"")


def test_a_large_body_replaces_and_is_replaced(flash, j):
    sectors = []
    for n, size in enumerate((9000, 10, 5000, 1600, 0, 65536)):
        j.put(NOTE, b"n", text(n, size))
        sectors.append(j.stats()["blob_sectors"])
        assert flash.copy().mount().get(NOTE, b"n").body == text(n, size)
    j.delete(NOTE, b"n")
    j.undelete(NOTE, b"n")
    assert j.get(NOTE, b"n").body == text(5, 65536)
    versions = j.history(NOTE, b"n")
    assert [len(v.body) for v in versions] == [65536, 0, 65536, 0, 1600, 5000, 10, 9000]
    assert sectors[0] == 3


# --- after the end -------------------------------------------------------------------------------


def calls_that_write(j):
    return [
        lambda: j.put(NOTE, b"x", b""),
        lambda: j.put(NOTE, b"x", b"x" * 9000),
        lambda: j.update(NOTE, b"f00000", b""),
        lambda: j.delete(NOTE, b"f00000"),
        lambda: j.batch([("delete", NOTE, b"f00000")]),
        lambda: j.batch([]),
        lambda: j.blob_writer(bytes(32), 10),
        lambda: j.checkpoint(),
        lambda: j.put_blob_body(NOTE, b"x", bytes(32), 10),
    ]


def test_a_closed_journal_reads_and_writes_nothing(flash):
    j = flash.mount()
    for n in range(80):
        j.put(NOTE, b"f%05d" % n, text(n, 400))
    j.close()
    before, held = bytes(flash.memory), bodies(j)
    for call in calls_that_write(j):
        with pytest.raises(errors.JournalClosed, match="closed"):
            call()
    j.close()
    assert findings(j)[-1]["records"] == 80 and not j.stats()["writable"]
    assert bytes(flash.memory) == before and len(held) == 80
    assert bodies(flash.mount()) == held


def test_a_flash_that_fails_closes_the_journal(flash, j):
    j.put(NOTE, b"f00000", b"kept")
    flash.nor.cut_at(1, "prefix")
    with pytest.raises(OSError):
        j.put(NOTE, b"y", b"")
    for call in calls_that_write(j):
        with pytest.raises(errors.JournalClosed, match="mount the journal again"):
            call()
    flash.nor.power_on()
    assert flash.mount().get(NOTE, b"f00000").body == b"kept"


def test_a_clean_shutdown_says_so_and_costs_nothing_when_repeated(flash, j):
    j.put(NOTE, b"x", b"1")
    j.close()
    after = bytes(flash.memory)
    for _ in range(5):
        j = flash.mount()
        assert j.report["clean"]
        j.close()
    assert bytes(flash.memory) == after
    j = flash.mount()
    j.put(NOTE, b"x", b"2")
    assert not flash.mount().report["clean"]
    assert flash.mount().get(NOTE, b"x").body == b"2"


# --- blobs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 63, 64, 4031, 4032, 4033, 40000])
def test_a_blob_of_any_length_comes_back(flash, j, size):
    data = noise(size, size)
    sha = store_blob(j, data, 777)
    j.put(PHOTO, b"p", b"FN:p\n", [sha])
    for journal in (j, flash.copy().mount()):
        assert journal.has_blob(sha) and journal.blob_size(sha) == size
        assert blob(journal, sha) == data
        assert journal.get(PHOTO, b"p").blobs == (sha,)
    assert findings(journal)[-1]["damaged"] == 0


def test_the_same_blob_is_stored_once(j):
    sha = store_blob(j, noise(1, 20000))
    sectors = j.stats()["blob_sectors"]
    j.put(PHOTO, b"p", b"", [sha])
    assert store_blob(j, noise(1, 20000)) == sha
    j.put(PHOTO, b"q", b"", [sha])
    assert j.stats()["blob_sectors"] == sectors == 5


def test_as_many_blobs_as_a_record_may_name(flash, j):
    shas = [store_blob(j, noise(n, 10 + n)) for n in range(MAX_BLOBS + 1)]
    most = shas[:MAX_BLOBS]
    j.put(CONTACT, b"small", b"FN:x\n", most, 5)
    j.put(CONTACT, b"large", text(1, 3000), most, 6)
    with pytest.raises(errors.TooLarge, match="%d blobs" % (MAX_BLOBS + 1)):
        j.put(CONTACT, b"too many", b"", shas)
    for journal in (j, flash.copy().mount()):
        assert journal.get(CONTACT, b"small").blobs == tuple(most)
        record = journal.get(CONTACT, b"large")
        assert (record.blobs, record.body, record.parent) == (tuple(most), text(1, 3000), 6)


def test_a_record_names_only_blobs_that_are_stored(j):
    sha = store_blob(j, b"there")
    with pytest.raises(errors.MissingBlob, match="x is not stored"):
        j.put(PHOTO, b"x", b"", [sha, bytes(32)])
    with pytest.raises(errors.MissingBlob):
        j.put_blob_body(NOTE, b"x", bytes(32), 100)
    with pytest.raises(errors.NotFound):
        j.blob_size(bytes(32))
    with pytest.raises(errors.NotFound):
        blob(j, bytes(32))
    assert not j.has_blob(bytes(32)) and j.count() == 0


@pytest.mark.parametrize("given", [b"", b"abc", b"abcdefghik", b"abcdefghijk", b"x" * 9000])
def test_bytes_that_are_not_the_blob_are_refused_and_forgotten(j, given):
    data = b"abcdefghij"
    writer = j.blob_writer(hashlib.sha256(data).digest(), len(data))
    with pytest.raises(errors.BadBlob):
        writer.write(given)
        writer.finish()
    assert not j.has_blob(hashlib.sha256(data).digest())
    assert j.stats()["blob_sectors"] == 0
    assert blob(j, store_blob(j, data)) == data


def test_an_aborted_blob_gives_its_sectors_back(j):
    free = j.free_bytes()
    writer = j.blob_writer(bytes(32), 50000)
    for _ in range(12):
        writer.write(bytes(4000))
    assert j.free_bytes() < free
    writer.abort()
    assert j.free_bytes() == free and j.stats()["blob_sectors"] == 0


def test_a_blob_larger_than_can_be_numbered_is_refused(j):
    with pytest.raises(errors.TooLarge, match="at most"):
        j.blob_writer(bytes(32), layout.MAX_BLOB_CHUNKS * layout.BLOB_DATA + 1)


def test_a_body_that_was_stored_before(flash, j):
    body = text(1, 30000)
    sha = store_blob(j, body)
    j.put_blob_body(NOTE, b"n", sha, len(body), (), 8)
    photo = store_blob(j, noise(1, 100))
    j.put_blob_body(CONTACT, b"c", sha, len(body), [photo])
    for journal in (j, flash.copy().mount()):
        assert journal.get(NOTE, b"n").body == body and journal.get(NOTE, b"n").parent == 8
        assert journal.get(CONTACT, b"c").blobs == (photo,)
    other = Flash(64).mount()
    other.put(NOTE, b"n", body, (), 8)
    assert layout.canonical(other.get(NOTE, b"n"))[:4] == layout.canonical(j.get(NOTE, b"n"))[:4]


def test_a_blob_that_no_record_named_before_the_boot_does_not_count(flash, j):
    sha = store_blob(j, noise(1, 9000))
    assert j.has_blob(sha)
    j = flash.mount()
    assert not j.has_blob(sha)  # a cut may have left its last cells marginal
    with pytest.raises(errors.MissingBlob):
        j.put(PHOTO, b"p", b"", [sha])
    store_blob(j, noise(1, 9000))
    j.put(PHOTO, b"p", b"", [sha])
    assert blob(flash.mount(), sha) == noise(1, 9000)


def test_a_deleted_photo_comes_back_while_it_is_there(flash, j):
    sha = store_blob(j, noise(1, 9000))
    j.put(PHOTO, b"p", b"FN:p\n", [sha])
    j.delete(PHOTO, b"p")
    j = flash.mount()
    j.undelete(PHOTO, b"p")
    j = flash.mount()
    assert j.get(PHOTO, b"p").blobs == (sha,) and blob(j, sha) == noise(1, 9000)
    j.delete(PHOTO, b"p")
    with pytest.raises(errors.NoSpace):
        for n in range(100):
            store_blob(j, noise(n, 20000))
    with pytest.raises(errors.NotFound, match="photo of p is gone"):
        j.undelete(PHOTO, b"p")
