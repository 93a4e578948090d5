"""Damaged backups: every flipped bit is found, nothing leads outside, never a traceback."""

import hashlib
import json
import os
import random
import shutil

import pytest
from backup_steps import change, contents, files_of, fill, pull
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from journal_link import Handset

from drybag import layout
from drybag.errors import FormatNewer
from drybag_host import cli
from drybag_host.backup import lines
from drybag_host.backup.pull import digest_of
from drybag_host.backup.store import Backup
from drybag_host.errors import BackupDamaged, HostFile, NoSuchTarget

# --- damage ----------------------------------------------------------------------------------


@pytest.fixture
def backup(tmp_path):
    handset = fill(Handset(), 5, 1)
    pull(handset, tmp_path / "b")
    change(handset)
    pull(handset, tmp_path / "b")
    return tmp_path / "b"


def test_one_flipped_bit_anywhere_is_found_and_named(backup):
    """Every byte of every file, one bit of it each."""
    rng = random.Random(11)
    for name, data in files_of(backup).items():
        if name == ".lock":
            continue
        places = range(len(data)) if len(data) < 900 else rng.sample(range(len(data)), 150)
        for place in places:
            bad = bytearray(data)
            bad[place] ^= 1 << rng.randrange(8)
            (backup / name).write_bytes(bad)
            try:
                verdict = Backup(str(backup), tolerant=True).verify()
            except FormatNewer:
                assert name == "manifest.json"
            else:
                assert not verdict.ok, (name, place)
                found = {f.file for f in verdict.findings}
                assert name in found or (name == "manifest.json" and found), (name, place, found)
        (backup / name).write_bytes(data)
    assert Backup(str(backup)).verify().ok


def test_damage_names_the_record(backup):
    path = backup / "records.jsonl"
    data = path.read_bytes()
    path.write_bytes(data.replace(b"FN:Person 4", b"FN:Person 5"))
    [finding] = Backup(str(backup)).verify().findings
    assert finding.file == "records.jsonl" and "line 5" not in finding.problem
    assert [r["uid"] for r in finding.records] == ["uid-4"]
    with pytest.raises(BackupDamaged):
        list(Backup(str(backup)).records())
    tolerant = Backup(str(backup), tolerant=True)
    assert b"uid-4" not in [r.uid for r in tolerant.records()] and len(tolerant.findings) == 2
    path.write_bytes(data)
    blob = next(
        p for p in (backup / "blobs").rglob("*") if p.is_file() and p.stat().st_size == 3500
    )
    blob.write_bytes(b"x" + blob.read_bytes()[1:])
    [finding] = Backup(str(backup)).verify().findings
    assert [r["uid"] for r in finding.records] == ["uid-2"]


def test_repair_keeps_the_damaged_file_and_reads_again(tmp_path):
    handset = fill(Handset(), 5, 1)
    pull(handset, tmp_path / "b")
    path = tmp_path / "b" / "records.jsonl"
    bad = path.read_bytes().replace(b"FN:Person 4", b"FN:Person 5")
    path.write_bytes(bad)
    with pytest.raises(BackupDamaged, match="damaged"):
        pull(handset, tmp_path / "b")
    report = pull(handset, tmp_path / "b", repair=True)
    assert report.verified and contents(tmp_path / "b") == handset.live()
    assert (tmp_path / "b" / "damaged" / "records.jsonl").read_bytes() == bad
    blob = next(p for p in (tmp_path / "b" / "blobs").rglob("*") if p.is_file())
    blob.write_bytes(b"")
    assert pull(handset, tmp_path / "b", repair=True).blobs == 1
    assert Backup(str(tmp_path / "b")).verify().ok
    (tmp_path / "b" / "manifest.json").unlink()
    assert pull(handset, tmp_path / "b", repair=True).verified
    assert Backup(str(tmp_path / "b")).verify().ok


def rewrite(backup, change_fields):
    """A manifest with other fields and the sums to match, as an attacker would write it."""
    data = json.loads((backup / "manifest.json").read_bytes())
    change_fields(data)
    text = json.dumps(data, ensure_ascii=False, indent=1).encode() + b"\n"
    (backup / "manifest.json").write_bytes(text)
    rows = {name: entry["sha256"] for name, entry in data["files"].items()}
    rows["manifest.json"] = hashlib.sha256(text).hexdigest()
    sums = "".join("%s  %s\n" % (rows[name], name) for name in sorted(rows))
    (backup / "SHA256SUMS").write_text(sums)


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "blobs/../records.jsonl", "blobs/aa/../../x", "CON", "",
     "blobs/aa/" + "b" * 64, "records.jsonl/", ".lock", "manifest.json"],
)  # fmt: skip
def test_paths_in_the_manifest_are_not_followed(backup, name):
    rewrite(backup, lambda m: m["files"].update({name: {"size": 1, "sha256": "0" * 64}}))
    with pytest.raises(BackupDamaged, match=r"manifest\.json"):
        Backup(str(backup))


def test_links_out_of_the_backup_are_refused(backup, tmp_path):
    data = (backup / "records.jsonl").read_bytes()
    (tmp_path / "elsewhere").write_bytes(data)
    (backup / "records.jsonl").unlink()
    (backup / "records.jsonl").symlink_to(tmp_path / "elsewhere")
    assert [f.file for f in Backup(str(backup)).verify().findings] == ["records.jsonl"]
    with pytest.raises((BackupDamaged, HostFile)):
        list(Backup(str(backup)).records())


