"""The content-line layer: unfolding, folding, parameters, text. Both interpreters agree."""

import time
from pathlib import Path

import pytest
from both_interpreters import run_both
from hypothesis import given, settings
from hypothesis import strategies as st

from drybag import contentline as c
from drybag import folding, linetext

SCRIPTS = Path(__file__).parent / "scripts"


def unfold(data, size=7, **limits):
    chunks = [data[i : i + size] for i in range(0, len(data), size)]
    return [line for _, _, line, _ in folding.unfold(chunks, **limits)]


def test_both_interpreters_agree_on_awkward_input():
    lines = run_both(SCRIPTS / "contentline_vectors.py")
    assert len(lines) > 250


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r", b"\r\r\n"])
def test_every_line_end_unfolds_the_same(end):
    data = end.join(
        [b"BEGIN:VCARD", b"NOTE:one", b" two", b"\t three", b"TEL:1", b"END:VCARD", b""]
    )
    assert unfold(data) == [b"BEGIN:VCARD", b"NOTE:onetwo three", b"TEL:1", b"END:VCARD"]


def test_numbers_and_offsets_point_at_the_first_physical_line():
    data = b"A:1\r\n 2\r\n\r\nB:3\r\nC:4"
    found = list(folding.unfold([data]))
    assert [(n, line) for n, _, line, _ in found] == [(1, b"A:12"), (4, b"B:3"), (5, b"C:4")]
    assert [data[at : at + 1] for _, at, _, _ in found] == [b"A", b"B", b"C"]


def test_sunbird_folds_across_a_blank_line():
    assert unfold(b"VERSION\n\n :2.0\nUID\n :x\n") == [b"VERSION:2.0", b"UID:x"]


def test_soft_breaks_join_only_quoted_printable():
    assert unfold(b"N;ENCODING=QUOTED-PRINTABLE:a=\r\n=20b\r\nX:c=\r\nY:d\r\n") == [
        b"N;ENCODING=QUOTED-PRINTABLE:a=20b", b"X:c=", b"Y:d",
    ]  # fmt: skip


def test_a_soft_break_does_not_swallow_the_end_of_a_card():
    assert unfold(b"N;QUOTED-PRINTABLE:a=\nEND:VCARD\n")[-1] == b"END:VCARD"


def test_base64_without_indent_ends_at_a_blank_line():
    data = b"PHOTO;ENCODING=BASE64:AAAA\nBBBB\n\nCCCC\nTEL:1\n"
    assert unfold(data) == [b"PHOTO;ENCODING=BASE64:AAAABBBB", b"CCCC", b"TEL:1"]


def test_a_line_over_the_limit_is_cut_and_says_so():
    found = list(folding.unfold([b"X:" + b"a" * 100 + b"\n b\nY:1\n"], max_line=10))
    assert [(line, dropped) for _, _, line, dropped in found] == [(b"X:aaaaaaaa", 93), (b"Y:1", 0)]


def test_fold_counts_octets_and_keeps_utf8_whole():
    line = b"N:" + "\u20ac\U0001f600x".encode() * 60
    folded = folding.fold(line)
    pieces = folded.split(b"\r\n")
    assert pieces.pop() == b""
    assert all(len(p) <= 75 for p in pieces) and len(pieces) > 5
    assert all(linetext.is_utf8(p) for p in pieces)
    assert unfold(folded) == [line]


def test_parameters_quoted_bare_and_caret():
    line = c.parse(b"item1.ADR;LABEL=\"a;b:c^n^'d^'\";HOME;type=work:;;x")
    assert (line.group, line.name, line.value) == (b"item1", b"ADR", b";;x")
    assert line.param(b"LABEL") == [b'a;b:c\n"d"']
    assert line.param(b"LABEL", caret=False) == [b"a;b:c^n^'d^'"]
    assert line.param(b"TYPE") == [b"HOME", b"work"]


def test_charsets():
    qp = b"N;ENCODING=QUOTED-PRINTABLE;CHARSET="
    assert c.parse(qp + b"UTF-8:=C3=91").text() == "\u00d1"
    assert c.parse(qp + b"ISO-8859-1:=D1").text() == "\u00d1"
    assert c.parse(qp + b"windows-1251:=CF=F0").text() == "\u041f\u0440"
    assert c.parse(b"N:\xd1").text() == "\u00d1"
    shift_jis = c.parse(qp + b"SHIFT_JIS:=83=65")
    assert shift_jis.text(lambda name, data: data.decode(name)) == "\u30c6"


