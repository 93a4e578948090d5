"""One board: looked at, its files kept, written, started, asked.

Nothing is written before everything that can be known is known: chip, flash, table, where the
records lie, whether the files fit.
"""

import time
from dataclasses import dataclass, field

from drybag.layout import SECTOR
from drybag_host.board.loader import open_loader
from drybag_host.board_errors import ImageProblem
from drybag_host.errors import LinkLost, LinkTimeout, NoSuchTarget, OtherHandset, PortBusy
from drybag_host.flash_errors import RecordsElsewhere
from drybag_host.image import filesystem, partitions, salvage_scan, stock, whole

from . import greeting, keeping, plan

_SLOW_BAUD = 115200
_NEAR_BYTES = 0x10000


@dataclass
class Order:
    """What is to be flashed. `stock`: a Stock, None with `app_only`; `files`: {"/path": bytes}.

    `erase_pim(name)` -> bool: whether the records of this handset are to be erased, told its
    name; it may raise Declined. `clean`: what else is in `/` goes. `start`: start it and ask.
    `no_growth`: also a MicroPython that does not mount the LittleFS of `pim`.
    """

    model: object
    files: dict
    stock: object = None
    app_only: bool = False
    clean: bool = False
    start: bool = True
    erase_pim: object = None
    wait_s: float = greeting.START_S
    baud: int = 460800
    no_growth: bool = False


@dataclass
class Done:
    """What was done to a board; `fields()` for --json."""

    target: str
    board: str
    chip: str = ""
    mac: str = ""
    name: str = ""
    flash_bytes: int = 0
    micropython: str = ""
    parts: list = field(default_factory=list)
    kept_files: list = field(default_factory=list)
    replaced_files: list = field(default_factory=list)
    erased_pim: bool = False
    verified: bool = False
    started: bool = False
    handset: dict = field(default_factory=dict)
    seconds: float = 0.0

    def fields(self):
        return dict(vars(self))


