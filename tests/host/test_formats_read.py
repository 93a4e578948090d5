"""Reading files: versions, encodings, calendars, pictures, and everything that is wrong."""

import base64
import hashlib
import random
import time

import pytest
from formats_store import corpus_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drybag import records
from drybag.layout import MAX_BLOBS, MAX_BODY
from drybag_host import formats
from drybag_host.errors import HostFile

JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4 + b"\xff\xd9"
PNG = b"\x89PNG\r\n\x1a\n" + b"x" * 100


def card(*lines, version="3.0"):
    return b"\r\n".join(
        [b"BEGIN:VCARD", b"VERSION:" + version.encode(), *lines, b"END:VCARD", b""]
    )


def read(tmp_path, data, name="file.vcf"):
    path = tmp_path / name
    path.write_bytes(data)
    return formats.read_file(path)


def bodies(result):
    return [d.body for d in result.records]


@pytest.mark.parametrize("version", ["2.1", "3.0", "4.0"])
def test_cards_of_every_version(tmp_path, version):
    data = card(b"FN:A", b"TEL;HOME:1", version=version) * 1 + card(b"FN:B", version=version)
    result = read(tmp_path, data)
    v = b"VERSION:" + version.encode()
    assert bodies(result) == [v + b"\nFN:A\nTEL;HOME:1\n", v + b"\nFN:B\n"]
    assert [d.source[1] for d in result.records] == [1, 6]
    assert not result.problems


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings_of_the_file(tmp_path, encoding):
    text = card("FN:Ünïcödé 日本 😀".encode()).decode()
    result = read(tmp_path, text.encode(encoding))
    assert records.title(1, result.records[0].body) == "Ünïcödé 日本 😀"
    assert not result.problems and not result.notices


def test_latin1_is_kept_and_read(tmp_path):
    body = read(tmp_path, card("FN:Müller".encode("latin-1"), version="2.1")).records[0].body
    assert b"M\xfcller" in body
    assert records.title(1, body) == "Müller"


def test_a_mark_between_files_put_together(tmp_path):
    data = b"\xef\xbb\xbf" + card(b"FN:A") + b"\xef\xbb\xbf" + card(b"FN:B")
    result = read(tmp_path, data)
    assert len(result.records) == 2 and not result.problems


def test_the_content_counts_not_the_name(tmp_path):
    assert read(tmp_path, JPEG, "card.vcf").records[0].kind == 5
    assert read(tmp_path, card(b"FN:A"), "picture.jpg").records[0].kind == 1
    ics = b"BEGIN:VCALENDAR\nVERSION:2.0\nBEGIN:VTODO\nUID:1\nEND:VTODO\nEND:VCALENDAR\n"
    assert [d.kind for d in read(tmp_path, ics, "x.txt").records] == [6, 3]


def test_pictures_become_photo_records(tmp_path):
    for name, data, media in (("a b.jpg", JPEG, b"jpeg"), ("c.png", PNG, b"png")):
        (draft,) = read(tmp_path, data, name).records
        sha = hashlib.sha256(data).digest()
        assert draft.blobs == [(sha, data)]
        assert b"MEDIATYPE:image/" + media in draft.body
        assert records.title(5, draft.body) == name
        assert records.blob_refs(draft.body) == [sha]


def test_a_jpeg_tells_when_it_was_taken(tmp_path):
    def ifd(*entries):
        out = len(entries).to_bytes(2, "little")
        for tag, kind, count, value in entries:
            out += tag.to_bytes(2, "little") + kind.to_bytes(2, "little")
            out += count.to_bytes(4, "little") + value.to_bytes(4, "little")
        return out + b"\0\0\0\0"

    tiff = (
        b"II*\0" + (8).to_bytes(4, "little") + ifd((0x8769, 4, 1, 26)) + ifd((0x9003, 2, 20, 44))
    )
    exif = b"Exif\0\0" + tiff + b"2021:07:04 18:30:05\0"
    data = b"\xff\xd8\xff\xe1\x00\x60" + exif + b"\xff\xd9"
    assert b"CREATED:20210704T183005\n" in read(tmp_path, data, "x.jpg").records[0].body


def test_a_picture_cut_short_is_kept_with_a_word(tmp_path):
    result = read(tmp_path, JPEG[:-2], "x.jpg")
    assert result.records[0].blobs[0][1] == JPEG[:-2]
    assert "ends early" in result.notices[0].message


