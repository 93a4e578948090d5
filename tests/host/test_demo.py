"""`drybag demo` in a small form: the main job, whole, on an emulated board, batteries pulled."""

import json
import re

from drybag_host import cli, output
from drybag_host.demo import book

UNITS = {"B": 1, "KB": 1000, "MB": 1000**2}


def test_a_small_demonstration(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(output, "PLAIN_EVERY_S", 0)  # every step of the progress as a line
    monkeypatch.setitem(book.SHARES, "photo", 0.1)  # a restart has unnamed photos sent again
    monkeypatch.setitem(book.SHARES, "contact", 0.53)
    words = ["demo", "--records", "60", "--cuts", "6", "--out", str(tmp_path / "out")]
    code = cli.main(words)
    said = capsys.readouterr()
    assert code == 0, said.out + said.err
    lines = [line for line in said.out.splitlines() if "  " in line]
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in lines)
    assert rows["acknowledged"] == rows["records written"] and rows["lost"] == "0"
    assert int(rows["cuts survived"].split(",")[0]) >= 3
    assert (tmp_path / "out" / "export" / "index.html").exists()

    shown = re.findall(r"pulling batteries: ([\d.]+) (\w+) of ([\d.]+) (\w+)", said.err)
    assert len(shown) > 60
    assert all(float(a) * UNITS[u] <= float(b) * UNITS[v] for a, u, b, v in shown), shown[-1]


def test_other_things_in_the_folder_stay(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert cli.main(["demo", "--out", str(tmp_path), "--json"]) == 23
    error = json.loads(capsys.readouterr().out)["error"]
    assert "holds other things" in error["message"] and "--out" in error["hint"]
    assert (tmp_path / "mine.txt").read_text() == "mine"
