"""A real PostgreSQL server for the tests: from the system's packages, in a temporary folder."""

import contextlib
import glob
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import psycopg
import pytest

_numbers = itertools.count(1)


def _program(name):
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/" + name)) or [shutil.which(name)]
    if not found[-1]:
        pytest.skip("no PostgreSQL: run tools/services.sh as root, or install postgresql")
    return found[-1]


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Postgres:
    """A server in `folder`, which it refuses to run in as root. `port`: on 127.0.0.1."""

    def __init__(self, folder):
        initdb, self._server = _program("initdb"), _program("postgres")
        self.folder, self.port = folder, _free_port()
        self._as, self._process = {}, None
        if os.geteuid() == 0:
            self._as = {"user": "postgres", "group": "postgres", "extra_groups": []}
            os.chmod(folder, 0o755)
            shutil.chown(folder, "postgres", "postgres")
        subprocess.run(
            [initdb, "-D", folder + "/data", "-U", "drybag", "--auth=trust", "--no-sync",
             "-E", "UTF8", "--locale=C.UTF-8", "--no-instructions"],
            check=True, capture_output=True, cwd=folder, **self._as,
        )  # fmt: skip

    def start(self):
        with open(self.folder + "/log", "ab") as log:
            self._process = subprocess.Popen(
                [self._server, "-D", self.folder + "/data", "-p", str(self.port),
                 "-k", self.folder, "-h", "127.0.0.1", "-c", "max_connections=60",
                 "-c", "shared_buffers=64MB"],
                stdout=log, stderr=log, cwd=self.folder, **self._as,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while True:
            try:
                self.admin().close()
                return
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    with open(self.folder + "/log", "rb") as log:
                        pytest.fail("PostgreSQL does not start: %r" % log.read()[-2000:])
                time.sleep(0.05)

    def stop(self, how=signal.SIGINT):
        """SIGINT: a clean shutdown. SIGQUIT: at once, as a crash leaves it."""
        self._process.send_signal(how)
        self._process.wait(60)

    def admin(self):
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user="drybag", dbname="postgres", autocommit=True
        )


@contextlib.contextmanager
def postgres_server():
    """A Postgres that runs."""
    with tempfile.TemporaryDirectory(prefix="drybag-pg-") as folder:
        server = Postgres(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)  # its data are thrown away


@contextlib.contextmanager
def postgres_url(server):
    """The URL of an empty schema on the server, dropped afterwards."""
    name = "t%d" % next(_numbers)
    with server.admin() as admin:
        admin.execute("CREATE SCHEMA " + name)
    try:
        yield "postgresql://drybag@127.0.0.1:%d/postgres?options=-csearch_path%%3D%s" % (
            server.port, name)  # fmt: skip
    finally:
        with server.admin() as admin:
            admin.execute("SET client_min_messages = warning; DROP SCHEMA %s CASCADE" % name)


@contextlib.contextmanager
def s3_server():
    """The address of a moto server: S3 over real HTTP, with the credentials it wants set."""
    from moto.server import ThreadedMotoServer

    names = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield "http://127.0.0.1:%d" % server.get_host_and_port()[1]
    finally:
        server.stop()
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def s3_url(endpoint, prefix="hub"):
    """The URL of an empty bucket's part on the server."""
    from drybag_host.hub.objects import S3Objects

    bucket = "bucket-%d" % next(_numbers)
    url = "s3://%s/%s?endpoint=%s" % (bucket, prefix, endpoint)
    S3Objects(url).client.create_bucket(Bucket=bucket)
    return url
