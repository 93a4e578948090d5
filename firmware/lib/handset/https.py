"""HTTP/1.1 over one TLS connection to the hub: minimal heads, Content-Length only, kept open.

The hub proves itself by its own CA certificate, which came over the serial line; whatever address
it has, its certificate says `drybag-hub`. Sockets never block: what has to wait lets others run.
"""

import socket
import ssl
from time import ticks_diff, ticks_ms

from drybag.port import const
from handset.tasks import sleep_ms

NAME = "drybag-hub"
_PATIENCE_MS = const(15000)  # without a byte in or out
_ANSWER_MS = const(60000)  # until the hub begins to answer: it may wait for an off-site copy
_POLL_MS = const(10)
_PIECE_BYTES = const(1024)
_HEAD_BYTES = const(2048)
_EINPROGRESS = (115, 119, 36)  # of Linux, of ESP-IDF, of BSD
_EAGAIN = (11, 35, 110, 116)
_CERT_ERRORS = ("CERT", "X509", "-9984", "-0x2700")


class Broken(Exception):
    """There is no connection, or it is of no use any more. The text is for the person."""


class Https:
    """`request`, then `read_into` or `piece` until all of the body is there."""

    def __init__(self, hub):
        self._hub = hub
        self._sock = self._stream = None
        self._buf = bytearray(_PIECE_BYTES)
        self._start = self._end = 0
        self._left = 0
        self._closes = False
        self.cancelled = False  # whoever waits here shall give up
        self.answered = False  # the hub has begun to answer the last request
        self.fresh = True  # the last request went over a new connection

    def close(self):
        stream, self._stream = self._stream, None
        sock, self._sock = self._sock, None
        self._start = self._end = self._left = 0
        for one in (stream, sock):
            if one is not None:
                try:
                    one.close()
                except OSError:
                    pass

    # -- the connection -----------------------------------------------------------------------
    async def ready(self):
        """Have a connection, whether it is a new one or not. Raises Broken."""
        if self._stream is None:
            await self.connect()

    async def connect(self):
        """Raises Broken."""
        self.close()
        self.cancelled = False
        try:
            address = socket.getaddrinfo(self._hub.host, self._hub.port, 0, socket.SOCK_STREAM)[0]
            self._sock = socket.socket(address[0], address[1])
            self._sock.setblocking(False)
            try:
                self._sock.connect(address[-1])
            except OSError as error:
                if error.args[0] not in _EINPROGRESS:
                    raise
            await self._connected()
            self._stream = _wrap(self._sock, self._hub.ca)
        except (OSError, ValueError) as error:
            self.close()
            raise Broken(_reason("the hub cannot be reached", error))

    async def _connected(self):
        """Wait until the socket can be written to."""
        from select import POLLERR, POLLHUP, POLLOUT, poll

        watch = poll()
        watch.register(self._sock, POLLOUT)
        began = ticks_ms()
        while True:
            for _, event in watch.poll(0):
                if event & (POLLERR | POLLHUP):
                    raise OSError("it refuses the connection")
                return
            if self.cancelled or ticks_diff(ticks_ms(), began) > _PATIENCE_MS:
                raise OSError("it does not answer")
            await sleep_ms(_POLL_MS)

    async def _write(self, data):
        view = memoryview(data)
        began = ticks_ms()
        while len(view):
            try:
                n = self._stream.write(view[:_PIECE_BYTES])
            except (OSError, ValueError) as error:
                n = self._failed(error)
            if n:
                view = view[n:]
                began = ticks_ms()
                await sleep_ms(0)
            else:
                await self._wait(began, _PATIENCE_MS)

    async def _fill(self, patience_ms=_PATIENCE_MS):
        """Have at least one byte in the buffer, which is empty now."""
        began = ticks_ms()
        while True:
            try:
                n = self._stream.readinto(self._buf)
            except (OSError, ValueError) as error:
                n = self._failed(error)
            if n:
                self._start, self._end = 0, n
                return
            if n == 0:
                self.close()
                raise Broken("the hub closed the connection")
            await self._wait(began, patience_ms)

    def _failed(self, error):
        """None if the stream only has to wait; else raises Broken."""
        if error.args and error.args[0] in _EAGAIN:
            return None
        self.close()
        raise Broken(_reason("the link to the hub broke", error))

    async def _wait(self, began, patience_ms):
        if self.cancelled:
            self.cancelled = False
            self.close()
            raise Broken("it was stopped")
        if ticks_diff(ticks_ms(), began) > patience_ms:
            self.close()
            raise Broken("the hub is silent")
        await sleep_ms(_POLL_MS)

    # -- a request ----------------------------------------------------------------------------
    async def request(self, method, path, size, pieces, more=""):
        """(status, {"content-length": ...}). `pieces`: `size` bytes in all. Raises Broken.

        What was left of the answer before is not read: then there is no connection any more.
        """
        self.fresh = self._stream is None or self._left > 0 or self._closes
        if self.fresh:
            await self.connect()
        self.answered = self._closes = False
        hub = self._hub
        head = "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s.%s\r\n%s" % (
            method, path, NAME, hub.device, hub.secret, more,
        )  # fmt: skip
        if method != "GET":
            head += "Content-Length: %d\r\n" % size
        await self._write(head + "\r\n")
        for piece in pieces:
            size -= len(piece)
            await self._write(piece)
        if size and method != "GET":
            self.close()
            raise Broken("what was to be sent could not be read")
        return await self._head()

    async def _head(self):
        """Status and headers of the answer."""
        line, total = await self._line(0, _ANSWER_MS)
        words = line.split(b" ", 2)
        try:
            if words[0][:7] != b"HTTP/1.":
                raise ValueError
            status = int(words[1])
            headers = {}
            while True:
                line, total = await self._line(total)
                if not line:
                    break
                name, _, value = line.partition(b":")
                headers[name.decode().lower()] = value.strip().decode()
            length = int(headers.get("content-length", "-1"))
        except (ValueError, IndexError, UnicodeError):
            length = -1
            headers = {}
        if length < 0 or "transfer-encoding" in headers:
            self.close()
            raise Broken("what answers there is no hub")
        self._left = length
        self._closes = headers.get("connection", "").lower() == "close"
        return status, headers

    async def _line(self, total, patience_ms=_PATIENCE_MS):
        """(a line of the head without its end, bytes of the head so far)."""
        line = b""
        while True:
            if self._start == self._end:
                await self._fill(patience_ms)
                self.answered = True
            some = bytes(memoryview(self._buf)[self._start : self._end])
            at = some.find(b"\n")
            end = self._start + at + 1 if at >= 0 else self._end
            line += some[: end - self._start]
            total += end - self._start
            self._start = end
            if total > _HEAD_BYTES:
                self.close()
                raise Broken("what answers there is no hub")
            if at >= 0:
                return line.rstrip(b"\r\n"), total

    # -- its body -----------------------------------------------------------------------------
    @property
    def left(self):
        """Bytes of the body that have not been read."""
        return self._left

    async def piece(self):
        """The next bytes of the body (valid until the next), b"" at its end. Raises Broken."""
        if not self._left:
            return b""
        if self._start == self._end:
            await self._fill()
        n = min(self._end - self._start, self._left)
        piece = memoryview(self._buf)[self._start : self._start + n]
        self._start += n
        self._left -= n
        return piece

    async def more(self):
        """As piece; None where the connection broke."""
        try:
            return await self.piece()
        except Broken:
            return None

    async def read_into(self, buf):
        """All of the body into `buf`: its length. Raises Broken; also if it is longer."""
        if self._left > len(buf):
            self.close()
            raise Broken("the hub's answer is too long")
        n = 0
        while True:
            piece = await self.piece()
            if not len(piece):
                return n
            buf[n : n + len(piece)] = piece
            n += len(piece)


def _wrap(sock, ca):
    """A TLS stream whose far end must show a certificate of this CA (DER) and be the hub."""
    if hasattr(ssl, "SSLContext"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if hasattr(context, "load_verify_locations"):
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=ca)
            return context.wrap_socket(
                sock, server_hostname=NAME, do_handshake_on_connect=False
            )
    return ssl.wrap_socket(
        sock, server_hostname=NAME, cert_reqs=ssl.CERT_REQUIRED, cadata=ca, do_handshake=False
    )


def _reason(what, error):
    text = str(error)
    for part in _CERT_ERRORS:
        if part in text.upper():
            return "the server there is not the hub that was paired: its certificate is another's"
    return "%s (%s)" % (what, text)
