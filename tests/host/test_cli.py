"""The command line itself: parsing, errors, exit codes, JSON, pipes, help, completion."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drybag import errors as shared
from drybag_host import board_errors, cli
from drybag_host import errors as host
from drybag_host.output import Output, printable, size_text

ROOT = Path(__file__).resolve().parents[2]
ENV = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join([str(ROOT / "firmware" / "lib"), str(ROOT / "host")]),
}


def drybag(*words, **options):
    return subprocess.run(
        [sys.executable, "-m", "drybag_host.cli", *words], env=ENV, capture_output=True, **options
    )


def leaves(parser, path=()):
    """(words, parser) of every command that can be run."""
    subs = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not subs:
        yield path, parser
    for action in subs:
        for name, child in action.choices.items():
            yield from leaves(child, (*path, name))


LEAVES = dict(leaves(cli.build_parser()))


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_every_command_has_help_with_an_example(words, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    text = LEAVES[words].format_help()
    assert "example:\n  " in text
    assert "drybag " + " ".join(words) in text.split("example:")[1]
    for option in ("--json", "--quiet", "--debug"):
        assert option in text
    assert max(map(len, text.splitlines())) <= 99


def test_all_that_issue_of_a_user_are_there():
    names = {words[0] for words in LEAVES}
    assert names >= {"import", "pull", "verify", "show", "find", "restore", "export", "status",
                     "scrub", "delete", "undelete", "emu", "boards", "completion"}  # fmt: skip


def test_every_error_has_its_place_in_the_table():
    numbers = {code: name for code, name, _ in cli.EXIT_CODES}
    assert len(numbers) == len(cli.EXIT_CODES)
    for module in (shared, host, board_errors):
        for name, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, shared.DrybagError):
                assert value.exit_code in numbers, name
    text = " ".join(cli.build_parser().format_help().split())
    for code, name, meaning in cli.EXIT_CODES:
        assert "%d %s %s" % (code, name, meaning) in text


def test_one_command_is_parsed_without_loading_the_others():
    code = (
        "import sys; from drybag_host import cli; cli.build_parser('pull');"
        "bad = [m for m in ('rich', 'serial', 'icalendar', 'jinja2', 'littlefs', 'shtab',"
        " 'drybag_host.commands.emu', 'drybag_host.formats') if m in sys.modules];"
        "print(bad)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=ENV, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_version_and_no_words():
    assert drybag("--version").stdout.startswith(b"drybag ")
    done = drybag()
    assert done.returncode == 0 and b"commands:" in done.stdout


@pytest.mark.parametrize(
    "words",
    [["pull"], ["nonsense"], ["pull", "a", "b", "c"], ["--nonsense"], ["show", "--kind"],
     ["export", "x", "y", "--vcard", "5"], ["--json"], ["emu"]],
    ids=" ".join,
)  # fmt: skip
def test_usage_errors(words, capsys):
    assert cli.main(words) == 2
    out = capsys.readouterr()
    assert "drybag: " in out.err if "--json" not in words else json.loads(out.out)["error"]
    assert "Traceback" not in out.err


def test_errors_as_json(capsys):
    assert cli.main(["verify", "/nowhere/at/all", "--json"]) == 15
    out = capsys.readouterr()
    error = json.loads(out.out)["error"]
    assert error["class"] == "NoSuchTarget" and error["exit_code"] == 15
    assert error["message"] and error["hint"] and out.err == ""
    assert cli.main(["pull", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["class"] == "Usage"


@pytest.fixture
def failing(monkeypatch):
    """A command that raises what it is told to."""
    from drybag_host.commands import verify

    def use(error):
        def run(args):
            args.out.document({"before": 1})
            raise error

        monkeypatch.setattr(verify, "run", run)

    return use


@pytest.mark.parametrize(
    "error, code, says",
    [
        (shared.NoSpace("the flash is full", 812), 5, "the flash is full"),
        (host.PortBusy("taken"), 10, "taken"),
        (KeyboardInterrupt(), 130, "again"),
        (ValueError("odd"), 70, "--debug"),
        (RecursionError(), 70, "RecursionError"),
        (OSError(28, "No space left", "/tmp/x"), 17, "/tmp/x"),
        (PermissionError(13, "denied", "/tmp/y"), 23, "/tmp/y"),
    ],
)
def test_errors_are_printed_once_with_their_code(failing, capsys, error, code, says):
    failing(error)
    assert cli.main(["verify", "x"]) == code
    out = capsys.readouterr()
    assert says in out.err and "Traceback" not in out.err and out.out == ""
    assert cli.main(["verify", "x", "--json"]) == code
    document = json.loads(capsys.readouterr().out)
    assert document["before"] == 1 and document["error"]["exit_code"] == code
    assert cli.main(["verify", "x", "--debug"]) == code
    assert "Traceback" in capsys.readouterr().err


def test_closed_pipe_is_quiet(tmp_path):
    done = subprocess.run(
        "%s -m drybag_host.cli --help | head -c 10; echo ${PIPESTATUS[0]}" % sys.executable,
        shell=True, executable=shutil.which("bash"), env=ENV, capture_output=True,
    )  # fmt: skip
    assert done.stderr == b""
    script = "from drybag_host import cli; import sys; sys.exit(cli.main(['completion', 'bash']))"
    process = subprocess.Popen(
        [sys.executable, "-c", script], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.wait(20) == 141
    assert process.stderr.read() == b""
    process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_and_its_like_end_with_130_and_clean_up(number, tmp_path):
    script = (
        "import tempfile, time, sys\n"
        "from drybag_host import cli; from drybag_host.commands import verify\n"
        "def run(args):\n"
        "    with tempfile.TemporaryDirectory(dir=%r):\n"
        "        print('here', flush=True); time.sleep(30)\n"
        "verify.run = run\n"
        "sys.exit(cli.main(['verify', 'x']))" % str(tmp_path)
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.readline()
    time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130 and b"Traceback" not in errors
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "tcsh"])
def test_completion_knows_the_commands(shell):
    done = drybag("completion", shell)
    assert done.returncode == 0, done.stderr
    for word in (b"import", b"restore", b"scrub", b"salvage"):
        assert word in done.stdout
    if shutil.which(shell) and shell != "tcsh":
        check = subprocess.run([shell, "-n"], input=done.stdout, capture_output=True)
        assert check.returncode == 0, check.stderr


def test_bash_completes_commands_options_and_boards(tmp_path):
    (tmp_path / "emu" / "demo").mkdir(parents=True)
    script = drybag("completion", "bash").stdout.decode()
    script += """
