"""The off-site copy: shipped soon, never in the way, and enough to make the hub anew."""

import os
import random
import threading
import time
from hashlib import sha256

import pytest
from hub_life import Life
from hub_servers import postgres_url, s3_url
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drybag.errors import FormatNewer, NotFound
from drybag_host.errors import HostFile, NoSuchTarget, Usage
from drybag_host.hub import checking, offsite, segments, stats
from drybag_host.hub.blobstore import MemoryBlobs
from drybag_host.hub.memory import MemoryStorage
from drybag_host.hub.objects import RemoteFailed, open_objects
from drybag_host.hub.offsite import Offsite, shipped_lsn, start_offsite, status
from drybag_host.hub.restoring import HubNotEmpty, restore_from
from drybag_host.hub.storage import hub_id, open_storage


def ship(life, url):
    """An off-site copy that is up to date, without its thread."""
    copies = Offsite(url, life.storage, life.blobs)
    try:
        while copies.step():
            pass
    finally:
        copies._give_up_lease()
    return copies


def restored(url, **how):
    """(Life of a hub made from a copy, report)."""
    again = Life()
    report = restore_from(url, again.storage, again.blobs, **how)
    return again, report


def test_a_hub_is_made_anew_from_a_store(s3):
    made_anew(s3_url(s3), MemoryStorage())


def test_a_hub_is_made_anew_from_a_folder(tmp_path, storage):
    made_anew("dir:%s" % tmp_path, storage)


def made_anew(place_url, storage):
    life = Life(storage).write(10, blob=True).write(5, owner="bob ü/..")
    ship(life, place_url)
    life.write(3, blob=True)
    copies = ship(life, place_url)
    assert copies._shipped >= life.lsn and copies.error == ""
    again, report = restored(place_url)
    assert report.whole and report.findings == [] and report.segments == 2
    assert (report.owners, report.versions, report.records) == (2, 18, 12)
    assert again.rows() == life.rows()
    assert set(again.blobs.names()) == set(life.blobs.names())
    assert all(again.blobs.read(name) == life.blobs.read(name) for name in life.blobs.names())
    assert hub_id(again.storage) not in (hub_id(storage), "")
    assert report.old_hub == hub_id(storage)
    assert checking.check(again.storage, again.blobs).findings == []


def test_what_a_commit_wrote_is_off_site_a_moment_later(tmp_path):
    life = Life()
    with start_offsite("dir:%s" % tmp_path, life.storage, life.blobs) as copies:
        life.write(3)
        started = time.monotonic()
        assert copies.wait(life.lsn, 30)
        assert time.monotonic() - started < 5
        life.write(1)
        copies.poke()
        deadline = time.monotonic() + 30
        while shipped_lsn(life.storage) < life.lsn and time.monotonic() < deadline:
            time.sleep(0.02)
        assert shipped_lsn(life.storage) == life.lsn
        key = ("d" * 16, 1, 1)
        assert life.storage.get("offsite", [key])[0]["ack"] == 4
        shown = status(life.storage)
        assert shown["error"] == "" and shown["lsn"] == life.lsn and shown["at_ms"] > 0
        assert not copies.wait(life.lsn + 1000, 0.1)
    assert restored("dir:%s" % tmp_path)[1].versions == 4


def test_a_place_that_fails_costs_nothing_but_time(tmp_path, monkeypatch):
    monkeypatch.setattr(offsite, "BACKOFF_S", (0.01, 0.05))
    life = Life().write(2)
    place = tmp_path / "place"
    url = "dir:%s" % place
    ship(life, url)
    os.rename(place, tmp_path / "unplugged")  # and the mount point is an empty folder now
    with start_offsite(url, life.storage, life.blobs) as copies:
        life.write(2)
        assert not copies.wait(life.lsn, 0.5)
        assert "is the disk mounted?" in status(life.storage)["error"]
        assert not list(place.glob("log/*/*.jsonl"))
        place.rename(tmp_path / "empty")
        os.rename(tmp_path / "unplugged", place)
        assert copies.wait(life.lsn, 30)
    assert status(life.storage)["error"] == ""
    assert restored(url)[0].rows() == life.rows()


def test_a_copy_that_is_lost_is_shipped_again(tmp_path):
    life = Life().write(4, blob=True)
    url = "dir:%s" % (tmp_path / "place")
    ship(life, url)
    os.rename(tmp_path / "place", tmp_path / "burnt")
    life.write(1)
    with pytest.raises(RemoteFailed, match="mounted"):
        ship(life, url)
    offsite.forget(life.storage)
    ship(life, url)
    assert restored(url)[0].rows() == life.rows()
    # another place: everything again, and no word of what is not there
    other = Offsite("dir:%s" % (tmp_path / "other"), life.storage, life.blobs)
    assert other._shipped == 0
    ship(life, "dir:%s" % (tmp_path / "other"))
    assert restored("dir:%s" % (tmp_path / "other"))[0].rows() == life.rows()


