"""The fixture `powercut` in somebody else's test suite."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from drybag_host.rig.comparison import APPS
from drybag_host.rig.replay import replay

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.M | re.S)
APP = next(block for block in BLOCKS if block.startswith("# my_app.py"))
# as README.md has it, with fewer states
TEST_APP = next(block for block in BLOCKS if "powercut" in block).replace(
    'run("my_app.py")', 'run("my_app.py", states=150)'
)
FUNCTIONS = """
def write(flash, acked):
    for n in range(4):
        {before}
        flash.writeblocks(n, bytes([n]) * 64, 0)
        {after}


def check(flash, acked):
    unit = bytearray(64)
    for n in acked:
        flash.readblocks(n, unit, 0)
        assert unit == bytes([n]) * 64, "record %d" % n


def test_mine(powercut):
    assert powercut.sweep(write, check, sectors=4{more}) > {most}
"""


def suite(folder, test, **files):
    """Run pytest on a suite of one test; (its exit code, what it printed)."""
    (folder / "test_mine.py").write_text(test)
    for name, text in files.items():
        (folder / (name + ".py")).write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "drybag_host.rig.plugin",
         "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)],
        capture_output=True, text=True, timeout=300, cwd=folder.parent,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_the_readmes_example_is_ten_lines():
    code = [line for line in APP.splitlines() if line.strip() and not line.startswith("#")]
    assert len(code) == 10 and "states=150" in TEST_APP


def test_the_readmes_app_loses_records_and_fails_with_ids(tmp_path):
    code, said = suite(tmp_path, TEST_APP, my_app=APP)
    assert code == 1
    assert "powercut: my_app.py lost something in" in said
    assert "drybag rig replay ID" in said
    word = next(word for word in said.split() if word.startswith("r1:app%3A"))
    assert replay(word)[1]["failure"]


def test_an_app_that_loses_nothing_passes(tmp_path):
    ours = {name: (APPS / (name + ".py")).read_text() for name in ("drybag_journal", "steps")}
    code, said = suite(
        tmp_path,
        "def test_ours(powercut):\n"
        "    report = powercut.run('drybag_journal.py', states=60, depth=2)\n"
        "    assert report.distinct > 60 and not report.failures\n",
        **ours,
    )
    assert (code, "1 passed" in said) == (0, True), said


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("def setup():\n    1 / 0\n\ndef step(n):\n    pass\n\ndef check(acked):\n    pass\n",
         "could not judge my_app.py, workload 'steps'"),
        ("", "no function setup()"),
    ],
)  # fmt: skip
def test_an_app_that_cannot_be_judged_fails(tmp_path, text, why):
    code, said = suite(tmp_path, TEST_APP, my_app=text)
    assert code == 1
    assert why in said


def test_an_app_that_is_not_there(tmp_path):
    code, said = suite(tmp_path, TEST_APP)
    assert code == 1
    assert "my_app.py: no such file" in said


def test_functions_over_a_block_device(tmp_path):
    right = {"before": "flash.ioctl(6, n)", "after": "acked.append(n)"}
    code, said = suite(tmp_path, FUNCTIONS.format(**right, more="", most=40))
    assert (code, "1 passed" in said) == (0, True), said
    early = {"before": "acked.append(n)", "after": "pass"}
    code, said = suite(tmp_path, FUNCTIONS.format(**early, more="", most=0))
    assert code == 1
    assert 'powercut.sweep(..., only="' in said
    state = said.partition('only="')[2].partition('"')[0]
    only = ', only="%s"' % state
    code, said = suite(tmp_path, FUNCTIONS.format(**early, more=only, most=0))
    assert (code, "1 of 1 states lost something" in said) == (1, True), said
    code, said = suite(tmp_path, FUNCTIONS.format(**right, more=only, most=0))
    assert (code, "1 passed" in said) == (0, True), said


def test_functions_that_fail_without_any_cut(tmp_path):
    broken = {"before": "acked.append(7)", "after": "pass"}
    code, said = suite(tmp_path, FUNCTIONS.format(**broken, more="", most=0))
    assert code == 1
    assert "powercut: operation 0 fails without any cut" in said or "wrong without any cut" in said
