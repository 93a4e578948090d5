"""How often somebody may ask: token buckets, and growing waits after wrong passwords."""

import time
from collections import OrderedDict

__all__ = ["Attempts", "Buckets"]

MOST_KEYS = 20_000


class Buckets:
    """`rate` a second for each key, `burst` at once."""

    def __init__(self, rate, burst, clock=time.monotonic):
        self.rate = rate
        self.burst = burst
        self._clock = clock
        self._levels = OrderedDict()

    def take(self, key):
        """0 if it may go on, else the seconds to wait."""
        now = self._clock()
        level, then = self._levels.pop(key, (self.burst, now))
        level = min(self.burst, level + (now - then) * self.rate)
        wait = 0 if level >= 1 else (1 - level) / self.rate
        self._levels[key] = (level if wait else level - 1, now)
        if len(self._levels) > MOST_KEYS:
            self._levels.popitem(last=False)
        return wait


class Attempts:
    """Wrong passwords: some are free, then each doubles the wait, up to a quarter of an hour.

    Keys are (free attempts, text): few for one owner from one address, more for an address, more
    still for an owner from anywhere, who could else be locked out by a stranger.
    """

    MOST_S = 900

    @staticmethod
    def keys(owner, address):
        return (5, "%s from %s" % (owner, address)), (20, "from " + address), (100, owner)

    def __init__(self, clock=time.monotonic):
        self._clock = clock
        self._failed = OrderedDict()

    def wait_s(self, *keys):
        """Seconds until another attempt is looked at."""
        now = self._clock()
        return max(max(0, self._failed.get(key, (0, now))[1] - now) for key in keys)

    def failed(self, *keys):
        now = self._clock()
        for key in keys:
            count, until = self._failed.pop(key, (0, now))
            count = 1 if now - until > self.MOST_S else count + 1
            over = count - key[0]
            wait = min(self.MOST_S, 1 << min(over, 10)) if over >= 0 else 0
            self._failed[key] = (count, now + wait)
            if len(self._failed) > MOST_KEYS:
                self._failed.popitem(last=False)

    def passed(self, *keys):
        for key in keys:
            self._failed.pop(key, None)
