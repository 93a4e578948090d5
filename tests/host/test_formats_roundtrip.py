"""Files in, files out, property by property; and that the comparison sees what is wrong."""

import random
import re
import shutil

import pytest
import vobject
from formats_store import Store, corpus_files, corpus_params, reimported
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from icalendar import Calendar

from drybag import contentline as c
from drybag import folding, records
from drybag_host import formats
from drybag_host.formats import inline

VERSIONS = ("as-is", "3.0", "4.0")


def exported(tmp_path, store, version="3.0", name="out"):
    out = tmp_path / name
    summary = formats.export(store, out, vcard=version)
    assert summary.warnings == []
    return out


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", corpus_params())
def test_every_file_of_the_corpus_comes_back(tmp_path, path, version):
    store = Store(path)
    out = exported(tmp_path, store, version)
    assert formats.compare_files(path, out) == []
    again = reimported(out)
    if version == "as-is":
        assert again.contents() == store.contents()
    assert set(again.contents()) == set(store.contents())
    second = exported(tmp_path, again, version, "again")
    assert formats.compare_files(out, second) == []


def test_the_whole_corpus_at_once(tmp_path):
    files = corpus_files()
    store = Store(*files)
    out = exported(tmp_path, store, "as-is")
    assert formats.compare_files(files, out) == []
    assert reimported(out).contents() == store.contents()


def lines_of(path):
    return [line for _, _, line, _ in folding.unfold([path.read_bytes()], 1 << 28)]


def is_broken_base64(line):
    """One card of the corpus has half a picture; vobject gives up on its whole file."""
    start = inline.value_start(line)
    return start >= 0 and inline.decode_base64(line[start:]) is None


@pytest.mark.parametrize("path", [p for p in corpus_params() if str(p.id).endswith(".vcf")])
def test_vobject_reads_what_we_write(tmp_path, path):
    """3.0 is what most programs read. vobject refuses one of the originals, none of these."""
    out = exported(tmp_path, Store(path))
    lines = [line for line in lines_of(out / "contacts.vcf") if not is_broken_base64(line)]
    text = b"".join(folding.fold_lines(lines)).decode()
    cards = list(vobject.readComponents(text))
    ours = [d for d in formats.read_file(path).records if d.kind == 1]
    assert len(cards) == len(ours)
    for card, draft in zip(cards, ours, strict=True):
        assert card.version.value == "3.0"
        shown = " ".join(card.fn.value.split())
        assert shown and records.title(1, draft.body).startswith(shown)  # it ends FN at a comma
        phones = list(records.properties(draft.body, (b"TEL",)))
        assert len(card.contents.get("tel", [])) == len(phones)


@pytest.mark.parametrize("path", [p for p in corpus_params() if str(p.id).endswith(".ics")])
def test_icalendar_sees_the_same_before_and_after(tmp_path, path):
    out = exported(tmp_path, Store(path))
    after = []
    for file in sorted(out.rglob("*.ics")):
        after += Calendar.from_ical(file.read_bytes()).walk()
    before = [
        part for cal in Calendar.from_ical(path.read_bytes(), multiple=True) for part in cal.walk()
    ]
    kinds = ("VEVENT", "VTODO", "VJOURNAL", "VTIMEZONE", "VALARM", "VFREEBUSY")
    for kind in kinds:
        want = sorted({p.to_ical() for p in before if p.name == kind})
        assert sorted({p.to_ical() for p in after if p.name == kind}) == want


# --- the comparison itself -------------------------------------------------------------------


def changed_values(line, number):
    """Ways a property could come back wrong."""
    if number % 3 == 0:
        return []
    if number % 3 == 1:
        return [line[:-1] + (b"x" if line[-1:] != b"x" else b"y")]
    head, colon, value = line.partition(b":")
    return [head + b";X-NEW=1" + colon + value]


@pytest.mark.parametrize("version", ["as-is", "3.0"])
@pytest.mark.parametrize("path", corpus_params())
def test_any_property_lost_or_changed_is_seen(tmp_path, path, version):
    """Takes properties of the export away, changes them, adds parameters: each is named."""
    out = exported(tmp_path, Store(path), version)
    file = next(f for f in sorted(out.rglob("*")) if f.suffix == path.suffix)
    lines = lines_of(file)
    places = [i for i, line in enumerate(lines) if c.component(line) is None and b":" in line]
    places = [i for i in places if not re.match(rb"UID(;VALUE=text)?:h[0-9a-f]{16}$", lines[i])]
    if path.suffix == ".vcf":
        places = [i for i in places if not lines[i].startswith((b"VERSION", b"FN:", b"N:"))]
    for number, i in enumerate(random.Random(7).sample(places, min(9, len(places)))):
        wrong = lines[:i] + changed_values(lines[i], number) + lines[i + 1 :]
        file.write_bytes(b"".join(folding.fold_lines(wrong)))
        found = formats.compare_files(path, out)
        assert found, "not seen: %r" % lines[i]
    file.write_bytes(b"".join(folding.fold_lines(lines)))
    assert formats.compare_files(path, out) == []


