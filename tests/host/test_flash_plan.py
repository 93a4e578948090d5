"""What is written, in which order, and what is refused: the plan, and the keeping of files."""

import flash_steps as steps
import pytest
import stock_images
from hypothesis import given, settings
from hypothesis import strategies as st

from drybag_host.board_errors import ImageProblem
from drybag_host.esptool_run import Chip
from drybag_host.flash_errors import RecordsElsewhere, WrongChip, WrongFlash
from drybag_host.flashing import keeping, plan
from drybag_host.image import board_model, filesystem, partitions, stock, whole

MODEL = steps.GENERIC
OUR_TABLE = partitions.to_binary(MODEL.partitions_csv).ljust(4096, b"\xff")
STOCK = stock.parse(steps.firmware_of(steps.NEW), "new")


def present(csv):
    return plan.present(partitions.to_binary(csv).ljust(4096, b"\xff"))


def test_the_keystone_is_first_and_last():
    found = plan.present(OUR_TABLE)
    pieces = plan.writes(whole.parts(MODEL, {"/main.py": b"1"}, STOCK), found)
    assert [(p.part, p.address) for p in pieces] == [
        ("bootloader", 0x1000),
        ("vfs", 0x202000),
        ("vfs", 0x200000),
        ("app", 0x11000),
        ("app", 0x10000),
    ]
    assert [len(p.data) for p in (pieces[2], pieces[4])] == [8192, 4096]
    emptied = plan.clearing(found, MODEL)
    assert [p.address for p in emptied] == [0x10000, 0x200000, 0x201000]
    assert all(p.data == b"\xff" * 4096 for p in emptied)
    plan.guard([*emptied, *pieces], found, MODEL)


def test_another_table_is_written_and_what_else_could_start_is_emptied():
    found = present(
        "nvs, data, nvs, 0x9000, 0x4000\notadata, data, ota, 0xd000, 0x2000\n"
        "ota_0, app, ota_0, 0x20000, 0x100000\nota_1, app, ota_1, 0x120000, 0x100000\n"
    )
    pieces = plan.writes(whole.parts(MODEL, {}, STOCK), found)
    assert [p.part for p in pieces] == ["bootloader", "table", "vfs", "vfs", "app", "app"]
    assert {p.address for p in plan.clearing(found, MODEL)} >= {0x10000, 0x20000, 0x120000}
    with pytest.raises(ImageProblem, match="differs: .*ota_0"):
        plan.check_app_only(found, MODEL)


@pytest.mark.parametrize("sector", [b"\xff" * 4096, bytes(4096), b"\xaa\x50" + b"x" * 4094])
def test_no_table(sector):
    found = plan.present(sector)
    assert found.rows is None and found.blank == (sector[0] == 0xFF)
    assert plan.pim_elsewhere(found, MODEL) is None
    with pytest.raises(ImageProblem, match="it has none"):
        plan.check_app_only(found, MODEL)


@given(st.binary(max_size=4096))
@settings(max_examples=100)
def test_no_sector_breaks_the_reading_of_the_table(data):
    for sector in (data, OUR_TABLE[:32] + data, OUR_TABLE[:200] + data[:64] + OUR_TABLE[264:]):
        plan.present(sector.ljust(4096, b"\xff")[:4096])


def test_pim_elsewhere_or_of_another_size():
    assert plan.pim_elsewhere(plan.present(OUR_TABLE), MODEL) is None
    for old, new in (("0x280000, 0x180000", "0x280000, 0x100000"), ("0x280000", "0x290000")):
        csv = MODEL.partitions_csv.replace(old, new)
        if new == "0x290000":
            csv = csv.replace("0x180000", "0x170000")
        assert plan.pim_elsewhere(present(csv), MODEL).label == "pim"
    assert plan.pim_elsewhere(present(stock_images.TABLE_WITH_VFS), MODEL) is None


def test_where_micropython_has_its_root():
    for csv, place in (
        (stock_images.TABLE_WITH_VFS, (0x200000, 0x200000)),
        (stock_images.TABLE_SINCE_126, (0x200000, 0x200000)),
        (MODEL.partitions_csv, (0x200000, 0x80000)),
    ):
        assert plan.root_of(present(csv), 4 << 20) == place
    assert plan.root_of(plan.present(b"\xff" * 4096), 4 << 20) is None
    assert plan.root_of(present(stock_images.TABLE_SINCE_126), 2 << 20) is None


@pytest.mark.parametrize("address, size", [(0x27F000, 4097), (0x280000, 1), (0x3FF000, 1)])
def test_no_piece_ever_touches_pim(address, size):
    piece = plan.Piece("vfs", address, bytes(size))
    with pytest.raises(RecordsElsewhere, match="would overwrite 'pim'"):
        plan.guard([piece], plan.present(OUR_TABLE), MODEL)


