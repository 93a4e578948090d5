"""ESP-IDF partition tables: read and written by esp-idf-defs, checked here."""

from collections import namedtuple
from io import BytesIO

from esp_idf_defs import partitions as idf

from drybag_host.board_errors import BoardFileError

TABLE_ADDR = idf.PARTITION_TABLE_OFFSET
TABLE_BYTES = idf.MAX_PARTITION_LENGTH
SECTOR_BYTES = 4096
REQUIRED = ("nvs", "phy_init", "factory", "vfs", "pim")
_LABEL_BYTES = 15

Partition = namedtuple("Partition", "label type subtype offset size")


def _rows(table):
    return [Partition(p.name, p.type, p.subtype, p.offset, p.size) for p in table]


def parse_csv(text, where="partition table"):
    """The rows of a CSV table. Raises BoardFileError naming `where`."""
    return _rows(_table(text, where))


def _table(text, where):
    try:
        return idf.PartitionTable.from_csv(text)
    except Exception as error:  # the library raises many kinds for one cause: a bad line
        raise BoardFileError("%s: %s" % (where, error)) from None


def to_binary(text, where="partition table"):
    """The table as it stands at 0x8000, MD5 included."""
    return _table(text, where).to_binary()


def from_image(path):
    """The rows of the table in a flash image. Raises BoardFileError if there is none."""
    with open(path, "rb") as f:
        f.seek(TABLE_ADDR)
        return from_bytes(f.read(TABLE_BYTES), path)


def from_bytes(raw, where="flash"):
    """The rows of the table as it stands at 0x8000. Raises BoardFileError if there is none."""
    try:
        table, is_binary = idf.PartitionTable.from_file(BytesIO(raw))
    except Exception as error:  # as above
        raise BoardFileError("%s: partition table at 0x8000: %s" % (where, error)) from None
    if not is_binary or not table:
        raise BoardFileError("%s: no partition table at 0x8000" % where)
    return _rows(table)


def find(rows, label):
    """The row of that label. Raises BoardFileError if there is none."""
    for row in rows:
        if row.label == label:
            return row
    raise BoardFileError(
        "no partition '%s' (there are: %s)" % (label, ", ".join(r.label for r in rows))
    )


def problems(rows, flash_bytes):
    """Everything wrong with a table on a flash of that size, as sentences."""
    found = []
    labels = [row.label for row in rows]
    for label in sorted(set(labels)):
        if labels.count(label) > 1:
            found.append("partition '%s' is listed twice" % label)
        if len(label.encode()) > _LABEL_BYTES:
            found.append("partition '%s': a label has at most 15 bytes" % label)
    for label in REQUIRED:
        if label not in labels:
            found.append("partition '%s' is missing" % label)
    for row in rows:
        found += _row_problems(row, flash_bytes)
    ordered = sorted(rows, key=lambda row: row.offset)
    for a, b in zip(ordered, ordered[1:], strict=False):
        if a.offset + a.size > b.offset:
            found.append(
                "'%s' (to 0x%x) overlaps '%s' (from 0x%x)"
                % (a.label, a.offset + a.size, b.label, b.offset)
            )
    return found


def _row_problems(row, flash_bytes):
    found = []
    step = idf.get_alignment_offset_for_type(row.type)
    if row.offset % step:
        found.append("'%s': offset 0x%x is no multiple of 0x%x" % (row.label, row.offset, step))
    if row.size <= 0 or row.size % SECTOR_BYTES:
        found.append("'%s': size 0x%x is no multiple of 4096" % (row.label, row.size))
    if row.offset < TABLE_ADDR + SECTOR_BYTES:
        found.append("'%s': offset 0x%x lies on the partition table" % (row.label, row.offset))
    if row.offset + row.size > flash_bytes:
        found.append(
            "'%s': ends at 0x%x, the flash at 0x%x"
            % (row.label, row.offset + row.size, flash_bytes)
        )
    return found
