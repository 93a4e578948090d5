"""What the chip's ROM and bootloader make of the flash, before MicroPython.

A board whose flash has a bootloader needs an application as well, as the chip does; one made by
`drybag emu create` has neither, and its MicroPython is the emulator's. Only marks are looked at,
not hashes.
"""

_MAGIC = 0xE9
_BOOTLOADER_AT = {"esp32": 0x1000, "esp32s2": 0x1000}
_TABLE_AT, _ROW_BYTES, _MOST_ROWS = 0x8000, 32, 95
_RESET = b"rst:0x10 (RTCWDT_RTC_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n"


def refusal(read, chip):
    """What the chip prints when it starts nothing, b"" if an application starts.

    `read(address, size)` -> bytes of the flash; `chip`: "esp32s3", None if that is not known.
    """
    first = read(_BOOTLOADER_AT.get(chip, 0), 1)
    if chip is None or first == b"\xff":
        return b""
    if first[0] != _MAGIC:
        return _RESET + b"invalid header: 0x%02x\r\n" % first[0]
    for n in range(_MOST_ROWS):
        row = read(_TABLE_AT + n * _ROW_BYTES, _ROW_BYTES)
        if row[:2] != b"\xaa\x50":
            break
        if row[2] == 0:
            head = read(int.from_bytes(row[4:8], "little"), 4)
            if head[:1] == bytes([_MAGIC]):
                return b""
            return _RESET + b"invalid header: 0x%08x\r\n" % int.from_bytes(head, "little")
    return _RESET + b"no application in the partition table\r\n"