@pytest.mark.parametrize("line", [b"nothing", b":x", b";a:b", b"X;" + b"a" * 70000 + b":v"])
def test_what_is_no_content_line_is_named(line):
    with pytest.raises(c.BadLine):
        c.parse(line)


@pytest.mark.parametrize("line", [b"", b"X", b"E", b"BEGIN", b"\xff\xfe", b"\x00" * 90])
def test_short_lines_do_no_harm(line):
    assert c.component(line) is None
    assert not c.is_qp(line) and not c.is_base64(line)


BODY_LINE = st.binary(min_size=1, max_size=300).map(
    lambda b: b"X:" + b.replace(b"\n", b" ").rstrip(b"\r")
)


@settings(max_examples=150, deadline=None)
@given(st.lists(BODY_LINE, max_size=8), st.integers(1, 200))
def test_any_lines_survive_folding(lines, size):
    """What fold_lines writes, unfold reads back, whatever the bytes and the chunk sizes."""
    lines.insert(0, b"BEGIN:VCARD")  # the first line end decides how the others end
    assert unfold(b"".join(folding.fold_lines(lines)), size) == lines


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.integers(1, 50))
def test_unfolding_any_bytes_twice_changes_nothing(data, size):
    lines = unfold(data, size)
    again = unfold(b"".join(folding.fold_lines(lines)), size)
    if lines[:1] and lines[0][:1] in (b" ", b"\t"):
        lines, again = lines[1:], again[1:]  # a fold with nothing before it
    if b"\r" not in data:
        assert again == lines


QP_VALUE = st.text(max_size=200).map(
    lambda s: "".join("=%02X" % b if b < 32 or b > 126 or b == 61 else chr(b) for b in s.encode())
)


@settings(max_examples=100, deadline=None)
@given(QP_VALUE, st.sampled_from(["N", "N;X=" + "y" * 90]))
def test_quoted_printable_survives_folding(value, name):
    line = (name + ";ENCODING=QUOTED-PRINTABLE:" + value).encode()
    folded = b"".join(folding.fold_lines([line, b"TEL:1"], old=True))
    assert unfold(folded) == [line, b"TEL:1"]
    assert all(len(p) <= max(75, len(name) + 28 + 4) for p in folded.split(b"\r\n"))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=80))
def test_escape_and_unescape_are_inverse(text):
    normal = text.replace("\r\n", "\n").replace("\r", "\n")
    assert linetext.unescape(linetext.escape(text)) == normal


def split_one_by_one(text, separator, quotes):
    """What the two splitters promise, octet by octet."""
    parts, here, quoted, escaped = [], b"", False, False
    for octet in (text[i : i + 1] for i in range(len(text))):
        if octet == separator and not quoted and not escaped:
            parts.append(here)
            here = b""
            continue
        here += octet
        quoted ^= quotes and octet == b'"'
        escaped = not quotes and octet == b"\\" and not escaped
    return [*parts, here]


@settings(max_examples=300, deadline=None)
@given(st.text('ab;,"\\', max_size=40).map(str.encode), st.sampled_from([b";", b","]))
def test_any_text_is_split_as_octet_by_octet(text, separator):
    assert c.split_quoted(text, separator) == split_one_by_one(text, separator, quotes=True)
    assert c.split_escaped(text, separator) == split_one_by_one(text, separator, quotes=False)


def test_a_line_made_of_separators_takes_no_time_of_its_square():
    """64 KiB of them, all within one quote or escaped: a handset's find must not stand for it."""
    quoted, escaped = b'"' + b";" * 60000, b"\\;" * 30000
    began = time.process_time()
    assert c.split_quoted(quoted, b";") == [quoted]
    assert c.split_escaped(escaped) == [escaped]
    assert c.split_quoted(b'a;"b;c";d;"', b";") == [b"a", b'"b;c"', b"d", b'"']
    assert c.split_escaped(b"a\\;b;c\\\\;d\\;") == [b"a\\;b", b"c\\\\", b"d\\;"]
    assert time.process_time() - began < 0.5
