"""Before anything could harm records that a new partition table would leave behind."""

import os
from shlex import quote

from drybag.errors import DrybagError
from drybag_host.backup import disk, verified
from drybag_host.backup.pull import Pull
from drybag_host.board.loader import open_loader
from drybag_host.flash_errors import RecordsElsewhere
from drybag_host.targets import Session


def secure(target, found, home, folder, out, tool):
    """Save the records of a board, by its firmware if that lives, else as raw bytes.

    `found`: the RecordsElsewhere that stopped the flash; `folder`: for the backup, None for the
    usual place. Returns the RecordsElsewhere to raise, which says what there is and what to do.
    """
    name = found.details["name"]
    folder = folder or os.path.join(str(home), "backups", name)
    try:
        return _after_pull(target, found, home, folder, out, tool)
    except DrybagError as error:
        out.warn("its firmware gives no backup: %s" % error)
    row = found.details.get("pim")
    if row is None:
        return RecordsElsewhere(
            "%s. Nothing was written" % found,
            "save the flash first: drybag dump %s FILE --whole; then drybag salvage FILE DIR; "
            "to give the records up: --erase-pim %s" % (quote(target), quote(name)),
            **found.details,
        )
    path = _dump(target, row, home, name)
    return RecordsElsewhere(
        "%s. Nothing was written; the raw records are in %s" % (found, path),
        "1. drybag salvage %s DIR  2. the same command with --erase-pim %s  3. drybag import "
        "%s with the files of DIR" % (quote(path), quote(name), quote(target)),
        **found.details,
        dump=path,
    )


def _after_pull(target, found, home, folder, out, tool):
    from drybag_host.board import open_console
    from drybag_host.link import HandsetLink

    disk.make_dirs(os.path.dirname(os.path.abspath(folder)))
    with Session(lambda: HandsetLink(open_console(target)), target, out) as session:
        report = Pull(folder, session, out, adopt=True, written_by=tool).run()
    if not report.verified or report.missing:
        raise DrybagError("the backup in %s is not complete" % folder)
    verified.note(home, folder, report.manifest, out)
    records = sum(report.manifest.counts.values())
    name = found.details["name"]
    return RecordsElsewhere(
        "%s. Nothing was written; a verified backup of its %d records is in %s"
        % (found, records, folder),
        "1. run the same command with --erase-pim %s  2. drybag restore %s %s  3. if it had a hub "
        "or Wi-Fi, set them up again: a backup has no passwords"
        % (quote(name), quote(folder), quote(target)),
        **found.details,
        backup=folder,
        records=records,
    )


def _dump(target, row, home, name):
    path = os.path.join(str(home), "backups", name + "-pim.bin")
    with open_loader(target) as tool:
        data = tool.read(row["offset"], row["size"])
    disk.make_dirs(os.path.dirname(path))
    disk.replace_file(path, data, disk.PRIVATE)  # the handset's settings are among the records
    return path
