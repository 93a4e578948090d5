"""Sealed segments of a hub's log, as they lie off-site and in a backup. SPEC.md, "Hub's copies".

A *line* is a chain of segments, `log/LINE/000000000001.jsonl` and so on: the rows that one hub
wrote, by lsn. Each file names the SHA-256 of the one before; `head.json` names the last. Many
small segments are put together, unchanged, in `pack-FIRST-LAST.jsonl`.
"""

import json
import re
from hashlib import sha256

from drybag.errors import FormatNewer
from drybag_host.backup.manifest import now_text
from drybag_host.hub import rows
from drybag_host.hub.schema import TABLES

__all__ = ["BadSegment", "Line", "Segment", "agrees", "lines_of", "next_line", "parse"]

FORMAT = "drybag-hub-log"
FORMAT_VERSION = 1
NO_SHA = "0" * 64
PACK_BYTES = 16 << 20
_LINE = re.compile(
    r"log/([0-9a-f]{16})-([0-9]{1,6})/"
    r"(?:([0-9]{12})\.jsonl|pack-([0-9]{12})-([0-9]{12})\.jsonl|head\.json)"
)
_BEGIN = b'{"format":"%s",' % FORMAT.encode()
_HEX = re.compile(r"[0-9a-f]{64}")


class BadSegment(ValueError):
    """A file that is no segment, or was changed; the message says why."""


class Segment:
    """One file: header fields as attributes, `rows` [(table name, row)], `sha` of the file.

    `whole`: with this one, everything the hub had up to last_lsn is in its line.
    """

    KEYS = ("hub", "line", "segment", "previous", "after_lsn", "last_lsn", "rows", "rows_sha256",
            "whole", "written_at")  # fmt: skip

    def __init__(self, hub, line, segment, previous, after_lsn, changed, whole, written_at=None):
        self.hub, self.line, self.segment, self.previous = hub, line, segment, previous
        self.after_lsn, self.rows, self.whole = after_lsn, changed, whole
        self.last_lsn = changed[-1][1]["lsn"] if changed else after_lsn
        self.written_at = written_at or now_text()
        self.sha = ""

    def pack(self):
        """The bytes of the file; sets `sha`."""
        body = b"".join(rows.pack(table, row) for table, row in self.rows)
        values = {key: getattr(self, key, None) for key in self.KEYS}
        values.update(rows=len(self.rows), rows_sha256=sha256(body).hexdigest())
        head = {"format": FORMAT, "format_version": FORMAT_VERSION, **values}
        data = json.dumps(head, separators=(",", ":")).encode() + b"\n" + body
        self.sha = sha256(data).hexdigest()
        return data


def parse(data):
    """Segment of the bytes of a file. Raises BadSegment, FormatNewer."""
    head, _, body = data.partition(b"\n")
    try:
        fields = json.loads(head.decode("utf-8"))
        if fields["format"] != FORMAT:
            raise BadSegment("it is no segment of a hub's log")
        if fields["format_version"] != FORMAT_VERSION:
            raise FormatNewer(
                "a segment of format %r, this Drybag reads %d; it was not touched"
                % (fields["format_version"], FORMAT_VERSION)
            )
        if sha256(body).hexdigest() != fields["rows_sha256"]:
            raise BadSegment("its rows do not match their SHA-256")
        changed = [rows.parse(line) for line in body.split(b"\n")[:-1]]
        segment = Segment(
            fields["hub"], fields["line"], fields["segment"], fields["previous"],
            fields["after_lsn"], changed, fields["whole"], fields["written_at"],
        )  # fmt: skip
        same = segment.pack() == data
    except BadSegment:
        raise
    except rows.BadLine as error:
        raise BadSegment(str(error)) from error
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadSegment("a field is missing or of the wrong type (%s)" % error) from error
    except ValueError as error:
        raise BadSegment("not JSON: %s" % error) from error
    if not same:
        raise BadSegment("its bytes are not those of the format")
    return segment


def agrees(storage, segment):
    """True if a storage has written what the segment says, or something newer in its place."""
    for table, row in segment.rows:
        mine = storage.get(table, [TABLES[table].key_of(row)])[0]
        if mine is None or mine["lsn"] < row["lsn"]:
            return False
        if mine["lsn"] == row["lsn"] and mine != row:
            return False
        if TABLES[table].append_only and mine != row:
            return False
    return True


