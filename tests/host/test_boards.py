"""Board files and `drybag boards`."""

import pytest

from drybag_host import cli
from drybag_host.board_errors import BoardFileError
from drybag_host.image import board_model, partitions
from drybag_host.resources import boards_dir

GOOD_TABLE = """\
nvs,      data, nvs,      0x9000,   0x6000
phy_init, data, phy,      0xf000,   0x1000
factory,  app,  factory,  0x10000,  0x1f0000
vfs,      data, fat,      0x200000, 0x80000
pim,      data, littlefs, 0x280000, 0x180000
"""


def write_board(folder, table=GOOD_TABLE, **changes):
    """A board file with some fields changed (None leaves one out); its path."""
    fields = {
        "title": '"A board"',
        "machine": '"A board with ESP32"',
        "chip": '"esp32"',
        "flash_mib": "4",
        "psram_kib": "0",
        "heap_kib": "120",
        "freq_mhz": "160",
        "bootloader_offset": "0x1000",
        "partitions": '"""\n%s"""' % table,
        "usb": "[]",
    }
    fields.update(changes)
    path = folder / "mine.toml"
    path.write_text("".join("%s = %s\n" % (k, v) for k, v in fields.items() if v is not None))
    return path


def test_ours_are_all_right():
    names = [path.stem for path in board_model.board_files()]
    assert set(names) >= {
        "esp32-generic",
        "esp32-c3",
        "esp32-s3-psram",
        "lilygo-t-deck",
        "m5stack-cardputer",
    }
    for name in names:
        model = board_model.load(name)
        labels = [row.label for row in model.partitions]
        assert labels[:3] == ["nvs", "phy_init", "factory"]
        assert model.bootloader_offset == (0x1000 if model.chip == "esp32" else 0)
        assert model.usb


def test_every_partition_table_is_used():
    used = {board_model.load(p.stem).partitions_file for p in board_model.board_files()}
    assert used == {str(p) for p in (boards_dir() / "partitions").glob("*.csv")}


def test_a_new_board_is_one_file(tmp_path):
    model = board_model.load(str(write_board(tmp_path)))
    assert (model.name, model.flash_bytes) == ("mine", 4 << 20)
    assert partitions.find(model.partitions, "pim").size == 0x180000


@pytest.mark.parametrize(
    "old, new, says",
    [
        ("0x280000, 0x180000", "0x270000, 0x180000", "overlap"),
        ("0x280000, 0x180000", "0x280000, 0x181000", "'pim': ends at 0x401000, the flash at"),
        ("0x280000, 0x180000", "0x280100, 0x170000", "'pim': offset 0x280100 is no multiple"),
        ("0x280000, 0x180000", "0x280000, 0x170100", "'pim': size 0x170100 is no multiple"),
        ("0x10000,  0x1f0000", "0x18000,  0x1e8000", "'factory': offset 0x18000 is no multiple"),
        ("pim,      data", "data,     data", "partition 'pim' is missing"),
        ("pim,      data", "vfs,      data", "partition 'vfs' is listed twice"),
        ("0x9000,   0x6000", "0x8000,   0x6000", "0x8000"),
        ("pim,      data, littlefs", "pim,      data, nonsense", "nonsense"),
        ("pim,      data", "a-label-too-long-for-it, data", "label"),
    ],
)
def test_wrong_tables_are_named(tmp_path, old, new, says):
    assert old in GOOD_TABLE
    path = write_board(tmp_path, GOOD_TABLE.replace(old, new))
    with pytest.raises(BoardFileError) as error:
        board_model.load(str(path))
    assert says in str(error.value)
    assert "mine.toml" in str(error.value)


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"chip": '"z80"'}, "chip 'z80' is none of"),
        ({"bootloader_offset": "0"}, "an esp32 boots from 0x1000"),
        ({"flash_mib": "3"}, "flash_mib 3 is none of"),
        ({"flash_mib": "32"}, "at most 16"),
        ({"heap_kib": "4000"}, "heap_kib 4000 is not between"),
        ({"freq_mhz": "1000"}, "freq_mhz 1000"),
        ({"title": None}, "'title' is missing"),
        ({"title": "5"}, "'title' must be of type str"),
        ({"colour": '"red"'}, "unknown field 'colour'"),
        ({"partitions": '"none.csv"'}, "No such file"),
        ({"usb": "[{vid = 1}]"}, "[[usb]]"),
        ({"usb": "[1]"}, "[[usb]]"),
        ({"title": "nonsense"}, "mine.toml"),
    ],
)
def test_wrong_fields_are_named(tmp_path, changes, says):
    with pytest.raises(BoardFileError) as error:
        board_model.load(str(write_board(tmp_path, **changes)))
    assert says in str(error.value)
    assert "mine.toml" in str(error.value) or "none.csv" in str(error.value)


def test_unknown_board_lists_the_known():
    with pytest.raises(BoardFileError, match="esp32-generic"):
        board_model.load("esp33")


def test_the_command_lists_and_checks(tmp_path, capsys):
    assert cli.main(["boards"]) == 0
    assert "m5stack-cardputer" in capsys.readouterr().out
    path = write_board(tmp_path, flash_mib="2")
    assert cli.main(["boards", str(path)]) == BoardFileError.exit_code
    said = capsys.readouterr()
    assert "'pim': ends at 0x400000, the flash at 0x200000" in said.err
    assert str(path) in said.err
