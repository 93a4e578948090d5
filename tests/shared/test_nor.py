"""The fault model: NOR rules, torn states and their invariants, rot, wear, both interpreters."""

import subprocess
import sys
from pathlib import Path

import pytest

from drybag_host.emulator.rom import nor
from drybag_host.emulator.rom.nor import NorFlash, NorPartition, NorRuleError, PowerCut

SCRIPT = Path(__file__).parent / "scripts" / "nor_digest.py"
OLD = bytes(range(16)) + b"\xff" * 48 + b"\xff" * 128 + b"\x5a" * 64
DATA = bytes((i * 7) & 0xFF for i in range(64))
SEEDS = range(120)


def bits(data):
    return int.from_bytes(data, "little")


def torn_program(state, seed):
    return nor.torn_states(OLD, ("program", 64, DATA), state, seed)


def torn_erase(state, seed, old=None):
    old = old if old is not None else (b"\x12\x34" * 2048)
    return nor.torn_states(old, ("erase", 0, None), state, seed)


# --- rules ---


def test_program_clears_and_erase_sets():
    flash = NorFlash(8192)
    flash.program(0, b"\x0f")
    flash.program(0, b"\x07")
    buf = bytearray(2)
    flash.read_into(0, buf)
    assert buf == b"\x07\xff"
    flash.erase(0)
    flash.read_into(0, buf)
    assert buf == b"\xff\xff"


def test_zero_to_one_stops_the_run_and_changes_nothing():
    flash = NorFlash(8192)
    flash.program(10, b"\x0f")
    with pytest.raises(NorRuleError, match="0xa"):
        flash.program(10, b"\x1f")
    assert flash.programs == 1
    buf = bytearray(1)
    flash.read_into(10, buf)
    assert buf == b"\x0f"


@pytest.mark.parametrize(
    "call",
    [
        lambda f: f.program(8190, b"abc"),
        lambda f: f.read_into(8192, bytearray(1)),
        lambda f: f.erase(8192),
        lambda f: f.erase(256),
        lambda f: f.program(-1, b"a"),
    ],
)
def test_outside_or_misaligned_is_refused(call):
    with pytest.raises(NorRuleError):
        call(NorFlash(8192))


def test_programs_are_split_at_64_bytes_and_256_byte_lines():
    flash = NorFlash(8192)
    seen = []
    flash.on_command = lambda op, addr, data: seen.append((addr, len(data)))
    flash.program(240, bytes(150))
    assert seen == [(240, 16), (256, 64), (320, 64), (384, 6)]


def test_counters_and_time_model():
    flash = NorFlash(8192)
    flash.erase(0)
    flash.program(0, bytes(100))
    flash.read_into(0, bytearray(1000))
    assert flash.counters == {
        "reads": 1,
        "read_bytes": 1000,
        "programs": 2,
        "programmed_bytes": 100,
        "erases": 1,
        "ms": pytest.approx(45 + 2 * 0.03 + 0.145 + 0.025 + 0.1),
    }
    flash.reset_counters()
    assert set(flash.counters.values()) == {0}
    assert flash.commands == 3


# --- torn states ---


@pytest.mark.parametrize("seed", SEEDS)
def test_prefix_is_a_prefix(seed):
    _, new, _ = torn_program("prefix", seed)
    done = [i for i in range(65) if new[64 : 64 + i] == DATA[:i]]
    n = max(done)
    assert new == OLD[:64] + DATA[:n] + OLD[64 + n :]


@pytest.mark.parametrize("seed", SEEDS)
def test_bits_only_clears_what_should_clear(seed):
    _, new, _ = torn_program("bits", seed)
    assert new[:64] == OLD[:64] and new[128:] == OLD[128:]
    assert bits(new[64:128]) & bits(DATA) == bits(DATA)


def test_bits_reaches_none_some_and_all():
    results = {torn_program("bits", seed)[1] for seed in SEEDS}
    assert OLD in results
    assert OLD[:64] + DATA + OLD[128:] in results
    assert len(results) > 60


@pytest.mark.parametrize("seed", SEEDS)
def test_neighbour_only_clears_and_stays_in_the_page(seed):
    _, new, _ = torn_program("neighbour", seed)
    assert bits(new) & bits(OLD) == bits(new)


