"""`drybag hub users, devices, revoke, held, conflicts, undelete, stats`: beside a running hub."""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hub_kit import Device
from hub_process import PASSWORD, HubProcess
from test_hub_serve import CARD, Handset

from drybag.layout import content_id
from drybag_host import cli
from drybag_host.errors import Usage
from drybag_host.hub import stats
from drybag_host.hub.moments import moment_ms
from drybag_host.hub.service import Service


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    process = HubProcess(tmp_path_factory.mktemp("cli") / "hub")
    yield process
    process.stop()


@pytest.fixture
def run(hub, capsys, monkeypatch):
    """run(words...) -> (exit code, the JSON document)."""
    monkeypatch.setenv("DRYBAG_HUB_PASSWORD", PASSWORD)

    def run_it(*words):
        code = cli.main(["hub", *words, "--data", str(hub.data), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return run_it


def test_users(run, hub):
    assert run("users", "add", "uma")[0] == 0
    assert run("users", "add", "uma")[0] == 3
    assert run("users", "add", "a/b")[0] == 3
    assert run("users", "password", "nobody")[0] == 4
    handset = Handset(hub, "x", "uma")
    handset.sync(handset.item(b"u", CARD))
    (row,) = [o for o in run("users", "list")[1]["owners"] if o["owner"] == "uma"]
    assert (row["records"], row["devices"], row["access"]) == (1, 1, True)
    assert run("users", "remove", "uma")[0] == 24  # nobody is there to answer
    assert run("users", "remove", "uma", "--yes")[0] == 0
    with pytest.raises(AssertionError, match="403"):
        handset.sync()
    assert run("users", "password", "uma")[0] == 0


def test_devices_and_revoke(run, hub):
    handset = Handset(hub, "phone", "dan")
    handset.sync(handset.item(b"u", CARD))
    (found,) = run("devices", "--owner", "dan")[1]["devices"]
    assert found["name"] == "phone" and found["seen_ms"]
    assert found["streams"][0]["ack"] == 1
    assert run("revoke", "f" * 16)[0] == 4
    assert run("revoke", handset.device)[0] == 0
    with pytest.raises(AssertionError, match="403.*untouched"):
        handset.sync()
    assert run("devices", "list", "--owner", "dan")[1]["devices"][0]["revoked_ms"]


def test_held_conflicts_undelete(run, hub):
    a, b = Handset(hub, "a", "hal"), Handset(hub, "b", "hal")
    a.sync(a.item(b"u", CARD), *[a.item(b"w%d" % n, CARD) for n in range(9)])
    b.sync()
    base = content_id(0, (), CARD)
    a.sync(*[a.item(b"w%d" % n, None, base=base) for n in range(8)])
    found = run("held", "list", "hal")[1]["held"]
    assert [h["uid"] for h in found] == ["w5", "w6", "w7"] and found[0]["title"] == "Ada"
    assert run("held", "accept", "hal", str(found[0]["pos"]))[1]["decided"] == 1
    assert run("held", "refuse", "hal")[1]["decided"] == 2
    assert run("held", "accept", "hal", "99999")[0] == 4
    assert run("held", "list")[1]["held"] == []
    b.sync()
    assert b.records[1, b"w5"] is None and b.records[1, b"w7"] == CARD
    gone = run("undelete", "hal")[1]["deleted"]
    assert {d["uid"] for d in gone} >= {"w5"} and all(d["title"] and d["there"] for d in gone)
    assert run("undelete", "hal", "contact")[0] == 2 and run("undelete", "nobody")[0] == 4
    assert run("undelete", "hal", "contact", "w5")[0] == 0
    assert "w5" not in {d["uid"] for d in run("undelete", "hal")[1]["deleted"]}
    assert run("undelete", "hal", "contact", "w7")[0] == 3
    assert run("undelete", "hal", "contact", "nothing")[0] == 4
    b.sync()
    assert b.records[1, b"w5"] == CARD
    a.sync(a.item(b"u", CARD.replace(b"Ada", b"Bea"), base=base, stamp=900))
    b.sync(b.item(b"u", CARD.replace(b"Ada", b"Cid"), base=base, stamp=800))
    (conflict,) = run("conflicts", "list", "hal")[1]["conflicts"]
    assert (conflict["title"], conflict["properties"]) == ("Cid", ["N"])
    pos = str(conflict["pos"])
    assert run("conflicts", "restore", "hal", "contact", "u", pos)[0] == 0
    assert run("conflicts", "list", "hal")[1]["conflicts"] == []
    b.sync()
    assert b"Cid" in b.records[1, b"u"]
    assert run("conflicts", "resolve", "hal", "contact", "u", "4711")[0] == 4


def test_stats_say_what_is_wrong(run, hub):
    a = Handset(hub, "a", "stan")
    a.sync(*[a.item(b"u%d" % n, CARD) for n in range(9)])
    a.sync(*[a.item(b"u%d" % n, None) for n in range(7)])
    a.sync(a.item(b"u8", CARD + b"NOTE:x\n", seq=1))
    code, found = run("stats")
    assert code == 0 and found["backup"]["old"] and not found["offsite"]["configured"]
    assert found["records"] >= 4 and found["held"] == 2 and len(found["quarantined"]) == 1
    text = " ".join(found["alarms"])
    assert "backup" in text and "quarantine" in text and "wait" in text
    (device,) = [d for d in found["devices"] if d["owner"] == "stan"]
    assert device["ack"] == device["last_seq"] == 16 and device["seen_ms"]


def test_stats_show_the_age_of_the_last_backup(run, hub, tmp_path, monkeypatch, capsys):
    """On a terminal in red, when it is old."""
    assert run("backup", str(tmp_path / "copy"))[0] == 0
    capsys.readouterr()
    words = ["hub", "stats", "--data", str(hub.data)]
    assert cli.main(words) == 0
    shown = capsys.readouterr()
    assert "last compared backup  just now (" in shown.out and "compared backup" not in shown.err
    late_ms = int(time.time() * 1000) + 8 * 86_400_000
    monkeypatch.setattr("drybag_host.hub.cli_owner.now_ms", lambda: late_ms)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert cli.main(words) == 0
    shown = capsys.readouterr()
    assert "8 days ago (" in shown.out and "OLD" in shown.out
    assert "\x1b[1;31mwarning: the last compared backup is 8 days old" in shown.err


def test_without_a_hub_there(tmp_path, capsys):
    words = ["hub", "stats", "--data", str(tmp_path / "nothing")]
    assert cli.main(words) == 15
    assert "no hub has its data there" in capsys.readouterr().err
    assert not (tmp_path / "nothing").exists()


def test_what_is_not_there_is_looked_for_in_the_hub(hub, tmp_path, capsys):
    """The next step names commands of the hub, not of a handset."""
    for words in (("revoke", "0123456789abcdef"), ("undelete", "nobody", "contact", "u"),
                  ("at", "1h", "--owner", "nobody"), ("export", "nobody", str(tmp_path / "x")),
                  ("users", "remove", "nobody", "--yes")):  # fmt: skip
        assert cli.main(["hub", *words, "--data", str(hub.data)]) == 4, words
        assert "drybag hub users list" in capsys.readouterr().err
    assert cli.main(["hub", "at", "0m", "--owner", "nobody", "--data", str(hub.data)]) == 4


def test_a_hub_without_handsets_says_how_to_pair_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("DRYBAG_HUB_PASSWORD", PASSWORD)
    data = str(tmp_path / "h")
    assert cli.main(["hub", "users", "add", "ada", "--data", data]) == 0
    assert cli.main(["hub", "devices", "--data", data]) == 0
    assert "drybag pair" in capsys.readouterr().out
    assert cli.main(["hub", "stats", "--data", data]) == 0
    assert "no id yet" in capsys.readouterr().out


@pytest.fixture
def berlin(monkeypatch):
    """This computer's time is one hour ahead of UTC, two in summer."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("text, utc", [
    ("2026-01-31T09:30", "2026-01-31T08:30:00.000"),
    ("2026-07-31T09:30", "2026-07-31T07:30:00.000"),
    ("2026-01-31 09:30:15", "2026-01-31T08:30:15.000"),
    ("2026-01-31T09:30Z", "2026-01-31T09:30:00.000"),
    ("2026-01-31T09:30-05:00", "2026-01-31T14:30:00.000"),
    ("2026-01-31", "2026-01-31T22:59:59.999"),
    ("2026-03-29", "2026-03-29T21:59:59.999"),  # a day of 23 hours
    ("2026-08-01", "2026-08-01T12:00:00.000"),  # today, so far
    ("90m", "2026-08-01T10:30:00.000"),
    ("6h ago", "2026-08-01T06:00:00.000"),
    ("3d", "2026-07-29T12:00:00.000"),
    ("2026-08-02", None), ("2026-08-01T12:01Z", None), ("2026-13-01", None), ("soon", None),
    ("2026-01-31T09:30 CET", None), ("9999-12-31", None), ("0001-01-01", None), ("", None),
])  # fmt: skip
def test_a_moment_is_local_unless_it_says_so(berlin, text, utc):
    now_s = datetime(2026, 8, 1, 12, tzinfo=UTC).timestamp()
    if utc is None:
        with pytest.raises(Usage) as caught:
            moment_ms(text, now_s)
        assert caught.value.hint
    else:
        found = datetime.fromtimestamp(moment_ms(text, now_s) / 1000, UTC)
        assert found.isoformat(timespec="milliseconds") == utc + "+00:00"


def test_a_moment_that_is_yet_to_come(hub, tmp_path, capsys):
    for words in (("at", "2999-01-01"), ("export", "x", str(tmp_path), "--at", "2999-01-01")):
        assert cli.main(["hub", *words, "--data", str(hub.data)]) == 2
        assert "yet to come" in capsys.readouterr().err


def test_a_clock_that_was_set_back_is_told(tmp_path):
    """By the hub when it starts; it takes records all the same."""
    process = HubProcess(tmp_path / "hub")
    try:
        handset = Handset(process, "a", "ada")
        handset.sync(handset.item(b"u", CARD))
        assert "clock" not in (tmp_path / "hub.log").read_text()
        process.stop()
        with process.storage() as storage:
            assert stats.clock_behind_s(storage, int(time.time() * 1000)) == 0
            ahead = Device(Service(storage, None, lambda: time.time() + 90_000), "b")
            ahead.sync(ahead.item(b"v", CARD))
        process.start()
        handset = Handset(process, "c", "ada")
        handset.sync(handset.item(b"w", CARD))
        assert "clock is 14" in (tmp_path / "hub.log").read_text()
    finally:
        process.stop()


def test_a_database_that_is_something_else(tmp_path, capsys):
    (tmp_path / "hub.sqlite3").write_bytes(os.urandom(9000))
    for words in (("stats",), ("serve", "--listen", "127.0.0.1:0"), ("users", "list")):
        assert cli.main(["hub", *words, "--data", str(tmp_path)]) == 60
        assert "drybag hub restore" in capsys.readouterr().err


@pytest.fixture
def public():
    """A folder that other users can look into."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_a_hub_of_another_user(public, monkeypatch, capsys):
    """Whoever may not read it is told whose it is; a new one is for its own user's eyes."""
    monkeypatch.setenv("DRYBAG_HUB_PASSWORD", PASSWORD)
    data = public / "hub"
    data.mkdir(mode=0o755)
    assert cli.main(["hub", "users", "add", "ada", "--data", str(data)]) == 0
    assert cli.main(["hub", "backup", str(public / "copy"), "--data", str(data)]) == 0
    for path in (data / "hub.sqlite3", data / "blobs"):
        assert path.stat().st_mode & 0o077 == 0
    (data / "hub.sqlite3").chmod(0o644)
    for name in ("pwd", "drybag_host.hub.serving", "drybag_host.hub.stats"):
        importlib.import_module(name)  # the other user may not be able to
    capsys.readouterr()
    for mode in (0o755, 0o700):  # may be looked at, may not
        data.chmod(mode)
        for words in (["stats"], ["users", "list"], ["serve", "--listen", "127.0.0.1:0"],
                      ["restore", "--from", str(public / "copy")]):  # fmt: skip
            os.seteuid(65534)
            try:
                code = cli.main(["hub", *words, "--data", str(data)])
            finally:
                os.seteuid(0)
            said = capsys.readouterr().err
            assert code == 23 and "belongs to root" in said and "Traceback" not in said


def test_a_password_is_never_taken_from_a_pipe(hub):
    env = {k: v for k, v in os.environ.items() if k != "DRYBAG_HUB_PASSWORD"}
    done = subprocess.run(
        [sys.executable, "-m", "drybag_host.cli", "hub", "users", "add", "pipe", "--data",
         str(hub.data)],
        input=b"from a pipe\n", capture_output=True, env=env, timeout=60,
    )  # fmt: skip
    assert done.returncode == 24 and b"DRYBAG_HUB_PASSWORD" in done.stderr


@pytest.mark.parametrize(
    "words",
    [("--listen", "nonsense"), ("--ack", "offsite"),
     ("--listen", "0.0.0.0:0", "--insecure-loopback")],
)  # fmt: skip
def test_options_that_do_not_fit_together(tmp_path, words, capsys):
    assert cli.main(["hub", "serve", "--data", str(tmp_path / "h"), *words]) == 2
    assert "what to do" in capsys.readouterr().err
