"""Backups of a hub: complete, compared, incremental; what is made from them; moments past."""

import json
import os
import shutil
import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path

import pytest
from hub_life import Life
from hub_rows import version as bare_version

from drybag.errors import FormatNewer
from drybag_host.backup.store import Backup
from drybag_host.errors import BackupBusy, BackupDamaged, HostFile, NotVerified
from drybag_host.hub import accounts, checking, hubbackup
from drybag_host.hub.hubbackup import backup, verify_backup
from drybag_host.hub.ownercopy import write_owner
from drybag_host.hub.restoring import import_backup, owner_folder, restore_from
from drybag_host.hub.rules import Version
from drybag_host.hub.storage import hub_id, open_storage

LONG = b"NOTE:" + b"long " * 600 + b"\n"


def sample(storage=None):
    """Two owners, photos, a long body, a deletion, a conflict's loser, an awkward uid."""
    life = Life(storage).write(9, blob=True).write(3, owner="Bob ../x")
    life.write(1, kind=4, uid=b"\xff\0long", body=LONG)
    life.delete(b"u3")
    log = life.log("ada")
    pos = log.row["pos"] + 1
    life.append(log, Version(1, b"u4", b"FN:other\n", stamp=1, seq=pos), "pushed", False)
    return life


def restored(source, **how):
    again = Life()
    return again, restore_from(str(source), again.storage, again.blobs, **how)


def test_a_backup_holds_everything_and_says_when_it_was_compared(storage, tmp_path):
    life = sample(storage)
    report = backup(storage, life.blobs, tmp_path / "copy")
    assert report.findings == [] and report.owners == 2
    assert (report.records, report.versions) == (10, 15)
    assert report.rows_compared == sum(len(rows) for rows in life.rows().values())
    audit = storage.scan("audits")[-1]
    assert audit["what"] == "backup compared" and "10 records" in audit["detail"]
    manifest = json.loads((tmp_path / "copy" / "hub.json").read_bytes())
    assert manifest["compared"]["records"] == 10 and manifest["hub"] == hub_id(storage)
    again, found = restored(tmp_path / "copy")
    assert found.whole and found.findings == []
    assert again.rows() == life.rows()
    for name in life.blobs.names():
        assert again.blobs.read(name) == life.blobs.read(name)
    assert checking.check(again.storage, again.blobs).findings == []
    assert hub_id(again.storage) != hub_id(storage)


