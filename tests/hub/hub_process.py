"""A real hub in a process of its own, with TLS on loopback, and plain clients of it."""

import contextlib
import http.client
import os
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

from drybag_host.hub import accounts
from drybag_host.hub.storage import open_storage
from drybag_host.trials.server import announced

ROOT = Path(__file__).resolve().parents[2]
PASSWORD = "correct horse"


class HubProcess:
    """`drybag hub serve` on `data`; `restart()` goes on at the same port."""

    def __init__(self, data, *options):
        self.data = Path(data)
        self.options = options
        self.port = 0
        self.process = None
        self.start()

    def start(self):
        command = [
            sys.executable, "-m", "drybag_host.cli", "hub", "serve", "--data", str(self.data),
            "--listen", "127.0.0.1:%d" % self.port, "--json", *self.options,
        ]  # fmt: skip
        env = {**os.environ, "PYTHONPATH": "%s:%s" % (ROOT / "firmware" / "lib", ROOT / "host")}
        log = self.data.parent / "hub.log"
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, env=env
            )
        said = announced(self.process.stdout, log)
        self.port, self.url, self.fingerprint = said["port"], said["url"], said["ca_sha256"]

    def kill(self):
        """SIGKILL: what it had in memory is gone."""
        self.process.kill()
        self.process.wait()

    def stop(self, number=signal.SIGTERM):
        """Exit code after a signal."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(20)

    @property
    def storage_url(self):
        return "sqlite:%s" % (self.data / "hub.sqlite3")

    @contextlib.contextmanager
    def storage(self):
        with open_storage(self.storage_url) as storage:
            yield storage

    def context(self):
        return ssl.create_default_context(cafile=str(self.data / "tls" / "ca.pem"))

    def connect(self, timeout_s=20):
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, context=self.context(), timeout=timeout_s
        )

    def enrol(self, owner="ada", name="a"):
        """(device, secret) of a new handset; the owner is made where there is none."""
        now_ms = int(time.time() * 1000)
        with self.storage() as storage:
            if storage.get("owners", [(owner,)])[0] is None:
                accounts.add_owner(storage, owner, PASSWORD, now_ms)
            return accounts.enrol(storage, owner, name, "", now_ms)


def bearer(device, secret):
    return {"Authorization": "Bearer %s.%s" % (device, secret)}


def ask(connection, method, path, body=None, headers=None):
    """(status, headers, body) of one request."""
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    return answer.status, answer.headers, answer.read()


class Wire:
    """Stands for a Service where tests of the protocol talk to a hub over TLS."""

    def __init__(self, hub, device, secret):
        self.hub = hub
        self.headers = bearer(device, secret)
        self.connection = None

    def sync(self, row, data):
        if self.connection is None:
            self.connection = self.hub.connect()
        try:
            status, _, body = ask(self.connection, "POST", "/v1/sync", data, self.headers)
        except (OSError, http.client.HTTPException):
            self.connection = None
            raise
        if status != 200:
            raise AssertionError("%d: %s" % (status, body))
        return body
