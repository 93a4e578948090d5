"""The emulated board as a chip: boot, modules, power, resets, faults, locks."""

import os
import signal
import time

import pytest
from emulated_boards import PROMPT, Talk, make_board, wait_for

from drybag_host.board_errors import (
    AlreadyRunning,
    ImageInUse,
    ImageProblem,
    NameTaken,
    NotRunning,
    UnknownBoardName,
)
from drybag_host.emulator.boards import EmulatedBoard, board_names, list_boards
from drybag_host.image import filesystem, flash


@pytest.fixture
def boards(tmp_path):
    """A function that makes boards; all are stopped at the end."""
    made = []

    def make(name="b", **arguments):
        board = make_board(tmp_path, name, **arguments)
        made.append(board)
        return board

    yield make
    for board in made:
        if board.folder.exists() and board.is_running:
            board.stop()


@pytest.fixture
def repl(boards):
    """A started board with an empty file system and a terminal at its prompt."""
    board = boards()
    talk = Talk.from_boot(board)
    talk.until(PROMPT)
    yield board, talk
    talk.close()


# --- boot ---


def test_boots_boot_py_then_main_py_from_the_image_with_lib_on_the_path(boards):
    board = boards(
        boot="print('boot')\nimport helper\n",
        main="print('main', helper.x, x)\n",
        **{"lib/helper": "x = 5\n"},
    )
    with pytest.raises(NotRunning):
        _ = board.console
    talk = Talk.from_boot(board)
    said = talk.until(PROMPT)
    assert b"boot\r\n" in said
    assert b"NameError" in said and b"main.py" in said  # x is helper's, not ours
    assert talk.line("helper.__file__") == "'/lib/helper.py'"
    talk.close()


def test_an_error_in_boot_py_leaves_main_py_alone(boards):
    board = boards(boot="1/0\n", main="print('never')\n")
    talk = Talk.from_boot(board)
    said = talk.until(PROMPT)
    assert b"ZeroDivisionError" in said and b"never" not in said
    talk.close()


def test_nothing_of_the_host_is_in_reach(repl):
    _, talk = repl
    talk.line("import os, sys")
    assert (
        talk.line("os.getcwd(), os.listdir('/'), sys.path") == "('/', [], ['', '.frozen', '/lib'])"
    )
    assert "OSError" in talk.line("open('/etc/passwd')")
    assert "ImportError" in talk.line("import rom_boot")
    assert "AttributeError" in talk.line("os.system")
    assert (
        talk.line("sorted(k for k in sys.modules if 'rom' in k or k in ('chip', 'nor'))") == "[]"
    )
    assert talk.line("sys.platform, os.uname().sysname") == "('esp32', 'esp32')"


def test_the_heap_is_the_boards(boards):
    for name, low, high in (("esp32-generic", 210, 270), ("lilygo-t-deck", 15000, 16400)):
        board = boards(name, board=name)
        talk = Talk.from_boot(board)
        talk.until(PROMPT)
        talk.line("import gc; gc.collect()")
        assert low < int(talk.line("gc.mem_free()")) / 1024 < high
        talk.close()


def test_a_vfs_that_does_not_mount_is_reported_and_kept(boards):
    board = boards(main="print(1)")
    with open(board.image, "r+b") as f:
        f.seek(0x200000)
        f.write(bytes(8192))
    before = board.image.read_bytes()
    talk = Talk.from_boot(board)
    assert b"does not mount" in talk.until(PROMPT)
    talk.close()
    board.stop()
    assert board.image.read_bytes() == before


# --- modules ---


def test_partitions_as_the_table_says(repl):
    _, talk = repl
    talk.line("from esp32 import Partition as P; p = P.find(P.TYPE_DATA, label='pim')")
    assert talk.line("len(p), p[0].info()") == "(1, (1, 131, 2621440, 1572864, 'pim', False))"
    assert talk.line("p[0].ioctl(4, 0), p[0].ioctl(5, 0)") == "(384, 4096)"
    assert talk.line("P.find(label='factory')[0].info()[2]") == "65536"
    talk.line("p[0].writeblocks(3, b'hello', 7); b = bytearray(5); p[0].readblocks(3, b, 7)")
    assert talk.line("b") == "bytearray(b'hello')"


def test_zero_to_one_halts_the_board(repl):
    board, talk = repl
    talk.line("from esp32 import Partition as P; p = P('pim'); p.writeblocks(3, b'a', 0)")
    talk.port.write(b"p.writeblocks(3, b'b', 0)\r")
    said = talk.until(b"erase the sector first")
    assert b"rule: program at 0x283000" in said
    assert wait_for(lambda: not board.is_powered)
    assert board.state()["why_off"].startswith("rule")


