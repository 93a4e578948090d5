"""Records as JSON lines: one record, one line, one way to write it.

There is exactly one right line for a record, so a line that reads back to other bytes than it
holds is damaged, wherever the flipped bit is. SPEC.md, "Backup", has every key.
"""

import base64
import json
from hashlib import sha256

from drybag import layout
from drybag.layout import KIND_NAMES, Record

KIND_NUMBERS = {name: number for number, name in KIND_NAMES.items()}
REASONS = ("replaced", "deleted")
MAX_LINE_BYTES = 1 << 20


class BadRecordLine(ValueError):
    """A line that is no record, or not the one its SHA-256 says. `uid`: as far as readable."""

    def __init__(self, message, uid=""):
        super().__init__(message)
        self.uid = uid


class Stored:
    """A record in the backup. `absent`: the handset lost it without a tombstone, we did not."""

    __slots__ = ("record", "absent")

    def __init__(self, record, absent=False):
        self.record = record
        self.absent = absent


def key_of(record):
    return record.kind, bytes(record.uid)


def same_content(one, other):
    """True if two versions say the same: body, blobs and parent."""
    return (
        one.body == other.body and tuple(one.blobs) == tuple(other.blobs)
        and one.parent == other.parent
    )  # fmt: skip


def content_sha(kind, uid, body, blobs, parent):
    """SHA-256 of what a record says, whatever its version: canonical form with numbers at 0."""
    return sha256(layout.canonical(Record(kind, uid, body, blobs, parent))).digest()


def pack_record(record, absent=False):
    """The line of a record, with its LF."""
    return _dump(_record_fields(record, absent))


def pack_tombstone(record):
    """The line of a deletion: who was deleted, by which entry, when."""
    fields = {"kind": _kind_name(record.kind)}
    _put_bytes(fields, "uid", bytes(record.uid))
    fields.update(seq=record.seq, stamp=record.stamp)
    return _dump(fields)


def pack_history(why, generation, record):
    """The line of a version that is no longer the current one; `why` is one of REASONS."""
    return _dump({"why": why, "generation": generation, "record": _record_fields(record, False)})


def parse_record(line):
    """Stored of a line (bytes without LF). Raises BadRecordLine."""
    fields = _load(line)
    try:
        stored = Stored(_record(fields), _flag(fields, "absent"))
        again = pack_record(stored.record, stored.absent)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise _bad(fields, error) from error
    return _checked(line, again, stored, fields)


def parse_tombstone(line):
    """Record with `deleted` set, of a line of tombstones.jsonl. Raises BadRecordLine."""
    fields = _load(line)
    try:
        record = Record(
            _kind_number(fields["kind"]), _get_bytes(fields, "uid"), b"",
            seq=_number(fields, "seq", 32), stamp=_number(fields, "stamp", 32), deleted=True,
        )  # fmt: skip
        again = pack_tombstone(record)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise _bad(fields, error) from error
    return _checked(line, again, record, fields)


def parse_history(line):
    """(why, generation, Record) of a line of history.jsonl. Raises BadRecordLine."""
    fields = _load(line)
    inner = fields.get("record")
    try:
        why, generation = fields["why"], _number(fields, "generation", 32)
        if why not in REASONS or not isinstance(inner, dict):
            raise ValueError("not a line of history.jsonl")
        record = _record(inner)
        again = pack_history(why, generation, record)
    except (KeyError, ValueError, TypeError, OverflowError) as error:
        raise _bad(inner if isinstance(inner, dict) else fields, error) from error
    return _checked(line, again, (why, generation, record), inner)


def _record_fields(record, absent):
    fields = {"kind": _kind_name(record.kind)}
    _put_bytes(fields, "uid", bytes(record.uid))
    fields.update(seq=record.seq, stamp=record.stamp, rev=record.rev, parent=record.parent)
    fields["blobs"] = [bytes(sha).hex() for sha in record.blobs]
    _put_bytes(fields, "body", bytes(record.body))
    fields["sha256"] = sha256(layout.canonical(record)).hexdigest()
    if absent:
        fields["absent"] = True
    return fields


def _record(fields):
    blobs = []
    for name in fields["blobs"]:
        if not isinstance(name, str) or len(name) != 64:
            raise ValueError("a blob name is not 64 hex digits")
        blobs.append(bytes.fromhex(name))
    if len(blobs) > layout.MAX_BLOBS:
        raise ValueError("%d blobs in a record" % len(blobs))
    return Record(
        _kind_number(fields["kind"]), _get_bytes(fields, "uid"), _get_bytes(fields, "body"),
        blobs, _number(fields, "parent", 32), _number(fields, "seq", 32),
        _number(fields, "stamp", 32), _number(fields, "rev", 16),
    )  # fmt: skip


def _dump(fields):
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8") + b"\n"


def _load(line):
    if len(line) > MAX_LINE_BYTES:
        raise BadRecordLine("a line of %d bytes" % len(line))
    try:
        fields = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadRecordLine("not JSON: %s" % error, _uid_near(line)) from error
    if not isinstance(fields, dict):
        raise BadRecordLine("not a JSON object")
    return fields


def _uid_near(line):
    """The uid of a line that is no JSON any more, for the report; "" if it cannot be seen."""
    start = line.find(b'"uid":"')
    if start < 0:
        return ""
    end = line.find(b'"', start + 7)
    end = end if 0 <= end < start + 220 else start + 60
    return line[start + 7 : end].decode("utf-8", "replace")


def _bad(fields, error):
    uid = fields.get("uid", "")
    why = "%s is missing" % error if isinstance(error, KeyError) else str(error)
    return BadRecordLine(why, uid if isinstance(uid, str) else "")


def _checked(line, again, value, fields):
    if again != line + b"\n":
        message = "the record does not match its SHA-256"
        if fields.get("sha256") == json.loads(again).get("sha256"):
            message = "not written the way this format writes it"
        raise _bad(fields, ValueError(message))
    return value


def _kind_name(kind):
    return KIND_NAMES.get(kind, kind)


def _kind_number(kind):
    if isinstance(kind, str) and kind in KIND_NUMBERS:
        return KIND_NUMBERS[kind]
    if isinstance(kind, bool) or not isinstance(kind, int) or not 0 < kind < 256:
        raise ValueError("no kind of record: %r" % (kind,))
    return kind


def _put_bytes(fields, name, value):
    try:
        fields[name] = value.decode("utf-8")
    except UnicodeDecodeError:
        fields[name + "_base64"] = base64.b64encode(value).decode()


def _get_bytes(fields, name):
    if name in fields:
        if not isinstance(fields[name], str):
            raise ValueError("%s is no text" % name)
        value = fields[name].encode("utf-8")
    else:
        value = base64.b64decode(fields[name + "_base64"], validate=True)
    limit = layout.MAX_UID if name == "uid" else layout.MAX_BODY
    if len(value) > limit:
        raise ValueError("%s of %d bytes, the limit is %d" % (name, len(value), limit))
    return value


def _number(fields, name, bits):
    value = fields[name]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << bits:
        raise ValueError("%s is no %d-bit number" % (name, bits))
    return value


def _flag(fields, name):
    if name not in fields:
        return False
    if fields[name] is not True:
        raise ValueError("%s is not true" % name)
    return True
