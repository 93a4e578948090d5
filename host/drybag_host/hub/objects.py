"""Whole objects by name, in a folder or an S3-compatible store: where copies of a hub go.

    place = open_objects("dir:PATH" | "PATH" | "s3://BUCKET/PREFIX?endpoint=URL")
    place.put(name, data, fresh)    durable when it returns; fresh: False if it was there already
    place.get(name)                 bytes, or None
    place.open(name, offset)        iterator of bytes, or None
    place.size(name)                bytes, or None
    place.list(folder)              sorted [(name, size)] below a folder
    place.delete(name)

An object is there whole or not at all. Credentials of S3 come from the environment or ~/.aws,
as for other programs (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE).
"""

import base64
import contextlib
import functools
import os
import re
import secrets
import threading
from hashlib import md5
from urllib.parse import parse_qsl, urlsplit

from drybag_host.backup import disk
from drybag_host.errors import HostError, Usage

__all__ = ["DirObjects", "RemoteFailed", "S3Objects", "open_objects"]

CHUNK_BYTES = 1 << 18
PAGE_OBJECTS = 1000
LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


class RemoteFailed(HostError):
    exit_code = 63
    hint = "is the store there, and do the credentials in the environment fit?"


class DirObjects:
    """A folder; an object is a file below it."""

    def __init__(self, path):
        self.path = os.path.expanduser(path)
        self.url = "dir:" + path
        disk.make_dirs(self.path)

    def put(self, name, data, fresh=False):
        path = self._place(name)
        disk.make_dirs(os.path.dirname(path))
        temporary = "%s.%s.tmp" % (path, secrets.token_hex(4))
        try:
            disk.write_file(temporary, [data])
            if not fresh:
                disk.rename(temporary, path)
                return True
            with disk.explained(path):
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    return False
                os.unlink(temporary)
                disk._sync_dir(os.path.dirname(path))
            return True
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary)

    def get(self, name):
        return disk.read_file(self._place(name))

    def open(self, name, offset=0):
        try:
            file = open(self._place(name), "rb")
        except FileNotFoundError:
            return None
        return disk.pieces(file, offset)

    def size(self, name):
        path = self._place(name)
        with disk.explained(path):
            try:
                return os.path.getsize(path)
            except FileNotFoundError:
                return None

    def list(self, folder=""):
        top = self._place(folder) if folder else self.path
        out = []
        with disk.explained(top):
            for where, _, names in os.walk(top):
                for name in names:
                    full = os.path.join(where, name)
                    if not name.endswith(".tmp") and _PART.fullmatch(name):
                        inside = os.path.relpath(full, self.path).replace(os.sep, "/")
                        out.append((inside, os.path.getsize(full)))
        return sorted(out)

    def delete(self, name):
        path = self._place(name)
        with disk.explained(path), contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def _place(self, name):
        return os.path.join(self.path, *_checked(name).split("/"))


