"""What could not be read, kept verbatim as a note."""

import hashlib
from binascii import b2a_base64

from drybag import records
from drybag.layout import MAX_BODY, NOTE
from drybag_host.formats import inline, uids
from drybag_host.formats.model import Draft, Problem


def keep_as_note(problem: Problem) -> Draft:
    """A note with the piece: as text where that is exact but for line ends, else attached.

    Keeping the same piece again gives the same note.
    """
    title = "Could not be read: %s" % problem
    body = records.text_line(b"SUMMARY", title[:400])
    blobs: list[tuple[bytes, bytes]] = []
    text = _plain_text(problem.raw)
    if text is not None and len(body) + 2 * len(problem.raw) + 20 < MAX_BODY:
        body += records.text_line(b"DESCRIPTION", text)
    else:
        line = b"ATTACH;FMTTYPE=application/octet-stream;ENCODING=BASE64;VALUE=BINARY:"
        lines, blobs = inline.take_out([line + b2a_base64(problem.raw, newline=False)])
        body += lines[0] + b"\n"
    uid = uids.shorten(
        b"h" + hashlib.sha256(problem.raw + title.encode()).hexdigest()[:16].encode()
    )
    return Draft(NOTE, uid, body, blobs, 0, (problem.file, problem.line))


def _plain_text(raw: bytes) -> str | None:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    text = text.replace("\r\n", "\n")
    odd = any(c < " " and c not in "\n\t" for c in text)
    return None if odd else text
