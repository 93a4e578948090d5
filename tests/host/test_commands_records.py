"""import, show, find, delete, restore, export: through the command line, on a real journal.

The serial line is left out here (journal_link.py); test_commands_board.py has it.
"""

import json
import os
from pathlib import Path

import pytest
from backup_steps import pull
from journal_link import Handset, Link

from drybag import layout
from drybag_host import cli, targets
from drybag_host.backup.restore import Restore
from drybag_host.backup.store import COMMIT, Backup
from drybag_host.errors import LinkLost

VCF = b"""BEGIN:VCARD\r
VERSION:3.0\r
UID:anna\r
FN:Anna M\xc3\xbcller\r
TEL;TYPE=cell:+49 30 1234567\r
X-ODD;FOO=bar:kept\r
END:VCARD\r
BEGIN:VCARD\r
VERSION:3.0\r
FN:Bert\r
EMAIL:bert@example.org\r
END:VCARD\r
"""
ICS = b"""BEGIN:VCALENDAR\r
VERSION:2.0\r
PRODID:-//test//\r
BEGIN:VEVENT\r
UID:meet\r
SUMMARY:Meeting\r
DTSTART:20250131T093000Z\r
DTEND:20250131T103000Z\r
END:VEVENT\r
BEGIN:VEVENT\r
UID:week\r
SUMMARY:Choir\r
DTSTART:20250106T190000Z\r
RRULE:FREQ=WEEKLY;UNTIL=20250630T000000Z\r
END:VEVENT\r
BEGIN:VTODO\r
UID:buy\r
SUMMARY:Buy milk\r
DUE:20250201\r
END:VTODO\r
END:VCALENDAR\r
"""
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00" + b"\x55" * 9000


@pytest.fixture
def handsets(monkeypatch):
    """{name: Handset} that emu:NAME reaches."""
    found = {}
    monkeypatch.setattr(targets, "_connect", lambda target, out: Link(found[target[4:]]))
    monkeypatch.setattr(targets, "_PAUSE_S", 0.01)
    return found


@pytest.fixture
def handset(handsets):
    handsets["a"] = Handset(name="a")
    return handsets["a"]


@pytest.fixture
def run(capsys):
    """run(words..., code=0) -> the JSON document, or the text without --json."""

    def call(*words, code=0, text=False):
        capsys.readouterr()
        got = cli.main([str(w) for w in words] + ([] if text else ["--json"]))
        out = capsys.readouterr()
        assert got == code, (got, out.out, out.err)
        assert "Traceback" not in out.err
        return out.out + out.err if text else json.loads(out.out)

    return call


@pytest.fixture
def files(tmp_path):
    for name, data in (("a.vcf", VCF), ("c.ics", ICS), ("p.jpg", JPEG)):
        (tmp_path / name).write_bytes(data)
    return [tmp_path / name for name in ("a.vcf", "c.ics", "p.jpg")]


def test_import_twice_changes_nothing(run, handset, files):
    first = run("import", "emu:a", *files)
    assert first["added"] == 7 and first["problems"] == []
    assert first["read"] == {"contact": 2, "event": 2, "todo": 1, "photo": 1, "calendar": 1}
    seq = handset.journal.last_seq
    second = run("import", "emu:a", *files)
    assert second["added"] == second["updated"] == 0 and second["unchanged"] == 7
    assert handset.journal.last_seq == seq
    assert b"X-ODD;FOO=bar:kept\n" in handset.live()[1, b"anna"][0]


def test_import_shows_a_table(run, handset, files):
    text = run("import", "emu:a", *files, text=True)
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.split()}
    assert rows["contact"] == ["2", "2", "0", "0"]
    assert rows["all"] == ["7", "7", "0", "0"]


def test_import_updates_what_changed(run, handset, files):
    run("import", "emu:a", *files)
    files[0].write_bytes(VCF.replace(b"1234567", b"7654321"))
    assert run("import", "emu:a", files[0], "--keep-existing")["left"] == 1
    assert b"1234567" in handset.live()[1, b"anna"][0]
    assert run("import", "emu:a", files[0], "--dry-run")["updated"] == 1
    assert b"1234567" in handset.live()[1, b"anna"][0]
    assert run("import", "emu:a", files[0])["updated"] == 1
    assert b"7654321" in handset.live()[1, b"anna"][0]


