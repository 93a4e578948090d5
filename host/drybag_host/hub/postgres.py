"""The storage in PostgreSQL: for a hub that outgrows one machine.

Any number of hub processes may use one database. A transaction that writes first locks the one
row of log_position: so commits of all processes stand in one order, `changed` never sees a number
before a lower one, and a guard that held still holds when its commit is durable. A batch's reads
before its first commit are not under the lock: guards find what changed meanwhile.
"""

import contextlib
import threading
import time
from urllib.parse import urlsplit

import psycopg
import psycopg_pool
from psycopg import errors as pg

from drybag.errors import FormatNewer
from drybag_host.errors import HostDiskFull, NoSuchTarget, Usage
from drybag_host.hub import sqltext
from drybag_host.hub.schema import FORMAT
from drybag_host.hub.storage import StorageBusy, StorageError

READERS = 8
CONNECT_S = 10
LOCK_S = 20
STUCK_S = 60  # a hub process that stopped inside a batch lets the others go on after that
ATTEMPTS = 5
TYPES = {"int": "bigint", "text": 'text COLLATE "C"', "octets": "bytea", "hash": "bytea"}
RETRY = (pg.SerializationFailure, pg.DeadlockDetected)
UPSERTS = sqltext.upserts("%s")
SETTINGS = (
    "SET synchronous_commit = on",
    "SET lock_timeout = '%ds'" % LOCK_S,
    "SET idle_in_transaction_session_timeout = '%ds'" % STUCK_S,
)


class PostgresStorage(sqltext.SqlStorage):
    """`postgresql://USER@HOST/DATABASE`; the password comes from PGPASSWORD or ~/.pgpass.

    Raises StorageError, StorageBusy, FormatNewer, Usage.
    """

    mark = "%s"

    def __init__(self, url, readonly=False):
        super().__init__()
        _refuse_password(url)
        self.url = url
        self.readonly = readonly
        self._pinned = threading.local()
        self._pool = psycopg_pool.ConnectionPool(
            url, min_size=0, max_size=READERS, timeout=CONNECT_S, open=False,
            kwargs={"autocommit": True, "connect_timeout": CONNECT_S},
            check=psycopg_pool.ConnectionPool.check_connection,
        )  # fmt: skip
        with self._opening(), self._explained():
            self._open()

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
            pinned = getattr(self._pinned, "cursor", None)
            if pinned:
                yield pinned
                return
            with self._pool.connection() as db, db.cursor(binary=True) as cursor:
                yield cursor

    @contextlib.contextmanager
    def _one_moment(self, db):
        if db.connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            yield  # in a batch, which nobody else can write beside, or in a snapshot
            return
        db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            yield
        finally:
            db.execute("COMMIT")

    @contextlib.contextmanager
    def snapshot(self):
        with self._explained(), self._pool.connection() as db, db.cursor(binary=True) as cursor:
            with self._one_moment(cursor):
                cursor.execute("SELECT lsn FROM log_position").fetchone()
                self._pinned.cursor = cursor
                try:
                    yield
                finally:
                    self._pinned.cursor = None

    def _get(self, table, keys):
        if len(keys) == 1:
            condition, values = sqltext.equal(table.key, "%s"), keys[0]
        else:
            types = ["%s[]" % TYPES[table.columns[name]].split()[0] for name in table.key]
            condition = "(%s) IN (SELECT * FROM unnest(%s))" % (
                ", ".join(table.key), ", ".join("%%s::%s" % t for t in types))  # fmt: skip
            values = [list(column) for column in zip(*keys, strict=True)]
        statement = "%s WHERE %s" % (sqltext.select(table), condition)
        rows = self._query(statement, values)
        found = [dict(zip(table.names, row, strict=True)) for row in rows]
        by_key = {table.key_of(row): row for row in found}
        return [by_key.get(key) and dict(by_key[key]) for key in keys]

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
        with self._explained(), self._writer.pipeline(), self._writer.cursor() as cursor:
            for name, values in groups.items():
                cursor.executemany(UPSERTS[name], values)
        self._lsn = lsn
        return lsn

    def _abort(self):
        try:
            self._writer.execute("ROLLBACK")
        except psycopg.Error:
            self._drop_writer()

    def _give_up(self):
        # whether a COMMIT that broke off was carried out is not known: nothing is promised
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
    """The statements that make the tables, in plain SQL."""
    yield from sqltext.ddl(TYPES)
    yield "CREATE TABLE log_position (lsn bigint NOT NULL)"
    yield "INSERT INTO log_position VALUES (0)"
    yield "CREATE TABLE drybag_format (version int NOT NULL)"
    yield "INSERT INTO drybag_format VALUES (%d)" % FORMAT


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
