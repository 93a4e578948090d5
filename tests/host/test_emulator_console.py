"""The emulated board's console with unmodified mpremote and pyserial, and a person's keys."""

import hashlib
import os
import time

import pytest
from emulated_boards import PROMPT, Talk, make_board, mpremote, wait_for

from drybag_host.board.backends import EmulatedConsole
from drybag_host.board_errors import NotRunning
from drybag_host.emulator.boards import EmulatedBoard
from drybag_host.emulator.files import write_json
from drybag_host.emulator.virtual_board import lock
from drybag_host.errors import LinkLost


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """One board with an application that runs until Ctrl-C, as the handset's does."""
    board = make_board(tmp_path_factory.mktemp("home"), main="print('app runs')\n")
    board.start()
    yield board
    if board.is_running:
        board.stop()


def test_exec_and_eval(board):
    assert mpremote(board, "exec", "print('two\\nlines')").split() == [b"two", b"lines"]
    assert mpremote(board, "eval", "6*7").strip() == b"42"
    assert b"SOFT_RESET" in mpremote(
        board,
        "exec",
        "import machine as m\nif m.reset_cause() == m.SOFT_RESET: print('SOFT_RESET')",
    )


def test_raw_paste_of_a_long_script(board, tmp_path):
    script = tmp_path / "long.py"
    lines = ["total = 0"] + ["total += %d  # %s" % (i, "x" * 60) for i in range(600)]
    script.write_text("\n".join(lines) + "\nprint('total', total)\n")
    assert script.stat().st_size > 40000
    assert mpremote(board, "run", str(script)).strip() == b"total 179700"


def test_an_error_on_the_board_is_mpremotes_error(board):
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        mpremote(board, "exec", "1/0")


def test_fs_cp_both_ways(board, tmp_path):
    data = os.urandom(30000)
    there, back = tmp_path / "there.bin", tmp_path / "back.bin"
    there.write_bytes(data)
    mpremote(board, "fs", "cp", str(there), ":copied.bin")
    listing = mpremote(board, "fs", "ls")
    assert b"30000 copied.bin" in listing
    mpremote(board, "fs", "cp", ":copied.bin", str(back))
    assert back.read_bytes() == data
    digest = hashlib.sha256(data).hexdigest().encode()
    assert digest in mpremote(board, "fs", "sha256sum", "copied.bin")
    mpremote(board, "fs", "rm", ":copied.bin")
    assert b"copied.bin" not in mpremote(board, "fs", "ls")


def test_mount(board, tmp_path):
    (tmp_path / "from_host.py").write_text("answer = 'through the cable'\n")
    (tmp_path / "bytes.bin").write_bytes(bytes(range(256)) * 4)
    said = mpremote(
        board, "mount", str(tmp_path), "exec",
        "import from_host; print(from_host.answer, sum(open('bytes.bin', 'rb').read()))",
    )  # fmt: skip
    assert b"through the cable 130560" in said


def test_resume_and_soft_reset(board):
    mpremote(board, "exec", "kept = 1")
    assert mpremote(board, "resume", "exec", "print(kept)").strip() == b"1"
    mpremote(board, "soft-reset")
    with pytest.raises(AssertionError, match="NameError"):
        mpremote(board, "resume", "exec", "print(kept)")


def test_ctrl_c_stops_a_busy_loop_and_ctrl_d_starts_over(board):
    talk = Talk(board)
    talk.port.write(b"\x02")
    talk.until(PROMPT)
    talk.port.write(b"n = 0\rwhile True: n += 1; n == 1001 and print('bu' + 'sy')\r\r")
    talk.until(b"busy\r\n")
    talk.port.write(b"\x03")
    talk.until(b"KeyboardInterrupt: \r\n" + PROMPT)
    assert int(talk.line("n")) > 1000
    talk.port.write(b"\x04")
    said = talk.until(PROMPT)
    assert b"MPY: soft reboot\r\n" in said and b"app runs\r\n" in said
    assert "NameError" in talk.line("n")
    talk.close()


def test_ctrl_c_is_a_byte_for_code_that_asks_for_it(board):
    talk = Talk(board)
    talk.port.write(b"\r")
    talk.until(PROMPT)
    talk.port.write(
        b"import sys, micropython; micropython.kbd_intr(-1); print('rea' + 'dy'); "
        b"a = sys.stdin.buffer.read(4); micropython.kbd_intr(3); print(a)\r"
    )
    talk.until(b"ready\r\n")
    talk.port.write(b"\x03\x00\x03\xff")
    assert b"b'\\x03\\x00\\x03\\xff'\r\n" in talk.until(PROMPT)
    talk.close()


