"""`esp`: the size of the flash."""
# mypy: ignore-errors

import chip


def flash_size():
    return chip.config["flash_bytes"]
