"""Uploads under way: one of a blob at a time, and one of a handset, that of its newest connection.

A handset has one connection. What it began to send over an earlier one was cut off, perhaps
without a word (it went out of reach): that upload is ended, and what came of it kept, before the
handset is told at which byte to go on.
"""

import asyncio
import contextlib

from drybag_host.hub.refusals import Unsound

__all__ = ["LINK", "Sending"]

LINK = "drybag.link"  # in a scope: its connection, with `number` (ascending) and `abort()`
QUIET_S = 0.2
END_S = 10


class _UnderWay:
    """An upload. `came`: bytes of its body so far; `storing`: they are being written."""

    def __init__(self, link):
        self.number = link.number if link else 0
        self.abort = link.abort if link else lambda: None
        self.came = 0
        self.storing = False
        self.over = asyncio.Event()


class Sending:
    """Of one hub, in its event loop."""

    def __init__(self):
        self._locks = {}
        self._under_way = {}
        self._arriving = {}

    def __contains__(self, device):
        return device in self._under_way or device in self._arriving

    @contextlib.contextmanager
    def arriving(self, device):
        """The time from a request on, that says it is of this device, until its upload() began."""
        known = asyncio.Event()
        others = self._arriving.setdefault(device, [])
        others.append(known)
        try:
            yield
        finally:
            known.set()
            others.remove(known)
            if not others:
                self._arriving.pop(device, None)

    @contextlib.asynccontextmanager
    async def upload(self, device, sha, link):
        """The time in which a device sends a blob over a link; what is under way of it."""
        mine = _UnderWay(link)
        earlier = self._under_way.get(device)
        if earlier and earlier.number > mine.number:
            raise Unsound("a newer connection of this handset sends already")
        self._under_way[device] = mine
        try:
            await _ended(earlier)
            async with self._alone(sha):
                yield mine
        finally:
            mine.over.set()
            if self._under_way.get(device) is mine:
                del self._under_way[device]

    async def end(self, device):
        """End what the device sends, and wait until all that came of it is on the disk."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                for known in list(self._arriving.get(device, ())):
                    await known.wait()
        await _ended(self._under_way.get(device))

    @contextlib.asynccontextmanager
    async def _alone(self, sha):
        lock, users = self._locks.get(sha, (asyncio.Lock(), 0))
        self._locks[sha] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[sha]
            if users == 1:
                del self._locks[sha]
            else:
                self._locks[sha] = lock, users - 1


async def _ended(upload):
    """End an upload. What has come, and is still on its way through this computer, is its own."""
    if upload is None:
        return
    for _ in range(round(END_S / QUIET_S)):
        came = upload.came
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(upload.over.wait(), QUIET_S)
            return
        if upload.came == came and not upload.storing:
            upload.abort()
    upload.abort()
