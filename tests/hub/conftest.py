"""Storages and servers that the hub's tests run against."""

import pytest
from hub_servers import postgres_server, postgres_url, s3_server, s3_url

from drybag_host.hub.blobstore import open_blobs
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


@pytest.fixture(scope="session")
def s3():
    """The address of an S3-compatible server, for the whole session."""
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture(params=["dir", "s3"])
def place_url(request, tmp_path):
    """The URL of an empty place that outlives its process: a folder, or a store."""
    if request.param == "s3":
        return s3_url(request.getfixturevalue("s3"))
    return "dir:%s" % (tmp_path / "place")


@pytest.fixture(params=["memory", "dir", "s3"])
def blobs(request, tmp_path):
    """An empty blob store of each kind."""
    if request.param == "s3":
        url = s3_url(request.getfixturevalue("s3"))
    else:
        url = "memory:" if request.param == "memory" else "dir:%s" % (tmp_path / "blobs")
    with open_blobs(url) as store:
        yield store
