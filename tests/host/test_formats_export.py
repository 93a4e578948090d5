"""Exported files: names, tables, notes, the page; what is damaged and what is in the way."""

import base64
import csv
import datetime as dt
import errno
import hashlib
import html.parser
import json
import os
import re

import pytest
from formats_store import Store
from icalendar import Calendar

from drybag import records
from drybag_host import formats
from drybag_host.errors import HostDiskFull, HostFile, LinkLost, Usage
from drybag_host.formats import tables
from drybag_host.formats.names import safe_name
from drybag_host.formats.pages import link

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
TODAY = dt.date(2026, 3, 2)
EVIL = "<script>alert('x')</script>"


def sha(data):
    return hashlib.sha256(data).digest()


def ref(data):
    return b"drybag:blob/" + sha(data).hex().encode()


@pytest.fixture
def store():
    s = Store()
    contact = records.new_contact(b"c1", "Ána " + EVIL, ["+49 171 1"], ["a@b.de"], "=cmd()")
    contact += b"PHOTO;ENCODING=b;TYPE=PNG:" + ref(PNG) + b"\nURL:javascript:alert(1)\n"
    s.put(1, b"c1", contact, {sha(PNG): PNG})
    s.put(1, b"c2", b"VERSION:2.1\nN;ENCODING=QUOTED-PRINTABLE:=C3=91;A\nTEL;HOME:1\n")
    s.put(
        2, b"e1", records.new_event(b"e1", "Dentist", b"20260303T0930", b"20260303T1000", "Here")
    )
    zoned = b"UID:e2\nSUMMARY:Yoga\nDTSTART;TZID=Europe/Berlin:20260105T180000\nDURATION:PT1H\n"
    s.put(2, b"e2", zoned + b"RRULE:FREQ=WEEKLY;BYDAY=MO\n")
    s.put(2, b"e3", b"UID:e3\nSUMMARY:Tick\nDTSTART:20260101T000000Z\nRRULE:FREQ=SECONDLY\n")
    s.put(3, b"t1", records.new_todo(b"t1", "-1+1", b"20260401"))
    s.put(4, b"n1", records.new_note(b"n1", "../../etc/passwd\nLine; two, three\n" + EVIL))
    photo = b"FN:../evil.exe\nMEDIATYPE:image/png\nIMAGE:" + ref(PNG) + b"\n"
    s.put(5, b"p1", photo, {sha(PNG): PNG})
    return s


def export(store, out, **options):
    return formats.export(store, out, today=TODAY, **options)


