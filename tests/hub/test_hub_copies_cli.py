"""`drybag hub backup | restore | verify | at | reship`, and a hub that serves with --offsite."""

import json
import shutil
import time

import pytest
from hub_life import Life

from drybag_host import cli
from drybag_host.backup.store import Backup
from drybag_host.hub.blobstore import open_blobs
from drybag_host.hub.certs import Certificates
from drybag_host.hub.offsite import Offsite
from drybag_host.hub.storage import StorageError, open_storage


@pytest.fixture
def hub(tmp_path):
    """The data folder of a hub with records."""
    data = tmp_path / "hub"
    with open_storage("sqlite:%s" % (data / "hub.sqlite3")) as storage:
        life = Life(storage)
        life.blobs = open_blobs("dir:%s" % (data / "blobs"))
        life.now_ms = int((time.time() - 5 * 86_400) * 1000)
        life.write(5, blob=True)
        life.now_ms = int(time.time() * 1000)
        life.write(1, uid=b"new", body=b"FN:New\n").delete(b"u2")
    return data


@pytest.fixture
def run(capsys):
    """Run a command with --json: (exit code, document)."""

    def call(*words):
        code = cli.main([*map(str, words), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return call


def heads(data):
    with open_storage("sqlite:%s" % (data / "hub.sqlite3"), readonly=True) as storage:
        return {(r["uid"], r["title"]) for r in storage.scan("heads") if not r["deleted"]}


def test_backup_verify_restore(hub, run, tmp_path):
    code, found = run("hub", "backup", tmp_path / "copy", "--data", hub)
    assert code == 0 and found["records"] == 5 and found["records_compared"] == 5
    code, found = run("hub", "stats", "--data", hub)
    assert found["backup"]["at_ms"] and found["alarms"] == []
    for copy in ([], [tmp_path / "copy"]):
        code, found = run("hub", "verify", *copy, "--data", hub)
        assert code == 0 and found["findings"] == [] and found["blobs"] == 5
    code, found = run("hub", "restore", "--from", tmp_path / "copy", "--data", tmp_path / "new")
    assert code == 0 and found["whole"] and found["blobs"] == 5
    assert heads(tmp_path / "new") == heads(hub)
    code, _ = run("hub", "verify", "--data", tmp_path / "new")
    assert code == 0
    code, found = run("hub", "restore", "--from", tmp_path / "copy", "--data", tmp_path / "new")
    assert code == 68 and "holds records already" in found["error"]["message"]
    assert "--owner" in found["error"]["hint"]


def test_damage_has_a_code_and_a_name(hub, run, tmp_path):
    run("hub", "backup", tmp_path / "copy", "--data", hub)
    segment = next((tmp_path / "copy").glob("log/*/*1.jsonl"))
    segment.write_bytes(segment.read_bytes().replace(b"FN:3", b"FN:4"))
    code, found = run("hub", "verify", tmp_path / "copy", "--data", hub)
    assert code == 16 and any("SHA-256" in text for text in found["error"]["findings"])
    code, found = run("hub", "restore", "--from", tmp_path / "copy", "--data", tmp_path / "new")
    assert code == 9 and not found["whole"]
    blob = next((hub / "blobs").glob("??/*"))
    blob.write_bytes(b"rot")
    code, found = run("hub", "verify", "--data", hub)
    assert code == 60 and blob.name in found["findings"][0]


def test_one_owner_from_a_folder(hub, run, tmp_path):
    run("hub", "backup", tmp_path / "copy", "--data", hub)
    folder = tmp_path / "copy" / "owners" / "ada"
    code, found = run("hub", "restore", "--from", folder, "--data", tmp_path / "new")
    assert code == 2 and "--owner" in found["error"]["hint"]
    where = ("--owner", "eva", "--data", tmp_path / "new")
    code, found = run("hub", "restore", "--from", folder, *where)
    assert code == 0 and found["records"] == 5
    assert heads(tmp_path / "new") == heads(hub)
    code, _ = run("hub", "restore", "--from", tmp_path / "copy", *where)
    assert code == 2
    code, _ = run("hub", "restore", "--from", tmp_path / "nothing", "--data", tmp_path / "x")
    assert code == 15


def test_a_moment_past_is_listed_and_written(hub, run, tmp_path):
    code, found = run("hub", "at", "1d", "--data", hub)
    assert code == 0 and {r["title"] for r in found["records"]} == {"1", "2", "3", "4", "5"}
    code, found = run("hub", "at", "0m", "--owner", "ada", "--data", hub)
    assert {r["title"] for r in found["records"]} == {"1", "3", "4", "5", "New"}
    code, found = run("hub", "at", "1d", "--to", tmp_path / "then", "--data", hub)
    copy = Backup(str(tmp_path / "then"))
    assert code == 0 and len(list(copy.records())) == 5 and copy.verify().findings == []
    run("hub", "backup", tmp_path / "copy", "--data", hub)
    code, again = run("hub", "at", "1d", "--from", tmp_path / "copy", "--to", tmp_path / "again")
    assert code == 0 and [r.body for r in Backup(str(tmp_path / "again")).records()] == [
        r.body for r in copy.records()
    ]
    for time_text, code in (("yesterday-ish", 2), ("1990-01-01", 0), ("2026-13-01", 2)):
        assert run("hub", "at", time_text, "--data", hub)[0] == code
    assert run("hub", "at", "1d", "--owner", "nobody", "--data", hub)[0] == 4


def test_an_off_site_copy_is_verified_restored_and_shipped_again(hub, run, tmp_path):
    url = "dir:%s" % (tmp_path / "away")
    with open_storage("sqlite:%s" % (hub / "hub.sqlite3")) as storage:
        with open_blobs("dir:%s" % (hub / "blobs")) as blobs:
            copies = Offsite(url, storage, blobs)
            while copies.step():
                pass
            copies._give_up_lease()
    code, found = run("hub", "verify", url)
    assert code == 0 and found["blobs"] == 5 and found["versions"] == 7
    code, found = run("hub", "restore", "--from", url, "--data", tmp_path / "new")
    assert code == 0 and heads(tmp_path / "new") == heads(hub)
    shutil.rmtree(tmp_path / "away")
    assert run("hub", "verify", url)[0] == 15
    code, _ = run("hub", "reship", "--yes", "--data", hub)
    assert code == 0
    with open_storage("sqlite:%s" % (hub / "hub.sqlite3")) as storage:
        with open_blobs("dir:%s" % (hub / "blobs")) as blobs:
            copies = Offsite(url, storage, blobs)
            while copies.step():
                pass
    assert run("hub", "verify", url)[0] == 0


def test_what_is_no_copy_makes_no_hub_and_there_is_nothing_to_ship_again(hub, run, tmp_path):
    (tmp_path / "empty").mkdir()
    for source in ("nowhere", "empty"):
        words = ("hub", "restore", "--from", tmp_path / source, "--data", tmp_path / "new")
        assert run(*words)[0] == 15 and not (tmp_path / "new").exists()
    code, said = run("hub", "reship", "--yes", "--data", hub)
    assert code == 15 and "never had" in said["error"]["message"]


def test_a_restore_that_was_stopped_goes_on_and_is_not_served(hub, run, tmp_path, monkeypatch):
    run("hub", "backup", tmp_path / "copy", "--data", hub)
    calls = []

    def stop(*args):
        calls.append(1)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("drybag_host.hub.restoring._new_hub", stop)
        code, _ = run("hub", "restore", "--from", tmp_path / "copy", "--data", tmp_path / "new")
    assert code == 130 and calls
    with pytest.raises(StorageError, match="not finished"):
        open_storage("sqlite:%s" % (tmp_path / "new" / "hub.sqlite3"), serve=True)
    code, found = run("hub", "restore", "--from", tmp_path / "copy", "--data", tmp_path / "new")
    assert code == 0 and found["whole"] and heads(tmp_path / "new") == heads(hub)
    open_storage("sqlite:%s" % (tmp_path / "new" / "hub.sqlite3"), serve=True).close()


def test_a_restored_hub_is_the_one_the_handsets_know(hub, run, tmp_path, monkeypatch):
    monkeypatch.delenv("DRYBAG_CA_PASSPHRASE", raising=False)
    ca = Certificates(str(hub / "tls"), ["localhost"]).ca_der
    assert run("hub", "ca", "seal", "--data", hub)[0] == 24  # nobody is there to ask
    monkeypatch.setenv("DRYBAG_CA_PASSPHRASE", "short")
    assert run("hub", "ca", "seal", "--data", hub)[0] == 3
    code, found = run("hub", "backup", tmp_path / "copy", "--data", hub)
    assert code == 0 and not found["ca_sealed"]
    monkeypatch.setenv("DRYBAG_CA_PASSPHRASE", "a phrase that is long")
    assert run("hub", "ca", "seal", "--data", hub)[0] == 0
    code, found = run("hub", "backup", tmp_path / "copy", "--data", hub)
    assert found["ca_sealed"]
    copied = b"".join(p.read_bytes() for p in (tmp_path / "copy").rglob("*") if p.is_file())
    assert b"PRIVATE KEY" not in copied and b"a phrase that" not in copied

    monkeypatch.setenv("DRYBAG_CA_PASSPHRASE", "another phrase than that")
    code, found = run("hub", "restore", "--from", tmp_path / "copy", "--data", tmp_path / "new")
    assert code == 0 and found["ca"] is False and not (tmp_path / "new" / "tls").exists()
    assert run("hub", "ca", "unseal", "--data", tmp_path / "new")[0] == 3
    monkeypatch.setenv("DRYBAG_CA_PASSPHRASE", "a phrase that is long")
    assert run("hub", "ca", "unseal", "--data", tmp_path / "new")[0] == 0
    again = Certificates(str(tmp_path / "new" / "tls"), ["localhost", "other"])  # can sign
    assert again.ca_der == ca and not again.fresh
    assert (tmp_path / "new" / "tls" / "ca-key.pem").stat().st_mode & 0o777 == 0o600
    assert run("hub", "ca", "unseal", "--data", tmp_path / "new")[0] == 3  # there is one
    code, found = run("hub", "restore", "--from", tmp_path / "copy", "--data", tmp_path / "third")
    assert code == 0 and found["ca"] is True
    assert Certificates(str(tmp_path / "third" / "tls"), []).ca_der == ca