class Flasher:
    """Flashes one board. `tell`: says(text), warns(text), moved(stage, done, total).

    `home`: where Drybag keeps things. Raises what Esptool's methods raise, WrongChip, WrongFlash,
    ImageProblem, RecordsElsewhere, DiskTooNew, Declined, and of the start LinkError kinds and
    NotVerified.
    """

    def __init__(self, target, order, home, tell):
        self.target = target
        self.order = order
        self.home = home
        self.tell = tell
        self.tool = None
        self.done = Done(target, order.model.name)
        if order.stock:
            self.done.micropython = order.stock.version
        self._stopped = False

    def stop(self):
        """End what is under way, from another thread."""
        self._stopped = True
        if self.tool:
            self.tool.stop()

    def run(self):
        """The Done of a board that was written, verified and, if asked for, has answered."""
        started = time.monotonic()
        with open_loader(self.target, self.order.baud) as self.tool:
            self._write()
        if self.order.start and not self._stopped:
            self.tell.says("starting it")
            found = greeting.greet(self.target, self.done.mac, self.order.wait_s)
            self.done.started = True
            self.done.handset = found
        self.done.seconds = round(time.monotonic() - started, 3)
        return self.done

    # -- steps --------------------------------------------------------------------------------
    def _write(self):
        order, model = self.order, self.order.model
        chip = self._try(lambda: self.tool.identify())
        self.done.chip, self.done.mac = chip.model, chip.mac
        self.done.flash_bytes = chip.flash_bytes
        self.done.name = "drybag-" + chip.mac.replace(":", "")[-6:]
        plan.check_chip(chip, model)
        mib = chip.flash_bytes >> 20
        self.tell.says("%s, %d MiB of flash, MAC %s" % (chip.model, mib, chip.mac))
        if mib > model.flash_mib:
            self.tell.warns("%s uses only %d of its %d MiB" % (model.name, model.flash_mib, mib))
        app = partitions.find(model.partitions, "factory").offset
        table, head = self._look(app)
        found = plan.present(table)
        erase = bool(order.erase_pim and order.erase_pim(self.done.name))
        if order.app_only:
            plan.check_app_only(found, model)
        if not erase:
            self._check_records(found)
            self._check_disk()
        old, head = self._keep(found, head)
        parts = self._parts(old)
        pieces = plan.writes(parts, found, (app, head) if order.app_only else None)
        emptied = plan.clearing(found, model)
        if not erase:
            plan.guard([*emptied, *pieces], found, model)
        self._send("emptying the start", emptied)
        if erase:
            row = partitions.find(model.partitions, "pim")
            self.tell.says("erasing all records")
            self._try(lambda: self.tool.erase(row.offset, row.size))
            self.done.erased_pim = True
        self._send("writing", pieces)
        self.done.parts = [
            {"part": piece.part, "address": piece.address, "size_bytes": len(piece.data)}
            for piece in pieces
        ]
        self.done.verified = True
        keeping.Keeping(self.home, chip.mac).done()

    def _check_records(self, found):
        """Raises RecordsElsewhere where the new table would leave records behind."""
        model = self.order.model
        row = plan.pim_elsewhere(found, model)
        if row is not None:
            ours = partitions.find(model.partitions, "pim")
            raise RecordsElsewhere(
                "the board has its records at 0x%x (%d KiB); %s has 'pim' at 0x%x (%d KiB)"
                % (row.offset, row.size >> 10, model.name, ours.offset, ours.size >> 10),
                name=self.done.name,
                pim=row._asdict(),
            )
        if found.rows is None and not found.blank:
            self._look_for_records()

    def _check_disk(self):
        """Raises DiskTooNew where the LittleFS of `pim` is too new for what is to be written."""
        version = self.done.micropython  # of the modules alone "": what is there stays
        known = stock.newest_disk_version(version) > filesystem.DISK_VERSION
        if known or self.order.no_growth:
            return
        row = partitions.find(self.order.model.partitions, "pim")
        root = self._read("looking at the records", row.offset, plan.SUPERBLOCKS * SECTOR)
        plan.check_disk(root, version, self.done.name)

    def _look_for_records(self):
        """With no table to say where `pim` is, what is to be written over is searched first."""
        self.tell.says("no partition table can be read: looking whether records lie here")
        new = self.order.stock
        for label in ("factory", "vfs"):
            row = partitions.find(self.order.model.partitions, label)
            size = len(new.app) if new and label == "factory" else row.size
            data = self._read("looking at '%s'" % label, row.offset, -(-size // SECTOR) * SECTOR)
            scan = salvage_scan.scan(data)
            if scan.sectors or scan.chunks:
                raise RecordsElsewhere(
                    "there is no partition table, and records lie at 0x%x, where '%s' would go"
                    % (row.offset, label),
                    name=self.done.name,
                )

    def _look(self, app):
        """The sectors of the partition table and of the application's start, in one run if near.

        A run of esptool takes longer than the sectors in between.
        """
        at = partitions.TABLE_ADDR
        if 0 < app - at <= _NEAR_BYTES:
            raw = self._read("partition table", at, app + SECTOR - at)
            return raw[:SECTOR], raw[-SECTOR:]
        return self._read("partition table", at, SECTOR), self._read("application", app, SECTOR)

    def _keep(self, found, head):
        """(`/` to take over or None, head), both safe on this computer; `head`: as it is now."""
        keep = keeping.Keeping(self.home, self.done.mac)
        kept, kept_head = keep.load()
        missing = head == b"\xff" * SECTOR
        if self.order.app_only:
            if kept_head not in (None, head) and not self._is_whole(missing):
                head = kept_head
            told = self._telling(head)
            self.done.micropython = plan.check_application(told, self.order.model)
        old = None
        if not self.order.clean:
            # without the keystone the root may be half written, which LittleFS cannot tell
            old = kept if missing and kept is not None else self._root(found, keep, kept, missing)
        keep.save(old, head if self.order.app_only else None)
        return old, head

    def _telling(self, head):
        """`head`, and behind it as much of the application as tells its version."""
        row = partitions.find(self.order.model.partitions, "factory")
        data, enough = head, min(stock.telling_bytes(head), row.size)
        while len(data) < enough and stock.application_at(data) == ("", ""):
            size = min(_NEAR_BYTES, row.size - len(data))
            data += self._read("looking for MicroPython's version", row.offset + len(data), size)
        return data

    def _is_whole(self, missing):
        """Is the application there to its last byte? Its first sector may be half written."""
        if missing:
            return False
        row = partitions.find(self.order.model.partitions, "factory")
        try:
            stock.parse_app(self._read("reading MicroPython", row.offset, row.size))
        except ImageProblem:
            return False
        return True

    def _root(self, found, keep, kept, missing):
        """The bytes of a file system with what is in `/`; `kept`: of a flash cut short."""
        place = plan.root_of(found, self.done.flash_bytes)
        if place is None:
            return kept
        start = self._read("looking at /", place[0], plan.SUPERBLOCKS * SECTOR)
        if not keeping.has_root(start):
            return kept
        raw = self._read("reading /", *place)
        if keeping.is_readable(raw):
            if missing and not self._is_unflashed():
                self.tell.warns("a flash was cut short, from another computer: files of yours in "
                                "/ may be missing")  # fmt: skip
            return raw
        if kept is None:
            self.tell.warns(
                "the file system of / cannot be read, so its files do not stay; a copy is %s"
                % keep.keep_unreadable(raw)
            )
        return kept

    def _is_unflashed(self):
        """Was no firmware ever written? So `drybag emu create` makes a board.

        A flash cut short leaves the bootloader's place empty only while `/` has no root.
        """
        head = self._read("looking for a bootloader", self.order.model.bootloader_offset, SECTOR)
        return head == b"\xff" * SECTOR

    def _parts(self, old):
        """whole.parts with our files and what the person put into `/`."""
        order, files = self.order, self.order.files
        if old is not None:
            files, self.done.kept_files, replaced = keeping.merge(old, files)
            if self.done.kept_files:
                self.tell.says("your files in / stay: %s" % ", ".join(self.done.kept_files))
            if replaced:
                folder = keeping.Keeping(self.home, self.done.mac).keep_replaced(replaced)
                self.done.replaced_files = sorted(replaced)
                names = " and ".join(self.done.replaced_files)
                self.tell.says("%s is replaced; what it was is in %s" % (names, folder))
        try:
            return whole.parts(order.model, files, order.stock)
        except ImageProblem as error:
            if self.done.kept_files and "do not fit" in str(error):
                raise ImageProblem(str(error), "without your own files: --clean") from error
            raise

    # -- the tool -----------------------------------------------------------------------------
    def _read(self, stage, address, size):
        return self._try(lambda: self.tool.read(address, size, self._mover(stage)))

    def _send(self, stage, pieces):
        pairs = [(piece.address, piece.data) for piece in pieces]
        self._try(lambda: self.tool.write(pairs, self._mover(stage)))

    def _mover(self, stage):
        return lambda done, total: self.tell.moved(stage, done, total)

    def _try(self, call):
        """Each step can be done again: a line too bad for the speed gets a slower one."""
        if self._stopped:
            raise KeyboardInterrupt
        try:
            return call()
        except LinkLost as error:
            if self.tool.baud <= _SLOW_BAUD or self._stopped:
                raise
            self.tell.says("%s; trying again at %d baud" % (error, _SLOW_BAUD))
            self.tool.baud = _SLOW_BAUD
            try:
                self._same_chip()
                return call()
            except (NoSuchTarget, LinkTimeout, PortBusy):
                raise error from None  # it is gone, whatever the speed

    def _same_chip(self):
        """Raises OtherHandset where the port that broke has become another board's."""
        if self.done.mac and self.tool.identify().mac != self.done.mac:
            raise OtherHandset(
                "another board is at %s now, instead of the one with MAC %s"
                % (self.target, self.done.mac),
                "nothing was written to it; connect the first one again and run the same command",
            )
