"""A realistic address book, made up: the same from the same seed.

People with names in several scripts, numbers, addresses, some with pictures; events, some that
recur in a time zone of their own; to-dos, notes and photos.
"""

import base64
import random
import zlib
from datetime import date, timedelta

_FIRST = (
    "Ada Alan Amélie Aiko Björn Carlos Chloé Daniyar Elif Emeka Fatima François Grace Hannah Hiro "
    "Ines İpek Jürgen Kofi Lars Łukasz Mei Mariana Nadia Nikos Olga Oğuz Priya Renée Sean Søren "
    "Tomás Ursula Vikram Wanjiru Xavier Yusuf Zoë Андрей Ирина 美咲 志明 محمد"
).split()
_LAST = (
    "Lovelace Turing Müller Tanaka Nováková García O'Connor Nguyễn Okafor Jørgensen Kowalski "
    "Rossi Papadopoulos Şahin Ивановa Silva Dubois Haddad van-der-Berg Sørensen Kim Singh "
    "Mensah 山田 王"
).split()
_STREETS = ("Rosenweg", "High Street", "Rue de l'Église", "Calle Mayor", "Storgata", "桜通り")
_CITIES = ("Berlin", "London", "Lyon", "Sevilla", "Oslo", "名古屋", "Kraków", "Accra")
_FIRMS = ("Voyager Instruments", "Backroad Cycles", "Société du Lac", "Harbour & Sons; Ltd")
_WORK = ("Review", "Dentist", "School concert", "Call with Grace", "Vaccination", "Train to Lyon",
         "Choir", "Budget, second reading", "Birthday party", "Zahnarzt")  # fmt: skip
_TODO = ("Buy stamps", "Return library books", "Renew passport", "Fix the bicycle", "Pay the rent",
         "Back up the handset", "Write to Ada")  # fmt: skip
_TEXT = ("the quick brown fox jumps over the lazy dog", "milk, eggs; bread and 2 lemons",
         "Der Schlüssel liegt unter der Matte.", "Ask about the invoice from March.",
         "Wi-Fi at the cabin is written on the fridge.")  # fmt: skip

SHARES = {"contact": 0.62, "event": 0.22, "todo": 0.09, "note": 0.06, "photo": 0.01}


def _escape(text):
    return text.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")


def _fold(line):
    """A content line as RFC 5545 folds it: at most 75 octets a piece."""
    out, piece = [], b""
    for char in line:
        octets = char.encode()
        if len(piece) + len(octets) > (75 if not out else 74):
            out.append(piece)
            piece = b""
        piece += octets
    return b"\r\n ".join([*out, piece]) + b"\r\n"


def _component(name, lines):
    lines = ["BEGIN:" + name, *lines, "END:" + name]
    return b"".join(_fold(line) for line in lines)


def picture(rng, width, height):
    """A PNG (RFC 2083) of soft colours with a little grain, so that it does not compress away."""
    corners = [[rng.randrange(256) for _ in range(3)] for _ in range(4)]
    rows = bytearray()
    for y in range(height):
        rows.append(0)
        for x in range(width):
            for c in range(3):
                top = corners[0][c] * (width - x) + corners[1][c] * x
                low = corners[2][c] * (width - x) + corners[3][c] * x
                value = (top * (height - y) + low * y) // (width * height)
                rows.append(min(255, max(0, value + rng.randrange(-2, 3))))
    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x02\x00\x00\x00"
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(bytes(rows), 9)), (b"IEND", b""))
    out = b"\x89PNG\r\n\x1a\n"
    for name, data in chunks:
        check = zlib.crc32(name + data).to_bytes(4, "big")
        out += len(data).to_bytes(4, "big") + name + data + check
    return out


def _contact(rng, n, pictured):
    first, last = rng.choice(_FIRST), rng.choice(_LAST)
    lines = ["VERSION:3.0", "UID:demo-contact-%d" % n, "FN:%s %s" % (first, last),
             "N:%s;%s;;;" % (last, first)]  # fmt: skip
    lines.append("TEL;TYPE=CELL:+%d %d %07d" % (rng.choice((1, 33, 44, 49, 81)),
                                               rng.randrange(100, 999), rng.randrange(10**7)))
    if rng.random() < 0.7:
        lines.append("EMAIL;TYPE=INTERNET:person%d@example.org" % n)
    if rng.random() < 0.4:
        lines.append("ADR;TYPE=HOME:;;%s %d;%s;;%05d;" % (
            _escape(rng.choice(_STREETS)), rng.randrange(1, 200), rng.choice(_CITIES),
            rng.randrange(10**5)))  # fmt: skip
    if rng.random() < 0.3:
        lines.append("ORG:" + _escape(rng.choice(_FIRMS)))
        lines.append("item1.URL:https://example.org/people/%d" % n)
        lines.append("item1.X-ABLABEL:homepage")
    if rng.random() < 0.3:
        born = date(1950, 1, 1) + timedelta(days=rng.randrange(20000))
        lines.append("BDAY:" + born.isoformat())
    if rng.random() < 0.2:
        lines.append("NOTE:" + _escape(rng.choice(_TEXT)))
    if pictured:
        data = base64.b64encode(picture(rng, 40, 40)).decode()
        lines.append("PHOTO;ENCODING=b;TYPE=PNG:" + data)
    return _component("VCARD", lines)


