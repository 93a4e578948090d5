"""What a pushed item does, case by case: SPEC.md "What the hub does" and "Merge"."""

import pytest

from drybag.layout import CONTACT
from drybag_host.hub import rules
from drybag_host.hub.rules import HELD, KEPT, MERGED, PUSHED, QUARANTINE, SAME, Version

BASE = b"VERSION:3.0\nFN:Ada\nTEL:1\n"
TEL2 = BASE.replace(b"TEL:1", b"TEL:2")
NOTE = BASE + b"NOTE:n\n"
FN_B = BASE.replace(b"Ada", b"Bea")
FN_C = BASE.replace(b"Ada", b"Cid")
GONE = None


def v(body, pos=0, device="a", stamp=100, **more):
    deleted = body is GONE
    return Version(CONTACT, b"u", b"" if deleted else body, deleted=deleted, pos=pos,
                   device=device, stamp=stamp, **more)  # fmt: skip


def outcome(item, head, base=None, **how):
    """(role, counts, (role, body) of what is written behind it, names in conflict, hidden)."""
    out = rules.decide(item, head, base, **how)
    further = None
    if out.further is not None:
        body = GONE if out.further.deleted else out.further.body
        further = (out.further.role, body)
    return out.role, out.counts, further, out.conflict, out.hidden if out.conflict else None


HEAD = v(BASE, 5)
BY_B = v(TEL2, 7, device="b")
DELETED = v(GONE, 8, device="b", stamp=90)

