"""Anybody's app as the subject: what it sees, what it is asked, and what it may do wrong."""

import pytest

from drybag_host.rig.campaign import Campaign, run_campaign
from drybag_host.rig.comparison import plan
from drybag_host.rig.replay import replay
from drybag_host.rig.results import HELD, LOST, NOT_JUDGED

GOOD = """
import os
STEPS = 4  # a few
SECTORS = 12

def setup():
    for name in os.listdir("/"):
        if name.endswith(".new"):
            os.remove("/" + name)

def step(n):
    with open("/%d.new" % (n % 4), "w") as f:
        f.write("step %d" % n)
    os.rename("/%d.new" % (n % 4), "/%d" % (n % 4))
    return n

def check(acked):
    %s
"""


MOUNTING = {"mount lost", "write refused after recovery"}


def run(tmp_path, text, states=60, silence_s=60, **files):
    path = tmp_path / "app.py"
    path.write_text(text)
    for name, content in files.items():
        (tmp_path / (name + ".py")).write_text(content)
    campaign = Campaign("app:%s" % path, plan(states, 1), 2, silence_s=silence_s)
    campaign.run()
    return campaign.snapshot()


def test_an_app_that_asks_for_nothing_can_only_lose_its_file_system(tmp_path):
    report = run(tmp_path, GOOD.replace("%s", "pass"))
    assert {failure.what for failure in report.failures} <= MOUNTING
    assert not report.not_judged
    assert report.distinct > 60
    assert set(report.workloads) == {"steps", "steady"}
    assert "superblock" in report.by_place
    assert not {"rot", "sector-gone", "worn", "worn-silent"} & set(report.by_kind)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("return 'torn record shown: 7'", "torn record shown"),
        ("return ['deleted came back', 'x']", "deleted came back"),
        ("return 'it is broken'", "record lost"),
        ("assert not acked, 'gone'", "record lost"),
        ("{}['nothing']", "record lost"),
    ],
)
def test_what_check_says_is_a_failure_with_its_kind(tmp_path, said, kind):
    # right without any cut: only a boot after one finds the mark of an unclean end
    text = GOOD.replace("%s", "if len(os.listdir('/')) < 4:\n        " + said)
    report = run(tmp_path, text, states=20)
    assert report.exit_code() == LOST
    assert kind in {failure.what for failure in report.failures}


def test_a_failure_replays_from_its_id(tmp_path):
    text = GOOD.replace("%s", "assert len(os.listdir('/')) >= 4, 'too few'")
    failure = run(tmp_path, text, states=20).failures[0]
    steps, result = replay(failure.id)
    assert result["failure"] == failure.what
    assert result["found"] == failure.found
    assert any("in the workload, at flash command" in step["text"] for step in steps)


def test_ram_and_imported_modules_are_gone_after_a_cut(tmp_path):
    text = """
import helper
lives = []
STEPS = 3

def setup():
    lives.append(1)
    helper.lives.append(1)

def step(n):
    open("/f%d" % n, "w").close()
    return n

def check(acked):
    assert lives == helper.lives == [1], "RAM survived"
"""
    report = run(tmp_path, text, 20, helper="lives = []\n")
    assert report.exit_code() == HELD and report.boots > 20


