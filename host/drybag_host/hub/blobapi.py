"""Blobs over HTTPS: a handset's, by its secret, and an owner's, by a log-in."""

import contextlib
import re

from starlette.responses import StreamingResponse

from drybag_host.hub.accounts import device_named
from drybag_host.hub.ownerapi import owner_of
from drybag_host.hub.refusals import NotThere, Refused, Unsound
from drybag_host.hub.requests import body_length, in_thread, json_answer, pieces
from drybag_host.hub.sending import LINK
from drybag_host.hub.uploads import MAX_BLOB_BYTES

__all__ = ["ROUTES"]

PIECE_BYTES = 262_144  # what a crash of the hub may cost
NAME = re.compile(r"[0-9a-f]{64}")


def blob_name(request):
    """The SHA-256 that an address names. Raises NotThere."""
    text = request.path_params["name"]
    if not NAME.fullmatch(text):
        raise NotThere("no such blob")
    return bytes.fromhex(text)


def _number(request, name):
    text = request.query_params.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise Unsound("%s must be a number" % name)
    return int(text)


async def put_blob(hub, request):
    async with contextlib.AsyncExitStack() as stack:
        with hub.sending.arriving(device_named(request.headers.get("authorization", ""))):
            row = await in_thread(hub.device, request)
            owner, sha = row["owner"], blob_name(request)
            size, offset = _number(request, "size"), _number(request, "offset")
            length = body_length(request, MAX_BLOB_BYTES)
            upload = hub.sending.upload(row["device"], sha, request.scope.get(LINK))
            under_way = await stack.enter_async_context(upload)
        whole = await in_thread(hub.uploads.check, owner, sha, size, offset, length)
        if whole:
            return json_answer({"have": size, "complete": True}, headers=_closing(length))
        have = await _take(hub, request, under_way, owner, sha, size, offset, length)
    return json_answer({"have": have, "complete": have == size})


async def _take(hub, request, under_way, owner, sha, size, have, length):
    """Store a body from byte `have` on; what is there of the blob then."""
    held = bytearray()
    add = hub.uploads.add
    try:
        async for data in pieces(request, length):
            held += data
            under_way.came += len(data)
            if len(held) >= PIECE_BYTES:
                data, held = bytes(held), bytearray()
                under_way.storing = True
                have = await in_thread(add, owner, sha, size, have, data)
                under_way.storing = False
    finally:  # what came of a connection that broke is kept too
        if held or not size:
            under_way.storing = True
            have = await in_thread(add, owner, sha, size, have, bytes(held))
    return have


def _closing(length):
    """A body that is not read ends its connection."""
    return {"connection": "close"} if length else None


async def get_blob(hub, request):
    device = await in_thread(hub.device, request)
    return await blob_answer(hub, request, device["owner"])


async def blob_answer(hub, request, owner):
    """A blob of an owner, from the byte on that the request's Range asks for."""
    sha = blob_name(request)
    size = await in_thread(hub.uploads.size, owner, sha)
    start = _range_start(request.headers.get("range"))
    if start is not None and (start > size or (start == size and size)):
        raise OutOfRange("the blob has %d bytes" % size)
    stream = await in_thread(hub.uploads.read, owner, sha, start or 0)
    headers = {"content-length": str(size - (start or 0))}
    if start is not None:
        headers["content-range"] = "bytes %d-%d/%d" % (start, max(start, size - 1), size)
    return StreamingResponse(
        stream, 200 if start is None else 206, headers, media_type="application/octet-stream"
    )


class OutOfRange(Refused):
    status, name = 416, "BadRange"


def _range_start(text):
    """O of `bytes=O-`; None without a range, or for one of another form, which is ignored."""
    found = re.fullmatch(r"bytes=([0-9]{1,12})-", text or "")
    return int(found[1]) if found else None


async def owner_blob(hub, request):
    return await blob_answer(hub, request, owner_of(hub, request)["owner"])


ROUTES = (
    ("PUT", "/v1/blobs/{name}", put_blob),
    ("GET", "/v1/blobs/{name}", get_blob),
    ("GET", "/v1/owner/blobs/{name}", owner_blob),
)
