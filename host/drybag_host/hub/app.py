"""The hub as an ASGI application: handsets under /v1, owners under /v1/owner.

    app = make_app(Hub(service, ...))
"""

import asyncio
import base64
import contextlib
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from drybag_host.hub import accounts, blobapi, ownerapi, web
from drybag_host.hub.group import Committer
from drybag_host.hub.limits import Attempts, Buckets
from drybag_host.hub.openapi import description
from drybag_host.hub.refusals import Busy, NotThere, Unsound
from drybag_host.hub.requests import answer_of, bytes_answer, in_thread, json_answer, read_body
from drybag_host.hub.sending import Sending
from drybag_host.hub.sessions import Sessions
from drybag_host.hub.uploads import Uploads

__all__ = ["Hub", "make_app"]

SYNC_BYTES = 54 + 65_536
SEND_S = 60  # for one piece of an answer
OFFSITE_S = 8  # an answer waits so long for the off-site copy; then the ack stays where it was
MOST_WAITING = 2000
PASSWORDS = 2  # looked at side by side: each costs 16 MiB and a twentieth of a second
RATE, BURST = 50, 400  # requests of one device: a second, at once


class Hub:
    """What the endpoints share. offsite: None, or an object whose `wait(lsn, timeout_s)` is True
    once everything through that commit is off-site."""

    def __init__(self, service, ca_der=b"", offsite=None, rate=RATE, burst=BURST):
        self.service = service
        self.storage = service.storage
        self.ca_der = ca_der
        self.offsite = offsite
        self.sessions = Sessions(self.storage)
        self.uploads = Uploads(service)
        self.committer = Committer(self.storage)
        self.buckets = Buckets(rate, burst)
        self.attempts = Attempts()
        self.passwords = asyncio.Semaphore(PASSWORDS)
        self.sending = Sending()

    async def job(self, work, after=None):
        """work() in the next batch of the storage; durable when this returns."""
        if self.committer.waiting() > MOST_WAITING:
            raise Busy("the hub has too much to do", 10)
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        def done(error, result):
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(_settle, future, error, result)

        self.committer.submit(work, after, done)
        return await future

    def limit(self, key):
        """Raises Busy when it asks too often."""
        wait_s = self.buckets.take(key)
        if wait_s:
            raise Busy("this handset asks too often", max(1, int(wait_s + 1)), status=429)

    def device(self, request):
        """The row of the device that asks. Raises WrongSecret, Revoked, Busy."""
        row = accounts.authenticate(self.storage, request.headers.get("authorization", ""))
        self.limit(row["device"])
        return row

    def close(self):
        """What was accepted is done first."""
        self.committer.close()
        self.service.write_seen()


def _settle(future, error, result):
    if future.cancelled():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


# --- handsets --------------------------------------------------------------------------------


async def sync(hub, request):
    data = await read_body(request, SYNC_BYTES)
    service = hub.service
    if accounts.device_named(request.headers.get("authorization", "")) in hub.sending:
        row = await in_thread(hub.device, request)
        await hub.sending.end(row["device"])

    def take():
        return service.take(hub.device(request), data)

    if not service.ack_offsite:
        return bytes_answer(await hub.job(take, service.answer))
    taken = await hub.job(take)
    if taken.lsn and hub.offsite is not None:
        await in_thread(hub.offsite.wait, taken.lsn, OFFSITE_S)
    return bytes_answer(await hub.job(partial(service.answer, taken)))


# --- everybody -------------------------------------------------------------------------------


async def health(hub, request):
    return json_answer({"hub": hub.service.hub.hex(), "version": 1})


async def ca(hub, request):
    text = base64.encodebytes(hub.ca_der).decode()
    pem = "-----BEGIN CERTIFICATE-----\n%s-----END CERTIFICATE-----\n" % text
    return Response(pem, media_type="application/x-pem-file")


async def openapi(hub, request):
    return json_answer(description())


# --- the application -------------------------------------------------------------------------


def make_app(hub):
    """The ASGI application: handsets, owners' programs, owners' pages."""
    routes = [
        _route(hub, "POST", "/v1/sync", sync),
        _route(hub, "GET", "/v1/health", health),
        _route(hub, "GET", "/v1/ca.pem", ca),
        _route(hub, "GET", "/openapi.json", openapi),
    ]
    for method, path, endpoint in (*blobapi.ROUTES, *ownerapi.ROUTES):
        routes.append(_route(hub, method, path, endpoint))
    pages, error_page = web.site(hub)
    app = Starlette(routes=_merged(routes) + pages, exception_handlers={
        404: partial(_no_such_address, error_page), 405: partial(_no_such_method, error_page),
        Exception: partial(_mistake, error_page),
    })  # fmt: skip
    return _Front(app, _answered(hub, sync))


def _answered(hub, endpoint):
    async def run(request):
        try:
            return await endpoint(hub, request)
        except Exception as error:  # answered, and logged where it is the hub's own
            return answer_of(error)

    return run


def _route(hub, method, path, endpoint):
    run = _answered(hub, endpoint)
    return Route(path, run, methods=[method], name="%s %s" % (method, path))


def _merged(routes):
    """Routes of one path as one, so that a wrong method is a 405 with all that are right."""
    by_path = {}
    for route in routes:
        by_path.setdefault(route.path, {}).update(
            dict.fromkeys(route.methods - {"HEAD"}, route.endpoint)
        )
    return [Route(path, _by_method(ends), methods=list(ends)) for path, ends in by_path.items()]


def _by_method(ends):
    async def run(request):
        method = "GET" if request.method == "HEAD" else request.method
        return await ends[method](request)

    return run


def _is_browser(request):
    """Errors are JSON, but for somebody who looks at pages."""
    accepts = request.headers.get("accept", "")
    return "text/html" in accepts and not request.url.path.startswith("/v1/")


async def _no_such_address(error_page, request, error):
    if _is_browser(request):
        return await error_page(request, 404, "Not found", "This hub has no such page.")
    return answer_of(NotThere("this hub has no such address"))


async def _no_such_method(error_page, request, error):
    if _is_browser(request):
        answer = await error_page(request, 405, "Not done", "This page takes no such request.")
    else:
        refused = Unsound("this address does not take that method")
        answer = json_answer(refused.answer(), 405, {"connection": "close"})
    answer.headers.update(error.headers or {})
    return answer


async def _mistake(error_page, request, error):
    """Of an owner's page; Starlette raises it again, so that the server logs it."""
    if _is_browser(request):
        text = "The hub made a mistake; it is in its log. Nothing was changed."
        with contextlib.suppress(Exception):
            return await error_page(request, 500, "That did not work", text)
    return answer_of(error)


class _Front:
    """Ends a connection whose other end takes no answer; takes the short way for a sync."""

    def __init__(self, app, run_sync):
        self._app = app
        self._run_sync = run_sync
        self.router = app.router

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return

        async def send_soon(message):
            async with asyncio.timeout(SEND_S):
                await send(message)

        with contextlib.suppress(TimeoutError):
            if scope["path"] == "/v1/sync" and scope["method"] == "POST":
                answer = await self._run_sync(Request(scope, receive))
                await answer(scope, receive, send_soon)
            else:
                await self._app(scope, receive, send_soon)
