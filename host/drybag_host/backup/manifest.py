"""manifest.json and SHA256SUMS: what belongs to a backup, and the hash of every file of it.

SPEC.md, "Backup". Like a record, a manifest has one right form: other bytes are damage.
"""

import json
import re
from datetime import UTC, datetime
from hashlib import sha256

from drybag.errors import FormatNewer

FORMAT = "drybag-backup"
FORMAT_VERSION = 1
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
README = "README.txt"
RECORDS = "records.jsonl"
TOMBSTONES = "tombstones.jsonl"
HISTORY = "history.jsonl"
BLOBS = "blobs"
TABLES = (RECORDS, TOMBSTONES, HISTORY)

_BLOB = re.compile(r"blobs/([0-9a-f]{2})/([0-9a-f]{64})")
_HASH = re.compile(r"[0-9a-f]{64}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class BadManifest(ValueError):
    """A manifest that cannot be used; the message says why."""


def now_text():
    """The time as 2026-01-31T09:30:00Z."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def blob_name(sha):
    """The file name of a blob inside the backup; `sha`: 32 bytes."""
    text = bytes(sha).hex()
    return "blobs/%s/%s" % (text[:2], text)


def is_file_name(name):
    """True for the names this format knows: nothing else is ever opened, so no ../ and no /etc."""
    if name == README or name in TABLES:
        return True
    match = _BLOB.fullmatch(name)
    return bool(match) and match[2].startswith(match[1])


class Manifest:
    """What manifest.json says. `files`: {name: (size in bytes, SHA-256 in hex)}."""

    def __init__(self):
        self.written_by = ""
        self.generation = 0
        self.handset_id = ""
        self.handset_name = ""
        self.epoch = 0
        self.last_seq = 0
        self.digest = "0" * 64
        self.digest_count = 0
        self.pulled_at = ""
        self.verified_at = None
        self.restore_compared = None
        self.counts = {}
        self.absent = 0
        self.tombstones = 0
        self.history = 0
        self.missing_blobs = []
        self.files = {}

    @property
    def verified(self):
        """True if what is on disk was compared with the handset's own digest."""
        return self.verified_at is not None

    def fields(self):
        """The JSON object of manifest.json, in its order."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "written_by": self.written_by,
            "generation": self.generation,
            "handset": {"id": self.handset_id, "name": self.handset_name},
            "epoch": self.epoch,
            "last_seq": self.last_seq,
            "digest": self.digest,
            "digest_count": self.digest_count,
            "pulled_at": self.pulled_at,
            "verified": self.verified,
            "verified_at": self.verified_at,
            "restore_compared": self.restore_compared,
            "counts": self.counts,
            "absent": self.absent,
            "tombstones": self.tombstones,
            "history": self.history,
            "missing_blobs": self.missing_blobs,
            "files": {
                name: {"size": size, "sha256": digest}
                for name, (size, digest) in sorted(self.files.items())
            },
        }

    def pack(self):
        """The bytes of manifest.json."""
        return json.dumps(self.fields(), ensure_ascii=False, indent=1).encode() + b"\n"

    def sums(self, own=None):
        """The bytes of SHA256SUMS, as `sha256sum` writes and checks it; `own`: manifest bytes."""
        hashes = {name: digest for name, (_, digest) in self.files.items()}
        hashes[MANIFEST] = sha256(self.pack() if own is None else own).hexdigest()
        return "".join("%s  %s\n" % (hashes[name], name) for name in sorted(hashes)).encode()

    def blobs(self):
        """{32-byte SHA-256: size in bytes} of the blobs listed."""
        return {
            bytes.fromhex(digest): size
            for name, (size, digest) in self.files.items()
            if name.startswith("blobs/")
        }


def parse(data):
    """Manifest of the bytes of manifest.json. Raises BadManifest, FormatNewer."""
    try:
        fields = json.loads(data.decode("utf-8"))
        if not isinstance(fields, dict) or fields.get("format") != FORMAT:
            raise BadManifest("it is no manifest of a Drybag backup")
        _refuse_newer(fields.get("format_version"))
        manifest = _manifest(fields)
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadManifest("a field is missing or of the wrong type (%s)" % error) from error
    except BadManifest:
        raise
    except ValueError as error:
        raise BadManifest("not JSON: %s" % error) from error
    if manifest.pack() != data:
        raise BadManifest("its bytes are not those of the format")
    return manifest


def _refuse_newer(number):
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise BadManifest("it has no format version")
    if number > FORMAT_VERSION:
        raise FormatNewer(
            "this backup has format version %d, this Drybag reads up to %d; it was not touched"
            % (number, FORMAT_VERSION)
        )


def _manifest(fields):
    m = Manifest()
    m.written_by = _text(fields["written_by"])
    m.handset_id = _text(fields["handset"]["id"])
    m.handset_name = _text(fields["handset"]["name"])
    for name in ("generation", "epoch", "last_seq", "digest_count", "absent", "tombstones",
                 "history"):  # fmt: skip
        setattr(m, name, _count(fields[name]))
    m.digest = _hash(fields["digest"])
    m.pulled_at = _time(fields["pulled_at"])
    if fields["verified_at"] is not None:
        m.verified_at = _time(fields["verified_at"])
    compared = fields["restore_compared"]
    if compared is not None:
        m.restore_compared = {
            "at": _time(compared["at"]),
            "target": _text(compared["target"]),
            "records": _count(compared["records"]),
        }
    m.counts = {_text(kind): _count(number) for kind, number in fields["counts"].items()}
    m.missing_blobs = [_hash(name) for name in fields["missing_blobs"]]
    for name, entry in fields["files"].items():
        if not is_file_name(name):
            raise BadManifest("it names a file that is not part of the format: %r" % name)
        m.files[name] = (_count(entry["size"]), _hash(entry["sha256"]))
        if name.startswith("blobs/") and not name.endswith(m.files[name][1]):
            raise BadManifest("it gives %s another hash than its name" % name)
    missing = [name for name in (README, *TABLES) if name not in m.files]
    if missing:
        raise BadManifest("it does not list %s" % ", ".join(missing))
    return m


def _text(value):
    if not isinstance(value, str) or len(value) > 1000:
        raise BadManifest("not a short text: %.40r" % (value,))
    return value


def _time(value):
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        raise BadManifest("not a time: %.40r" % (value,))
    return value


def _count(value):
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 53:
        raise BadManifest("not a number: %.40r" % (value,))
    return value


def _hash(value):
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise BadManifest("not a SHA-256: %.40r" % (value,))
    return value