def run(*args):
    path = os.pathsep.join(p for p in sys.path if p)
    return subprocess.run(
        [sys.executable, "-m", "drybag_host.cli", *map(str, args)], capture_output=True,
        text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def test_each_owners_folder_is_a_backup_like_any_other(tmp_path):
    life = sample()
    backup(life.storage, life.blobs, tmp_path)
    assert sorted(os.listdir(tmp_path / "owners")) == ["%42ob%20..%2Fx", "ada"]
    folder = tmp_path / "owners" / "ada"
    shown = json.loads(run("show", folder, "--json").stdout)
    titles = {record["title"] for record in shown["records"]}
    assert "8" in titles and "other" not in titles
    done = run("verify", folder, "--json")
    assert done.returncode == 0, done.stderr
    done = run("export", folder, tmp_path / "export")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "export").glob("*.vcf"))
    copy = Backup(str(folder))
    assert copy.manifest.restore_compared["records"] == 7
    assert [r.uid for r in copy.tombstones()] == [b"u3"]
    history = [(why, r.uid, r.body) for why, _, r in copy.history()]
    assert ("deleted", b"u3", b"FN:3\n") in history
    assert ("replaced", b"u4", b"FN:other\n") in history
    assert subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder).returncode == 0
    assert subprocess.run(
        ["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=tmp_path
    ).returncode == 0  # fmt: skip


def test_the_second_backup_writes_what_is_new(tmp_path):
    life = sample()
    first = backup(life.storage, life.blobs, tmp_path)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    life.write(2, blob=True)
    second = backup(life.storage, life.blobs, tmp_path)
    assert second.generation == 2 and second.segments == first.segments + 1
    assert second.new_rows < first.new_rows / 3
    for path, when in before.items():
        if "blobs" in path.parts or path.name.startswith("0000"):
            assert path.stat().st_mtime_ns == when, path
    assert restored(tmp_path)[0].rows() == life.rows()
    history = {(g, r.seq) for _, g, r in Backup(str(tmp_path / "owners" / "ada")).history()}
    assert {g for g, _ in history} == {1, 2}


def files_of(folder):
    """{name: what shows that it was written again} of every file below it."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            seen = path.stat()
            found[path.relative_to(folder).as_posix()] = seen.st_ino, seen.st_mtime_ns
    return found


def test_only_what_changed_is_written(tmp_path):
    life = sample()
    for n in range(20):
        life.write(3, owner="o%d" % n, blob=True)
    first = backup(life.storage, life.blobs, tmp_path)
    assert first.owners_written == first.owners == 22
    before = files_of(tmp_path)
    life.write(1, owner="o7", uid=b"new", body=b"FN:new\n")
    report = backup(life.storage, life.blobs, tmp_path)
    changed = {name for name, seen in files_of(tmp_path).items() if before.get(name) != seen}
    log = {name for name in changed if name.startswith("log/")}
    own = {"owners/o7/" + name for name in ("records.jsonl", "manifest.json", "SHA256SUMS")}
    assert changed - log == {"hub.json", "README.txt", "SHA256SUMS", *own}
    assert len(log) == 2 and len(before) > 100  # the new segment and the word which is the last
    assert (report.owners, report.owners_written) == (22, 1)
    assert report.records_compared == report.records == first.records + 1
    assert report.rows_compared > first.rows_compared and report.findings == []
    assert verify_backup(str(tmp_path)).findings == []


def test_an_owners_damaged_file_is_written_again(tmp_path):
    life = sample()
    backup(life.storage, life.blobs, tmp_path)
    for name in ("records.jsonl", "README.txt", "SHA256SUMS", "tombstones.jsonl"):
        path = tmp_path / "owners" / "ada" / name
        path.write_bytes(path.read_bytes()[:-2] + b"?\n")
        assert verify_backup(str(tmp_path)).findings
        assert backup(life.storage, life.blobs, tmp_path).owners_written == 1
        assert verify_backup(str(tmp_path)).findings == []


def test_a_hub_that_is_written_to_meanwhile(tmp_path):
    life = sample()

    def step(text):
        if "comparing" in text or "owner" in text:
            life.write(1)

    report = backup(life.storage, life.blobs, tmp_path, step=step)
    assert report.findings == [] and report.changed_since > 0
    assert restored(tmp_path)[1].versions == report.versions
    backup(life.storage, life.blobs, tmp_path)
    assert restored(tmp_path)[0].rows() == life.rows()


def test_a_copy_that_differs_is_no_backup(tmp_path, monkeypatch):
    life = sample()
    real = hubbackup.replay

    def careless(line, storage, *args):
        real(line, storage, *args)
        row = storage.get("heads", [("ada", 1, b"u5")])[0]
        storage.commit([("heads", {**row, "title": "another"})])

    monkeypatch.setattr(hubbackup, "replay", careless)
    with pytest.raises(NotVerified, match="heads"):
        backup(life.storage, life.blobs, tmp_path)
    assert life.storage.scan("audits") == [] and not (tmp_path / "hub.json").exists()


def test_a_blob_the_hub_lost_is_named(tmp_path):
    life = sample()
    name = next(life.blobs.names())
    del life.blobs._whole[name.hex()]
    with pytest.raises(NotVerified) as caught:
        backup(life.storage, life.blobs, tmp_path)
    assert name.hex() in str(caught.value)
    assert life.storage.scan("audits") == []


def test_a_set_back_or_restored_hub_gets_a_line_of_its_own(tmp_path):
    life = sample()
    backup(life.storage, life.blobs, tmp_path)
    earlier = Life(life.storage.copy())
    earlier.blobs = life.blobs
    life.write(3)
    backup(life.storage, life.blobs, tmp_path)
    earlier.write(9, body=b"FN:otherwise %d\n")
    backup(earlier.storage, earlier.blobs, tmp_path)
    assert len(os.listdir(tmp_path / "log")) == 2
    assert verify_backup(str(tmp_path)).findings == []
    assert restored(tmp_path)[0].rows() == earlier.rows()
    again, _ = restored(tmp_path)
    again.write(1)
    backup(again.storage, again.blobs, tmp_path)
    assert len(os.listdir(tmp_path / "log")) == 3 and verify_backup(str(tmp_path)).findings == []


def test_every_flipped_byte_of_a_backup_is_found(tmp_path):
    life = sample()
    backup(life.storage, life.blobs, tmp_path / "copy")
    assert verify_backup(str(tmp_path / "copy")).findings == []
    files = [p for p in (tmp_path / "copy").rglob("*") if p.is_file() and p.name != ".lock"]
    assert len(files) > 15
    for number, path in enumerate(files):
        data = path.read_bytes()
        at = number * 37 % max(1, len(data))
        path.write_bytes(data[:at] + bytes([(data[at : at + 1] or b"a")[0] ^ 1]) + data[at + 1 :])
        assert verify_backup(str(tmp_path / "copy")).findings, path
        path.write_bytes(data)
    for path in files:
        os.rename(path, str(path) + ".gone")
        assert verify_backup(str(tmp_path / "copy")).findings, path
        os.rename(str(path) + ".gone", path)
    assert verify_backup(str(tmp_path / "copy")).findings == []


def test_folders_that_are_something_else(tmp_path):
    life = sample()
    (tmp_path / "mine.txt").write_text("not yours")
    with pytest.raises(HostFile):
        backup(life.storage, life.blobs, tmp_path)
    copy = tmp_path / "copy"
    backup(life.storage, life.blobs, copy)
    data = (copy / "hub.json").read_bytes()
    (copy / "hub.json").write_bytes(data.replace(b'version": 1', b'version": 2'))
    with pytest.raises(FormatNewer):
        backup(life.storage, life.blobs, copy)
    for rubbish in (b"", b"{}", b"[]", b"\xff", b'{"format": "drybag-hub-backup"}', b"[" * 9000):
        (copy / "hub.json").write_bytes(rubbish)
        with pytest.raises(BackupDamaged):
            backup(life.storage, life.blobs, copy)
    (copy / "hub.json").write_bytes(data)
    with hubbackup.disk.lock(copy), pytest.raises(BackupBusy):
        backup(life.storage, life.blobs, copy)


def test_a_hub_is_made_from_one_owners_folder_or_a_handsets_backup(tmp_path):
    life = sample()
    backup(life.storage, life.blobs, tmp_path / "copy")
    folder = str(tmp_path / "copy" / "owners" / "ada")
    with open_storage("sqlite:%s" % (tmp_path / "new.sqlite3")) as storage:
        new = Life(storage)
        report = import_backup(folder, storage, new.blobs, "ada")
        assert report.findings == [] and report.records == 7
        assert checking.check(storage, new.blobs).findings == []
        heads = {(r["kind"], r["uid"]): r["title"] for r in storage.scan("heads", "", ("ada",))
                 if not r["deleted"]}  # fmt: skip
        old = {(r["kind"], r["uid"]): r["title"] for r in life.storage.scan("heads", "", ("ada",))
               if not r["deleted"]}  # fmt: skip
        assert heads == old
        lsn = storage.last_lsn()
        again = import_backup(folder, storage, new.blobs, "ada")
        assert again.versions == 0 and storage.last_lsn() == lsn  # nothing comes twice
        new.write(1, uid=b"u5", body=b"FN:newer\n")
        import_backup(folder, storage, new.blobs, "ada")
        head = storage.get("heads", [("ada", 1, b"u5")])[0]
        assert head["title"] == "newer"
        assert checking.check(storage, new.blobs).findings == []


def test_a_moment_past(tmp_path):
    life = Life()
    life.now_ms = 1_000
    life.write(3, uid=b"u", body=b"FN:%d\n").write(1, uid=b"other", blob=True)
    life.now_ms = 2_000
    life.write(1, uid=b"u", body=b"FN:second\n").delete(b"other")
    for at_ms, bodies, gone in ((999, [], []), (1_000, [b"FN:4\n", b"FN:3\n"], []),
                                (5_000, [b"FN:second\n"], [b"other"])):  # fmt: skip
        folder = str(tmp_path / str(at_ms))
        write_owner(folder, life.storage, "ada", life.blobs.read, "ab" * 8, "test", at_ms)
        copy = Backup(folder)
        assert [r.body for r in copy.records()] == bodies, at_ms
        assert [r.uid for r in copy.tombstones()] == gone
        assert copy.verify().findings == []
    assert Backup(str(tmp_path / "1000")).read_blob(sha256(b"photo 4 of ada").digest())


def test_names_of_folders_are_plain():
    seen = {}
    for owner in ("ada", "Ada", ".", "..", "../x", "a/b", "a b", "ü", "%41", "con.", "-", "a.b"):
        name = owner_folder(owner)
        assert name not in seen and not set(name) - set("abcdefghijklmnopqrstuvwxyz0123456789"
                                                        "ABCDEF%-_.")  # fmt: skip
        assert not name.startswith(".") and "/" not in name
        seen[name] = owner


def test_checking_finds_what_was_changed_behind_the_hubs_back(tmp_path, monkeypatch):
    path = tmp_path / "hub.sqlite3"
    with open_storage("sqlite:%s" % path) as storage:
        life = sample(storage)
        assert checking.check(storage, life.blobs).findings == []
        for change, word in (
            ("UPDATE versions SET body = 'FN:forged' WHERE pos = 5", "chain"),
            ("DELETE FROM versions WHERE pos = 6", "missing"),
            ("UPDATE heads SET pos = 1 WHERE uid = 'u2'", "head"),
            ("DELETE FROM heads WHERE uid = CAST('u5' AS BLOB)", "heads"),
            ("UPDATE owners SET live = 99", "account"),
            ("DELETE FROM blobs", "not there"),
        ):
            storage._writer.execute("BEGIN")
            storage._writer.execute(change.replace("'FN:forged'", "CAST('FN:forged' AS BLOB)")
                                    .replace("'u2'", "CAST('u2' AS BLOB)"))  # fmt: skip
            with monkeypatch.context() as patch:
                patch.setattr(storage, "snapshot", storage.batch)  # sees what is not committed
                findings = checking.check(storage, None).findings
            storage._writer.execute("ROLLBACK")
            assert any(word in f["problem"] for f in findings), (change, findings)
        name = next(life.blobs.names())
        life.blobs._whole[name.hex()] = b"rot"
        assert "not those" in checking.check(storage, life.blobs).findings[0]["problem"]


def test_checking_a_hub_that_is_written_to(durable_url):
    with open_storage(durable_url) as storage:
        life, stop = sample(storage), threading.Event()

        def write():
            while not stop.is_set():
                life.write(1)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            for _ in range(5):
                assert checking.check(storage, None).findings == []
        finally:
            stop.set()
            thread.join(30)


def test_secrets_are_in_no_copy(tmp_path):
    life = sample()
    accounts.add_owner(life.storage, "eva", "lemon curd 1776", 1)
    device, secret = accounts.enrol(life.storage, "eva", "phone", "id", 1)
    backup(life.storage, life.blobs, tmp_path)
    data = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert device.encode() in data and b"scrypt$" in data
    assert secret.encode() not in data and b"lemon curd 1776" not in data
    again, _ = restored(tmp_path)
    accounts.check_password(again.storage, "eva", "lemon curd 1776")
    accounts.authenticate(again.storage, "Bearer %s.%s" % (device, secret))


def test_heads_are_made_anew_from_the_log(storage):
    life = sample(storage)
    before = life.rows()
    wrong = [("heads", {**row, "pos": 1, "title": "?"}) for row in storage.scan("heads")]
    wrong.append(("owners", {**storage.get("owners", [("ada",)])[0], "live": 0, "pos": 2}))
    storage.commit(wrong)
    assert checking.check(storage, None).findings
    for owner in checking.owners_in(storage):
        checking.rebuild(storage, owner)
    assert checking.check(storage, None).findings == [] and life.rows() == before
    row = bare_version("stranger", 1, uid=b"x")
    storage.commit([("versions", row)])
    assert checking.owners_in(storage)[-1] == "stranger"
    checking.rebuild(storage, "stranger")
    assert storage.get("owners", [("stranger",)])[0]["password_hash"] == ""


def test_a_backup_goes_on_after_it_was_stopped_anywhere(tmp_path, monkeypatch):
    """Each write to the disk in turn is the last one; the next run ends with a good backup."""

    class Crash(BaseException):
        pass

    life = sample()
    real = hubbackup.disk._rename
    for stop in (1, 3, 6, 10, 15, 21, 28):
        life.write(1, blob=True)
        left = [stop]

        def rename(*args, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise Crash
            real(*args)

        with monkeypatch.context() as patch:
            patch.setattr(hubbackup.disk, "_rename", rename)
            try:
                backup(life.storage, life.blobs, tmp_path / "copy")
            except Crash:
                pass
        shutil.copytree(tmp_path / "copy", tmp_path / str(stop))
        again = Life()
        restore_from(str(tmp_path / str(stop)), again.storage, again.blobs)
        assert again.storage.counts("versions") == life.storage.counts("versions")
    report = backup(life.storage, life.blobs, tmp_path / "copy")
    assert report.findings == [] and verify_backup(str(tmp_path / "copy")).findings == []
    assert restored(tmp_path / "copy")[0].rows() == life.rows()
    assert Path(tmp_path / "copy" / "hub.json").exists()