# --- blobs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "fold"),
    [
        (b"PHOTO;ENCODING=b;TYPE=JPEG:", b"\r\n "),
        (b"PHOTO;ENCODING=BASE64;JPEG:", b"\r\n    "),
        (b"PHOTO;JPEG;BASE64:", b"\r\n"),
        (b"PHOTO:data:image/jpeg;base64,", b"\r\n "),
        (b"LOGO;VALUE=uri:data:image/jpeg\\;base64\\,", b"\r\n\t"),
    ],
)
def test_base64_becomes_a_blob_whatever_its_shape(tmp_path, head, fold):
    text = base64.b64encode(JPEG)
    folded = fold.join([head] + [text[i : i + 60] for i in range(0, len(text), 60)])
    (draft,) = read(tmp_path, card(b"FN:A", folded, b"", b"TEL:1", version="2.1")).records
    sha = hashlib.sha256(JPEG).digest()
    assert draft.body.split(b"\n")[2] == head + b"drybag:blob/" + sha.hex().encode()
    assert draft.blobs == [(sha, JPEG)]
    assert draft.body.endswith(b"\nTEL:1\n")


def test_what_stays_inline(tmp_path):
    short = base64.b64encode(b"x" * 100)
    odd = base64.b64encode(JPEG)[:-1]
    literal = b"NOTE:drybag:blob/" + b"0" * 64
    for line in (b"PHOTO;ENCODING=b:" + short, b"PHOTO;ENCODING=b:" + odd, literal):
        (draft,) = read(tmp_path, card(line)).records
        assert line in draft.body and draft.blobs == []


def test_more_pictures_than_a_record_may_have_stay_inline(tmp_path):
    lines = [
        b"PHOTO;ENCODING=b:" + base64.b64encode(bytes([i]) * 400) for i in range(MAX_BLOBS + 3)
    ]
    (draft,) = read(tmp_path, card(*lines)).records
    assert len(draft.blobs) == MAX_BLOBS
    assert draft.body.count(b"drybag:blob/") == MAX_BLOBS


# --- uids and calendars ----------------------------------------------------------------------


def test_the_same_file_gives_the_same_records(tmp_path):
    data = card(b"FN:A") + card(b"FN:B", b"UID:" + b"u" * 500)
    first, second = read(tmp_path, data, "a.vcf"), read(tmp_path, data, "b.vcf")
    assert [(d.uid, d.body) for d in first.records] == [(d.uid, d.body) for d in second.records]
    assert all(len(d.uid) <= 200 for d in first.records)


def test_one_uid_for_two_cards_is_told_and_both_are_kept(tmp_path):
    data = card(b"UID:1", b"FN:A") + card(b"UID:1", b"FN:B") + card(b"UID:1", b"FN:A")
    result = read(tmp_path, data)
    assert len({d.uid for d in result.records}) == 2
    assert [p.line for p in result.problems] == [6] and result.problems[0].kept
    assert [n.line for n in result.notices] == [11]
    assert [d.uid for d in read(tmp_path, data).records] == [d.uid for d in result.records]


def test_a_calendar_keeps_its_zones_and_other_components(tmp_path):
    inner = b"BEGIN:STANDARD\nDTSTART:19700101\nEND:STANDARD"
    zone = b"BEGIN:VTIMEZONE\nTZID:Mine\n" + inner + b"\nEND:VTIMEZONE"
    busy = b"BEGIN:VFREEBUSY\nUID:f\nEND:VFREEBUSY"
    event = b"BEGIN:VEVENT\nUID:e\nBEGIN:VALARM\nACTION:DISPLAY\nEND:VALARM\nEND:VEVENT"
    over = b"BEGIN:VEVENT\nUID:e\nRECURRENCE-ID;TZID=Mine:20250101T100000\nEND:VEVENT"
    data = b"\n".join(
        [b"BEGIN:VCALENDAR", b"PRODID:x", zone, event, busy, over, b"X-A:1", b"END:VCALENDAR"]
    )
    calendar, first, second = read(tmp_path, data).records
    assert calendar.body == b"PRODID:x\n" + zone + b"\n" + busy + b"\nX-A:1\n"
    assert first.body == b"UID:e\nBEGIN:VALARM\nACTION:DISPLAY\nEND:VALARM\n"
    assert second.uid == b"e;RECURRENCE-ID=20250101T100000"
    assert first.parent == second.parent != 0 and calendar.parent == 0


def test_a_nested_agent_card_stays_inside(tmp_path):
    data = card(
        b"FN:A", b"AGENT:", b"BEGIN:VCARD", b"FN:Agent", b"END:VCARD", b"TEL:1", version="2.1"
    )
    (draft,) = read(tmp_path, data).records
    assert draft.body == b"VERSION:2.1\nFN:A\nAGENT:\nBEGIN:VCARD\nFN:Agent\nEND:VCARD\nTEL:1\n"


