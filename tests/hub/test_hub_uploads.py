"""Photos on their way to a real hub: links that are reset, that fall silent, that come twice."""

import fcntl
import hashlib
import json
import random
import socket
import ssl
import sys
import termios
import time

import pytest
from hub_kit import Device
from hub_process import HubProcess, Wire, ask, bearer

from drybag import syncwire
from drybag.layout import PHOTO

RECORD_BYTES = 16_384  # of TLS: of one that is cut nothing can be read
LINGER_0 = (1).to_bytes(4, sys.byteorder) + bytes(4)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    made = HubProcess(tmp_path_factory.mktemp("uploads") / "hub", "--rate", "10000")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def device(hub):
    return hub.enrol("ada", "phone")


class Upload:
    """A PUT of a blob, byte by byte as the test wants it."""

    def __init__(self, hub, device, data, offset=0):
        self.hub, self.data, self.offset = hub, data, offset
        self.sha = hashlib.sha256(data).digest()
        self.path = "/v1/blobs/%s" % self.sha.hex()
        plain = socket.create_connection(("127.0.0.1", hub.port), 20)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = hub.context().wrap_socket(plain, server_hostname="127.0.0.1")
        token = bearer(*device)["Authorization"]
        head = "PUT %s?size=%d&offset=%d HTTP/1.1\r\nHost: h\r\nAuthorization: %s\r\n" % (
            self.path, len(data), offset, token,
        )  # fmt: skip
        head += "Content-Length: %d\r\n\r\n" % (len(data) - offset)
        self.sock.sendall(head.encode())

    def send(self, upto):
        """Bytes of the blob through `upto`."""
        self.sock.sendall(self.data[self.offset : upto])
        self.offset = upto

    def on_the_way(self):
        """Bytes that the hub's kernel has not taken: they go with a reset."""
        waiting = bytearray(4)
        fcntl.ioctl(self.sock.fileno(), termios.TIOCOUTQ, waiting)
        return int.from_bytes(waiting, sys.byteorder)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
        self.sock.close()


def goes_on_at(hub, device, upload, least=0):
    """What the hub wants next of it. It may not have looked at the last connection yet."""
    deadline = time.monotonic() + 10
    connection = hub.connect()
    path = "%s?size=%d&offset=%d" % (upload.path, len(upload.data), len(upload.data))
    have = -1
    while have < least and time.monotonic() < deadline:
        status, _, body = ask(connection, "PUT", path, b"", bearer(*device))
        assert status == 409, body
        have = json.loads(body)["have"]
    connection.close()
    return have


def finish(hub, device, upload, offset):
    """All that is left, from `offset` on; then it is there, byte for byte."""
    connection = hub.connect()
    path = "%s?size=%d&offset=%d" % (upload.path, len(upload.data), offset)
    status, _, body = ask(connection, "PUT", path, upload.data[offset:], bearer(*device))
    while status == 409:  # more of the last connection came to the disk meanwhile
        path = path.rpartition("=")[0] + "=%d" % json.loads(body)["have"]
        rest = upload.data[json.loads(body)["have"] :]
        status, _, body = ask(connection, "PUT", path, rest, bearer(*device))
    assert (status, json.loads(body)["complete"]) == (200, True), body
    status, _, whole = ask(connection, "GET", upload.path, None, bearer(*device))
    assert status == 200 and whole == upload.data
    connection.close()


@pytest.mark.parametrize("seed", range(4))
def test_what_came_before_a_reset_is_kept(hub, device, seed):
    """All that the hub's kernel had taken, but for the last record of TLS, which may be torn."""
    rng = random.Random(seed)
    for size in (60_000, 900_000, 3_000_000, 3_000_000):
        upload = Upload(hub, device, rng.randbytes(size))
        upload.send(rng.randrange(20_000, size))
        while upload.on_the_way():
            pass
        upload.reset()
        least = upload.offset - RECORD_BYTES
        have = goes_on_at(hub, device, upload, least)
        assert least <= have <= upload.offset
        finish(hub, device, upload, have)


def test_a_photo_that_is_cut_again_and_again_is_sent_once(hub, device):
    rng = random.Random(9)
    data, have, sent, cuts = rng.randbytes(400_000), 0, 0, 0
    while len(data) - have > 30_000:
        upload = Upload(hub, device, data, have)
        cuts += 1
        upload.send(rng.randrange(have, min(len(data), have + 60_000)))
        while upload.on_the_way():
            pass
        sent += upload.offset - have
        upload.reset()
        have = goes_on_at(hub, device, upload, upload.offset - RECORD_BYTES)
    assert cuts > 6 and have <= sent <= have + cuts * RECORD_BYTES
    finish(hub, device, upload, have)


def begun(hub, device, size=300_000, upto=200_000):
    """An upload whose link has just fallen silent: the hub has bytes of it in memory alone."""
    upload = Upload(hub, device, random.Random(size).randbytes(size))
    upload.send(upto)
    while upload.on_the_way():
        pass
    upload.sock.settimeout(20)
    return upload


def is_open(upload):
    upload.sock.setblocking(False)
    try:
        return upload.sock.recv(1) != b""
    except (ssl.SSLWantReadError, BlockingIOError):
        return True
    except OSError:
        return False


class Phone(Device):
    """As hub_kit.Device, of a device that is enrolled."""

    def __init__(self, hub, device):
        self.service, self.row = Wire(hub, *device), None
        self.epoch, self.life, self.seq = 99, 7, 0
        self.acked = self.cursor = 0
        self.ack_check = self.cursor_check = syncwire.NO_CHECK
        self.records = {}


def test_a_silent_link_is_not_waited_for_by_the_same_handset(hub):
    """It comes again over another connection: its next sync is told of every byte that came."""
    device = hub.enrol("ada", "walks")
    upload = begun(hub, device)
    time.sleep(0.2)  # what was sent is taken up
    phone = Phone(hub, device)
    began = time.monotonic()
    reply, _ = phone.sync(phone.item(b"photo", b"FN:x\n", kind=PHOTO, blobs=(upload.sha,)))
    assert time.monotonic() - began < 10
    assert reply.wanted == ((upload.sha, upload.offset),)
    assert not is_open(upload)
    finish(hub, device, upload, upload.offset)


def test_the_newer_of_two_uploads_goes_on(hub):
    device = hub.enrol("ada", "runs")
    upload = begun(hub, device, 350_000)
    time.sleep(0.2)
    began = time.monotonic()
    assert goes_on_at(hub, device, upload) == upload.offset
    assert time.monotonic() - began < 10
    finish(hub, device, upload, upload.offset)


def test_nobody_else_ends_an_upload(hub, device):
    """Neither another handset nor one who has only heard of the device."""
    mine = hub.enrol("ada", "mine")
    upload = begun(hub, mine, 400_000)
    other = Phone(hub, hub.enrol("ada", "other"))
    other.sync()
    stranger = Phone(hub, (mine[0], device[1]))
    with pytest.raises(AssertionError, match="WrongSecret"):
        stranger.sync()
    assert is_open(upload)
    upload.sock.setblocking(True)
    upload.send(len(upload.data))
    answer = b""
    while b"}" not in answer:
        answer += upload.sock.recv(4096)
    assert answer.startswith(b"HTTP/1.1 200") and b'"complete":true' in answer
