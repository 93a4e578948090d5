"""What a sync costs on the wire: 200 contacts from a handset to its hub, and a poll with no news.

The handset is the real journal and sync engine in this process, with the heads that the firmware
sends; the hub a real process. Bytes are those of TCP's payload, counted between the two: in plain
(what there is to say), and in `tls` as a handset sends it, its handshake included. Beside it the
same contacts as CardDAV PUTs to a real Radicale, in plain, in the same run.
"""

import tempfile
from pathlib import Path

import carddav

from drybag import journal, layout, syncsettings
from drybag.syncengine import SyncEngine
from drybag_host.emulator.netfaults import FaultProxy
from drybag_host.trials.driver import Driver
from drybag_host.trials.flash import RamFlash
from drybag_host.trials.server import HubServer

LIMITS = {"round_trips": 1, "bytes_up": 24 * 1024, "idle_poll_bytes": 400}
_NOW = 820_454_400
_SECTORS = 256


def handset(book):
    """A journal that holds the contacts."""
    j = journal.mount(RamFlash(_SECTORS), lambda: _NOW)
    for uid, body in book:
        j.put(layout.CONTACT, uid, body)
    return j


def drybag(folder, book, *options):
    """The figures of one handset at one hub."""
    with HubServer(Path(folder) / "hub", *options) as server:
        hub = server.enrol("ada", "bench")
        j = handset(book)
        with FaultProxy(("127.0.0.1", server.port)) as link:
            syncsettings.pair(j, hub, lambda: 12345)
            engine = SyncEngine(j, lambda: _NOW)
            driver = Driver(hub, link.port)
            _synced(driver.sync(engine))
            first, trips = link.totals, driver.round_trips
            _synced(driver.sync(engine))  # tells the hub how far it has taken the changes
            before = link.totals
            _synced(driver.sync(engine))
            driver.close()
            after = link.totals
    return {
        "bytes_up": first["up"],
        "bytes_down": first["down"],
        "bytes_up_per_record": round(first["up"] / len(book), 1),
        "round_trips": trips,
        "idle_poll_bytes_up": after["up"] - before["up"],
        "idle_poll_bytes_down": after["down"] - before["down"],
    }


def _synced(outcome):
    if outcome.state != "synced":
        raise SystemExit("the sync ended %s: %s" % (outcome.state, outcome.reason))


def run(quick=False):
    """Both sides; `quick` leaves the other side at 20 contacts."""
    book = carddav.contacts()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "plain").mkdir()
        plain = drybag(Path(folder, "plain"), book, "--insecure-loopback")
        tls = drybag(folder, book)
        other = carddav.measure(folder, book[:20] if quick else book)
    return {
        "contacts": len(book),
        "body_bytes": sum(len(body) for _, body in book),
        **plain,
        "tls": tls,
        "carddav": other,
        "limits": LIMITS,
    }


def table(result):
    print("%d contacts, %d bytes of bodies" % (result["contacts"], result["body_bytes"]))
    print("%-24s %12s %12s %12s" % ("", "drybag", "over TLS", "CardDAV"))
    for name in ("round_trips", "bytes_up", "bytes_up_per_record", "idle_poll_bytes_up",
                 "idle_poll_bytes_down"):  # fmt: skip
        print("%-24s %12s %12s %12s" % (
            name.replace("_", " "), result[name], result["tls"][name], result["carddav"][name],
        ))  # fmt: skip
