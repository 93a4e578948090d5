"""Rows as JSON lines, in the copies of a hub's log, and the hash chain over an owner's versions.

There is one right line for a row, as for the records of a backup: what reads back to other bytes
is damage. SPEC.md, "Hub's copies".
"""

import base64
import json
from hashlib import sha256

from drybag_host.hub.schema import TABLES, BadRow

MAX_LINE_BYTES = 1 << 20
NO_CHAIN = bytes(32)
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class BadLine(ValueError):
    """A line that is no row of a table this program knows."""


def pack(table, row):
    """The line of a row, with its LF. `table`: its name."""
    fields = {"table": table, "lsn": row["lsn"]}
    for name, kind in TABLES[table].columns.items():
        value = row[name]
        if kind == "hash":
            value = value.hex()
        elif kind == "octets":
            try:
                value = value.decode("utf-8")
            except UnicodeDecodeError:
                name, value = name + "_base64", base64.b64encode(value).decode()
        fields[name] = value
    return _encode(fields).encode("utf-8") + b"\n"


def parse(line):
    """(table name, row) of a line without its LF. Raises BadLine."""
    if len(line) > MAX_LINE_BYTES:
        raise BadLine("a line of %d bytes" % len(line))
    try:
        fields = json.loads(line.decode("utf-8"))
        table = TABLES[fields["table"]]
        row = {}
        for name, kind in table.columns.items():
            if kind == "octets" and name not in fields:
                value = base64.b64decode(fields[name + "_base64"], validate=True)
            elif kind == "octets":
                value = fields[name].encode("utf-8")
            else:
                value = bytes.fromhex(fields[name]) if kind == "hash" else fields[name]
            row[name] = table.checked_value(name, value)
        row["lsn"] = TABLES["owners"].checked_value("pos", fields["lsn"])
        again = pack(table.name, row)
    except BadRow as error:
        raise BadLine(str(error)) from error
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadLine("a column is missing or of the wrong type (%s)" % error) from error
    except ValueError as error:
        raise BadLine("not JSON: %s" % error) from error
    if again != line + b"\n":
        raise BadLine("not written the way this format writes it")
    return table.name, row


def chain_after(before, version):
    """The hash chain behind `version`, a row of versions (its own lsn and chain do not count).

    `before`: the chain before it, 32 bytes; b"" or NO_CHAIN for the owner's first version.
    """
    line = pack("versions", {**version, "lsn": 0, "chain": b""})
    return sha256((before or NO_CHAIN) + line).digest()