class S3Objects:
    """A bucket, or the part of one below a prefix. HTTPS, or plain HTTP on loopback."""

    def __init__(self, url):
        from botocore.config import Config

        self.url = url
        self.bucket, self.prefix, endpoint, region = _s3_parts(url)
        config = Config(
            connect_timeout=5, read_timeout=30, retries={"mode": "standard", "max_attempts": 4},
            request_checksum_calculation="when_required",  # what not every store understands
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if endpoint else "auto"},
        )  # fmt: skip
        with self._explained(), _SESSION_LOCK:
            self.client = _session().client(
                "s3", endpoint_url=endpoint, region_name=region, config=config
            )

    def put(self, name, data, fresh=False):
        """The store checks the MD5 sent along, so a torn upload is no object."""
        check = base64.b64encode(md5(data, usedforsecurity=False).digest()).decode()
        more = {"IfNoneMatch": "*"} if fresh else {}
        with self._explained():
            try:
                self.client.put_object(
                    Bucket=self.bucket, Key=self._key(name), Body=data, ContentMD5=check, **more
                )
            except self.client.exceptions.ClientError as error:
                if fresh and _status(error) in (409, 412):
                    return False
                raise
        return True

    def get(self, name):
        pieces = self.open(name)
        return None if pieces is None else b"".join(pieces)

    def open(self, name, offset=0):
        more = {"Range": "bytes=%d-" % offset} if offset else {}
        with self._explained():
            try:
                answer = self.client.get_object(Bucket=self.bucket, Key=self._key(name), **more)
            except self.client.exceptions.ClientError as error:
                if error.response.get("Error", {}).get("Code") == "NoSuchKey":
                    return None
                if _status(error) == 416:  # behind the end
                    return iter(())
                raise
        return self._pieces(answer["Body"])

    def _pieces(self, body):
        with self._explained(), contextlib.closing(body):
            yield from body.iter_chunks(CHUNK_BYTES)

    def size(self, name):
        with self._explained():
            try:
                answer = self.client.head_object(Bucket=self.bucket, Key=self._key(name))
            except self.client.exceptions.ClientError as error:
                if _status(error) == 404:
                    return None
                raise
        return answer["ContentLength"]

    def list(self, folder=""):
        start = self.prefix + (_checked(folder) + "/" if folder else "")
        out = []
        with self._explained():
            pages = self.client.get_paginator("list_objects_v2")
            for page in pages.paginate(
                Bucket=self.bucket, Prefix=start, PaginationConfig={"PageSize": PAGE_OBJECTS}
            ):
                for entry in page.get("Contents", ()):
                    out.append((entry["Key"][len(self.prefix) :], entry["Size"]))
        return sorted(out)

    def delete(self, name):
        with self._explained():
            self.client.delete_object(Bucket=self.bucket, Key=self._key(name))

    def _key(self, name):
        return self.prefix + _checked(name)

    @contextlib.contextmanager
    def _explained(self):
        """boto3's errors as ours, without what they may say of credentials."""
        import botocore.exceptions as boto
        import urllib3.exceptions as http

        try:
            yield
        except boto.ClientError as error:
            said = error.response.get("Error", {})
            text = "%s: %s" % (said.get("Code", "no"), said.get("Message", ""))
            raise RemoteFailed("%s: the store says %s" % (self.url, text)) from None
        except boto.NoCredentialsError:
            raise RemoteFailed(
                "%s: no credentials" % self.url,
                "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
            ) from None
        except (boto.BotoCoreError, http.HTTPError, OSError) as error:
            raise RemoteFailed("%s: %s" % (self.url, error)) from error


_SESSION_LOCK = threading.Lock()


@functools.cache
def _session():
    """One for the process: each new one reads its descriptions of the service anew, 1 s."""
    import boto3

    return boto3.session.Session()


def open_objects(url):
    """The place of a URL; a folder is made if it is not there. Raises Usage, RemoteFailed."""
    if url.startswith("s3:"):
        return S3Objects(url)
    path = url.removeprefix("dir:")
    if not path or re.match(r"[a-z][a-z0-9+.-]+://", path) or "\0" in path:
        raise Usage("%s: no place of that form" % url, "a folder, or s3://BUCKET/PREFIX")
    return DirObjects(path)


def _s3_parts(url):
    """(bucket, prefix that ends with / or is empty, endpoint or None, region)."""
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query))
    endpoint, region = options.pop("endpoint", None), options.pop("region", None)
    if not parts.netloc or "@" in parts.netloc or options:
        raise Usage(
            "%s: no S3 store of that form" % url.partition("?")[0],
            "s3://BUCKET/PREFIX?endpoint=https://...&region=...; credentials in the environment",
        )
    if endpoint:
        target = urlsplit(endpoint)
        safe = target.scheme == "https"
        if not safe and not (target.scheme == "http" and target.hostname in LOOPBACK):
            raise Usage("%s: not HTTPS" % endpoint, "https://..., http:// on loopback only")
    prefix = parts.path.strip("/")
    region = region or ("us-east-1" if endpoint else None)
    return parts.netloc, prefix + "/" if prefix else "", endpoint, region


def _checked(name):
    if not all(_PART.fullmatch(part) for part in name.split("/")):
        raise ValueError("no name of an object: %r" % (name,))
    return name


def _status(error):
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