def test_time_starts_in_2000_survives_resets_and_not_power(repl):
    board, talk = repl
    talk.line("import time, machine")
    assert talk.line("time.gmtime()[:4]") == "(2000, 1, 1, 0)"
    assert int(talk.line("time.time()")) < 60
    assert talk.line("time.gmtime(0)") == "(2000, 1, 1, 0, 0, 0, 5, 1)"
    assert talk.line("time.localtime(761234567)") == "(2024, 2, 14, 14, 2, 47, 2, 45)"
    assert talk.line("time.mktime((2024, 2, 14, 14, 2, 47, 0, 0))") == "761234567"
    talk.line("r = machine.RTC(); r.datetime((2031, 5, 6, 1, 7, 8, 9, 0)); r.memory(b'kept')")
    assert talk.line("time.gmtime()[:5]") == "(2031, 5, 6, 7, 8)"
    talk.port.write(b"machine.reset()\r")
    talk.until(PROMPT)
    assert talk.line("import time, machine; time.gmtime()[:5]") == "(2031, 5, 6, 7, 8)"
    assert talk.line("machine.RTC().memory()") == "b'kept'"
    board.power_off()
    board.power_on()
    talk.until(PROMPT)
    assert talk.line("import time, machine; time.gmtime()[0], machine.RTC().memory()") == (
        "(2000, b'')"
    )


def test_reset_causes(repl):
    board, talk = repl
    cause = "import machine as m; m.reset_cause() == m."
    assert talk.line(cause + "PWRON_RESET") == "True"
    for typed, name in (
        (b"m.reset()\r", "HARD_RESET"),
        (b"\x04", "SOFT_RESET"),
        (b"m.soft_reset()\r", "SOFT_RESET"),
        (b"m.deepsleep(50)\r", "DEEPSLEEP_RESET"),
        (b"m.WDT(timeout=50)\r", "WDT_RESET"),
    ):
        talk.port.reset_input_buffer()
        talk.port.write(typed)
        talk.until(b'Type "help()" for more information.\r\n' + PROMPT)
        assert talk.line(cause + name) == "True", name
    board.reset()
    talk.until(PROMPT)
    assert talk.line(cause + "PWRON_RESET") == "True"


def test_a_board_that_resets_for_ever_leaves_the_host_in_peace(boards):
    board = boards(main="import machine\nmachine.reset()\n")
    board.start()
    time.sleep(1.5)
    assert 10 < board.state()["boots"] < 40
    board.stop()


def test_a_fed_watchdog_stays_quiet(repl):
    board, talk = repl
    boots = board.state()["boots"]
    talk.line("import machine, time; w = machine.WDT(timeout=300); boots = 1")
    for _ in range(5):
        time.sleep(0.1)
        talk.line("w.feed()")
    assert talk.line("boots") == "1"
    assert board.state()["boots"] == boots


def test_deep_sleep_without_a_time_lasts_until_reset(repl):
    board, talk = repl
    talk.port.write(b"import machine; machine.deepsleep()\r")
    time.sleep(0.2)
    talk.port.reset_input_buffer()
    talk.port.write(b"1+1\r")
    time.sleep(0.2)
    assert talk.port.read(talk.port.in_waiting) == b""
    assert board.is_powered
    board.reset()
    talk.until(PROMPT)


def test_wifi_follows_the_switch(repl):
    board, talk = repl
    talk.line("import network, socket; w = network.WLAN(network.STA_IF)")
    assert "OSError" in talk.line("w.scan()")
    talk.line("_ = w.active(True); w.connect('home', 'secret')")
    assert talk.line("w.isconnected(), w.scan(), w.ifconfig()[0]") == "(False, [], '0.0.0.0')"
    assert "OSError" in talk.line("socket.getaddrinfo('127.0.0.1', 80)")
    assert board.wifi() is False and board.wifi(True) is True
    assert talk.line("w.isconnected(), len(w.scan()), w.status() == network.STAT_GOT_IP") == (
        "(True, 1, True)"
    )
    assert talk.line("len(socket.getaddrinfo('127.0.0.1', 80)) > 0") == "True"
    board.wifi(False)
    assert talk.line("w.isconnected(), network.WLAN(network.STA_IF) is w") == "(False, True)"


def test_unique_id_is_the_boards_for_ever(repl, boards):
    board, talk = repl
    first = talk.line("import machine; machine.unique_id()")
    board.power_off()
    board.power_on()
    talk.until(PROMPT)
    assert talk.line("import machine; machine.unique_id()") == first
    assert board.settings["unique_id"] != boards("other").settings["unique_id"]


