"""Reports: what is written can be read again, and nothing in it can break the page."""

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drybag_host.rig.exposure import exposure
from drybag_host.rig.report import html, junit, write_report
from drybag_host.rig.results import (
    KINDS,
    Failure,
    NotJudged,
    Report,
    SectorResult,
    WorkloadResult,
    from_json,
)

EVIL = "<script>alert(1)</script> \"'&\x00\x1b[2J\ud800\ufffe\u202e ]]>"
VOID = {"meta", "rect", "path", "br"}


def full_report():
    return Report(
        run={"what": "campaign", "subject": "journal", "mode": "quick", "seed": 7, "jobs": 2,
             "started": "2025-01-31T09:30:00Z", "seconds": 50.0, "version": "1"},
        total=900, distinct=500, boots=1100,
        by_kind={"bits": 300, "erase-zeroed": 200}, by_place={"entry": 450, "parity": 50},
        by_depth={"1": 400, "2": 100},
        workloads={"put": WorkloadResult(10, 300, 0), "batch": WorkloadResult(20, 200, 2)},
        sectors={0: SectorResult(40, 3, 90, 0), 5: SectorResult(7, 1, 4, 2)},
        places={"entry": {"programs": 100, "programmed_bytes": 6400, "erases": 0},
                "segment": {"programs": 0, "programmed_bytes": 0, "erases": 2}},
        failures=[Failure("id-1", "batch", "record lost", "contact a", "nothing"),
                  Failure("id-2", "batch", "torn record shown", EVIL, EVIL)],
        not_judged=[NotJudged("seal", "no memory", "use --jobs 1", "id-3")],
        comparison=[{"subject": "JSON in place", "states": 100, "mounts_lost": 0,
                     "records_lost": 31, "torn_shown": 2, "deleted_back": 0}],
        partial=True,
    )  # fmt: skip


class Page(HTMLParser):
    """Tags must nest; texts and attributes are kept."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.texts, self.attrs = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attrs += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attrs += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data):
        self.texts.append(data)


def test_everything_is_written_and_can_be_read_again(tmp_path):
    report = full_report()
    page = write_report(report, tmp_path / "a" / "b")
    assert page.name == "index.html"
    document = json.loads((page.parent / "report.json").read_text())
    assert from_json(document).to_json() == report.to_json() and document["exit_code"] == 1
    assert document["exposure"]["places"][0]["place"] == "segment"
    write_report(report, page.parent)


def test_the_page_says_it_all():
    report = full_report()
    report.exposure = exposure(report.places)
    text = html(report)
    page = Page(text)
    said = " ".join(" ".join(page.texts).split())
    for words in ("Something was lost", "ended early", "id-1", "id-2", "erase-zeroed", "parity",
                  "31", "JSON in place", "no memory", "use --jobs 1", "sector 5: 7 cuts, 1 erase, "
                  "4 programs, 2 failed", "88.0 % are erases",
                  "drybag rig replay id-1", "W25Q32JV", "6 sectors of 4 KiB"):  # fmt: skip
        assert words in said, words
    assert page.tags.count("g") == 6 and "script" not in page.tags


def test_the_page_needs_no_network_and_runs_nothing():
    text = html(full_report())
    page = Page(text)
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(page.tags)
    assert not [name for name, _ in page.attrs if name.startswith("on") or name in ("src", "href")]
    assert "default-src 'none'" in text and not re.search(r"https?://|url\(|@import", text)
    assert "\x1b" not in text and "\u202e" not in text and "\x00" not in text


@pytest.mark.parametrize("change, words", [
    ({"failures": [], "not_judged": [], "partial": False}, "All held"),
    ({"failures": []}, "Not all judged"),
    ({"failures": [], "not_judged": [NotJudged("a", "b")]}, "Not all judged"),
    ({}, "Something was lost"),
])  # fmt: skip
def test_the_verdict(change, words):
    report = full_report()
    for name, value in change.items():
        setattr(report, name, value)
    title = re.search("<title>([^<]*)", html(report))[1]
    assert title.startswith(words)


def test_an_empty_run_and_a_boards_run():
    assert "All held" in html(Report())
    report = Report(
        run={"what": "board", "subject": "emu:b", "bound": "3/4 of nothing", "reset_only": True},
        total=4, distinct=4, cuts_seen={"erase": 1, "idle": 3},
        workloads={"ack": WorkloadResult(4, 4, 0)},
    )  # fmt: skip
    said = " ".join(Page(html(report)).texts)
    for words in ("3/4 of nothing", "resets, not power cuts", "Where cuts fell", "idle",
                  "just after an acknowledgement"):  # fmt: skip
        assert words in said
    ElementTree.fromstring(junit(Report().to_json()))


def test_a_great_many_failures_stay_a_page():
    report = full_report()
    report.failures *= 5000
    text = html(report)
    assert len(text) < 400_000 and "10,000" in text and "report.json has all" in text


def test_junit_counts_what_it_holds():
    root = ElementTree.fromstring(junit(full_report().to_json()))
    suite = root.find("testsuite")
    cases = suite.findall("testcase")
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("4", "2", "1")
    assert len(cases) == 4 and len(suite.findall("testcase/failure")) == 2
    assert [c.get("name") for c in cases] == ["put", "id-1", "id-2", "id-3"]
    assert suite.find("testcase/error").get("message") == "no memory"
    assert "contact a" in suite.find("testcase/failure").text


TEXT = st.text(max_size=12)


@given(
    st.lists(st.tuples(TEXT, TEXT, st.sampled_from(sorted(KINDS)), TEXT, TEXT), max_size=4),
    st.dictionaries(TEXT, st.integers(0, 9), max_size=3),
    st.dictionaries(st.integers(0, 500), st.integers(0, 3), max_size=4),
)
@settings(max_examples=40, deadline=None)
def test_any_text_gives_good_xml_and_html(failures, counts, sectors):
    report = Report(
        run={"subject": "".join(counts)}, by_kind=counts, by_place=counts,
        workloads={name: WorkloadResult(n, n, n) for name, n in counts.items()},
        sectors={number: SectorResult(n, n, n, n) for number, n in sectors.items()},
        failures=[Failure(*row) for row in failures],
    )  # fmt: skip
    root = ElementTree.fromstring(junit(report.to_json()))
    assert len(root.findall("testsuite/testcase/failure")) == len(failures)
    page = Page(html(report))
    assert "script" not in page.tags
    assert page.tags.count("g") == max(sectors, default=-1) + 1


def test_exposure_is_weighted_by_time():
    found = exposure({
        "a": {"programs": 1000, "programmed_bytes": 64000, "erases": 0},
        "b": {"programs": 0, "programmed_bytes": 0, "erases": 1},
        "never": {},
    })  # fmt: skip
    assert found["total_ms"] == pytest.approx(30 + 92.8 + 45)
    assert [row["place"] for row in found["places"]] == ["a", "b", "never"]
    assert found["erase_share"] == pytest.approx(45 / 167.8)
    assert sum(row["share"] for row in found["places"]) == pytest.approx(1)
    assert exposure({}) == {} == exposure({"a": {"erases": 0}})