# --- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "empty"),
        (b"\r\n\r\n \n", "empty"),
        (bytes(range(256)) * 50, "no vCard"),
        (b"Dear all,\nplease find attached\n", "no vCard"),
        (b"BEGIN:VCARD\nVERSION:3.0\nEND:VCARD\n", "nothing in it"),
        (b"BEGIN:VTIMEZONE\nTZID:x\nEND:VTIMEZONE\n", "outside a calendar"),
        (b"BEGIN:VCARD\nFN:A\n", "end is missing"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_bytes(tmp_path, data, word):
    result = read(tmp_path, data)
    assert result.records == []
    (problem,) = result.problems
    assert word in problem.message and problem.file.endswith("file.vcf")
    assert problem.raw == (data if word != "empty" else b"")


def test_a_card_cut_short_in_the_middle_is_named_and_the_rest_goes_in(tmp_path):
    cut = b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Cut\r\n"
    result = read(tmp_path, card(b"FN:A") + cut + card(b"FN:B") + b"stray\r\nlines\r\n")
    assert [records.title(1, b) for b in bodies(result)] == ["A", "B"]
    assert [(p.line, p.raw) for p in result.problems] == [(5, cut), (12, b"stray\r\nlines\r\n")]


def test_a_cut_calendar_keeps_what_was_complete(tmp_path):
    data = b"BEGIN:VCALENDAR\nPRODID:x\nBEGIN:VEVENT\nUID:1\nEND:VEVENT\nBEGIN:VEVENT\nUID:2\n"
    result = read(tmp_path, data)
    assert [d.uid for d in result.records if d.kind == 2] == [b"1"]
    assert [p.line for p in result.problems] == [1, 6]
    assert result.problems[1].raw == b"BEGIN:VEVENT\nUID:2\n"
    assert result.problems[0].kept


@pytest.mark.parametrize(
    "inner",
    [
        b"BEGIN:VALARM\nEND:VEVENT",
        b"END:VALARM\nEND:VEVENT",
        b"BEGIN:A\nBEGIN:B\nEND:A\nEND:VEVENT",
    ],
)
def test_components_that_do_not_match_are_a_problem_of_their_own_event(tmp_path, inner):
    bad = b"BEGIN:VEVENT\nUID:bad\n" + inner
    data = b"BEGIN:VCALENDAR\n" + bad + b"\nBEGIN:VEVENT\nUID:good\nEND:VEVENT\nEND:VCALENDAR\n"
    result = read(tmp_path, data)
    assert [d.uid for d in result.records] == [b"good"]
    assert [p.line for p in result.problems] == [2] and result.problems[0].raw.strip() == bad


@pytest.mark.parametrize("end", [True, False])
def test_a_thousand_levels_are_one_problem(tmp_path, end):
    deep = b"BEGIN:X-A\n" * 1000 + (b"END:X-A\n" * 1000 + b"END:VEVENT\n" if end else b"")
    data = b"BEGIN:VCALENDAR\nBEGIN:VEVENT\nUID:deep\n" + deep
    data += b"BEGIN:VEVENT\nUID:good\nEND:VEVENT\nEND:VCALENDAR\n"
    result = read(tmp_path, data)
    assert [d.uid for d in result.records] == [b"good"]
    assert [p.line for p in result.problems] == [2]
    result = read(tmp_path, b"BEGIN:VEVENT\n" * 1000)
    assert result.records == [] and len(result.problems) == 1
    result = read(
        tmp_path, b"BEGIN:VCARD\nAGENT:\n" * 1000 + b"END:VCARD\n" * 1000 + card(b"FN:A")
    )
    assert len(result.records) == 1 and len(result.problems) == 1


def test_a_ten_megabyte_property(tmp_path):
    began = time.monotonic()
    note = b"NOTE:" + b"x" * (10 << 20)
    result = read(tmp_path, card(note) + card(b"FN:A"))
    assert [records.title(1, b) for b in bodies(result)] == ["A"]
    assert note in result.problems[0].raw and str(MAX_BODY) in result.problems[0].message
    data = random.Random(1).randbytes(10 << 20)
    photo = b"PHOTO;ENCODING=b:" + base64.b64encode(data)
    (draft,) = read(tmp_path, card(photo)).records
    assert draft.blobs[0][1] == data and len(draft.body) < 200
    result = read(tmp_path, b"BEGIN:VCARD\n" + b"x" * (10 << 20) + b"\nEND:VCARD\n")
    assert len(result.problems) == 1
    assert time.monotonic() - began < 10


def test_a_calendar_larger_than_a_record_loses_only_what_does_not_fit_and_says_so(tmp_path):
    zone = b"BEGIN:VTIMEZONE\nTZID:%d\nX:" + b"z" * 30000 + b"\nEND:VTIMEZONE\n"
    zones = b"".join(zone.replace(b"%d", b"%d" % i) for i in range(4))
    event = b"BEGIN:VEVENT\nUID:1\nEND:VEVENT\n"
    result = read(tmp_path, b"BEGIN:VCALENDAR\nPRODID:x\n" + zones + event + b"END:VCALENDAR\n")
    assert [d.kind for d in result.records] == [6, 2]
    assert sum(p.raw.count(b"BEGIN:VTIMEZONE") for p in result.problems) == 2


def test_odd_lines_are_kept_and_mentioned(tmp_path):
    (draft,) = (result := read(tmp_path, card(b"FN:A", b"ORGANIZER;CN=x", b";;"))).records
    assert draft.body == b"VERSION:3.0\nFN:A\nORGANIZER;CN=x\n;;\n"
    assert "2 odd lines" in result.notices[0].message


@pytest.mark.parametrize("make", ["missing", "folder"])
def test_a_file_that_cannot_be_opened(tmp_path, make):
    with pytest.raises(HostFile):
        formats.read_file(tmp_path / "missing" if make == "missing" else tmp_path)


def test_keep_as_note_is_verbatim_and_repeats_exactly(tmp_path):
    text = b"BEGIN:VCARD\r\nFN:M\xc3\xbcller, a;b\\\r\n"
    odd = b"BEGIN:VCARD\nFN:\xff\x00" + bytes(range(256)) * 4
    for raw in (text, odd):
        (problem,) = read(tmp_path, raw).problems
        note = formats.keep_as_note(problem)
        assert note == formats.keep_as_note(problem) and note.kind == 4
        if note.blobs:
            assert note.blobs[0][1] == raw
        else:
            assert (
                records.value_of(note.body, b"DESCRIPTION").encode()
                == raw.replace(b"\r\n", b"\n").strip()
            )
        assert "file.vcf:1" in records.title(4, note.body)
    assert (
        len(formats.keep_as_note(formats.Problem("f", 1, "m", b"x" * (1 << 20))).body) < MAX_BODY
    )


# --- fuzz ------------------------------------------------------------------------------------


def check(result, size):
    """What holds for any input."""
    keys = [(d.kind, d.uid) for d in result.records]
    assert len(keys) == len(set(keys))
    for d in result.records:
        assert 0 < len(d.uid) <= 200 and len(d.body) <= MAX_BODY and d.body.endswith(b"\n")
        d.uid.decode()
        assert {hashlib.sha256(b).digest() for _, b in d.blobs} == {s for s, _ in d.blobs}
        assert {s for s, _ in d.blobs} <= set(records.blob_refs(d.body)) and b"\n\n" not in d.body
    assert all(p.message and len(p.raw) <= max(size, 1) * 3 for p in result.problems)


SLOW = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PIECES = st.sampled_from(
    [b"BEGIN:VCARD\r\n", b"END:VCARD\r\n", b"BEGIN:VCALENDAR\n", b"END:VCALENDAR\n", b"UID:1\n",
     b"BEGIN:VEVENT\n", b"END:VEVENT\n", b"BEGIN:VALARM\r", b"END:VALARM\n", b"AGENT:\n", b" ",
     b"N;ENCODING=QUOTED-PRINTABLE:=C3=\n", b"PHOTO;BASE64:" + b"QUFB" * 200 + b"\n", b"=\n",
     b"VERSION:2.1\n", b"X\n", b":", b"END:", b"\xef\xbb\xbf", b"begin:vcard\n", b"\n", b"\x00",
     b"TZID;A=\"b:c\n"]
)  # fmt: skip


@SLOW
@given(data=st.one_of(st.binary(max_size=2000), st.lists(PIECES, max_size=40).map(b"".join)))
def test_any_bytes_give_records_or_problems(tmp_path, data):
    began = time.monotonic()
    check(read(tmp_path, data), len(data))
    assert time.monotonic() - began < 2


@SLOW
@given(data=st.data())
def test_mutated_corpus_files_give_records_or_problems(tmp_path, data):
    path = data.draw(st.sampled_from([p for p in corpus_files() if p.stat().st_size < 20000]))
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(whole)))
        how = data.draw(st.sampled_from(["cut", "drop", "flip", "insert", "double"]))
        if how == "cut":
            del whole[at:]
        elif how == "drop":
            del whole[at : at + data.draw(st.integers(1, 300))]
        elif how == "flip" and at < len(whole):
            whole[at] ^= 1 << data.draw(st.integers(0, 7))
        elif how == "insert":
            whole[at:at] = data.draw(st.one_of(PIECES, st.binary(max_size=20)))
        else:
            whole[at:at] = whole[at : at + 500]
    began = time.monotonic()
    check(read(tmp_path, bytes(whole)), len(whole))
    assert time.monotonic() - began < 2
