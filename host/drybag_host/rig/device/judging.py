"""What the journal shows beside what the oracle knows, after a cut and after rot at rest."""

from drybag.errors import Damaged, DrybagError, NotFound
from drybag_host.rig.device import damage
from drybag_host.rig.device import oracle as model
from drybag_host.rig.device.hub_model import SETTING
from drybag_host.rig.device.ops import text
from drybag_host.rig.device.oracle import Problem, Version

_HISTORIES = 8


class Judging:
    """Mixed into JournalUser, whose `oracle`, `j`, `harm`, `named`, `_person` and `_judge_sync`
    it uses.
    """

    def judge(self, deep=False):
        """Problems, none if all that was acknowledged is there; settles the call in flight."""
        try:
            return self._judge(deep) or self._judge_sync()
        except (DrybagError, OSError, KeyError, IndexError, ValueError) as error:
            return [Problem(model.RECORD_LOST, "every record can be read", repr(error))]

    def _judge(self, deep):
        j, oracle = self.j, self.oracle
        found, bases = {}, {}
        for record in self._all(deep):
            key = record.kind, record.uid
            if key in found:
                return [Problem(model.RECORD_LOST, "%r once" % (key,), "twice")]
            found[key] = _version(record)
            bases[key] = record.base
        problems = oracle.settle(found, self._tombstone_seq)
        if problems:
            return problems
        if j.last_seq < oracle.last_seq:
            return [_number("last_seq", oracle.last_seq, j.last_seq)]
        if j.count() + j.count(SETTING) != len(found):
            return [_number("count", len(found), j.count())]
        problems = self._judge_hub(bases)
        if problems:
            return problems
        if deep and j.digest() != oracle.digest():
            return [Problem(model.RECORD_LOST, "digest of %d records" % len(found), "another")]
        problems = self._judge_reads(found, deep)
        if deep and not problems:
            problems = self._judge_history() or self._judge_changes()
        return problems

    def _all(self, deep=True):
        """Every live record, the handset's own too; unless `deep` those not by another walk."""
        yield from self.j.records()
        if deep:
            yield from self.j.records(SETTING)
        else:
            for uid in self.j.settings():
                yield self.j.get(SETTING, uid)

    def _tombstone_seq(self, kind, uid):
        newest = self.j.history(kind, uid)[:1]
        return newest[0].seq if newest and newest[0].deleted else 0

    def _judge_reads(self, found, deep):
        keys = list(found)
        for kind, uid in keys if deep else keys[:2] + keys[-2:]:
            if self.j.get(kind, uid).body != found[kind, uid].body:
                return [Problem(model.RECORD_LOST, "get() as records()", "differs: %r" % uid)]
        for sha in {sha for version in found.values() for sha in version.blobs}:
            data = b"".join([bytes(piece) for piece in self.j.read_blob(sha)])
            if data != self._blob(sha):
                return [Problem(model.RECORD_LOST, "the blob of a record", "other bytes")]
        return []

    def _blob(self, sha):
        return text(*self.oracle.blobs[sha])

    def _judge_history(self):
        ever = self.oracle.ever
        keys = sorted(ever)
        step = 1 + len(keys) // _HISTORIES  # each walks the log: some of many, others next time
        for kind, uid in keys[self.oracle.revision % step :: step]:
            known = ever[kind, uid]
            versions = self.j.history(kind, uid)
            for version in versions:
                if not _is_known(version, known):
                    return [Problem(model.NEVER_WRITTEN, "history of %r as it was" % uid,
                                    "seq %d" % version.seq)]  # fmt: skip
            if (kind, uid) in self.oracle.live:
                newest = self.oracle.live[kind, uid].seq
                if not versions or versions[0].seq != newest:
                    return [Problem(model.RECORD_LOST, "history of %r from seq %d" % (uid, newest),
                                    "another beginning")]  # fmt: skip
        return []

    def _judge_changes(self):
        live, oracle = set(), self.oracle
        for _, record in self.j.changes(0):
            key = record.kind, record.uid
            if record.deleted:
                if key in oracle.live or key not in oracle.ever:
                    return [Problem(model.RECORD_LOST, "no tombstone of %r" % (key,), "one")]
            else:
                live.add((key, record.seq))
        if live != {(key, version.seq) for key, version in self._person().items()}:
            return [Problem(model.RECORD_LOST, "changes() ends in the live records", "others")]
        return []

    def judge_damaged(self, deep=False):
        """As judge, after rot at rest: what it may have cost is in damage.py, and is told."""
        what, sector, number = self.harm
        if what == damage.SPARED:
            return self.judge(deep)
        oracle, found, unread = self.oracle, {}, []
        try:
            for record in self._all():
                try:
                    found[record.kind, record.uid] = _version(record)
                except Damaged:  # its body is a blob that is harmed
                    unread.append((record.kind, record.uid))
            told = self._told_of(sector, number, what)
        except (DrybagError, OSError, KeyError, IndexError, ValueError) as error:
            return [Problem(model.RECORD_LOST, "intact records are served", repr(error))]
        for key, version in found.items():
            if version != oracle.live.get(key) and not oracle.known(key, version):
                return [Problem(model.TORN_SHOWN, "nothing that never was",
                                model.name(key, version))]  # fmt: skip
        for key, seq in self.named.items():
            older = key in found and found[key].seq < seq
            if older and seq in [said[0] for said in oracle.ever.get(key, ())]:
                deleted = key not in oracle.live and model.DELETED_BACK
                return [Problem(deleted or model.NOT_REPORTED, "no version before seq %d" % seq,
                                model.name(key, found[key]))]  # fmt: skip
        newest = what in (damage.LAST, damage.TAIL)
        cut_short = newest and not oracle.sealed and found == oracle.before
        problems = oracle.settle(found, self._tombstone_seq)
        if what == damage.BLOB:
            other = [p for p in problems if not _names(p, unread)]
            problems = other or ([] if told else problems)
        elif cut_short or what == damage.GONE or (told and what != damage.LAST):
            problems = []
        if problems:
            return [Problem(model.NOT_REPORTED, p.expected, p.found) for p in problems]
        oracle.live = found  # the damage is known: from here on this is what must stay
        if what != damage.GONE:  # else nothing tells what numbers were given there
            oracle.last_seq = max(oracle.last_seq, self.j.last_seq)
        else:
            oracle.last_seq = self.j.last_seq
        return []

    def _told_of(self, sector, number, what):
        """True if recovery's report or a scrub tells of damage in that very sector, or in the one
        that recovery copied it to."""
        report, sectors = self.j.report, [sector]
        if what == damage.TAIL:
            sectors.append(self.j._log.writer.sector)
        if number in report["missing"] or any(at[0] in sectors for at in report["damaged"]):
            return True
        for finding in self.j.scrub():
            if finding.get("sector") in sectors and finding["kind"] != "repaired":
                return True
            if finding["kind"] == "blob" and what == damage.BLOB:
                return True
        return False


def _is_known(version, known):
    """True if (seq, body) is in `known`; seq alone where an older version's body is gone."""
    try:
        return (version.seq, None if version.deleted else version.body) in known
    except NotFound:
        return version.seq in [seq for seq, _ in known]


def _version(record):
    return Version(record.body, record.blobs, record.parent, record.seq, record.stamp, record.rev)


def _names(problem, keys):
    """Is it about one of these records?"""
    return any(problem.expected.startswith(model.name(key, None)[:-6]) for key in keys)


def _number(what, wanted, found):
    return Problem(model.RECORD_LOST, "%s %d" % (what, wanted), "%d" % found)
