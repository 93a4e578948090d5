"""What the hub's storage takes, alone: durable entries a second, and cost as rows grow.

One writer, as in a hub process: a commit of 20 entries writes what the service writes for them
(versions, heads, stream, mark, owner). Pages are counted, so the growth does not depend on what
else this computer does: those that a commit touches, those of them that were not in the database's
cache, and those written (of PostgreSQL: its WAL, in pages of 8 KiB).
"""

import contextlib
import hashlib
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

import apsw

from drybag_host.hub.storage import open_storage

OWNERS = 100
BATCH = 20  # entries of one commit, a handset's request
GROUP = 10  # commits that become durable together
MEASURED = 60  # commits at each size
PAGES = ("pages_touched", "pages_missed", "pages_written")
LIMITS = {"entries_per_second": 2000, "growth": 2.0}


class Load:
    """Owners' logs that grow, in the storage, without the service's decisions."""

    def __init__(self, storage, seed=1):
        self.storage = storage
        self.rng = random.Random(seed)
        self.pos = [0] * OWNERS
        self.total = 0

    def rows(self, owner, count):
        """Puts of `count` entries of an owner: nine of ten are new records, the others edits."""
        name = "owner%03d" % owner
        device = "%016x" % (owner + 1)
        puts = []
        for _ in range(count):
            pos = self.pos[owner] = self.pos[owner] + 1
            number = self.rng.randrange(pos) if pos % 10 == 0 else pos
            uid = hashlib.sha256(b"%d %d" % (owner, number)).hexdigest()[:24].encode()
            body = (b"VERSION:3.0\nFN:Person %d\nTEL:+49 30 %d\n" % (number, pos)) * 2
            stream = {"device": device, "epoch": 7, "life": owner}
            puts.append(("versions", {
                "owner": name, "pos": pos, "kind": 1, "uid": uid, "role": "pushed", "counts": 1,
                "seq": pos, "item_sha": hashlib.sha256(body).digest(), "stamp": pos, "rev": 1,
                "received_ms": 1_700_000_000_000 + self.total, "body": body, "content_id": pos,
                "chain": bytes(32), **stream,
            }))  # fmt: skip
            title = "Person %d" % number
            puts.append(("heads", {"owner": name, "kind": 1, "uid": uid, "pos": pos,
                                   "stamp": pos, "title": title, **stream}))  # fmt: skip
        self.total += count
        ack = {"ack": self.pos[owner], **stream}
        puts.append(("streams", {"last_seq": ack["ack"], "ack_check": bytes(8), **ack}))
        puts.append(("marks", {"check8": bytes(8), **ack}))
        puts.append(("owners", {"owner": name, "pos": ack["ack"], "chain": bytes(32)}))
        return puts

    def commit(self, count=BATCH):
        """One request of a random handset: what the service reads, then one commit."""
        owner = self.rng.randrange(OWNERS)
        puts = self.rows(owner, count)
        name = "owner%03d" % owner
        self.storage.get("owners", [(name,)])
        self.storage.get("heads", [(name, 1, row["uid"]) for t, row in puts if t == "heads"])
        self.storage.commit(puts)

    def fill(self, total):
        """Grow to `total` versions, fast."""
        while self.total < total:
            with self.storage.batch():
                for _ in range(10):
                    if self.total < total:
                        self.commit(min(500, total - self.total))


def ingest(url, seconds):
    """Durable entries a second: grouped, one request a commit, one entry a commit."""
    out = {}
    with open_storage(url) as storage:
        load = Load(storage)
        load.fill(2000)
        for name, count, group in (
            ("grouped", BATCH, GROUP), ("request", BATCH, 1), ("one_by_one", 1, 1),
        ):  # fmt: skip
            times, before = [], load.total
            started = time.perf_counter()
            while time.perf_counter() - started < seconds:
                began = time.perf_counter()
                with storage.batch() if group > 1 else contextlib.nullcontext():
                    for _ in range(group):
                        load.commit(count)
                times.append(time.perf_counter() - began)
            took = time.perf_counter() - started
            out[name] = {
                "entries_per_second": round((load.total - before) / took),
                "commit_p50_ms": round(1000 * statistics.median(times), 2),
                "commit_p99_ms": round(1000 * sorted(times)[int(len(times) * 0.99)], 2),
            }
    return out


def _sqlite_pages(storage):
    """(touched, not in its cache, written)"""
    missed = hit = 0
    for connection in (storage._writer, *storage._readers):
        missed += connection.status(apsw.SQLITE_DBSTATUS_CACHE_MISS)[0]
        hit += connection.status(apsw.SQLITE_DBSTATUS_CACHE_HIT)[0]
    written = storage._writer.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE)[0]
    return hit + missed, missed, written