def test_the_computers_files_are_out_of_reach(tmp_path):
    outside = tmp_path / "outside"
    text = GOOD.replace("%s", "pass").replace(
        "def setup():",
        "def setup():\n"
        "    for path in ('/lib/outside', '/%s', '/etc/hostname'):\n"
        "        try:\n"
        "            open(path, 'w')\n"
        "        except OSError:\n"
        "            continue\n"
        "        raise ValueError(path)\n" % outside,
    )
    report = run(tmp_path, text, 10)
    assert {failure.what for failure in report.failures} <= {"mount lost"}
    assert not report.not_judged and report.distinct
    assert not outside.exists()


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("def setup():", "def setup():\n    raise ValueError('my mistake')", "my mistake"),
        ("def step(n):", "def step(n):\n    n / 0", "divi"),
        ("def check(acked):", "def check(acked):\n    return 'always wrong'", "always wrong"),
        ("def check(acked):", "def chek(acked):", "no function check()"),
        ("def setup():", "def setup(:", "SyntaxError"),
        ("def setup():", "def setup():\n    import sys\n    sys.exit()", "SystemExit"),
        ("def step(n):", "def step(n):\n    hog = [bytes(9)]\n    while 1: hog += hog", "memory"),
        ("def step(n):", "def step(n):\n    while 1: pass", "it never ends"),
        ("def step(n):", "def step(n):\n    while 1: os.listdir('/')", "for ever"),
        ("STEPS = 4", "STEPS = many", "many"),
    ],
)
def test_an_app_that_cannot_be_judged_is_told_why(tmp_path, old, new, why):
    assert old in GOOD
    silence_s = 60 if why == "for ever" else 4  # it is not silent, however slow the machine
    report = run(tmp_path, GOOD.replace("%s", "pass").replace(old, new), 10, silence_s)
    assert report.exit_code() == NOT_JUDGED
    assert not report.failures and not report.distinct
    assert why in report.not_judged[0].why
    assert report.not_judged[0].hint


def test_a_state_in_which_the_app_hangs_is_not_judged_and_the_rest_is(tmp_path):
    hangs = "n = len(os.listdir('/'))\n    while n == 2: pass"  # silent: reading on would be told
    text = GOOD.replace("%s", hangs)
    report = run(tmp_path, text, 12, silence_s=1)
    assert report.exit_code() != HELD
    assert report.distinct > 12
    assert report.not_judged[0].id.startswith("r1:app%3A")
    assert "it never ends" in report.not_judged[0].why


def test_an_app_that_tries_for_ever_on_dead_flash_is_cut_like_any_other(tmp_path):
    text = GOOD.replace("%s", "pass").replace(
        "def step(n):",
        "def step(n):\n"
        "    while True:\n"
        "        try:\n"
        "            return once(n)\n"
        "        except OSError:\n"
        "            continue\n\n"
        "def once(n):",
    )
    report = run(tmp_path, text, 12)
    assert {failure.what for failure in report.failures} <= MOUNTING
    assert not report.not_judged and report.boots > report.distinct > 12


def test_no_room_is_no_failure(tmp_path):
    text = """
STEPS = 5
SECTORS = 10

def setup():
    pass

def step(n):
    with open("/f%d" % n, "w") as f:
        f.write("x" * 3000)
    return n

def check(acked):
    pass
"""
    report = run(tmp_path, text, 30)
    assert {other.workload for other in report.not_judged} == {"steady"}  # 125 do not fit
    assert "no room" in report.not_judged[0].why
    assert not report.failures and report.distinct > 10


RAW = """
RAW = True
STEPS = 3
SECTORS = 4

def setup(f):
    global flash
    flash = f

def step(n):
    flash.ioctl(6, n % 4)
    flash.writeblocks(n % 4 + BEYOND, b"x" * 64, 0)
    return n

def check(acked):
    pass
"""


def test_a_raw_app_has_the_bare_block_device(tmp_path):
    report = run(tmp_path, RAW.replace("BEYOND", "0"), 10)
    assert report.exit_code() == HELD
    assert set(report.by_place) - {"at rest"} == {"flash", "erase of flash"}


def test_a_raw_app_that_writes_outside_its_partition_is_named(tmp_path):
    report = run(tmp_path, RAW.replace("BEYOND", "4"), 10)
    assert report.exit_code() == NOT_JUDGED
    assert "outside the partition" in report.not_judged[0].why


def test_workloads_of_an_app_are_named(tmp_path):
    (tmp_path / "app.py").write_text(GOOD.replace("%s", "pass"))
    report = run_campaign("app:%s" % (tmp_path / "app.py"), workloads=["nosuch"], jobs=1)
    assert "'steps' and 'steady', not 'nosuch'" in report.not_judged[0].why