def test_counters_can_be_read_from_outside_and_go_on_after_a_reboot(repl):
    board, talk = repl
    talk.line("from esp32 import Partition; p = Partition('pim')")
    before = board.counters
    talk.line("p.writeblocks(0, bytes(100), 0); p.ioctl(6, 1); p.readblocks(0, bytearray(10), 0)")
    after = board.counters
    grown = {name: round(after[name] - before[name], 3) for name in after}
    assert grown == {
        "reads": 1,
        "read_bytes": 10,
        "programs": 2,
        "programmed_bytes": 100,
        "erases": 1,
        "overprograms": 0,
        "commands": 3,
        "ms": round(45 + 0.06 + 0.145 + 0.025 + 0.001, 3),
    }
    board.power_off()
    board.power_on()
    talk.until(PROMPT)
    assert board.counters["programs"] == after["programs"]


# --- power ---

WRITER = """
import os
n = 0
while True:
    with open('f%d' % (n % 7), 'wb') as f:
        f.write(b'%08d' % n * 40)
    print('n', n)
    n += 1
"""


def test_files_survive_power_off_and_reboot(repl):
    board, talk = repl
    talk.line("f = open('kept', 'w'); f.write('still here'); f.close()")
    board.power_off()
    assert not board.is_powered
    with pytest.raises(NotRunning):
        board.power_off()
    board.power_on()
    with pytest.raises(AlreadyRunning):
        board.power_on()
    talk.until(PROMPT)
    assert talk.line("open('kept').read()") == "'still here'"
    board.stop()
    assert filesystem.read_files(flash.read_partition(board.image, "vfs")) == {
        "/kept": b"still here"
    }


def test_files_left_open_are_committed_by_collector_and_soft_reset(repl):
    """As on the chip: littlefs writes in a finaliser, where nothing can be allocated."""
    _, talk = repl
    talk.line("import gc, os, machine; f = open('one', 'wb'); f.write(b'1' * 700); f = None")
    talk.line("gc.collect(); gc.collect()")
    assert talk.line("os.stat('one')[6]") == "700"
    talk.line("f = open('two', 'wb'); f.write(b'2' * 800)")
    talk.port.write(b"\x04")
    talk.until(PROMPT)
    talk.line("import machine; f = open('three', 'wb'); f.write(b'3' * 900)")
    talk.port.write(b"machine.soft_reset()\r")
    talk.until(PROMPT)
    assert talk.line("import os; [os.stat(n)[6] for n in ('one', 'two', 'three')]") == (
        "[700, 800, 900]"
    )


def test_a_cut_at_a_command_is_exact_and_repeatable(boards):
    images = []
    for name in ("one", "two"):
        board = boards(name, main=WRITER)
        board.power_on(cut_at=40, cut_state="bits", seed=7)
        assert board.wait_off(20)
        assert board.state()["why_off"] == "cut"
        assert board.counters["commands"] == 40
        assert board.counters["programs"] + board.counters["erases"] == 39
        images.append(flash.read_partition(board.image, "vfs"))
        talk = Talk.from_boot(board)
        talk.until(b"n 3")
        talk.close()
    assert images[0] == images[1]


@pytest.mark.parametrize("state", ["prefix", "neighbour", "erase-zeroed", "unstable", None])
def test_littlefs_lives_through_torn_states(boards, state):
    board = boards(main=WRITER)
    for seed in range(1, 5):
        board.power_on(cut_at=25 + 7 * seed, cut_state=state, seed=seed)
        assert board.wait_off(20), board.state()
        assert board.state()["why_off"] == "cut"
    talk = Talk.from_boot(board)
    said = talk.until(b"n 3")
    assert b"does not mount" not in said
    talk.close()


ERASER = """\
import esp32
p = esp32.Partition('pim')
for sector in range(64):
    p.ioctl(6, sector)
"""


def test_power_off_in_real_time_tears_the_command_under_way(boards):
    """64 erases of 45 ms: whenever the power goes, what is done is whole, what is to come
    untouched, and only the one under way is torn."""
    board = boards(main=ERASER)
    torn, whole, untouched = set(), b"\xff" * 4096, bytes(4096)
    for seed in range(1, 9):
        with open(board.image, "r+b") as f:
            f.seek(0x280000)
            f.write(bytes(64 * 4096))
        before = board.counters["erases"]
        board.power_on(timing=True)
        assert wait_for(
            lambda: (board.folder / "counters").read_bytes()[64:72] == b"\2" + bytes(7), 30
        )
        board.power_off(seed=seed)
        assert (board.folder / "counters").read_bytes()[64] == 0
        done = board.counters["erases"] - before
        pim = flash.read_partition(board.image, "pim")
        assert pim[: done * 4096] == whole * done
        assert pim[(done + 1) * 4096 : 64 * 4096] == untouched * (63 - done)
        cut = board.state()["cut"]
        if cut["op"] is not None:  # None: it went between two of them
            assert (cut["op"], cut["address"]) == ("erase", 0x280000 + done * 4096)
            torn.add(pim[done * 4096 : (done + 1) * 4096])
    assert len(torn) > 1


