"""The backup: complete, verified, incremental, and whole whatever interrupts the pull."""

import hashlib
import os
import random
import subprocess
import sys

import pytest
from backup_steps import CARD, change, contents, fill, pull
from journal_link import Handset, quiet

from drybag import layout
from drybag.errors import Damaged
from drybag_host.backup import disk, generation
from drybag_host.backup.pull import Pull, continuity, merge
from drybag_host.backup.store import Backup
from drybag_host.errors import (
    BackupBusy,
    BackupDamaged,
    HostDiskFull,
    HostFile,
    LinkLost,
    OtherHandset,
)


@pytest.fixture
def handset():
    return fill(Handset())


def test_pull_holds_everything_and_verifies(handset, tmp_path):
    report = pull(handset, tmp_path / "b")
    assert report.verified and report.added == 32 and report.blobs == 2
    assert contents(tmp_path / "b") == handset.live()
    verdict = Backup(str(tmp_path / "b")).verify()
    assert verdict.findings == [] and verdict.records == 32
    assert verdict.digest == handset.journal.digest()[1].hex()
    assert not (tmp_path / "b" / ".partial").exists()


def test_sha256sum_agrees(handset, tmp_path):
    pull(handset, tmp_path / "b")
    done = subprocess.run(
        ["sha256sum", "-c", "--strict", "SHA256SUMS"], cwd=tmp_path / "b", capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b": OK") == 7


def test_readme_example_reads_the_contacts_without_this_software(handset, tmp_path):
    pull(handset, tmp_path / "b")
    readme = (tmp_path / "b" / "README.txt").read_text()
    code = "\n".join(
        line[4:] for line in readme.split("with Python:")[1].splitlines() if line.strip()
    )
    subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path / "b", check=True)
    text = (tmp_path / "b" / "contacts.vcf").read_bytes()
    assert text.count(b"BEGIN:VCARD\r\n") == text.count(b"END:VCARD\r\n") == 30
    assert b"FN:Person 29\r\n" in text and b"drybag:blob" not in text


def test_pulling_again_reads_only_what_changed(handset, tmp_path):
    pull(handset, tmp_path / "b")
    steps = handset.steps
    report = pull(handset, tmp_path / "b")
    assert not report.full and handset.steps - steps < 10
    assert (report.added, report.changed, report.deleted) == (0, 0, 0)
    handset.put(layout.CONTACT, b"uid-3", b"VERSION:3.0\nFN:Changed\n")
    handset.put(layout.CONTACT, b"new", b"VERSION:3.0\nFN:New\n")
    handset.journal.delete(layout.CONTACT, b"uid-4")
    report = pull(handset, tmp_path / "b")
    assert (report.added, report.changed, report.deleted) == (1, 1, 1)
    assert contents(tmp_path / "b") == handset.live()


def test_deleted_and_replaced_versions_stay_in_the_history(handset, tmp_path):
    pull(handset, tmp_path / "b")
    handset.put(layout.CONTACT, b"uid-0", b"VERSION:3.0\nFN:Without photo\n")
    handset.journal.delete(layout.CONTACT, b"uid-1")
    pull(handset, tmp_path / "b")
    backup = Backup(str(tmp_path / "b"))
    history = {bytes(r.uid): (why, r) for why, _, r in backup.history()}
    assert history[b"uid-0"][0] == "replaced" and history[b"uid-1"][0] == "deleted"
    assert history[b"uid-1"][1].body.startswith(CARD % (1, 1))
    assert len(backup.read_blob(history[b"uid-1"][1].blobs[0])) == 5001
    assert [bytes(r.uid) for r in backup.tombstones()] == [b"uid-1"]
    handset.journal.undelete(layout.CONTACT, b"uid-1")
    pull(handset, tmp_path / "b")
    assert Backup(str(tmp_path / "b")).tombstones() == []
    assert contents(tmp_path / "b") == handset.live()


def test_absence_is_not_deletion(handset, tmp_path):
    """A handset that was formatted: refused without a word; with it nothing is dropped."""
    pull(handset, tmp_path / "b")
    before = contents(tmp_path / "b")
    handset.wipe()
    handset.put(layout.CONTACT, b"after", b"VERSION:3.0\nFN:After\n")
    with pytest.raises(OtherHandset):
        pull(handset, tmp_path / "b")
    assert contents(tmp_path / "b") == before
    report = pull(handset, tmp_path / "b", adopt=True)
    assert report.absent == 32 and report.verified
    now = contents(tmp_path / "b")
    assert now == {**before, **handset.live()}
    assert Backup(str(tmp_path / "b")).verify().ok


