"""Prints what the content-line layer makes of awkward input; run by both interpreters."""

import sys
from binascii import hexlify

sys.path.insert(0, sys.argv[1])

from drybag import contentline as c  # noqa: E402
from drybag import folding  # noqa: E402
from drybag import linetext as t  # noqa: E402

STREAMS = [
    b"A:1\r\nB:2\r\n 3\r\n\t4\r\n",
    b"A:1\nB:2\n 3\n",
    b"A:1\rB:2\r 3\r",
    b"A:1\r\r\nB:2\r\r\n 3\r\r\n",
    b"VERSION\n\n :2.0\nDTSTART\n ;VALUE=DATE\n :20030109\n",
    b"N;ENCODING=QUOTED-PRINTABLE:a=\r\nb=\r\n=20c\r\nTEL:1\r\n",
    b"NOTE;QUOTED-PRINTABLE:a=\r\nEND:VCARD\r\n",
    b"PHOTO;BASE64:abcd\r\nefgh==\r\n\r\nijkl\r\nTEL:1\r\n",
    b"KEY;ENCODING=BASE64:\r\n    MIID\r\n    abc=\r\n\r\nX:1\r\n",
    b"X:a=\r\n b\r\n",
    b"\n\n\n",
    b"",
    b" lost\nA:1",
    b"X:a\rb\nY:c\r\n",
    b"no colon\r\n\r\n \r\nX:\xff\xfe\r\n",
    b"\r\r\r",
    b"ab\rc",
]
LINES = [
    b"TEL;TYPE=HOME,VOICE;PREF=1:+1",
    b"item1.TEL;HOME;ENCODING=QUOTED-PRINTABLE;CHARSET=ISO-8859-1:=E9=20x",
    b'ADR;LABEL="a;b:c^n^^^\'d";TYPE="work,home":;;x',
    b'X;A="never ends:v',
    b"a.b.N:x",
    b";:",
    b"nothing",
    b":x",
    b"KEY;ENCODING=b:AAAA",
    b"TEL ; HOME : 1",
    b"N:=C3=91;=zz;=4",
]
BYTES = [
    b"plain", b"\xc3\xa9", b"\xe9t\xe9", b"\x80\x99\x81", b"\xc0\x80", b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xf0\x9f\x98\x80", b"\xe2\x82", b"\xf8\x88\x80",
    b"\xe0\x9f\xbf", b"\xef\xbb\xbfx",
]  # fmt: skip


def out(name, value):
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes):
        value = hexlify(value).decode()
    print(name, value)


def main():
    for stream in STREAMS:
        for size in (1, 3, 1000):
            chunks = [stream[i : i + size] for i in range(0, len(stream), size)]
            for number, start, line, dropped in folding.unfold(chunks):
                out("unfold %d %d %d" % (number, start, dropped), line)
        for number, _, line, dropped in folding.unfold([stream], 4):
            out("short %d %d" % (number, dropped), line)
    for line in LINES:
        try:
            got = c.parse(line)
        except c.BadLine as e:
            out("bad", str(e))
            continue
        out("parse", got.group + b"|" + got.name + b"|" + b"|".join(got.raw_params))
        out("type", b"|".join(got.param(b"TYPE")))
        out("label", b"|".join(got.param(b"LABEL")))
        out("encoding", got.encoding())
        out("text", got.text())
    for data in BYTES:
        out("utf8", str(t.is_utf8(data)))
        for charset in (b"", b"ISO-8859-1", b"windows-1251", b"koi8-r"):
            out("decode", t.decode(data, charset))
    long = b"N:" + ("ab\u00e9\u20ac\U0001f600" * 40).encode()
    for width in (75, 20, 5):
        out("fold", folding.fold(long, width))
    out("fold", folding.fold(b"X:" + b"\xff" * 200))
    out("fold", folding.fold(b"X:" + b"a\r" * 100))
    out("qp", folding.fold_qp(b"N;ENCODING=QUOTED-PRINTABLE:" + b"=C3=91END:x" * 30))
    for text in ("a\\nb\\,c\\;d\\\\e\\:\\x\\", "plain", "C:\\new\\;x"):
        out("unescape", t.unescape(text))
        out("unescape", t.unescape(text, True))
        out("escape", t.escape(text + "\r\nx\ry"))
    for value in (b"a;b\\;c;d\\\\;e", b"", b"\\;;\\\\\\;"):
        out("split", b"|".join(c.split_escaped(value)))
    for line in (b"BEGIN:VCARD", b"end : valarm ", b"BEGINX:1", b"ENDE:2", b"E:", b"begin:"):
        out("component", repr(c.component(line)))


main()
