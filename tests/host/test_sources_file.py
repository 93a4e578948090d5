"""Commands that read a handset or a backup read a dump file too, and never write it."""

import hashlib
import json
import os
import sys
from pathlib import Path

import pytest

from drybag import layout
from drybag_host import cli
from drybag_host.image import board_model, flash, partitions

sys.path.insert(0, str(Path(__file__).parents[1] / "shared"))
from pim_flash import Flash, noise, store_blob, text, where_is  # noqa: E402

CARD = b"VERSION:3.0\nFN:Ada Lovelace\nTEL:+44 20 7946 0001\n"


@pytest.fixture
def chip():
    chip = Flash(48)
    j = chip.mount()
    j.put(layout.CONTACT, b"ada", CARD)
    j.put(layout.NOTE, b"n1", b"SUMMARY:old\n")
    j.put(layout.NOTE, b"n1", b"SUMMARY:Shopping\n")
    sha = store_blob(j, noise(1, 6000))
    j.put(layout.PHOTO, b"p1", b"FN:a.jpg\nMEDIATYPE:image/jpeg\nIMAGE:drybag:blob/%s\n"
          % sha.hex().encode(), (sha,))  # fmt: skip
    return chip


@pytest.fixture(params=["pim", "whole"])
def dump(chip, request, tmp_path):
    path = tmp_path / "dump.bin"
    if request.param == "pim":
        path.write_bytes(chip.memory)
    else:
        model = board_model.load("esp32-generic")
        row = partitions.find(model.partitions, "pim")
        image = bytearray(flash.compose(model, {}))
        big = Flash(row.size // 4096)
        big.mount().put(layout.CONTACT, b"ada", CARD)
        j = big.mount()
        j.put(layout.NOTE, b"n1", b"SUMMARY:old\n")
        j.put(layout.NOTE, b"n1", b"SUMMARY:Shopping\n")
        sha = store_blob(j, noise(1, 6000))
        j.put(layout.PHOTO, b"p1", b"FN:a.jpg\nMEDIATYPE:image/jpeg\nIMAGE:drybag:blob/%s\n"
              % sha.hex().encode(), (sha,))  # fmt: skip
        image[row.offset : row.offset + row.size] = big.memory
        path.write_bytes(image)
    os.chmod(path, 0o444)
    before = hashlib.sha256(path.read_bytes()).digest()
    yield path
    assert hashlib.sha256(path.read_bytes()).digest() == before


def run(capsys, *words):
    code = cli.main([*map(str, words), "--json"])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out.strip() else {}, err


def test_show_find_status_verify(dump, capsys):
    code, found, _ = run(capsys, "show", dump)
    assert code == 0 and sorted(r["uid"] for r in found["records"]) == ["ada", "n1", "p1"]
    code, found, _ = run(capsys, "find", dump, "lovelace")
    assert code == 0 and [r["uid"] for r in found["records"]] == ["ada"]
    code, found, _ = run(capsys, "verify", dump)
    assert code == 0 and found["ok"] and found["records"] == 3
    code, found, _ = run(capsys, "status", dump)
    assert code == 0 and found["stats"]["records"]["contact"] == 1
    code, found, _ = run(capsys, "show", dump, "n1", "--history")
    assert code == 0 and len(found["history"]) == 1


def test_export(dump, capsys, tmp_path):
    code, _, _ = run(capsys, "export", dump, tmp_path / "out")
    assert code == 0 and b"Ada Lovelace" in (tmp_path / "out" / "contacts.vcf").read_bytes()


def test_damage_is_found_and_named(chip, capsys, tmp_path):
    j = chip.mount()
    for n in range(30):
        j.put(layout.NOTE, b"more%d" % n, text(n, 600))
    sector, _ = where_is(j, layout.NOTE, b"more12")
    j.close()
    chip.harm(sector * 4096, noise(7, 4096))
    path = tmp_path / "dump.bin"
    path.write_bytes(chip.memory)
    code, found, _ = run(capsys, "verify", path)
    assert code == 6 and not found["ok"] and found["findings"]
    assert "salvage" in found["error"]["hint"]
    assert run(capsys, "show", path)[0] == 0


@pytest.mark.parametrize("data", [b"", b"text\n", b"\x00" * 40960, noise(3, 40960)])
def test_what_is_no_dump_is_refused_with_what_to_do(data, capsys, tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(data)
    for words in (("show", path), ("verify", path), ("export", path, tmp_path / "o")):
        code, found, _ = run(capsys, *words)
        assert code == 7 and "salvage" in found["error"]["hint"]
