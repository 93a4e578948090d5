"""Stand-ins for MicroPython's stock firmware: real headers, checksums and tables, no code."""

import hashlib

from drybag_host.image import partitions

CHIP_IDS = {"esp32": (0, 0x1000), "esp32c3": (5, 0), "esp32s3": (9, 0)}
TABLE_WITH_VFS = (
    "nvs, data, nvs, 0x9000, 0x6000\nphy_init, data, phy, 0xf000, 0x1000\n"
    "factory, app, factory, 0x10000, 0x1F0000\nvfs, data, fat, 0x200000, 0x200000\n"
)
TABLE_SINCE_126 = TABLE_WITH_VFS.rsplit("vfs", 1)[0]


def esp_image(chip, body, project="", version=""):
    """An ESP-IDF image of two segments; with `project` an application's description in it.

    `project` "nameless": the description is empty, as MicroPython 1.20 and 1.23 have it.
    """
    if project == "nameless":
        body += b"\0MicroPython %s on 2023-04-26\0" % version.encode()
        project, version = "\0", ""
    if project:
        body = (
            (0xABCD5432).to_bytes(4, "little") + bytes(12)
            + version.encode().ljust(32, b"\0") + project.encode().ljust(32, b"\0")
            + bytes(176) + body
        )  # fmt: skip
    body += bytes(-len(body) % 4)
    header = bytes([0xE9, 2, 2, 0x20]) + (0x40080400).to_bytes(4, "little") + bytes(4)
    header += CHIP_IDS[chip][0].to_bytes(2, "little") + bytes(9) + b"\x01"
    image, checksum = header, 0xEF
    for address, data in ((0x3F400020, body), (0x40080400, b"code" * 4)):
        image += address.to_bytes(4, "little") + len(data).to_bytes(4, "little") + data
        for byte in data:
            checksum ^= byte
    image += bytes(15 - len(image) % 16) + bytes([checksum])
    return image + hashlib.sha256(image).digest()


def firmware(chip="esp32", version="v1.23.0", table=TABLE_SINCE_126, project="micropython",
             body_bytes=20000):  # fmt: skip
    """A combined image as micropython.org has it: bootloader, table, application."""
    base = CHIP_IDS[chip][1]
    body = b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(body_bytes // 32))
    image = bytearray(esp_image(chip, b"second stage bootloader" * 40))
    for at, data in (
        (partitions.TABLE_ADDR, partitions.to_binary(table)),
        (0x10000, esp_image(chip, body, project, version)),
    ):
        image += b"\xff" * (at - base - len(image)) + data
    return bytes(image)