def test_what_cannot_be_read_is_named_and_the_rest_goes_in(run, handset, tmp_path, files):
    bad = tmp_path / "bad.vcf"
    bad.write_bytes(VCF + b"BEGIN:VCARD\r\nVERSION:3.0\r\nFN:Cut sh")
    (tmp_path / "empty.ics").write_bytes(b"")
    (tmp_path / "noise.vcf").write_bytes(bytes(range(256)) * 20)
    words = ["import", "emu:a", bad, tmp_path / "empty.ics", tmp_path / "noise.vcf",
             tmp_path / "nothing.vcf"]  # fmt: skip
    document = run(*words, code=9)
    assert document["added"] == 2 and len(handset.live()) == 2
    named = {os.path.basename(p["file"]): p["line"] for p in document["problems"]}
    assert set(named) == {"bad.vcf", "empty.ics", "noise.vcf", "nothing.vcf"}
    assert named["bad.vcf"] == 13
    text = run(*words, code=9, text=True)
    assert "bad.vcf:13" in text
    kept = run(*words, "--keep-unreadable", code=9)
    assert kept["kept_as_notes"] == 2
    notes = [body for (kind, _), (body, _, _) in handset.live().items() if kind == layout.NOTE]
    assert any(b"FN:Cut sh" in body for body in notes)


def test_nothing_readable_is_an_error_of_its_own(run, handset, tmp_path):
    (tmp_path / "noise.vcf").write_bytes(b"\x00\x01\x02" * 1000)
    assert run("import", "emu:a", tmp_path / "noise.vcf", code=3)["error"]["class"] == "BadInput"
    assert handset.journal.last_seq == 0


def test_import_goes_on_after_the_cable_was_pulled(run, handset, files):
    for step in (3, 9, 16, 24, 33):
        handset.break_at(step)
    document = run("import", "emu:a", *files)
    assert document["added"] == 7 and len(handset.live()) == 7
    assert all(len(handset.journal.history(*key)) == 1 for key in handset.live())


def test_a_handset_that_stays_away_ends_with_its_own_code(run, handset, files):
    handset.break_at(5)
    error = run("import", "emu:a", *files, "--wait", "0", code=13)["error"]
    assert error["class"] == "LinkLost" and error["hint"]
    assert run("import", "emu:a", *files)["failed"] == 0
    assert len(handset.live()) == 7


def test_photo_larger_than_the_flash(run, handsets, files, tmp_path):
    handsets["a"] = handset = Handset(256 << 10, name="a")
    (tmp_path / "big.jpg").write_bytes(JPEG[:20] + os.urandom(400_000))
    document = run("import", "emu:a", tmp_path / "big.jpg", *files, code=5)
    assert document["added"] == 7 and document["failed"] == 1
    assert document["not_stored"][0]["from"].endswith("big.jpg")
    assert document["error"]["missing_bytes"] > 100_000
    assert len(handset.live()) == 7


def test_flash_that_fills_up(run, handsets, tmp_path):
    handsets["a"] = handset = Handset(128 << 10, name="a")
    cards = [b"BEGIN:VCARD\r\nVERSION:3.0\r\nUID:%d\r\nFN:P%d\r\nNOTE:%s\r\nEND:VCARD\r\n"
             % (i, i, b"x" * 400) for i in range(500)]  # fmt: skip
    (tmp_path / "many.vcf").write_bytes(b"".join(cards))
    document = run("import", "emu:a", tmp_path / "many.vcf", code=5)
    assert 50 < document["added"] < 450 and document["added"] + document["failed"] == 500
    assert len(handset.live()) == document["added"]
    live = handset.live()
    handset.boot()
    assert handset.live() == live