@pytest.mark.parametrize("stop", ["place.put", "storage.commit"])
def test_a_crash_at_any_step_of_shipping(tmp_path, stop, monkeypatch):
    """After each write to the place or to the storage the process is gone; the next goes on."""

    class Crash(BaseException):
        pass

    url = "dir:%s" % tmp_path
    life = Life()
    for steps in range(1, 9):
        life.write(2, blob=True)
        copies = Offsite(url, life.storage, life.blobs)
        copies._place, copies._remote = open_objects(url), offsite.open_place_blobs(url)
        target, name = {
            "place.put": (copies._place, "put"), "storage.commit": (life.storage, "commit"),
        }[stop]  # fmt: skip
        left, real = [steps], getattr(target, name)

        def call(*args, left=left, real=real, **how):
            out = real(*args, **how)
            left[0] -= 1
            if not left[0]:
                raise Crash
            return out

        with monkeypatch.context() as patch:
            patch.setattr(target, name, call)
            try:
                while copies.step():
                    pass
            except Crash:
                pass
        offsite_lease_over(life.storage)
    ship(life, url)
    again, report = restored(url)
    assert report.findings == [] and report.whole and again.rows() == life.rows()
    assert len(segments.lines_of(open_objects(url))) == 1


def offsite_lease_over(storage):
    storage.commit([("local", {"name": offsite.LEASE, "value": '{"holder": "", "until": 0}'})])


def test_a_database_that_was_set_back_begins_a_line_of_its_own(tmp_path):
    url = "dir:%s" % tmp_path
    life = Life().write(5)
    ship(life, url)
    yesterday = Life(life.storage.copy())
    life.write(5)
    ship(life, url)
    yesterday.write(9, kind=2)  # another history under the same numbers
    ship(yesterday, url)
    assert [line.number for line in segments.lines_of(open_objects(url))] == [1, 2]
    again, report = restored(url)
    assert again.rows() == yesterday.rows() and report.others == ["%s-1" % report.old_hub]


def test_of_two_hub_processes_one_ships(postgres, tmp_path):
    url = "dir:%s" % tmp_path
    with postgres_url(postgres) as database, open_storage(database) as one:
        with open_storage(database) as other:
            life = Life(one)
            with start_offsite(url, one, life.blobs) as first:
                life.write(1)
                assert first.wait(life.lsn, 30)
                with start_offsite(url, other, life.blobs) as second:
                    life.write(20)
                    assert second.wait(life.lsn, 30)
            again, report = restored(url)
            assert report.findings == [] and again.rows() == life.rows()


def test_after_a_kill_the_next_process_ships_at_once(tmp_path):
    database = "sqlite:%s" % (tmp_path / "hub.sqlite3")
    with open_storage(database) as storage:
        Offsite("dir:%s" % tmp_path, storage, MemoryBlobs())._lease()  # and never gave it back
    with open_storage(database, serve=True) as storage:
        life = Life(storage).write(1)
        copies = Offsite("dir:%s" % (tmp_path / "away"), storage, life.blobs)
        assert copies.step() == "done"
    with open_storage(database) as storage:
        copies = Offsite("dir:%s" % (tmp_path / "away"), storage, life.blobs)
        assert copies.step() == ""  # another process may be at it
        now = time.time()
        copies.clock = lambda: now + offsite.LEASE_S + 1
        life.storage = storage
        life.write(1)
        assert copies.step() == "done"


def test_a_blob_that_is_lost_here_does_not_hold_up_the_rest(tmp_path):
    url = "dir:%s" % tmp_path
    life = Life().write(3, blob=True)
    name = next(life.blobs.names())
    del life.blobs._whole[name.hex()]
    ship(life, url)
    assert [row["what"] for row in life.storage.scan("audits")] == [offsite.NOT_SHIPPED]
    assert any("not off-site: 1 photo:" in a for a in stats.collect(life.storage, 1)["alarms"])
    again, report = restored(url)
    assert len(report.findings) == 1 and name.hex() in report.findings[0]
    mine, theirs = life.rows(), again.rows()
    assert name in [row["sha"] for row in mine.pop("blobs")]
    assert name not in [row["sha"] for row in theirs.pop("blobs")]  # handsets are asked for it
    assert theirs == mine


