"""The drill in a small form: a real hub process, an emulated board, the disk destroyed."""

import json

from drybag_host import cli


def test_cloudburst(tmp_path, capsys):
    page = tmp_path / "cloudburst.html"
    code = cli.main(
        ["drill", "cloudburst", "--handsets", "4", "--boards", "1", "--records", "4",
         "--report", str(page), "--json"]
    )  # fmt: skip
    said = json.loads(capsys.readouterr().out)
    assert code == 0 and said["wrong"] == [], said
    assert said["handsets_lost"] == 2 and said["batteries_pulled"] >= 1
    assert len(said["lost"]) == said["lost_count"]
    text = page.read_text()
    assert "http://" not in text and "https://" not in text  # it needs no network
    assert text.count("<svg") == 2 and text.count('<rect class="safe"') > 10


def test_without_an_offsite_copy_thursdays_backup_and_the_handsets_do(tmp_path, capsys):
    code = cli.main(
        ["drill", "cloudburst", "--handsets", "6", "--boards", "0", "--records", "5",
         "--no-offsite", "--seed", "3", "--json"]
    )  # fmt: skip
    said = json.loads(capsys.readouterr().out)
    assert code == 0 and said["wrong"] == [] and not said["offsite"]
    assert len(said["lost"]) == said["lost_count"] < said["lost_by_cache"]


def test_bad_numbers(capsys):
    assert cli.main(["drill", "cloudburst", "--handsets", "2"]) == 2
    assert "4 or more" in capsys.readouterr().err