def test_tombstones_that_compaction_dropped(handset, tmp_path):
    """The handset forgot that it deleted: the digest tells, the record stays, marked absent."""
    pull(handset, tmp_path / "b")
    handset.journal.delete(layout.CONTACT, b"uid-9")
    real = handset.journal.changes
    handset.journal.changes = lambda since, cursor=0: (
        (at, r) for at, r in real(since, cursor) if not r.deleted
    )
    report = pull(handset, tmp_path / "b")
    assert report.full and report.verified and report.absent == 1
    [absent] = [s for s in Backup(str(tmp_path / "b")).stored() if s.absent]
    assert absent.record.uid == b"uid-9"


def test_continuity_names_each_break():
    class Info:
        id, name, epoch, last_seq = "x", "n", 5, 100

    class Manifest:
        handset_id, handset_name, epoch, last_seq = "x", "n", 5, 90

    assert continuity(Manifest, Info) == ""
    for name, value in (("handset_id", "y"), ("epoch", 6), ("last_seq", 101)):
        other = type("Manifest", (Manifest,), {name: value})
        assert continuity(other, Info)


def test_merge_takes_the_highest_seq_of_a_key():
    base = generation.Contents()
    new = layout.Record(1, b"a", b"FN:new\n", seq=9)
    old = layout.Record(1, b"a", b"FN:old\n", seq=5)
    gone = layout.Record(1, b"b", b"", seq=8, deleted=True)
    was = layout.Record(1, b"b", b"FN:b\n", seq=7)
    merged = merge(base, [new, old, gone, was], 1, True)
    assert [s.record.seq for s in merged.stored.values()] == [9]
    assert list(merged.tombstones) == [(1, b"b")]


def test_every_break_of_the_link_is_survived(tmp_path):
    """The cable is pulled at each step of a pull in turn; it ends verified all the same."""
    handset = fill(Handset(), 6, 1)
    pull(handset, tmp_path / "whole")
    start = handset.steps
    pull(handset, tmp_path / "count")
    for step in range(3, handset.steps - start + 1):
        handset.break_at(step)
        report = pull(handset, tmp_path / ("b%d" % step))
        assert report.verified and report.reconnects <= 1
        assert contents(tmp_path / ("b%d" % step)) == handset.live()


def test_another_handset_after_the_break_is_refused(handset, tmp_path):
    handset.break_at(12)
    real = handset.journal

    def swap():
        handset.ident = "other"
        return real

    session = handset.session()
    connect = session._connect
    session._connect = lambda: (swap(), connect())[1]
    with pytest.raises(OtherHandset):
        Pull(str(tmp_path / "b"), session, quiet()).run()


def test_changes_during_the_pull_are_in_it(handset, tmp_path):
    real = handset.journal.digest
    puts = []

    def digest():
        if len(puts) < 3:
            puts.append(handset.put(layout.NOTE, b"late%d" % len(puts), b"SUMMARY:late\n"))
        return real()

    handset.journal.digest = digest
    report = pull(handset, tmp_path / "b")
    assert report.verified and not report.missing
    assert contents(tmp_path / "b") == handset.live() and len(puts) == 3


def test_one_writer_at_a_time(handset, tmp_path):
    pull(handset, tmp_path / "b")
    with disk.lock(str(tmp_path / "b")), pytest.raises(BackupBusy):
        pull(handset, tmp_path / "b")