complete_line() {
  COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
  COMPREPLY=(); _shtab_drybag; echo "${COMPREPLY[@]}"
}
complete_line drybag pu
complete_line drybag pull --ad
complete_line drybag pull emu:d
"""
    done = subprocess.run(
        ["bash", "-c", script], env={**ENV, "DRYBAG_HOME": str(tmp_path)},
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert done.stdout.split("\n")[:3] == ["pull", "--adopt", "emu:demo"], done


def test_records_cannot_write_to_the_terminal():
    assert printable(b"a\x1b[2Jb\x07\xff\n") == "a�[2Jb�� "
    assert printable("\u202eabc\u0085") == "�abc�"


def test_sizes():
    assert [size_text(n) for n in (0, 999, 1000, 99_960, 1_500_000)] == [
        "0 B", "999 B", "1.0 KB", "100 KB", "1.5 MB",
    ]  # fmt: skip


def test_confirm_needs_somebody(monkeypatch):
    out = Output()
    assert out.confirm("sure", yes=True)
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(host.Declined):
        out.confirm("sure")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("pul auto dir", "no command 'pul'; did you mean pull?"),
        ("frobnicate", "no command 'frobnicate'"),
        ("emu strat demo", "no verb 'strat'; did you mean start?"),
        ("emu xyzzy", "there are: create, start"),
        ("export in out --forec", "no option --forec; did you mean --force?"),
        ("flash auto --bord esp32-c3", "no option --bord; did you mean --board?"),
        ("flash auto --board esp32-c3 --erase", "no option --erase; did you mean --erase-pim?"),
        ("--jsn boards", "no option --jsn; did you mean --json?"),
        ("pull auto one two", "too many words, from 'two' on"),
    ],
)
def test_a_slip_is_named_with_what_is_near(words, says, capsys):
    assert cli.main(words.split()) == 2
    err = capsys.readouterr().err
    assert says in err
    command = " ".join(["drybag", words.split()[0]])
    if not words.startswith(("pul ", "frob", "--")):
        assert "usage: %s" % command in err and "%s --help" % command in err


def test_words_behind_two_dashes_are_no_options(capsys):
    assert cli.main(["show", "--", "/nowhere", "--forec"]) == 15


@pytest.mark.parametrize("words", [["boards"], ["boards", "--json"], ["pull", "--json"]])
def test_a_full_disk_behind_stdout_is_named(words):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "drybag_host.cli", *words], env=ENV, stdout=full,
            stderr=subprocess.PIPE,
        )  # fmt: skip
    assert done.returncode == 17
    assert b"standard output: No space" in done.stderr and b"Traceback" not in done.stderr


@pytest.mark.parametrize(("closed", "code"), [(">&-", 0), (">&- 2>&-", 0), ("<&-", 0)])
def test_closed_standard_streams_are_no_fault_of_the_command(closed, code):
    line = 'exec "$0" -m drybag_host.cli boards ' + closed
    done = subprocess.run(["sh", "-c", line, sys.executable], env=ENV, capture_output=True)
    assert (done.returncode, done.stderr) == (code, b"")
