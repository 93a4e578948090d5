"""What every blob store does; and the places that copies go to."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from hashlib import sha256

import pytest
from hub_servers import s3_url
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drybag.errors import BadBlob, BadInput, NotFound, TooLarge
from drybag_host.errors import Usage
from drybag_host.hub import blobs_s3, objects
from drybag_host.hub.blobstore import MAX_BLOB_BYTES, WrongOffset, open_blobs
from drybag_host.hub.objects import RemoteFailed, open_objects
from drybag_host.hub.storage import StorageBusy

PHOTO = random.Random(1).randbytes(300_000)
NAME = sha256(PHOTO).digest()


class LinkBroke(Exception):
    pass


def torn(data, at):
    """Pieces of `data` that stop after `at` bytes."""
    for start in range(0, at, 10_000):
        yield data[start : min(start + 10_000, at)]
    raise LinkBroke


def test_a_blob_goes_in_and_comes_out(blobs):
    assert blobs.have(NAME) == (0, False) and blobs.size(NAME) is None
    with pytest.raises(NotFound):
        blobs.open(NAME)
    assert blobs.append(NAME, len(PHOTO), 0, [PHOTO[:1000], PHOTO[1000:]]) == len(PHOTO)
    assert blobs.have(NAME) == (len(PHOTO), True) and blobs.size(NAME) == len(PHOTO)
    for offset in (0, 1, 262_144, len(PHOTO) - 1, len(PHOTO), len(PHOTO) + 5):
        assert b"".join(blobs.open(NAME, offset)) == PHOTO[offset:]
    assert blobs.read(NAME) == PHOTO and list(blobs.names()) == [NAME]
    # sent again, whole or from anywhere: it is there
    assert blobs.append(NAME, len(PHOTO), 0, [b"not looked at"]) == len(PHOTO)
    assert blobs.read(NAME) == PHOTO


def test_nobody_completes_what_somebody_else_began(blobs):
    assert blobs.append(NAME, len(PHOTO), 0, [PHOTO[:-1]], "ada1") == len(PHOTO) - 1
    assert blobs.have(NAME, "bob2") == blobs.have(NAME) == (0, False)
    assert blobs.have(NAME, "ada1") == (len(PHOTO) - 1, False)
    with pytest.raises(WrongOffset):
        blobs.append(NAME, len(PHOTO), len(PHOTO) - 1, [PHOTO[-1:]], "bob2")
    assert blobs.append(NAME, len(PHOTO), 0, [b"x" * 9], "bob2") == 9  # harms bob alone
    assert blobs.append(NAME, len(PHOTO), len(PHOTO) - 1, [PHOTO[-1:]], "ada1") == len(PHOTO)
    assert blobs.read(NAME) == PHOTO and list(blobs.names()) == [NAME]


def test_an_empty_blob_is_a_blob(blobs):
    name = sha256(b"").digest()
    assert blobs.append(name, 0, 0, []) == 0
    assert blobs.have(name) == (0, True) and blobs.read(name) == b""


def test_what_came_before_the_link_broke_is_kept(blobs, monkeypatch):
    monkeypatch.setattr(blobs_s3, "PIECE_BYTES", 65_536)
    have = 0
    for step in (70_001, 1, 150_000, 3):
        with pytest.raises(LinkBroke):
            blobs.append(NAME, len(PHOTO), have, torn(PHOTO[have:], step))
        have += step
        assert blobs.have(NAME) == (have, False) and blobs.size(NAME) is None
        for wrong in (0, have - 1, have + 1):
            with pytest.raises(WrongOffset) as caught:
                blobs.append(NAME, len(PHOTO), wrong, [PHOTO[wrong:]])
            assert caught.value.have == have
        if blobs.url != "memory:":
            blobs = open_blobs(blobs.url)  # another process
    assert list(blobs.names()) == []
    assert blobs.append(NAME, len(PHOTO), have, [PHOTO[have:-1]]) == len(PHOTO) - 1
    assert blobs.append(NAME, len(PHOTO), len(PHOTO) - 1, [PHOTO[-1:]]) == len(PHOTO)
    assert blobs.read(NAME) == PHOTO and blobs.have(NAME) == (len(PHOTO), True)


def test_bytes_of_another_name_are_dropped(blobs):
    with pytest.raises(BadBlob):
        blobs.append(NAME, len(PHOTO), 0, [PHOTO[:-1] + b"x"])
    assert blobs.have(NAME) == (0, False)
    with pytest.raises(LinkBroke):
        blobs.append(NAME, len(PHOTO), 0, torn(b"rubbish" * 9000, 50_000))
    with pytest.raises(BadBlob):
        blobs.append(NAME, len(PHOTO), 50_000, [PHOTO[50_000:]])
    assert blobs.have(NAME) == (0, False)
    with pytest.raises(BadBlob):
        blobs.append(NAME, len(PHOTO), 0, [PHOTO, b"more"])
    assert blobs.have(NAME) == (0, False) and list(blobs.names()) == []
    blobs.put(NAME, PHOTO)
    with pytest.raises(BadBlob):
        blobs.append(NAME, len(PHOTO) + 1, 0, [PHOTO + b"x"])
    assert blobs.read(NAME) == PHOTO


def test_another_size_than_before_begins_anew(blobs):
    data = b"short"
    name = sha256(data).digest()
    with pytest.raises(LinkBroke):
        blobs.append(name, 50_000, 0, torn(b"x" * 50_000, 20_000))
    with pytest.raises(WrongOffset) as caught:
        blobs.append(name, 5, 20_000, [data])
    assert caught.value.have == 0
    assert blobs.append(name, 5, 0, [data]) == 5


def test_names_are_32_bytes_and_sizes_are_sane(blobs):
    for name in (b"", b"../../../../etc/passwd", b"x" * 31, "a" * 32, "a" * 64, None, 5):
        for call in (blobs.have, blobs.size, blobs.open, lambda n: blobs.append(n, 1, 0, [b"x"])):
            with pytest.raises(BadInput):
                call(name)
    blobs.put(sha256(b"x").digest(), b"x")
    for size in (-1, MAX_BLOB_BYTES + 1, 1 << 40):
        with pytest.raises(TooLarge):
            blobs.append(NAME, size, 0, [b"x"])


def test_a_blob_that_rotted_is_not_handed_out_as_good(tmp_path):
    with open_blobs("dir:%s" % tmp_path) as blobs:
        blobs.put(NAME, PHOTO)
        path = tmp_path / NAME.hex()[:2] / NAME.hex()
        path.write_bytes(b"y" + PHOTO[1:])
        with pytest.raises(BadBlob, match="damaged"):
            blobs.read(NAME)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_pieces_make_the_blob(tmp_path_factory, data):
    body = data.draw(st.binary(max_size=20))
    name = sha256(body).digest()
    with open_blobs("dir:%s" % tmp_path_factory.mktemp("blobs")) as blobs:
        have = 0
        while not blobs.have(name)[1]:
            cut = data.draw(st.integers(min(have + 1, len(body)), len(body)))
            pieces = [body[have:cut]]
            have = blobs.append(name, len(body), have, pieces)
            assert have == cut and blobs.have(name)[0] == cut
        assert blobs.read(name) == body


def test_two_writers_of_one_blob_do_not_meet(tmp_path):
    with open_blobs("dir:%s" % tmp_path) as blobs:
        begun, go_on = threading.Event(), threading.Event()

        def slow():
            yield PHOTO[:1000]
            begun.set()
            go_on.wait(30)
            yield PHOTO[1000:]

        args = (NAME, len(PHOTO), 0, slow())
        thread = threading.Thread(target=blobs.append, args=args)
        thread.start()
        begun.wait(30)
        with pytest.raises(StorageBusy):
            blobs.append(NAME, len(PHOTO), 0, [b"bad" * 100_000])
        go_on.set()
        thread.join(30)
        assert blobs.read(NAME) == PHOTO


CHILD = """
import os, sys
from hashlib import sha256
from drybag_host.hub.blobstore import open_blobs
blobs = open_blobs(sys.argv[1])
os.write(1, b"ready\\n")
n = 0
while True:
    n += 1
    data = b"%d" % n * 20000
    blobs.put(sha256(data).digest(), data)
    os.write(1, b"%d\\n" % n)
