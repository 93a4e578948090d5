"""What a storage holds after the worst: killed writers, full disks, cut power, other processes."""

import contextlib
import hashlib
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import apsw
import pytest
import storage_writer
from hub_servers import postgres_server, postgres_url

from drybag.errors import FormatNewer
from drybag_host.errors import HostDiskFull, Usage
from drybag_host.hub import postgres as postgres_module
from drybag_host.hub import sqlite as sqlite_module
from drybag_host.hub.storage import StorageBusy, StorageError, StorageInUse, open_storage

HERE = Path(__file__).parent


def writer(url, *args, **how):
    """A storage_writer process that is ready."""
    path = os.pathsep.join(p for p in sys.path if p)
    process = subprocess.Popen(
        [sys.executable, str(HERE / "storage_writer.py"), url, *map(str, args)],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}, **how,
    )  # fmt: skip
    assert process.stdout.readline() == b"ready\n"
    return process


def check(url, acknowledged, who="ada"):
    """Everything acknowledged is there, every commit whole; returns the last number."""
    with open_storage(url) as storage:
        versions = storage.scan("versions", "", (who,))
        owner = storage.get("owners", [(who,)])[0]
        last = owner["pos"] if owner else 0
        assert last >= acknowledged
        assert [row["pos"] for row in versions] == list(range(1, last + 1))
        heads = storage.scan("heads", "changes", (who,))
        assert [row["pos"] for row in heads] == list(range(1, last + 1))
        for row, head in zip(versions, heads, strict=True):
            assert len(row["body"]) == row["pos"] * 37 % 900 and row["lsn"] == head["lsn"]
        assert storage.last_lsn() == max([row["lsn"] for row in versions], default=0)
        return last


def last_number(process, before):
    numbers = process.stdout.read().split()
    return int(numbers[-1]) if numbers else before


def test_a_killed_writer_takes_nothing_back(durable_url):
    rng = random.Random(4)
    acknowledged = 0
    for _turn in range(8):
        process = writer(durable_url, 1 << 30, rng.choice([1, 1, 7]))
        time.sleep(rng.uniform(0.02, 0.25))
        process.kill()
        acknowledged = last_number(process, acknowledged)
        process.wait()
        acknowledged = check(durable_url, acknowledged)
    assert acknowledged > 20


@pytest.fixture(scope="module")
def own_server():
    """A PostgreSQL server that may be stopped."""
    with postgres_server() as server:
        yield server


def test_a_database_server_that_crashes_takes_nothing_back(own_server):
    with postgres_url(own_server) as url:
        process = writer(url, 1 << 30, 3)
        time.sleep(0.3)
        own_server.stop(signal.SIGQUIT)
        acknowledged = last_number(process, 0)
        assert process.wait(30) != 0
        own_server.start()
        assert check(url, acknowledged) >= acknowledged > 0


def test_a_server_that_was_restarted_is_found_again(own_server):
    server = own_server
    with postgres_url(server) as url:
        with open_storage(url) as storage:
            storage_writer.commit(storage, "ada", 1)
            assert storage.counts("versions") == 1
            with pytest.raises(StorageError, match="cannot be reached"):
                with storage.batch():
                    storage_writer.commit(storage, "ada", 2)
                    server.stop(signal.SIGQUIT)
                    storage_writer.commit(storage, "ada", 3)
            with pytest.raises(StorageError, match="cannot be reached"):
                storage_writer.commit(storage, "ada", 2)
            server.start()
            storage_writer.commit(storage, "ada", 2)
            assert check(url, 2) == 2


def test_a_full_disk_is_said_and_costs_nothing(tmp_path):
    """A real limit of the system on the size of files, not a made-up error."""
    url = "sqlite:%s" % (tmp_path / "hub.sqlite3")
    limit = 1_500_000

    def small_disk():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = writer(url, 1 << 30, 2, preexec_fn=small_disk, stderr=subprocess.PIPE)
    out, err = process.communicate(timeout=60)
    assert process.returncode and b"HostDiskFull: the disk is full while writing" in err, err
    acknowledged = int(out.split()[-1])
    assert acknowledged > 20 and check(url, acknowledged) == acknowledged


