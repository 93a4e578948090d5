"""Settings are the handset's own: its secrets leave it through none of the doors records have."""

import json
import sys
from pathlib import Path
from zlib import crc32

import pytest
from backup_steps import pull
from handset_lines import Clock, SimHandset
from journal_link import Handset

from drybag import errors, layout
from drybag import protocol as p
from drybag import protocolhost as ph
from drybag.layout import CONTACT, NOTE, SETTING
from drybag_host import cli
from drybag_host.backup.store import Backup
from drybag_host.image.inspecting import Inspection
from drybag_host.image.salvage_write import salvage_bytes, salvage_file
from drybag_host.link import HandsetLink

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
import spec_reader  # noqa: E402
from pim_flash import Flash, findings, text, where_is  # noqa: E402

UID, SECRET = b"wifi:Home", b"correct horse battery staple"
SETTINGS = ("put", SETTING, UID, SECRET), ("put", SETTING, b"sync", b"state " + SECRET)


def keep_secrets(j):
    j.put(CONTACT, b"ada", b"VERSION:3.0\nFN:Ada Lovelace\n")
    for op in SETTINGS:
        j.put(*op[1:])
    j.batch([*SETTINGS, ("put", NOTE, b"n", b"SUMMARY:horse\n")])
    j.put(SETTING, b"old", SECRET)
    j.delete(SETTING, b"old")
    return j


def told(*things):
    """True if any of these says a secret, or its name."""
    shown = b"".join(t if isinstance(t, bytes) else str(t).encode() for t in things)
    return SECRET in shown or b"Home" in shown or SECRET.hex().encode() in shown


@pytest.fixture
def flash():
    flash = Flash(48)
    keep_secrets(flash.mount())
    return flash


# --- the journal's own ------------------------------------------------------------------------


def test_what_does_not_ask_for_settings_does_not_see_them(flash):
    j = flash.mount()
    assert {r.kind for r in j.records()} == {CONTACT, NOTE} == {r.kind for _, r in j.changes(0)}
    assert [r.uid for r in j.find("horse")] == [b"n"] and list(j.find("horse", SETTING)) == []
    assert j.count() == len(j._log.index) == j.digest()[0] == j.unsent_count(0) == 2
    assert {r.kind for r in j.unsent(0, 99)} == {CONTACT, NOTE}
    assert findings(j)[-1]["records"] == 2 and not told(j.stats())
    assert SETTING not in layout.KIND_NAMES
    before = j.digest()
    j.put(SETTING, b"more", SECRET)
    assert j.digest() == before


def test_what_asks_for_them_does(flash):
    j = flash.mount()
    assert j.get(SETTING, UID).body == SECRET and j.count(SETTING) == 2
    assert {r.uid for r in j.records(SETTING)} == {UID, b"sync"}
    assert [v.deleted for v in j.history(SETTING, b"old")] == [True, False]
    seq = j.put(SETTING, UID, b"new")
    assert j.seq_of(SETTING, UID) == seq
    j.delete(SETTING, UID)
    with pytest.raises(errors.NotFound):
        flash.mount().get(SETTING, UID)


def test_they_last_through_compaction_and_boots(flash):
    j = flash.mount()
    for turn in range(6):
        for n in range(120):
            j.put(NOTE, b"n%d" % (n % 9), text(n, 300))
            j.put(SETTING, b"sync", b"%d" % n)
        j.checkpoint()
        if turn % 2:
            j.close()
        j = flash.mount()
        assert j.get(SETTING, UID).body == SECRET and j.get(SETTING, b"sync").body == b"119"
        assert j.count(SETTING) == 2 and j.count(NOTE) == 10


def test_a_setting_is_never_a_blob(flash):
    j = flash.mount()
    name = 1514 - len(b"big")
    j.put(SETTING, b"big", bytes(name))
    with pytest.raises(errors.TooLarge, match="1514 bytes"):
        j.put(SETTING, b"big", bytes(name + 1))
    with pytest.raises(errors.BadInput):
        j.put_blob_body(SETTING, b"big", bytes(32), 5000)
    assert not flash.segments(layout.BLOB)


def test_the_hash_that_looks_like_a_free_slot():
    """All 22 bits 1 and kind 7: a record that no index may take for nothing, or the other way."""
    uid = b"9688624"
    assert crc32(uid, SETTING) >> 10 == 0x3FFFFF
    flash = Flash(24)
    j = flash.mount()
    for n in range(40):
        j.put(NOTE, b"n%d" % n, b"")
        j.delete(NOTE, b"n%d" % n)
    assert j.seq_of(SETTING, uid) == 0
    j.put(SETTING, uid, SECRET)
    assert flash.mount().get(SETTING, uid).body == SECRET


# --- the serial line, the console ---------------------------------------------------------------


@pytest.fixture
def sim(monkeypatch):
    sim = SimHandset(Clock.install(monkeypatch))
    keep_secrets(sim.app.journal)
    return sim


