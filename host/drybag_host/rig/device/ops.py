"""Workloads as data: lists of operations that a person with a handset could ask for.

An operation is a tuple: its name, then what it is given. `JournalUser.do` knows them all:
    boot                          power off without warning, power on
    seal                          close (clean shutdown) and power on again
    put kind uid body blobs parent, delete kind uid, batch ops, undelete kind uid
    blob n size, photo uid n size: text(n, size) stored as a blob; photo names it in a record
    update, remove, mixed, restore, compaction, fill kind size: chosen from what is there
    checkpoint, scrub
    agree behind, setting n size, stored n ops, from_hub ops, grave n: a hub is paired
    pair, sync meanwhile, elsewhere kind uid body photos, hub_kept, hub_back: and is synced with
    format number seq ckpt_id blob: begin the journal as if it had counted that far
"""

from collections import namedtuple

# ops[:start] stand before the first cut; ops[start:] are swept
Workload = namedtuple("Workload", ("name", "sectors", "ops", "start"))


def text(n, size):
    """A body of exactly `size` bytes that tells its number."""
    line = b"NOTE:%d the quick brown fox\n" % n
    return (line * (size // len(line) + 1))[:size]


def put(kind, uid, n, size, blobs=(), parent=0):
    """An operation; `blobs`: (n, size) of each, stored before."""
    return ("put", kind, uid, text(n, size), tuple(blobs), parent)


def chosen(workload, keep):
    """The workload with the operations whose numbers `keep` (ranges as text: '0,3-7') names.

    Raises ValueError for text that is none.
    """
    numbers = set()
    for part in keep.split(","):
        first, _, last = part.partition("-")
        first, last = int(first), int(last or first)
        if not 0 <= first <= last < len(workload.ops):
            raise ValueError("operation %s: there are %d" % (part, len(workload.ops)))
        numbers.update(range(first, last + 1))
    ops = [workload.ops[n] for n in sorted(numbers)]
    start = len([n for n in numbers if n < workload.start])
    return Workload(workload.name + "!" + keep, workload.sectors, ops, min(start, len(ops) - 1))


def ranges(numbers):
    """The text for `chosen` that names these numbers: '0,3-7'."""
    parts = []
    for n in sorted(numbers):
        if parts and parts[-1][1] == n - 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return ",".join("%d" % a if a == b else "%d-%d" % (a, b) for a, b in parts)


def describe(op):
    """One operation as a line of text, long bytes shortened."""
    return " ".join([op[0]] + [_short(part) for part in op[1:]])


def _short(part):
    if isinstance(part, bytes):
        return repr(part)[1:] if len(part) < 24 else "(%d bytes)" % len(part)
    if isinstance(part, (tuple, list)):
        return "[" + ", ".join(_short(p) for p in part) + "]"
    return str(part)
