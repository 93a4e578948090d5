"""The main job, shown: onto a handset's flash, through pulled batteries, back out as files.

The records go over the serial line as `drybag import` sends them; the emulated board loses its
power at random flash commands meanwhile, in a random torn state. After each boot every record
that was acknowledged must be there, byte for byte, and nothing that was never sent.
"""

import random
import shutil
from contextlib import closing

from drybag_host.board.backends import EmulatedConsole
from drybag_host.demo import book, naive
from drybag_host.errors import EmulatorError, HostFile, LinkError, LinkLost

NAME = "demo"
BOARD = "esp32-generic"
MARK = ".made-by-drybag-demo"
UNIT_BYTES = 64
ENTRY_HEAD_BYTES = 22
RECOVERY_CUT_SHARE = 0.15
RECOVERY_COMMANDS = 25


class Tally:
    """What happened. `lost`: names of acknowledged records that a boot did not show."""

    def __init__(self):
        self.cuts = self.in_recovery = self.boots = self.checks = 0
        self.lost = []
        self.strange = []


def prepare(folder, files, records, seed, out):
    """An empty folder `folder` and the files to import. Raises HostFile."""
    if folder.exists():
        if not (folder / MARK).exists() and any(folder.iterdir()):
            raise HostFile(
                "%s holds other things" % folder, "name a new folder with --out, or empty it"
            )
        _stop_old(folder)
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / MARK).touch()
    if files:
        return files
    out.say("making up an address book of {:,} records ...".format(records))
    return [str(path) for path in book.write(folder / "input", records, seed)]


def _stop_old(folder):
    from drybag_host.emulator.boards import EmulatedBoard

    try:
        EmulatedBoard(NAME, folder / "home").stop()
    except EmulatorError:
        pass


class BoardConsole(EmulatedConsole):
    """The board's console, which tells at once when the power is gone: nobody waits for it."""

    def __init__(self, board):
        self._board = board
        super().__init__(board)

    def read(self, timeout_s=0.0):
        data = super().read(min(timeout_s, 0.1))
        if not data and not self._board.is_powered:
            raise LinkLost("%s: the power is gone" % self.name)
        return data


class BatteryPuller:
    """Gives a Session its links; before each, the board is powered and checked, and cut again.

    `items`: what is being sent (transfer.Item); `cuts`: how many are wanted.
    """

    def __init__(self, board, items, cuts, seed, tally):
        self.board = board
        self.items = items
        self.wanted = cuts
        self.tally = tally
        self._rng = random.Random(seed)
        self._armed = False
        self._by_key = {(item.kind, item.uid): item for item in items}

    def connect(self):
        """A HandsetLink on the board, once a boot has shown everything that was acknowledged."""
        from drybag_host.link import HandsetLink

        if self._armed and not self.board.is_powered:
            self.tally.cuts += 1
            self._armed = False
        if not self.board.is_powered:
            self._power_on()
        link = HandsetLink(BoardConsole(self.board), patience_s=10)
        try:
            link.hello()
            self._check(link)
        except BaseException:
            link.close()
            raise
        return link

    def _power_on(self):
        """Mostly into the writing, now and then into the recovery itself."""
        if self.tally.cuts >= self.wanted:
            return self._boot(None)
        if self.tally.cuts and self._rng.random() < RECOVERY_CUT_SHARE:
            self._boot(self._rng.randrange(1, RECOVERY_COMMANDS))
            if self.board.wait_off(1.0):
                self.tally.in_recovery += 1
                self.tally.cuts += 1
                return self._power_on()
            return None
        left = sum(_commands(item) for item in self.items if not item.done)
        apart = max(2, left // max(1, self.wanted - self.tally.cuts))
        return self._boot(self._rng.randrange(1, 2 * apart))

    def _boot(self, cut_at):
        self.tally.boots += 1
        self._armed = cut_at is not None
        self.board.power_on(cut_at=cut_at, seed=self._rng.randrange(1 << 30))

    def _check(self, link):
        """Every acknowledged record is there; what else is there was sent and is whole."""
        found = {}
        with closing(link.changes(0)) as stream:
            for _, record in stream:
                if not record.deleted:
                    found[record.kind, record.uid] = record
        self.tally.checks += 1
        for key, item in self._by_key.items():
            record = found.pop(key, None)
            same = record and (record.body, list(record.blobs)) == (item.body, item.shas())
            if item.done and not same:
                self.tally.lost.append(key)
            elif record and not same:
                self.tally.strange.append(key)
        self.tally.strange += found


def _commands(item):
    """About how many flash commands the record takes."""
    size = ENTRY_HEAD_BYTES + len(item.uid) + len(item.body) + 32 * len(item.blobs)
    return -(-size // UNIT_BYTES) + sum(-(-size // UNIT_BYTES) for _, size, _ in item.blobs)


def through_pulled_batteries(board, items, cuts, seed, out):
    """Send the items while power goes. Returns a Tally. Raises LinkError."""
    from drybag_host.output import Output
    from drybag_host.targets import Session
    from drybag_host.transfer import Sender

    tally = Tally()
    puller = BatteryPuller(board, items, cuts, seed, tally)
    puller._power_on()
    total = sum(item.size_bytes for item in items)
    quiet = Output(quiet=True, stderr=out.stderr)
    with out.progress("pulling batteries", total, "bytes") as bar:
        for left in range(cuts, -1, -1):
            try:
                session = Session(puller.connect, "emu:%s" % NAME, quiet)
                break
            except LinkError:
                if not left:
                    raise
        with session:
            Sender(session, bar.advance).send(items)
    return tally


def get_back(board, files, folder, out, tool):
    """Boot without a cut, pull, export, compare. (manifest, [Difference])."""
    from drybag_host.backup.pull import Pull
    from drybag_host.formats import compare_files, export
    from drybag_host.sources import BackupSource
    from drybag_host.targets import Session

    if board.is_powered:
        board.power_off()
    puller = BatteryPuller(board, [], 0, 0, Tally())
    with Session(puller.connect, "emu:%s" % NAME, out) as session:
        report = Pull(str(folder / "backup"), session, out, written_by=tool).run()
    board.stop()
    out.say("exporting, and comparing with what went in ...")
    export(BackupSource(str(folder / "backup")), folder / "export", title="Drybag demo")
    return report.manifest, compare_files(files, folder / "export")


def flash_cost(counters, items):
    """The handset's cost a record, and the naive way's: {"ours": {...}, "append_flush": {...}}."""
    blobs = {sha: opener for item in items for sha, _, opener in item.blobs}
    pictures = [opener().read() for opener in blobs.values()]
    plain = naive.append_flush([item.body for item in items], pictures)
    return {"ours": _each(counters, len(items)), "append_flush": _each(plain, len(items))}


def _each(counters, records):
    return {name: round(counters[name] / max(1, records), 4)
            for name in ("ms", "programmed_bytes", "erases")}  # fmt: skip