def test_two_records_of_one_uid_in_the_files(run, handset, tmp_path):
    card = b"BEGIN:VCARD\r\nVERSION:3.0\r\nUID:x\r\nFN:%s\r\nEND:VCARD\r\n"
    (tmp_path / "1.vcf").write_bytes(card % b"One")
    (tmp_path / "2.vcf").write_bytes(card % b"Two")
    document = run("import", "emu:a", tmp_path / "1.vcf", tmp_path / "2.vcf")
    assert document["duplicates"] == 1 and "same UID" in document["notices"][0]["message"]
    assert b"FN:Two" in handset.live()[1, b"x"][0]


# --- looking ---------------------------------------------------------------------------------


@pytest.fixture
def both(run, handset, files, tmp_path):
    """The same records on a handset and in a backup."""
    run("import", "emu:a", *files)
    run("pull", "emu:a", tmp_path / "b")
    return ["emu:a", str(tmp_path / "b")]


def test_show_and_find_say_the_same_of_handset_and_backup(run, both):
    answers = [
        [run("show", source) for source in both],
        [run("show", source, "--kind", "event") for source in both],
        [run("find", source, "MULLER") for source in both],
        [run("find", source, "1234567") for source in both],
        [run("find", source, "--from", "2025-01-31", "--to", "2025-01-31") for source in both],
    ]
    for one, other in answers:
        assert one == other
    titles = [[r["title"] for r in one["records"]] for one, _ in answers]
    assert len(titles[0]) == 6 and titles[1] == ["Choir", "Meeting"]
    assert titles[2] == titles[3] == ["Anna Müller"]
    assert titles[4] == ["Meeting"]


def test_recurring_events_are_found_on_their_days(run, both):
    for source in both:
        for day, names in (("2025-02-03", ["Choir"]), ("2025-02-04", []), ("2025-07-07", [])):
            found = run("find", source, "--from", day, "--to", day)["records"]
            assert [r["title"] for r in found] == names, day


def test_show_one_by_uid_ref_and_name(run, both):
    ref = run("find", both[1], "anna")["records"][0]["ref"]
    for source in both:
        for word in ("anna", ref, ref[:5], "Anna Müller", "ANNA muller"):
            assert run("show", source, word)["uid"] == "anna"
        assert run("show", source, "nobody", code=4)["error"]["class"] == "NotFound"
        error = run("show", source, "e", code=2)["error"]
        assert len(error["candidates"]) > 1
    text = run("show", both[1], "anna", text=True)
    assert "+49 30 1234567" in text and "cell" in text


def test_show_raw_is_the_body(run, both):
    text = run("show", both[1], "anna", "--raw", text=True)
    assert text.startswith("VERSION:3.0\nUID:anna\n") and "X-ODD;FOO=bar:kept\n" in text


@pytest.mark.parametrize("option", ["--raw", "--history"])
def test_what_is_of_one_record_needs_one(run, both, option):
    assert run("show", both[1], option, code=2)["error"]["hint"] == "name its UID or REF"


def test_show_history(run, both, handset, files):
    files[0].write_bytes(VCF.replace(b"1234567", b"7654321"))
    run("import", "emu:a", files[0])
    run("pull", *both)
    for source in both:
        history = run("show", source, "anna", "--history")["history"]
        assert len(history) == 1 and "1234567" in history[0]["body"]


@pytest.mark.parametrize(
    "words",
    [["find"], ["find", "--from", "never"], ["find", "--to", "2025-02-30"],
     ["find", "--from", "2025-02-01", "--to", "2025-01-01"],
     ["show", "--kind", "pets"], ["find", "x", "--kind", "pets"], ["find", "x", "--wait", "nan"]],
    ids=" ".join,
)  # fmt: skip
def test_words_that_make_no_sense(run, both, words):
    assert run(words[0], both[1], *words[1:], code=2)["error"]["class"] == "Usage"


def test_verify_of_a_handset_says_what_does_that(run, both):
    assert "drybag scrub emu:a" in run("verify", both[0], code=2)["error"]["hint"]


def test_delete_and_undelete(run, both, handset):
    assert run("delete", "emu:a", "anna", code=24)["error"]["class"] == "Declined"
    assert (1, b"anna") in handset.live()
    assert run("delete", "emu:a", "anna", "--yes")["deleted"][0]["uid"] == "anna"
    assert (1, b"anna") not in handset.live()
    [gone] = run("undelete", "emu:a")["deleted"]
    assert gone["title"] == "Anna Müller" and gone["there"]
    run("undelete", "emu:a", gone["ref"])
    assert b"X-ODD" in handset.live()[1, b"anna"][0]


