"""The journal's workloads: named ones, sequences of operations, long seeded ones, counters.

Volumes are small, 14 to 48 sectors, so that a boot is quick and compaction soon begins.
"""

from drybag_host.emulator.rom.prng import Rng
from drybag_host.rig.device import workloads_faults, workloads_paired, workloads_sync
from drybag_host.rig.device.ops import Workload, put, text

SEQUENCE_SECTORS = 16
STEPS = ("put", "update", "delete", "batch", "photo", "seal", "compaction", "restore", "full")
_OF_SOMETHING = ("update", "delete", "restore")  # nothing, where nothing is there yet
BOOT = ("boot",)
_CHURNED = 54
_MAX_NUMBER = 0x3FFFFFF
_MAX_U32 = 0xFFFFFFFF


def sequence_names(longest=3):
    """Every sequence of one to `longest` operations, as workload names."""
    level, names = ["seq"], []
    for _ in range(longest):
        level = [name + "." + step for name in level for step in STEPS]
        names += level
    return names


def workload(name, seed=1):
    """The workload of that name; `seed` matters to the long ones. Raises ValueError."""
    if name.startswith("seq."):
        return _sequence(name)
    if name in SEEDED:
        sectors, make = SEEDED[name]
        ops, start = make(Rng(seed))
        return Workload(name, sectors, ops, start)
    if name not in NAMED:
        raise ValueError("no workload '%s'" % name)
    sectors, before, swept = NAMED[name]
    first = before()
    return Workload(name, sectors, first + swept(), len(first))


def _sequence(name):
    """`seq.put.seal`: on a fresh volume; only the last operation is swept, since those before it
    are swept as sequences of their own. Steps are numbered from the first that finds something to
    do, so that `seq.delete.put` is known to be `seq.put` once it was traced."""
    ops, n = [BOOT], 0
    for step in name.split(".")[1:]:
        if step not in STEPS:
            raise ValueError("no operation '%s' in a sequence" % step)
        ops.append(_step(step, n))
        n += bool(n) or step not in _OF_SOMETHING
    return Workload(name, SEQUENCE_SECTORS, ops, len(ops) - 1)


def _step(step, n):
    if step == "put":
        return put(1 + n % 4, b"s%d" % n, n, 90)
    if step == "photo":
        return ("photo", b"p%d.jpg" % n, n, 4100)
    if step == "full":
        return ("fill", 4, 1400, b"f%d-" % n)
    return {
        "update": ("update", n, 150), "delete": ("remove",), "batch": ("mixed", n),
        "seal": ("seal",), "compaction": ("compaction", n), "restore": ("restore",),
    }[step]  # fmt: skip


# --- named workloads: (sectors, what stands before, what is swept) ---------------------------


def _nothing():
    return []


def _few():
    return [BOOT] + [put(1 + n % 4, b"old%d" % n, n, 60 + 90 * n, (), n) for n in range(6)]


def _format():
    return [BOOT, ("put", 1, b"first", b"FN:First\n", (), 0)]


def _puts():
    return [("put", 1 + n % 4, b"new%d" % n, b"FN:%d\n" % n, (), 0) for n in range(64)]


def _updates():
    ops = []
    for n in range(12):
        ops.append(put(1 + n % 4, b"old%d" % (n % 6), n, 20 + 37 * n, (), 7))
        if n % 3 == 2:
            ops.append(("delete", 1 + (n - 1) % 4, b"old%d" % ((n - 1) % 6)))
    return ops


def _batches():
    ops = []
    for n in range(3):
        batch = [("put", 1, b"b%d-%d" % (n, i), text(i, 30 + 120 * i)) for i in range(5)]
        batch.insert(2, ("put", 1 + n % 4, b"old%d" % n, text(n, 200), (), 9))
        batch.append(("delete", 1 + (n + 3) % 4, b"old%d" % (n + 3)))
        ops += [("batch", batch), put(2, b"after%d" % n, n, 90)]
    ops.append(("batch", [("put", 1, b"b0-0", b"x"), ("put", 1, b"b0-0", b"y"),
                          ("delete", 1, b"b1-1")]))  # fmt: skip
    # two records that share the 22 bits of their key's hash
    ops.append(("batch", [("put", 1, b"u855", b"x"), ("put", 1, b"u59200", b"y")]))
    return ops


