"""`add photo`: a small picture pasted as base64. Larger ones come from a computer."""

import gc
import hashlib
from binascii import a2b_base64, hexlify

from drybag import layout, records
from drybag.errors import DrybagError
from handset.console import Ask
from handset.forms import new_uid, saved, stamp

_MAX_BYTES = 12288


def add_photo(console, name):
    if not name:
        name = (yield Ask("Name: ")).strip() or "photo.jpg"
    yield "Paste the picture as base64, at most %d KiB, then a single dot:" % (_MAX_BYTES // 1024)
    data = bytearray()
    while True:
        line = (yield Ask("", True)).strip()
        if line == ".":
            break
        try:
            data += a2b_base64(line.encode())
        except ValueError:
            yield "That was no base64; nothing was added."
            return
        if len(data) > _MAX_BYTES:
            yield "That is too large for the console. From a computer: drybag import PORT FILE"
            return
    media = media_type(data)
    if media is None:
        yield "That is no JPEG, PNG, GIF or WebP picture; nothing was added."
        return
    sha = hashlib.sha256(data).digest()
    journal = console.app.journal
    if not journal.has_blob(sha):
        writer = journal.blob_writer(sha, len(data))
        try:
            writer.write(data)
            writer.finish()
        except DrybagError:
            writer.abort()
            raise
    data = None
    gc.collect()
    uid = new_uid(console)
    body = b"UID:" + uid + b"\n" + records.text_line(b"FN", name)
    body += b"MEDIATYPE:" + media + b"\n"
    now = stamp(console)
    if now:
        body += b"CREATED:" + now + b"\n"
    body += b"IMAGE:" + records.BLOB_REF + hexlify(sha) + b"\n"
    seq = journal.put(layout.PHOTO, uid, body, (sha,))
    yield saved(console, seq, layout.PHOTO, uid, body)


def media_type(data):
    """The media type of a picture by its first bytes, or None."""
    head = bytes(data[:12])
    if head[:3] == b"\xff\xd8\xff":
        return b"image/jpeg"
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return b"image/png"
    if head[:4] == b"GIF8":
        return b"image/gif"
    if head[:4] == b"RIFF" and head[8:] == b"WEBP":
        return b"image/webp"
    return None
