"""Storages and servers that the hub's tests run against."""

import pytest
from hub_servers import postgres_server, postgres_url

from drybag_host.hub.storage import open_storage

BACKENDS = ("memory", "sqlite", "postgres")


@pytest.fixture(scope="session")
def postgres():
    """A real PostgreSQL server, for the whole session; skips where none can be started."""
    with postgres_server() as server:
        yield server


@pytest.fixture(params=BACKENDS[1:])
def durable_url(request, tmp_path):
    """The URL of an empty storage that outlives its process."""
    if request.param == "sqlite":
        yield "sqlite:%s" % (tmp_path / "hub.sqlite3")
    else:
        with postgres_url(request.getfixturevalue("postgres")) as url:
            yield url


@pytest.fixture(params=BACKENDS)
def storage(request, tmp_path):
    """An empty storage of each kind."""
    if request.param == "postgres":
        with postgres_url(request.getfixturevalue("postgres")) as url:
            with open_storage(url) as opened:
                yield opened
        return
    url = "memory:" if request.param == "memory" else "sqlite:%s" % (tmp_path / "hub.sqlite3")
    with open_storage(url) as opened:
        yield opened
