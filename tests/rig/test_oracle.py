"""The oracle against rot and refusals: how much it lets pass, and no more."""

import pytest

from drybag import layout
from drybag.errors import NoSpace
from drybag_host.rig.device import damage
from drybag_host.rig.device.chip import SECTOR, Chip
from drybag_host.rig.device.journal_subject import Broken, JournalSubject
from drybag_host.rig.jobs import Job
from drybag_host.rig.process import Worker

ROW = 256


def flash(*kinds):
    """A flash whose sectors are a full log segment, a blob, a spare, LittleFS's or blank."""
    memory = bytearray()
    for number, kind in enumerate(kinds, 1):
        if kind == "blank":
            memory += b"\xff" * SECTOR
        elif kind == "littlefs":
            memory += b"littlefs" * (SECTOR // 8)
        else:
            prefix = layout.pack_prefix(kind, 7, number)
            memory += prefix + b"\x33" * (SECTOR - len(prefix))
    return memory


def rotted(memory, *places):
    for at in places:
        memory[at] ^= 4
    return damage.harm(memory, [(at, 2) for at in places])[0]


LOG = layout.LOG
HARMS = [
    (("littlefs", LOG), (7,), damage.SPARED),
    (("blank", LOG), (7,), damage.SPARED),
    ((layout.SPARE, LOG), (900,), damage.SPARED),
    ((layout.BLOB, LOG), (900,), damage.BLOB),
    ((LOG, LOG), (3 * ROW + 5,), damage.SPARED),  # one unit of column 0
    ((LOG, LOG), (3 * ROW + 5, 3 * ROW + 70, 3 * ROW + 130), damage.SPARED),  # one row
    ((LOG, LOG), (5,), damage.SPARED),  # the header has parity too
    ((LOG, LOG), (15 * ROW + 5,), damage.SPARED),  # parity itself
    ((LOG, LOG), (3 * ROW + 200,), damage.LOG),  # column 3 has no parity
    ((LOG, LOG), (SECTOR + 3 * ROW + 200,), damage.TAIL),
    ((LOG, LOG), (SECTOR + 3 * ROW + 5,), damage.LAST),
    ((LOG, LOG), (3 * ROW + 5, 4 * ROW + 5), damage.LOG),  # two units of a column
]


@pytest.mark.parametrize("kinds, places, what", HARMS)
def test_what_rot_may_cost_follows_from_its_place(kinds, places, what):
    assert rotted(flash(*kinds), *places) == what


def test_a_column_that_is_not_finished_has_no_parity():
    memory = flash(LOG, LOG)
    memory[15 * ROW + 64 : 15 * ROW + 128] = b"\xff" * 64
    assert rotted(memory, 2 * ROW + 5) == damage.SPARED
    assert rotted(memory, 2 * ROW + 64) == damage.LOG
    memory[9 * ROW + 64 : 9 * ROW + 128] = b"\xff" * 64
    assert rotted(memory, 9 * ROW + 64) == damage.SPARED  # nothing stood there


def test_a_segment_that_is_not_to_be_seen_is_told_by_the_next_one():
    header = layout.LogHeader()
    header.epoch, header.number = 7, 2
    for units, resume, what in ((9, 0, damage.LOG), (0, 0, damage.LOG), (9, 1, damage.GONE)):
        memory = flash(LOG, LOG)
        header.prev_units, header.resume = units, resume
        memory[SECTOR : SECTOR + 64] = header.pack()
        assert rotted(memory, 5, 3 * ROW + 7) == what


def failures(subject):
    """What rot at rest does to the workload `puts`."""
    found = []
    with Worker(subject) as worker:
        for mark, value in worker.ask(Job("puts", letters="r", failures=3).command()):
            assert mark != "?", value
            if mark == "!":
                found.append(value["what"])
    return found


def test_one_bit_that_parity_covers_may_cost_nothing():
    assert failures("journal") == []
    assert set(failures("variant:parity-never-used")) & {"record lost", "damage not reported"}


@pytest.fixture
def user():
    subject = JournalSubject()
    user = subject.user(Chip(16), subject.oracle())
    user.boot()
    return user


def test_a_refusal_for_want_of_space_must_have_a_reason(user, monkeypatch):
    def refuse(*args):
        raise NoSpace("no")

    monkeypatch.setattr(user.j, "put", refuse)
    with pytest.raises(NoSpace):
        user.do(("put", 1, b"a", b"x", (), 0))
    monkeypatch.setattr(user.j, "blob_writer", refuse)
    with pytest.raises(Broken, match="with room"):
        user.do(("photo", b"p.jpg", 1, 300))
    user.do(("photo", b"p.jpg", 1, 12000))  # three sectors: there it may
    monkeypatch.undo()
    user.do(("fill", 4, 1400))
    assert not user._roomy()
