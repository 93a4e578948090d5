"""Rows for the tests of the hub's storage."""

from hashlib import sha256

from drybag_host.hub.rows import chain_after
from drybag_host.hub.schema import TABLES


def whole(table, **values):
    """A row with all columns, as a storage gives it back, without lsn."""
    row = TABLES[table].checked(values)
    del row["lsn"]
    return row


def bare(row):
    """A row without its lsn."""
    return row and {name: value for name, value in row.items() if name != "lsn"}


def version(owner, pos, uid=b"", body=b"FN:A\n", **values):
    """A version that became head."""
    values = {
        "kind": 1, "role": "pushed", "counts": 1, "device": "00" * 8, "seq": pos, "stamp": pos,
        "received_ms": 1000 * pos, "rev": 1, **values,
    }  # fmt: skip
    return whole("versions", owner=owner, pos=pos, uid=uid or b"u%d" % pos, body=body, **values)


def push(storage, owner, pos, chain=b"", **values):
    """Write a version as the service does: version, head, owner in one commit; (lsn, chain)."""
    row = version(owner, pos, **values)
    row["chain"] = chain_after(chain, whole("versions", **row) | {"lsn": 0})
    head = whole(
        "heads", owner=owner, kind=row["kind"], uid=row["uid"], pos=pos, deleted=row["deleted"],
        stamp=row["stamp"], title="t", device=row["device"],
    )  # fmt: skip
    owners = storage.get("owners", [(owner,)])[0] or whole("owners", owner=owner)
    owners = bare(owners) | {"pos": pos, "chain": row["chain"]}
    puts = [("versions", row), ("heads", head), ("owners", owners)]
    return storage.commit(puts), row["chain"]


def sha(number):
    return sha256(b"%d" % number).digest()
