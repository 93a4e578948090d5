"""Three-way merge of records: what each side changed is there, or named as a conflict."""

from pathlib import Path

import pytest
from both_interpreters import run_both
from hypothesis import given, settings
from hypothesis import strategies as st

from drybag import layout
from drybag.layout import CONTACT, EVENT, NOTE, Record
from drybag.merge import WHOLE, merge, merge_bodies, same

SCRIPTS = Path(__file__).parent / "scripts"
CARD = b"VERSION:3.0\nN:Lovelace;Ada;;;\nFN:Ada Lovelace\nTEL;TYPE=home:1\nNOTE:n\n"


def contact(body, blobs=(), parent=0):
    return Record(CONTACT, b"u", body, blobs, parent)


def test_both_interpreters_agree():
    assert len(run_both(SCRIPTS / "merge_vectors.py")) > 300


@pytest.mark.parametrize(
    "later, earlier, merged, names",
    [
        ((b"NOTE:n", b"NOTE:m"), (b":1", b":2"), [b"NOTE:m", b"TEL;TYPE=home:2"], []),
        ((b"NOTE:n\n", b""), (b":1", b":2"), [b"TEL;TYPE=home:2"], []),
        ((b":1", b":3"), (b":1", b":2"), [b"TEL;TYPE=home:3", b"TEL;TYPE=home:2"], []),
        ((b"NOTE:n", b"NOTE:m"), (b"NOTE:n", b"NOTE:o"), [b"NOTE:m"], [b"NOTE"]),
        ((b"NOTE:n\n", b""), (b"NOTE:n", b"NOTE:o"), [], [b"NOTE"]),
        (
            (b"FN:Ada Lovelace", b"FN:Ada King"),
            (b"N:Lovelace", b"N:Byron"),
            [b"FN:Ada King", b"N:Lovelace;Ada;;;"],
            [b"N"],
        ),
    ],
)
def test_a_contact(later, earlier, merged, names):
    body, conflicts = merge_bodies(CONTACT, CARD, CARD.replace(*later), CARD.replace(*earlier))
    left = set(body.splitlines())
    assert left - set(CARD.splitlines()) | set(merged) <= left
    assert conflicts == names


def test_order_is_the_later_sides_and_additions_stand_where_they_stood():
    later = CARD.replace(b"NOTE:n\n", b"EMAIL:a\nNOTE:n\n")
    earlier = CARD.replace(b"FN:", b"NICKNAME:x\nFN:")
    assert merge_bodies(CONTACT, CARD, later, earlier)[0] == (
        b"VERSION:3.0\nN:Lovelace;Ada;;;\nNICKNAME:x\nFN:Ada Lovelace\nTEL;TYPE=home:1\n"
        b"EMAIL:a\nNOTE:n\n"
    )


def test_two_groups_of_one_label_are_both_kept():
    later = CARD + b"item1.TEL:5\nitem1.X-ABLabel:boat\n"
    earlier = CARD + b"item1.EMAIL:a@b\nitem1.X-ABLabel:work\n"
    body, names = merge_bodies(CONTACT, CARD, later, earlier)
    assert names == []
    assert body.startswith(CARD)
    assert sorted(body[len(CARD) :].splitlines()) == [
        b"item1.TEL:5", b"item1.X-ABLabel:boat", b"item2.EMAIL:a@b", b"item2.X-ABLabel:work",
    ]  # fmt: skip


def test_a_group_with_another_number_is_the_same_group():
    base = CARD + b"item1.URL:u\nitem1.X-ABLabel:home\n"
    later = base.replace(b"item1", b"item4")
    earlier = base.replace(b"home", b"cabin")
    body, names = merge_bodies(CONTACT, base, later, earlier)
    assert names == [] and body.count(b"URL") == 1 and b"cabin" in body


def test_the_lines_of_a_group_keep_their_order():
    later = b"TEL:2\nTEL:1\n"
    earlier = b"TEL:1\nitem1.URL:u\nTEL:2\nitem1.X-ABLabel:boat\n"
    body, names = merge_bodies(CONTACT, b"TEL:1\nTEL:2\n", later, earlier)
    assert (body, names) == (b"TEL:2\nTEL:1\nitem1.URL:u\nitem1.X-ABLabel:boat\n", [])