def _postgres_pages(storage):
    with storage._connect() as db:
        db.execute("SELECT pg_stat_clear_snapshot()")
        hit, read = db.execute(
            "SELECT blks_hit, blks_read FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
        wal = db.execute("SELECT pg_current_wal_lsn() - '0/0'").fetchone()[0]
    return hit + read, read, int(wal) / 8192


def grow(url, sizes):
    """[{rows, ms, pages...}] of a commit of BATCH entries, at each size."""
    pages = _sqlite_pages if url.startswith("sqlite:") else _postgres_pages
    out = []
    with open_storage(url) as storage:
        load = Load(storage)
        for size in sizes:
            load.fill(size)
            if url.startswith("postgres"):
                with storage._connect() as db:
                    db.execute("VACUUM ANALYZE")
            for _ in range(5):
                load.commit()
            _settle(url)
            before, times = pages(storage), []
            for _ in range(MEASURED):
                began = time.perf_counter()
                load.commit()
                times.append(time.perf_counter() - began)
            _settle(url)
            after = pages(storage)
            step = {"rows": size, "ms": round(1000 * statistics.median(times), 2)}
            for name, one, other in zip(PAGES, before, after, strict=True):
                step[name] = round((other - one) / MEASURED, 1)
            out.append(step)
            print("  %(rows)9d rows: %(ms).2f ms" % out[-1], file=sys.stderr)
    return out


def _settle(url):
    if url.startswith("postgres"):
        time.sleep(1.2)  # its statistics come a second late


def _ratios(steps):
    """How many times the first thousand's cost the last size has."""
    first, last = steps[0], steps[-1]
    names = ("ms", "pages_touched", "pages_written")
    return {name: round(last[name] / first[name], 2) if first[name] else None for name in names}


def growth(folder, quick=False):
    """Cost of a commit as rows grow, for both backends; `ratio`: the largest to the smallest."""
    sizes = [1000, 10_000, 30_000] if quick else [1000, 10_000, 100_000, 1_000_000]
    out = {}
    for name, url in _urls(folder):
        with url as address:
            steps = grow(address, sizes)
            out[name] = {"steps": steps, "ratio": _ratios(steps)}
    return out


@contextlib.contextmanager
def _postgres():
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "hub"))
    import hub_servers

    with hub_servers.postgres_server() as server, hub_servers.postgres_url(server) as url:
        yield url


def _urls(folder):
    """(name, context manager of the URL of a fresh storage) of each backend there is."""
    name = "growth-%d.sqlite3" % time.monotonic_ns()
    yield "sqlite", contextlib.nullcontext("sqlite:" + os.path.join(folder, name))
    try:
        import pytest  # noqa: F401

        there = any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    except ImportError:
        there = False
    if there:
        yield "postgres", _postgres()
    else:
        print("no PostgreSQL here: left out (tools/services.sh)", file=sys.stderr)


def run(quick=False):
    result = {"limits": LIMITS}
    with tempfile.TemporaryDirectory() as folder:
        for name, url in _urls(folder):
            print("ingest, %s ..." % name, file=sys.stderr)
            with url as address:
                result[name] = ingest(address, 1 if quick else 5)
        print("growth ...", file=sys.stderr)
        result["growth"] = growth(folder, quick)
    result["load_average"] = os.getloadavg()[0]
    return result


def table(result):
    print("durable ingest of the storage alone; load average of the computer %.1f" % (
        result["load_average"],
    ))  # fmt: skip
    print("%-10s %-12s %10s %8s %8s" % ("", "", "entries/s", "p50 ms", "p99 ms"))
    for backend in ("sqlite", "postgres"):
        for name, row in result.get(backend, {}).items():
            print("%-10s %-12s %10d %8.2f %8.2f" % (
                backend, name, row["entries_per_second"], row["commit_p50_ms"],
                row["commit_p99_ms"],
            ))  # fmt: skip
    print("a commit of %d entries, as rows grow" % BATCH)
    print("%-10s %10s %8s %9s %9s %9s" % (
        "", "rows", "ms", "touched", "missed", "written",
    ))  # fmt: skip
    for backend, found in result["growth"].items():
        for row in found["steps"]:
            print("%-10s %10d %8.2f %9.1f %9.1f %9.1f" % (
                backend, row["rows"], row["ms"], *(row[name] for name in PAGES),
            ))  # fmt: skip
        print("%-10s last to first: time %s, pages touched %s, written %s" % (
            backend, *found["ratio"].values()))  # fmt: skip