class Line:
    """A chain of segments in a place (objects.py). `hub`: 16 hex digits; number: from 1."""

    def __init__(self, place, hub, number):
        self.place = place
        self.hub = hub
        self.number = number
        self.name = "%s-%d" % (hub, number)
        self._pack = ("", {})  # the one read last

    def file(self, segment):
        return "log/%s/%012d.jsonl" % (self.name, segment)

    def add(self, segment):
        """Write a segment and the head that names it; False if there is one of its number."""
        data = segment.pack()
        if not self.place.put(self.file(segment.segment), data, fresh=True):
            return False
        self.set_head(segment)
        return True

    def set_head(self, segment):
        head = {"format": FORMAT, "format_version": FORMAT_VERSION, "segment": segment.segment,
                "sha256": segment.sha, "last_lsn": segment.last_lsn,
                "written_at": segment.written_at}  # fmt: skip
        data = json.dumps(head, separators=(",", ":")).encode() + b"\n"
        self.place.put("log/%s/head.json" % self.name, data)

    def head(self):
        """What head.json says, as a dict; None without a usable one."""
        data = self.place.get("log/%s/head.json" % self.name)
        try:
            head = json.loads(data or b"")
            good = head["format"] == FORMAT and _HEX.fullmatch(head["sha256"])
            if good and isinstance(head["segment"], int) and isinstance(head["last_lsn"], int):
                return head
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        return None

    def _files(self):
        """({numbers of single segments}, [(first, last, name) of packs])."""
        single, packs = set(), []
        for name, _ in self.place.list("log/" + self.name):
            match = _LINE.fullmatch(name)
            if match and match[3]:
                single.add(int(match[3]))
            elif match and match[4]:
                packs.append((int(match[4]), int(match[5]), name))
        return single, packs

    def numbers(self):
        """Numbers of the segments that are there, ascending."""
        single, packs = self._files()
        for first, last, _ in packs:
            single.update(range(first, last + 1))
        return sorted(single)

    def read(self, number, files=None):
        """One segment. Raises BadSegment, also for one that is not there."""
        single, packs = files or self._files()
        data = self.place.get(self.file(number)) if number in single else None
        for first, last, name in packs:
            if data is None and first <= number <= last:
                if name != self._pack[0]:
                    self._pack = (name, _unpack(self.place.get(name) or b""))
                data = self._pack[1].get(number)
        if data is None:
            raise BadSegment("the file is missing")
        segment = parse(data)
        if (segment.line, segment.segment, segment.hub) != (self.name, number, self.hub):
            raise BadSegment("it is the segment of another place: it was moved here")
        return segment

    def pack(self, first, last):
        """Put single segments first to last, or the first of them, together; the last one packed.

        They are let go only when what was written reads back the same. Raises BadSegment.
        """
        pieces, size, before, files = [], 0, None, self._files()
        for number in range(first, last + 1):
            segment = self.read(number, files)
            if before is not None and segment.previous != before.sha:
                raise BadSegment("%s does not follow the one before" % self.file(number))
            data = segment.pack()
            if pieces and size + len(data) > PACK_BYTES:
                last = number - 1
                break
            pieces.append(data)
            size += len(data)
            before = segment
        name = "log/%s/pack-%012d-%012d.jsonl" % (self.name, first, last)
        whole = b"".join(pieces)
        self.place.put(name, whole)
        if self.place.get(name) != whole:
            raise BadSegment("%s reads back differently" % name)
        for number in range(first, last + 1):
            self.place.delete(self.file(number))
        return last

    def segments(self, findings, start=1):
        """Every segment that can be read, in order. What is wrong goes into `findings`, as text.

        A gap or damage does not end it: what comes behind is still there.
        """
        head, files = self.head(), self._files()
        ends = [*files[0], *(last for _, last, _ in files[1])]
        last = max([*ends, head["segment"] if head else 0], default=0)
        if head is None and ends:
            findings.append("log/%s/head.json is missing or damaged" % self.name)
        before = None
        for number in range(start, last + 1):
            try:
                segment = self.read(number, files)
            except BadSegment as error:
                findings.append("%s: %s" % (self.file(number), error))
                before = None
                continue
            if before is not None and segment.previous != before.sha:
                findings.append("%s: it does not follow the one before" % self.file(number))
            elif number == 1 and segment.previous != NO_SHA:
                findings.append("%s: it is not the first of its line" % self.file(number))
            elif head and number == head["segment"] and segment.sha != head["sha256"]:
                findings.append("%s: it is not the one that head.json names" % self.file(number))
            before = segment
            yield segment


def _unpack(data):
    """{number: bytes} of the segments in a pack; what cannot be told apart is left out."""
    out = {}
    starts = [0]
    while (at := data.find(b"\n" + _BEGIN, starts[-1])) >= 0:
        starts.append(at + 1)
    for start, end in zip(starts, [*starts[1:], len(data)], strict=True):
        piece = data[start:end]
        try:
            out[json.loads(piece.partition(b"\n")[0])["segment"]] = piece
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return out


def lines_of(place, hub=None):
    """Every Line in a place, or those of one hub; the one written to last comes last."""
    found = {}
    for name, _ in place.list("log"):
        match = _LINE.fullmatch(name)
        if match and hub in (None, match[1]):
            found[match[1], int(match[2])] = Line(place, match[1], int(match[2]))

    def written(line):
        head = line.head()
        return str(head.get("written_at", "")) if head else "", line.number

    return sorted(found.values(), key=written)


def next_line(place, hub):
    """A Line that is not there yet."""
    numbers = [line.number for line in lines_of(place, hub)]
    return Line(place, hub, max(numbers, default=0) + 1)