def test_what_is_written(store, tmp_path):
    summary = export(store, tmp_path / "out")
    assert summary.files == [
        "contacts.csv", "contacts.vcf", "events.csv", "events.ics", "index.html", "notes.ics",
        "notes/etc passwd.md", "photos/contacts/Ána script alert('x') script.png",
        "photos/evil.exe.png", "todos.csv",
    ]  # fmt: skip
    assert summary.counts == {"contact": 2, "event": 3, "todo": 1, "note": 1, "photo": 1}
    assert summary.warnings == [] and summary.outdir == str(tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    assert (tmp_path / "out/photos/evil.exe.png").read_bytes() == PNG
    json.dumps(summary.counts)


def test_events_without_a_calendar_get_the_zones_they_name(store, tmp_path):
    export(store, tmp_path / "out")
    calendar = Calendar.from_ical((tmp_path / "out/events.ics").read_bytes())
    assert [str(z["TZID"]) for z in calendar.walk("VTIMEZONE")] == ["Europe/Berlin"]
    assert calendar["VERSION"] == "2.0" and "Drybag" in calendar["PRODID"]
    assert len(calendar.walk("VEVENT")) == 3 and len(calendar.walk("VTODO")) == 1
    notes = Calendar.from_ical((tmp_path / "out/notes.ics").read_bytes())
    assert [str(j["DESCRIPTION"]).split("\n")[1] for j in notes.walk("VJOURNAL")] == [
        "Line; two, three"
    ]
    again = formats.read_file(tmp_path / "out/events.ics")
    assert {d.kind for d in again.records} == {2, 3} and {d.parent for d in again.records} == {0}


def read_csv(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8-sig").splitlines(True)))


def test_tables(store, tmp_path):
    export(store, tmp_path / "out")
    first, second = read_csv(tmp_path / "out/contacts.csv")
    assert first["name"] == "Ána " + EVIL and first["organization"] == "'=cmd()"
    assert first["phones"] == "'+49 171 1 (cell)" and second["name"] == "A Ñ"
    dentist, yoga, _ = read_csv(tmp_path / "out/events.csv")
    assert dentist["start"] == "2026-03-03 09:30" and dentist["location"] == "Here"
    assert yoga["time_zone"] == "Europe/Berlin" and yoga["end"] == "2026-01-05 19:00"
    assert yoga["repeats"] == "every week on Mon"
    (todo,) = read_csv(tmp_path / "out/todos.csv")
    assert todo["summary"] == "'-1+1" and todo["due"] == "2026-04-01" and todo["done"] == "no"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", " =1", "\r=1", "\n=1"])
def test_no_cell_is_a_formula(text):
    assert tables.cell(text).startswith("'")


@pytest.mark.parametrize("text", ["", "a=1", "1-2", "'=x"])
def test_plain_cells_stay(text):
    assert tables.cell(text) == text


def test_notes_are_markdown(store, tmp_path):
    export(store, tmp_path / "out")
    text = (tmp_path / "out/notes/etc passwd.md").read_text()
    assert text == "# ../../etc/passwd\n\nLine; two, three\n" + EVIL + "\n"


class Page(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.sources = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.links.append(attrs.get("href", ""))
        self.sources.append(attrs.get("src", ""))
        assert not any(name.startswith("on") for name in attrs)


def test_the_page_needs_nothing_and_runs_nothing_foreign(store, tmp_path):
    export(store, tmp_path / "out")
    text = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags.count("script") == 1 and "link" not in page.tags
    assert EVIL not in text and "&lt;script&gt;" in text
    assert not any(link.startswith("javascript:") for link in page.links)
    assert not any(re.match(r"(https?:)?//", source) for source in page.sources)
    assert sum(source.startswith("data:image/png;base64,") for source in page.sources) == 2
    script = re.search(r"<script>(.*)</script>", text, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "script-src 'sha256-%s'" % digest in text


def test_the_page_says_what_comes_next(store, tmp_path):
    export(store, tmp_path / "out")
    text = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    coming = text[text.index('id="upcoming"') : text.index('id="contacts"')]
    assert coming.count("Yoga</span>") + coming.count("Yoga<small>") == 5
    assert "Mon 2 Mar" in coming and "Tue 3 Mar" in coming and "Dentist" in coming
    assert "Tick" not in coming and "Tick" in text


def test_large_pictures_are_links(store, tmp_path):
    big = b"\x89PNG\r\n\x1a\n" + bytes(2 << 20)
    body = b"FN:big #1.png\nMEDIATYPE:image/png\nIMAGE:" + ref(big) + b"\n"
    store.put(5, b"p2", body, {sha(big): big})
    export(store, tmp_path / "out")
    text = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    assert len(text) < 200_000 and 'src="photos/big%20%231.png"' in text


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("http://a/b", "http://a/b"), ("www.a.b", "https://www.a.b"), ("javascript:alert(1)", ""),
        (" JaVaScript:alert(1)", ""), ("data:text/html,x", ""), ("http://[", ""), ("x", ""),
    ],
)  # fmt: skip
def test_links(text, safe):
    assert link(text) == safe


# --- names and places ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("../../a", "a.md"), ("a/b\\c:d", "a b c d.md"), ("", "note.md"), ("...", "note.md"),
        ("CON", "note CON.md"), ("x.md", "x.md"), ("é" * 200, "é" * 60 + ".md"),
        ("a\0b\nc", "a b c.md"), ("~", "note.md"),
        (".hidden", "hidden.md"), ("-rf", "rf.md"), ("a\u202egpj.exe", "a gpj.exe.md"),
    ],
)  # fmt: skip
def test_names_are_safe(text, name):
    assert safe_name(text, ".md", set(), "note") == name


