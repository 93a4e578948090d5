"""The storage in PostgreSQL: for a hub that outgrows one machine.

Any number of hub processes may use one database. A transaction that writes first locks the one
row of log_position: so commits of all processes stand in one order, `changed` never sees a number
before a lower one, and a guard that held still holds when its commit is durable. A batch's reads
before its first commit are not under the lock: guards find what changed meanwhile.
"""

import contextlib
import time
from urllib.parse import urlsplit

import psycopg
import psycopg_pool
from psycopg import errors as pg

from drybag.errors import FormatNewer
from drybag_host.errors import HostDiskFull, NoSuchTarget, Usage
from drybag_host.hub.schema import FORMAT, TABLES
from drybag_host.hub.storage import Storage, StorageBusy, StorageError

READERS = 8
CONNECT_S = 10
LOCK_S = 20
STUCK_S = 60  # a hub process that stopped inside a batch lets the others go on after that
ATTEMPTS = 5
TYPES = {"int": "bigint", "text": 'text COLLATE "C"', "octets": "bytea", "hash": "bytea"}
RETRY = (pg.SerializationFailure, pg.DeadlockDetected)
SETTINGS = (
    "SET synchronous_commit = on",
    "SET lock_timeout = '%ds'" % LOCK_S,
    "SET idle_in_transaction_session_timeout = '%ds'" % STUCK_S,
)


