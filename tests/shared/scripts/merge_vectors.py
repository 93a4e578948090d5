"""Prints merges of awkward bodies; run by both interpreters."""

import sys

sys.path.insert(0, sys.argv[1])

from drybag.layout import CONTACT, EVENT, Record  # noqa: E402
from drybag.merge import merge, merge_bodies  # noqa: E402

CARD = b"VERSION:3.0\nFN:A B\nN:B;A;;;\nTEL:1\nNOTE:n\nitem1.URL:u\nitem1.X-ABLABEL:home\nREV:1\n"
SIDES = (
    CARD,
    CARD.replace(b"TEL:1", b"TEL:2"),
    CARD.replace(b"TEL:1", b"TEL:3") + b"EMAIL:e\n",
    CARD.replace(b"NOTE:n\n", b"").replace(b"REV:1", b"REV:2"),
    CARD.replace(b"NOTE:n", b"NOTE:m").replace(b"REV:1", b"REV:3"),
    CARD.replace(b"FN:A B", b"FN:C B"),
    CARD.replace(b"N:B", b"N:D"),
    CARD + b"item2.TEL:9\nitem2.X-ABLABEL:boat\n",
    CARD + b"ITEM2.EMAIL:x\nITEM2.X-ABLABEL:work\n",
    CARD.replace(b"item1.", b"item7."),
    CARD.replace(b"home", b"cabin"),
    CARD.replace(b"VERSION:3.0", b"VERSION:4.0"),
    CARD + b"BEGIN:VALARM\nEND:VEVENT\n",
    b"TEL:1\nno colon\nno colon\n\nTEL:1\n",
    b"",
)
EVENT_BODY = b"DTSTART:1\nDTEND:2\nSUMMARY:s\nBEGIN:VALARM\nUID:a\nTRIGGER:1\nEND:VALARM\n"
EVENTS = (
    EVENT_BODY,
    EVENT_BODY.replace(b"DTEND:2", b"DURATION:PT1H"),
    EVENT_BODY.replace(b"DTSTART:1", b"DTSTART:0"),
    EVENT_BODY.replace(b"TRIGGER:1", b"TRIGGER:2"),
    EVENT_BODY.replace(b"TRIGGER:1", b"TRIGGER:3"),
    EVENT_BODY + b"BEGIN:VALARM\nTRIGGER:1\nEND:VALARM\n",
    EVENT_BODY[: EVENT_BODY.find(b"BEGIN")],
)


def main():
    for kind, sides in ((CONTACT, SIDES), (EVENT, EVENTS)):
        for later in sides:
            for earlier in sides:
                print(merge_bodies(kind, sides[0], later, earlier))
    photo = [bytes((n,)) * 32 for n in range(4)]
    versions = [
        Record(1, b"u", SIDES[n], blobs, parent)
        for n, blobs, parent in (
            (0, (photo[0],), 0),
            (1, (photo[0], photo[1]), 5),
            (4, (photo[2],), 0),
            (2, (), 6),
        )
    ]
    for base in [None] + versions:
        for later in versions:
            for earlier in versions:
                m = merge(CONTACT, base, later, earlier)
                print(m.parent, m.blobs, m.body, m.names)


main()
