"""Heap and boot cost of the journal with 2,000 records in 1 MiB; run with -X heapsize=240K.

MicroPython; argv: directory of nor.py, directory of drybag, image file, stage ("fill", "boot").
Prints one JSON object.
"""

import sys

sys.path[:0] = sys.argv[1:3]

import gc  # noqa: E402

gc.threshold(8192)  # as main.py sets it: keeps long-lived arrays together
RECORDS = 2000


def used():
    gc.collect()
    gc.collect()
    return gc.mem_alloc()


def fill(part):
    from drybag import journal, layout

    j = journal.mount(part)
    text = (
        "VERSION:3.0\nFN:Somebody Something\nTEL;TYPE=CELL:+44 20 7946 %04d\n"
        "EMAIL:s@example.org\n"
    )
    half = at_half = 0
    for i in range(RECORDS):
        j.put(layout.CONTACT, b"u%06d" % i, (text % i).encode())
        if i == RECORDS // 2 - 1:
            at_half = used()
            half = i + 1
    per_record = (used() - at_half) / (RECORDS - half)
    bytearray(16384)
    j.get(layout.CONTACT, b"u%06d" % (RECORDS - 1))
    return {"heap_bytes_per_record": round(per_record, 1)}


def boot(part, nor):
    before_modules = used()
    from drybag import journal

    modules = used() - before_modules
    nor.reset_counters()
    before = used()
    j = journal.mount(part)
    counters = nor.counters
    heap = used() - before
    result = {
        "boot_read_bytes": counters["read_bytes"],
        "boot_ms": round(counters["ms"], 1),
        "records": j.count(),
        "checkpoint": j.report["checkpoint"],
        "clean": j.report["clean"],
        "modules_heap_bytes": modules,
        "journal_heap_bytes": heap,
        "largest_free_buffer": largest(),
    }
    bytearray(16384)
    assert sum(1 for _ in j.records()) == j.count()
    j.put(1, b"after-boot", b"FN:x\n")
    j.close()
    return result


def largest():
    """Largest buffer that can be allocated now, bytes (to 1 KiB)."""
    gc.collect()
    size = 256 * 1024
    while size:
        try:
            bytearray(size)
            return size
        except MemoryError:
            size -= 1024
    return 0


def main():
    import json

    from nor import NorFlash, NorPartition

    size = 1 << 20
    storage = open(sys.argv[3], "r+b")
    nor = NorFlash(size, storage)
    part = NorPartition(nor, 0, size)
    result = fill(part) if sys.argv[4] == "fill" else boot(part, nor)
    print(json.dumps(result))


main()
