"""Named workloads in which something went wrong before, or which a fault must not get past:
a cut long ago, a worn-out sector, a partition that is not ours. For the data see workloads.py."""

from drybag_host.rig.device.ops import put

_BOOT = ("boot",)


def _forgotten():
    """The first boot was cut: LittleFS forgot a container that the journal goes on to use."""
    return [("interrupted", _BOOT, 40, "clean", 1)] + _long_records(0, 11)


def _growing_over_it():
    """LittleFS allocates until it comes to that container."""
    return _long_records(11, 14)


def _long_records(first, last):
    return [put(1, b"k%d" % n, n, 1400) for n in range(first, last)]


def _tombstones():
    """Seven records and their tombstones in one segment, and the log nearly once around."""
    ops = [_BOOT] + [put(1, b"gone%d" % n, n, 30) for n in range(7)]
    return ops + [("delete", 1, b"gone%d" % n) for n in range(7)] + _turns(0, 6)


def _turns(first, last):
    return [put(1, b"turn%d" % (n % 2), n, 1300) for n in range(first, last)]


def _marginal():
    """A recovery was cut in the last unit of its copy, whose one unsteady bit mostly reads right:
    the next boot takes the copy for whole, one after that may not."""
    records = [put(1, b"u%d" % n, n, 70 * (n % 4)) for n in range(6)]
    return [_BOOT] + records + [("cut", _BOOT, 15, "unstable", 259)]


def _chain():
    """As `_marginal`, and the recovery after it was cut too, in the middle: two copies cut short,
    the second of the first."""
    return _marginal() + [("cut", _BOOT, 5, "neighbour", 41)]


def _chain_torn():
    """As `_chain`, and the first copy, of which the second was made, reads torn from now on."""
    return _chain() + [("unsteady_wrong",)]


def _garbage():
    """Old versions fill the log, so that a photo looks for blobs to let go; one was cut short."""
    ops = [_BOOT] + [put(4, b"n%d" % (n % 5), n, 1000) for n in range(150)]
    return ops + [("interrupted", ("photo", b"cut.jpg", 6, 12000), 140, "clean", 1)]


def _photo_after():
    """Another photo must not get the number of the one that was cut; the next boot finds it."""
    return [("photo", b"new.jpg", 7, 8000), put(1, b"then", 1, 60), _BOOT]


def _unsteady():
    """A put was cut in its last unit, one bit of which reads now so, now so: the boot after it
    decides whether the record is there, and that must stay."""
    records = [put(1, b"u%d" % n, n, 90) for n in range(3)]
    return [_BOOT] + records + [("interrupted", put(1, b"torn", 9, 200), 4, "unstable", 259)]


def _worn(reported):
    """The sector in use wears out between two records."""
    return lambda: [_BOOT] + _long_records(0, 2) + [put(1, b"a", 1, 50), ("worn", reported)]


def _after_wear():
    return [put(1, b"b", 2, 50), put(2, b"c", 3, 200), put(1, b"a", 4, 70), _BOOT,
            put(1, b"b", 5, 90)]  # fmt: skip


def _lives():
    """Shut down again and again, so that each segment was begun by a boot."""
    return [_BOOT] + _shut_down(0, 4)


def _shut_down(first, last):
    ops = []
    for n in range(first, last):
        ops += [put(1 + n % 4, b"life%d" % n, n, 90), put(2, b"last", n, 40), ("seal",)]
    return ops


def _not_ours():
    """Another journal's segment lies in the partition at one boot, and is gone at the next."""
    return [_BOOT, put(1, b"a", 1, 50), ("not_ours",)]


NAMED = {
    "garbage": (48, _garbage, _photo_after),
    "forgotten": (20, _forgotten, _growing_over_it),
    "tombstones": (16, _tombstones, lambda: _turns(6, 9)),
    "marginal": (14, _marginal, lambda: [_BOOT]),
    "chain": (14, _chain, lambda: [_BOOT]),
    "chain-torn": (14, _chain_torn, lambda: [_BOOT]),
    "unsteady": (14, _unsteady, lambda: [put(1, b"x", 1, 30), put(1, b"y", 2, 30)]),
    "worn": (20, _worn(True), _after_wear),
    "worn-silent": (20, _worn(False), _after_wear),
    "lives": (16, _lives, lambda: _shut_down(4, 8) + [put(1, b"cut", 9, 30), _BOOT]),
    "not-ours": (20, _not_ours, lambda: [put(1, b"b", 2, 50), ("not_ours",)]),
}  # fmt: skip
