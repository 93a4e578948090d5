"""The pool of sectors: LittleFS files of one sector each, recycled by the journal.

A container is a file of 4096 bytes, named by the segment that was first written in it, in a
directory of at most 24: so few that the directory's metadata log never fills, since compacting
it costs LittleFS time in the square of its files (2.6 s for 60 on a chip). LittleFS allocates it
once; from then on the journal erases and programs its sector in place and LittleFS's metadata
stays as it is. So LittleFS decides where sectors come from, and no torn commit of its own can
reach a record.
"""

from array import array

from drybag import layout, port
from drybag.errors import NoSpace, NotMountable
from drybag.layout import SECTOR, UNIT
from drybag.port import const

UNKNOWN = const(0)
IS_LOG = const(1)
IS_BLOB = const(2)
FREE = const(3)
WAITING = const(4)
BAD = const(5)
STALE = const(6)

_PER_DIRECTORY = const(24)
_SPARE = const(4)
_KEEP_FREE = const(3)
_DIRECTORY = const(0x4000)
_LETTERS = "lbs"
_GROWN = b"\xff" * 1024
_FORMAT_MARK = b"drybag formats this partition: nothing stood here before    \xff\xff\xff\xff"


class Pool:
    """What each sector is used for, and LittleFS behind it.

    `state` is a byte a sector, `number` a u32 a sector (segment number, or blob << 12 | chunk).
    A sector that the journal has let go is WAITING until the next segment header is on flash,
    then FREE. One of a blob is STALE until it is erased: it can be taken, but the next boot will
    count it as a blob again, and recovery needs a sector that is free then.
    """

    def __init__(self, device):
        self.device = device
        self.state = bytearray(device.sectors)
        self.number = array("I", bytes(4 * device.sectors))
        self.fs = None
        self.fs_error = None
        self.free = 0
        self.waiting = 0
        self.stale = 0
        self.blobs = 0
        self.bad = 0
        self.owned = 0
        self._most = (device.sectors - _SPARE) * _PER_DIRECTORY // (_PER_DIRECTORY + 2)
        self._directory = -1
        self._files = 0
        self.limit = 0
        self._turn = 0
        self._listed = False

    def mount(self):
        """Open LittleFS; a failure is kept in `fs_error` (the journal reads without it)."""
        try:
            self.fs = port.open_fs(self.device, self.device.sectors)
        except OSError as error:
            self.fs_error = error
        self.limit = self._most if self.fs else self.owned
        return self.fs is not None

    def scan(self, buf):
        """Read every sector's 16-byte prefix; yields (sector, version, epoch, type, number).

        Sectors with a harmed prefix are rebuilt from parity. Only reads.
        """
        from drybag.segment import rebuild_prefix

        head = memoryview(buf)[:16]
        blank = b"\xff" * 16
        for sector in range(self.device.sectors):
            self.device.read(sector, 0, head)
            if head == blank:
                continue
            found = layout.parse_prefix(head) or rebuild_prefix(self.device, sector, buf)
            if found:
                yield sector, found[0], found[2], found[1], found[3]

    def own(self, sector, state, number):
        """`sector` holds a segment of the journal, or is a free container."""
        self.device.guard(sector)
        if self.state[sector] == UNKNOWN:
            self.owned += 1
        self._leave(sector)
        self.state[sector] = state
        self.number[sector] = number
        if state == IS_BLOB:
            self.blobs += 1
        elif state == FREE:
            self.free += 1

    def release(self, sector, now=False):
        """The journal needs `sector` no more; it can be erased after the next header."""
        self._leave(sector)
        self.state[sector] = FREE if now else WAITING
        if now:
            self.free += 1
        else:
            self.waiting += 1

    def release_blobs(self, sectors, epoch):
        """The journal needs these sectors of blobs no more.

        As many as the next recovery may need are erased now, so that it finds them free.
        """
        for sector in sectors:
            self._leave(sector)
            self.state[sector] = STALE
            self.stale += 1
        spare = layout.pack_prefix(layout.SPARE, epoch, 0) + _GROWN[: UNIT - 16]
        while self.stale and self.free < _KEEP_FREE:
            sector = self._next(STALE)
            if self._prepare(sector, spare):
                self.own(sector, FREE, 0)
            else:
                self.retire(sector)

    def retire(self, sector):
        """`sector` no longer erases or programs: leave it alone until the next boot."""
        self._leave(sector)
        self.state[sector] = BAD
        self.bad += 1

    def _leave(self, sector):
        state = self.state[sector]
        if state == IS_BLOB:
            self.blobs -= 1
        elif state == FREE:
            self.free -= 1
        elif state == WAITING:
            self.waiting -= 1
        elif state == STALE:
            self.stale -= 1

    def header_written(self):
        """A segment header with the new `first` is on flash: waiting sectors become free."""
        if self.waiting:
            for sector in range(len(self.state)):
                if self.state[sector] == WAITING:
                    self.state[sector] = FREE
                    self.free += 1
            self.waiting = 0

    def can_have(self):
        """Sectors that are free or that LittleFS may still give."""
        return self.ready() + self.waiting

    def ready(self):
        """As can_have, without those that still wait for a header."""
        return self.free + self.stale + max(0, self.limit - self.owned)

    def take(self, head, grow=True):
        """A blank sector that begins with `head` (64 bytes), in place; returns its number.

        What was a blob goes first, so that those that are free on flash too stay so. Then a free
        container, erased now, while there are some; else a new one while LittleFS has
        room. Without `grow` LittleFS is asked last: recovery writes none of its metadata as long
        as one container is free. Raises NoSpace.
        """
        if grow and not self.stale and self.free < _KEEP_FREE and self.owned < self.limit:
            sector = self._grow(head)
            if sector >= 0:
                return sector
        while True:
            sector = self._next(STALE if self.stale else FREE)
            if sector < 0:
                if self._adopt():
                    continue
                if not grow and self.owned < self.limit:
                    return self.take(head)
                raise NoSpace("no free sector", SECTOR)
            if self._prepare(sector, head):
                return sector
            self.retire(sector)

    def stock(self, epoch):
        """Fill the first directory with free containers, once, when the partition is new.

        The next recovery finds a sector without LittleFS, and the first puts do not wait for it.
        """
        for number in range(min(_PER_DIRECTORY, self.limit // 2)):
            head = layout.pack_prefix(layout.SPARE, epoch, number) + _GROWN[: UNIT - 16]
            sector = self._grow(head)
            if sector < 0:
                return
            self.own(sector, FREE, 0)

    def _next(self, state):
        """Sectors of that state in turn, so that all wear alike; -1 if there is none."""
        n = len(self.state)
        for i in range(n):
            sector = (self._turn + i) % n
            if self.state[sector] == state:
                self._turn = sector + 1
                return sector
        return -1

    def _prepare(self, sector, head):
        """Erase `sector`, make sure it is blank, program `head`."""
        if not self.device.erase(sector):
            return False
        buf = bytearray(4 * UNIT)
        for at in range(0, SECTOR, len(buf)):
            self.device.read(sector, at, buf)
            if buf != _GROWN[: len(buf)]:
                return False
        return self.device.program(sector, 0, head)

    def _grow(self, head):
        """Let LittleFS allocate one more sector; it programs `head` first. -1 when it is full."""
        device = self.device
        device.expect, device.seen_header = bytes(head[:16]), -1
        try:
            f = self.fs.open(self._place() + _name(head), "wb")
            self._files += 1
            try:
                f.write(head + _GROWN[: 1024 - UNIT])
                for _ in range(3):
                    f.write(_GROWN)
            finally:
                f.close()
            sector = device.seen_header
            if sector < 0:
                raise OSError(5)
        except OSError as error:
            self.limit = self.owned
            self.fs_error = error
            return -1
        finally:
            device.expect = None
        check = bytearray(UNIT)
        device.read(sector, 0, check)
        if check != head:
            self.own(sector, BAD, 0)
            self.bad += 1
            return self._grow(head)
        return sector

    def _place(self):
        """Path of the directory for the next container; made when the last one is full."""
        if self._directory < 0:
            for name in self._directories():
                self._directory = max(self._directory, int(name, 16))
            self._files = _PER_DIRECTORY
            if self._directory >= 0:
                self._files = len(list(self.fs.ilistdir("/%x" % self._directory)))
        if self._files >= _PER_DIRECTORY:
            self.fs.mkdir("/%x" % (self._directory + 1))
            self._directory += 1
            self._files = 0
        return "/%x/" % self._directory

    def _directories(self):
        """Names of the directories that hold containers; other people's are left alone."""
        names = [e[0] for e in self.fs.ilistdir("/") if e[1] == _DIRECTORY and _is_hex(e[0])]
        return [name for name in names if int(name, 16) < len(self.state)]

    def _adopt(self):
        """Find containers whose header a cut destroyed: files that no known sector has."""
        if self._listed or self.fs is None:
            return False
        self._listed = True
        free = self.free
        try:
            self._look_for_files()
        except OSError as error:  # a damaged directory: there is what has been found so far
            self.fs_error = error
        return self.free > free

    def _look_for_files(self):
        for directory in self._directories():
            for entry in list(self.fs.ilistdir("/" + directory)):
                if entry[3] != SECTOR or entry[0][0] not in _LETTERS or not _is_hex(entry[0][1:]):
                    continue
                f = self.fs.open("/" + directory + "/" + entry[0], "rb")
                f.read(1)
                f.close()
                sector = self.device.last_read
                if self.state[sector] == UNKNOWN:
                    self.own(sector, FREE, 0)


def _name(head):
    """File name of a container: a letter (log, blob, spare) and its first number in hex."""
    _, kind, _, number = layout.parse_prefix(head)
    return "%s%x" % (_LETTERS[kind - 1], number)


def _is_hex(name):
    """True if "%x" % some number gives `name`."""
    return 0 < len(name) <= 8 and not name.strip("0123456789abcdef") and (
        name[0] != "0" or name == "0"
    )


def format_if_blank(device, buf):
    """Make a file system on a partition that holds nothing; else raise NotMountable.

    `buf`: a sector. Before the format a mark is programmed in the last sector, in a page of its
    own: with it, what the first four sectors hold is a format cut short and not somebody's data.
    """
    blank = b"\xff" * SECTOR
    last = device.sectors - 1
    begun, written = False, -1
    for sector in range(device.sectors):
        device.read(sector, 0, buf)
        if buf == blank:
            continue
        if sector == last:
            begun, pages = _marks(buf)
            if pages < 16 and buf[256 * pages :] == blank[256 * pages :]:
                continue
        elif sector < 4:
            written = sector
            continue
        _not_blank(sector)
    if written >= 0 and not begun:
        _not_blank(written)
    if written < 0:  # a mark that could be read may have been cut short: another one
        device.writeblocks(last, _FORMAT_MARK, 256 * _marks(buf)[1])
    port.mkfs(device, device.sectors)


def _marks(last):
    """(is there a mark, pages before the first blank one) of the last sector's bytes."""
    begun = False
    for page in range(16):
        if last[256 * page : 256 * page + 256] == b"\xff" * 256:
            return begun, page
        begun = begun or last[256 * page : 256 * page + UNIT] == _FORMAT_MARK
    return begun, 16


def _not_blank(sector):
    raise NotMountable(
        "the partition is not empty (sector %d) and has no readable file system: nothing was "
        "written; take a dump and run salvage" % sector
    )
