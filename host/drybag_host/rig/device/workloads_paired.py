"""Workloads of a handset that is paired with a hub. For the data see workloads.py."""

from drybag_host.rig.device.ops import put, text

_BOOT = ("boot",)


def _paired(records=8):
    """Records that the hub has, and a few that it has not."""
    ops = [_BOOT] + [put(1 + n % 4, b"old%d" % n, n, 60 + 40 * n, (), n) for n in range(records)]
    return ops + [("agree",), put(2, b"young", 1, 90), put(1, b"old0", 9, 70)]


def _syncing():
    """Edits, deletions, settings, and a hub that learns of them."""
    return [
        put(2, b"old1", 20, 100), put(2, b"old1", 21, 60, (), 3), ("delete", 3, b"old2"),
        ("setting", 1, 90), ("delete", 2, b"young"), put(3, b"old2", 22, 80),
        ("stored", 2, [put(4, b"old3", 23, 50)[:4], ("delete", 1, b"old4"),
                       ("put", 1, b"new", text(24, 90))]),
        ("agree", 4), put(1, b"old4", 25, 70), ("undelete", 2, b"young"), ("delete", 4, b"old3"),
        ("agree",),
        ("from_hub", [("put", 3, b"hubs", text(26, 120)), ("delete", 2, b"old5"),
                      ("put", 1, b"old0", text(27, 60), (), 1)]),
        put(3, b"hubs", 28, 90), ("delete", 1, b"old0"), put(4, b"big", 29, 4100), ("seal",),
        put(4, b"big", 30, 40), ("setting", 2, 700), ("delete", 4, b"big"),
        put(1, b"maybe", 31, 50), _BOOT, put(1, b"maybe", 32, 60), ("delete", 1, b"maybe"), _BOOT,
    ]  # fmt: skip


def _deleted():
    """Deletions that the hub has not, in a log that has turned over."""
    ops = _paired(14) + [put(1, b"k%d" % n, n, 250) for n in range(24)]
    ops += [("agree",)] + [("delete", 1 + n % 4, b"old%d" % n) for n in range(1, 10)]
    return ops + [put(1, b"k%d" % (n % 24), n, 200) for n in range(70)]


def _turning():
    """They are copied, the hub learns of some, a record comes back; settings all the time."""
    ops = []
    for n in range(30):
        ops.append(put(1, b"k%d" % (n * 7 % 24), n, 150 + 50 * (n % 5)))
        if n % 3 == 2:
            ops.append(("setting", n, 60))
        if n % 10 == 9:
            ops += [("grave", n), ("delete", 1, b"k%d" % (n * 7 % 24))]
        if n == 15:
            ops.append(("agree", 90))
    return ops


def _told_late():
    return [("checkpoint",), ("delete", 2, b"old1"), ("checkpoint",), ("grave", 2),
            ("compaction", 3), ("delete", 3, b"old2"), _BOOT, ("agree",), ("checkpoint",), _BOOT,
            put(1, b"then", 1, 50)]  # fmt: skip


def _cut_off():
    """The boot follows deletions without a shutdown."""
    return _paired() + [("delete", 1 + n % 4, b"old%d" % n) for n in range(1, 7)] + [
        ("stored", 1, [("delete", 4, b"old7")])
    ]  # fmt: skip


NAMED = {
    "paired": (24, _paired, _syncing),
    "pending": (18, _deleted, _turning),
    "pending-checkpoint": (18, lambda: _paired(12) + [("delete", 1, b"old8")], _told_late),
    "pending-recovery": (24, _cut_off, lambda: [_BOOT, _BOOT, ("grave", 1)]),
}


def _long(rng):
    """Random operations with a hub until the log has turned over; the last of them are swept."""
    ops = _paired()
    for n in range(240):
        ops.append(_any(rng, n))
    return ops, len(ops) - 24


def _any(rng, n):
    what = rng.below(100)
    kind, uid = 1 + rng.below(4), b"r%d" % rng.below(20)
    if what < 50:
        return put(kind, uid, n, 4 + rng.below(400), (), rng.below(3))
    if what < 68:
        return ("delete", kind, uid)
    if what < 74:
        return ("agree", rng.below(60))
    if what < 80:
        gone = ("delete", 1, b"r%d" % rng.below(20))
        return ("from_hub", [("put", kind, uid, text(n, 90)), gone])
    return ((_BOOT, ("setting", n, 90), ("seal",), ("checkpoint",), ("mixed", n), ("grave", n),
             ("restore",), ("compaction", n))[rng.below(8)])  # fmt: skip


SEEDED = {"paired-long": (20, _long)}
