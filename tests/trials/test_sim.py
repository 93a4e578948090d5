"""The simulation holds, is the same each time, and notices what is broken."""

import json

import pytest

from drybag.journal import Journal
from drybag_host import cli
from drybag_host.hub import ownerlog, rules, service
from drybag_host.trials import running
from drybag_host.trials.oracle import Oracle
from drybag_host.trials.script import write

HISTORIES = 60
NOTICED_WITHIN = 150


def test_histories_hold():
    result = running.run(first_seed=1, count=HISTORIES, jobs=1)
    assert result.bad == []
    assert result.histories == HISTORIES and result.counts["syncs"] > HISTORIES
    assert result.counts["cuts"] and result.counts["kills"]


@pytest.mark.parametrize("seed", (20040, 20488, 21301, 70721, 72331, 120454, 3300378))
def test_a_history_that_failed_once_holds(seed):
    """20040: a deletion of what a restored hub has lost, or never acknowledged; 20488: one by a
    clock a year behind; 21301: an old image whose hub is another one by now; 70721: a page taken
    before a deletion that an emptied hub must learn of again; 72331: two deletions of a merged
    record, each by somebody who knew one of the two edits; 120454: an old image that gives a seq
    to something else; 3300378: a record whose ack was lost, sent to a restored hub after another's
    deletion of it."""
    assert running.play(write(seed))[0] == []


def believed(monkeypatch):
    """Whatever a stream sends goes over what it sent before."""
    monkeypatch.setattr(rules, "is_in_doubt", lambda *args: False)


def test_an_old_image_edits_what_it_has_edited_since(monkeypatch):
    """Its hub cannot tell it from a handset that missed a reply: the first edit is kept."""
    whole = write(120454)
    steps = (17, 20, 26, 27, 28, 30)
    script = whole.without({step.number for step in whole.steps} - set(steps))
    assert running.play(script)[0] == []
    believed(monkeypatch)
    (wrong,) = running.play(script)[0]
    assert wrong.startswith("lost: edit of t3x in uid-02 on h0")


def judged(*last, shown):
    """What the oracle says of a card of one token that two handsets knew and each changed."""
    oracle, key = Oracle(), (1, b"u")
    oracle.edited("a", key, 1, None, b"FN:t1x")
    oracle.edited("a", key, 2, b"FN:t1x", b"FN:t1x\nTEL:t2x")
    oracle.edited("b", key, 1, b"FN:t1x", b"FN:t1x\nORG:t3x")
    for number, (handset, knew) in enumerate(last):
        oracle.deleted(handset, key, 5 + number, knew)
    return oracle.judge({key: shown} if shown else {}, {})


def test_what_the_oracle_says_of_two_deletions():
    of_a, of_b = b"FN:t1x\nTEL:t2x", b"FN:t1x\nORG:t3x"
    merged = b"FN:t1x\nTEL:t2x\nORG:t3x"
    assert judged(("a", of_a), ("b", of_b), shown=merged) == []
    assert judged(("a", of_a), ("b", of_b), shown=b"") == []
    came_back = ["came back: u"]
    assert judged(("a", of_a), ("b", merged), shown=merged) == came_back
    assert judged(("a", of_a), ("b", of_b), shown=of_a) == came_back
    assert judged(("a", of_a), ("b", of_b), shown=b"FN:t1x") == came_back
    assert judged(("a", of_a), ("b", of_b), shown=b"FN:Ada") == came_back
    assert judged(("a", of_a), shown=of_b) == []
    assert judged(("a", of_a), shown=of_a)[0].startswith("lost: edit of t3x")


def test_a_seed_is_one_history():
    for seed in (3, 77):
        told = [], []
        for lines in told:
            running.play(write(seed), lines.append)
        assert told[0] == told[1] and len(told[0]) > 10


def no_conflicts(monkeypatch):
    """The hub shows the later version and forgets the other."""
    monkeypatch.setattr(ownerlog.OwnerLog, "conflict", lambda *args: None)


def ack_without_storing(monkeypatch):
    """The hub acknowledges the second item of a request and drops it."""
    take = service.Service._take_items

    def drop(self, log, device, request, stream, items):
        return take(self, log, device, request, stream, items[:1])

    monkeypatch.setattr(service.Service, "_take_items", drop)


def deletions_win(monkeypatch):
    """A deletion goes over an edit that its handset never saw."""
    decide = rules.decide

    def decided(item, head, base, **how):
        if item.deleted and head is not None and not head.deleted:
            return rules.Outcome(rules.PUSHED, counts=True)
        return decide(item, head, base, **how)

    monkeypatch.setattr(rules, "decide", decided)


def history_is_not_compared(monkeypatch):
    """The hub believes whatever a handset remembers of its acks."""
    monkeypatch.setattr(service.Service, "_agrees", lambda self, key, request: True)


def everything_goes_over(monkeypatch):
    """A handset takes changes from the hub while it has edits of its own unsent."""
    monkeypatch.setattr(Journal, "unsent_count", lambda self, after: 0)


@pytest.mark.parametrize(
    "break_it",
    (no_conflicts, ack_without_storing, deletions_win, history_is_not_compared,
     everything_goes_over),
)  # fmt: skip
def test_it_notices(monkeypatch, break_it):
    break_it(monkeypatch)
    for seed in range(1, NOTICED_WITHIN):
        wrong, _ = running.play(write(seed))
        if wrong:
            return
    raise AssertionError("%s: not noticed in %d histories" % (break_it.__doc__, NOTICED_WITHIN))


def test_a_failure_shrinks(monkeypatch):
    ack_without_storing(monkeypatch)
    seed = next(s for s in range(1, NOTICED_WITHIN) if running.play(write(s))[0])
    script = running.shrink(write(seed), seconds=5)
    assert running.play(script)[0] and len(script.steps) < len(write(seed).steps)


def test_the_commands(capsys):
    assert cli.main(["sim", "run", "--count", "5", "--seed", "9", "--jobs", "1", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["histories"], said["failed"], said["failures"]) == (5, 0, [])
    assert cli.main(["sim", "replay", "9"]) == 0
    assert "all is there" in capsys.readouterr().out
    assert cli.main(["sim", "run", "--count", "0"]) == 2


def test_the_command_tells_of_a_failure(monkeypatch, capsys):
    ack_without_storing(monkeypatch)
    assert cli.main(["sim", "run", "--count", "40", "--jobs", "1", "--json"]) == 1
    failure = json.loads(capsys.readouterr().out)["failures"][0]
    assert cli.main(["sim", "replay", str(failure["seed"])]) == 1
    assert "WRONG: " + failure["wrong"][0] in capsys.readouterr().out
