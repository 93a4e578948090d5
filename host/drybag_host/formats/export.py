"""Everything out as standard files, in a folder that is new or empty."""

import errno
import os
import shutil
from contextlib import suppress
from datetime import date
from pathlib import Path

from drybag import records
from drybag.layout import CALENDAR, CONTACT, EVENT, KIND_NAMES, NOTE, PHOTO, TODO
from drybag_host.backup import disk
from drybag_host.errors import HostDiskFull, HostFile, Usage
from drybag_host.formats import cards, pages, tables
from drybag_host.formats.library import BLOB_ERRORS, Library
from drybag_host.formats.model import ExportSummary
from drybag_host.formats.names import safe_name
from drybag_host.formats.source import image_type

VERSIONS = ("3.0", "4.0", "as-is")
_PART = ".part-"
_SUFFIXES = {
    "image/jpeg": (".jpg", ".jpeg", ".jpe"),
    "image/png": (".png",),
    "image/gif": (".gif",),
    "image/webp": (".webp",),
}


def export(
    source,
    outdir: str | Path,
    vcard: str = "3.0",
    force: bool = False,
    title: str = "Drybag",
    today: date | None = None,
) -> ExportSummary:
    """Write all records of `source` (records() or iterable, and read_blob(sha)) into `outdir`.

    vcard: "3.0", "4.0", or "as-is" for every line as received. A new folder appears with all its
    files at once; in one that is there they appear when all are written. With `force` files of
    the same names are replaced, others stay. Raises Usage, HostFile (the folder is not empty, or
    cannot be written), HostDiskFull, and what reading the source raises.
    """
    if vcard not in VERSIONS:
        raise Usage("vCard version %s is not known" % vcard, hint="one of " + ", ".join(VERSIONS))
    out = Path(outdir)
    if out.exists() and not out.is_dir():
        raise HostFile("%s is a file" % out, hint="name a folder")
    if out.is_dir() and any(out.iterdir()) and not force:
        raise HostFile("%s is not empty" % out, hint="name a new folder, or replace with --force")
    library = Library(source)
    # A folder that is there may be a disk of its own, or all that we may write to.
    part = out / _PART if out.is_dir() else out.with_name(out.name + _PART)
    part = part.with_name("%s%d" % (part.name, os.getpid()))
    try:
        part.mkdir(parents=True)
        summary = _write_all(library, part, vcard, title, today or date.today())
        disk.sync_tree(part)
        _move(part, out)
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HostDiskFull(
                "%s: no room on this disk" % out, "free some space, or name a folder elsewhere"
            ) from e
        raise HostFile("%s cannot be written: %s" % (e.filename or out, e.strerror)) from e
    finally:
        with suppress(OSError):
            shutil.rmtree(part)
    summary.outdir = str(out)
    return summary


def _write_all(
    library: Library, out: Path, version: str, title: str, today: date
) -> ExportSummary:
    pictures = _pictures(library, out)
    if library.of(CONTACT):
        with (out / "contacts.vcf").open("wb") as f:
            cards.write_cards(f, library, version)
        tables.write_contacts(out / "contacts.csv", library)
    _write_calendars(library, out, version == "as-is")
    if library.of(EVENT):
        tables.write_events(out / "events.csv", library)
    if library.of(TODO):
        tables.write_todos(out / "todos.csv", library)
    pages.write_notes(out / "notes", library)
    pages.write_page(out / "index.html", library, pictures, title, today)
    counts = {
        name: len(library.of(kind))
        for kind, name in KIND_NAMES.items()
        if kind != CALENDAR or library.of(kind)
    }
    files = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file())
    return ExportSummary("", counts, files, list(dict.fromkeys(library.warnings)))


def _write_calendars(library: Library, out: Path, as_is: bool) -> None:
    """calendars/NAME.ics for each; events.ics and notes.ics for what has none."""
    used: set[str] = set()
    alone, *named = library.calendars()
    notes = [m for m in alone.members if m.kind == NOTE]
    alone.members = [m for m in alone.members if m.kind != NOTE]
    for group in named:
        (out / "calendars").mkdir(exist_ok=True)
        path = out / "calendars" / safe_name(group.title, ".ics", used, "calendar")
        with path.open("wb") as f:
            cards.write_calendar(f, library, group, as_is)
    for name, members in (("events.ics", alone.members), ("notes.ics", notes)):
        if members:
            alone.members = members
            with (out / name).open("wb") as f:
                cards.write_calendar(f, library, alone, as_is)


def _pictures(library: Library, out: Path) -> dict[tuple[int, bytes], Path]:
    """Photos, and pictures of contacts, as files: where each record's is."""
    found: dict[tuple[int, bytes], Path] = {}
    used: set[str] = set()
    used_contacts: set[str] = set()
    for record in library.of(PHOTO):
        folder = out / "photos"
        _picture(library, record, folder, used, found)
    for record in library.of(CONTACT):
        if any(True for _ in records.properties(record.body, (b"PHOTO",))) and record.blobs:
            _picture(library, record, out / "photos" / "contacts", used_contacts, found)
    return found


def _picture(library: Library, record, folder: Path, used: set[str], found: dict) -> None:
    """Write the record's first picture, under its title."""
    names = (b"PHOTO",) if record.kind == CONTACT else (b"IMAGE",)
    lines = records.properties(record.body, names)
    shas = [sha for line in lines for sha in records.blob_refs(line.value)]
    for sha in shas:
        if sha not in record.blobs:
            continue
        try:
            data = library.blob(sha)
        except BLOB_ERRORS as e:
            library.warn(record, "the picture is left out: %s" % e)
            return
        media_type = image_type(data[:16])
        if record.kind == CONTACT and not media_type:
            return
        title = records.title(record.kind, record.body)
        suffixes = _SUFFIXES.get(media_type, (".bin",))
        suffix = Path(title).suffix
        if record.kind == CONTACT or suffix.lower() not in suffixes:
            suffix = suffixes[0]
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / safe_name(title, suffix, used, "photo")
        path.write_bytes(data)
        found[record.kind, record.uid] = path
        return


def _move(part: Path, out: Path) -> None:
    """Put the finished folder in place; into an existing one file by file."""
    if out.is_dir():
        folders = {out}
        for path in sorted(part.rglob("*")):
            target = out / path.relative_to(part)
            if path.is_dir():
                target.mkdir(exist_ok=True)
                folders.add(target)
            else:
                os.replace(path, target)
        for folder in folders:
            disk.sync_folder(folder)
        return
    os.replace(part, out)
    disk.sync_folder(out.parent)
