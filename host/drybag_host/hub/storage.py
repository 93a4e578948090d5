"""Where the hub keeps its rows: the interface, its errors, and what all backends share.

    storage = open_storage("sqlite:PATH" | "postgresql://..." | "memory:")
    storage.get(table, keys)            [row or None]; keys: tuples of the primary key
    storage.scan(table, index, prefix, after, limit, descending)
    storage.commit(puts, guards)        atomic; durable at return, or when the batch ends
    storage.batch()                     several commits, one durable transaction
    storage.changed(after_lsn, limit)   what was written since, for copies
    storage.counts(table, prefix)       how many rows
    storage.snapshot()                  reads of one moment, in a context manager
    storage.close()

Tables and rows: schema.py. A Storage may be used by many threads: a batch belongs to the thread
that opened it; others see what is durable, and wait with their commits. Errors:

StorageError            the database refused, failed or cannot be reached (60)
    Stale               a guard does not hold, or a position is taken: read again and repeat
    StorageBusy         another process holds it for too long: try again later (62)
StorageInUse            another hub process serves this database (61)
HostDiskFull, FormatNewer as elsewhere; schema.BadRow is a mistake of the caller.
"""

import contextlib
import secrets
import threading

from drybag_host.errors import HostError, Usage
from drybag_host.hub.schema import TABLES, BadRow

__all__ = [
    "Closing",
    "Stale",
    "Storage",
    "StorageBusy",
    "StorageError",
    "StorageInUse",
    "hub_id",
    "open_storage",
    "scan_all",
]


class StorageError(HostError):
    exit_code = 60


class Stale(StorageError):
    hint = "somebody else wrote at the same time: run it again"


class StorageBusy(StorageError):
    exit_code = 62
    hint = "another process works on it: try again in a moment"


class StorageInUse(HostError):
    exit_code = 61


