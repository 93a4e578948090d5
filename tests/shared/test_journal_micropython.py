"""One image, two interpreters: what one writes, byte for byte, the other writes and reads too."""

import subprocess
import sys
from pathlib import Path

import pytest
from both_interpreters import LIB, micropython, version_of

SCRIPT = Path(__file__).parent / "scripts" / "journal_image.py"
SECTORS = 48


def run(interpreter, image, what):
    command = [micropython(), "-X", "heapsize=4M"] if interpreter == "micropython" else [
        sys.executable]  # fmt: skip
    done = subprocess.run(
        [*command, str(SCRIPT), str(LIB), str(image), what],
        capture_output=True, timeout=120,
        env={"PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()[-2000:] + done.stdout.decode()[-500:]
    return done.stdout


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    written = {}
    for interpreter in ("cpython", "micropython"):
        image = folder / interpreter
        image.write_bytes(b"\xff" * SECTORS * 4096)
        written[interpreter] = image, run(interpreter, image, "write")
    return written


def test_both_write_the_same_records(images):
    assert images["cpython"][1] == images["micropython"][1]
    if version_of(micropython()) >= (1, 22):  # before, LittleFS's disk version was 2.0
        assert images["cpython"][0].read_bytes() == images["micropython"][0].read_bytes()


@pytest.mark.parametrize("writer", ["cpython", "micropython"])
@pytest.mark.parametrize("reader", ["cpython", "micropython"])
def test_each_reads_what_the_other_wrote(images, writer, reader):
    image, said = images[writer]
    assert run(reader, image, "read") == said
