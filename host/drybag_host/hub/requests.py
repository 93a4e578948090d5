"""Reading requests and writing answers: limits, time limits, errors as JSON."""

import asyncio
import json
import logging

from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from drybag.errors import BadInput, DrybagError, NotFound
from drybag_host.errors import HostDiskFull, HostFile
from drybag_host.hub.refusals import Busy, NotThere, Refused, TooMuch, Unsound
from drybag_host.hub.storage import StorageError

__all__ = ["answer_of", "body_length", "bytes_answer", "in_thread", "json_answer", "pieces",
           "read_body", "read_json"]  # fmt: skip

log = logging.getLogger("drybag.hub")

GRACE_S = 30  # for the first bytes of a body
SILENCE_S = 60  # without a byte of it
LEAST_RATE = 512  # bytes a second, below which a client is too slow
JSON_BYTES = 16_384
UNREAD = "drybag.unread"  # in a scope: what had come of a body when its connection broke

in_thread = run_in_threadpool


def body_length(request, limit):
    """Content-Length of a request. Raises Unsound, TooMuch."""
    if "transfer-encoding" in request.headers:
        raise Unsound("chunked bodies are not taken: send a Content-Length")
    text = request.headers.get("content-length", "")
    if not text.isdecimal() or not text.isascii():
        raise Unsound("a Content-Length is missing")
    if len(text) > 12 or int(text) > limit:
        raise TooMuch("at most %d bytes at once" % limit)
    return int(text)


async def pieces(request, length):
    """The body as it comes. Raises Unsound for one that is cut short or comes too slowly."""
    got, left_s = 0, GRACE_S + length / LEAST_RATE
    while got < length:
        message, waited_s = await _next_message(request, min(left_s, SILENCE_S))
        left_s -= waited_s  # the time that the disk takes is not the client's
        broken = message["type"] != "http.request"
        data = request.scope.pop(UNREAD, b"") if broken else message.get("body", b"")
        got += len(data)
        if data:
            yield data
        if broken and got < length:
            raise Unsound("the connection broke within the body")
        if not broken and not message.get("more_body") and got != length:
            raise Unsound("the body has another length than was said")


async def _next_message(request, most_s):
    """(message of the client, seconds that it took). Raises TooSlow."""
    clock = asyncio.get_running_loop().time
    began = clock()
    try:
        async with asyncio.timeout(most_s):
            return await request.receive(), clock() - began
    except TimeoutError as error:
        raise TooSlow("the body came too slowly") from error


async def read_body(request, limit):
    """A whole body of at most `limit` bytes."""
    parts = [data async for data in pieces(request, body_length(request, limit))]
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def read_json(request, **fields):
    """The values of a JSON object, each of the type given here; (type, default) if optional."""
    data = await read_body(request, JSON_BYTES)
    try:
        said = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Unsound("the body is not JSON") from error
    if not isinstance(said, dict):
        raise Unsound("the body is not a JSON object")
    out = []
    for name, kind in fields.items():
        optional = isinstance(kind, tuple)
        value = said.get(name)
        if name not in said and optional:
            value = kind[1]
        elif type(value) is not (kind[0] if optional else kind):
            raise Unsound("%s is missing, or of the wrong type" % name)
        if isinstance(value, str) and ("\0" in value or not _encodes(value)):
            raise Unsound("%s holds what is no text" % name)
        out.append(value)
    return out


def _encodes(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def bytes_answer(data, status=200):
    """Bytes without a type: every header of a sync reply is paid for by the handset's radio."""
    return Response(data, status)


def json_answer(fields, status=200, headers=None):
    data = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(data, status, headers, media_type="application/json")


def answer_of(error):
    """The answer to a request that ended with an error; the connection ends with it, since the
    rest of a body may still be on its way."""
    if not isinstance(error, Refused):
        error = _as_refusal(error)
    headers = {"connection": "close"} if error.status not in (404, 409) else {}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.wait_s:
        headers["retry-after"] = str(int(error.wait_s))
    return json_answer(error.answer(), error.status, headers)


def _as_refusal(error):
    if isinstance(error, NotFound):
        return NotThere(str(error))
    if isinstance(error, BadInput):
        return Unsound(str(error))
    if isinstance(error, HostDiskFull):
        log.error("%s", error)
        return Busy("the hub's disk is full: its owner must free some space", 300)
    if isinstance(error, (HostFile, StorageError)):
        log.error("%s", error)
        return Busy("the hub cannot store anything at the moment", 60)
    if isinstance(error, DrybagError):
        log.error("%s", error)
        return Busy("the hub has a problem of its own: %s" % error, 60)
    log.error("unexpected %s", type(error).__name__, exc_info=error)
    return Broken("the hub made a mistake; it is in its log")


class TooSlow(Refused):
    status, name = 408, "TooSlow"


class Broken(Refused):
    status, name = 500, "HubError"
    wait_s = 60
