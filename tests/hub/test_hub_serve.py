"""`drybag hub serve` for real: TLS on loopback, limits, bad input, kills, its own description."""

import hashlib
import json
import os
import random
import signal
import socket
import ssl
import stat
import threading
import time

import pytest
from hub_kit import Device
from hub_process import PASSWORD, HubProcess, Wire, ask, bearer

from drybag import syncwire
from drybag.layout import CONTACT
from drybag_host.errors import HostError
from drybag_host.hub import accounts
from drybag_host.trials.server import HubServer

CARD = b"VERSION:3.0\nFN:Ada\nTEL:1\n"


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    process = HubProcess(tmp_path_factory.mktemp("served") / "hub")
    yield process
    process.stop()


class Handset(Device):
    """A Device whose service is at the other end of a TLS connection."""

    def __init__(self, hub, name, owner="ada", life=None):
        self.device, self.secret = hub.enrol(owner, name)
        self.service, self.row = Wire(hub, self.device, self.secret), None
        self.epoch, self.life, self.seq = 99, life or random.randrange(1, 1 << 32), 0
        self.acked = self.cursor = 0
        self.ack_check = self.cursor_check = syncwire.NO_CHECK
        self.records = {}

    @property
    def headers(self):
        return bearer(self.device, self.secret)


def error_of(answer):
    """(status, class) of a refusal, which is what SPEC.md says it is."""
    status, headers, body = answer
    said = json.loads(body)
    assert headers["content-type"] == "application/json"
    assert 1 <= len(said["message"]) <= 200 and said["message"].isascii()
    return status, said["class"]


# --- the ordinary ----------------------------------------------------------------------------


def test_first_start_makes_what_it_needs(hub):
    tls = hub.data / "tls"
    for name in ("ca-key.pem", "server-key.pem"):
        assert stat.S_IMODE(os.stat(tls / name).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(hub.data).st_mode) == 0o700
    der = ssl.PEM_cert_to_DER_cert((tls / "ca.pem").read_text())
    assert hashlib.sha256(der).hexdigest() == hub.fingerprint and len(der) < 1200
    status, _, body = ask(hub.connect(), "GET", "/v1/ca.pem")
    assert status == 200 and ssl.PEM_cert_to_DER_cert(body.decode()) == der


def test_the_certificate_is_good_for_a_clock_at_2000_and_for_the_fixed_name(hub):
    context = hub.context()
    with socket.create_connection(("127.0.0.1", hub.port)) as plain:
        with context.wrap_socket(plain, server_hostname="drybag-hub") as tls:
            cert = tls.getpeercert()
    assert cert["notBefore"].endswith("1999 GMT") and cert["notAfter"].endswith("2099 GMT")
    assert ("DNS", "drybag-hub") in cert["subjectAltName"]
    assert ("IP Address", "127.0.0.1") in cert["subjectAltName"]


def test_two_handsets_and_an_idle_poll_in_few_bytes(hub):
    a, b = Handset(hub, "a", "two"), Handset(hub, "b", "two")
    a.sync(a.item(b"u", CARD))
    _, changes = b.sync()
    assert [i.body for i in changes] == [CARD]
    connection = hub.connect()
    status, headers, body = ask(connection, "POST", "/v1/sync", b.request(), b.headers)
    head = sum(len(k) + len(v) + 4 for k, v in headers.items()) + len("HTTP/1.1 200 OK\r\n") + 2
    assert status == 200 and head + len(body) < 100
    assert "date" not in headers and "server" not in headers