def test_the_link_refuses_them(sim):
    link = HandsetLink(sim)
    for ask in (
        lambda: link.get(SETTING, UID),
        lambda: list(link.history(SETTING, UID)),
        lambda: list(link.find("", SETTING)),
        lambda: link.delete(SETTING, UID),
        lambda: link.undelete(SETTING, b"old"),
        lambda: list(link.put_records([("put", SETTING, UID, b"taken over", (), 0)])),
        lambda: link.compare([(SETTING, UID, bytes(32))]),
    ):
        with pytest.raises(p.BadRequest, match="the handset's own"):
            ask()
    assert sim.app.journal.get(SETTING, UID).body == SECRET
    assert {r.kind for _, r in link.changes(0)} == {CONTACT, NOTE}
    assert [r.uid for r in link.find("horse")] == [b"n"]
    assert link.digest() == sim.app.journal.digest()
    assert not told(link.hello(), link.stats(), list(link.scrub()))


def test_a_batch_with_one_among_others_is_refused_whole(sim):
    ops = ph.put(NOTE, b"x", b"x") + ph.put(SETTING, UID, b"x")
    with pytest.raises(p.BadRequest):
        list(sim.app.start(memoryview(bytes((p.WRITE,)) + ops)))
    assert sim.app.journal.seq_of(NOTE, b"x") == 0


def test_the_console_shows_none(sim):
    said = b""
    for line in (b"status", b"list", b"find horse", b"find Home", b"show Home", b"history sync",
                 b"delete Home", b"agenda", b"scrub", b"help"):  # fmt: skip
        sim.write(line + b"\r")
        while piece := sim.read(0.2):
            said += piece
    for line in (b"find Home", b"show Home", b"delete Home"):
        said = said.replace(line, b"").replace(b"'Home'", b"").replace(b"\"Home\"", b"")
    assert b"Ada Lovelace" in said and SECRET not in said and b"wifi" not in said
    assert sim.app.journal.count(SETTING) == 2


# --- backups, dumps, salvage, inspect -----------------------------------------------------------


def test_a_backup_has_none(tmp_path):
    handset = Handset()
    keep_secrets(handset.journal)
    report = pull(handset, tmp_path / "b")
    assert report.verified and report.added == 2
    handset.journal.delete(SETTING, UID)
    pull(handset, tmp_path / "b")
    assert Backup(str(tmp_path / "b")).verify().findings == []
    assert not told(*_files(tmp_path / "b"))


def test_dumps_show_none(flash, tmp_path, capsys):
    path = tmp_path / "dump.bin"
    path.write_bytes(flash.memory)
    for words in (["show", path], ["find", path, "horse"], ["verify", path], ["inspect", path],
                  ["find", path, "Home"], ["inspect", path, "--entries", "--tree"],
                  ["export", path, tmp_path / "out"]):  # fmt: skip
        cli.main([*map(str, words), "--json"])
        cli.main([*map(str, words)]) if words[0] != "export" else None
    said = capsys.readouterr().out
    assert "Ada Lovelace" in said and not told(said, *_files(tmp_path / "out"))
    settings = [e for e in Inspection(str(path)).entries if e["kind"] == "setting"]
    assert len(settings) == 6 and {(e["uid"], e["bytes"]) for e in settings} == {("", 0)}


def test_salvage_brings_none_back(flash, tmp_path):
    _, results, _ = salvage_bytes(bytes(flash.memory))
    assert {r.uid for r in results[0].versions} == {b"ada", b"n"} and results[0].lost == []
    for name, image in (("whole", flash.memory), ("harmed", _harmed(flash))):
        found = salvage_file(bytes(image), "dump.bin", str(tmp_path / name))
        assert not told(*_files(tmp_path / name), json.dumps(found.fields()))
    assert (tmp_path / "whole" / "records.jsonl").read_bytes().count(b"\n") == 2


def test_damage_to_one_is_told_without_its_name(flash):
    j = flash.mount()
    for n in range(70):
        j.put(NOTE, b"n%d" % n, text(n, 40))
    sector, offset = where_is(j, SETTING, UID)
    flash.harm(sector * 4096 + offset + 40, bytes(24))
    flash.harm(sector * 4096 + (offset + 256) % 3840, bytes(64))
    said = [f for f in findings(flash.mount()) if f["kind"] not in ("summary", "unreadable")]
    assert not told(said)


def test_the_reader_from_the_specification_leaves_them_out(flash):
    records, _ = spec_reader.read(flash.memory)
    assert set(records) == {(CONTACT, b"ada"), (NOTE, b"n")}


def _harmed(flash):
    image = bytearray(flash.memory)
    for sector in flash.segments(layout.LOG):
        image[sector * 4096 : sector * 4096 + 64] = bytes(64)
        image[sector * 4096 + 700 : sector * 4096 + 760] = bytes(60)
    return image


def _files(folder):
    return [path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()]