class Closing:
    """Something with close() as a context manager."""

    def close(self):
        """Let go of files and connections; nothing that was committed depends on it."""

    @contextlib.contextmanager
    def _opening(self):
        """What is open already is let go of where the rest fails."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
        return False


class Storage(Closing):
    """Base of the backends: locking, batches, checks. They fill in the methods that raise here.

    `_begin`, `_put`, `_finish`, `_abort` are called with the lock held, by the thread that has
    the batch; `_finish` makes everything durable.
    """

    url = ""
    alone = False  # no other hub process can use it at the same time

    def __init__(self):
        self._lock = threading.RLock()
        self._depth = 0
        self._begun = False
        self._broken = None
        self._holder = None

    # --- reading ---

    def get(self, table, keys):
        """The rows with these primary keys, in their order, None where there is none."""
        table = _table(table)
        wanted = []
        for key in keys:
            if len(key) != len(table.key):
                raise BadRow("a key of %s is %r" % (table.name, table.key))
            wanted.append(table.span("", tuple(key), None)[1])
        return self._get(table, wanted) if wanted else []

    def scan(self, table, index="", prefix=(), after=None, limit=None, descending=False):
        """Rows in the order of an index ("" is the primary key).

        `prefix`: values of leading columns, which must be equal; `after`: values of columns
        that follow (one or more), exclusive, in the direction of the scan.
        """
        table = _table(table)
        columns, prefix, after = table.span(index, tuple(prefix), after)
        if limit is not None and limit <= 0:
            return []
        return self._scan(table, columns, prefix, after, limit, descending)

    def changed(self, after_lsn, limit=1000):
        """[(table name, row)] that are copied, with lsn > `after_lsn`, by lsn.

        Whole commits only: at least `limit` rows where there are so many, more if the last
        commit needs it. With fewer than `limit` everything was read, as of one moment.
        """
        return self._changed(after_lsn, max(1, limit))

    def counts(self, table, prefix=()):
        """Number of rows whose primary key begins with `prefix`."""
        table = _table(table)
        return self._counts(table, table.span("", tuple(prefix), None)[1])

    def last_lsn(self):
        """Number of the last durable commit, 0 without one."""
        raise NotImplementedError

    @contextlib.contextmanager
    def snapshot(self):
        """All reads of this thread in the block see one moment. It should not last for hours."""
        raise NotImplementedError
        yield

    # --- writing ---

    def commit(self, puts, guards=()):
        """Write rows, all or none; returns the lsn.

        puts: [(table, row)], each row whole. guards: [(table, key, column, expected)], expected
        None: no such row. Raises Stale, and then nothing was written and a batch goes on; any
        other error ends the batch. Durable when it returns, in a batch when that ends.
        """
        rows = [(_table(name), _table(name).checked(row)) for name, row in puts]
        checks = [(_table(n), tuple(key), column, value) for n, key, column, value in guards]
        fresh = [(t, t.key_of(row)) for t, row in rows if t.append_only]
        if len(set(fresh)) != len(fresh):
            raise BadRow("one position twice in a commit")
        with self._lock:
            if self._depth:
                return self._commit(rows, checks, fresh)
            with self.batch():
                return self._commit(rows, checks, fresh)

    @contextlib.contextmanager
    def batch(self):
        """Commits in this block become durable together when it ends, or none of them."""
        with self._lock:
            self._depth += 1
            self._holder = threading.get_ident()
            try:
                yield self
            except BaseException as error:
                self._leave(error)
                raise
            else:
                self._leave(None)

    def _leave(self, error):
        self._broken = self._broken or error
        self._depth -= 1
        if self._depth:
            return
        broken, begun = self._broken, self._begun
        self._holder = self._broken = None
        self._begun = False
        if begun and broken:
            self._abort()
        elif begun:
            self._finish()
        if broken and error is None:
            raise broken

    def _commit(self, rows, checks, fresh):
        if self._broken:
            raise self._broken
        if not self._begun:
            self._begin()
            self._begun = True
        for table, key, column, expected in checks:
            row = self.get(table.name, [key])[0]
            if (row and row[column]) != expected:
                raise Stale("%s %s: %s is not what it was" % (table.name, key, column))
        for name in {table.name for table, _ in fresh}:
            keys = [key for table, key in fresh if table.name == name]
            for row in self.get(name, keys):
                if row:
                    raise Stale("%s %s is taken" % (name, TABLES[name].key_of(row)))
        try:
            return self._put(rows)
        except BaseException as error:
            self._broken = error
            raise

    def _mine(self):
        """True in the thread that has a batch open: it reads what it has written."""
        return self._holder == threading.get_ident()

    # --- for the backends ---

    def _get(self, table, keys):
        raise NotImplementedError

    def _scan(self, table, columns, prefix, after, limit, descending):
        raise NotImplementedError

    def _changed(self, after_lsn, limit):
        raise NotImplementedError

    def _counts(self, table, prefix):
        raise NotImplementedError

    def _begin(self):
        raise NotImplementedError

    def _put(self, rows):
        """Write [(Table, checked row)] under the next lsn, which it returns."""
        raise NotImplementedError

    def _finish(self):
        raise NotImplementedError

    def _abort(self):
        raise NotImplementedError


def _table(name):
    if name not in TABLES:
        raise BadRow("there is no table %r" % (name,))
    return TABLES[name]


def open_storage(url, serve=False, readonly=False, restoring=False):
    """The storage of a URL: made if it is not there, unless `readonly`.

    `serve`: for a hub process; an SQLite file takes one of these at a time (tools may write
    beside it), and what a restore left unfinished is refused unless `restoring`. Raises
    StorageInUse, StorageError, FormatNewer, Usage.
    """
    storage = _open(url, serve, readonly)
    if serve and not restoring:
        row = storage.get("meta", [("restoring",)])[0]
        if row and row["value"]:
            storage.close()
            raise StorageError(
                "the restore into this hub was not finished",
                "run drybag hub restore again: it goes on",
            )
    return storage


def _open(url, serve, readonly):
    if url.startswith("sqlite:"):
        from drybag_host.hub.sqlite import SqliteStorage

        return SqliteStorage(url, serve, readonly)
    if url.startswith(("postgresql://", "postgres://")):
        from drybag_host.hub.postgres import PostgresStorage

        return PostgresStorage(url, readonly)
    if url == "memory:":
        from drybag_host.hub.memory import MemoryStorage

        return MemoryStorage()
    raise Usage(
        "%s: no storage of that form" % url.partition(":")[0],
        "sqlite:PATH or postgresql://USER@HOST/DATABASE",
    )


def scan_all(storage, table, index="", prefix=(), after=None, page=1000):
    """Every row of a scan, read in pages, so that any number of rows costs little memory."""
    columns = TABLES[table].indexes[index][len(prefix) :]
    while True:
        rows = storage.scan(table, index, prefix, after, page)
        yield from rows
        if len(rows) < page:
            return
        after = tuple(rows[-1][name] for name in columns)


def hub_id(storage):
    """The random id of this hub's store, 16 hex digits; drawn when it is asked for first."""
    while True:
        row = storage.get("meta", [("hub_id",)])[0]
        if row:
            return row["value"]
        key = ("meta", ("hub_id",), "value", None)
        with contextlib.suppress(Stale):
            fresh = {"name": "hub_id", "value": secrets.token_hex(8)}
            storage.commit([("meta", fresh)], [key])
