"""The other side of the comparison: a real Radicale on loopback, and CardDAV PUTs to it.

Its defaults: files, synced to disk (filesystem_fsync) before it answers. No TLS and no password,
which would make its figures worse; bytes are those of TCP, counted between client and server.
"""

import contextlib
import http.client
import random
import socket
import subprocess
import sys
import time
from pathlib import Path

from drybag_host.emulator.netfaults import FaultProxy

CONTACTS = 200
_START_S = 20
_FIRST = (
    "Ada Alan Grace Hiro Ines Kofi Lars Mei Nadia Olga Priya Sean Tomas Wanjiru Yusuf Zoe"
).split()
_LAST = "Lovelace Turing Hopper Tanaka Garcia Mensah Jensen Rossi Kim Silva Dubois Haddad".split()

_FIRMS = ("Voyager Instruments", "Backroad Cycles", "Harbour & Sons", "Rossi e Figli Costruzioni")


def contacts(count=CONTACTS, seed=1):
    """[(uid, body)] of made-up contacts, 171 bytes on average."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        first, last = rng.choice(_FIRST), rng.choice(_LAST)
        uid = "drybag-%016x" % rng.getrandbits(64)
        lines = [
            "VERSION:3.0", "UID:" + uid, "FN:%s %s" % (first, last), "N:%s;%s;;;" % (last, first),
            "TEL;TYPE=CELL:+49 %d %d" % (rng.randrange(150, 180), rng.randrange(10**6, 10**7)),
            "EMAIL;TYPE=INTERNET:%s.%s@example.com" % (first.lower(), last.lower()),
            "ORG:" + rng.choice(_FIRMS),
        ]  # fmt: skip
        found.append((uid.encode(), "".join(line + "\n" for line in lines).encode()))
    return found


@contextlib.contextmanager
def radicale(folder):
    """A Radicale process whose files are in `folder`; gives its address. Ends with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
    log = open(Path(folder) / "radicale.log", "wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "radicale", "--config", "", "--auth-type", "none",
         "--server-hosts", "%s:%d" % address,
         "--storage-filesystem-folder", str(Path(folder) / "collections")],
        stdout=log, stderr=log,
    )  # fmt: skip
    try:
        until = time.monotonic() + _START_S
        while True:
            try:
                socket.create_connection(address, 1).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit("radicale does not start: see %s" % log.name) from None
                time.sleep(0.05)
        yield address
    finally:
        process.terminate()
        process.wait(10)
        log.close()


_BOOK = b"""<?xml version="1.0" encoding="utf-8"?>
<mkcol xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:carddav"><set><prop><resourcetype><collection/>
<C:addressbook/></resourcetype></prop></set></mkcol>"""


class Client:
    """One connection that is kept as long as the server keeps it."""

    def __init__(self, port):
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def ask(self, method, path, body=b"", **headers):
        """Status of one request. Raises SystemExit for a refusal."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._http.request(method, path, body, named)
        answer = self._http.getresponse()
        answer.read()
        if answer.status >= 300:
            raise SystemExit("radicale: %s %s: %d" % (method, path, answer.status))
        return answer.status

    def close(self):
        self._http.close()


def measure(folder, book):
    """PUT each contact of `book` into a new address book, then ask once whether anything changed.

    {"bytes_up_per_record", "bytes_down_per_record", "round_trips", "entries_per_second",
    "ack_p50_ms", "ack_p99_ms", "idle_poll_bytes_up", "idle_poll_bytes_down", "bytes_up"}.
    """
    with radicale(folder) as address, FaultProxy(address) as link:
        client = Client(link.port)
        client.ask("MKCOL", "/u/", b"")
        client.ask("MKCOL", "/u/book/", _BOOK, Content_Type="text/xml")
        before, took = link.totals, []
        began = time.monotonic()
        for uid, body in book:
            card = b"BEGIN:VCARD\r\n" + body.replace(b"\n", b"\r\n") + b"END:VCARD\r\n"
            asked = time.monotonic()
            client.ask("PUT", "/u/book/%s.vcf" % uid.decode(), card, Content_Type="text/vcard")
            took.append(time.monotonic() - asked)
        whole_s = time.monotonic() - began
        after = link.totals
        client.ask("PROPFIND", "/u/book/", _SYNC, Content_Type="text/xml", Depth="0")
        client.close()
        time.sleep(0.1)
        idle = link.totals
    took.sort()
    up, down = (after[way] - before[way] for way in ("up", "down"))
    return {
        "bytes_up": up,
        "bytes_up_per_record": round(up / len(book), 1),
        "bytes_down_per_record": round(down / len(book), 1),
        "round_trips": len(book),
        "entries_per_second": round(len(book) / whole_s, 1),
        "ack_p50_ms": round(1000 * took[len(took) // 2], 2),
        "ack_p99_ms": round(1000 * took[int(len(took) * 0.99)], 2),
        "idle_poll_bytes_up": idle["up"] - after["up"],
        "idle_poll_bytes_down": idle["down"] - after["down"],
    }


_SYNC = b"""<?xml version="1.0" encoding="utf-8"?>
<propfind xmlns="DAV:" xmlns:C="http://calendarserver.org/ns/"><prop><C:getctag/></prop></propfind>"""
