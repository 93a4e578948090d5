"""The hub's tables, declared once: columns, keys and indexes for every backend and every copy.

All columns have a value in every row, there is no NULL: 0, "" or b"" where nothing is known. A
row is written whole; a column left out gets that default. Beside its columns each row has `lsn`,
the number of the commit that wrote it. Types:

    int     64 bits, signed; times `*_ms` are Unix milliseconds, stamps as in SPEC.md
    text    UTF-8 without NUL (clean_text makes any text so)
    octets  any bytes; in the copies text where they are UTF-8, else base64
    hash    bytes; in the copies hex

What differs from a plain reading of the names:

- versions is append-only: a put of a position that is taken raises Stale. `body` is the whole
  body, also that of an item that travelled as a blob; `blobs` are the record's names, 32 bytes
  each, one behind another, that of the body left out. `chain`: see rows.chain_after.
- owners.pos, chain: of the last version. owners.live: heads that are not deleted.
- streams.next_item: behind the highest seq that was taken. streams.told: the highest ack that the
  handset has shown to know; if it missed one, not before it has sent all that it has.
- conflicts.pos: the version that is not shown.
- local and offsite are of this database only and are not copied: `local` says how far copies
  have come; `offsite` has the ack of each stream that is off-site (column `ack`), written by the
  off-site thread alone, so that it never races with the service's writes to `streams`.
"""

__all__ = ["FORMAT", "TABLES", "BadRow", "Table", "clean_text"]

FORMAT = 1
DEFAULTS = {"int": 0, "text": "", "octets": b"", "hash": b""}
INT_LIMIT = 1 << 63
_BYTES = ("hash", "octets")


class BadRow(ValueError):
    """A row, key or scan that the schema does not have: a mistake of the caller."""


class Table:
    """One table. `indexes`: {name: columns}, each with all key columns, "" is the key itself."""

    def __init__(self, name, key, columns, append_only=False, shipped=True, **indexes):
        self.name = name
        self.columns = dict(part.split(":") for part in columns.split())
        self.key = tuple(key.split())
        self.indexes = {"": self.key}
        self.indexes.update((n, tuple(text.split())) for n, text in indexes.items())
        self.append_only = append_only
        self.shipped = shipped
        self.names = (*self.columns, "lsn")
        self._defaults = {n: DEFAULTS[t] for n, t in self.columns.items()}
        self._defaults["lsn"] = 0
        for index in self.indexes.values():
            assert set(self.key) <= set(index) <= set(self.columns)

    def key_of(self, row):
        return tuple(row[name] for name in self.key)

    def checked(self, row):
        """A whole row, in the order of the columns, lsn 0. Raises BadRow."""
        out = self._defaults.copy()
        columns = self.columns
        for name, value in row.items():
            kind, found = columns.get(name), type(value)
            if found is int and kind == "int" and -INT_LIMIT <= value < INT_LIMIT:
                out[name] = value
            elif found is bytes and kind in _BYTES:
                out[name] = value
            elif name != "lsn":
                out[name] = self.checked_value(name, value)
        return out

    def checked_value(self, name, value):
        """`value` as the column holds it. Raises BadRow."""
        kind = self.columns.get(name)
        if kind == "int":
            if isinstance(value, int) and -INT_LIMIT <= value < INT_LIMIT:
                return int(value)
        elif kind == "text":
            if isinstance(value, str) and "\0" not in value and _encodes(value):
                return value
        elif kind is None:
            raise BadRow("table %s has no column %s" % (self.name, name))
        elif isinstance(value, (bytes, bytearray, memoryview)):
            return bytes(value)
        raise BadRow("%s.%s holds %s, not %.60r" % (self.name, name, kind, value))

    def span(self, index, prefix, after):
        """(columns, prefix, after) of a scan, checked. Raises BadRow."""
        if index not in self.indexes:
            raise BadRow("table %s has no index %r" % (self.name, index))
        columns = self.indexes[index]
        given = (*prefix, *(after or ()))
        if len(given) > len(columns) or (after is not None and not after):
            raise BadRow("a scan of %s by %s cannot begin at %r" % (self.name, columns, given))
        values = [self.checked_value(n, v) for n, v in zip(columns, given, strict=False)]
        cut = len(prefix)
        return columns, tuple(values[:cut]), None if after is None else tuple(values[cut:])


def _encodes(text):
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def clean_text(text, limit=200):
    """Any text as a text column takes it, at most `limit` characters."""
    return text[:limit].replace("\0", " ").encode("utf-8", "replace").decode()


TABLES = {
    table.name: table
    for table in (
        Table("meta", "name", "name:text value:text"),
        Table(
            "owners", "owner",
            "owner:text password_hash:text created_ms:int pos:int chain:hash live:int "
            "del_window_ms:int del_count:int del_base:int",
        ),
        Table(
            "devices", "device",
            "device:text owner:text name:text handset:text secret_sha256:hash created_ms:int "
            "revoked_ms:int seen_ms:int note:text",
            owner="owner device",
        ),
        Table(
            "streams", "device epoch life",
            "device:text epoch:int life:int ack:int ack_check:hash last_seq:int cursor:int "
            "next_item:int told:int",
        ),
        Table(
            "marks", "device epoch life ack",
            "device:text epoch:int life:int ack:int check8:hash",
        ),
        Table(
            "versions", "owner pos",
            "owner:text pos:int kind:int uid:octets deleted:int role:text counts:int device:text "
            "epoch:int life:int seq:int item_sha:hash stamp:int no_time:int received_ms:int "
            "rev:int parent:int blobs:hash body:octets content_id:int base_pos:int chain:hash",
            append_only=True,
            record="owner kind uid pos",
            stream="device epoch life seq owner pos",
            received="owner received_ms pos",
        ),
        Table(
            "heads", "owner kind uid",
            "owner:text kind:int uid:octets pos:int deleted:int stamp:int title:text device:text "
            "epoch:int life:int",
            changes="owner pos kind uid",
            title="owner kind title uid",
        ),
        Table(
            "conflicts", "owner kind uid pos",
            "owner:text kind:int uid:octets pos:int with_pos:int names:text resolved_ms:int",
        ),
        Table(
            "held", "owner pos",
            "owner:text pos:int kind:int uid:octets decided_ms:int accepted:int",
        ),
        Table("blobs", "owner sha", "owner:text sha:hash size:int created_ms:int"),
        Table("audits", "at_ms what", "at_ms:int what:text detail:text"),
        Table("local", "name", "name:text value:text", shipped=False),
        Table(
            "offsite", "device epoch life",
            "device:text epoch:int life:int ack:int", shipped=False,
        ),
    )
}  # fmt: skip
