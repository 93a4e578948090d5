"""uvicorn's HTTP protocol with limits on what comes before the application sees anything.

uvicorn itself waits for ever for the rest of a head, and takes one of any length.
"""

import itertools

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from drybag_host.hub.requests import UNREAD
from drybag_host.hub.sending import LINK

__all__ = ["GuardedProtocol"]

HEAD_S = 15
HEAD_BYTES = 16_384
TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-length: 0\r\nconnection: close\r\n\r\n"
)


_numbers = itertools.count(1)


class GuardedProtocol(HttpToolsProtocol):
    """A head has at most HEAD_BYTES and comes within HEAD_S seconds, or the connection ends."""

    head_s = HEAD_S

    def connection_made(self, transport):
        super().connection_made(transport)
        self.number = next(_numbers)
        if hasattr(transport, "set_read_buffer_limits"):
            # TLS drops what it holds when a connection is reset. So it reads on only as the
            # application does, and the rest waits in the kernel, which gives it up all the same.
            transport.set_read_buffer_limits(high=1, low=0)
        self._head_bytes = 0
        self._in_head = True
        self._timer = self.loop.call_later(self.head_s, self._too_slow)

    def abort(self):
        """End it at once; what came and was not read yet is kept for who reads the body."""
        self.transport.abort()

    def connection_lost(self, exc):
        self._stop_timer()
        if self.cycle is not None and not self.cycle.response_complete:
            # uvicorn would drop what came and was not asked for yet: requests.pieces takes it.
            self.cycle.scope[UNREAD] = bytes(self.cycle.body)
        super().connection_lost(exc)

    def data_received(self, data):
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(TOO_LARGE)
            self.transport.close()

    def on_message_begin(self):
        super().on_message_begin()
        self.scope[LINK] = self
        self._in_head = True
        if self._timer is None:
            self._timer = self.loop.call_later(self.head_s, self._too_slow)

    def on_headers_complete(self):
        self._in_head = False
        self._head_bytes = 0
        self._stop_timer()
        super().on_headers_complete()

    def shutdown(self):
        """The hub ends: an idle connection is cut, without waiting for the other end's word."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()
        else:
            super().shutdown()

    def _stop_timer(self):
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self):
        self._timer = None
        if not self.transport.is_closing():
            self.transport.abort()
