"""Pictures as records of their own."""

import hashlib
import re
from pathlib import Path

from drybag import records
from drybag.layout import PHOTO
from drybag_host.formats import uids
from drybag_host.formats.model import Draft, ImportResult, Problem
from drybag_host.formats.source import Source

MAX_PHOTO_BYTES = 64 << 20
_EXIF_POINTER = 0x8769
_DATE_TAKEN = 0x9003
_EXIF_DATE = re.compile(rb"(\d{4}):(\d\d):(\d\d) (\d\d):(\d\d):(\d\d)")


def read_photo(source: Source, name: str) -> ImportResult:
    """A picture file as one record: name, type, date taken if it says so, and the bytes."""
    size = source.size_bytes
    if size > MAX_PHOTO_BYTES:
        message = "%d MB is more than any handset has; make the picture smaller" % (size >> 20)
        return ImportResult(problems=[Problem(name, 0, message)])
    data = source.read(0, size)
    sha = hashlib.sha256(data).digest()
    body = records.text_line(b"FN", Path(name).name.encode(errors="replace").decode())
    body += b"MEDIATYPE:" + source.media_type.encode() + b"\n"
    taken = date_taken(data) if source.media_type == "image/jpeg" else b""
    if taken:
        body += b"CREATED:" + taken + b"\n"
    body += b"IMAGE:" + records.BLOB_REF + sha.hex().encode() + b"\n"
    draft = Draft(PHOTO, uids.uid_of(body), body, [(sha, data)], 0, (name, 0))
    result = ImportResult([draft])
    if source.media_type == "image/jpeg" and b"\xff\xd9" not in data[-65536:]:
        message = "the picture ends early: kept as it is"
        result.notices.append(Problem(name, 0, message, kept=True))
    return result


def date_taken(jpeg: bytes) -> bytes:
    """DateTimeOriginal of a JPEG's Exif data (Exif 2.3, 4.6.5) as YYYYMMDDTHHMMSS, or b""."""
    at = jpeg.find(b"Exif\0\0", 0, 65536)
    tiff = jpeg[at + 6 : at + 6 + 65536] if at >= 0 else b""
    if tiff[:4] not in (b"II*\0", b"MM\0*"):
        return b""
    little = tiff[:1] == b"I"

    def number(pos: int, size: int) -> int:
        return int.from_bytes(tiff[pos : pos + size], "little" if little else "big")

    def entry(directory: int, tag: int) -> int:
        for i in range(min(number(directory, 2), 200)):
            pos = directory + 2 + 12 * i
            if number(pos, 2) == tag:
                return number(pos + 8, 4)
        return 0

    pointer = entry(number(4, 4), _EXIF_POINTER)
    place = entry(pointer, _DATE_TAKEN) if pointer else 0
    found = _EXIF_DATE.match(tiff[place : place + 19]) if place else None
    return b"%s%s%sT%s%s%s" % found.groups() if found else b""