def test_differences_are_named_by_property(tmp_path):
    def write(name, *lines):
        text = b"\r\n".join([b"BEGIN:VCARD", b"VERSION:3.0", *lines, b"END:VCARD", b""])
        (tmp_path / name).write_bytes(text)
        return tmp_path / name

    a = write("a.vcf", b"UID:1", b"FN:Ann", b"TEL:1", b"TEL:2", b"NOTE:x")
    b = write("b.vcf", b"UID:1", b"FN:Ann", b"TEL:1", b"NOTE:y", b"URL:z")
    found = [(d.what, d.where, d.detail) for d in formats.compare_files(a, b)]
    assert found == [
        ("missing", "VCARD Ann", "TEL:2"),
        ("changed", "VCARD Ann", "NOTE:x into NOTE:y"),
        ("added", "VCARD Ann", "URL:z"),
    ]
    b = write("b.vcf", b"UID:1", b"FN:Ann", b"TEL:2", b"TEL:1", b"NOTE:x")
    assert [d.what for d in formats.compare_files(a, b)] == ["order"]
    b = write("b.vcf", b"FN:Bob")
    assert [d.what for d in formats.compare_files(a, b)] == ["missing", "added"]


def test_files_put_together_with_their_marks(tmp_path):
    card = b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:%s\r\nEND:VCARD\r\n"
    mark = b"\xef\xbb\xbf"
    path = tmp_path / "in.vcf"
    path.write_bytes(mark + card % b"A" + mark + card % b"B" + mark)
    assert formats.compare_files(path, exported(tmp_path, Store(path))) == []
    (tmp_path / "out" / "contacts.vcf").write_bytes(card % b"A")
    assert [d.what for d in formats.compare_files(path, tmp_path / "out")] == ["missing"]


@pytest.mark.parametrize("version", VERSIONS)
def test_latin1_goes_out_as_utf8_unless_as_is(tmp_path, version):
    event = "BEGIN:VEVENT\nUID:1\nSUMMARY:Café\nEND:VEVENT\n"
    event = "BEGIN:VCALENDAR\nPRODID:x\n" + event + "END:VCALENDAR\n"
    card = "BEGIN:VCARD\nVERSION:3.0\nFN:Zoë\nEND:VCARD\n"
    path = tmp_path / "in.ics"
    path.write_bytes((event + card).encode("latin-1"))
    out = exported(tmp_path, Store(path), version)
    assert formats.compare_files(path, out) == []
    text = b"".join(p.read_bytes() for p in (out / "contacts.vcf", out / "calendars/calendar.ics"))
    for word in ("Café", "Zoë"):
        assert word.encode("latin-1" if version == "as-is" else "utf-8") in text


def test_an_event_in_another_calendar_is_a_difference(tmp_path):
    text = "BEGIN:VCALENDAR\nPRODID:%s\nBEGIN:VEVENT\nUID:1\nEND:VEVENT\nEND:VCALENDAR\n"
    for name in "ab":
        (tmp_path / (name + ".ics")).write_text(text % name)
    details = [d.detail for d in formats.compare_files(tmp_path / "a.ics", tmp_path / "b.ics")]
    assert "its calendar" in details


# --- fuzz ------------------------------------------------------------------------------------

NAMES = st.sampled_from(
    ["FN", "N", "TEL;HOME", "EMAIL;TYPE=pref,work", "item1.URL", "item1.X-ABLabel", "NOTE", "ADR",
     "ORG", "X-FOO;A=\"b;c:d\"", "CATEGORIES", "BDAY;VALUE=date", "GEO", "UID", "TZ", "IMPP",
     "KEY"]
)  # fmt: skip
VALUES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=120)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    cards=st.lists(st.lists(st.tuples(NAMES, VALUES), max_size=8), min_size=1, max_size=4),
    version=st.sampled_from(["2.1", "3.0", "4.0"]),
)
def test_any_card_comes_back_as_it_is_and_says_the_same_converted(tmp_path, cards, version):
    path = tmp_path / "in.vcf"
    lines = []
    for card in cards:
        lines += ["BEGIN:VCARD", "VERSION:" + version, "X-ID:%d" % len(lines)]
        lines += [name + ":" + value for name, value in card] + ["END:VCARD"]
    path.write_bytes("\r\n".join([*lines, ""]).encode())
    result = formats.read_file(path)
    assert len(result.records) == len(cards)
    store = Store().add(result.records)
    for wanted in VERSIONS:
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        formats.export(store, out, vcard=wanted)
        assert formats.compare_files(path, out) == []
        if wanted == "as-is":
            assert reimported(out).contents() == store.contents()


def mutated(data):
    """A small corpus file with a few bytes cut, dropped, flipped or doubled."""
    files = [p for p in corpus_files() if p.stat().st_size < 10000]
    path = data.draw(st.sampled_from(files))
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(whole)))
        how = data.draw(st.sampled_from(["cut", "drop", "flip", "double"]))
        if how == "cut":
            del whole[max(at, 200) :]
        elif how == "drop":
            del whole[at : at + data.draw(st.integers(1, 60))]
        elif how == "flip" and at < len(whole):
            whole[at] ^= 1 << data.draw(st.integers(0, 7))
        else:
            whole[at:at] = whole[at : at + data.draw(st.integers(1, 400))]
    return bytes(whole), path.suffix


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_was_read_is_exported_and_read_again(tmp_path, data):
    """Damaged files: what of them became records comes back as the same records."""
    content, suffix = mutated(data)
    path = tmp_path / ("in" + suffix)
    path.write_bytes(content)
    result = formats.read_file(path)
    assume(not any("UID belongs to another" in p.message for p in result.problems))
    store = Store().add(result.records)
    for version in ("as-is", "3.0"):
        out = tmp_path / "out"
        shutil.rmtree(out, ignore_errors=True)
        formats.export(store, out, vcard=version)
        if version == "as-is":
            assert reimported(out).contents() == store.contents()