def test_neighbour_harms_bytes_programmed_earlier_and_erased_ones():
    news = [torn_program("neighbour", seed)[1] for seed in SEEDS]
    assert any(new[:16] != OLD[:16] for new in news)
    assert any(new[192:] != OLD[192:] for new in news)
    assert any(new[128:192] != OLD[128:192] for new in news)


def test_clean_is_before_or_after():
    results = {torn_program("clean", seed)[1] for seed in SEEDS}
    assert results == {OLD, OLD[:64] + DATA + OLD[128:]}
    results = {torn_erase("clean", seed)[1] for seed in SEEDS}
    assert results == {b"\x12\x34" * 2048, b"\xff" * 4096}


def test_erase_none_keeps():
    assert torn_erase("erase-none", 5)[1] == b"\x12\x34" * 2048


@pytest.mark.parametrize("seed", SEEDS)
def test_erase_zeroed_is_all_or_a_tail(seed):
    _, new, _ = torn_erase("erase-zeroed", seed)
    kept = len(new.rstrip(b"\0"))
    assert new[:kept] == (b"\x12\x34" * 2048)[:kept]
    assert kept < 4096


def test_erase_zeroed_reaches_all():
    assert bytes(4096) in {torn_erase("erase-zeroed", seed)[1] for seed in SEEDS}


@pytest.mark.parametrize("seed", SEEDS)
def test_erase_partial_only_sets(seed):
    _, new, _ = torn_erase("erase-partial", seed)
    old = bits(b"\x12\x34" * 2048)
    assert bits(new) & old == old


def test_a_state_that_cannot_tear_the_command_gives_way():
    for seed in SEEDS:
        assert torn_program("erase-zeroed", seed)[0] in nor.PROGRAM_STATES
        assert torn_erase("bits", seed)[0] in nor.ERASE_STATES
    with pytest.raises(ValueError):
        torn_program("melted", 1)


def test_without_a_state_every_one_comes():
    assert {torn_program(None, seed)[0] for seed in SEEDS} == set(nor.PROGRAM_STATES)
    assert {torn_erase(None, seed)[0] for seed in SEEDS} == set(nor.ERASE_STATES)


def test_same_seed_same_bytes():
    for state in nor.STATES:
        assert torn_program(state, 42) == torn_program(state, 42)
        assert torn_erase(state, 42) == torn_erase(state, 42)


# --- the cut ---


@pytest.mark.parametrize("state", nor.STATES)
def test_after_the_cut_everything_is_refused_until_power_on(state):
    flash = NorFlash(8192)
    flash.cut_at(2, state, 3)
    flash.program(0, b"\x00")
    with pytest.raises(PowerCut):
        flash.program(64, b"\x00" * 64)
    assert flash.dead
    for call in (
        lambda: flash.program(128, b"\0"),
        lambda: flash.erase(0),
        lambda: flash.read_into(0, bytearray(1)),
    ):
        with pytest.raises(OSError) as error:
            call()
        assert error.value.errno == 5 or error.value.args == (5,)
    flash.power_on()
    buf = bytearray(1)
    flash.read_into(0, buf)
    assert buf == b"\0"
    flash.erase(4096)


def test_the_cut_hits_pieces_inside_one_program():
    for n, programmed in ((1, 0), (2, 64), (3, 128)):
        flash = NorFlash(8192)
        flash.cut_at(n, "prefix", 1)
        with pytest.raises(PowerCut):
            flash.program(0, bytes(192))
        flash.power_on()
        buf = bytearray(256)
        flash.read_into(0, buf)
        assert buf[:programmed] == bytes(programmed)
        assert buf[programmed + 64 :] == b"\xff" * (192 - programmed)
        assert flash.programs == n - 1


def test_unstable_cells_change_from_read_to_read_until_rewritten():
    wobbly = 0
    for seed in range(40):
        flash = NorFlash(8192)
        flash.program(0, b"\xf0" * 32)
        flash.cut_at(1, "unstable", seed)
        with pytest.raises(PowerCut):
            flash.program(64, DATA)
        flash.power_on()
        reads = set()
        for _ in range(8):
            buf = bytearray(256)
            flash.read_into(0, buf)
            reads.add(bytes(buf))
        wobbly += len(reads) > 1
        flash.erase(0)
        reads = set()
        for _ in range(4):
            buf = bytearray(256)
            flash.read_into(0, buf)
            reads.add(bytes(buf))
        assert reads == {b"\xff" * 256}
    assert wobbly > 20