def _photos():
    first, other = (1, 9000), (2, 700)
    return [
        ("blob", 1, 9000), ("blob", 2, 700),
        put(5, b"holiday.jpg", 1, 20, [first]),
        put(1, b"with", 1, 20, [other, first]),
        put(5, b"holiday.jpg", 2, 20, [other]),
        ("delete", 1, b"with"),
    ]  # fmt: skip


def _big_bodies():
    return [put(4, b"big", 1, 5000), put(4, b"big", 2, 4100, (), 3),
            put(4, b"longest entry", 3, 1500), ("delete", 4, b"big")]  # fmt: skip


def _large_churn(count):
    """Large bodies come and go among others until sectors get few: what the sweep lets go and what
    is free on flash are not the same then."""
    rng, ops = Rng(388), [BOOT]
    for n in range(count):
        what = rng.below(100)
        if what < 30:
            ops.append(put(4, b"big%d" % rng.below(3), n, 1700))
        elif what < 60:
            ops.append(("delete", 4, b"big%d" % rng.below(3)))
        else:
            ops.append(put(1, b"k%d" % rng.below(8), n, 1300))
    return ops


def _churning():
    ops = _large_churn(60)[_CHURNED + 1 :]
    for n in range(2):
        ops += [("photo", b"p%d.jpg" % (n % 2), n, 4100), put(4, b"big0", n, 4100),
                ("delete", 5, b"p%d.jpg" % (n % 2)), put(1, b"k%d" % n, n, 1300)]  # fmt: skip
    return ops


def _shutdowns():
    ops = []
    for n in range(3):
        ops += [put(1, b"s%d" % n, n, 300), ("seal",), put(1, b"s%d" % n, n + 9, 100)]
    return ops + [("seal",)]


def _undeletes():
    return [("delete", 1, b"old0"), ("delete", 2, b"old5"), ("undelete", 1, b"old0"),
            ("put", 1, b"old0", b"x", (), 0), ("undelete", 2, b"old5")]  # fmt: skip


def _half_full():
    ops = [BOOT] + [put(1, b"k%d" % n, n, 250) for n in range(42)]
    return ops + [put(1, b"k%d" % (n % 30), n, 200) for n in range(90)]


def _compacting():
    ops = []
    for n in range(36):
        ops.append(put(1, b"k%d" % (n * 7 % 42), n, 100 + 60 * (n % 5)))
        if n % 9 == 8:
            ops.append(("delete", 1, b"k%d" % (n * 7 % 42)))
    return ops


def _full():
    return [BOOT, ("fill", 4, 400, b"f")]


def _full_flash():
    ops = []
    for n in range(12):
        ops += [("delete", 4, b"f%04d" % (n * 3)), put(4, b"again%d" % n, n, 300)]
    return ops


def _nearly_full():
    """As `_full_flash`, through shutdowns and with a photo that finds no room."""
    ops = [("photo", b"none.jpg", 1, 9000), ("seal",)]
    for n in range(6):
        ops += [("delete", 4, b"f%04d" % (n * 5)), ("mixed", n)]
        if n % 3 == 2:
            ops.append(("seal",))
    return ops


def _before_growth():
    return [BOOT] + [put(1, b"g%d" % n, n, 1400) for n in range(44)]


def _growing():
    return [put(1, b"h%d" % n, n, 1400) for n in range(12)]


def _before_checkpoint():
    ops = [BOOT] + [put(1 + n % 4, b"c%d" % n, n, 1) for n in range(150)]
    ops.append(put(1, b"c0", 0, 1480))
    return ops + [put(1, b"c%d" % (4 * n % 24), n, 1480) for n in range(46)]


def _checkpointing():
    """The second one goes over the end of a segment."""
    return [("checkpoint",), put(1, b"c8", 9, 1250), ("delete", 2, b"c1"),
            put(1, b"c4", 4, 620), ("checkpoint",)]  # fmt: skip


