"""What the same records cost the way most people write them: one log file, append and flush."""

from drybag.port_cpython import VfsLfs2
from drybag_host.emulator.rom.nor import NorFlash, NorPartition

SAMPLE = 300
_COUNTED = ("ms", "erases", "programmed_bytes")


def append_flush(bodies, pictures):
    """{"ms", "erases", "programmed_bytes"} of all: bodies appended to a log, a file a picture.

    Real littlefs with the geometry that MicroPython mounts by default, on the emulated flash. Of
    the bodies at most SAMPLE are written and the rest reckoned from them.
    """
    size_bytes = (1 << 20) + 2 * sum(map(len, pictures)) // 4096 * 4096
    flash = NorFlash(size_bytes)
    partition = NorPartition(flash, 0, size_bytes)
    VfsLfs2.mkfs(partition)
    fs = VfsLfs2(partition)
    sample = bodies[:SAMPLE]
    flash.reset_counters()
    log = fs.open("log", "ab")
    for body in sample:
        log.write(body)
        log.flush()
    log.close()
    share = len(bodies) / max(1, len(sample))
    cost = {name: flash.counters[name] * share for name in _COUNTED}
    flash.reset_counters()
    for number, picture in enumerate(pictures):
        file = fs.open("picture%d" % number, "wb")
        file.write(picture)
        file.close()
    return {name: cost[name] + flash.counters[name] for name in _COUNTED}
