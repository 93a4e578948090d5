"""A file as bytes the content-line layer can read: what kind it is, its encoding, its pieces."""

import codecs
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from drybag_host.errors import HostFile

CHUNK_BYTES = 1 << 16
SNIFF_BYTES = 4096
MAX_RAW_BYTES = 16 << 20

_IMAGES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def image_type(head: bytes) -> str:
    """The media type by the first bytes, or ""."""
    for magic, media_type in _IMAGES:
        if head.startswith(magic):
            return media_type
    return "image/webp" if head[:4] == b"RIFF" and head[8:12] == b"WEBP" else ""


def _utf16(head: bytes) -> str:
    """The Python codec if the text is UTF-16, with or without a byte order mark, or ""."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    pair = head[:64].strip(b"\x00\r\n \t")[:8].upper()
    if b"B\x00E\x00G" in pair:
        return "utf-16-be" if head[:1] == b"\x00" else "utf-16-le"
    return ""


class Source:
    """An open file. `head`: its first bytes, `media_type`: of an image, else "".

    Raises HostFile if the file cannot be read.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            if self.path.is_dir():
                raise HostFile("%s is a folder" % self.path, hint="name the files in it")
            if self.path.exists() and not self.path.is_file():
                raise HostFile("%s is no regular file" % self.path, hint="copy it to one first")
            self.file: IO[bytes] = self.path.open("rb")
        except OSError as e:
            raise HostFile("%s cannot be read: %s" % (self.path, e.strerror)) from e
        self.skip = 0
        self.broken_utf16 = False
        self.original: IO[bytes] | None = None  # of a UTF-16 file
        self.head = self.read(0, SNIFF_BYTES)
        self.media_type = image_type(self.head)
        if self.media_type:
            return
        codec = _utf16(self.head)
        if codec:
            self._to_utf8(codec)
        if self.head.startswith(codecs.BOM_UTF8):
            self.skip = len(codecs.BOM_UTF8)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        if self.original:
            self.original.close()

    def _to_utf8(self, codec: str) -> None:
        """Replace the file by a temporary copy in UTF-8; broken pairs become U+FFFD."""
        decoder = codecs.getincrementaldecoder(codec)("replace")
        out = tempfile.SpooledTemporaryFile(max_size=8 << 20)  # noqa: SIM115
        for chunk in (*self.chunks(), b""):
            text = decoder.decode(chunk, not chunk)
            self.broken_utf16 |= "\ufffd" in text
            out.write(text.encode())
        self.original, self.file = self.file, out
        self.head = self.read(0, SNIFF_BYTES)

    @property
    def size_bytes(self) -> int:
        return self.file.seek(0, 2)

    def read(self, start: int, size: int) -> bytes:
        """`size` bytes from offset `start`. Raises HostFile."""
        try:
            self.file.seek(start)
            return self.file.read(size)
        except OSError as e:
            raise HostFile("%s cannot be read: %s" % (self.path, e.strerror)) from e

    def chunks(self) -> Iterator[bytes]:
        """The text from its begin, byte order mark left out. Offsets count from there."""
        at = self.skip
        while chunk := self.read(at, CHUNK_BYTES):
            yield chunk
            at += len(chunk)

    def untouched(self) -> bytes:
        """The file itself, whatever its encoding; no more than MAX_RAW_BYTES."""
        if self.original:
            self.file.close()
            self.file, self.original = self.original, None
        return self.read(0, MAX_RAW_BYTES)

    def raw(self, start: int, end: int) -> bytes:
        """Bytes of a piece, offsets as in chunks(); no more than MAX_RAW_BYTES."""
        return self.read(self.skip + start, min(end - start, MAX_RAW_BYTES))
