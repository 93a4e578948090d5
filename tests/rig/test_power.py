"""Power switches: their settings, and each kind against what it would switch."""

import os
import pty
import shutil
import socket
import sys
import time
import tomllib
import tty

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plugs import PlugServer, rfc2217_port

from drybag_host import power
from drybag_host.board_errors import UnknownBoardName
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.power import _settings, uhubctl
from drybag_host.power_errors import SwitchFailed, SwitchSettings

BOARD = "/dev/ttyUSB0"
FAST = "settle_s = 0.0\noff_s = 0\n"


@pytest.fixture
def bench(tmp_path):
    """bench(toml, name, target): the switch of that settings file."""
    opened = []

    def open_it(text, name="s", target=BOARD):
        file = tmp_path / "power.toml"
        file.write_text(text)
        opened.append(power.open_switch(name, target, file))
        return opened[-1]

    yield open_it
    for switch in opened:
        switch.close()


# -- settings -----------------------------------------------------------------------------------


def test_every_kind_explains_itself_and_its_example_is_right():
    assert {"emu", "qemu", "command", "uhubctl", "relay", "rts", "dtr", "http", "labgrid"} == set(
        power.kinds()
    )
    for kind in power.kinds():
        module = power.module_of(kind)
        (name, table), = tomllib.loads(module.EXAMPLE).items()
        assert name == kind and module.SUMMARY and module.NOTES and module.TRIED
        values = power.module_settings(module, table, kind)
        assert set(table) <= set(values) and values["settle_s"] >= 0


@pytest.mark.parametrize("text, words", [
    ("[s]\nkind = 'relay'\n", "'port' is missing: the relay's serial port"),
    ("[s]\nkind = 'relay'\nport = 3\n", "port must be text"),
    ("[s]\nkind = 'relay'\nport = 'x'\nchannel = true\n", "channel must be a whole number"),
    ("[s]\nkind = 'relay'\nport = 'x'\nchannel = 1.5\n", "channel must be a whole number"),
    ("[s]\nkind = 'relay'\nport = 'x'\nsettle_s = -1\n", "out of range"),
    ("[s]\nkind = 'relay'\nport = 'x'\nsettle_s = nan\n", "out of range"),
    ("[s]\nkind = 'relay'\nport = 'x'\nbaud = 9600\n", "unknown key 'baud'"),
    ("[s]\nkind = 'relay'\nport = 'x'\nenergised = 'yes'\n", "one of"),
    ("[s]\nkind = 'http'\ndevice = 'tasmota'\nurl = 'http://x'\npassword = 'p'\n", "environment"),
    ("[s]\nkind = 'http'\ndevice = 'fritz'\nurl = 'http://x'\n", "one of"),
    ("[s]\nkind = 'http'\ndevice = 'tasmota'\nurl = 'http://u:p@x'\n", "without a password"),
    ("[s]\nkind = 'http'\ndevice = 'tasmota'\nurl = 'http://['\n", "must look like"),
    ("[s]\nkind = 'toaster'\n", "unknown kind 'toaster'"),
    ("[s]\nkind = 7\n", "unknown kind 7"),
    ("[t]\n", "no power switch 's'"),
    ("s = 1\n", "outside a [table]"),
    ("[s\n", "not TOML"),
])  # fmt: skip
def test_wrong_settings_are_named(bench, text, words):
    with pytest.raises(SwitchSettings) as caught:
        bench(text)
    assert words in str(caught.value) + caught.value.hint and caught.value.exit_code == 2
    assert caught.value.hint


def test_a_settings_file_that_is_not_there(tmp_path, monkeypatch):
    with pytest.raises(SwitchSettings, match="no such file"):
        power.open_switch("bench", BOARD, tmp_path / "none.toml")
    with pytest.raises(SwitchSettings, match="Is a directory"):
        power.open_switch("bench", BOARD, tmp_path)
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path))
    with pytest.raises(SwitchSettings, match="'port' is missing"):
        power.open_switch("relay", BOARD)
    (tmp_path / "power.toml").write_text('[bench]\nkind = "command"\noff = "true"\non = "true"\n')
    switch = power.open_switch("bench", BOARD)
    assert (switch.name, switch.kind, switch.settle_s) == ("bench", "command", 0.5)