def test_worn_sectors_given_from_outside(repl):
    board, talk = repl
    board.power_off()
    board.set_faults({"unstable": [], "touched": [], "worn": [[0x280000, True]]})
    board.power_on()
    talk.until(PROMPT)
    assert talk.line("import esp32; esp32.Partition('pim').ioctl(6, 0)") == "-5"
    with pytest.raises(AlreadyRunning):
        board.set_faults({})


def test_a_killed_supervisor_takes_the_board_along_and_harms_nothing(boards):
    board = boards(main=WRITER)
    talk = Talk.from_boot(board)
    talk.until(b"n 20")
    os.kill(board.state()["pid"], signal.SIGKILL)
    talk.close()
    assert wait_for(lambda: not board.is_running)
    before = board.image.read_bytes()
    time.sleep(0.1)
    assert board.image.read_bytes() == before
    talk = Talk.from_boot(board)
    said = talk.until(b"n 3")
    assert b"mount" not in said
    talk.close()


def test_what_was_said_before_the_cut_arrives(boards):
    board = boards(
        main="import esp32, sys\np = esp32.Partition('pim')\n"
        "for i in range(9):\n p.ioctl(6, i)\n print('erased', i)\n"
    )
    talk = Talk.from_boot(board)
    talk.until(PROMPT)
    board.power_off()
    talk.port.reset_input_buffer()
    board.power_on(cut_at=5)
    assert board.wait_off(5)
    talk.port.timeout = 0.2
    said = talk.port.read(10000)
    talk.close()
    assert said.endswith(b"erased 3\r\n")


# --- names, locks, images ---


def test_a_second_board_on_the_same_image_is_refused(boards, tmp_path):
    first = boards("first")
    second = EmulatedBoard.create("second", home=tmp_path, image=first.image)
    os.link(first.image, tmp_path / "hard.bin")
    third = EmulatedBoard.create("third", home=tmp_path, image=tmp_path / "hard.bin")
    first.start()
    for other in (second, third):
        with pytest.raises(ImageInUse):
            other.start()
    with pytest.raises(AlreadyRunning):
        first.start()
    first.stop()
    second.start()
    with pytest.raises(ImageInUse):
        first.start()
    second.stop()


def test_names(boards, tmp_path):
    board = boards("one")
    with pytest.raises(NameTaken):
        boards("one")
    for bad in ("", "a/b", "..", ".hidden", "x" * 65, "a b"):
        with pytest.raises(NameTaken):
            boards(bad)
    with pytest.raises(UnknownBoardName, match="one"):
        EmulatedBoard("two", home=tmp_path)
    with pytest.raises(NotRunning):
        board.stop()
    board.start()
    with pytest.raises(AlreadyRunning):
        board.remove()
    board.stop()
    board.remove()
    assert board_names(tmp_path) == []


def test_image_missing_or_of_the_wrong_size(boards, tmp_path):
    board = boards()
    os.truncate(board.image, 1000)
    with pytest.raises(ImageProblem, match="1000"):
        board.start()
    board.image.unlink()
    with pytest.raises(ImageProblem, match="No such file"):
        board.start()
    with pytest.raises(ImageProblem):
        EmulatedBoard.create("x", home=tmp_path, image=tmp_path / "nothing.bin")
    assert board_names(tmp_path) == ["b"]


def test_many_boards_at_once(boards, tmp_path):
    made = [boards("m%d" % i, main="print('me', %d)" % i) for i in range(6)]
    talks = [Talk.from_boot(board) for board in made]
    for i, talk in enumerate(talks):
        assert b"me %d\r\n" % i in talk.until(PROMPT)
        talk.close()
    rows = list_boards(tmp_path)
    assert [row["power"] for row in rows] == ["on"] * 6
    assert len({row["console"] for row in rows}) == 6


def test_boots_quickly(boards):
    """From power on to the first line of main.py: what a rig does thousands of times."""
    board = boards(main="print('app')\n")
    talk = Talk.from_boot(board)
    talk.until(PROMPT)
    best = 9.0
    for _ in range(5):
        board.power_off()
        began = time.monotonic()
        board.power_on()
        talk.until(b"app")
        best = min(best, time.monotonic() - began)
        talk.until(PROMPT)
    assert best < 0.15
    talk.close()