def test_one_record_named_twice_is_one(run, both, handset):
    assert len(run("delete", "emu:a", "anna", "Anna", "--yes")["deleted"]) == 1
    assert len(run("undelete", "emu:a", "anna", "anna")["undeleted"]) == 1
    assert (1, b"anna") in handset.live()


@pytest.mark.parametrize("command", ["delete", "undelete"])
def test_a_change_whose_answer_is_lost_is_made(run, both, handset, monkeypatch, command):
    words = ["anna"] if command == "undelete" else ["anna", "--yes"]
    if command == "undelete":
        run("delete", "emu:a", "anna", "--yes")
    real, lost = getattr(Link, command), []

    def deaf(link, kind, uid):
        seq = real(link, kind, uid)
        if not lost:
            lost.append(seq)
            raise LinkLost("the cable was pulled")
        return seq

    monkeypatch.setattr(Link, command, deaf)
    run(command, "emu:a", *words)
    assert lost and ((1, b"anna") in handset.live()) == (command == "undelete")


def test_status_and_scrub(run, both, handset):
    assert run("status", "emu:a")["handset"]["counts"]["contact"] == 2
    assert run("status", both[1])["counts"]["contact"] == 2
    assert "NEVER" in run("status", both[1], text=True)
    assert run("scrub", "emu:a")["findings"] == []


# --- pull, verify, restore -------------------------------------------------------------------


def test_pull_and_verify_say_what_they_did(run, both, tmp_path):
    text = run("pull", *both, text=True)
    assert "nothing changed" in text and "verified" in text and "2 contacts" in text
    text = run("verify", both[1], text=True)
    assert "is whole" in text
    assert run("verify", both[1])["ok"] is True


def test_verify_names_the_damage(run, both):
    path = Path(both[1]) / "records.jsonl"
    path.write_bytes(path.read_bytes().replace(b"Buy milk", b"Buy silk"))
    document = run("verify", both[1], code=16)
    [finding] = document["findings"]
    assert finding["file"] == "records.jsonl" and finding["records"][0]["uid"] == "buy"
    for words in (["show"], ["find", "anna"], ["export"], ["restore"]):
        rest = {"export": [both[1] + "-out"], "restore": ["emu:a"]}.get(words[0], words[1:])
        assert run(words[0], both[1], *rest, code=16)["error"]["class"] == "BackupDamaged"
    assert len(run("show", both[1], "--salvage")["records"]) == 5
    run("export", both[1], both[1] + "-out", "--salvage")
    assert run("pull", "emu:a", both[1], "--repair")["verified"]
    assert run("verify", both[1])["ok"] is True


def test_restore_onto_a_new_handset(run, both, handsets, handset):
    handsets["new"] = Handset(name="new", ident="d4e5f6")
    preview = run("restore", both[1], "emu:new", "--dry-run")
    assert preview["new"] == 7 and handsets["new"].journal.last_seq == 0
    done = run("restore", both[1], "emu:new")
    assert done["restored"] == done["compared"] == 7
    assert handsets["new"].live() == handset.live()
    assert run("verify", both[1])["restore_compared"]["records"] == 7
    assert run("restore", both[1], "emu:new")["restored"] == 0
    assert "NEVER" not in run("status", both[1], text=True)


def test_restore_overwrites_nothing_without_a_word(run, both, handset):
    handset.put(layout.CONTACT, b"anna", b"VERSION:3.0\nUID:anna\nFN:Anna Meier\n")
    handset.put(layout.CONTACT, b"only", b"VERSION:3.0\nUID:only\nFN:Only there\n")
    handset.journal.delete(layout.TODO, b"buy")
    before = handset.live()
    document = run("restore", both[1], "emu:a")
    assert [d["uid"] for d in document["differs"]] == ["anna"]
    assert [d["uid"] for d in document["deleted_there"]] == ["buy"]
    assert handset.live() == before
    assert run("verify", both[1])["restore_compared"] is None
    run("restore", both[1], "emu:a", "--overwrite", code=24)
    assert handset.live() == before
    assert run("restore", both[1], "emu:a", "--overwrite", "--yes")["restored"] == 1
    assert run("restore", both[1], "emu:a", "--deleted")["restored"] == 1
    now = handset.live()
    assert b"M\xc3\xbcller" in now[1, b"anna"][0] and (3, b"buy") in now and (1, b"only") in now