def test_a_photo_up_in_pieces_and_down_from_the_middle(hub):
    a, b, e = Handset(hub, "a", "pics"), Handset(hub, "b", "pics"), Handset(hub, "e", "eve")
    picture = random.Random(1).randbytes(700_000)
    name = hashlib.sha256(picture).hexdigest()
    path = "/v1/blobs/" + name
    connection = hub.connect()
    size = "?size=%d&offset=%d"
    first = ask(connection, "PUT", path + size % (700_000, 0), picture[:300_000], a.headers)
    assert (first[0], json.loads(first[2])) == (200, {"have": 300_000, "complete": False})
    wrong = ask(connection, "PUT", path + size % (700_000, 5), picture[5:50], a.headers)
    assert error_of(wrong) == (409, "WrongOffset") and json.loads(wrong[2])["have"] == 300_000
    item = a.item(b"p", CARD, blobs=(bytes.fromhex(name),))
    reply, _ = a.sync(item)
    assert reply.wanted == ((bytes.fromhex(name), 300_000),)
    rest = ask(connection, "PUT", path + size % (700_000, 300_000), picture[300_000:], a.headers)
    assert json.loads(rest[2]) == {"have": 700_000, "complete": True}
    assert a.sync(item)[0].ack == 1
    again = ask(connection, "PUT", path + size % (700_000, 0), b"", a.headers)
    assert json.loads(again[2]) == {"have": 700_000, "complete": True}
    status, headers, body = ask(hub.connect(), "GET", path, None,
                                {**b.headers, "Range": "bytes=699000-"})  # fmt: skip
    assert (status, body) == (206, picture[699_000:])
    assert headers["content-range"] == "bytes 699000-699999/700000"
    assert ask(hub.connect(), "GET", path, None, b.headers)[2] == picture
    # another owner does not have it, is not told that it is here, and can earn it
    assert error_of(ask(hub.connect(), "GET", path, None, e.headers)) == (404, "NotFound")
    other = ask(hub.connect(), "PUT", path + size % (700_000, 0), picture[:100], e.headers)
    assert json.loads(other[2]) == {"have": 100, "complete": False}
    lie = ask(hub.connect(), "PUT", path + size % (700_000, 100), bytes(699_900), e.headers)
    assert error_of(lie) == (422, "BadBlob")
    whole = ask(hub.connect(), "PUT", path + size % (700_000, 0), picture, e.headers)
    assert json.loads(whole[2])["complete"]


def test_bytes_that_are_not_the_blob_are_dropped(hub):
    a = Handset(hub, "a", "liar")
    path = "/v1/blobs/%s?size=10&offset=0" % ("ab" * 32)
    for _ in range(2):
        assert error_of(ask(hub.connect(), "PUT", path, bytes(10), a.headers)) == (422, "BadBlob")


def test_a_revoked_handset_is_told_so(hub):
    a = Handset(hub, "a", "lost")
    a.sync(a.item(b"u", CARD))
    with hub.storage() as storage:
        accounts.revoke(storage, a.device, 1)
    answer = ask(hub.connect(), "POST", "/v1/sync", a.request(), a.headers)
    assert error_of(answer) == (403, "Revoked")
    assert "untouched" in json.loads(answer[2])["message"]


# --- bad input -------------------------------------------------------------------------------

SECRET = "A" * 43


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer x", "Basic YTpi", "Bearer " + "0" * 16 + "." + SECRET,
     "Bearer %s" % ("." * 60), "Bearer " + "\xff" * 16 + "." + SECRET],
)  # fmt: skip
def test_an_unknown_handset_or_a_wrong_secret(hub, header):
    headers = {} if header is None else {"Authorization": header}
    for method, path in (("POST", "/v1/sync"), ("GET", "/v1/blobs/" + "ab" * 32),
                         ("PUT", "/v1/blobs/" + "ab" * 32 + "?size=1&offset=0")):  # fmt: skip
        answer = ask(hub.connect(), method, path, b"x" if method != "GET" else None, headers)
        assert error_of(answer) == (401, "WrongSecret")


def test_another_handsets_secret_does_not_do(hub):
    a, b = Handset(hub, "a", "one"), Handset(hub, "b", "one")
    answer = ask(hub.connect(), "POST", "/v1/sync", a.request(), bearer(a.device, b.secret))
    assert error_of(answer) == (401, "WrongSecret")


def test_another_ca_is_refused_by_the_client(hub, tmp_path):
    from drybag_host.hub.certs import Certificates

    other = Certificates(str(tmp_path / "tls"), ["127.0.0.1"])
    context = ssl.create_default_context(cafile=other.ca)
    with socket.create_connection(("127.0.0.1", hub.port)) as plain:
        with pytest.raises(ssl.SSLCertVerificationError):
            context.wrap_socket(plain, server_hostname="drybag-hub")


def test_a_version_from_the_future(hub):
    a = Handset(hub, "a", "newer")
    data = a.request()
    answer = ask(hub.connect(), "POST", "/v1/sync", data[:1] + b"\x09" + data[2:], a.headers)
    assert error_of(answer) == (426, "VersionNewer")


def test_items_out_of_order_and_other_nonsense(hub):
    a = Handset(hub, "a", "mess")
    good = a.request([a.item(b"u", CARD), a.item(b"w", CARD)])
    at = good.index(b"\x01w") - 3
    assert good[at] == 1  # the second number, less the first
    for data in (good[:at] + b"\0" + good[at + 1 :], good[:-1], b"", os.urandom(500)):
        answer = ask(hub.connect(), "POST", "/v1/sync", data, a.headers)
        assert error_of(answer) == (400, "BadRequest")
    with hub.storage() as storage:
        assert storage.counts("versions", ("mess",)) == 0