@given(st.one_of(st.binary(max_size=80), st.dictionaries(
    st.sampled_from(["kind", "port", "url", "off", "settle_s", "password", "x"]),
    st.one_of(st.text(max_size=5), st.integers(), st.floats(), st.booleans()), max_size=4,
)))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_no_settings_file_breaks_the_reader(tmp_path_factory, content):
    file = tmp_path_factory.getbasetemp() / "fuzz.toml"
    if isinstance(content, bytes):
        file.write_bytes(b"[s]\n" + content)
        table = None
    else:
        file.write_bytes(b"")
        table = content
    try:
        if table is None:
            _, table, _ = _settings.read("s", file, power.kinds())
        kind = power.module_of("relay")
        values = power.module_settings(kind, table, "here")
        assert isinstance(values["port"], str) and 0 <= values["settle_s"] < 1e6
    except SwitchSettings as error:
        assert str(error)


# -- command ------------------------------------------------------------------------------------


def test_command(bench, tmp_path):
    log = tmp_path / "log"
    switch = bench('[s]\nkind="command"\noff="echo off $DRYBAG_TARGET >> %s"\n'
                   'on="echo on >> %s"\n' % (log, log))  # fmt: skip
    switch.off(seed=3)
    switch.on()
    assert log.read_text() == "off %s\non\n" % BOARD and switch.is_off() is None


def test_a_command_that_fails_says_why(bench):
    switch = bench('[s]\nkind="command"\noff="echo no such outlet; exit 4"\non="/no/such"\n')
    with pytest.raises(SwitchFailed, match="failed with 4: no such outlet") as caught:
        switch.off()
    assert "by hand" in caught.value.hint and caught.value.exit_code == 3
    with pytest.raises(SwitchFailed, match="failed with 127"):
        switch.on()


def test_a_command_that_does_not_end_is_ended_with_its_children(bench, tmp_path):
    pid_file = tmp_path / "pid"
    switch = bench('[s]\nkind="command"\noff="sleep 300 & echo $! > %s; wait"\non="true"\n'
                   'timeout_s = 0.3\n' % pid_file)  # fmt: skip
    with pytest.raises(SwitchFailed, match="more than 0.3 s"):
        switch.off()
    pid = int(pid_file.read_text())
    deadline = time.monotonic() + 5
    while _is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _is_alive(pid)


def _is_alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


# -- uhubctl ------------------------------------------------------------------------------------

# as uhubctl 2.5.0 prints it: a hub of USB 3 is two, and a device names itself in brackets
HUB = """#!%s
import sys
location, port, action = sys.argv[2], sys.argv[4], sys.argv[6]
open(%r, "a").write(" ".join(sys.argv[1:]) + "\\n")
if location != "1-1":
    sys.stderr.write("No compatible devices detected at location %%s!\\n"
                     "Run with -h to get usage info.\\n" %% location)
    sys.exit(1)
kept = port == "3" or action == "on"
half = port == "4" and action == "off"
device = "[10c4:ea60 Silicon Labs CP2102 power off]"
for hub, off, on in (
    ("2-1 [2109:0813 VIA Labs, Inc. USB3.0 Hub, USB 3.00, 4 ports, ppps]",
     "0080 off", "02a0 power 5gbps Rx.Detect"),
    ("1-1 [2109:2813 VIA Labs, Inc. USB2.0 Hub, USB 2.10, 4 ports, ppps]",
     "0000 off", "0103 power enable connect " + device),
):
    print("Current status for hub %%s\\n  Port %%s: 0103 power enable connect %%s"
          %% (hub, port, device))
    print("Sent power %%s request\\nNew status for hub %%s" %% (action, hub))
    print("  Port %%s: %%s" %% (port, on if kept or half and hub[0] == "2" else off))
"""


def test_what_uhubctl_says_of_a_port():
    usb3 = "New status for hub 2-1 [x power]\n  Port 2: 00a0 Rx.Detect\n"
    assert uhubctl.powered(usb3, 2) == [False]
    assert uhubctl.powered("Current status for hub 1-1\n  Port 2: 0100 power\n", 2) == []
    several = "New status for hub 1-1 [x]\n  Port 1: 0100 power\n  Port 2: 0000 off\n"
    assert (uhubctl.powered(several, 1), uhubctl.powered(several, 2)) == ([True], [False])


def test_the_real_uhubctl_without_a_hub(bench):
    if not shutil.which("uhubctl"):
        pytest.skip("uhubctl is not installed (sudo apt install uhubctl)")
    with pytest.raises(SwitchFailed, match="No compatible|permission|USB") as caught:
        bench('[s]\nkind="uhubctl"\nlocation="99-9.9"\nport=1\n').off()
    assert "udev" in caught.value.hint