@pytest.mark.parametrize("error", (RemoteFailed("no network"), HostFile("too many open files")))
def test_a_blob_that_cannot_be_read_just_now_is_waited_for(tmp_path, monkeypatch, error):
    """Nothing counts as off-site whose photo is not there."""
    life = Life().write(3, blob=True)
    place = "dir:%s" % tmp_path

    def fails(sha):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(life.blobs, "read", fails)
        with pytest.raises(type(error)):
            ship(life, place)
    assert not shipped_lsn(life.storage) and not life.storage.counts("audits")
    ship(life, place)
    assert restored(place)[1].findings == []


def packed(place_url, monkeypatch):
    """(Life, its Line) of 20 segments in three packs and two files."""
    monkeypatch.setattr(offsite, "PACK", 6)
    life = Life()
    for _ in range(20):
        ship(life.write(1), place_url)
    line = segments.lines_of(open_objects(place_url))[-1]
    single, packs = line._files()
    assert [(first, last) for first, last, _ in packs] == [(1, 6), (7, 12), (13, 18)]
    assert single == {19, 20} and line.numbers() == list(range(1, 21))
    again, report = restored(place_url)
    assert report.findings == [] and report.whole and report.segments == 20
    assert again.rows() == life.rows()
    return life, line


def test_many_small_segments_are_put_together(s3, monkeypatch):
    packed(s3_url(s3), monkeypatch)


