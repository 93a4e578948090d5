"""What an owner may ask over HTTPS: log in, devices, records, history, conflicts, held deletions.

Every call but the first bears `Authorization: Bearer TOKEN` of a log-in, and is about that
owner's own. Lists come in pages.
"""

import base64

from drybag_host.hub import accounts, owneractions, ownerviews
from drybag_host.hub.refusals import Busy, NotThere, Unsound, WrongSecret
from drybag_host.hub.requests import in_thread, json_answer, read_json
from drybag_host.hub.sessions import LIFETIME_S

__all__ = ["ROUTES", "log_in", "owner_of"]

MOST_POSITION = 1 << 62


async def log_in(hub, request, name, password):
    """The token of a new session. Raises WrongSecret, Busy: after wrong ones it takes longer."""
    keys = hub.attempts.keys(name, request.client.host if request.client else "")
    _check_attempts(hub, keys)
    try:
        async with hub.passwords:
            _check_attempts(hub, keys)  # many may have come at once, and waited here
            row = await in_thread(accounts.check_password, hub.storage, name, password)
    except WrongSecret:
        hub.attempts.failed(*keys)
        raise
    hub.attempts.passed(keys[0])
    return hub.sessions.issue(row)


def _check_attempts(hub, keys):
    wait_s = hub.attempts.wait_s(*keys)
    if wait_s:
        raise Busy("too many wrong passwords", int(wait_s + 1), status=429)