class PostgresStorage(Storage):
    """`postgresql://USER@HOST/DATABASE`; the password comes from PGPASSWORD or ~/.pgpass.

    Raises StorageError, StorageBusy, FormatNewer, Usage.
    """

    def __init__(self, url, readonly=False):
        super().__init__()
        _refuse_password(url)
        self.url = url
        self.readonly = readonly
        self._writer = None
        self._lsn = self._first = 0
        self._pool = psycopg_pool.ConnectionPool(
            url, min_size=0, max_size=READERS, timeout=CONNECT_S, open=False,
            kwargs={"autocommit": True, "connect_timeout": CONNECT_S},
            check=psycopg_pool.ConnectionPool.check_connection,
        )  # fmt: skip
        try:
            with self._explained():
                self._open()
        except BaseException:
            self.close()
            raise

    def close(self):
        with self._lock:
            self._drop_writer()
            self._pool.close()

    # --- opening ---

    def _open(self):
        with self._connect() as db:
            _refuse_unsafe(db)
            known = db.execute("SELECT to_regclass('drybag_format')").fetchone()[0]
            if known is None and self.readonly:
                raise NoSuchTarget("no hub has worked with this database yet")
            if known is None:
                self._create(db)
            number = db.execute("SELECT version FROM drybag_format").fetchone()[0]
            if number > FORMAT:
                raise FormatNewer(
                    "this database has format %d, this Drybag knows up to %d; it was not touched"
                    % (number, FORMAT)
                )
        self._pool.open()

    def _create(self, db):
        with db.transaction():
            db.execute("SELECT pg_advisory_xact_lock(%s)", (0x44724842,))
            if db.execute("SELECT to_regclass('drybag_format')").fetchone()[0]:
                return
            taken = db.execute(
                "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()"
            ).fetchone()[0]
            if taken:
                raise StorageError(
                    "this database holds %d tables of other programs" % taken,
                    "make a database of its own: createdb drybag",
                )
            for statement in ddl():
                db.execute(statement)

    def _connect(self):
        db = psycopg.connect(self.url, autocommit=True, connect_timeout=CONNECT_S)
        for setting in SETTINGS:
            db.execute(setting)
        return db

    # --- reading ---

    @contextlib.contextmanager
    def _reading(self):
        """A cursor to read with: the batch's own, or one that sees what is durable."""
        with self._explained():
            if self._mine() and self._begun:
                with self._writer.cursor(binary=True) as cursor:
                    yield cursor
                return
            with self._pool.connection() as db, db.cursor(binary=True) as cursor:
                yield cursor

    def last_lsn(self):
        if self._mine() and self._begun:
            return self._lsn
        with self._reading() as db:
            return db.execute("SELECT lsn FROM log_position").fetchone()[0]

    def _get(self, table, keys):
        names = table.names
        match = " AND ".join("%s = %%s" % name for name in table.key)
        sql = "SELECT %s FROM %s WHERE " % (", ".join(names), table.name)
        if len(keys) > 1:
            types = ["%s[]" % TYPES[table.columns[name]].split()[0] for name in table.key]
            match = "(%s) IN (SELECT * FROM unnest(%s))" % (
                ", ".join(table.key), ", ".join("%%s::%s" % t for t in types))  # fmt: skip
            values = [list(column) for column in zip(*keys, strict=True)]
        else:
            values = keys[0]
        with self._reading() as db:
            rows = [dict(zip(names, row, strict=True)) for row in db.execute(sql + match, values)]
        found = {table.key_of(row): row for row in rows}
        return [found.get(key) and dict(found[key]) for key in keys]

    def _scan(self, table, columns, prefix, after, limit, descending):
        conditions = ["%s = %%s" % name for name in columns[: len(prefix)]]
        values = list(prefix)
        if after is not None:
            rest = columns[len(prefix) : len(prefix) + len(after)]
            conditions.append("(%s) %s (%s)" % (
                ", ".join(rest), "<" if descending else ">", ", ".join(["%s"] * len(rest))
            ))  # fmt: skip
            values += after
        order = ", ".join(name + (" DESC" if descending else "") for name in columns)
        sql = "SELECT %s FROM %s%s ORDER BY %s" % (
            ", ".join(table.names), table.name,
            " WHERE " + " AND ".join(conditions) if conditions else "", order,
        )  # fmt: skip
        if limit is not None:
            sql += " LIMIT %d" % limit
        with self._reading() as db:
            rows = db.execute(sql, values).fetchall()
        return [dict(zip(table.names, row, strict=True)) for row in rows]

    def _counts(self, table, prefix):
        where = " AND ".join("%s = %%s" % name for name in table.key[: len(prefix)]) or "true"
        with self._reading() as db:
            sql = "SELECT count(*) FROM %s WHERE %s" % (table.name, where)
            return db.execute(sql, prefix).fetchone()[0]

    def _changed(self, after_lsn, limit):
        shipped = [table for table in TABLES.values() if table.shipped]
        with self._reading() as db, _snapshot(db):
            lsns = []
            for table in shipped:
                sql = "SELECT lsn FROM %s WHERE lsn > %%s ORDER BY lsn LIMIT %%s" % table.name
                lsns += [lsn for (lsn,) in db.execute(sql, (after_lsn, limit))]
            lsns.sort()
            last = lsns[limit - 1] if len(lsns) >= limit else (lsns[-1] if lsns else 0)
            out = []
            for order, table in enumerate(shipped):
                sql = "SELECT %s FROM %s WHERE lsn > %%s AND lsn <= %%s ORDER BY lsn, %s" % (
                    ", ".join(table.names), table.name, ", ".join(table.key)
                )  # fmt: skip
                for row in db.execute(sql, (after_lsn, last)):
                    out.append((row[-1], order, dict(zip(table.names, row, strict=True))))
        out.sort(key=lambda entry: entry[:2])
        return [(shipped[order].name, row) for _, order, row in out]

    # --- writing ---

    def commit(self, puts, guards=()):
        """As Storage.commit; alone, it is tried again where the server asks for that."""
        for attempt in range(ATTEMPTS):
            try:
                return super().commit(puts, guards)
            except StorageBusy as error:
                last = attempt == ATTEMPTS - 1 or self._mine()
                if last or not isinstance(error.__cause__, RETRY):
                    raise
                time.sleep(0.02 * 2**attempt)
        raise AssertionError

    def _begin(self):
        if self.readonly:
            raise StorageError("this storage was opened to be read only")
        with self._explained():
            for attempt in (1, 2):
                try:
                    if self._writer is None or self._writer.closed:
                        self._writer = self._connect()
                    self._writer.execute("BEGIN")
                    self._first = self._writer.execute(
                        "SELECT lsn FROM log_position FOR UPDATE"
                    ).fetchone()[0]
                    break
                except (pg.LockNotAvailable, pg.QueryCanceled):
                    self._drop_writer()
                    raise
                except psycopg.OperationalError:
                    self._drop_writer()  # the server was restarted since the last commit
                    if attempt == 2:
                        raise
            self._lsn = self._first

    def _put(self, rows):
        lsn = self._lsn + 1
        groups = {}
        for table, row in rows:
            row["lsn"] = lsn
            groups.setdefault(table.name, []).append(tuple(row.values()))
        with self._explained(), self._writer.cursor() as cursor:
            for name, values in groups.items():
                if len(values) == 1:
                    cursor.execute(_UPSERT[name], values[0])
                else:
                    cursor.executemany(_UPSERT[name], values)
        self._lsn = lsn
        return lsn

    def _finish(self):
        if self._lsn == self._first:
            self._abort()
            return
        try:
            with self._explained():
                self._writer.execute("UPDATE log_position SET lsn = %s", (self._lsn,))
                self._writer.execute("COMMIT")
        except BaseException:
            # whether a COMMIT that broke off was carried out is not known: nothing is promised
            self._drop_writer()
            raise

    def _abort(self):
        try:
            self._writer.execute("ROLLBACK")
        except psycopg.Error:
            self._drop_writer()

    def _drop_writer(self):
        if self._writer is not None:
            with contextlib.suppress(psycopg.Error):
                self._writer.close()
            self._writer = None

    @contextlib.contextmanager
    def _explained(self):
        """PostgreSQL's errors as ours."""
        try:
            yield
        except pg.DiskFull as error:
            raise HostDiskFull(
                "the database server's disk is full; what was acknowledged is safe",
                "free some space; the hub goes on by itself",
            ) from error
        except (*RETRY, pg.LockNotAvailable, psycopg_pool.PoolTimeout) as error:
            raise StorageBusy("the database is busy: %s" % _first_line(error)) from error
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise StorageError(
                "the database server cannot be reached: %s" % _first_line(error),
                "is it running, and may this user log in? The hub goes on when it is back",
            ) from error
        except psycopg.Error as error:
            raise StorageError("PostgreSQL: %s" % _first_line(error)) from error


