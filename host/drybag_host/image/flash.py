"""Whole flash images: partition table at 0x8000, `vfs` with files, the rest erased."""

from drybag_host.backup import disk

from . import filesystem, partitions


def compose(model, files):
    """A flash image of the board's size with `files` in `vfs`; `pim` is left erased."""
    image = bytearray(b"\xff" * model.flash_bytes)
    table = partitions.to_binary(model.partitions_csv, model.partitions_file)
    image[partitions.TABLE_ADDR : partitions.TABLE_ADDR + len(table)] = table
    row = partitions.find(model.partitions, "vfs")
    image[row.offset : row.offset + row.size] = filesystem.build(row.size, files)
    return bytes(image)


def write(path, image):
    """Write an image under its final name only when it is whole. HostFile, HostDiskFull."""
    disk.replace_file(str(path), image)


def read_partition(path, label):
    """The bytes of one partition of an image file, found by the image's own table."""
    row = partitions.find(partitions.from_image(path), label)
    with open(path, "rb") as f:
        f.seek(row.offset)
        return f.read(row.size)
