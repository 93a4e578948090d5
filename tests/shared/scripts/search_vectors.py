"""Prints folded texts, matches, dates and new bodies; run by both interpreters."""

import sys

sys.path.insert(0, sys.argv[1])

from drybag import dates, records, search  # noqa: E402

TEXTS = (
    "Jos\u00e9 M\u00dcLLER", "Jose\u0301", "STRASSE stra\u00dfe \u1e9e", "\u0141\u00f3d\u017a",
    "\u0391\u03c1\u03b9\u03c3\u03c4\u03bf\u03c4\u03ad\u03bb\u03b7\u03c2",
    "\u0401\u0436\u0418\u0439",
    "\u1ec4\u1ed9", "\u65e5\u672c\u8a9e", "\U0001f600 \u00c6\u0153", "Ti\u1ebfng Vi\u1ec7t", "",
)  # fmt: skip
CONTACT = (
    b"VERSION:3.0\nFN:Jos\xc3\xa9 Mart\xc3\xadnez\nN:Mart\xc3\xadnez;Jos\xc3\xa9;;;\n"
    b"ORG:ACME\\, Inc.;R&D\nTEL;TYPE=CELL:+34 (0)655-12 34 56\nEMAIL:jm@acme.example\n"
    b"item1.URL:http://acme.example\nX-SECRET:hidden\n"
)
OLD = (
    b"VERSION:2.1\nN;ENCODING=QUOTED-PRINTABLE;CHARSET=UTF-8:=C3=91u=C3=B1ez;Ana\n"
    b"TEL;HOME:0655 123456\nNOTE;CHARSET=ISO-8859-1;QUOTED-PRINTABLE:caf=E9=0D=0Abar\n"
)
EVENTS = (
    b"DTSTART:20250131T233000Z\nDURATION:PT3H\n",
    b"DTSTART;TZID=Europe/Berlin:20250131T233000\nDTEND;TZID=Europe/Berlin:20250201T010000\n",
    b"DTSTART;VALUE=DATE:20240228\n",
    b"DTSTART;VALUE=DATE:20240228\nDTEND;VALUE=DATE:20240301\nRRULE:FREQ=YEARLY;UNTIL=20300228\n",
    b"DTSTART:20240228T100000\nRRULE:FREQ=DAILY;COUNT=3\n",
    b"DTSTART:20240228T100000\nRDATE:20230101T100000,20260101T100000\nDURATION:P1W\n",
    b"SUMMARY:x\n",
    b"DTSTART:rubbish\n",
    b"DTSTART:20250101\nDTEND:20240101\n",
    b"BEGIN:VALARM\nDTSTART:20250101\nEND:VALARM\n",
)


def main():
    for text in TEXTS:
        print("fold", search.fold(text).encode())
        print("fold", search.fold(text.encode()).encode())
    for query in ("jose", "MARTINEZ acme", "0655123456", "655 12", "+34655123456", "hidden",
                  "martinez nobody", "", "   ", "acme.example",
                  "nunez ana", "cafe bar"):  # fmt: skip
        print("match", query, search.match(query, 1, CONTACT), search.match(query, 1, OLD))
    for body in EVENTS:
        print("span", records.span(body), records.span(body, -90), records.due(body))
    for value in (
        b"20250229",
        b"20251301",
        b"2025-03-01T10:00:00Z",
        b"20250301T2460",
        b"99991231T235959Z",
    ):
        print("date", dates.parse_date(value), dates.parse_date(value, 120))
    for days in range(-800, 800, 37):
        print(
            "shift",
            dates.shift(b"20240229", days, 0),
            dates.shift(b"20240229T1030" + b"00", 0, days * 997),
        )
    for value in (b"P1D", b"-PT15M", b"P1W2D", b"PT1H30M5S", b"1D", b"P", b"PX", b"P99999999999D"):
        print("duration", dates.parse_duration(value))
    contact = records.new_contact(
        b"u", "Ana Maria Nu\u00f1ez; jr", ("+1 2", "3"), ("a@b",), "Org, Inc"
    )
    print(contact, records.title(1, contact).encode())
    print(records.rename(contact, "B C").split(b"\n"), records.rename(OLD, "B \u00d1"))
    print(records.set_text(OLD, b"NOTE", "two\nlines"), records.set_text(contact, b"ORG", ""))
    event = records.new_event(b"u", "a\nb", b"20250131T0930Z", b"20250131T10:30Z", "There; here")
    print(event, records.span(event), records.new_todo(b"u", "do", b"2025-01-31"))
    print(records.new_note(b"u", "first\n\nsecond \x07", b"20250101T000000Z"))
    with_alarm = b"SUMMARY:x\nBEGIN:VALARM\nSUMMARY:no\nEND:VALARM\n"
    print(
        records.set_text(with_alarm, b"SUMMARY", "y"),
        records.set_text(with_alarm, b"LOCATION", "l"),
    )
    print(records.blob_refs(b"A:drybag:blob/" + b"ab" * 32 + b"\nB:drybag:blob/" + b"AB" * 32))


main()
