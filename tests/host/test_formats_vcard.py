"""vCard versions into one another, line by line, against what the RFCs say."""

import base64

import pytest

from drybag_host.formats import vcard

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"p" * 40)


def one(line, was, wanted):
    """The last line of a converted card that has this one line."""
    lines = [b"VERSION:" + was.encode(), b"FN:x", b"N:x;;;;", line]
    out = vcard.convert(lines, wanted)
    assert out[0] == b"VERSION:" + wanted.encode() and len(out) == 4
    return out[3]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"TEL;HOME;VOICE;PREF:1", b"TEL;TYPE=HOME;TYPE=VOICE;TYPE=PREF:1"),
        (b"item1.TEL;TYPE=HOME;X-A=b:1", b"item1.TEL;TYPE=HOME;X-A=b:1"),
        (b"ORG:Company, The;Dep\\;t", b"ORG:Company\\, The;Dep\\;t"),
        (b"NOTE;ENCODING=QUOTED-PRINTABLE:a=0D=0Ab, c; d=5Ce", b"NOTE:a\\nb\\, c\\; d\\\\e"),
        (b"NOTE;CHARSET=ISO-8859-1;QUOTED-PRINTABLE:=E9", "NOTE:é".encode()),
        (b"NOTE;CHARSET=SHIFT_JIS;ENCODING=QUOTED-PRINTABLE:=83=65", "NOTE:テ".encode()),
        (b"N;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=C3=91;A,B", "N:Ñ;A\\,B".encode()),
        (b"NOTE:C:\\new", b"NOTE:C:\\\\new"),
        (b"FN:M\xfcller", "FN:Müller".encode()),
        (b"PHOTO;GIF;ENCODING=BASE64:AA AA", b"PHOTO;ENCODING=b;TYPE=GIF:AAAA"),
        (b"PHOTO;VALUE=URL;TYPE=GIF:http://a/b,c", b"PHOTO;VALUE=uri;TYPE=GIF:http://a/b,c"),
        (b"URL:http://a/?b=c;d", b"URL:http://a/?b=c;d"),
        (b"GEO:37.24,-17.87", b"GEO:37.24;-17.87"),
        (b"X-Thing;FOO:a;b,c\\d\\;e", b"X-Thing;TYPE=FOO:a;b,c\\\\d\\;e"),
        (b"CATEGORIES:a,b;c", b"CATEGORIES:a,b\\;c"),
        (b"no colon", b"no colon"),
    ],
)
def test_from_21_to_30(old, new):
    assert one(old, "2.1", "3.0") == new


@pytest.mark.parametrize(
    ("three", "four"),
    [
        (b"TEL;TYPE=HOME;TYPE=pref:1", b"TEL;TYPE=HOME;PREF=1:1"),
        (b"TEL;TYPE=work,voice,PREF:1", b'TEL;TYPE="work,voice";PREF=1:1'),
        (b"PHOTO;ENCODING=b;TYPE=JPEG:AAAA", b"PHOTO:data:image/jpeg;base64,AAAA"),
        (b"PHOTO;BASE64:" + PNG, b"PHOTO:data:image/png;base64," + PNG),
        (b"PHOTO;VALUE=uri;TYPE=GIF:http\\://a", b"PHOTO;VALUE=uri;MEDIATYPE=image/gif:http://a"),
        (b"KEY;TYPE=PGP;ENCODING=b:AAAA", b"KEY:data:application/pgp-keys;base64,AAAA"),
        (b"X-Bin;ENCODING=b:AAAA", b"X-Bin;VALUE=uri:data:application/octet-stream;base64,AAAA"),
        (b"GEO:1.5;-2.5", b"GEO:geo:1.5,-2.5"),
        (b"BDAY:1980-03-22", b"BDAY:19800322"),
        (b"REV:1995-10-31T22:27:10Z", b"REV:19951031T222710Z"),
        (b"UID:4fbe", b"UID;VALUE=text:4fbe"),
        (b"UID:urn:uuid:4fbe", b"UID:urn:uuid:4fbe"),
        (b"URL:http\\://www.ibm.com", b"URL:http://www.ibm.com"),
        (b'NOTE:\\"AS IS\\"\\, a\\Nb\\:', b'NOTE:"AS IS"\\, a\\nb:'),
        (b"FN;CHARSET=iso-8859-1:\xe9", "FN:é".encode()),
        (b"item1.X-ABLabel:_$!<HomePage>!$_", b"item1.X-ABLabel:_$!<HomePage>!$_"),
    ],
)
def test_from_30_to_40(three, four):
    assert one(three, "3.0", "4.0") == four


