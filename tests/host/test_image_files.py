"""`drybag image`: build, info, diff; MicroPython's stock firmware taken apart."""

import json
import subprocess
import sys

import pytest
import stock_images
from hypothesis import given, settings
from hypothesis import strategies as st

from drybag_host import cli
from drybag_host.board_errors import ImageProblem
from drybag_host.image import board_model, filesystem, flash, partitions, stock, whole

MODEL = board_model.load("esp32-generic")
STOCK = stock_images.firmware()


@pytest.mark.parametrize("chip", ["esp32", "esp32c3", "esp32s3"])
@pytest.mark.parametrize("version", ["v1.20.0", "v1.23.0", "v1.26.1", "v1.29.0-preview.3"])
@pytest.mark.parametrize("table", [stock_images.TABLE_WITH_VFS, stock_images.TABLE_SINCE_126])
def test_stock_firmware_of_every_version_is_taken_apart(chip, version, table):
    found = stock.parse(stock_images.firmware(chip, version, table), "x.bin")
    assert (found.chip, found.version, found.project) == (chip, version, "micropython")
    assert [row.label for row in found.rows][:3] == ["nvs", "phy_init", "factory"]
    assert found.bootloader[0] == found.app[0] == 0xE9
    assert stock.parse(found.app, "app").app == found.app


@pytest.mark.parametrize("chip", ["esp32", "esp32c3", "esp32s3"])
def test_an_image_of_120_says_what_it_is_in_its_banner_alone(chip):
    found = stock.parse(stock_images.firmware(chip, "v1.20.0", project="nameless"), "x.bin")
    assert (found.project, found.version) == ("micropython", "v1.20.0")


def test_the_stand_ins_are_images_to_esptool(tmp_path):
    path = tmp_path / "app.bin"
    path.write_bytes(stock.parse(STOCK, "x").app)
    done = subprocess.run(
        [sys.executable, "-m", "esptool", "image-info", path], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Checksum: 0x" in done.stdout and "(valid)" in done.stdout
    assert "micropython" in done.stdout and "invalid" not in done.stdout.lower()


def test_a_damaged_or_foreign_image_is_refused():
    app = bytearray(STOCK)
    app[0x10000 - 0x1000 + 400] ^= 1
    with pytest.raises(ImageProblem, match="checksum"):
        stock.parse(bytes(app), "x.bin")
    with pytest.raises(ImageProblem, match="another project"):
        stock.parse(stock_images.firmware(project="blinky"), "x.bin")
    with pytest.raises(ImageProblem, match="1.20 to 1.29"):
        stock.parse(stock_images.firmware(version="v1.19.1"), "x.bin")
    with pytest.raises(ImageProblem, match="0xE9"):
        stock.parse(b"hello", "x.bin")


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 24000), st.binary(min_size=1, max_size=40), st.integers(0, len(STOCK)))
def test_no_bytes_break_the_parser(at, patch, length):
    at = at if at < 0x1000 else at + 0xE000
    raw = STOCK[:at] + patch + STOCK[at + len(patch) :]
    for data in (raw, raw[:length]):
        try:
            assert stock.parse(data, "x").project == "micropython"
        except ImageProblem as error:
            assert str(error).startswith("x")


