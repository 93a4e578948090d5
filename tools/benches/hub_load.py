"""Load for a hub: handsets that push as fast as it answers, or so many times a second.

Requests are made beforehand, so that the hub's time is measured and not ours. Each handset has one
TLS connection that it keeps.
"""

import asyncio
import time

from drybag import layout, syncwire, syncwirehost
from drybag.syncwire import Item, Request
from drybag_host.trials.server import tls_context

_BODY = (
    b"VERSION:3.0\nUID:%s\nFN:Ada Lovelace %d\nN:Lovelace;Ada;;;\nTEL;TYPE=CELL:+49 151 %07d\n"
    b"EMAIL;TYPE=INTERNET:ada%d@example.com\nORG:Voyager Instruments\n"
)


class Pusher:
    """A handset that only pushes new contacts, `batch` at a time."""

    def __init__(self, hub, batch):
        self.hub = hub
        self.batch = batch
        self.seq = 0
        self.acked, self.check = 0, syncwire.NO_CHECK
        self.took_s = []
        self._context, self._name = tls_context(hub.ca)

    async def connect(self):
        self._in, self._out = await asyncio.open_connection(
            self.hub.host, self.hub.port, ssl=self._context, server_hostname=self._name
        )

    def close(self):
        self._out.close()

    def _request(self):
        r = Request()
        r.nonce, r.epoch, r.life = self.seq + 1, 77, 99
        r.acked, r.ack_check = self.acked, self.check
        items = []
        for _ in range(self.batch):
            self.seq += 1
            uid = b"%s-%08d" % (self.hub.device.encode(), self.seq)
            body = _BODY % (uid, self.seq, self.seq, self.seq)
            items.append(
                Item(self.seq, layout.CONTACT, uid, body, 820_000_000 + self.seq, 1, False)
            )
        r.last_seq = r.upto = self.seq
        data = syncwirehost.pack_request(r, items)
        head = (
            "POST /v1/sync HTTP/1.1\r\nHost: drybag-hub\r\nAuthorization: Bearer %s.%s\r\n"
            "Content-Length: %d\r\n\r\n" % (self.hub.device, self.hub.secret, len(data))
        )
        return head.encode() + data

    async def push(self):
        """One batch, acknowledged. Raises RuntimeError if it is not."""
        data = self._request()
        began = time.perf_counter()
        self._out.write(data)
        head = await self._in.readuntil(b"\r\n\r\n")
        low = head.lower()
        at = low.index(b"content-length:") + 15
        body = await self._in.readexactly(int(low[at : low.index(b"\r\n", at)]))
        self.took_s.append(time.perf_counter() - began)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError("the hub said %r %r" % (head[:30], body[:200]))
        reply = syncwire.parse_reply(body)
        if reply.ack != self.seq:
            raise RuntimeError("acknowledged through %d, not %d" % (reply.ack, self.seq))
        self.acked, self.check = reply.ack, reply.ack_check

    async def go(self, until, every_s):
        """Push until that moment; `every_s`: as often, 0 without a pause."""
        due = time.perf_counter()
        while time.perf_counter() < until:
            await self.push()
            if every_s:
                due = max(due + every_s, time.perf_counter() - every_s)
                await asyncio.sleep(max(0.0, due - time.perf_counter()))


def load(hubs, batch, seconds, entries_a_second=0):
    """Push for so long: {"entries_per_second", "ack_p50_ms", "ack_p99_ms", "entries"}."""
    pushers = [Pusher(hub, batch) for hub in hubs]
    return asyncio.run(_load(pushers, batch, seconds, entries_a_second))


async def _load(pushers, batch, seconds, rate):
    for pusher in pushers:
        await pusher.connect()
    await asyncio.gather(*[pusher.push() for pusher in pushers])  # warm
    for pusher in pushers:
        pusher.took_s.clear()
    every_s = batch * len(pushers) / rate if rate else 0
    began = time.perf_counter()
    await asyncio.gather(*[pusher.go(began + seconds, every_s) for pusher in pushers])
    whole_s = time.perf_counter() - began
    for pusher in pushers:
        pusher.close()
    took = sorted(t for pusher in pushers for t in pusher.took_s)
    return {
        "handsets": len(pushers), "batch": batch, "seconds": round(whole_s, 1),
        "offered_per_second": rate or "as many as it takes",
        "entries": batch * len(took),
        "entries_per_second": round(batch * len(took) / whole_s),
        "ack_p50_ms": round(1000 * took[len(took) // 2], 1),
        "ack_p99_ms": round(1000 * took[min(len(took) - 1, int(len(took) * 0.99))], 1),
    }  # fmt: skip
