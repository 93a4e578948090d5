"""What import and export hand to their callers."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Draft:
    """A record read from a file, not stored yet.

    kind, uid, body, parent as in the journal; blobs: (SHA-256, bytes) of what the body refers to;
    source: (file, line it begins in).
    """

    kind: int
    uid: bytes
    body: bytes
    blobs: list[tuple[bytes, bytes]] = field(default_factory=list)
    parent: int = 0
    source: tuple[str, int] = ("", 0)


@dataclass(slots=True)
class Problem:
    """Something in a file that could not be taken as it is.

    raw: the piece's bytes as they stand in the file (UTF-16 as UTF-8; at most MAX_RAW_BYTES), for
    keep_as_note(). kept: the piece did go in after all, under the condition the message names.
    """

    file: str
    line: int
    message: str
    raw: bytes = b""
    kept: bool = False

    def __str__(self):
        place = "%s:%d" % (self.file, self.line) if self.line else self.file
        return "%s: %s" % (place, self.message)


@dataclass(slots=True)
class ImportResult:
    """records and problems of one file; notices: oddities that cost nothing."""

    records: list[Draft] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notices: list[Problem] = field(default_factory=list)


@dataclass(slots=True)
class ExportSummary:
    """counts: records written by kind name; files: what was written; warnings: what was odd."""

    outdir: str = ""
    counts: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
