"""MicroPython's stock firmware for ESP32 chips, taken apart: bootloader, table, application.

The combined image starts at the chip's bootloader offset. Formats: ESP-IDF's application image
(esp_image_format.h) and application description (esp_app_desc.h), all little-endian.
"""

import hashlib
import re
from collections import namedtuple
from pathlib import Path

from drybag_host.board_errors import BoardFileError, ForeignImage, ImageProblem
from drybag_host.errors import with_hint

from . import dumpfile, filesystem, partitions
from .board_model import CHIPS

MAGIC = 0xE9
OLDEST, NEWEST = (1, 20), (1, 29)
_FIRST_WITH_21 = (1, 22)
_CHIP_IDS = {0: "esp32", 2: "esp32s2", 5: "esp32c3", 9: "esp32s3"}
_HEADER_BYTES, _SEGMENT_BYTES, _HASH_BYTES = 24, 8, 32
_MOST_SEGMENTS = 16
_DESC_AT, _DESC_MAGIC = 32, 0xABCD5432
_BOOTLOADER_MOST_BYTES = 0x8000
_GET_IT = "get MicroPython's firmware for the board from micropython.org/download"
_BANNER = re.compile(rb"MicroPython (v\d+\.\d+[\w.-]*) on \d{4}-\d\d-\d\d")

AppImage = namedtuple("AppImage", "chip data project version")
Stock = namedtuple("Stock", "chip bootloader app rows project version")


def _u(data, at, size):
    return int.from_bytes(data[at : at + size], "little")