def test_names_differ_by_more_than_case():
    used = set()
    names = [safe_name(n, ".md", used) for n in ("Ä", "ä", "A\u0308", "Ä")]
    assert names == ["Ä.md", "ä 2.md", "Ä 3.md", "Ä 4.md"]


def test_nothing_is_overwritten_without_a_word(store, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    export(store, out)
    (out / "mine.txt").write_text("keep")
    (out / "contacts.vcf").write_text("old")
    with pytest.raises(HostFile, match="not empty") as e:
        export(store, out)
    assert "--force" in e.value.hint
    assert (out / "contacts.vcf").read_text() == "old"
    export(store, out, force=True)
    assert (out / "mine.txt").read_text() == "keep"
    assert (out / "contacts.vcf").read_bytes().startswith(b"BEGIN:VCARD")
    with pytest.raises(HostFile):
        export(store, out / "contacts.vcf")
    with pytest.raises(Usage):
        export(store, tmp_path / "new", vcard="5.0")


def test_a_folder_that_cannot_be_made(store, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HostFile):
        export(store, tmp_path / "file" / "out")


def test_into_a_folder_whose_parent_takes_nothing(store, tmp_path, monkeypatch):
    """A mounted stick: nothing can be made beside it, nor renamed into it."""
    stick = tmp_path / "stick"
    stick.mkdir()
    real = os.mkdir

    def mkdir(path, *mode):
        if os.path.dirname(path) == str(tmp_path) and os.path.basename(path) != "stick":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *mode)

    monkeypatch.setattr(os, "mkdir", mkdir)
    export(store, stick)
    assert {"contacts.vcf", "index.html"} <= set(os.listdir(stick))
    assert not any(".part" in name for name in os.listdir(stick))


def test_an_export_that_fails_leaves_nothing(store, tmp_path):
    class Breaks(Store):
        def read_blob(self, sha):
            raise OSError(28, "No space left on device")

    store.__class__ = Breaks
    with pytest.raises(HostDiskFull):
        export(store, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_lost_picture_costs_only_itself(store, tmp_path):
    store.blobs.clear()
    summary = export(store, tmp_path / "out")
    assert len(summary.warnings) >= 2 and all("left out" in w for w in summary.warnings)
    text = (tmp_path / "out/contacts.vcf").read_bytes()
    unfolded = text.replace(b"\r\n ", b"")
    assert b"X-DRYBAG-LOST:PHOTO" in unfolded and ref(PNG) in unfolded and b"+49 171 1" in text
    assert b"\nPHOTO" not in text


def test_a_broken_cable_is_no_lost_picture(store, tmp_path):
    class Breaks(Store):
        def read_blob(self, sha):
            raise LinkLost("gone")

    store.__class__ = Breaks
    with pytest.raises(LinkLost):
        export(store, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_source(tmp_path):
    summary = export(Store(), tmp_path / "out")
    assert summary.files == ["index.html"]
    assert "no records" in (tmp_path / "out/index.html").read_text()


def test_deleted_records_stay_out(store, tmp_path):
    for record in store.by_key.values():
        record.deleted = True
    assert export(store, tmp_path / "out").files == ["index.html"]


@pytest.mark.parametrize("there", [False, True])
def test_what_is_reported_is_on_the_disk(there, tmp_path, monkeypatch):
    """Every file is synced under the name it was written as, every folder after the renames."""
    synced = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_ino), real(fd)) and None
    )
    out = tmp_path / "out"
    if there:
        out.mkdir()
    export([], out)
    wanted = [path.stat().st_ino for path in (*out.rglob("*"), out)]
    assert len(wanted) > 1 and set(wanted) <= set(synced)
    assert there or tmp_path.stat().st_ino in synced