CASES = {
    "no head: the item is it": (v(BASE), None, None, {}, (PUSHED, True, None, (), None)),
    "a tombstone without a head": (v(GONE), None, None, {}, (PUSHED, True, None, (), None)),
    "the same as head": (v(BASE), HEAD, None, {}, (SAME, False, None, (), None)),
    "the same as head, sent again": (v(BASE), HEAD, None, {"resend": True},
                                     (SAME, False, None, (), None)),
    "deleted on both sides": (v(GONE), DELETED, None, {}, (SAME, False, None, (), None)),
    "head is the base": (v(NOTE), HEAD, HEAD, {}, (PUSHED, True, None, (), None)),
    "head says what the base says": (v(GONE), v(BASE, 9), HEAD, {},
                                     (PUSHED, True, None, (), None)),
    "head is the base, older stamp": (v(NOTE, stamp=1), HEAD, HEAD, {},
                                      (PUSHED, True, None, (), None)),
    "both changed, other properties": (
        v(NOTE), BY_B, HEAD, {},
        (PUSHED, False, (MERGED, TEL2.replace(b"TEL", b"NOTE:n\nTEL")), (), None)),
    "both changed one property, item later": (
        v(FN_B, stamp=200), v(FN_C, 7, device="b"), HEAD, {},
        (PUSHED, True, None, (b"N",), "head")),
    "both changed one property, head later": (
        v(FN_B, stamp=50), v(FN_C, 7, device="b"), HEAD, {},
        (PUSHED, False, (KEPT, FN_C), (b"N",), "item")),
    "both changed one property, a tie goes by device": (
        v(FN_B), v(FN_C, 7, device="b"), HEAD, {},
        (PUSHED, False, (KEPT, FN_C), (b"N",), "item")),
    "a tie the other way": (
        v(FN_B, device="c"), v(FN_C, 7, device="b"), HEAD, {},
        (PUSHED, True, None, (b"N",), "head")),
    "conflict and merge at once": (
        v(FN_B + b"NOTE:n\n", stamp=50), v(FN_C, 7, device="b"), HEAD, {},
        (PUSHED, False, (MERGED, FN_C + b"NOTE:n\n"), (b"N",), "item")),
    "without a base the later is shown whole": (
        v(FN_B, stamp=200), v(FN_C, 7, device="b"), None, {},
        (PUSHED, True, None, (b"*",), "head")),
    "without a base, head later": (
        v(FN_B, stamp=50), v(FN_C, 7, device="b"), None, {},
        (PUSHED, False, (KEPT, FN_C), (b"*",), "item")),
    "another VERSION": (
        v(TEL2.replace(b"3.0", b"4.0"), stamp=50), v(NOTE, 7, device="b"), HEAD, {},
        (PUSHED, False, (KEPT, NOTE), (b"*",), "item")),
    "an edit that head has already": (
        v(TEL2), v(TEL2 + b"NOTE:n\n", 7, device="b"), HEAD, {},
        (PUSHED, False, (KEPT, TEL2 + b"NOTE:n\n"), (), None)),
    "a deletion": (v(GONE), HEAD, HEAD, {}, (PUSHED, True, None, (), None)),
    "a deletion too many": (v(GONE), HEAD, HEAD, {"may_delete": False},
                            (HELD, False, None, (), None)),
    "deleted here, edited there: the edit": (
        v(GONE, stamp=999), BY_B, HEAD, {}, (PUSHED, False, (KEPT, TEL2), (), None)),
    "a deletion of what was never seen": (
        v(GONE, stamp=999), BY_B, None, {}, (PUSHED, False, (KEPT, TEL2), (), None)),
    "edited here, deleted there: the edit": (
        v(NOTE, stamp=1), DELETED, HEAD, {}, (PUSHED, True, None, (), None)),
    "put again unchanged after a deletion was refused": (
        v(BASE, stamp=1), DELETED, HEAD, {}, (PUSHED, True, None, (), None)),
    "made anew after its own deletion": (
        v(BASE), DELETED, DELETED, {}, (PUSHED, True, None, (), None)),
    "resend, head is the base": (v(NOTE), HEAD, HEAD, {"resend": True},
                                 (PUSHED, True, None, (), None)),
    "resend of what the log holds": (
        v(NOTE), BY_B, None, {"resend": True, "known": True},
        (SAME, False, (KEPT, TEL2), (), None)),
    "resend, later than head": (
        v(NOTE, stamp=200), BY_B, None, {"resend": True}, (PUSHED, True, None, (b"*",), "head")),
    "resend, earlier than head": (
        v(NOTE, stamp=50), BY_B, None, {"resend": True},
        (PUSHED, False, (KEPT, TEL2), (b"*",), "item")),
    "resend, made in knowledge of head": (
        v(NOTE, stamp=50), BY_B, None, {"resend": True, "seen": True},
        (PUSHED, True, None, (), None)),
    "resend, deleted later": (
        v(NOTE, stamp=50), DELETED, None, {"resend": True},
        (PUSHED, False, (KEPT, GONE), (b"*",), "item")),
    "resend, deleted earlier": (
        v(NOTE, stamp=95), DELETED, None, {"resend": True}, (PUSHED, True, None, (), None)),
    "resend, deleted at the same time: the edit": (
        v(NOTE, stamp=90), DELETED, None, {"resend": True}, (PUSHED, True, None, (), None)),
    "resend of a deletion, later than head": (
        v(GONE, stamp=200), BY_B, None, {"resend": True}, (PUSHED, True, None, (b"*",), "head")),
    "resend of a deletion, earlier than head": (
        v(GONE, stamp=50), BY_B, None, {"resend": True},
        (PUSHED, False, (KEPT, TEL2), (), None)),
    "resend of a deletion too many": (
        v(GONE, stamp=200), BY_B, None, {"resend": True, "may_delete": False},
        (HELD, False, None, (), None)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_an_item_does(name):
    item, head, base, how, expected = CASES[name]
    assert outcome(item, head, base, **how) == expected


@pytest.mark.parametrize("name", CASES)
def test_what_the_handset_sent_is_the_outcome_or_it_gets_another(name):
    """It would else keep showing what the hub does not have."""
    item, head, base, how, _ = CASES[name]
    out = rules.decide(item, head, base, **how)
    if not out.counts and out.role != HELD:
        assert out.further is not None or head.says_the_same(item)


# --- the base --------------------------------------------------------------------------------


def own(body, pos, seq, **more):
    return v(body, pos, epoch=1, life=2, seq=seq, **more)


def test_the_base_is_the_newest_of_the_named_and_the_streams_own():
    item = own(FN_B, 0, 9)
    history = [v(TEL2, 8, device="b"), own(NOTE, 6, 5), v(BASE, 3, device="b")]
    assert rules.find_base(item, history[2].content_id, history).pos == 6
    assert rules.find_base(item, history[0].content_id, history).pos == 8
    assert rules.find_base(own(FN_B, 0, 9, device="x"), 77, history) is None
    assert rules.find_base(item, 0, []) is None


def test_a_held_deletion_is_no_base():
    item = own(FN_B, 0, 9)
    history = [own(GONE, 8, 7, role=HELD), own(TEL2, 7, 6, role=QUARANTINE), own(BASE, 3, 5)]
    assert rules.find_base(item, 0, history).pos == 3


def test_a_repeated_version_stands_for_the_one_it_repeats():
    item = own(FN_B, 0, 9)
    same = own(b"", 8, 7, role=SAME, cid=HEAD.content_id)
    history = [v(TEL2, 9, device="b"), same, HEAD, v(NOTE, 2)]
    assert rules.find_base(item, 0, history).pos == HEAD.pos
    assert rules.find_base(item, 0, [same]) is None


def test_the_named_version_may_be_a_later_one_of_the_same_content():
    item = own(FN_B, 0, 9)
    history = [v(BASE, 8, device="", role=KEPT), own(NOTE, 6, 5), v(BASE, 3, device="b")]
    assert rules.find_base(item, HEAD.content_id, history).pos == 8


def test_a_deletion_is_no_base_by_what_it_deleted():
    deletion = v(GONE, 8, device="b", cid=HEAD.content_id)
    assert rules.find_base(v(FN_B), HEAD.content_id, [deletion, HEAD]).pos == HEAD.pos
    same = own(GONE, 9, 7, role=SAME, cid=HEAD.content_id)
    assert rules.find_base(own(FN_B, 0, 9), 0, [same, deletion, HEAD]) is deletion


def buried(stamp, received_s=1000, body=BASE, **how):
    deletion = v(GONE, 8, device="b", stamp=5, cid=HEAD.content_id)
    deletion.received_ms = (rules.EPOCH_S + received_s) * 1000
    return outcome(v(body, stamp=stamp), deletion, **(how or {"resend": True}))


def test_what_a_deletion_knew_does_not_come_back_whatever_its_clock_said():
    stays = (PUSHED, False, (KEPT, GONE), (), None)
    assert buried(stamp=900) == stays
    assert buried(stamp=900, body=NOTE) == (PUSHED, True, None, (), None)
    assert buried(stamp=1000 + rules.CLAMP_S + 1) == (PUSHED, True, None, (), None)  # made later
    assert buried(stamp=900, seen=False) == stays
    assert buried(stamp=900, seen=True) == (PUSHED, True, None, (), None)  # made anew as it was
    assert buried(stamp=900, again=True) == (PUSHED, True, None, (), None)  # its deletion refused
    by_word = buried(stamp=900, resend=True, again=True)
    assert by_word[1] and by_word[2] is None


def test_a_deletion_of_what_a_restored_hub_lost_goes_over_what_is_older():
    deletion = v(GONE, stamp=1)
    assert outcome(deletion, HEAD) == (PUSHED, False, (KEPT, BASE), (), None)
    assert outcome(deletion, HEAD, older=True) == (PUSHED, True, None, (), None)
    assert outcome(deletion, HEAD, older=True, may_delete=False)[0] == HELD
    assert outcome(v(NOTE), HEAD, older=True)[3] == (rules.WHOLE,)


# --- the same seq again ----------------------------------------------------------------------


def test_a_seq_again():
    sent = [own(BASE, 5, 9)]
    assert rules.repeat_of(own(BASE, 0, 9), sent) == SAME
    assert rules.repeat_of(own(NOTE, 0, 9), sent) == QUARANTINE
    assert rules.repeat_of(own(GONE, 0, 9), sent) == QUARANTINE
    other = Version(CONTACT, b"other", BASE, device="a", epoch=1, life=2, seq=9)
    assert rules.repeat_of(other, sent) == QUARANTINE
    twice = [*sent, own(NOTE, 6, 9, role=QUARANTINE)]
    assert rules.repeat_of(own(NOTE, 0, 9), twice) == SAME
    row = own(b"", 8, 9, role=SAME, cid=HEAD.content_id)
    assert rules.repeat_of(own(BASE, 0, 9), [row]) == SAME
    assert rules.repeat_of(own(GONE, 0, 9), [row]) == QUARANTINE


# --- stamps and deletions --------------------------------------------------------------------


def test_a_far_future_is_not_believed():
    assert rules.clamp(1000, 1000) == 1000
    assert rules.clamp(1300, 1000) == 1300
    assert rules.clamp(1301, 1000) == 1000
    assert rules.clamp(0, 1000) == 0


def owner(live):
    return {"live": live, "del_window_ms": 0, "del_count": 0, "del_base": 0}


def delete_while_allowed(row, now_ms, most=10000):
    n = 0
    while n < most and row["live"] and rules.may_delete(row, now_ms):
        rules.count_deletion(row, now_ms)
        row["live"] -= 1
        n += 1
    return n


@pytest.mark.parametrize("live, allowed", [(0, 0), (3, 3), (5, 5), (40, 5), (59, 5), (60, 6),
                                           (2000, 200), (2009, 200)])  # fmt: skip
def test_a_tenth_or_five_a_day(live, allowed):
    row = owner(live)
    now = 1_700_000_000_000
    assert delete_while_allowed(row, now) == allowed
    assert row["del_count"] == allowed
    if live > allowed:
        assert not rules.may_delete(row, now + rules.WINDOW_MS - 1)
        assert rules.may_delete(row, now + rules.WINDOW_MS)
        assert delete_while_allowed(row, now + rules.WINDOW_MS, 1) == 1
        assert row["del_count"] == 1 and row["del_base"] == live - allowed


def test_a_clock_set_back_opens_a_new_window():
    row = owner(100)
    delete_while_allowed(row, 1_700_000_000_000)
    assert rules.may_delete(row, 1_600_000_000_000)