def run_json(capsys, *argv):
    code = cli.main([*map(str, argv), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_build_info_and_diff(tmp_path, capsys):
    firmware, image = tmp_path / "mpy.bin", tmp_path / "flash.bin"
    firmware.write_bytes(STOCK)
    code, said = run_json(capsys, "image", "build", image, "--micropython", firmware)
    assert code == 0
    assert [p["part"] for p in said["parts"]] == ["bootloader", "table", "app", "vfs"]
    assert image.stat().st_size == MODEL.flash_bytes
    assert partitions.from_image(image) == list(MODEL.partitions)
    files = filesystem.read_files(flash.read_partition(image, "vfs"))
    assert {"/boot.py", "/main.py", "/lib/drybag/journal.mpy"} <= set(files)
    code, said = run_json(capsys, "image", "info", image)
    assert (said["chip"], said["micropython"], said["journal"]) == ("esp32", "v1.23.0", "erased")
    assert said["files"]["/main.py"] == len(files["/main.py"])
    other = tmp_path / "other.bin"
    raw = bytearray(image.read_bytes())
    row = partitions.find(MODEL.partitions, "vfs")
    changed = {**files, "/main.py": b"print(1)\n"}
    raw[row.offset : row.offset + row.size] = filesystem.build(row.size, changed)
    raw[0x280000] = 0
    other.write_bytes(raw)
    code, said = run_json(capsys, "image", "diff", image, other)
    assert code == 1
    assert [(d["partition"], d["path"]) for d in said["differences"]] == [
        ("vfs", "/main.py"),
        ("pim", None),
    ]
    assert run_json(capsys, "image", "diff", image, image) == (0, {"differences": []})


def test_parts_never_touch_what_the_handset_keeps():
    found = whole.parts(MODEL, {"/main.py": b""}, stock.parse(STOCK, "x"))
    for label in ("pim", "nvs"):
        row = partitions.find(MODEL.partitions, label)
        for _, at, data in found:
            assert at + len(data) <= row.offset or at >= row.offset + row.size


def test_what_does_not_fit_is_refused(tmp_path, capsys):
    firmware = tmp_path / "c3.bin"
    firmware.write_bytes(stock_images.firmware("esp32c3"))
    code, said = run_json(capsys, "image", "build", tmp_path / "f", "--micropython", firmware)
    assert code == 33 and "for esp32c3" in said["error"]["message"]
    assert not (tmp_path / "f").exists()
    code, said = run_json(capsys, "image", "info", __file__)
    assert code == 33 and "neither" in said["error"]["message"]
    code, said = run_json(capsys, "image", "build", tmp_path / "f", "--board", "none")
    assert code == 35


def test_the_newest_cached_firmware_for_the_board_is_taken(tmp_path):
    for name, chip, version in (
        ("a", "esp32", "v1.9.0"),
        ("b", "esp32", "v1.22.2"),
        ("c", "esp32", "v1.28.0"),
        ("ESP32_GENERIC_S3-20250415-v1.25.0", "esp32s3", "v1.25.0"),
        ("ESP32_GENERIC_S3-SPIRAM_OCT-20240602-v1.23.0", "esp32s3", "v1.23.0"),
        ("z", "esp32s3", "v1.29.0"),
    ):
        (tmp_path / (name + ".bin")).write_bytes(stock_images.firmware(chip, version))
    (tmp_path / "none.bin").write_bytes(b"no firmware")

    def found(board, version=None):
        return stock.read(stock.from_cache(board_model.load(board), tmp_path, version)).version

    assert found("esp32-generic") == "v1.28.0"
    assert found("esp32-generic", "1.22") == found("esp32-generic", "v1.22.2") == "v1.22.2"
    assert found("lilygo-t-deck") == "v1.23.0"
    assert found("m5stack-cardputer") == "v1.25.0"
    with pytest.raises(ImageProblem, match="no MicroPython for esp32-c3") as failed:
        found("esp32-c3")
    assert "https://micropython.org/download/ESP32_GENERIC_C3/" in failed.value.hint
    with pytest.raises(ImageProblem, match="no MicroPython 1.27 for lilygo-t-deck") as failed:
        found("lilygo-t-deck", "1.27")
    assert "ESP32_GENERIC_S3-SPIRAM_OCT-DATE-v1.27.bin" in failed.value.hint


def test_the_bootloader_names_the_boards_flash_size(tmp_path):
    model = board_model.load("lilygo-t-deck")
    raw = stock_images.firmware("esp32s3")
    found = {name: data for name, _, data in whole.parts(model, {}, stock.parse(raw, "x"))}
    assert found["bootloader"][3] == 0x40  # 16 MiB; the speed is as it was
    path = tmp_path / "boot.bin"
    path.write_bytes(found["bootloader"])
    done = subprocess.run(
        [sys.executable, "-m", "esptool", "image-info", path], capture_output=True, text=True
    )
    assert "Flash size: 16MB" in done.stdout and "invalid" not in done.stdout.lower()
    changed = sum(a != b for a, b in zip(found["bootloader"], raw, strict=False))
    assert changed <= 1 + 32  # the size and the SHA-256


def test_another_projects_firmware_has_an_exit_code_of_its_own(tmp_path, capsys):
    path = tmp_path / "other.bin"
    path.write_bytes(stock_images.firmware(project="marauder"))
    code, said = run_json(capsys, "image", "build", tmp_path / "f", "--micropython", path)
    assert code == 40 and "another project (marauder)" in said["error"]["message"]
    assert "micropython.org" in said["error"]["hint"]


def written_on(image, times):
    """`image` after a LittleFS of today has written to it: it notes its own disk version."""
    fs = filesystem.mount(image)
    for n in range(times):
        with fs.open("/more%d" % (n % 5), "wb") as file:
            file.write(b"m" * (n % 90))
    return bytes(fs.context.buffer)


def test_the_disk_version_is_the_newest_that_was_noted():
    image = filesystem.build(0x20000, {"/main.py": b"x" * 90, "/lib/a.py": b"1"})
    assert filesystem.disk_version(image[:8192]) == filesystem.DISK_VERSION
    for times in (*range(1, 40), 300):
        newer = written_on(image, times)
        assert filesystem.mount(newer).fs_stat().disk_version == 0x00020001
        assert filesystem.disk_version(newer[:8192]) == 0x00020001, times
    torn = written_on(image, 1)
    assert filesystem.disk_version(torn[:64] + b"\xff" * 4032 + torn[4096:8192]) == 0x00020000
    for none in (b"", b"\xff" * 8192, bytes(8192), newer[8192:16384]):
        assert filesystem.disk_version(none) == 0


@given(st.binary(max_size=200), st.integers(0, 8191), st.integers(0, 8192))
@settings(max_examples=150, deadline=None)
def test_no_sector_breaks_the_reading_of_the_disk_version(noise, at, cut_at):
    root = bytearray(_ROOT)
    root[at : at + len(noise)] = noise
    for data in (bytes(root), _ROOT[:cut_at], noise):
        assert filesystem.disk_version(data) in (0, 0x00020000, 0x00020001)


_ROOT = written_on(filesystem.build(0x20000, {"/main.py": b"x" * 90}), 3)[:8192]


@pytest.mark.parametrize(
    "version, disk",
    [("v1.20.0", 0x20000), ("1.21.0", 0x20000), ("v1.22.2", 0x20001), ("v1.29.0-a", 0x20001),
     ("", 0x20001)],
)  # fmt: skip
def test_which_disk_version_a_micropython_mounts(version, disk):
    assert stock.newest_disk_version(version) == disk