def test_after_a_full_disk_the_same_storage_goes_on(tmp_path):
    url = "sqlite:%s" % (tmp_path / "hub.sqlite3")
    with open_storage(url) as storage:
        storage_writer.commit(storage, "ada", 1)
        pages = next(storage._writer.execute("PRAGMA page_count"))[0]
        storage._writer.execute("PRAGMA max_page_count = %d" % (pages + 3))
        n = 1
        with pytest.raises(HostDiskFull):
            while True:
                with storage.batch():
                    for step in (1, 2, 3):
                        storage_writer.commit(storage, "ada", n + step)
                n += 3
        assert [row["pos"] for row in storage.scan("versions")] == list(range(1, n + 1))
        storage._writer.execute("PRAGMA max_page_count = 100000")
        storage_writer.commit(storage, "ada", n + 1)
    assert check(url, n + 1) == n + 1


def test_processes_share_a_database_without_losing_a_step(durable_url):
    """A hub and a tool beside it, or several hub processes on PostgreSQL."""
    open_storage(durable_url).close()
    processes = [writer(durable_url, 60, size, "w%d" % size) for size in (1, 2, 3)]
    for process in processes:
        assert process.wait(120) == 0
    with open_storage(durable_url) as storage:
        lsns = [row["lsn"] for row in storage.scan("versions")]
        assert len(lsns) == 180 and sorted(lsns) == list(range(1, 181))
        changed = [row["lsn"] for name, row in storage.changed(0, 10_000) if name == "versions"]
        assert changed == list(range(1, 181))
    for size in (1, 2, 3):
        with open_storage(durable_url) as storage:
            assert storage.get("owners", [("w%d" % size,)])[0]["pos"] == 60


def test_changed_never_skips_what_another_process_is_still_writing(durable_url):
    """The off-site copy reads beside the writers: a number is visible only after all before."""
    open_storage(durable_url).close()
    processes = [writer(durable_url, 80, size, "w%d" % size) for size in (1, 4)]
    seen, after = [], 0
    with open_storage(durable_url) as storage:
        while any(process.poll() is None for process in processes) or after < 160:
            page = storage.changed(after, 5)
            seen += [row["lsn"] for name, row in page if name == "versions"]
            after = page[-1][1]["lsn"] if page else after
    assert seen == list(range(1, 161))
    assert [process.wait() for process in processes] == [0, 0]


def test_one_hub_a_file(tmp_path):
    url = "sqlite:%s" % (tmp_path / "hub.sqlite3")
    with open_storage(url, serve=True) as storage:
        storage_writer.commit(storage, "ada", 1)
        done = subprocess.run(
            [sys.executable, "-c",
             "import sys; from drybag_host.hub.storage import open_storage; "
             "open_storage(sys.argv[1], serve=True)", url],
            capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )  # fmt: skip
        assert done.returncode and "StorageInUse: another hub process serves" in done.stderr
        with pytest.raises(StorageInUse):
            open_storage(url, serve=True)
        with open_storage(url) as tool:  # a command beside it may write
            storage_writer.commit(tool, "ada", 2)
        storage_writer.commit(storage, "ada", 3)
    with open_storage(url, serve=True) as storage:
        assert storage.counts("versions") == 3


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_newer_or_foreign_file_is_left_as_it_is(tmp_path):
    path = tmp_path / "hub.sqlite3"
    url = "sqlite:%s" % path
    open_storage(url).close()
    with contextlib.closing(apsw.Connection(str(path))) as db:
        db.execute("PRAGMA user_version = 2; PRAGMA wal_checkpoint(TRUNCATE)")
    before = digest(path)
    with pytest.raises(FormatNewer, match="format 2"):
        open_storage(url)
    assert digest(path) == before
    other = tmp_path / "other.sqlite3"
    with contextlib.closing(apsw.Connection(str(other))) as db:
        db.execute("CREATE TABLE theirs (x)")
    before = digest(other)
    with pytest.raises(StorageError, match="another program"):
        open_storage("sqlite:%s" % other)
    assert digest(other) == before
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"no database, but long enough to look at" * 100)
    before = digest(rubbish)
    with pytest.raises(StorageError, match="no SQLite database"):
        open_storage("sqlite:%s" % rubbish)
    assert digest(rubbish) == before


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "hub.sqlite3"
    url = "sqlite:%s" % path
    with open_storage(url) as storage:
        for n in range(1, 60):
            storage_writer.commit(storage, "ada", n)
    data = bytearray(path.read_bytes())
    for at in range(4096, len(data), 4096):
        data[at : at + 100] = b"\xaa" * 100
    path.write_bytes(data)
    with pytest.raises(StorageError, match="damaged: .*"):
        with open_storage(url) as storage:
            storage.scan("versions")


