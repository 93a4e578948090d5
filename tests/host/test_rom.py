"""The ROM's serial loader and the rfc2217:// line: esptool and mpremote, unmodified."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import serial
from emulated_boards import make_board, wait_for
from hypothesis import given, settings
from hypothesis import strategies as st

from drybag_host.emulator import rom_loader
from drybag_host.emulator.rom.nor import NorFlash
from drybag_host.emulator.rom_loader import RomLoader, slip
from drybag_host.emulator.serial_server import SerialServer

FLASH_BYTES = 1 << 20


def command(op, data=b"", checksum=0):
    head = bytes([0, op]) + len(data).to_bytes(2, "little") + checksum.to_bytes(4, "little")
    return slip(head + data)


def words(*values):
    return b"".join(value.to_bytes(4, "little") for value in values)


def answers(raw):
    """[frame] of what the chip sent."""
    frames = [part for part in raw.split(b"\xc0") if part]
    return [part.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb") for part in frames]


def loader(chip="esp32", stub=False):
    rom = RomLoader(chip, NorFlash(FLASH_BYTES), bytes(range(6)))
    if stub:
        assert answers(rom.feed(command(rom_loader.MEM_END, words(0, 0x40080000))))[1] == b"OHAI"
    return rom


def flash_block(data, seq=0):
    checksum = 0xEF
    for byte in data:
        checksum ^= byte
    return command(rom_loader.FLASH_DATA, words(len(data), seq, 0, 0) + data, checksum)


def test_writing_keeps_the_rules_of_nor_flash():
    rom = loader(stub=True)
    begin = command(rom_loader.FLASH_BEGIN, words(4096, 1, 4096, 0x2000))
    first = bytes(range(256)) * 16
    assert answers(rom.feed(begin))[0][-2:] == b"\0\0"
    assert answers(rom.feed(flash_block(first)))[0][-2:] == b"\0\0"
    assert rom.flash.erases == 1
    before = rom.flash.programmed_bytes
    rom._at = 0x2000  # a second program of the same place, which asks bits from 0 to 1
    assert answers(rom.feed(flash_block(bytes(255 - b for b in first))))[0][-2] == 1
    assert rom.flash.programmed_bytes - before < 4096
    wrong = bytearray(flash_block(b"abcd"))
    wrong[-2] ^= 1
    assert answers(rom.feed(bytes(wrong)))[0][-2:] == b"\x01\xc1"


def test_the_stub_reads_in_windows_and_ends_with_the_md5():
    rom = loader(stub=True)
    rom.flash.program(0, b"\xc0\xdb" * 5000)
    got = answers(rom.feed(command(rom_loader.READ_FLASH, words(0, 10000, 4096, 2))))
    assert [len(part) for part in got[1:]] == [4096, 4096]
    got += answers(rom.feed(slip(words(4096))))
    got += answers(rom.feed(slip(words(8192))))
    assert b"".join(got[1:4]) == b"\xc0\xdb" * 5000
    end = answers(rom.feed(slip(words(10000))))
    assert len(end) == 1 and len(end[0]) == 16
    assert len(answers(rom.feed(command(rom_loader.SYNC, bytes(36))))) == 8


def test_rom_and_stub_each_refuse_the_others_commands():
    assert answers(loader().feed(command(rom_loader.ERASE_FLASH)))[0][8] == 1
    slow = command(rom_loader.READ_FLASH_SLOW, bytes(8))
    assert answers(loader(stub=True).feed(slow))[0][8] == 1
    assert answers(loader().feed(slow))[0][8:72] == b"\xff" * 64


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=40)), max_size=8),
    st.binary(max_size=60),
    st.booleans(),
    st.integers(1, 50),
)
def test_no_bytes_from_the_line_break_the_loader(commands, noise, stub, cut):
    rom = loader(stub=stub)
    raw = noise + b"\xc0" + b"".join(command(op, data) for op, data in commands)
    for at in range(0, len(raw), cut):
        rom.feed(raw[at : at + cut])
    rom._reading = None
    assert len(answers(rom.feed(b"\xc0" + command(rom_loader.SYNC, bytes(36))))) == 8


@contextmanager
def served(home, **options):
    board = make_board(home, **options)
    board.start()
    server = SerialServer(board)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield board, server.url
    finally:
        server.stop()
        thread.join()
        server.stop()  # of no effect on one that has ended
        if board.is_running:
            board.stop()


def tool(*argv):
    done = subprocess.run(
        [sys.executable, "-m", *map(str, argv)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, (argv, done.stdout[-800:], done.stderr[-500:])
    return done.stdout


def write_with_stub(home):
    data = bytes(range(256)) * 64
    (home / "w.bin").write_bytes(data)
    with served(home, main="print('app')\n") as (board, url):
        said = tool("esptool", "--port", url, "write-flash", "0x300000", home / "w.bin")
        assert "Hash of data verified" in said and "Crystal frequency:  40MHz" in said
        assert wait_for(lambda: not board.state()["held"])
        with open(board.image, "rb") as image:
            image.seek(0x300000)
            assert image.read(len(data)) == data
        assert "42" in tool("mpremote", "connect", url, "exec", "print(6*7)")


def ask_without_stub(home):
    with served(home, board="esp32-c3", main="") as (board, url):
        said = tool("esptool", "--port", url, "--no-stub", "flash-id")
        assert "ESP32-C3" in said and "Detected flash size: 4MB" in said
        assert board.settings["unique_id"] == said.split("MAC:")[1].split()[0].replace(":", "")


def test_esptool_and_mpremote_take_it_for_a_board(tmp_path):
    with ThreadPoolExecutor() as pool:
        jobs = []
        for name, job in (("a", write_with_stub), ("b", ask_without_stub)):
            (tmp_path / name).mkdir()
            jobs.append(pool.submit(job, tmp_path / name))
        for done in jobs:
            done.result()


def test_lines_choose_between_loader_and_application(tmp_path):
    with served(tmp_path, main="print('app')\n") as (board, url):
        with serial.serial_for_url(url, timeout=5) as port:
            boots = board.state()["boots"]
            port.dtr, port.rts = False, True
            assert wait_for(lambda: board.state()["held"])
            port.dtr = True
            port.rts = False
            assert b"waiting for download" in port.read_until(b"download\r\n")
            port.write(b"\xc0" + command(rom_loader.SYNC, bytes(36)))
            assert port.read_until(words(rom_loader._SYNC_VALUE))
            assert board.state()["held"] and board.state()["boots"] == boots
            port.dtr = False
            port.rts = True
            port.rts = False
            assert b"app" in port.read_until(b"app\r\n")
            assert board.state()["boots"] == boots + 1
            board.power_off()
            port.rts = True
            port.rts = False
            time.sleep(0.05)
            assert not board.is_powered


def test_the_command_says_the_url_and_ends_at_ctrl_c(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:  # another run of this test has its own
        port = free.getsockname()[1]
    serve = [sys.executable, "-m", "drybag_host.cli", "emu", "serve", "b", "--port", str(port)]
    env = {**os.environ, "DRYBAG_HOME": str(tmp_path)}
    board = make_board(tmp_path, main="")
    refused = subprocess.run(serve, env=env, capture_output=True, text=True)
    assert refused.returncode == 32 and "not started" in refused.stderr
    board.start()
    try:
        running = subprocess.Popen(serve, env=env, stdout=subprocess.PIPE, text=True)
        try:
            assert "b is at rfc2217://127.0.0.1:%d" % port in running.stdout.readline()
        finally:
            running.send_signal(signal.SIGINT)
            rest, _ = running.communicate(timeout=10)
        assert running.returncode == 0
    finally:
        board.stop()
