"""Search: folding checked against Unicode, numbers by digits, the same on both interpreters."""

import unicodedata
from pathlib import Path

import pytest
from both_interpreters import run_both
from hypothesis import given, settings
from hypothesis import strategies as st

from drybag import search

SCRIPTS = Path(__file__).parent / "scripts"
NO_BASE = {"\u0385", "\u03d3", "\u03d4", "\u0374", "\u037e", "\u0387", "\u01ee", "\u01ef"}
TABLES = [range(0xC0, 0x180), range(0x1CD, 0x234), range(0x386, 0x3CF), range(0x400, 0x530)]
TABLES.append(range(0x1E00, 0x1EFA))
LETTERS = [chr(n) for r in TABLES for n in r if unicodedata.category(chr(n)) in ("Lu", "Ll", "Lt")]


def unicode_fold(text):
    """What Unicode says: decompose, drop the marks, lower case, and again."""
    for _ in range(2):
        text = unicodedata.normalize("NFD", text)
        text = "".join(c for c in text if not 0x300 <= ord(c) < 0x370).lower()
    return text


def test_both_interpreters_agree():
    assert len(run_both(SCRIPTS / "search_vectors.py")) > 100


def test_the_tables_say_what_unicode_says():
    """Where a letter has a base letter, it is that; where Unicode has none, ours is ASCII."""
    wrong = []
    for c in LETTERS:
        want = unicode_fold(c)
        got = search.fold(c)
        if want != got and not (
            got.isascii() and unicodedata.normalize("NFD", want)[0] == want[0]
        ):
            wrong.append((c, got, want))
        if len(want) == 1 and want.isascii() and want != got:
            wrong.append((c, got, want))
    unknown = {c for c, got, want in wrong if c.lower() != c and got == c}
    assert [w for w in wrong if w[0] not in unknown and w[0] not in NO_BASE | {"\u03c2"}] == []
    assert all(0x1CD <= ord(c) < 0x234 for c in unknown)  # a few letters of Extended-B


def test_composed_and_decomposed_are_one():
    assert [
        c for c in LETTERS
        if search.fold(unicodedata.normalize("NFD", c)) != search.fold(c) and c not in NO_BASE
    ] == []  # fmt: skip


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("muller", "MÜLLER"), ("strasse", "Straße"), ("STRAßE", "strasse"), ("lodz", "Łódź"),
        ("σωκρατησ", "ΣΩΚΡΆΤΗΣ"), ("елка", "Ёлка"), ("nguyen", "Nguyễn"), ("oconnor", "OConnor"),
        ("o'connor", "O’Connor"), ("istanbul", "İSTANBUL"), ("stefan", "Ștefan"),
    ],
)  # fmt: skip
def test_names_are_found_the_way_people_type_them(query, text):
    assert search.match(query, 1, b"VERSION:3.0\nFN:" + text.encode() + b"\n")


@pytest.mark.parametrize(
    ("query", "number", "found"),
    [
        ("0171 1234567", "+49 171 1234567", True),
        ("+49 171 1234567", "0171/123 45 67", True),
        ("1234567", "tel:+49-171-1234567", True),
        ("(905) 555", "905-555-1234", True),
        ("55", "905-555-1234", True),  # as text
        ("99", "1 29 9", False),
        ("7654321", "+49 171 1234567", False),
        ("171 abc", "+49 171 1234567", False),
    ],
)
def test_numbers_match_by_their_digits(query, number, found):
    body = b"VERSION:3.0\nFN:X\nTEL:" + number.encode() + b"\n"
    assert search.match(query, 1, body) is found


def test_all_words_must_be_somewhere_and_hidden_properties_are_not_searched():
    body = b"VERSION:3.0\nFN:Ann Bo\nORG:Acme\nX-UID:zz9\n"
    assert search.match("acme ann", 1, body)
    assert not search.match("acme bob", 1, body)
    assert not search.match("zz9", 1, body)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60))
def test_folding_never_fails_and_folding_twice_changes_nothing(text):
    once = search.fold(text)
    assert search.fold(once) == once