def test_clocks_that_are_wrong_do_no_harm(hub):
    a = Handset(hub, "a", "clock")
    reply, _ = a.sync(a.item(b"past", CARD, stamp=0), a.item(b"future", CARD, stamp=(1 << 32) - 1))
    assert reply.ack == 2
    with hub.storage() as storage:
        stamps = [row["stamp"] for row in storage.scan("versions", "", ("clock",))]
    assert stamps[0] == 0 and abs(stamps[1] - reply.time) < 60


def test_bodies_that_are_too_large_are_not_read(hub):
    a = Handset(hub, "a", "large")
    huge = {**a.headers, "Content-Length": str(1 << 30)}
    for method, path in (("POST", "/v1/sync"),
                         ("PUT", "/v1/blobs/" + "ab" * 32 + "?size=9&offset=0")):  # fmt: skip
        connection = hub.connect()
        connection.putrequest(method, path)
        for name, value in huge.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        assert error_of((answer.status, answer.headers, answer.read())) == (413, "TooLarge")
        assert answer.headers["connection"] == "close"
    path = "/v1/blobs/%s?size=99999999&offset=0" % ("ab" * 32)
    assert error_of(ask(hub.connect(), "PUT", path, b"x", a.headers)) == (413, "TooLarge")


def test_a_body_without_a_length(hub):
    a = Handset(hub, "a", "chunked")
    connection = hub.connect()
    connection.request("POST", "/v1/sync", iter([b"x"]), a.headers, encode_chunked=True)
    answer = connection.getresponse()
    assert error_of((answer.status, answer.headers, answer.read())) == (400, "BadRequest")


@pytest.mark.parametrize(
    "name",
    ["..%2f..%2f..%2fetc%2fpasswd", "../../etc/passwd", "ab" * 31, "AB" * 32, "ab" * 33,
     "ab" * 31 + "%00", "%2e%2e", "ab" * 31 + "g0", "..\\..\\x", "\xe9" * 32],
)  # fmt: skip
def test_blob_names_are_no_paths(hub, name):
    a = Handset(hub, "a", "paths")
    for method in ("GET", "PUT"):
        path = "/v1/blobs/%s?size=1&offset=0" % name
        with _raw(hub) as tls:
            tls.sendall(
                ("%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: 1\r\n"
                 "Connection: close\r\n\r\nx" % (method, path, a.headers["Authorization"])
                 ).encode("latin-1")
            )  # fmt: skip
            answer = _all(tls)
        assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")), answer[:100]
    inside = {p.name for p in (hub.data / "blobs").rglob("*")} - {"partial"}
    assert all(len(n) in (2, 64, 69) for n in inside)


def _raw(hub):
    plain = socket.create_connection(("127.0.0.1", hub.port), timeout=40)
    return hub.context().wrap_socket(plain, server_hostname="drybag-hub")


def _all(tls):
    out = b""
    while piece := tls.recv(65536):
        out += piece
    return out


def test_a_head_that_never_ends(hub):
    with _raw(hub) as tls:
        tls.sendall(b"GET /v1/health HTTP/1.1\r\n")
        for _ in range(17):
            tls.sendall(b"X-Much: " + b"x" * 1000 + b"\r\n")
        assert _all(tls).startswith(b"HTTP/1.1 431 ")
    assert ask(hub.connect(), "GET", "/v1/health")[0] == 200


def test_a_handset_that_asks_too_often_waits(tmp_path):
    hub = HubProcess(tmp_path / "hub", "--rate", "1")
    try:
        a = Handset(hub, "a")
        connection = hub.connect()
        answers = []
        for _ in range(12):
            answers.append(ask(connection, "POST", "/v1/sync", a.request(), a.headers))
            if answers[-1][0] != 200:
                break
        assert error_of(answers[-1]) == (429, "Busy")
        assert json.loads(answers[-1][2])["wait_s"] >= 1
    finally:
        hub.stop()


# --- ends ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(tmp_path, number):
    hub = HubProcess(tmp_path / "hub")
    a = Handset(hub, "a")
    a.sync(a.item(b"u", CARD))
    assert hub.stop(number) == 0
    assert b"Traceback" not in (tmp_path / "hub.log").read_bytes()
    with hub.storage() as storage:
        assert storage.get("devices", [(a.device,)])[0]["seen_ms"]


