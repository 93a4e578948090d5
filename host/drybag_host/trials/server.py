"""A real hub for drills, benchmarks and tests: `drybag hub serve` as a process of its own."""

import contextlib
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path

from drybag import syncsettings
from drybag_host.errors import HostError
from drybag_host.hub import accounts
from drybag_host.hub.certs import SERVER_NAME
from drybag_host.hub.storage import open_storage

__all__ = ["HubServer", "announced", "tls_context"]

_STOP_S = 20


class HubServer:
    """The hub on folder `data`; `start` after `kill` goes on at the same port."""

    def __init__(self, data, *options):
        self.data = Path(data)
        self.options = options
        self.port = 0
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        """Raises HostError with what it said, if it does not begin to serve."""
        command = [
            sys.executable, "-m", "drybag_host.cli", "hub", "serve", "--data", str(self.data),
            "--listen", "127.0.0.1:%d" % self.port, "--json", *self.options,
        ]  # fmt: skip
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        log = self.data.parent / (self.data.name + ".log")
        with open(log, "ab") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, env=env, start_new_session=True
            )
        self.port = announced(self.process.stdout, log)["port"]

    def kill(self):
        """SIGKILL: nothing that follows runs."""
        if self.process and self.process.poll() is None:
            self.process.kill()
        self._gone()

    def stop(self):
        """As Ctrl-C does it."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self._gone()

    def _gone(self):
        if self.process:
            try:
                self.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()
            self.process = None

    @property
    def running(self):
        return self.process is not None and self.process.poll() is None

    @property
    def is_plain(self):
        return "--insecure-loopback" in self.options

    @contextlib.contextmanager
    def storage(self):
        """Its database, as the tools beside it open it."""
        with open_storage("sqlite:%s" % (self.data / "hub.sqlite3")) as storage:
            yield storage

    def memory_kib(self):
        """(resident now, at most so far) of the process."""
        found = {}
        for line in Path("/proc/%d/status" % self.process.pid).read_text().splitlines():
            name, _, value = line.partition(":")
            found[name] = value
        return int(found["VmRSS"].split()[0]), int(found["VmHWM"].split()[0])

    def ca_der(self):
        if self.is_plain:
            return b"none"
        return ssl.PEM_cert_to_DER_cert((self.data / "tls" / "ca.pem").read_text())

    def enrol(self, owner, name, password="correct horse battery"):
        """The syncstate.Hub of a new device; an owner that is not there is made."""
        now_ms = int(time.time() * 1000)
        with self.storage() as storage:
            if storage.get("owners", [(owner,)])[0] is None:
                accounts.add_owner(storage, owner, password, now_ms)
            device, secret = accounts.enrol(storage, owner, name, "", now_ms)
        return syncsettings.Hub("127.0.0.1", self.port, owner, device, secret, self.ca_der())


def announced(stdout, log):
    """What a hub says with --json when it begins to serve. Raises HostError if it does not."""
    text, said = b"", None
    while said is None:
        line = stdout.readline()
        if not line:
            raise HostError(
                "the hub did not start: %s" % (text + log.read_bytes()[-500:]).decode()
            )
        text += line
        with contextlib.suppress(ValueError):  # there is more of the document
            said = json.loads(text)
    if "port" not in said:
        raise HostError("the hub did not start: %s" % said.get("error", said))
    return said


def tls_context(ca_der):
    """What a handset trusts: this CA, and the hub's name whatever its address."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=ca_der)
    return context, SERVER_NAME
