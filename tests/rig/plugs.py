"""What is at the other end of a switch: a plug, a port of an RFC 2217 server."""

import contextlib
import hashlib
import json
import re
import socket
import threading
from base64 import b64decode
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import serial
import serial.rfc2217


class PlugServer(ThreadingHTTPServer):
    """A plug with one relay. `asked`: paths; `stuck`: it answers and does not switch."""

    def __init__(self, device, password=""):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.device, self.password = device, password
        self.is_on, self.stuck, self.asked, self.reply = True, False, [], None
        self.url = "http://127.0.0.1:%d" % self.server_port

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exc):
        self.shutdown()
        self.server_close()

    def switch(self, word):
        if not self.stuck:
            self.is_on = word.lower() in ("on", "true")


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        return

    def do_GET(self):
        plug = self.server
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        plug.asked.append(parts.path)
        if plug.reply is not None:
            self.send_response(plug.reply[0])
            for key, value in plug.reply[1].items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(plug.reply[2])
        elif self._allowed(query):
            self._answer(200, getattr(self, "_" + plug.device)(parts.path, query))

    def _answer(self, code, value, **headers):
        self.send_response(code)
        for key, text in headers.items():
            self.send_header(key.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(json.dumps(value).encode())

    def _allowed(self, query):
        password, said = self.server.password, self.headers.get("Authorization", "")
        if not password:
            return True
        if self.server.device == "tasmota":
            if query.get("user") == "admin" and query.get("password") == password:
                return True
            self._answer(401, {"WARNING": "Need user=<username>&password=<password>"})
        elif self.server.device == "shelly1":
            pair = b64decode(said.removeprefix("Basic "))
            if pair == b"admin:" + password.encode():
                return True
            self._answer(401, {}, WWW_Authenticate='Basic realm="shelly"')
        else:
            if said and self._digest_is_right(said, password):
                return True
            challenge = 'Digest qop="auth", realm="shelly2", nonce="63f1", algorithm=SHA-256'
            self._answer(401, {}, WWW_Authenticate=challenge)
        return False

    def _digest_is_right(self, said, password):
        got = {key: a or b for key, a, b in re.findall(r'(\w+)=(?:"([^"]*)"|([^,\s]+))', said)}
        if got["nonce"] != "63f1" or got["uri"] != self.path:
            return False
        ha1 = hashlib.sha256(b"admin:shelly2:" + password.encode()).hexdigest()
        ha2 = hashlib.sha256(b"GET:" + self.path.encode()).hexdigest()
        want = "%s:63f1:%s:%s:auth:%s" % (ha1, got["nc"], got["cnonce"], ha2)
        return got["response"] == hashlib.sha256(want.encode()).hexdigest()

    def _tasmota(self, path, query):
        found = re.fullmatch(r"Power(\d*) (on|off)", query.get("cmnd", ""))
        if path != "/cm" or not found:
            return {"Command": "Unknown"}
        self.server.switch(found[2])
        return {"POWER" + found[1]: "ON" if self.server.is_on else "OFF"}

    def _shelly1(self, path, query):
        if path != "/relay/0":
            return {}
        self.server.switch(query["turn"])
        return {"ison": self.server.is_on, "has_timer": False}

    def _shelly2(self, path, query):
        if query.get("id") != "0":
            return {"code": -105}
        if path == "/rpc/Switch.Set":
            was = self.server.is_on
            self.server.switch(query["on"])
            return {"was_on": was}
        return {"id": 0, "output": self.server.is_on} if path.endswith("Switch.GetStatus") else {}


@contextlib.contextmanager
def rfc2217_port():
    """(rfc2217:// address, the port behind it), whose RTS is its CTS and whose DTR its DSR."""
    port = serial.serial_for_url("loop://", timeout=0.01)
    server = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_serve, args=(server, port), daemon=True)
    thread.start()
    try:
        yield "rfc2217://127.0.0.1:%d" % server.getsockname()[1], port
    finally:
        server.close()
        thread.join(5)


def _serve(server, port):
    peer, _ = server.accept()
    with peer, contextlib.suppress(OSError):
        peer.settimeout(0.02)
        manager = serial.rfc2217.PortManager(port, _Sender(peer))
        while True:
            try:
                data = peer.recv(1024)
            except TimeoutError:
                manager.check_modem_lines()
                continue
            if not data:
                return
            port.write(b"".join(manager.filter(data)))


class _Sender:
    def __init__(self, peer):
        self._peer = peer

    def write(self, data):
        self._peer.sendall(data)
