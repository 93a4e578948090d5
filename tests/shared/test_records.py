"""What a body says: titles, dates, blobs; and bodies made or edited here."""

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drybag import dates, records
from drybag.errors import BadInput


@pytest.mark.parametrize(
    ("kind", "body", "title"),
    [
        (1, b"FN:A\\, B\nN:x", "A, B"),
        (1, b"N:Doe;John;Q;Dr.;Jr.\nTEL:1", "Dr. John Q Doe Jr."),
        (1, b"FN:\nN:;;;;\nORG:Acme;Dept\nTEL:1", "Acme, Dept"),
        (1, b"EMAIL:a@b\nTEL:1", "a@b"),
        (2, b"DESCRIPTION:long\nSUMMARY:short\\nline", "short line"),
        (4, b"DESCRIPTION:only", "only"),
        (5, b"FN:x.jpg", "x.jpg"),
        (6, b"PRODID:p\nX-WR-CALNAME:Home", "Home"),
        (2, b"BEGIN:VALARM\nSUMMARY:no\nEND:VALARM", ""),
        (1, b"garbage\n:\nFN", ""),
        (9, b"FN:x", ""),
    ],
)
def test_title(kind, body, title):
    assert records.title(kind, body) == title


def test_nested_components_are_not_the_records_own():
    body = b"UID:1\nBEGIN:VALARM\nUID:2\nEND:VALARM\nSUMMARY:x\n"
    assert list(records.top_lines(body)) == [b"UID:1", b"SUMMARY:x"]


DAY = dates.parse_date(b"20250131")


@pytest.mark.parametrize(
    ("body", "touches"),
    [
        (b"DTSTART;VALUE=DATE:20250131\n", True),
        (b"DTSTART;VALUE=DATE:20250130\n", False),
        (b"DTSTART;VALUE=DATE:20250129\nDTEND;VALUE=DATE:20250201\n", True),
        (b"DTSTART:20250131T000000\n", True),
        (b"DTSTART:20250201T000000\n", False),
        (b"DTSTART:20250130T230000\nDURATION:PT1H\n", False),
        (b"DTSTART:20250130T230000\nDURATION:PT2H\n", True),
        (b"DTSTART:20200101T000000\nRRULE:FREQ=YEARLY\n", True),
        (b"DTSTART:20200101T000000\nRRULE:FREQ=YEARLY;UNTIL=20240101T000000Z\n", False),
        (b"DTSTART:20200101T100000\nRRULE:FREQ=DAILY;UNTIL=20250131T090000Z\n", True),
    ],
)
def test_what_touches_a_day(body, touches):
    when = records.span(body)
    assert records.overlaps(when, b"20250131", b"20250201") is touches


def test_utc_is_shifted_to_local():
    body = b"DTSTART:20250131T233000Z\n"
    assert records.span(body, 60)[0] == b"20250201T003000"
    assert records.span(body)[0] == b"20250131T233000"


@settings(max_examples=200, deadline=None)
@given(
    st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9990, 1, 1)),
    st.integers(-400, 3000),
    st.integers(-100000, 100000),
)
def test_arithmetic_agrees_with_datetime(when, days, seconds):
    when = when.replace(microsecond=0)
    try:
        later = when + dt.timedelta(days=days, seconds=seconds)
    except OverflowError:
        return
    if later.year > 1:
        text = dates.shift(when.strftime("%4Y%m%dT%H%M%S").zfill(15).encode(), days, seconds)
        assert text == later.strftime("%4Y%m%dT%H%M%S").zfill(15).encode()


def test_new_bodies_hold_what_was_typed_and_nothing_else():
    body = records.new_contact(b"u", "Eve\nTEL:666", ["1\r\nX-EVIL:1"], ["a;b@c"])
    assert [records.line_name(line) for line in records.lines(body)] == [
        b"VERSION", b"UID", b"FN", b"N", b"TEL", b"EMAIL",
    ]  # fmt: skip
    assert records.value_of(body, b"TEL") == "1\nX-EVIL:1"
    note = records.new_note(b"n", "Title, with comma\nand; more")
    assert records.value_of(note, b"DESCRIPTION") == "Title, with comma\nand; more"
    assert records.title(4, note) == "Title, with comma"


@pytest.mark.parametrize("date", [b"tomorrow", b"20251301", b"", b"20250101T9999"])
def test_a_date_that_is_none_is_refused(date):
    with pytest.raises(BadInput):
        records.new_event(b"u", "x", date)


def test_an_event_cannot_end_before_it_starts():
    with pytest.raises(BadInput):
        records.new_event(b"u", "x", b"20250102", b"20250101")


def test_editing_leaves_every_other_line_alone():
    body = b"VERSION:3.0\nX-A;b=c:d\\e\nitem1.TITLE;LANGUAGE=de:Chef\nBOGUS\nTITLE:2nd\n"
    edited = records.set_text(body, b"TITLE", "Boss; really")
    assert edited == body.replace(b":Chef", b":Boss\\; really")
    assert records.set_text(body, b"TITLE", "") == body.replace(
        b"item1.TITLE;LANGUAGE=de:Chef\n", b""
    )
    assert records.set_text(b"A:1\nBEGIN:V\nEND:V\n", b"B", "2") == b"A:1\nB:2\nBEGIN:V\nEND:V\n"


def test_editing_vcard_21_writes_quoted_printable_only_where_needed():
    body = b"VERSION:2.1\nFN;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:=D1\nTEL;HOME:1\n"
    plain = records.set_text(body, b"FN", "N")
    assert plain == b"VERSION:2.1\nFN:N\nTEL;HOME:1\n"
    coded = records.rename(plain, "Ana \u00d1")
    assert b"FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:Ana =C3=91\n" in coded
    assert records.title(1, coded) == "Ana \u00d1"


def test_blob_references():
    sha = bytes(range(32))
    body = b"PHOTO:drybag:blob/" + sha.hex().encode() + b"\nX:drybag:blob/short\n"
    assert records.blob_refs(body * 2) == [sha]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.integers(1, 6))
def test_nothing_in_a_body_makes_reading_it_fail(body, kind):
    records.title(kind, body)
    list(records.texts(kind, body))
    records.span(b"DTSTART:" + body)
    records.span(body)
    records.due(b"DTSTART:20250101\nDURATION:" + body)
    records.is_done(body)
    records.blob_refs(body)
    records.set_text(body, b"NOTE", "x")