def test_uhubctl(bench, tmp_path):
    program, log = tmp_path / "uhubctl", tmp_path / "log"
    program.write_text(HUB % (sys.executable, str(log)))
    program.chmod(0o755)
    text = '[s]\nkind="uhubctl"\nlocation="%s"\nport=%d\nprogram="%s"\n'
    switch = bench(text % ("1-1", 2, program))
    switch.off()
    switch.on()
    assert log.read_text() == "-l 1-1 -p 2 -a off\n-l 1-1 -p 2 -a on\n"
    for port in (3, 4):  # 4: one half of the hub keeps it on
        said = "port %d of hub 1-1 did not go off" % port
        with pytest.raises(SwitchFailed, match=said) as caught:
            bench(text % ("1-1", port, program)).off()
        assert "another hub" in caught.value.hint
    with pytest.raises(SwitchFailed, match="No compatible devices"):
        bench(text % ("2-1", 2, program)).off()
    with pytest.raises(SwitchFailed, match="does not start") as caught:
        bench(text % ("1-1", 2, tmp_path / "none")).off()
    assert "apt install uhubctl" in caught.value.hint


# -- relay --------------------------------------------------------------------------------------


@pytest.fixture
def line():
    """(master descriptor, path) of a raw pty."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    yield master, os.ttyname(slave)
    for fd in (master, slave):
        os.close(fd)


def test_relay_speaks_lcus_1(bench, line):
    master, path = line
    switch = bench('[s]\nkind="relay"\nport="%s"\n' % path)
    switch.on()
    assert os.read(master, 16) == bytes.fromhex("A00101A2")
    switch.off()
    assert os.read(master, 16) == bytes.fromhex("A00100A1")


def test_relay_channels_and_the_other_contact(bench, line):
    master, path = line
    bench('[s]\nkind="relay"\nport="%s"\nchannel=8\n' % path).on()
    assert os.read(master, 16) == bytes.fromhex("A00801A9")
    bench('[s]\nkind="relay"\nport="%s"\nchannel=255\nenergised="off"\n' % path).off()
    assert os.read(master, 16) == bytes.fromhex("A0FF01A0")
    with pytest.raises(SwitchFailed, match="no channel 256"):
        bench('[s]\nkind="relay"\nport="%s"\nchannel=256\n' % path)


def test_a_relay_that_is_not_there(bench):
    with pytest.raises(SwitchFailed, match="does not open") as caught:
        bench('[s]\nkind="relay"\nport="/dev/no-such-relay"\n')
    assert caught.value.hint


# -- rts, dtr -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:set(Daemon|Name).. is deprecated")
@pytest.mark.parametrize("kind, sees, asserted", [("rts", "cts", "on"), ("dtr", "dsr", "off")])
def test_a_line_is_switched_with_its_polarity(bench, kind, sees, asserted):
    with rfc2217_port() as (address, port):
        setattr(port, kind, asserted != "on")
        switch = bench('[s]\nkind="%s"\nport="%s"\nasserted="%s"\n' % (kind, address, asserted))
        assert not switch.reset_only
        switch.off()
        assert getattr(port, sees) == (asserted == "off")
        switch.on()
        assert getattr(port, sees) == (asserted == "on")
        switch.close()


@pytest.mark.parametrize("kind", ["rts", "dtr"])
def test_the_boards_own_port_is_a_reset(bench, line, tmp_path, kind):
    _, path = line
    link = tmp_path / "board"
    link.symlink_to(path)
    assert bench('[s]\nkind="%s"\nport="%s"\n' % (kind, link), target=path).reset_only


@pytest.mark.filterwarnings("ignore:set(Daemon|Name).. is deprecated")
def test_a_reset_holds_en_low(bench):
    with rfc2217_port() as (address, port):
        port.dtr = True
        switch = bench('[s]\nkind="rts"\nport="%s"\n' % address, target=address)
        assert switch.reset_only and not port.cts
        switch.off()
        assert port.cts and not port.dsr
        switch.on()
        assert not port.cts
        switch.close()


def test_a_port_without_the_line_is_named(bench, line):
    _, path = line
    switch = bench('[s]\nkind="rts"\nport="%s"\n' % path)
    with pytest.raises(SwitchFailed, match="RTS of .* cannot be set") as caught:
        switch.off()
    assert "pty" in caught.value.hint
    with pytest.raises(SwitchFailed, match="does not open"):
        bench('[s]\nkind="dtr"\nport="/dev/no-such-port"\n')


# -- http ---------------------------------------------------------------------------------------

PLUG = '[s]\nkind="http"\ndevice="%s"\nurl="%s"\ntimeout_s=2\npassword_env="PLUG_PASSWORD"\n'


@pytest.mark.parametrize("password", ["", "s3cret & more"])
@pytest.mark.parametrize("device", ["tasmota", "shelly1", "shelly2"])
def test_plugs(bench, monkeypatch, device, password):
    monkeypatch.setenv("PLUG_PASSWORD", password)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with PlugServer(device, password) as plug:
        switch = bench(PLUG % (device, plug.url + "/"))
        switch.off()
        assert not plug.is_on
        switch.on()
        assert plug.is_on
        plug.stuck = True
        with pytest.raises(SwitchFailed, match="told to go off, and did not"):
            switch.off()


@pytest.mark.parametrize("device", ["tasmota", "shelly1", "shelly2"])
def test_a_wrong_password_is_named_and_not_shown(bench, monkeypatch, device):
    monkeypatch.setenv("PLUG_PASSWORD", "hunter2")
    with PlugServer(device, "another") as plug:
        with pytest.raises(SwitchFailed, match="HTTP 401, it wants another password") as caught:
            bench(PLUG % (device, plug.url)).off()
    assert "PLUG_PASSWORD" in caught.value.hint
    assert "hunter2" not in str(caught.value) + caught.value.hint


@pytest.mark.parametrize("reply", [
    (200, {}, b"<html>a router"),
    (200, {}, b"[1]"),
    (200, {}, b"{}"),
    (200, {}, b"\xff\xfe"),
    (500, {}, b""),
    (302, {"Location": "http://127.0.0.1:1/"}, b""),
    (401, {"WWW-Authenticate": "Digest realm=x, nonce=y"}, b""),
    (401, {"WWW-Authenticate": ""}, b""),
    (200, {"Content-Length": "9999"}, b"{"),
])  # fmt: skip
def test_other_servers_are_no_plugs(bench, monkeypatch, reply):
    monkeypatch.setenv("PLUG_PASSWORD", "hunter2")
    with PlugServer("tasmota") as plug:
        plug.reply = reply
        for device in ("tasmota", "shelly1", "shelly2"):
            with pytest.raises(SwitchFailed) as caught:
                bench(PLUG % (device, plug.url)).off()
            assert "hunter2" not in str(caught.value) and caught.value.hint


def test_a_plug_that_is_silent_or_away(bench):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = "http://127.0.0.1:%d" % silent.getsockname()[1]
        with pytest.raises(SwitchFailed, match="timed out"):
            bench((PLUG % ("shelly2", url)).replace("timeout_s=2", "timeout_s=0.2")).off()
    with pytest.raises(SwitchFailed, match="refused"):
        bench(PLUG % ("shelly2", url)).off()


# -- labgrid, emu -------------------------------------------------------------------------------


def test_labgrid_switches_or_says_how_to_install_it(bench, tmp_path):
    log = tmp_path / "log"
    config = tmp_path / "bench.yaml"
    config.write_text(
        "targets:\n  main:\n    drivers:\n    - ExternalPowerDriver:\n"
        "        cmd_on: \"sh -c 'echo on >> %s'\"\n"
        "        cmd_off: \"sh -c 'echo off >> %s'\"\n" % (log, log)
    )
    text = '[s]\nkind="labgrid"\nconfig="%s"\nplace="%s"\n'
    try:
        import labgrid  # noqa: F401
    except ImportError:
        with pytest.raises(SwitchFailed, match="labgrid is not installed") as caught:
            bench(text % (config, "main"))
        assert caught.value.hint == "pip install labgrid"
        return
    switch = bench(text % (config, "main"))
    switch.off()
    switch.on()
    assert log.read_text() == "off\non\n"
    with pytest.raises(SwitchFailed, match="no such target"):
        bench(text % (config, "elsewhere"))


def test_emu_says_where_each_cut_fell(tmp_path, monkeypatch):
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path))
    board = EmulatedBoard.create("b")
    switch = power.open_switch("emu", "emu:b")
    try:
        switch.arm(2, "bits", 5)
        switch.on()
        assert board.wait_off(20) and switch.is_off()
        fell = switch.fell()
        assert fell["op"] in ("program", "erase") and fell["address"] % 64 == 0
        assert fell["state"] and switch.counters["commands"] == 2
        switch.on()
        switch.on()
        assert not switch.is_off() and switch.fell() is None
        switch.off()
        switch.off()
        assert switch.is_off() and board.state()["why_off"] == "power off"
    finally:
        board.stop()


def test_emu_has_power_over_emulated_boards_only(tmp_path, monkeypatch):
    monkeypatch.setenv("DRYBAG_HOME", str(tmp_path))
    with pytest.raises(SwitchSettings, match="no power over /dev/ttyUSB0"):
        power.open_switch("emu", BOARD)
    with pytest.raises(UnknownBoardName):
        power.open_switch("emu", "emu:none")