def test_a_damaged_pack_costs_what_is_damaged(tmp_path, monkeypatch):
    url = "dir:%s" % tmp_path
    life, line = packed(url, monkeypatch)
    for number in (1, 18):  # a crash between writing a pack and letting the segments go
        line.place.put(line.file(number), line.read(number).pack())
    assert restored(url)[1].findings == []
    name = line._files()[1][1][2]
    data = line.place.get(name)
    for at in range(0, len(data), len(data) // 9):
        line.place.put(name, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        findings = restored(url)[1].findings
        assert 1 <= len(findings) <= 3 and all("00000" in text for text in findings)
    line.place.put(name, data[: len(data) // 2])
    assert 3 <= len(restored(url)[1].findings) <= 4
    line.place.delete(name)
    again, report = restored(url)
    assert len(report.findings) == 6 and len(again.storage.scan("versions")) == 14


def test_packs_are_of_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr(offsite, "PACK", 6)
    monkeypatch.setattr(segments, "PACK_BYTES", 4000)
    life = Life()
    url = "dir:%s" % tmp_path
    for _ in range(20):
        ship(life.write(1), url)
    packs = [path.stat().st_size for path in tmp_path.glob("log/*/pack-*")]
    assert len(packs) >= 3 and max(packs) <= 4000
    assert restored(url)[0].rows() == life.rows() and restored(url)[1].findings == []


# --- damage ---


def damaged_copy(tmp_path, harm):
    """A copy of six segments after `harm(files)`: (Life, restored Life, report)."""
    url = "dir:%s" % tmp_path
    life = Life()
    for _ in range(6):
        life.write(4)
        ship(life, url)
    files = sorted(tmp_path.glob("log/*/*.jsonl"))
    assert len(files) == 6
    harm(files)
    again, report = restored(url)
    assert checking.check(again.storage, None).findings == [] or report.findings
    return life, again, report


def test_lost_newest_segments_are_named_and_the_rest_stands(tmp_path):
    life, again, report = damaged_copy(tmp_path, lambda files: [f.unlink() for f in files[4:]])
    assert len(report.findings) == 2 and not report.whole
    assert all("missing" in finding for finding in report.findings)
    assert [row["pos"] for row in again.storage.scan("versions")] == list(range(1, 17))
    assert checking.check(again.storage, None).findings == []
    assert again.storage.get("owners", [("ada",)])[0]["pos"] == 16


def test_a_lost_or_changed_segment_in_the_middle(tmp_path):
    def harm(files):
        files[1].unlink()
        data = files[3].read_bytes()
        files[3].write_bytes(data.replace(b"FN:14", b"FN:15"))

    life, again, report = damaged_copy(tmp_path, harm)
    assert len(report.findings) == 2 and "SHA-256" in report.findings[1]
    found = [row["pos"] for row in again.storage.scan("versions")]
    assert found == [*range(1, 5), *range(9, 13), *range(17, 25)]
    assert len(again.storage.scan("heads")) == 7


def test_segments_exchanged_or_from_elsewhere_are_noticed(tmp_path):
    def harm(files):
        one, two = files[1].read_bytes(), files[2].read_bytes()
        files[1].write_bytes(two)
        files[2].write_bytes(one)
        (files[0].parent / "head.json").write_bytes(b"{}")

    _, again, report = damaged_copy(tmp_path, harm)
    assert len(report.findings) == 3 and "moved" in report.findings[1]


def test_a_consistent_prefix_needs_no_word(tmp_path):
    """The newest segments and the head that names them are gone: nobody can tell."""
    life = Life().write(4)
    url = "dir:%s" % tmp_path
    ship(life, url)
    before = life.rows()
    head = next(tmp_path.glob("log/*/head.json")).read_bytes()
    life.write(4)
    ship(life, url)
    sorted(tmp_path.glob("log/*/*.jsonl"))[-1].unlink()
    next(tmp_path.glob("log/*/head.json")).write_bytes(head)
    again, report = restored(url)
    assert report.whole and again.rows() == before


def test_a_first_shipment_cut_short_gives_what_is_there(tmp_path, monkeypatch):
    monkeypatch.setattr(offsite, "ROWS", 10)
    life = Life().write(30)
    url = "dir:%s" % tmp_path
    copies = Offsite(url, life.storage, life.blobs)
    for _ in range(3):
        assert copies.step() == "more"
    again, report = restored(url)
    assert not report.whole and report.findings == []
    assert checking.check(again.storage, None).findings == []
    assert 0 < report.versions < 30


def test_restoring_where_nothing_is_or_something_is(tmp_path):
    with pytest.raises(NoSuchTarget):
        restored("dir:%s" % (tmp_path / "nothing"))
    with pytest.raises(NoSuchTarget):
        restored("dir:%s" % tmp_path)
    with pytest.raises(Usage):
        restored("ftp://example.org/x")
    life = Life().write(1)
    ship(life, "dir:%s" % tmp_path)
    with pytest.raises(HubNotEmpty, match="holds records"):
        restore_from("dir:%s" % tmp_path, life.storage, life.blobs)


SEGMENT = segments.Segment(
    "ab" * 8, "ab" * 8 + "-1", 1, segments.NO_SHA, 0,
    Life().write(2, blob=True, uid=b"\xff\0").storage.changed(0, 100), True,
    "2026-01-31T09:30:00Z",
)  # fmt: skip


def test_a_segment_reads_back_to_what_it_was():
    data = SEGMENT.pack()
    again = segments.parse(data)
    assert again.rows == SEGMENT.rows and again.sha == sha256(data).hexdigest()
    with pytest.raises(FormatNewer):
        segments.parse(data.replace(b'"format_version":1', b'"format_version":2'))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 1 << 30), st.binary(min_size=1, max_size=3), st.sampled_from("rid"))
def test_no_changed_byte_of_a_segment_passes(at, with_bytes, how):
    data = SEGMENT.pack()
    at %= len(data)
    keep = {"r": len(with_bytes), "i": 0, "d": 3}[how]
    changed = data[:at] + (b"" if how == "d" else with_bytes) + data[at + keep :]
    try:
        parsed = segments.parse(changed)
    except (segments.BadSegment, FormatNewer):
        return
    assert parsed.pack() == changed
    assert parsed.rows == SEGMENT.rows  # only a field of the head that the chain looks after


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_rubbish_is_no_segment(data):
    with pytest.raises(segments.BadSegment):
        segments.parse(data)


def test_shipping_beside_writers_skips_nothing(tmp_path):
    """Writers, and the copy's thread with small segments, at the same time."""
    storage = open_storage("sqlite:%s" % (tmp_path / "hub.sqlite3"))
    life = Life(storage)
    url = "dir:%s" % (tmp_path / "place")
    rng = random.Random(1)

    def work(owner):
        for _ in range(25):
            life.write(1, owner)
            time.sleep(rng.uniform(0, 0.004))

    with start_offsite(url, storage, life.blobs) as copies:
        threads = [threading.Thread(target=work, args=("w%d" % n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        last = max(row["lsn"] for row in storage.scan("versions"))
        assert copies.wait(last, 30)
    again, report = restored(url)
    assert again.rows() == life.rows() and report.findings == []
    storage.close()


def test_a_blob_of_a_copy_is_checked_when_it_comes_back(tmp_path):
    life = Life().write(1, blob=True)
    ship(life, "dir:%s" % tmp_path)
    name = next(life.blobs.names())
    path = tmp_path / "blobs" / name.hex()[:2] / name.hex()
    path.write_bytes(b"x" + path.read_bytes()[1:])
    again, report = restored("dir:%s" % tmp_path)
    assert len(report.findings) == 1 and "damaged" in report.findings[0]
    with pytest.raises(NotFound):
        again.blobs.open(name)
