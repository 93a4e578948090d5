"""One sync: join a network, reach the hub, carry out what drybag.syncengine wants."""

import gc

from drybag.port import const
from handset.memory import let_go
from handset.tasks import sleep_ms

_QUIET_MS = const(5000)
_SMALL_BYTES = const(512)
_LEAST_BUFFER = const(4608)
_MOST_BUFFER = const(24576)
_AMPLE_BYTES = const(120000)
_SCARCE_BYTES = const(80000)


async def once(sync):
    """For handset.sync. Raises what the flash raises.

    The connection comes first, as TLS wants memory in one piece; then the engine's code.
    """
    app = sync.app
    buf = bytearray(_buffer_bytes(app.board.heap_free()))
    why = await _join(sync) or await _connect(sync)
    let_go(("drybag.syncsettings",))
    if why:
        if not sync.stale:
            sync.failed(why)
        return
    engine = sync.engine()
    engine.spare = buf
    gc.collect()
    if not sync.facts["on"]:
        engine.turn(True)
    engine.retry = engine.retry or sync.wanted
    outcome = await _drive(sync, engine, sync.link)
    if outcome is None:
        return
    sync.failures = 0
    sync.held = engine.held
    sync.why = outcome.reason
    sync.next_s = sync.now_s() + outcome.wait_s
    sync.note(engine.state)
    gc.collect()
    if not outcome.keeps_connection(app.board.heap_free()):
        sync.close()


def _buffer_bytes(free_bytes):
    """How large a buffer for requests and replies may be. It is the first thing that is taken,
    since it must be in one piece."""
    if free_bytes > _AMPLE_BYTES:
        return _MOST_BUFFER
    return _LEAST_BUFFER if free_bytes < _SCARCE_BYTES else 2 * _LEAST_BUFFER


async def _join(sync):
    """"" once a known network is there, else why not."""
    from drybag.syncsettings import networks
    from handset.wifi import Wifi

    app = sync.app

    def may_block():
        """Looking for networks stops everything for seconds: not while somebody is at work."""
        return app.quiet_ms() > _QUIET_MS

    why = await Wifi().join(networks(app.journal), may_block)
    let_go(("handset.wifi",))
    return why


async def _connect(sync):
    """"" with a connection to the hub, else why not."""
    from handset.https import Broken, Https

    if sync.link is None:
        from drybag.syncsettings import load_hub

        sync.link = Https(load_hub(sync.app.journal))
    try:
        await sync.link.ready()
    except Broken as error:
        sync.close()
        return str(error)
    return ""


async def _drive(sync, engine, link):
    """Carry out the engine's actions; its Outcome, None if it ended before its time."""
    gen = engine.run()
    result = None
    small = bytearray(_SMALL_BYTES)
    answered = False
    try:
        while not sync.stale:
            action = gen.send(result)
            if sync.yielding and answered and action[0] != "pause":
                return None
            if action[0] == "pause":
                result = None
                await sleep_ms(0)
            elif action[0] == "more":
                result = await link.more()
            else:
                result = await _answer(engine, link, action, small)
                answered = True
    except StopIteration as end:
        return end.value
    finally:
        gen.close()


async def _answer(engine, link, action, small):
    """(status, headers, body) of a request; status 0 and the reason where there is no answer."""
    from handset.https import Broken

    try:
        try:
            return await _request(engine, link, action, small)
        except Broken:
            # a connection that was kept may have ended since: once more, with a new one
            if link.fresh or link.answered or action[0] == "put":
                raise
            return await _request(engine, link, action, small)
    except Broken as error:
        link.close()
        return 0, {}, str(error)


async def _request(engine, link, action, small):
    what, path = action[0], action[1]
    if what == "post":
        status, headers = await link.request("POST", path, len(action[2]), (action[2],))
    elif what == "put":
        status, headers = await link.request("PUT", path, action[2], action[3])
    else:
        more = "Range: bytes=%d-\r\n" % action[2] if action[2] else ""
        status, headers = await link.request("GET", path, 0, (), more)
        if status in (200, 206):
            return status, headers, None
    buf = engine.buf if what == "post" and status == 200 else small
    n = await link.read_into(buf)
    return status, headers, memoryview(buf)[:n]