def test_postgres_of_a_newer_format_or_of_others_is_refused(postgres):
    with postgres_url(postgres) as url:
        open_storage(url).close()
        with postgres.admin() as admin:
            schema = url.rpartition("%3D")[2]
            admin.execute("UPDATE %s.drybag_format SET version = 2" % schema)
        with pytest.raises(FormatNewer, match="format 2"):
            open_storage(url)
    with postgres_url(postgres) as url:
        with postgres.admin() as admin:
            admin.execute("CREATE TABLE %s.theirs (x int)" % url.rpartition("%3D")[2])
        with pytest.raises(StorageError, match="other programs"):
            open_storage(url)


def test_postgres_that_would_forget_is_refused(postgres):
    with postgres.admin() as admin, postgres_url(postgres) as url:
        admin.execute("ALTER SYSTEM SET fsync = off")
        admin.execute("SELECT pg_reload_conf()")
        try:
            _wait_for_setting(postgres, "off")
            with pytest.raises(StorageError, match="fsync = off"):
                open_storage(url)
        finally:
            admin.execute("ALTER SYSTEM RESET fsync")
            admin.execute("SELECT pg_reload_conf()")
            _wait_for_setting(postgres, "on")


def _wait_for_setting(server, value):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with server.admin() as admin:
            if admin.execute("SHOW fsync").fetchone()[0] == value:
                return
    raise AssertionError("the server does not read its settings")


def test_postgres_that_is_held_says_busy(postgres, monkeypatch):
    monkeypatch.setattr(
        postgres_module, "SETTINGS", ("SET lock_timeout = '200ms'", *postgres_module.SETTINGS[:1])
    )
    with postgres_url(postgres) as url, open_storage(url) as one, open_storage(url) as other:
        with one.batch():
            storage_writer.commit(one, "ada", 1)
            with pytest.raises(StorageBusy):
                storage_writer.commit(other, "bob", 1)
        storage_writer.commit(other, "bob", 1)
        assert one.counts("versions") == 2


def test_secrets_and_wrong_servers(tmp_path):
    with pytest.raises(Usage, match="password"):
        open_storage("postgresql://drybag:secret@127.0.0.1:1/x")
    with pytest.raises(StorageError, match="cannot be reached") as caught:
        open_storage("postgresql://drybag@127.0.0.1:1/x")
    assert "running" in caught.value.hint
    with pytest.raises(Exception, match="no such database"):
        open_storage("sqlite:%s" % (tmp_path / "nothing"), readonly=True)
    assert not (tmp_path / "nothing").exists()


def test_a_database_that_another_process_holds_is_busy(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_module, "BUSY_MS", 100)
    url = "sqlite:%s" % (tmp_path / "hub.sqlite3")
    with open_storage(url) as storage:
        storage_writer.commit(storage, "ada", 1)
        with contextlib.closing(apsw.Connection(storage.path)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageBusy):
                storage_writer.commit(storage, "ada", 2)
            assert storage.counts("versions") == 1  # reading goes on
            other.execute("COMMIT")
        storage_writer.commit(storage, "ada", 2)
    assert check(url, 2) == 2


def test_a_deadlock_that_the_server_ends_is_tried_again(postgres):
    """A real one: each of two transactions waits for what the other has locked."""
    with postgres_url(postgres) as url, open_storage(url) as storage:
        storage_writer.commit(storage, "ada", 1)
        other = storage._connect()
        other.execute("SET deadlock_timeout = '20s'")  # so that ours is the one that ends
        other.execute("BEGIN")
        other.execute("UPDATE heads SET title = 'x' WHERE owner = 'ada'")
        failed = []
        begin = storage._begin

        def locked():
            begin()
            storage._writer.execute("SET LOCAL deadlock_timeout = '50ms'")
            if not failed:  # the other one waits for our row now, we come to wait for its
                failed.append(threading.Thread(target=wait))
                failed[0].start()
                time.sleep(0.2)

        def wait():
            other.execute("SELECT lsn FROM log_position FOR UPDATE")
            other.execute("ROLLBACK")

        storage._begin = locked
        storage.commit([("heads", {"owner": "ada", "kind": 1, "uid": b"ada 1", "pos": 7})])
        failed[0].join(30)
        other.close()
        assert storage.scan("heads")[0]["pos"] == 7