def test_restore_where_the_handset_has_the_photo_that_the_backup_lacks(run, both):
    [photo] = [p for p in Path(both[1], "blobs").rglob("*") if p.is_file()]
    photo.unlink()
    done = run("restore", both[1], "emu:a", "--salvage")
    assert done["compared"] == 7 and [r["title"] for r in done["without_photo"]] == ["p.jpg"]


def test_restore_goes_on_after_breaks(run, both, handsets, handset):
    handsets["new"] = Handset(name="new", ident="d4e5f6")
    for step in range(4, 60, 7):
        handsets["new"].break_at(step)
    assert run("restore", both[1], "emu:new")["compared"] == 7
    assert handsets["new"].live() == handset.live()


def test_a_pull_during_a_restore_is_not_harmed(run, both, handsets, handset, monkeypatch):
    handsets["new"] = Handset(name="new", ident="d4e5f6")
    real = Restore.compare

    def compare(self, chosen):
        handset.put(layout.CONTACT, b"late", b"VERSION:3.0\nFN:Late\n")
        pull(handset, both[1])
        return real(self, chosen)

    monkeypatch.setattr(Restore, "compare", compare)
    assert run("restore", both[1], "emu:new")["compared"] == 7
    assert run("verify", both[1])["records"] == 8
    assert run("verify", both[1])["restore_compared"] is None


def test_a_pull_in_the_middle_of_reading_is_no_damage(run, both, handset, monkeypatch):
    real = Backup._check_file

    def check(self, *words):
        if self.inside == COMMIT and handset.journal.count(layout.NOTE) == 0:
            handset.put(layout.NOTE, b"late", b"SUMMARY:Late\n")
            pull(handset, both[1])
        return real(self, *words)

    monkeypatch.setattr(Backup, "_check_file", check)
    assert run("verify", both[1], code=21)["error"]["class"] == "BackupBusy"
    assert run("verify", both[1])["records"] == 8


def test_what_was_deleted_before_the_last_pull_comes_back_from_the_history(run, both, handset):
    before = handset.live()
    run("delete", "emu:a", "anna", "--yes")
    run("pull", *both)
    assert run("restore", both[1], "emu:a")["restored"] == 0
    assert run("restore", both[1], "emu:a", "--deleted")["restored"] == 1
    assert handset.live() == before


# --- export ----------------------------------------------------------------------------------


def test_export_of_handset_and_backup_is_the_same(run, both, tmp_path):
    for number, source in enumerate(both):
        document = run("export", source, tmp_path / ("out%d" % number))
        assert document["counts"]["contact"] == 2
    for name in ("contacts.vcf", "events.csv"):
        one, other = [(tmp_path / ("out%d" % n) / name).read_bytes() for n in (0, 1)]
        assert one == other
    assert b"X-ODD;FOO=bar:kept\r\n" in (tmp_path / "out0" / "contacts.vcf").read_bytes()
    assert JPEG in [p.read_bytes() for p in (tmp_path / "out0" / "photos").glob("*.jpg")]
    assert run("export", both[1], tmp_path / "out1", code=23)["error"]["class"] == "HostFile"
    run("export", both[1], tmp_path / "out1", "--force", "--vcard", "4.0")
    assert b"VERSION:4.0" in (tmp_path / "out1" / "contacts.vcf").read_bytes()


def test_export_only_some_kinds(run, both, tmp_path):
    document = run("export", both[1], tmp_path / "out", "--only", "contacts,note")
    assert document["counts"]["contact"] == 2 and not document["counts"].get("event")
    assert run("export", both[1], tmp_path / "o2", "--only", "pets", code=2)["error"]