def test_an_ack_that_waits_for_the_offsite_copy_for_real(tmp_path):
    there = tmp_path / "other-house"
    hub = HubProcess(tmp_path / "hub", "--offsite", str(there), "--ack", "offsite")
    try:
        a = Handset(hub, "a")
        reply, _ = a.sync(a.item(b"u", CARD))
        assert (reply.ack, reply.offsite, reply.flags) == (1, 1, syncwire.OFFSITE)
        (tmp_path / "away").mkdir()
        there.rename(tmp_path / "away" / "x")
        there.write_text("the disk was pulled")
        reply, _ = a.sync(a.item(b"w", CARD))
        assert (reply.ack, reply.offsite) == (1, 1)
        there.unlink()
        (tmp_path / "away" / "x").rename(there)
        end = time.monotonic() + 60
        while reply.ack < 2 and time.monotonic() < end:
            time.sleep(0.1)
            reply, _ = a.sync(a.item(b"w", CARD, seq=2))  # unsent, as long as no ack says else
        assert (reply.ack, reply.offsite, reply.flags) == (2, 2, syncwire.OFFSITE)
    finally:
        hub.stop()


def test_two_hubs_do_not_share_a_folder(hub, tmp_path):
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "drybag_host.cli", "hub", "serve", "--data", str(hub.data),
         "--listen", "127.0.0.1:0"],
        capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 61 and b"another hub" in done.stderr


def test_a_hub_that_does_not_start_says_why_to_who_waits_for_it(hub):
    """Its error is a document within a document: not the address it would have said else."""
    with pytest.raises(HostError, match="did not start: .*StorageInUse.*another hub"):
        HubProcess(hub.data)
    with pytest.raises(HostError, match="did not start"), HubServer(hub.data):
        pass


def test_sigkill_under_load_keeps_what_was_acknowledged(tmp_path):
    hub = HubProcess(tmp_path / "hub")
    handsets = [Handset(hub, "h%d" % n, "owner%d" % (n % 3)) for n in range(6)]
    acked = {h: {} for h in handsets}
    over = threading.Event()

    def work(h):
        while not over.is_set():
            items = [h.item(b"%s-%d" % (h.device.encode(), h.seq + 1), CARD + b"NOTE:%d\n" % h.seq)
                     for _ in range(5)]  # fmt: skip
            try:
                reply, _ = h.sync(*items, room=0)
            except Exception:  # the hub is being killed: these items come again
                time.sleep(0.05)
                h.seq = items[0].number - 1
                continue
            acked[h].update((i.uid, i.body) for i in items if i.number <= reply.ack)

    threads = [threading.Thread(target=work, args=(h,)) for h in handsets]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            time.sleep(0.4 + random.random())
            hub.kill()
            hub.start()
            for h in handsets:
                h.service.connection = None
        time.sleep(0.5)
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
        hub.kill()
    total = 0
    with hub.storage() as storage:
        for h in handsets:
            owner = storage.get("devices", [(h.device,)])[0]["owner"]
            rows = storage.scan("versions", "", (owner,))
            there = {r["uid"]: r["body"] for r in rows if r["device"] == h.device}
            assert len([r for r in rows if r["device"] == h.device]) == len(there)
            for uid, body in acked[h].items():
                assert there[uid] == body
            total += len(acked[h])
    assert total > 50


def test_slow_clients_are_let_go(tmp_path, monkeypatch):
    """A head, and a body, that drip: in this process, with the limits turned down."""
    import asyncio

    import uvicorn
    from hub_kit import make_hub

    from drybag_host.hub import requests
    from drybag_host.hub.app import Hub, make_app
    from drybag_host.hub.wire import GuardedProtocol

    class Hasty(GuardedProtocol):
        head_s = 0.3

    monkeypatch.setattr(requests, "GRACE_S", 0.3)
    service, storage, _ = make_hub()
    accounts.add_owner(storage, "bea", PASSWORD, 1)
    device, secret = accounts.enrol(storage, "bea", "x", "", 1)

    async def main():
        hub = Hub(service)
        config = uvicorn.Config(make_app(hub), port=0, http=Hasty, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        head = "POST /v1/sync HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s.%s\r\n" % (
            device, secret,
        )  # fmt: skip
        silent = await asyncio.open_connection("127.0.0.1", port)
        drip = await asyncio.open_connection("127.0.0.1", port)
        drip[1].write(head.encode())
        body = await asyncio.open_connection("127.0.0.1", port)
        body[1].write(head.encode() + b"Content-Length: 54\r\n\r\nx")
        answers = []
        for reader, writer in (silent, drip, body):
            try:
                answers.append(await asyncio.wait_for(reader.read(), 10))
            except ConnectionError:
                answers.append(b"")
            writer.close()
        server.should_exit = True
        await task
        hub.close()
        return answers

    silent, drip, body = asyncio.run(main())
    assert silent == drip == b""
    assert body.startswith(b"HTTP/1.1 408") and b"TooSlow" in body


def test_it_shows_what_it_stored(hub):
    a = Handset(hub, "a", "last")
    a.sync(a.item(b"u", CARD, kind=CONTACT))
    with hub.storage() as storage:
        assert storage.get("heads", [("last", CONTACT, b"u")])[0]["title"] == "Ada"