def test_a_torn_page_may_be_programmed_over_until_it_is_erased():
    flash = NorFlash(8192)
    seed = next(
        s for s in SEEDS if nor.torn_states(b"\xff" * 256, ("program", 0, DATA), "neighbour", s)[1]
        != b"\xff" * 256
    )  # fmt: skip
    flash.cut_at(1, "neighbour", seed)
    with pytest.raises(PowerCut):
        flash.program(0, DATA)
    flash.power_on()
    flash.program(0, b"\xff" * 256)
    assert flash.overprograms >= 1
    flash.erase(0)
    flash.program(0, b"\x00")
    with pytest.raises(NorRuleError):
        flash.program(0, b"\x01")


# --- at rest ---


def test_rot_flips_single_bits_at_the_rate():
    flash = NorFlash(65536)
    places = flash.rot(20 / (65536 * 8), seed=4)
    assert len(places) == 20
    buf = bytearray(65536)
    flash.read_into(0, buf)
    changed = [(i, b ^ 0xFF) for i, b in enumerate(buf) if b != 0xFF]
    assert sum(bin(x).count("1") for _, x in changed) == 20
    assert {addr for addr, _ in places} == {i for i, _ in changed}


def test_worn_sector_reported_and_silent():
    flash = NorFlash(16384)
    flash.program(0, b"\x0f")
    flash.wear_out(0, reported=True)
    flash.wear_out(4096, reported=False)
    for call in (lambda: flash.erase(0), lambda: flash.program(1, b"\0")):
        with pytest.raises(OSError):
            call()
    flash.program(4096, b"\0")
    flash.erase(4096)
    buf = bytearray(2)
    flash.read_into(0, buf)
    assert buf == b"\x0f\xff"
    flash.read_into(4096, buf)
    assert buf == b"\xff\xff"
    part = NorPartition(flash, 0, 8192)
    assert part.ioctl(6, 0) == -5
    assert part.ioctl(6, 1) == 0


def test_fault_state_survives_a_restart():
    flash = NorFlash(8192)
    flash.wear_out(4096, reported=False)
    flash.cut_at(1, "unstable", 9)
    with pytest.raises(PowerCut):
        flash.program(0, DATA)
    other = NorFlash(8192)
    other.restore_faults(flash.fault_state())
    assert other.fault_state() == flash.fault_state()
    assert other.fault_state()["worn"] == [[4096, False]]


# --- block device ---


def test_partition_protocol():
    flash = NorFlash(65536)
    part = NorPartition(flash, 8192, 16384)
    assert (part.ioctl(4), part.ioctl(5), part.ioctl(3), part.ioctl(1)) == (4, 4096, 0, 0)
    assert part.writeblocks(1, b"abc", 5) == 0
    assert part.writeblocks(2, bytes(4096)) == 0
    assert flash.erases == 1
    buf = bytearray(3)
    assert part.readblocks(1, buf, 5) == 0
    assert buf == b"abc"
    raw = bytearray(3)
    flash.read_into(8192 + 4096 + 5, raw)
    assert raw == b"abc"
    assert part.readblocks(3, bytearray(4096), 1) == -22
    assert part.ioctl(6, 4) == -22
    flash.cut_at(1)
    assert part.ioctl(6, 0) == -5
    assert flash.dead and part.readblocks(0, buf, 0) == -5


def test_file_storage_equals_ram(tmp_path):
    path = tmp_path / "flash.bin"
    path.write_bytes(b"\xff" * 8192)
    with open(path, "r+b", buffering=0) as f:
        flash = NorFlash(8192, f)
        flash.program(100, DATA)
        flash.erase(4096)
        buf = bytearray(64)
        flash.read_into(100, buf)
    assert buf == DATA
    assert path.read_bytes()[100:164] == DATA


def test_both_interpreters_leave_the_same_flash():
    """One script tears a flash in every state: the digest of all it reads must be equal."""
    outputs = [
        subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
        for command in (
            [sys.executable, str(SCRIPT)],
            [sys.executable, "-m", "micropython_unix", "-X", "heapsize=4M", str(SCRIPT)],
        )
    ]
    assert outputs[0].count("\n") == len(nor.STATES) + 1
    assert outputs[0] == outputs[1]
