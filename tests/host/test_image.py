"""Flash images: partition table, LittleFS in the shared geometry, compiled firmware."""

import signal
import subprocess
import sys

import littlefs
import pytest
from esp_idf_defs.partitions import PartitionTable

from drybag_host.board_errors import BoardFileError, ImageProblem
from drybag_host.image import board_model, filesystem, firmware, flash, partitions

MODEL = board_model.load("esp32-generic")


def test_an_image_has_its_table_vfs_and_an_erased_pim(tmp_path):
    files = {"/main.py": b"print(1)\n", "/lib/a/b.py": b"x = 1\n" * 2000, "/empty": b""}
    path = tmp_path / "flash.bin"
    flash.write(path, flash.compose(MODEL, files))
    assert path.stat().st_size == 4 << 20
    assert partitions.from_image(path) == list(MODEL.partitions)
    assert filesystem.read_files(flash.read_partition(path, "vfs")) == files
    assert flash.read_partition(path, "pim") == b"\xff" * 0x180000
    raw = path.read_bytes()
    assert raw[:0x8000] == b"\xff" * 0x8000
    assert raw[0x8000:0x8002] == b"\xaa\x50"
    assert raw[0x9000:0x200000] == b"\xff" * (0x200000 - 0x9000)
    with pytest.raises(BoardFileError, match="no partition 'other'"):
        flash.read_partition(path, "other")


def test_the_table_is_what_esp_idf_writes_with_its_md5():
    table = partitions.to_binary(MODEL.partitions_csv)
    assert b"\xeb\xeb" + b"\xff" * 14 in table
    assert PartitionTable.from_binary(table).to_binary() == table


def test_an_image_without_a_table_is_refused(tmp_path):
    path = tmp_path / "flash.bin"
    for content in (b"\xff" * 0x10000, b"", bytes(0x10000)):
        path.write_bytes(content)
        with pytest.raises(BoardFileError):
            partitions.from_image(path)


def test_geometry_is_the_shared_one_and_disk_version_20():
    image = filesystem.build(0x80000, {"/a": b"1"})
    fs = filesystem.mount(image)
    assert fs.fs_stat().disk_version == 0x00020000
    assert filesystem.GEOMETRY == {
        "read_size": 32,
        "prog_size": 32,
        "cache_size": 128,
        "lookahead_size": 32,
    }


def test_small_files_survive_micropythons_append(tmp_path):
    """A cache larger than MicroPython's would lose bytes of inline files opened for append."""
    image = tmp_path / "vfs.bin"
    names = {"/f%d" % n: bytes([n % 251]) * n for n in (1, 100, 127, 128, 129, 300, 511, 512, 600)}
    image.write_bytes(filesystem.build(0x20000, names))
    script = tmp_path / "append.py"
    script.write_text(
        "import os, sys\n"
        "image = bytearray(open(sys.argv[1], 'rb').read())\n"
        "class Ram:\n"
        "    def readblocks(self, n, buf, off=0):\n"
        "        at = n * 4096 + off\n"
        "        buf[:] = image[at:at + len(buf)]\n"
        "    def writeblocks(self, n, buf, off=0):\n"
        "        at = n * 4096 + off\n"
        "        image[at:at + len(buf)] = buf\n"
        "    def ioctl(self, op, arg):\n"
        "        if op == 6: image[arg * 4096:arg * 4096 + 4096] = b'\\xff' * 4096\n"
        "        return {4: len(image) // 4096, 5: 4096}.get(op, 0)\n"
        "fs = os.VfsLfs2(Ram())\n"
        "for row in fs.ilistdir('/'):\n"
        "    f = fs.open('/' + row[0], 'ab')\n"
        "    f.write(b'tail')\n"
        "    f.close()\n"
        "with open(sys.argv[1], 'wb') as f: f.write(image)\n"
    )
    subprocess.run(
        [sys.executable, "-m", "micropython_unix", str(script), str(image)], check=True, timeout=60
    )
    found = filesystem.read_files(image.read_bytes())
    assert found == {name: data + b"tail" for name, data in names.items()}


def test_files_that_do_not_fit_are_an_error():
    with pytest.raises(ImageProblem, match="do not fit"):
        filesystem.build(0x10000, {"/big": bytes(0x20000)})
    with pytest.raises(ImageProblem, match="no LittleFS"):
        filesystem.mount(b"\xff" * 0x10000)


@pytest.mark.parametrize("callback", ["read", "prog", "erase"])
def test_ctrl_c_inside_the_file_system_is_not_lost(monkeypatch, callback):
    image = filesystem.build(0x10000, {"/a": b"1" * 9000})
    real, calls = getattr(littlefs.UserContext, callback), []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return real(*args)

    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(littlefs.UserContext, callback, interrupted)
    with pytest.raises(KeyboardInterrupt):
        if callback == "read":
            filesystem.read_files(image)
        else:
            filesystem.build(0x10000, {"/a": b"1" * 9000})
    assert len(calls) > 2 and signal.getsignal(signal.SIGINT) is before


def test_modules_are_compiled_to_bytecode_that_micropython_imports(tmp_path):
    source = tmp_path / "mod.py"
    source.write_text("def f(x):\n    return x * 2\n")
    code = firmware.compile_module(source, "pkg/mod.py", tmp_path / "cache")
    assert code[:2] == b"M\x06"
    assert code[2] >> 2 == 0  # no machine code
    assert firmware.compile_module(source, "pkg/mod.py", tmp_path / "cache") == code
    assert len(list((tmp_path / "cache").iterdir())) == 1
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "mod.mpy").write_bytes(code)
    said = subprocess.run(
        [sys.executable, "-m", "micropython_unix", "-c", "import mod; print(mod.f(21))"],
        env={"MICROPYPATH": str(tmp_path / "lib")},
        capture_output=True,
        cwd="/",
    )
    assert said.stdout == b"42\n", said.stderr
    source.write_text("def f(:\n")
    with pytest.raises(ImageProblem, match="mod.py"):
        firmware.compile_module(source, "pkg/mod.py", tmp_path / "cache")


def test_firmware_files_lie_where_the_handset_holds_them(tmp_path):
    (tmp_path / "lib" / "drybag").mkdir(parents=True)
    (tmp_path / "lib" / "handset" / "sub").mkdir(parents=True)
    (tmp_path / "lib" / "other").mkdir()
    for name in ("boot.py", "main.py", "manifest.py"):
        (tmp_path / name).write_text("pass\n")
    for name in ("drybag/a.py", "handset/sub/b.py", "other/c.py"):
        (tmp_path / "lib" / name).write_text("x = 1\n")
    files = firmware.firmware_files(tmp_path)
    assert sorted(files) == [
        "/boot.py",
        "/lib/drybag/a.mpy",
        "/lib/handset/sub/b.mpy",
        "/lib/handset/version",
        "/main.py",
    ]
    assert files["/main.py"] == b"pass\n"


def test_a_folder_as_files(tmp_path):
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "x.py").write_bytes(b"1")
    (tmp_path / "main.py").write_bytes(b"2")
    assert firmware.folder_files(tmp_path) == {"/lib/x.py": b"1", "/main.py": b"2"}
    with pytest.raises(ImageProblem):
        firmware.folder_files(tmp_path / "nothing")
