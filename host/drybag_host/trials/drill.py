"""October 2009 again, with the other ending: a hub's disk destroyed, batteries pulled.

Three days: on Thursday everybody fills a handset, all sync, the hub is backed up. On Friday
people edit, some without a network, and the hub is backed up again. On Saturday, while they edit
and sync, the hub is killed, its disk and Friday's backup are destroyed, batteries are pulled at
random flash commands, two handsets are lost. Then everything is rebuilt, and each record is looked
for.
"""

import random
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from drybag_host.hub.blobstore import open_blobs
from drybag_host.hub.hubbackup import backup
from drybag_host.hub.offsite import shipped_lsn
from drybag_host.hub.restoring import restore_from
from drybag_host.hub.storage import open_storage

from .handset import stamp_at
from .members import Board, InProcess, record_key
from .oracle import Oracle, tokens
from .server import HubServer
from .whereabouts import Timeline

PULLED_SHARE = 0.7
OFFLINE_SHARE = 0.25
LOST_FOR_GOOD = 2
_NAMES = "Ada Alan Grace Hiro Ines Kofi Lars Mei Nadia Olga Priya Sean Tomas Wanjiru Zoe".split()
_SHIPPED_S = 30
_SETTLE_ROUNDS = 12


class Drill:
    """`folder`: where everything goes, empty. `offsite`: the hub has an off-site copy.

    world for a trials.Handset: oracle, blobs, now_s, seed.
    """

    def __init__(self, folder, handsets, boards, records, seed, offsite, out):
        self.folder = folder
        self.records = records
        self.seed = seed
        self.offsite = folder / "offsite" if offsite else None
        self.out = out
        self.rng = random.Random(seed)
        self.oracle = Oracle()
        self.blobs = {}
        self.now_s = 0.0
        self.lost = []
        self.timeline = Timeline()
        self.owners = {}
        more = ("--offsite", "dir:%s" % self.offsite) if offsite else ()
        self.server = HubServer(folder / "hub", "--rate", "100000", *more)
        self.backups = {}  # name: (folder, tokens in it), while it is there
        self.members = []
        self._number = 0
        self._plan = [(i, i < boards) for i in range(handsets)]
        self.everybody = []

    def stamp(self):
        return stamp_at(self.now_s)

    def new_member(self, number, is_board):
        """A handset of owner `number` // 2, paired with the hub."""
        owner = "owner%02d" % (number // 2)
        name = "h%02d" % self._number
        self._number += 1
        form = Board if is_board else InProcess
        member = form(self, owner, name, self._number)
        member.pair(self.server.enrol(owner, name))
        self.everybody.append(member)
        return member

    def acknowledged(self, member, key, seq, before, after):
        """A handset has acknowledged a change; other owners' keys are others' records."""
        whole = (key[0], key[1], member.owner)
        if after is None:
            self.oracle.deleted(member.name, whole, seq, before)
        else:
            self.oracle.edited(member.name, whole, seq, before, after)

    # -- what people do -----------------------------------------------------------------------
    def fill(self, member):
        for number in range(self.records):
            first = _NAMES[(number * 7 + len(member.name)) % len(_NAMES)]
            body = b"VERSION:3.0\nFN:%s %s\nTEL;TYPE=CELL:+49 151 %07d\nNOTE:%s\n" % (
                first.encode(), member.owner.encode(), number, self.oracle.new_token(),
            )  # fmt: skip
            member.try_write(record_key(member.name, number), lambda _, body=body: body)

    def edit(self, member, count, rng):
        """Changes, a few new records and deletions, of what this handset shows."""
        keys = sorted(member.shown())
        for _ in range(count):
            kind = rng.random()
            if kind < 0.15 or not keys:
                self._number_new = getattr(self, "_number_new", 500) + 1
                key = record_key(member.name, self._number_new)
                body = b"VERSION:3.0\nFN:New\nNOTE:%s\n" % self.oracle.new_token()
                member.try_write(key, lambda _, body=body: body)
            elif kind < 0.22:
                member.try_write(rng.choice(keys), lambda before: None)
            else:
                member.try_write(rng.choice(keys), self._changed(rng))

    def _changed(self, rng):
        name = rng.choice((b"NOTE:", b"ORG:", b"EMAIL:"))
        line = name + self.oracle.new_token()

        def change(before):
            if before is None:  # deleted on another handset meanwhile: made anew
                return b"VERSION:3.0\nFN:Again\n" + line + b"\n"
            lines = before.rstrip(b"\n").split(b"\n")
            kept = [text for text in lines if not text.startswith(name)]
            return b"\n".join([*kept, line]) + b"\n"

        return change

    def living(self):
        return [member for member in self.members if not member.gone]

    def sync_all(self, members=None):
        """Each once; how many have nothing left to say."""
        members = members or self.living()
        boards = [member for member in members if isinstance(member, Board)]
        with ThreadPoolExecutor(max(1, len(boards))) as pool:  # a board takes its time
            waiting = [pool.submit(member.sync) for member in boards]
            done = sum(member.sync() for member in members if member not in boards)
            return done + sum(one.result() for one in waiting)

    # -- the story ----------------------------------------------------------------------------
    def run(self):
        """Play it. Afterwards `timeline`, `oracle`, `lost`, and `wrong()` tell how it went."""
        try:
            self.server.start()
            self._thursday()
            self._friday()
            self._saturday()
            self._rebuild()
        finally:
            self.close()

    def close(self):
        self.server.kill()
        for member in self.everybody:
            member.close()
            if isinstance(member, Board) and not member.gone and member.board.is_running:
                member.board.stop()

    def _moment(self, text):
        self.out.say("   " + text)
        self.now_s += 3600
        self.timeline.sample(text, self)

    def _thursday(self):
        self.out.say("Thursday")
        self.members = [self.new_member(number, board) for number, board in self._plan]
        for member in self.members:
            self.fill(member)
        self._moment("handsets filled")
        self.sync_all()
        self._shipped()
        self._moment("all synced")
        self._back_up("Thursday")
        self._moment("the hub backed up")

    def _friday(self):
        self.out.say("Friday")
        count = max(1, int(len(self.members) * OFFLINE_SHARE))
        for member in self.rng.sample(self.members, count):
            member.online = False
            if isinstance(member, Board):
                member.board.wifi(False)
        for member in self.members:
            self.edit(member, max(2, self.records // 4), self.rng)
        self._moment("edited, %d without a network" % count)
        self.sync_all()
        self.sync_all()
        self._shipped()
        self._moment("those with a network synced")
        self._back_up("Friday")
        self._moment("the hub backed up again")

    def _saturday(self):
        self.out.say("Saturday")
        for member in self.members:
            self.edit(member, 2, self.rng)
        self.sync_all()
        self._shipped()
        self._moment("edited, those with a network synced")
        lost = self.rng.sample(self.members, min(LOST_FOR_GOOD, len(self.members) - 1))
        pulled = [m for m in self.members if m not in lost and self.rng.random() < PULLED_SHARE]
        self._destroy_hub([member for member in self.members if member not in lost])
        for member in pulled:
            member.pull_battery(self.rng, lambda m=member: self._busy(m))
        for member in lost:
            member.destroy()
        self._mourn()
        self._moment("the hub's disk and Friday's backup destroyed, %d batteries pulled, %d "
                     "handsets lost" % (len(pulled), len(lost)))  # fmt: skip

    def _destroy_hub(self, members):
        """Killed while handsets push, then its disk is gone with all that was newest."""
        pushing = [m for m in members if isinstance(m, InProcess) and m.online][:4]
        for member in pushing:
            self.edit(member, 2, self.rng)
        threads = [threading.Thread(target=member.sync) for member in pushing]
        for thread in threads:
            thread.start()
        time.sleep(self.rng.random() * 0.1)
        self.server.kill()
        for thread in threads:
            thread.join()
        shutil.rmtree(self.server.data)
        folder, _ = self.backups.pop("Friday")
        shutil.rmtree(folder)

    def _busy(self, member):
        """What goes on while the battery is pulled: edits, and a sync that finds no hub."""
        self.edit(member, 3, self.rng)

    def _mourn(self):
        """What was only on a lost handset, or on the destroyed disk, is named."""
        alive = self.offsite_tokens()
        for _, held in self.backups.values():
            alive |= held
        tombstones = set()
        for member in self.living():
            alive |= member.alive()
            tombstones |= {(n, (*key, member.owner), seq) for n, key, seq in member.tombstones()}
        tombstones |= self._offsite_tombstones()
        self.lost = self.oracle.destroyed(alive, tombstones)

    def _rebuild(self):
        self.out.say("The rebuilding")
        source = self.offsite or self.backups["Thursday"][0]
        self.server.data.mkdir(mode=0o700)
        url = "dir:%s" % source if self.offsite else str(source)
        with (
            open_storage("sqlite:%s" % (self.server.data / "hub.sqlite3")) as storage,
            open_blobs("dir:%s" % (self.server.data / "blobs")) as blobs,
        ):
            restore_from(url, storage, blobs)
        self.server.start()
        self._moment("the hub rebuilt from %s" % (
            "the off-site copy" if self.offsite else "Thursday's backup"))  # fmt: skip
        # the disk had the hub's certificates: each handset gets the new ones over the cable
        for member in self.living():
            member.online = True
            if isinstance(member, Board):
                member.board.wifi(True)
            member.pair(self.server.enrol(member.owner, member.name))
        for place, member in enumerate(self.members):
            if member.gone:
                self.members[place] = self.new_member(place, isinstance(member, Board))
        self._moment("handsets paired again, new ones in place of the lost")
        self._settle()
        self._shipped()
        self._moment("all synced")

    def _settle(self):
        """Until everybody has everything."""
        before = None
        for number in range(_SETTLE_ROUNDS):
            quiet = self.sync_all() == len(self.living())
            shown = {m.name: m.shown() for m in self.living()}
            if quiet and shown == before:
                return
            before = shown
            self.out.say("   round %d" % (number + 1))
        self.out.warn("not everybody is done: " + ", ".join(
            "%s %s" % (m.name, m.why()) for m in self.living() if not m.sync()
        ))  # fmt: skip

    # -- where things are ---------------------------------------------------------------------
    def _back_up(self, name):
        folder = self.folder / ("backup-" + name.lower())
        with self.server.storage() as storage:
            with open_blobs("dir:%s" % (self.server.data / "blobs")) as blobs:
                backup(storage, blobs, folder)
        self.backups[name] = folder, _tokens_in(folder)

    def _shipped(self):
        """Wait until the off-site copy has what the hub has."""
        if not self.offsite:
            return
        until = time.monotonic() + _SHIPPED_S
        with self.server.storage() as storage:
            while storage.changed(shipped_lsn(storage), 1) and time.monotonic() < until:
                time.sleep(0.1)

    def hub_tokens(self):
        if not (self.server.data / "hub.sqlite3").exists():
            return set()
        found = set()
        with self.server.storage() as storage:
            for owner in {member.owner for member in self.members}:
                for row in storage.scan("versions", "", (owner,)):
                    found |= tokens(row["body"])
        return found

    def offsite_tokens(self):
        return _tokens_in(self.offsite) if self.offsite else set()

    def _offsite_tombstones(self):
        """(handset, key, seq) of the deletions that the off-site copy tells of."""
        found = set()
        if not self.offsite:
            return found
        from drybag_host.hub import rows

        names = {}
        for path in sorted(self.offsite.rglob("log/*/*.jsonl")):
            for line in path.read_bytes().split(b"\n")[1:-1]:
                table, row = rows.parse(line)
                if table == "devices":
                    names[row["device"]] = row["name"]
                elif table == "versions" and row["deleted"] and row["device"] in names:
                    key = row["kind"], row["uid"], row["owner"]
                    found.add((names[row["device"]], key, row["seq"]))
        return found

    # -- the end ------------------------------------------------------------------------------
    def wrong(self):
        """What is wrong in the end: lines. What went down with the only copy is in `lost`."""
        found = []
        heads, kept = {}, {}
        with self.server_storage() as storage:
            for owner in sorted({member.owner for member in self.members}):
                heads.update(_heads(storage, owner))
                kept.update(_kept(storage, owner))
        for member in self.living():
            shown = {(*key, member.owner): body for key, (body, _, _) in member.shown().items()}
            there = {key: body for key, body in heads.items() if key[2] == member.owner}
            for key in sorted(set(shown) | set(there)):
                if shown.get(key) != there.get(key):
                    found.append("%s and the hub differ in %s" % (member.name, key[1].decode()))
        return found + self.oracle.judge(heads, kept)

    def server_storage(self):
        return open_storage("sqlite:%s" % (self.server.data / "hub.sqlite3"))


def _heads(storage, owner):
    found = {}
    for head in storage.scan("heads", "", (owner,)):
        if not head["deleted"]:
            row = storage.get("versions", [(owner, head["pos"])])[0]
            found[row["kind"], row["uid"], owner] = row["body"]
    return found


def _kept(storage, owner):
    found = {}
    for row in storage.scan("conflicts", "", (owner,)):
        version = storage.get("versions", [(owner, row["pos"])])[0]
        key = row["kind"], row["uid"], owner
        found.setdefault(key, set()).update(tokens(version["body"]))
    return found


def _tokens_in(folder):
    """All tokens in the segments of a copy of the hub's log."""
    found = set()
    for path in folder.rglob("log/*/*.jsonl"):
        found |= tokens(path.read_bytes())
    return found
