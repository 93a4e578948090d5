"""A state of the rig as an image of a board's whole flash, to boot or to flash it."""

from drybag_host.image import board_model, flash, partitions
from drybag_host.image.firmware import firmware_files

LABEL = "pim"


def whole_flash(board, pim):
    """The flash of `board` with the firmware in `vfs` and `pim` as its partition of that name.

    The partition is made as small as the rig's volume: LittleFS must find the size it was made
    with. Raises BoardFileError, ImageProblem.
    """
    model = board_model.load(board)
    rows = [row._replace(size=len(pim)) if row.label == LABEL else row for row in model.partitions]
    text = "".join(_line(row) for row in rows)
    shrunk = _with_table(model, text)
    image = bytearray(flash.compose(shrunk, firmware_files()))
    row = partitions.find(shrunk.partitions, LABEL)
    image[row.offset : row.offset + row.size] = pim
    return bytes(image)


def _line(row):
    return "%s, 0x%x, 0x%x, 0x%x, 0x%x\n" % (
        row.label, row.type, row.subtype, row.offset, row.size,
    )  # fmt: skip


def _with_table(model, text):
    from dataclasses import replace

    rows = tuple(partitions.parse_csv(text, LABEL))
    return replace(model, partitions_csv=text, partitions=rows)