def test_folder_with_other_things_is_refused(handset, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.txt").write_text("mine")
    with pytest.raises(HostFile):
        pull(handset, tmp_path / "b")
    assert os.listdir(tmp_path / "b") == ["thesis.txt"]
    os.renames(tmp_path / "b" / "thesis.txt", tmp_path / "c" / "blobs" / "thesis.txt")
    with pytest.raises(HostFile):
        pull(handset, tmp_path / "c")


def test_a_file_that_cannot_be_replaced_stays_and_leaves_nothing(tmp_path, monkeypatch):
    path = str(tmp_path / "file")
    disk.replace_file(path, b"old")
    for name in ("_write", "_sync", "_rename"):
        with monkeypatch.context() as patch:
            patch.setattr(disk, name, lambda *_: (_ for _ in ()).throw(no_space()))
            with pytest.raises(HostDiskFull):
                disk.replace_file(path, b"new")
        assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_bytes() == b"old"
    disk.replace_file(path, b"secret", disk.PRIVATE)
    assert os.stat(path).st_mode & 0o777 == 0o600


# --- crashes of this computer ----------------------------------------------------------------


class Killed(BaseException):
    """kill -9, or the power: nothing that follows is executed."""


class Crash:
    """Lets the n-th durable step fail with `error`, and everything after it.

    With Killed, what was written and not synced is lost too, as after a power failure.
    """

    def __init__(self, monkeypatch, at, error):
        self.steps = 0
        self.at = at
        self.error = error
        self.synced = {}
        for name in ("_write", "_sync", "_rename", "_sync_dir"):
            monkeypatch.setattr(disk, name, self._wrap(name, getattr(disk, name)))

    def _wrap(self, name, real):
        def step(*args):
            self.steps += 1
            if self.at and self.steps >= self.at:
                if name == "_write" and self.steps == self.at:
                    args[0].write(args[1][: len(args[1]) // 2])
                    args[0].flush()
                raise self.error()
            self._note(name, args)
            real(*args)

        return step

    def _note(self, name, args):
        if name == "_write":
            self.synced.setdefault(args[0].name, os.path.getsize(args[0].name))
        elif name == "_sync":
            self.synced.pop(args[0].name, None)
        elif name == "_rename":
            old, new = args
            for path in list(self.synced):
                if path == old or path.startswith(old + os.sep):
                    self.synced[new + path[len(old) :]] = self.synced.pop(path)

    def lose_unsynced(self):
        for path, size in self.synced.items():
            if os.path.exists(path):
                os.truncate(path, size)


def no_space():
    return OSError(28, "No space left on device")


def steps_of_pull(monkeypatch, handset, path):
    with monkeypatch.context() as patch:
        crash = Crash(patch, 0, None)
        pull(handset, path)
    return crash.steps


def cut_short(monkeypatch, handset, path, at, error):
    """A pull that ends at this step; a kill loses what was not synced."""
    with monkeypatch.context() as patch:
        crash = Crash(patch, at, error)
        with pytest.raises(Killed if error is Killed else HostDiskFull):
            pull(handset, path)
    if error is Killed:
        crash.lose_unsynced()


@pytest.mark.parametrize("error", [Killed, no_space], ids=["killed", "full"])
def test_crash_at_every_step_leaves_a_whole_backup(tmp_path, monkeypatch, error):
    """Old or new, never anything between; the next pull goes on and is verified."""
    counted = fill(Handset(), 5, 1)
    pull(counted, tmp_path / "count")
    change(counted)
    steps = steps_of_pull(monkeypatch, counted, tmp_path / "count")
    assert steps > 25
    seen = set()
    for at in range(1, steps + 1):
        path = tmp_path / ("b%d" % at)
        handset = fill(Handset(), 5, 1)
        pull(handset, path)
        old = contents(path)
        change(handset)
        cut_short(monkeypatch, handset, path, at, error)
        verdict = Backup(str(path)).verify()
        assert verdict.ok, (at, [f.fields() for f in verdict.findings])
        state = contents(path)
        assert state in (old, handset.live())
        seen.add(state == old)
        assert pull(handset, path).verified
        assert contents(path) == handset.live()
        assert not (path / ".partial").exists() and not (path / ".commit").exists()
    assert seen == {True, False}


def test_first_pull_interrupted_is_no_backup_yet(handset, tmp_path, monkeypatch):
    cut_short(monkeypatch, handset, tmp_path / "b", 20, Killed)
    assert not (tmp_path / "b" / "manifest.json").exists()
    assert not (tmp_path / "b" / "records.jsonl").exists()
    with pytest.raises(BackupDamaged, match="has not finished"):
        Backup(str(tmp_path / "b"))
    report = pull(handset, tmp_path / "b")
    assert report.verified and contents(tmp_path / "b") == handset.live()


@pytest.mark.parametrize("error", [Killed, no_space], ids=["killed", "full"])
def test_a_first_pull_cut_short_anywhere_goes_on(tmp_path, monkeypatch, error):
    handset = fill(Handset(), 3, 2)
    steps = steps_of_pull(monkeypatch, handset, tmp_path / "count")
    for at in range(1, steps + 1):
        path = tmp_path / ("b%d" % at)
        cut_short(monkeypatch, handset, path, at, error)
        assert pull(handset, path).verified
        assert contents(path) == handset.live()


@pytest.mark.parametrize("first", [True, False], ids=["first", "second"])
def test_a_photo_that_rots_while_its_pull_is_cut_short_is_read_again(handset, tmp_path, first):
    if not first:
        pull(handset, tmp_path / "b")
    sha = handset.put_blob(b"late" * 5000)
    handset.put(layout.PHOTO, b"p", b"IMAGE:drybag:blob/%s\n" % sha.hex().encode(), (sha,))
    with handset.session(wait_s=0) as session:
        work = Pull(str(tmp_path / "b"), session, quiet())
        work._write = lambda *_: (_ for _ in ()).throw(LinkLost("cut"))
        with pytest.raises(LinkLost):
            work.run()
    [photo] = (tmp_path / "b" / "blobs").rglob(sha.hex())
    photo.write_bytes(b"rot" + photo.read_bytes()[3:])
    assert pull(handset, tmp_path / "b").verified
    assert Backup(str(tmp_path / "b")).read_blob(sha) == b"late" * 5000


def test_pull_goes_on_where_it_stopped(tmp_path):
    handset = fill(Handset(), 200, 1)
    handset.break_at(150)
    with pytest.raises(LinkLost), handset.session(wait_s=0) as session:
        Pull(str(tmp_path / "b"), session, quiet()).run()
    before = handset.steps
    report = pull(handset, tmp_path / "b")
    assert report.resumed and report.verified
    assert handset.steps - before < 90
    assert contents(tmp_path / "b") == handset.live()


def test_blob_goes_on_where_it_stopped(tmp_path):
    handset = Handset()
    sha = handset.put_blob(random.Random(3).randbytes(60000))
    handset.put(layout.PHOTO, b"p", b"IMAGE:drybag:blob/%s\n" % sha.hex().encode(), (sha,))
    handset.break_at(40)
    with pytest.raises(LinkLost), handset.session(wait_s=0) as session:
        Pull(str(tmp_path / "b"), session, quiet()).run()
    part = tmp_path / "b" / ".partial" / "blobs" / (sha.hex() + ".part")
    assert 20000 < part.stat().st_size < 60000
    report = pull(handset, tmp_path / "b")
    assert report.blob_bytes < 60000 - 20000 and report.verified
    assert hashlib.sha256(Backup(str(tmp_path / "b")).read_blob(sha)).digest() == sha


@pytest.mark.parametrize("bad", ["torn", "flipped", "empty", "foreign"])
def test_torn_and_foreign_staging_is_not_believed(handset, tmp_path, bad):
    handset.break_at(25)
    with pytest.raises(LinkLost), handset.session(wait_s=0) as session:
        Pull(str(tmp_path / "b"), session, quiet()).run()
    incoming = tmp_path / "b" / ".partial" / "incoming.jsonl"
    data = incoming.read_bytes()
    assert len(data) > 2000
    half = len(data) // 2
    other = {
        "torn": data[:-7],
        "flipped": data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :],
        "empty": b"",
        "foreign": data.replace(b"a1b2c3", b"d4e5f6", 1),
    }
    incoming.write_bytes(other[bad])
    report = pull(handset, tmp_path / "b")
    assert report.verified and report.resumed == (bad in ("torn", "flipped"))
    assert contents(tmp_path / "b") == handset.live()


def test_damaged_flash_still_gives_a_backup_of_what_is_intact(handset, tmp_path):
    pull(handset, tmp_path / "b")
    handset.put(layout.NOTE, b"n", b"SUMMARY:new\n")

    def digest():
        raise Damaged("1 of 33 records cannot be read")

    handset.journal.digest = digest
    report = pull(handset, tmp_path / "b")
    assert not report.verified and report.added == 1
    assert len(contents(tmp_path / "b")) == 33
    assert Backup(str(tmp_path / "b")).verify().ok
