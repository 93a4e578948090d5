"""What a hub takes: durable entries a second, how long an ack takes, memory, growth.

A real hub process on this computer's disk (SQLite, synchronous=FULL), TLS on loopback, the load
from this process. An ack is sent after the commit is on the disk. Beside it CardDAV PUTs to a real
Radicale (its files synced), in the same run. `cpu_ms_per_entry` is the hub's own processor time.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import carddav
import hub_load
import hub_storage

from drybag_host.hub.accounts import add_owner
from drybag_host.trials.server import HubServer

HANDSETS = 50
OWNERS = 25
ENROLLED = 10_000
LIMITS = {"entries_per_second": 2000, "ack_p99_ms": 150, "offered": 2200}
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_NO_LIMIT = ("--rate", "100000")


def cpu_s(server):
    """Processor time of the hub so far."""
    words = Path("/proc/%d/stat" % server.process.pid).read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) * _TICK_S


def ingest(folder, seconds):
    """Batches of 20 and one by one, as fast as they go; and batches at what a hub should stand."""
    found = {}
    for name, batch, rate in (
        ("batches", 20, 0), ("one_by_one", 1, 0), ("batches_offered", 20, LIMITS["offered"]),
    ):  # fmt: skip
        with HubServer(Path(folder) / name, *_NO_LIMIT) as server:
            hubs = [server.enrol("o%d" % (i % OWNERS), "h%d" % i) for i in range(HANDSETS)]
            before = cpu_s(server)
            found[name] = hub_load.load(hubs, batch, seconds, rate)
            used = cpu_s(server) - before
            found[name]["cpu_ms_per_entry"] = round(
                1000 * used / (found[name]["entries"] + batch * HANDSETS), 3
            )
    return found


def memory(folder, count, busy):
    """The hub's memory with `count` enrolled handsets, of which `busy` sync."""
    with HubServer(Path(folder) / "memory", *_NO_LIMIT) as server:
        small, _ = server.memory_kib()
        with server.storage() as storage:
            now_ms = int(time.time() * 1000)
            add_owner(storage, "many", "correct horse battery", now_ms)
            with storage.batch():
                for start in range(0, count - busy, 500):
                    storage.commit([_device(n, now_ms) for n in range(start, start + 500)])
        hubs = [server.enrol("many", "busy%d" % n) for n in range(busy)]
        hub_load.load(hubs, 20, 1)
        now, most = server.memory_kib()
    return {"enrolled": count, "connected": busy, "before_mib": round(small / 1024, 1),
            "mib": round(now / 1024, 1), "peak_mib": round(most / 1024, 1)}  # fmt: skip


def _device(number, now_ms):
    row = {"device": "%016x" % (number + 1), "owner": "many", "name": "h%d" % number,
           "secret_sha256": bytes(32), "created_ms": now_ms}  # fmt: skip
    return "devices", row


def growth(folder, quick):
    """What one batch costs from 1,000 to 1,000,000 records; see hub_storage.py."""
    return None if quick else hub_storage.growth(folder)


def run(quick=False):
    seconds = 1.5 if quick else 8
    with tempfile.TemporaryDirectory() as folder:
        print("ingest ...", file=sys.stderr)
        result = {"handsets": HANDSETS, "limits": LIMITS, **ingest(folder, seconds)}
        print("memory ...", file=sys.stderr)
        result["memory"] = memory(folder, 1000 if quick else ENROLLED, 20 if quick else 200)
        print("growth ...", file=sys.stderr)
        result["growth"] = growth(folder, quick)
        print("CardDAV ...", file=sys.stderr)
        result["carddav"] = carddav.measure(folder, carddav.contacts(20 if quick else 200))
    result["load_average"] = os.getloadavg()[0]
    result["entries_per_second"] = result["batches"]["entries_per_second"]
    return result


def table(result):
    print("%d handsets, TLS on loopback; load average of the computer %.1f" % (
        result["handsets"], result["load_average"],
    ))  # fmt: skip
    print("%-28s %9s %9s %9s %12s" % ("", "entries/s", "p50 ms", "p99 ms", "cpu ms/entry"))
    for name in ("batches", "one_by_one", "batches_offered"):
        row = result[name]
        print("%-28s %9d %9.1f %9.1f %12.3f" % (
            name.replace("_", " "), row["entries_per_second"], row["ack_p50_ms"],
            row["ack_p99_ms"], row["cpu_ms_per_entry"],
        ))  # fmt: skip
    row = result["carddav"]
    print("%-28s %9.1f %9.1f %9.1f" % (
        "CardDAV, one client", row["entries_per_second"], row["ack_p50_ms"], row["ack_p99_ms"],
    ))  # fmt: skip
    print("memory with %(enrolled)d enrolled, %(connected)d connected: %(mib).1f MiB "
          "(%(before_mib).1f empty, peak %(peak_mib).1f)" % result["memory"])  # fmt: skip
    if result["growth"]:
        print("growth:", result["growth"])
