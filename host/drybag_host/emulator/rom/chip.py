"""The emulated chip: what was handed over by the supervisor, flash, clock, and its way to speak.

Open descriptors: 3 flash image, 4 messages to the supervisor, 5 counters, 6 the air (wifi),
7 and 8 a pipe: what is written to 8 interrupts ourselves as Ctrl-C does.
The rest comes in the environment as JSON and is gone from there before boot.py runs.
"""
# mypy: ignore-errors

import gc
import json
import os
import time
from array import array

import nor

_COUNTERS_MAGIC = 0x4252444F4D554531
_NONE, _PROGRAM, _ERASE = 0, 1, 2

config = json.loads(os.getenv("DRYBAG_CHIP"))
os.unsetenv("DRYBAG_CHIP")
_messages = open(4, "wb")
_air = open(6, "rb")
_interrupt_out = open(7, "rb")
_interrupt_in = open(8, "wb")
_counters_file = open(5, "r+b")
_trace = open(config["trace"], "ab") if config["trace"] else None
# magic, reads, read bytes, programs, programmed bytes, erases, overprograms, commands,
# then the command under way: op, address, length, 0; then its data (at most 64 bytes)
_counters = array("Q", [0] * 12)
_DATA_AT = 96
_sleep_us = time.sleep_us
_ticks_us = time.ticks_us


def tell(message):
    """One line to the supervisor."""
    _messages.write((message + "\n").encode())


def halt():
    """The processor stops here: the supervisor ends this process, nothing below runs on."""
    while True:
        try:
            time.sleep_ms(1000)
        except KeyboardInterrupt:
            pass


def stop(message):
    """Tell the supervisor why and stop."""
    tell(message)
    halt()


def air_is_on():
    """Is there a network in reach (`drybag emu wifi NAME on`)?"""
    _air.seek(0)
    return _air.read(1) == b"1"


_clock_offset_us = config["clock_offset_us"]


def now_us():
    """Microseconds since 2000-01-01 by the chip's real-time clock."""
    return _ticks_us() + _clock_offset_us


def set_now_us(value):
    global _clock_offset_us
    _clock_offset_us = value - _ticks_us()
    tell("clock %d" % _clock_offset_us)


def save_counters():
    """Let the outside see them."""
    c = _counters
    c[1] = flash.reads
    c[2] = flash.read_bytes
    c[3] = flash.programs
    c[4] = flash.programmed_bytes
    c[5] = flash.erases
    c[6] = flash.overprograms
    c[7] = flash.commands
    _counters_file.seek(0)
    _counters_file.write(c)


def _command_begins(op, addr, data):
    c = _counters
    c[9] = addr
    if op == "erase":
        c[8] = _ERASE
        c[10] = 0
        if _trace:
            _trace.write(memoryview(c)[8:])
        save_counters()
        if config["timing"]:
            _sleep_us(45000)
        return
    n = len(data)
    c[8] = _PROGRAM
    c[10] = n
    if _trace:
        _trace.write(memoryview(c)[8:])
        _trace.write(data)
    _counters_file.seek(_DATA_AT)
    _counters_file.write(data)
    save_counters()
    if config["timing"]:
        _sleep_us(30 + n * 29 // 20)


def _command_done():
    _counters[8] = _NONE
    save_counters()


def _open_flash():
    image = open(3, "r+b")
    chip = nor.NorFlash(config["flash_bytes"], image, config["seed"])
    chip.file = image
    chip.cut_command = config["cut_at"]
    saved = config["counters"]
    chip.reads, chip.read_bytes, chip.programs, chip.programmed_bytes = saved[:4]
    chip.erases, chip.overprograms, chip.commands = saved[4:7]
    if config["cut_at"]:
        chip.cut_at(config["cut_at"] - chip.commands, config["cut_state"], config["cut_seed"])
    chip.restore_faults(config["faults"])
    chip.on_command = _command_begins
    chip.on_done = _command_done
    chip.on_fault = lambda: tell("faults " + json.dumps(chip.fault_state()))
    return chip


_counters[0] = _COUNTERS_MAGIC
flash = _open_flash()


def guarded(command, *args):
    """Run one flash command as the chip does: nothing of Python gets in between.

    Ctrl-C and a full heap must not leave a file system in the middle of a write: the command,
    which can be repeated, is done again, and Ctrl-C is pending anew when it returns to C. There
    must be no jump after that, as a jump is where MicroPython looks for it.
    A cut or a broken rule ends the processor.
    """
    try:
        if config:  # a jump: Ctrl-C that is pending shows here, before the command begins
            pass
        return command(*args)
    except KeyboardInterrupt:
        result = guarded(command, *args)
        _interrupt_out.read(1)
        _interrupt_in.write(b"i")
        return result
    except MemoryError:
        return _with_room(command, *args)
    except nor.PowerCut:
        _command_done()
        what = "program" if _counters[10] else "erase"
        stop("cut %s %d %s" % (what, _counters[9], flash.torn))
    except nor.NorRuleError as error:
        stop("rule %s" % error)


def _with_room(command, *args):
    gc.collect()
    try:
        return command(*args)
    except MemoryError:
        stop("panic out of memory in a flash command")


def read_counted(device, block, buf, off):
    """A read of a block device which the counters file knows of."""
    result = device.readblocks(block, buf, off)
    save_counters()
    return result


# In a finaliser the heap is locked, and littlefs still writes: what follows allocates nothing.
# Programs there are not checked for 0 to 1, and a cut comes before such a command, not inside.

_LOCKED_BYTES = 32
_locked_piece = bytearray(_LOCKED_BYTES)
_locked_erased = b"\xff" * nor.SECTOR_BYTES
_flash_file = flash.file
_CUT = b"cut\n"


def locked_read(addr, buf):
    flash.reads += 1
    flash.read_bytes += len(buf)
    _flash_file.seek(addr)
    _flash_file.readinto(buf)
    return 0


def _locked_command():
    flash.commands += 1
    if flash.commands == flash.cut_command:
        _messages.write(_CUT)
        halt()


def locked_program(addr, buf):
    at = 0
    n = len(buf)
    while at < n:
        if at % nor.PROGRAM_BYTES == 0:
            _locked_command()
            flash.programs += 1
        _flash_file.seek(addr + at)
        _flash_file.readinto(_locked_piece)
        i = 0
        while i < _LOCKED_BYTES:
            if at + i < n:
                _locked_piece[i] &= buf[at + i]
            i += 1
        _flash_file.seek(addr + at)
        _flash_file.write(_locked_piece)
        at += _LOCKED_BYTES
    flash.programmed_bytes += n
    save_counters()
    return 0


def locked_erase(addr):
    _locked_command()
    flash.erases += 1
    _flash_file.seek(addr)
    _flash_file.write(_locked_erased)
    save_counters()
    return 0


def flash_read(addr, n):
    """Bytes of the raw flash, for the partition table."""
    buf = bytearray(n)
    guarded(flash.read_into, addr, buf)
    return buf
