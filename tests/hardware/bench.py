"""A board under test: how it is reached, what may be done to it, what was on it before."""

import json

from drybag_host import cli
from drybag_host.board import open_console
from drybag_host.link import HandsetLink
from drybag_host.output import Output
from drybag_host.targets import Session


def content(record):
    """All that a record says; seq and stamp are the journal's."""
    return (record.kind, record.uid, record.body, tuple(record.blobs), record.parent)


class Bench:
    """`power`: name of a switch, or None; `flash_ok`, `erase_ok`: what else may be done."""

    def __init__(
        self, target, power, power_config, cuts, board, micropython, flash_ok, erase_ok
    ):  # fmt: skip
        self.target = target
        self.power = power
        self.power_words = ["--power", power, "--cuts", str(cuts)] if power else []
        if power_config:
            self.power_words += ["--power-config", power_config]
        self.flash_words = ["--board", board] if board else []
        if micropython:
            self.flash_words += ["--micropython", micropython]
        self.flash_ok = bool(board and (flash_ok or erase_ok))
        self.erase_ok = bool(board and erase_ok)
        self.info = {}
        self.pace = 1.0  # so many times slower than a board of metal
        self._before = {}

    def session(self):
        """A connected Session, as the commands have it."""
        return Session(lambda: HandsetLink(open_console(self.target)), self.target,
                       Output(quiet=True))  # fmt: skip

    def records(self):
        """{(kind, uid): Record} of the live records."""
        with self.session() as session:
            return session.attempt(_records)

    def look(self):
        """Note what is on the board before the tests."""
        with self.session() as session:
            self.pace = getattr(session.link.console, "pace", 1.0)
            self.info = session.info.raw
            self._before = session.attempt(_records)

    def restore_what_was(self):
        """Delete what the tests wrote. Fails if a record from before is not what it was."""
        with self.session() as session:
            now = session.attempt(_records)
            for kind, uid in set(now) - set(self._before):
                session.link.delete(kind, uid)
            left = session.attempt(_records)
        assert set(left) == set(self._before)
        for key, record in self._before.items():
            assert content(left[key]) == content(record), key

    @property
    def is_empty(self):
        """Were there no records before?"""
        return not self._before

    def command(self, capsys, *words):
        """(exit code, JSON document or None, what it said on stderr) of a drybag command."""
        code = cli.main([str(word) for word in words] + ["--json"])
        out = capsys.readouterr()
        assert "Traceback" not in out.err
        return code, json.loads(out.out) if out.out.strip() else None, out.err


def _records(link):
    found = {}
    for _, record in link.changes(0):
        key = (record.kind, bytes(record.uid))
        if key not in found or found[key].seq < record.seq:
            found[key] = record
    return {key: record for key, record in found.items() if not record.deleted}