def test_text_gets_cr_lf_and_the_buffer_is_left_alone(board):
    talk = Talk(board)
    talk.port.write(b"\r")
    talk.until(PROMPT)
    talk.port.write(b"import sys; _ = sys.stdout.write('a\\nb\\r\\n'); print('c')\r")
    assert b"a\r\nb\r\nc\r\n" in talk.until(PROMPT)
    talk.port.write(b"_ = sys.stdout.buffer.write(bytes(range(256)))\r")
    assert bytes(range(256)) in talk.until(PROMPT)
    talk.close()


def test_ctrl_c_in_the_middle_of_flash_writes_leaves_the_file_system_whole(board):
    talk = Talk(board)
    talk.port.write(b"\r")
    talk.until(PROMPT)
    for round_ in range(12):
        talk.port.write(b"while True:\rwith open('w','wb') as f: _ = f.write(bytes(3000))\r\x7f\r")
        time.sleep(0.02 + 0.007 * round_)
        talk.port.write(b"\x03")
        talk.until(b"KeyboardInterrupt")
        talk.until(PROMPT)
    assert board.is_powered
    assert talk.line("f=open('w','wb'); f.write(b'whole'); f.close(); open('w').read()").endswith(
        "'whole'"
    )
    talk.line("import os; os.remove('w')")
    talk.close()


def test_output_that_nobody_reads_does_not_stop_the_board(board):
    talk = Talk(board)
    talk.port.write(b"\r")
    talk.until(PROMPT)
    talk.line("import esp32; pim = esp32.Partition('pim')")
    before = board.counters["erases"]
    talk.port.write(b"for i in range(4001): print('x' * 40) if i < 4000 else pim.ioctl(6, 0)\r\r")
    talk.until(b"x" * 40)
    talk.close()
    assert wait_for(lambda: board.counters["erases"] > before, 60)  # it came to the end
    talk = Talk(board)
    talk.port.write(b"\r1234+1\r")
    talk.until(b"1235\r\n", 30)
    talk.close()


def test_a_slow_line_is_slow_and_loses_nothing(tmp_path):
    board = make_board(
        tmp_path, main="import sys\nsys.stdout.buffer.write(bytes(range(256)) * 2)\n"
    )
    board.start(baud=9600)
    try:
        talk = Talk(board)
        board.power_off()
        board.power_on(baud=9600)
        began = time.monotonic()
        said = talk.until(PROMPT)
        assert bytes(range(256)) * 2 in said
        assert 0.4 < time.monotonic() - began < 3
        talk.close()
    finally:
        board.stop()


def test_a_paced_line_has_the_chips_ring_of_260_bytes(tmp_path):
    board = make_board(
        tmp_path,
        main="import sys, time\nprint('sleeps')\ntime.sleep(0.4)\nprint('reads')\n"
        "print(len(sys.stdin.buffer.read(260)))\nprint(sys.stdin.buffer.read(3))\n",
    )
    board.start(baud=115200)
    try:
        talk = Talk(board)
        board.power_off()
        board.power_on(baud=115200)
        talk.until(b"sleeps\r\n")
        talk.port.write(b"x" * 1000)
        talk.until(b"260\r\n")
        talk.port.write(b"new")
        assert b"b'new'" in talk.until(PROMPT)
        talk.close()
        mpremote(board, "fs", "cp", __file__, ":copy.py")
        assert b"copy.py" in mpremote(board, "fs", "ls")
    finally:
        board.stop()


@pytest.mark.parametrize("waits", ["sys.stdin.read(1)", "time.sleep(60)", "poll.poll(60000)"])
def test_ctrl_c_reaches_code_that_waits(tmp_path, waits):
    board = make_board(
        tmp_path,
        main="import sys, time, select\npoll = select.poll()\npoll.register(sys.stdin, 1)\n"
        "print('waits')\nwhile True: %s\n" % waits,
    )
    talk = Talk.from_boot(board)
    try:
        talk.until(b"waits\r\n")
        time.sleep(0.05)
        talk.port.write(b"\x03")
        assert b"KeyboardInterrupt" in talk.until(PROMPT)
    finally:
        talk.close()
        board.stop()


def test_ctrl_c_while_booting_counts(tmp_path):
    board = make_board(tmp_path, main="import time\nwhile True: time.sleep_ms(5)\n")
    talk = Talk.from_boot(board)
    try:
        talk.port.write(b"\x03")
        talk.until(PROMPT)
        assert talk.line("6*7") == "42"
    finally:
        talk.close()
        board.stop()


def test_a_console_is_never_another_boards(board, tmp_path, monkeypatch):
    """Terminals get the numbers of those that are gone."""
    starting = make_board(tmp_path)
    write_json(starting.folder / "state.json", {"pty": board.console})  # of an earlier start
    with open(starting.folder / "lock", "r+b") as held:
        assert lock(held)  # as while it starts
        with pytest.raises(NotRunning):
            _ = starting.console
    monkeypatch.setattr(EmulatedBoard, "console", board.console)  # as if it had just been stopped
    with pytest.raises(LinkLost, match="stopped just now"):
        EmulatedConsole(starting)
    EmulatedConsole(board).close()