def parse_app(data, where="image"):
    """The AppImage that begins `data`, cut to its length. Raises ImageProblem if it is damaged."""
    data = bytes(data)
    if len(data) < _HEADER_BYTES or data[0] != MAGIC:
        raise ImageProblem("%s: no ESP32 image begins here (0xE9 is missing)" % where)
    chip = _CHIP_IDS.get(_u(data, 12, 2))
    if chip is None:
        raise ImageProblem("%s: for a chip Drybag does not know (%d)" % (where, _u(data, 12, 2)))
    if not 0 < data[1] <= _MOST_SEGMENTS:
        raise ImageProblem("%s: the image's header is damaged" % where)
    at, checksum = _HEADER_BYTES, 0xEF
    for _ in range(data[1]):
        size = _u(data, at + 4, 4)
        at += _SEGMENT_BYTES
        if at + size > len(data):
            raise ImageProblem("%s: the image is cut short" % where)
        for byte in _xor(data[at : at + size]):
            checksum ^= byte
        at += size
    end = (at // 16 + 1) * 16
    if end > len(data) or data[end - 1] != checksum:
        raise ImageProblem("%s: the image's checksum is wrong" % where)
    if data[23] == 1:
        digest = data[end : end + _HASH_BYTES]
        if hashlib.sha256(data[:end]).digest() != digest:
            raise ImageProblem("%s: the image's SHA-256 is wrong" % where)
        end += _HASH_BYTES
    project, version = _description(data)
    return AppImage(chip, data[:end], project, version)


def _xor(data):
    """The bytes whose xor is that of all of `data`, 32 of them at most."""
    whole = int.from_bytes(data, "little")
    bits = len(data) * 8
    while bits > 256:
        half = (bits // 2 + 7) // 8 * 8
        whole = (whole & ((1 << half) - 1)) ^ (whole >> half)
        bits = half
    return whole.to_bytes(32, "little")


def _description(data):
    """(project, version) of an application, empty strings for a bootloader.

    MicroPython 1.20 and 1.23, for two, leave both empty; the REPL's banner has them.
    """
    if _u(data, _DESC_AT, 4) != _DESC_MAGIC:
        return "", ""
    texts = [data[at : at + 32].split(b"\0")[0] for at in (_DESC_AT + 48, _DESC_AT + 16)]
    banner = None if texts[0] else _BANNER.search(data)
    if banner:
        texts = [b"micropython", banner[1]]
    return tuple(text.decode("ascii", "replace") for text in texts)


def read(path):
    """The Stock in a firmware file. Raises ImageProblem; also for another project's image."""
    raw = dumpfile.read_bytes(path, ImageProblem, _GET_IT)
    try:
        return parse(raw, str(path))
    except ImageProblem as error:
        with_hint(error, _GET_IT)
        raise


def parse(raw, where):
    """`read` for bytes; `where` names them in messages."""
    if raw[:1] == b"\xff" and raw[0x1000:0x1001] == bytes([MAGIC]):
        raw = raw[0x1000:]  # a whole flash of a chip that boots from 0x1000
    first = parse_app(raw, where)
    base = CHIPS[first.chip][0]
    table_at = partitions.TABLE_ADDR - base
    if raw[table_at : table_at + 2] != b"\xaa\x50":
        return _checked(Stock(first.chip, b"", first.data, (), *_named(first)), where)
    try:
        rows = partitions.from_bytes(raw[table_at : table_at + partitions.TABLE_BYTES])
    except BoardFileError as error:
        raise ImageProblem("%s: %s" % (where, error)) from None
    apps = [row for row in rows if row.type == 0]
    if not apps:
        raise ImageProblem("%s: no application in its partition table" % where)
    app = parse_app(raw[apps[0].offset - base :], "%s: '%s'" % (where, apps[0].label))
    if app.chip != first.chip or len(first.data) > _BOOTLOADER_MOST_BYTES - base:
        raise ImageProblem("%s: bootloader and application do not fit together" % where)
    return _checked(Stock(first.chip, first.data, app.data, tuple(rows), *_named(app)), where)


def _named(app):
    return app.project, app.version


def _checked(stock, where):
    if stock.project != "micropython":
        raise ForeignImage(
            "%s: firmware of another project (%s)" % (where, stock.project or "it names none")
        )
    if not runs_drybag(stock.version):
        raise ImageProblem(
            "%s: MicroPython %s; Drybag runs on 1.20 to 1.29" % (where, stock.version),
            "get a version between these from micropython.org/download",
        )
    return stock


def runs_drybag(version):
    """Is this version of MicroPython one that Drybag runs on? Also if it cannot be told."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return not found or OLDEST <= (int(found[1]), int(found[2])) <= NEWEST


def newest_disk_version(version):
    """The newest disk version of LittleFS that this version of MicroPython mounts."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    old = found and (int(found[1]), int(found[2])) < _FIRST_WITH_21
    return filesystem.DISK_VERSION if old else 0x00020001


def application_at(head):
    """(project, version) of the application that begins with these 256 bytes or more, or None.

    Both are empty where these bytes do not tell: see telling_bytes.
    """
    head = bytes(head)
    if head[:1] != bytes([MAGIC]) or _u(head, _DESC_AT, 4) != _DESC_MAGIC:
        return None
    return _description(head)


def telling_bytes(head):
    """How much of an application, from its start on, tells what `application_at` wants to know.

    `head`: its first 256 bytes or more. Where the description names no project the banner may be
    anywhere among the constants, which are the first segment.
    """
    if application_at(head) == ("", ""):
        return _HEADER_BYTES + _SEGMENT_BYTES + _u(head, _HEADER_BYTES + 4, 4)
    return 0


def with_flash_size(bootloader, flash_bytes):
    """A bootloader whose header names that flash size, its SHA-256 made anew.

    ESP-IDF refuses a partition table that goes beyond the size in the bootloader's header, and
    MicroPython's images for 8 MiB are used on 16 MiB as well.
    """
    data = bytearray(bootloader)
    code = (flash_bytes >> 20).bit_length() - 1
    data[3] = (data[3] & 0x0F) | code << 4
    if data[23] == 1:
        data[-_HASH_BYTES:] = hashlib.sha256(data[:-_HASH_BYTES]).digest()
    return bytes(data)


def from_cache(model, folder, version=None):
    """Path of the stock firmware for a BoardModel among `folder`'s *.bin files: the newest.

    Files named as micropython.org names this board's come first. `version`: "1.27" or "1.27.0",
    only that. Raises ImageProblem if there is none; a file that is none is passed over.
    """
    wanted = [int(n) for n in version.lstrip("v").split(".")] if version else []
    found = []
    for path in sorted(Path(folder).glob("*.bin")):
        try:
            stock = read(path)
        except ImageProblem:
            continue
        numbers = [int(n) for n in re.findall(r"\d+", stock.version)]
        named = bool(re.match(re.escape(model.micropython) + r"-\d", path.name))
        if stock.chip == model.chip and numbers[: len(wanted)] == wanted:
            found.append((named, numbers, str(path)))
    if not found:
        raise ImageProblem(
            "no MicroPython %sfor %s in %s"
            % (version + " " if version else "", model.name, folder),
            "get %s-DATE-v%s.bin from https://micropython.org/download/%s/ and put it there, or "
            "name it: --micropython FILE"
            % (model.micropython, version or "1.29.0", model.micropython.partition("-")[0]),
        )
    return max(found)[2]
