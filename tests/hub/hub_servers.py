"""A real PostgreSQL server for the tests: from the system's packages, in a temporary folder."""

import contextlib
import glob
import itertools
import os
import shutil
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


@contextlib.contextmanager
def postgres_server():
    """(folder of its socket, port) of a server of its own; it refuses to run as root."""
    initdb, server = _program("initdb"), _program("postgres")
    other = {}
    if os.geteuid() == 0:
        other = {"user": "postgres", "group": "postgres", "extra_groups": []}
    with tempfile.TemporaryDirectory(prefix="drybag-pg-") as folder:
        os.chmod(folder, 0o755)
        if other:
            shutil.chown(folder, "postgres", "postgres")
        data = os.path.join(folder, "data")
        subprocess.run(
            [initdb, "-D", data, "-U", "drybag", "--auth=trust", "--no-sync", "-E", "UTF8",
             "--locale=C.UTF-8", "--no-instructions"],
            check=True, capture_output=True, cwd=folder, **other,
        )  # fmt: skip
        port = _free_port()
        log = open(os.path.join(folder, "log"), "wb")
        process = subprocess.Popen(
            [server, "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1",
             "-c", "max_connections=60", "-c", "shared_buffers=64MB"],
            stdout=log, stderr=log, cwd=folder, **other,
        )  # fmt: skip
        try:
            _wait(folder, port, process)
            yield folder, port
        finally:
            process.send_signal(subprocess.signal.SIGINT)  # fast shutdown
            process.wait(30)
            log.close()


def _wait(folder, port, process):
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(host=folder, port=port, user="drybag", dbname="postgres").close()
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                with open(os.path.join(folder, "log"), "rb") as log:
                    pytest.fail("PostgreSQL does not start: %r" % log.read()[-2000:])
            time.sleep(0.05)


@contextlib.contextmanager
def postgres_url(server):
    """The URL of an empty database on the server, dropped afterwards."""
    folder, port = server
    name = "t%d" % next(_numbers)
    with psycopg.connect(
        host=folder, port=port, user="drybag", dbname="postgres", autocommit=True
    ) as admin:
        admin.execute("CREATE DATABASE %s" % name)
        try:
            yield "postgresql://drybag@127.0.0.1:%d/%s" % (port, name)
        finally:
            admin.execute("DROP DATABASE %s WITH (FORCE)" % name)