def test_when_counts_as_one():
    base = b"DTSTART:20250101T100000\nDTEND:20250101T110000\nSUMMARY:s\n"
    later = base.replace(b"T100000", b"T090000").replace(b"T110000", b"T100000")
    earlier = base.replace(b"DTEND:20250101T110000", b"DURATION:PT2H")
    body, names = merge_bodies(EVENT, base, later, earlier)
    assert (body, names) == (later, [b"DTSTART"])


def test_an_alarm_with_a_uid_is_one_thing_and_others_add_up():
    alarm = b"BEGIN:VALARM\n%sTRIGGER:%d\nEND:VALARM\n"
    base = b"SUMMARY:s\n" + alarm % (b"UID:a\n", 1)
    later = b"SUMMARY:s\n" + alarm % (b"UID:a\n", 2)
    earlier = b"SUMMARY:s\n" + alarm % (b"UID:a\n", 3) + alarm % (b"", 9)
    body, names = merge_bodies(EVENT, base, later, earlier)
    assert names == [b"VALARM"]
    assert body == later + alarm % (b"", 9)


def test_stamps_of_the_lines_are_no_conflict():
    base = b"SUMMARY:s\nDTSTAMP:1\nSEQUENCE:1\n"
    body, names = merge_bodies(
        EVENT,
        base,
        base.replace(b":1", b":2").replace(b":s", b":t"),
        base.replace(b":1", b":3") + b"LOCATION:l\n",
    )
    assert (body, names) == (b"SUMMARY:t\nDTSTAMP:2\nSEQUENCE:2\nLOCATION:l\n", [])


def test_a_note_written_on_both_sides_shows_the_later():
    base = b"SUMMARY:s\nDESCRIPTION:s\n"
    later, earlier = base.replace(b":s", b":t"), base.replace(b"ION:s", b"ION:u")
    assert merge_bodies(NOTE, base, later, earlier) == (later, [b"DESCRIPTION"])


@pytest.mark.parametrize(
    "later, earlier",
    [
        (CARD.replace(b"3.0", b"4.0"), CARD + b"TEL:2\n"),
        (CARD + b"X:1\n", CARD + b"BEGIN:X\n"),
        (CARD + b"END:X\n", CARD + b"X:1\n"),
    ],
)
def test_what_cannot_be_merged_is_a_conflict_as_a_whole(later, earlier):
    merged = merge(CONTACT, contact(CARD), contact(later), contact(earlier))
    assert (merged.body, merged.names) == (later, (WHOLE,))


def test_without_a_base_the_later_is_shown():
    merged = merge(CONTACT, None, contact(CARD), contact(CARD + b"X:1\n"))
    assert (merged.body, merged.names) == (CARD, (WHOLE,))


def test_a_record_over_a_limit_is_not_merged():
    names = [bytes((n,)) * 32 for n in range(30)]
    later, earlier = contact(CARD, names[:14]), contact(CARD, names[14:16])
    assert merge(CONTACT, contact(CARD), later, earlier).names == (WHOLE,)
    half = b"NOTE:" + b"x" * 40000 + b"\n"
    merged = merge(
        CONTACT, contact(CARD), contact(CARD + b"A:" + half), contact(CARD + b"B:" + half)
    )
    assert merged.names == (WHOLE,) and len(merged.body) <= layout.MAX_BODY


def test_blobs_follow_the_lines_and_parents_their_side():
    old, new, other = (bytes((n,)) * 32 for n in range(3))
    line = b"PHOTO:drybag:blob/%s\n"
    base = contact(CARD + line % old.hex().encode(), (old,), 0)
    later = contact(CARD + line % new.hex().encode(), (new,), 0)
    earlier = contact(base.body + b"TEL:2\n", (old, other), 7)
    merged = merge(CONTACT, base, later, earlier)
    assert (merged.blobs, merged.parent, merged.names) == ((new, other), 7, ())
    merged = merge(CONTACT, base, contact(CARD, (), 5), earlier)
    assert (merged.parent, merged.names) == (5, (b"PARENT",))


# --- properties ------------------------------------------------------------------------------