def test_newer_format_is_refused_untouched(backup):
    before = files_of(backup)
    rewrite(backup, lambda m: m.update(format_version=2))
    with pytest.raises(FormatNewer):
        Backup(str(backup))
    assert set(files_of(backup)) == set(before)


def test_verify_writes_nothing(backup):
    before = {name: os.stat(backup / name).st_mtime_ns for name in files_of(backup)}
    assert Backup(str(backup)).verify().ok
    assert {name: os.stat(backup / name).st_mtime_ns for name in files_of(backup)} == before


@pytest.mark.parametrize("path", ["nothing", "empty"])
def test_no_backup_there(tmp_path, path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoSuchTarget):
        Backup(str(tmp_path / path))


# --- whatever somebody did to it ---


@st.composite
def mischief(draw):
    """(what, file number, where 0..1, bytes) of one thing done to a backup."""
    what = draw(st.sampled_from(["flip", "cut", "remove", "insert", "double", "swap", "value"]))
    return what, draw(st.integers(0, 99)), draw(st.floats(0, 1)), draw(st.binary(max_size=40))


def apply(backup, what, number, where, noise):
    names = sorted(n for n in files_of(backup) if n != ".lock")
    if not names:
        return
    path = backup / names[number % len(names)]
    data = path.read_bytes()
    at = int(where * max(len(data) - 1, 0))
    rows = data.split(b"\n")
    row = int(where * (len(rows) - 1))
    if what == "flip" and data:
        data = data[:at] + bytes([data[at] ^ (noise[0] if noise else 1) or 1]) + data[at + 1 :]
    elif what == "cut":
        data = data[:at]
    elif what == "insert":
        data = data[:at] + noise + data[at:]
    elif what == "double":
        data = b"\n".join(rows[: row + 1] + rows[row:])
    elif what == "swap":
        rows[row], rows[0] = rows[0], rows[row]
        data = b"\n".join(rows)
    elif what == "value":
        bad = [b"null", b"-1", b"1e999", b'""', b"[]", b"{}", b"true", b"9" * 5000, b"[" * 3000]
        head, colon, _ = rows[row].partition(b":")
        rows[row] = head + colon + bad[number % len(bad)]
        data = b"\n".join(rows)
    path.unlink()
    if what != "remove":
        path.write_bytes(data)


@settings(
    max_examples=60, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(deeds=st.lists(mischief(), min_size=1, max_size=4), salvage=st.booleans())
def test_never_a_traceback_and_never_silence(backup, tmp_path, capsys, deeds, salvage):
    """verify finds it; show, find and export refuse it, or serve what is intact when told to."""
    bad = tmp_path / "bad"
    shutil.rmtree(bad, ignore_errors=True)
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    shutil.copytree(backup, bad)
    whole = files_of(bad)
    for deed in deeds:
        apply(bad, *deed)
    unharmed = files_of(bad) == whole
    damage = (0,) if unharmed else (7, 15, 16)
    assert cli.main(["verify", str(bad), "--json"]) in damage
    words = ["--salvage"] if salvage else []
    known = (0, 7, 15, 16, 23)
    assert cli.main(["show", str(bad), "--json", *words]) in known
    assert cli.main(["find", str(bad), "person", "--json", *words]) in known
    assert cli.main(["status", str(bad), "--json"]) in known
    assert cli.main(["export", str(bad), str(tmp_path / "out"), "--json", *words]) in known
    assert "Traceback" not in capsys.readouterr().err


# --- lines -----------------------------------------------------------------------------------


def test_lines_are_exact():
    record = layout.Record(2, b"u\xff", b'A:\xc3\xa4\n\x00"\\', (bytes(32),), 5, 6, 7, 8)
    line = lines.pack_record(record, absent=True)
    fields = json.loads(line)
    assert fields["kind"] == "event" and fields["uid_base64"] == "df8=" and fields["absent"]
    assert fields["sha256"] == hashlib.sha256(layout.canonical(record)).hexdigest()
    again = lines.parse_record(line[:-1])
    assert lines.pack_record(again.record, again.absent) == line
    assert digest_of([record])[1] == fields["sha256"]


@pytest.mark.parametrize(
    "line",
    [b"", b"{}", b"[]", b"null", b"{" * 5000, b'{"kind":"contact"}', b'{"kind":9999}', b"\xff",
     b'{"kind":"contact","uid":"a","seq":1e999,"stamp":0,"rev":0,"parent":0,"blobs":[],"body":""}',
     b'{"kind":"contact","uid":"\\ud800","seq":1,"stamp":0,"rev":0,"parent":0,"blobs":[],'
     b'"body":"","sha256":""}',
     b'{"kind":["x"],"uid":"a","seq":1,"stamp":0,"rev":0,"parent":0,"blobs":[],"body":""}',
     b'{"kind":"contact","uid":"a","seq":1,"stamp":0,"rev":0,"parent":0,"blobs":5,"body":""}'],
)  # fmt: skip
def test_bad_lines_are_named_not_raised_as_something_else(line):
    for parse in (lines.parse_record, lines.parse_tombstone, lines.parse_history):
        with pytest.raises(lines.BadRecordLine):
            parse(line)