def test_chip_and_flash_are_those_of_the_board_file():
    plan.check_chip(Chip("esp32", "ESP32", "", 4 << 20), MODEL)
    plan.check_chip(Chip("esp32", "ESP32", "", 8 << 20), MODEL)
    with pytest.raises(WrongChip, match="this is an ESP32-S3.*esp32-generic has an esp32"):
        plan.check_chip(Chip("esp32s3", "ESP32-S3 (QFN56)", "", 4 << 20), MODEL)
    with pytest.raises(WrongFlash, match="2 MiB; esp32-generic has 4"):
        plan.check_chip(Chip("esp32", "ESP32", "", 2 << 20), MODEL)


def test_the_modules_alone_need_a_micropython_that_runs_them():
    app = stock.parse(steps.firmware_of(steps.OLD), "old").app
    assert plan.check_application(app[:4096], MODEL) == steps.OLD
    other = stock.parse_app(stock_images.esp_image("esp32", b"x" * 900, "marauder", "v1.0"))
    old = stock.parse_app(stock_images.esp_image("esp32", b"x" * 900, "micropython", "v1.19.1"))
    banner = stock.parse_app(stock_images.esp_image("esp32", b"x" * 9000, "nameless", "v1.23.0"))
    assert 4096 < stock.telling_bytes(banner.data[:4096]) <= len(banner.data)
    assert stock.telling_bytes(app[:4096]) == stock.telling_bytes(b"\xff" * 4096) == 0
    assert plan.check_application(banner.data, MODEL) == "v1.23.0"
    with pytest.raises(ImageProblem, match="names no project"):
        plan.check_application(banner.data[:4096], MODEL)
    for head, says in ((b"\xff" * 4096, "no application"), (other.data, "it has marauder"),
                       (old.data, "1.19.1")):  # fmt: skip
        with pytest.raises(ImageProblem, match=says):
            plan.check_application(head.ljust(4096, b"\xff"), MODEL)


def test_an_application_alone_is_not_enough():
    alone = stock.parse(STOCK.app, "x.app-bin")
    with pytest.raises(ImageProblem, match="without its bootloader"):
        whole.parts(MODEL, {}, alone, combined=True)


def test_what_is_kept_is_found_again_until_it_is_done(tmp_path):
    keep = keeping.Keeping(tmp_path, "24:6f:28:aa:bb:cc")
    assert keep.load() == (None, None)
    keep.save(b"vfs", b"head")
    assert keep.folder.stat().st_mode & 0o077 == 0
    assert keeping.Keeping(tmp_path, "24:6f:28:aa:bb:cc").load() == (b"vfs", b"head")
    (keep.folder / "vfs.bin").write_bytes(b"torn")
    assert keep.load() == (None, b"head")
    keep.done()
    assert keep.load() == (None, None)
    (keep.folder / "kept.json").write_text("[1")
    assert keep.load() == (None, None)
    (keep.folder / "kept.json").write_text("[1]")
    assert keep.load() == (None, None)


def test_what_was_replaced_once_is_not_replaced_in_its_copy(tmp_path):
    """First somebody's own program, then what an older Drybag had put there, twice."""
    keep = keeping.Keeping(tmp_path, "24:6f:28:aa:bb:cc")
    for data in (b"mine", b"old drybag", b"old drybag"):
        folder = keep.keep_replaced({"/main.py": data})
    assert sorted(path.read_bytes() for path in folder.iterdir()) == [b"mine", b"old drybag"]
    assert (folder / "main.py").read_bytes() == b"mine"



def test_files_of_the_person_stay_and_old_modules_go():
    old = filesystem.build(0x20000, {**steps.OLD_FILES, "/lib/mine/a.py": b"1"})
    new = {"/main.py": b"new", "/boot.py": steps.OLD_FILES["/boot.py"], "/lib/drybag/x.mpy": b"x"}
    files, theirs, replaced = keeping.merge(old, new)
    assert theirs == sorted([*steps.MINE, "/lib/mine/a.py"])
    assert files == {**steps.MINE, "/lib/mine/a.py": b"1", **new}
    assert replaced == {"/main.py": steps.OLD_FILES["/main.py"]}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 0x1FFFF), st.binary(min_size=1, max_size=64), st.integers(0, 0x20000))
def test_no_file_system_breaks_the_reading(at, noise, cut_at):
    old = bytearray(filesystem.build(0x20000, steps.OLD_FILES))
    old[at : at + len(noise)] = noise
    for image in (bytes(old[:0x20000]), bytes(old[:cut_at]).ljust(0x20000, b"\xff")):
        keeping.is_readable(image)


def test_every_board_of_ours_has_a_plan():
    for path in board_model.board_files():
        model = board_model.load(path.stem)
        chip = stock.parse(steps.firmware_of(steps.NEW, model.chip), "x")
        found = plan.present(b"\xff" * 4096)
        pieces = plan.writes(whole.parts(model, {"/main.py": b"1"}, chip), found)
        plan.guard([*plan.clearing(found, model), *pieces], found, model)
        assert pieces[-1].address == steps.row(model, "factory").offset