def _unclean():
    return _few() + [("seal",)] + [put(1, b"u%d" % n, n, 70 * (n % 4)) for n in range(14)]


def _reboots():
    return [BOOT, BOOT]


def _churn(sectors_written, uids=6):
    """Updates of a few records: `sectors_written` sectors of log, about."""
    return [put(1 + n % 4, b"w%d" % (n % uids), n, 850) for n in range(4 * sectors_written)]


def _from(number, seq, ckpt_id=0, blob=1):
    """The beginning of a journal that has counted so far already."""

    def before():
        return [("format", number, seq, ckpt_id, blob)] + [
            put(1 + n % 4, b"w%d" % n, n, 60) for n in range(4)
        ]

    return before


NAMED = {
    "format": (16, _nothing, _format),
    "puts": (24, _few, _puts),
    "updates": (24, _few, _updates),
    "batches": (24, _few, _batches),
    "photos": (28, _few, _photos),
    "big": (28, _few, _big_bodies),
    "churn": (24, lambda: _large_churn(_CHURNED), _churning),
    "shutdowns": (24, _few, _shutdowns),
    "undeletes": (24, _few, _undeletes),
    "compaction": (18, _half_full, _compacting),
    "full": (18, _full, _full_flash),
    "nearly-full": (18, _full, _nearly_full),
    "growth": (48, _before_growth, _growing),
    "checkpoint": (48, _before_checkpoint, _checkpointing),
    "recovery": (24, _unclean, _reboots),
    "scrub": (24, _few, lambda: [("scrub",), BOOT, ("scrub",), put(1, b"then", 1, 50)]),
    "wrap-seq": (18, _from(1, _MAX_U32 - 90), lambda: _churn(3) + [("mixed", 1), BOOT]),
    "wrap-segment": (18, _from(_MAX_NUMBER - 4, 1), lambda: _churn(3) + [BOOT]),
    "wrap-checkpoint": (
        18, _from(1, 1, _MAX_U32 - 1),
        lambda: [("checkpoint",), put(1, b"w1", 7, 90), ("checkpoint",), ("delete", 1, b"w0"),
                 ("checkpoint",), BOOT, ("checkpoint",)],
    ),
    "wrap-blob": (
        28, _from(1, 1, 0, 0xFFFFE),
        lambda: [("photo", b"p%d.jpg" % n, n, 700) for n in range(4)],
    ),
}  # fmt: skip
NAMED.update(workloads_faults.NAMED)
NAMED.update(workloads_paired.NAMED)
NAMED.update(workloads_sync.NAMED)


# --- long ones ---------------------------------------------------------------------------------


def _long(rng):
    """Random operations over a few dozen records until the log has turned over several times;
    the last of them are swept."""
    ops = [BOOT]
    for n in range(260):
        ops.append(_any(rng, n))
    return ops, len(ops) - 24


def _any(rng, n):
    what = rng.below(100)
    if what < 62:
        return put(1 + rng.below(4), b"r%d" % rng.below(24), n, _size(rng), (), rng.below(3))
    if what < 76:
        return ("delete", 1 + rng.below(4), b"r%d" % rng.below(24))
    if what < 84:
        return ("mixed", n)
    if what < 88:
        return ("photo", b"p%d.jpg" % rng.below(2), n % 3, 300 + rng.below(4) * 1500)
    return ((BOOT, ("seal",), ("restore",), ("checkpoint",), ("update", n, 90), ("remove",),
             ("scrub",), ("seal",))[rng.below(8)])  # fmt: skip


def _size(rng):
    """Mostly small, now and then up to the longest entry, seldom a body that is a blob."""
    what = rng.below(16)
    if what == 0:
        return 1200 + rng.below(280)
    if what == 1:
        return 0
    return rng.below(400)


def _short_random(rng):
    ops = [BOOT]
    for n in range(14):
        ops.append(_any(rng, n))
    return ops, 3


SEEDED = {"long": (20, _long), "random": (20, _short_random)}
SEEDED.update(workloads_paired.SEEDED)


def names(longest=3):
    """Every workload: the named ones, the seeded ones, the sequences."""
    return list(NAMED) + list(SEEDED) + sequence_names(longest)
