"""`esp`: the flash as a whole."""
# mypy: ignore-errors

import chip


def flash_size():
    return chip.config["flash_bytes"]


def flash_read(offset, into):
    """`into`: a number of bytes, or a buffer to fill."""
    data = chip.flash_read(offset, into if isinstance(into, int) else len(into))
    if isinstance(into, int):
        return data
    into[:] = data