def ddl():
    """The statements that make all tables, in plain SQL."""
    for table in TABLES.values():
        columns = ["%s %s NOT NULL" % (n, TYPES[t]) for n, t in table.columns.items()]
        columns.append("lsn bigint NOT NULL")
        columns.append("PRIMARY KEY (%s)" % ", ".join(table.key))
        yield "CREATE TABLE %s (%s)" % (table.name, ", ".join(columns))
        for name, index in table.indexes.items():
            if name:
                yield "CREATE UNIQUE INDEX %s_%s ON %s (%s)" % (
                    table.name, name, table.name, ", ".join(index))  # fmt: skip
        yield "CREATE INDEX %s_lsn ON %s (lsn)" % (table.name, table.name)
    yield "CREATE TABLE log_position (lsn bigint NOT NULL)"
    yield "INSERT INTO log_position VALUES (0)"
    yield "CREATE TABLE drybag_format (version int NOT NULL)"
    yield "INSERT INTO drybag_format VALUES (%d)" % FORMAT


def _upsert(table):
    names = [name for name in table.names if name not in table.key]
    sql = "INSERT INTO %s (%s) VALUES (%s)" % (
        table.name, ", ".join(table.names), ", ".join(["%s"] * len(table.names))
    )  # fmt: skip
    if table.append_only:
        return sql
    changes = ", ".join("%s = excluded.%s" % (n, n) for n in names)
    return "%s ON CONFLICT (%s) DO UPDATE SET %s" % (sql, ", ".join(table.key), changes)


_UPSERT = {table.name: _upsert(table) for table in TABLES.values()}


@contextlib.contextmanager
def _snapshot(cursor):
    """All reads of the block see one moment."""
    if cursor.connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        yield  # in a batch, which nobody else can write beside
        return
    cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        yield
    finally:
        cursor.execute("COMMIT")


def _refuse_unsafe(db):
    """A server that answers before its disk has the commit cannot keep what a hub promises."""
    for name in ("fsync", "full_page_writes"):
        if db.execute("SHOW " + name).fetchone()[0] != "on":
            raise StorageError(
                "this PostgreSQL server runs with %s = off: it can lose what it committed" % name,
                "set %s = on in postgresql.conf and restart it" % name,
            )


def _refuse_password(url):
    if urlsplit(url).password or "password=" in url:
        raise Usage(
            "a password does not belong into a storage URL: other users can read it",
            "set PGPASSWORD in the environment, or use ~/.pgpass",
        )


def _first_line(error):
    return (str(error).strip() or type(error).__name__).split("\n")[0]