NAMES = [
    b"VERSION", b"FN", b"N", b"NOTE", b"TEL", b"EMAIL", b"TEL;TYPE=home", b"REV", b"X-A",
    b"item1.TEL", b"item1.X-ABLABEL", b"item2.URL", b"ITEM2.NOTE", b"DTSTART", b"DTEND",
    b"SUMMARY", b"CATEGORIES", b"junk",
]  # fmt: skip
VALUE = st.sampled_from([b"1", b"2", b"3", b"4"])
LINE = st.builds(lambda n, v: [n + b":" + v], st.sampled_from(NAMES), VALUE)
PART = st.builds(
    lambda v, uid: [b"BEGIN:VALARM", b"UID:" + uid, b"TRIGGER:" + v, b"END:VALARM"], VALUE, VALUE
)
NO_LINE = st.sampled_from([[b"just text"], [b"no name"], [b":x"]])
PIECES = st.lists(st.one_of(LINE, LINE, LINE, PART, NO_LINE), max_size=9)


@st.composite
def three(draw):
    """A base and two versions edited from it; lists of pieces."""
    base = draw(PIECES)
    sides = []
    for _ in range(2):
        side = list(base)
        for _ in range(draw(st.integers(0, 3))):
            at = draw(st.integers(0, len(side)))
            if at < len(side) and draw(st.booleans()):
                side[at : at + 1] = draw(st.sampled_from([0, 1])) * [draw(LINE)]
            else:
                side.insert(at, draw(st.one_of(LINE, PART)))
        sides.append(side)
    blobs = st.lists(st.sampled_from([b"1" * 32, b"2" * 32, b"3" * 32]), unique=True)
    return [
        contact(b"".join(b"\n".join(p) + b"\n" for p in pieces), draw(blobs),
                draw(st.integers(0, 2)))
        for pieces in (base, *sides)
    ]  # fmt: skip


def bare(body):
    """Lines without the labels of groups, sorted."""
    return sorted(
        line.split(b".", 1)[1] if line[:4].lower() == b"item" else line
        for line in body.splitlines()
    )


@settings(max_examples=300, deadline=None)
@given(three())
def test_what_one_side_alone_changed_is_taken_as_it_is(versions):
    base, x, _ = versions
    for later, earlier in ((x, base), (base, x), (x, x)):
        merged = merge(CONTACT, base, later, earlier)
        assert same(merged, x) and merged.names == ()


@settings(max_examples=300, deadline=None)
@given(three())
def test_sides_may_be_swapped_but_for_what_is_shown(versions):
    base, x, y = versions
    one, two = merge(CONTACT, base, x, y), merge(CONTACT, base, y, x)
    assert sorted(one.names) == sorted(two.names)
    if not one.names:
        clocks = b"REV:"
        assert [r for r in bare(one.body) if r[:4] != clocks] == [
            r for r in bare(two.body) if r[:4] != clocks
        ]
        assert (sorted(one.blobs), one.parent) == (sorted(two.blobs), two.parent)


@settings(max_examples=300, deadline=None)
@given(three())
def test_merging_the_outcome_again_changes_nothing(versions):
    base, x, y = versions
    merged = contact(b"")
    first = merge(CONTACT, base, x, y)
    merged = contact(first.body, first.blobs, first.parent)
    for side in (x, y):
        again = merge(CONTACT, base, merged, side)
        assert same(again, merged), (base.body, x.body, y.body, again.body, merged.body)


@settings(max_examples=400, deadline=None)
@given(three())
def test_no_line_of_an_edit_vanishes_unnamed(versions):
    base, x, y = versions
    merged = merge(CONTACT, base, x, y)
    if merged.names == (WHOLE,):
        assert same(merged, x)
        return
    kept = bare(merged.body)
    together = {b"FN": b"N", b"DTEND": b"DTSTART"}
    for side in (x, y):
        for line in set(bare(side.body)) - set(bare(base.body)):
            name = line.split(b":")[0].split(b";")[0].upper()
            name = together.get(name, name)
            told = name in merged.names or name == b"REV" or b"VALARM" in merged.names
            grouped = set(merged.names) & {b"TEL", b"X-ABLABEL", b"URL", b"NOTE"}
            assert line in kept or told or grouped, (line, merged.body, merged.names)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=60), min_size=3, max_size=3))
def test_any_bytes_do_no_harm(bodies):
    base, x, y = (contact(b) for b in bodies)
    merged = merge(CONTACT, base, x, y)
    assert merged.names == () or merged.names == (WHOLE,) or merged.body is not None
