"""Power cuts under SQLite: at any call, with whatever the disk makes of what was not synced."""

import random
from pathlib import Path

import apsw
import pytest
import storage_writer
from power_vfs import PowerVFS, after_cut
from test_storage_crash import check

from drybag_host.hub import sqlite

CUTS = 60


class OnPowerDisk(sqlite.SqliteStorage):
    vfs = "power"


class Careless(OnPowerDisk):
    """What WAL does by default in many programs: commits that are not synced."""

    def _connect(self, *args, **how):
        connection = super()._connect(*args, **how)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection


def lived(kind, folder, monkeypatch):
    """(calls, [(number of calls when a commit had returned, last position)])."""
    monkeypatch.setattr(sqlite, "CHECKPOINT_PAGES", 30)
    vfs = PowerVFS()
    acknowledged = []
    n = 0
    with kind("sqlite:%s" % (folder / "hub.sqlite3")) as storage:
        for batch in (1, 1, 3, 1, 2, 1, 1, 5, 1, 1, 1, 2, 1, 1, 4, 1):
            with storage.batch():
                for _ in range(batch):
                    n += 1
                    storage_writer.commit(storage, "ada", n)
            acknowledged.append((len(vfs.calls), n))
        calls = list(vfs.calls)
    del vfs
    return calls, acknowledged


def lost(folder, calls, acknowledged, seed):
    """Cut the power at random; what the storage says then, as errors."""
    rng = random.Random(seed)
    first = acknowledged[0][0]
    found = []
    for number in range(CUTS):
        cut = rng.randrange(first, len(calls) + 1)
        if number % 2:  # at the moment when an acknowledgement went out
            cut = rng.choice(acknowledged)[0]
        safe = max(n for at, n in acknowledged if at <= cut)
        there = folder / str(number)
        there.mkdir()
        for path, image in after_cut(calls[:cut], rng).items():
            if image:
                (there / Path(path).name).write_bytes(image)
        try:
            check("sqlite:%s" % (there / "hub.sqlite3"), safe)
            with apsw.Connection(str(there / "hub.sqlite3")) as db:
                assert next(db.execute("PRAGMA integrity_check"))[0] == "ok"
        except Exception as error:
            found.append("cut after call %d of %d: %s" % (cut, len(calls), error))
    return found


def test_what_was_acknowledged_survives_any_cut(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    calls, acknowledged = lived(OnPowerDisk, tmp_path / "real", monkeypatch)
    assert sum(what == "sync" for _, what, _, _ in calls) >= len(acknowledged)
    assert lost(tmp_path, calls, acknowledged, 1) == []


def test_the_test_notices_what_is_not_synced(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    calls, acknowledged = lived(Careless, tmp_path / "real", monkeypatch)
    assert lost(tmp_path, calls, acknowledged, 1)


@pytest.mark.parametrize("what", ["write", "truncate", "delete"])
def test_the_disk_keeps_what_was_synced(what):
    calls = [("f", "write", 0, b"a" * 2000), ("f", "sync", 0, b"")]
    calls.append(("f", what, 100, b"b" * 1000 if what == "write" else b""))
    images = {bytes(after_cut(calls, random.Random(seed))["f"]) for seed in range(40)}
    if what == "delete":
        assert images == {b""}
    else:
        assert b"a" * 2000 in images and len(images) > 1
    assert bytes(after_cut(calls[:2], random.Random(1))["f"]) == b"a" * 2000