_ZONE = """BEGIN:VTIMEZONE
TZID:Europe/Berlin
BEGIN:DAYLIGHT
TZOFFSETFROM:+0100
TZOFFSETTO:+0200
DTSTART:19700329T020000
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU
END:DAYLIGHT
BEGIN:STANDARD
TZOFFSETFROM:+0200
TZOFFSETTO:+0100
DTSTART:19701025T030000
RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU
END:STANDARD
END:VTIMEZONE""".split("\n")


def _event(rng, n):
    day = (date(2025, 1, 1) + timedelta(days=rng.randrange(730))).strftime("%Y%m%d")
    hour = rng.randrange(7, 20)
    lines = ["UID:demo-event-%d" % n, "DTSTAMP:20250101T080000Z"]
    if rng.random() < 0.2:
        lines.append("DTSTART;VALUE=DATE:" + day)
    else:
        lines.append("DTSTART;TZID=Europe/Berlin:%sT%02d3000" % (day, hour))
        lines.append("DURATION:PT%dM" % rng.choice((30, 45, 60, 120)))
    lines.append("SUMMARY:" + _escape(rng.choice(_WORK)))
    if rng.random() < 0.2:
        lines.append("RRULE:FREQ=WEEKLY;COUNT=%d" % rng.randrange(2, 30))
    if rng.random() < 0.3:
        lines.append("LOCATION:" + rng.choice(_CITIES))
    if rng.random() < 0.3:
        lines += ["BEGIN:VALARM", "ACTION:DISPLAY", "TRIGGER:-PT15M", "DESCRIPTION:soon",
                  "END:VALARM"]  # fmt: skip
    return _component("VEVENT", lines)


def _todo(rng, n):
    lines = ["UID:demo-todo-%d" % n, "DTSTAMP:20250101T080000Z",
             "SUMMARY:" + _escape(rng.choice(_TODO)),
             "PRIORITY:%d" % rng.randrange(1, 10)]  # fmt: skip
    if rng.random() < 0.5:
        lines.append("DUE;VALUE=DATE:2026%02d%02d" % (rng.randrange(1, 13), rng.randrange(1, 29)))
    return _component("VTODO", lines)


def _note(rng, n):
    text = "\\n".join(_escape(rng.choice(_TEXT)) for _ in range(rng.randrange(1, 12)))
    lines = ["UID:demo-note-%d" % n, "DTSTAMP:20250101T080000Z", "SUMMARY:Note %d" % n,
             "DESCRIPTION:" + text]  # fmt: skip
    return _component("VJOURNAL", lines)


def write(folder, records=2000, seed=1):
    """Write contacts.vcf, calendar.ics and photos into `folder` (a Path); the files' paths."""
    rng = random.Random(seed)
    counts = {kind: max(1, round(records * share)) for kind, share in SHARES.items()}
    counts["contact"] += records - sum(counts.values())
    folder.mkdir(parents=True, exist_ok=True)
    contacts, calendar = folder / "contacts.vcf", folder / "calendar.ics"
    pictured = max(1, counts["contact"] // 60)
    contacts.write_bytes(b"".join(
        _contact(rng, n, n % 60 == 7 and n // 60 < pictured) for n in range(counts["contact"])))
    parts = [b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Drybag//demo//EN\r\n"
             b"X-WR-CALNAME:Home\r\n", *map(_fold, _ZONE)]  # fmt: skip
    for kind, make in (("event", _event), ("todo", _todo), ("note", _note)):
        parts += [make(rng, n) for n in range(counts[kind])]
    calendar.write_bytes(b"".join([*parts, b"END:VCALENDAR\r\n"]))
    files = [contacts, calendar]
    for n in range(counts["photo"]):
        path = folder / ("photo-%02d.png" % (n + 1))
        path.write_bytes(picture(rng, rng.randrange(60, 110), rng.randrange(60, 100)))
        files.append(path)
    return files
