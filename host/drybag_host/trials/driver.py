"""A handset of this process at a real hub: the engine's actions over HTTPS."""

import http.client
import socket
import ssl

from .server import tls_context

TIMEOUT_S = 20
_PIECE_BYTES = 1024


class Driver:
    """One connection to the hub, kept. `round_trips`: requests that were answered.

    `hub`: a syncsettings.Hub; `port`: another than its own (a proxy's). A hub without a CA: plain.
    """

    def __init__(self, hub, port=None, timeout_s=TIMEOUT_S):
        self._hub = hub
        self._address = (hub.host, port or hub.port)
        self._timeout_s = timeout_s
        self._context = None if hub.ca == b"none" else tls_context(hub.ca)
        self._http = None
        self._answer = None
        self.round_trips = 0

    def close(self):
        self._answer = None
        if self._http is not None:
            self._http.close()
            self._http = None

    def sync(self, engine, between=None):
        """One sync: the engine's Outcome. `between()` runs between any two actions."""
        gen, result = engine.run(), None
        try:
            while True:
                action = gen.send(result)
                if between:
                    between()
                result = self._do(action)
        except StopIteration as end:
            return end.value
        finally:
            gen.close()

    def _do(self, action):
        if action[0] == "pause":
            return None
        try:
            if action[0] == "more":
                piece = self._answer.read(_PIECE_BYTES)
                if not piece and self._answer.length:  # the end came before its time
                    self.close()
                    return None
                return piece
            kept = self._http is not None and action[0] != "put"
            try:
                return self._request(*action)
            except (ConnectionError, ssl.SSLError, http.client.RemoteDisconnected):
                self.close()
                if not kept:
                    raise
                return self._request(*action)  # one that was kept may have ended since
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if action[0] == "more":
                return None
            return 0, {}, "the hub cannot be reached (%s)" % (str(error) or type(error).__name__)

    def _connect(self):
        sock = socket.create_connection(self._address, self._timeout_s)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context:
            context, name = self._context
            sock = context.wrap_socket(sock, server_hostname=name)
        self._http = http.client.HTTPConnection(*self._address, timeout=self._timeout_s)
        self._http.sock = sock

    def _request(self, verb, path, *more):
        if self._http is None or self._http.sock is None:
            self._connect()
        link = self._http
        link.putrequest(verb.upper(), path, skip_host=True, skip_accept_encoding=True)
        link.putheader("Host", "drybag-hub")
        link.putheader("Authorization", "Bearer %s.%s" % (self._hub.device, self._hub.secret))
        if verb == "post":
            link.putheader("Content-Length", str(len(more[0])))
            link.endheaders(bytes(more[0]))
        elif verb == "put":
            link.putheader("Content-Length", str(more[0]))
            link.endheaders()
            if not self._send(more[0], more[1]):
                self.close()
                return 0, {}, "a photo here cannot be read"
        else:
            link.putheader("Range", "bytes=%d-" % more[0])
            link.endheaders()
        answer = link.getresponse()
        self.round_trips += 1
        headers = {name.lower(): value for name, value in answer.headers.items()}
        if verb == "get" and answer.status in (200, 206):
            self._answer = answer
            return answer.status, headers, None
        return answer.status, headers, answer.read()

    def _send(self, size, pieces):
        for piece in pieces:
            self._http.send(bytes(piece))
            size -= len(piece)
        return not size