@pytest.mark.parametrize(
    ("four", "three"),
    [
        (b'TEL;VALUE=uri;TYPE="work,voice";PREF=1:tel:+1-4;ext=102',
         b"TEL;TYPE=work,voice;TYPE=pref:+1-4 x102"),
        (b"TEL;VALUE=uri:tel:1;phone-context=x", b"TEL;VALUE=uri:tel:1;phone-context=x"),
        (b"EMAIL;PREF=2:a@b", b"EMAIL;PREF=2:a@b"),
        (b"PHOTO:data:image/jpeg;base64,AAAA", b"PHOTO;ENCODING=b;TYPE=JPEG:AAAA"),
        (b"LOGO:data:image/svg+xml;base64,AAAA", b"LOGO;ENCODING=b;TYPE=image/svg+xml:AAAA"),
        (b"PHOTO;MEDIATYPE=image/png:http://a", b"PHOTO;VALUE=uri;TYPE=PNG:http://a"),
        (b"GEO:geo:1.5,-2.5", b"GEO:1.5;-2.5"),
        (b"UID;VALUE=text:x", b"UID:x"),
        (b"KIND:group", b"KIND:group"),
        (b"BDAY:--0203", b"BDAY:--0203"),
    ],
)  # fmt: skip
def test_from_40_to_30(four, three):
    assert one(four, "4.0", "3.0") == three


@pytest.mark.parametrize("version", ["3.0", "4.0"])
def test_the_same_version_stays_line_by_line(version):
    lines = [b"FN:x", b"VERSION:" + version.encode(), b"TEL;pref:1", b"X:\\q;\\:", b"junk"]
    assert vcard.convert(lines, version) == lines


def test_what_the_target_asks_for_is_made():
    old = [b"VERSION:2.1", b"EMAIL;PREF:a@b"]
    made = [b"VERSION:3.0", b"FN:a@b", b"N:;a@b;;;", b"EMAIL;TYPE=PREF:a@b", b"UID:h1"]
    assert vcard.convert(old, "3.0", b"h1") == made
    assert vcard.convert([*old, b"UID:own"], "3.0", b"h1")[-1] == b"UID:own"


def test_version_moves_to_the_front():
    assert vcard.convert([b"FN:x", b"VERSION:3.0"], "4.0")[:2] == [b"VERSION:4.0", b"FN:x"]


def test_a_nested_agent_becomes_text():
    inner = [b"BEGIN:VCARD", b"VERSION:2.1", b"N:Doe;Jo", b"TEL;HOME:1,2", b"END:VCARD"]
    lines = [b"VERSION:2.1", b"FN:x", b"N:x", b"AGENT:", *inner, b"TITLE:t"]
    got = vcard.convert(lines, "3.0")
    text = b"BEGIN:VCARD\\nVERSION:3.0\\nFN:Jo Doe\\nN:Doe\\;Jo\\n"
    text += b"TEL\\;TYPE=HOME:1\\\\\\,2\\nEND:VCARD\\n"
    assert got[3:] == [b"AGENT:" + text, b"TITLE:t"]


def test_nesting_without_ends_loses_nothing():
    lines = [b"VERSION:2.1", b"BEGIN:VCARD", b"FN:in", b"BEGIN:X-Y", b"A:1"]
    got = b"\n".join(vcard.convert(lines, "3.0"))
    assert b"FN:in" in got and b"A:1" in got
