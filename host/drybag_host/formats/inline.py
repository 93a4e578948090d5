"""Base64 inside properties: taken out into blobs on import, put back on export.

A PHOTO, LOGO, SOUND, KEY, ATTACH or IMAGE with base64 data, or any data: URI with it, of 512
characters or more becomes `drybag:blob/<sha-256>` if encoding the bytes again gives the same
characters; white space in it is folding (RFC 2045, vCard 2.1). So putting it back is exact.
"""

import binascii
import hashlib
import re
from collections.abc import Callable, Iterable

from drybag.contentline import BadLine, is_base64, parse
from drybag.layout import MAX_BLOBS
from drybag.records import BLOB_REF

MIN_BASE64_CHARS = 512
_DATA_URI = re.compile(rb"data:[^,]{0,200}?\\?;base64\\?,", re.IGNORECASE)
_REF = re.compile(rb"drybag:blob/([0-9a-f]{64})$")


def value_start(line: bytes) -> int:
    """Where the base64 of a line begins, or -1 if the line carries none."""
    try:
        value = parse(line).value
    except BadLine:
        return -1
    start = len(line) - len(value)
    uri = _DATA_URI.match(value.lstrip()[:256])
    if uri:
        return start + len(value) - len(value.lstrip()) + uri.end()
    return start if is_base64(line) else -1


def decode_base64(text: bytes) -> bytes | None:
    """The bytes of canonical base64 (white space aside), or None."""
    text = b"".join(text.split())
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None
    return data if binascii.b2a_base64(data, newline=False) == text else None


def take_out(lines: Iterable[bytes]) -> tuple[list[bytes], list[tuple[bytes, bytes]]]:
    """The lines with references, and the blobs they refer to: (SHA-256, bytes), each once.

    A record that already spells a reference keeps all it has inline: putting back must not
    touch what was a reference in the file.
    """
    lines = list(lines)
    blobs: dict[bytes, bytes] = {}
    if any(BLOB_REF in line for line in lines):
        return lines, []
    for i, line in enumerate(lines):
        if len(line) < MIN_BASE64_CHARS:
            continue
        start = value_start(line)
        if start < 0 or len(b"".join(line[start:].split())) < MIN_BASE64_CHARS:
            continue
        data = decode_base64(line[start:])
        if data is None:
            continue
        sha = hashlib.sha256(data).digest()
        if sha not in blobs and len(blobs) == MAX_BLOBS:
            continue
        blobs[sha] = data
        lines[i] = line[:start] + BLOB_REF + sha.hex().encode()
    return lines, list(blobs.items())


def put_back(line: bytes, blobs: Iterable[bytes], read_blob: Callable[[bytes], bytes]) -> bytes:
    """The line with its base64 in place, if it ends with a reference to one of `blobs`.

    Raises what read_blob(sha) raises.
    """
    found = _REF.search(line)
    if not found:
        return line
    sha = bytes.fromhex(found[1].decode())
    if sha not in blobs:
        return line
    return line[: found.start()] + binascii.b2a_base64(read_blob(sha), newline=False)