"""


def test_a_killed_writer_leaves_whole_blobs(tmp_path):
    url = "dir:%s" % tmp_path
    path = os.pathsep.join(p for p in sys.path if p)
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, url], stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert process.stdout.readline() == b"ready\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGKILL)
    last = int((process.stdout.read().split() or [b"0"])[-1])
    process.wait()
    with open_blobs(url) as blobs:
        names = set(blobs.names())
        for n in range(1, last + 1):
            data = b"%d" % n * 20000
            assert blobs.read(sha256(data).digest()) == data
        assert last > 0 and len(names) in (last, last + 1)
        assert all(blobs.read(name) for name in names)


def test_a_place_holds_whole_objects(place_url):
    place = open_objects(place_url)
    assert place.get("a/b.json") is None and place.size("a/b.json") is None
    assert place.open("a/b.json") is None and place.list() == []
    assert place.put("a/b.json", b"one") and place.put("a/c", b"x" * 600_000)
    assert place.put("a/b.json", b"two")
    assert place.put("a/b.json", b"three", fresh=True) is False
    assert place.put("a/d", b"new", fresh=True) is True
    assert place.get("a/b.json") == b"two" and place.size("a/c") == 600_000
    assert b"".join(place.open("a/c", 599_990)) == b"x" * 10
    assert b"".join(place.open("a/c", 600_000)) == b""
    assert place.list("a") == [("a/b.json", 3), ("a/c", 600_000), ("a/d", 3)]
    assert place.list() == place.list("a") and place.list("nothing") == []
    place.delete("a/c")
    place.delete("a/c")
    assert place.list("a") == [("a/b.json", 3), ("a/d", 3)]
    for name in ("../x", "/etc/passwd", "a//b", ".hidden", "a/../b", "", "a b"):
        with pytest.raises(ValueError):
            place.put(name, b"")


def test_many_objects_are_all_listed(s3, monkeypatch):
    monkeypatch.setattr(objects, "PAGE_OBJECTS", 4)
    place = open_objects(s3_url(s3, prefix=""))
    for number in range(18):
        place.put("n/%04d" % number, b"")
    assert [name for name, _ in place.list("n")] == ["n/%04d" % number for number in range(18)]


def test_a_store_that_is_not_there_is_named(s3, monkeypatch):
    with pytest.raises(RemoteFailed, match="NoSuchBucket"):
        open_objects("s3://nothing-here/x?endpoint=" + s3).put("a", b"")
    with pytest.raises(RemoteFailed) as caught:
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        open_objects("s3://bucket/x?endpoint=http://127.0.0.1:1").put("a", b"")
    assert "127.0.0.1" in str(caught.value)
    for url in ("s3://", "s3://b/x?what=1", "s3://key:secret@b/x",
                "s3://b/x?endpoint=http://example.org", "https://example.org/x", ""):  # fmt: skip
        with pytest.raises(Usage):
            open_objects(url)
    for url in ("", "dir:", "/just/a/path", "http://x"):
        with pytest.raises(Usage):
            open_blobs(url)
