"""Keys of imported records: the same piece of a file always gets the same uid."""

import hashlib
import re
from binascii import crc32

from drybag import records
from drybag.contentline import decode
from drybag.layout import MAX_UID
from drybag.linetext import is_utf8

_CONTROLS = re.compile(rb"[\x00-\x1f\x7f]")


def _hash(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest()[:16].encode()


def shorten(uid: bytes) -> bytes:
    """A uid that fits: a longer one keeps its begin and gets "~" and 16 digits of its SHA-256."""
    if len(uid) <= MAX_UID:
        return uid
    prefix = uid[: MAX_UID - 17]
    while not is_utf8(prefix):
        prefix = prefix[:-1]
    return prefix + b"~" + _hash(uid)


def uid_of(body: bytes) -> bytes:
    """UID of a body, with its RECURRENCE-ID; without a UID, "h" and a hash of the body."""
    uid = recurrence = b""
    for line in records.properties(body, (b"UID", b"RECURRENCE-ID")):
        value = line.raw_text().strip()
        if not is_utf8(value):
            value = decode(value).encode()
        value = _CONTROLS.sub(b"", value)
        if line.name == b"UID":
            uid = uid or value
        else:
            recurrence = recurrence or value
    if not uid:
        return b"h" + _hash(body)
    return shorten(uid + b";RECURRENCE-ID=" + recurrence if recurrence else uid)


def second_uid(uid: bytes, body: bytes) -> bytes:
    """Another uid for another record that claims the same one."""
    return shorten(uid + b"~" + _hash(body))


def calendar_uid(body: bytes) -> bytes:
    """uid of a calendar record."""
    return b"c" + _hash(body)


def parent_of(calendar: bytes) -> int:
    """What records of a calendar carry as `parent`: CRC-32 of the calendar's uid, never 0."""
    return crc32(calendar) or 1
