"""A paired handset in memory, a toy hub, and the way between them."""

import random

from pim_flash import Clock, Flash, bodies

from drybag import syncsettings, syncstate, syncwirehost
from drybag import syncwire as w
from drybag.layout import SETTING
from drybag.syncengine import SyncEngine
from drybag.syncoutcome import SYNCED
from drybag_host.rig.device.toy_hub import Driver, ToyHub

HUB = syncsettings.Hub("10.0.0.1", 8443, "ada", "0123456789abcdef", "s" * 43, b"\x30DER")
NOW = 800000000
DAY = 86400


class Handset:
    """A paired journal, its engine, a hub and the way between them."""

    def __init__(self, sectors=48, hub=None, flash=None, device="d0"):
        self.flash = flash or Flash(sectors)
        self.clock = Clock(NOW)
        self.numbers = random.Random(device)
        self.hub = hub or ToyHub()
        self.driver = Driver(self.hub, device)
        self.j = self.flash.mount(self.clock)
        if not flash:
            syncsettings.pair(self.j, HUB, self.number)
        self.boot()

    def number(self):
        return self.numbers.randrange(1, 1 << 32)

    def boot(self):
        self.j = self.flash.mount(self.clock)
        self.engine = SyncEngine(self.j, self.clock, self.number)
        return self

    def sync(self):
        return self.driver.run(self.engine)

    def synced(self, state=SYNCED):
        outcome = self.sync()
        assert outcome.state == state, (outcome.state, outcome.reason)
        return outcome

    def answering(self, change):
        """`change(action, answer)` gives what comes back from now on."""
        self.driver.answer = change

    def meanwhile(self, act, at=1):
        """`act()` once, before the `at`th action is answered."""
        left = [at]

        def once(action):
            left[0] -= 1
            if left[0] == 0:
                act()

        self.driver.meanwhile = once

    @property
    def state(self):
        return syncstate.parse_state(self.j.get(SETTING, syncstate.SYNC).body)


def same(h):
    """Handset and hub hold the same."""
    live = h.hub.live()
    assert set(live) == set(bodies(h.j))
    for record in h.j.records():
        item = live[record.kind, record.uid]
        if not item.big:
            assert item.body == record.body
        else:
            assert h.hub.blobs[item.big[0]] == record.body
        assert tuple(item.blobs) == record.blobs


def posts(h):
    return sum(1 for action in h.driver.seen if action[0] == "post")


def changed(flags=0, **fields):
    """An `answering` that gives every reply other fields."""

    def change(action, answer):
        if action[0] != "post":
            return answer
        reply = w.parse_reply(answer[2])
        items = list(w.parse_items(answer[2], reply.items_at, reply.n))
        reply.flags |= flags
        for name, value in fields.items():
            setattr(reply, name, value)
        body = syncwirehost.pack_reply(reply, items, w.ITEMS_BYTES)[0]
        return answer[0], answer[1], body

    return change