def owner_of(hub, request):
    """The row of the owner who asks. Raises WrongSecret."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise WrongSecret("log in first")
    return hub.sessions.check(token.strip())


async def login(hub, request):
    name, password = await read_json(request, owner=str, password=str)
    token = await log_in(hub, request, name, password)
    return json_answer({"token": token, "expires_s": LIFETIME_S, "hub": hub.service.hub.hex()})


def _query_number(request, name, default, most):
    text = request.query_params.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= most):
        raise Unsound("%s must be a number" % name)
    return int(text)


def _key(request):
    """(kind, uid) that an address names."""
    params = request.path_params
    return ownerviews.kind_number(params["kind"]), ownerviews.uid_bytes(params["key"])


def _check_position(pos, least=0):
    """Raises Unsound for a number that no log can have as a position."""
    if not least <= pos <= MOST_POSITION:
        raise Unsound("there is no such position")


async def summary(hub, request):
    row = owner_of(hub, request)
    out = await in_thread(ownerviews.summary, hub.storage, row)
    return json_answer({"hub": hub.service.hub.hex(), **out})


async def devices(hub, request):
    row = owner_of(hub, request)

    def look():
        found = accounts.devices(hub.storage, row["owner"])
        return [ownerviews.device_view(hub.storage, d, hub.service.seen) for d in found]

    return json_answer({"devices": await in_thread(look)})


async def enrol(hub, request):
    row = owner_of(hub, request)
    name, handset = await read_json(request, name=str, handset=(str, ""))
    now_ms = hub.service.now_ms()
    device, secret = await in_thread(
        accounts.enrol, hub.storage, row["owner"], name, handset, now_ms
    )
    ca = base64.b64encode(hub.ca_der).decode()
    fields = {"device": device, "secret": secret, "owner": row["owner"], "ca": ca}
    return json_answer(fields, 201)


def _own_device(hub, request):
    row = owner_of(hub, request)
    name = request.path_params["device"]
    known = name.isascii() and name.isalnum()  # what a store takes for text
    device = hub.storage.get("devices", [(name,)])[0] if known else None
    if device is None or device["owner"] != row["owner"]:
        raise NotThere("no such device")
    return device


async def device(hub, request):
    found = await in_thread(_own_device, hub, request)
    return json_answer(ownerviews.device_view(hub.storage, found, hub.service.seen))


async def revoke(hub, request):
    found = await in_thread(_own_device, hub, request)
    now_ms = hub.service.now_ms()
    row = await in_thread(accounts.revoke, hub.storage, found["device"], now_ms)
    return json_answer(ownerviews.device_view(hub.storage, row, hub.service.seen))


async def records(hub, request):
    row = owner_of(hub, request)
    query = request.query_params
    kind = ownerviews.kind_number(query["kind"]) if query.get("kind") else None
    limit = _query_number(request, "limit", 100, 500)
    page = await in_thread(
        ownerviews.records, hub.storage, row["owner"], kind, query.get("after"), limit,
        query.get("bodies") == "1", query.get("deleted") == "1",
    )  # fmt: skip
    return json_answer(page)


async def record(hub, request):
    row = owner_of(hub, request)
    kind, uid = _key(request)
    return json_answer(await in_thread(ownerviews.record, hub.storage, row["owner"], kind, uid))


async def history(hub, request):
    row = owner_of(hub, request)
    kind, uid = _key(request)
    before = _query_number(request, "before", None, MOST_POSITION)
    limit = _query_number(request, "limit", 50, 500)
    page = await in_thread(
        ownerviews.history, hub.storage, row["owner"], kind, uid, before, limit
    )
    return json_answer(page)


async def restore(hub, request):
    row = owner_of(hub, request)
    kind, uid = _key(request)
    (pos,) = await read_json(request, pos=(int, -1))
    _check_position(pos, -1)
    return await _act(hub, row, kind, uid, pos)


async def _act(hub, row, kind, uid, pos):
    """Show the version at pos; -1: the record is deleted, and shall be as it was."""
    service = hub.service

    def work():
        args = (hub.storage, service.blobs, row["owner"], kind, uid)
        if pos < 0:
            return owneractions.undelete(*args, service.now_ms())
        return owneractions.restore(*args, pos, service.now_ms())

    return json_answer({"pos": await hub.job(work)})


async def conflicts(hub, request):
    row = owner_of(hub, request)
    found = await in_thread(owneractions.conflicts, hub.storage, row["owner"])
    return json_answer({"conflicts": [ownerviews.conflict_view(c) for c in found]})


async def resolve(hub, request):
    row = owner_of(hub, request)
    kind, uid = _key(request)
    pos, show_it = await read_json(request, pos=int, show=(bool, False))
    _check_position(pos)
    if show_it:
        return await _act(hub, row, kind, uid, pos)
    now_ms = hub.service.now_ms()
    await in_thread(owneractions.resolve, hub.storage, row["owner"], kind, uid, pos, now_ms)
    return json_answer({"pos": pos})


async def held(hub, request):
    row = owner_of(hub, request)
    found = await in_thread(owneractions.held, hub.storage, row["owner"])
    return json_answer({"held": [ownerviews.held_view(h) for h in found]})


async def decide_held(hub, request):
    row = owner_of(hub, request)
    accept, positions = await read_json(request, accept=bool, positions=(list, None))
    if positions is not None:
        if not all(type(pos) is int and 0 <= pos <= MOST_POSITION for pos in positions):
            raise Unsound("positions are numbers")
    service = hub.service

    def work():
        return owneractions.decide_held(
            hub.storage, service.blobs, row["owner"], accept, service.now_ms(), positions
        )

    return json_answer({"decided": await hub.job(work)})


_RECORD = "/v1/owner/records/{kind}/{key}"
ROUTES = (
    ("POST", "/v1/owner/login", login),
    ("GET", "/v1/owner/summary", summary),
    ("GET", "/v1/owner/devices", devices),
    ("POST", "/v1/owner/devices", enrol),
    ("GET", "/v1/owner/devices/{device}", device),
    ("POST", "/v1/owner/devices/{device}/revoke", revoke),
    ("GET", "/v1/owner/records", records),
    ("GET", _RECORD, record),
    ("GET", _RECORD + "/history", history),
    ("POST", _RECORD + "/restore", restore),
    ("POST", _RECORD + "/resolve", resolve),
    ("GET", "/v1/owner/conflicts", conflicts),
    ("GET", "/v1/owner/held", held),
    ("POST", "/v1/owner/held", decide_held),
)
