"""The storage in one SQLite file: what `drybag hub serve` uses by default.

WAL with synchronous=FULL: a commit is in the log file and synced before it returns, and before
anybody else can see it. One connection writes, others read beside it. The library is the one in
the apsw wheel: SQLite before 3.51.3 can damage a WAL database that two connections use.
"""

import contextlib
import os
import threading
from collections import deque

import apsw

from drybag.errors import FormatNewer
from drybag_host.backup import disk
from drybag_host.errors import HostDiskFull, HostFile, NoSuchTarget, Usage
from drybag_host.hub import sqltext
from drybag_host.hub.schema import FORMAT
from drybag_host.hub.storage import StorageBusy, StorageError, StorageInUse

SAFE_LIBRARY = 3051003
APPLICATION_ID = 0x44724842
BUSY_MS = 10_000
READERS = 8
WRITER_CACHE_KIB = 65_536
READER_CACHE_KIB = 8_192
CHECKPOINT_PAGES = 2_000
TYPES = {"int": "INTEGER", "text": "TEXT", "octets": "BLOB", "hash": "BLOB"}
UPSERTS = sqltext.upserts("?")


class SqliteStorage(sqltext.SqlStorage):
    """`sqlite:PATH`. `serve`: take the file for this process; `readonly`: never write.

    Raises StorageInUse, StorageError, FormatNewer, NoSuchTarget (readonly, no file).
    """

    vfs = None  # SQLite's own way to the disk; a test puts one under it that loses power

    def __init__(self, url, serve=False, readonly=False):
        super().__init__()
        if apsw.SQLITE_VERSION_NUMBER < SAFE_LIBRARY:
            raise StorageError(
                "SQLite %s can damage a database in WAL mode" % apsw.sqlite_lib_version(),
                "pip install --upgrade apsw",
            )
        self.url = url
        self.path = _path(url)
        self.readonly = readonly
        self._dead = None
        self._readers = deque()
        self._pinned = threading.local()
        self._exit = contextlib.ExitStack()
        with self._opening():
            if serve:
                self._exit.enter_context(_one_hub(self.path))
                self.alone = True
            with self._explained():
                self._open()

    def close(self):
        with self._lock:
            for connection in (*self._readers, self._writer):
                if connection:
                    with contextlib.suppress(apsw.Error):
                        connection.close()
            self._readers.clear()
            self._writer = None
            self._exit.close()

    # --- opening ---

    def _open(self):
        there = os.path.exists(self.path) and os.path.getsize(self.path)
        if self.readonly and not there:
            raise NoSuchTarget("%s: no such database" % self.path, "name the hub's data folder")
        if not there:
            disk.make_dirs(os.path.dirname(os.path.abspath(self.path)))
            with disk.explained(self.path):  # others on this computer need not read it
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        else:
            self._check_format()
        if self.readonly:
            return
        self._writer = self._connect(WRITER_CACHE_KIB)
        _one(self._writer, "PRAGMA journal_mode = WAL")
        self._writer.execute("PRAGMA wal_autocheckpoint = %d" % CHECKPOINT_PAGES)
        self._create()
        if not there:
            disk._sync_dir(os.path.dirname(os.path.abspath(self.path)))

    def _connect(self, cache_kib, readonly=False):
        flags = apsw.SQLITE_OPEN_READONLY if readonly else (
            apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        )  # fmt: skip
        connection = apsw.Connection(self.path, flags=flags, vfs=self.vfs, statementcachesize=200)
        connection.set_busy_timeout(BUSY_MS)
        for pragma in ("synchronous = FULL", "fullfsync = 1", "checkpoint_fullfsync = 1",
                       "cache_size = -%d" % cache_kib, "trusted_schema = 0"):  # fmt: skip
            connection.execute("PRAGMA " + pragma)
        return connection

    def _check_format(self):
        """Look before anything is written. A newer database, or another program's, is left."""
        connection = self._connect(READER_CACHE_KIB, readonly=True)
        try:
            owner = _one(connection, "PRAGMA application_id")
            number = _one(connection, "PRAGMA user_version")
            tables = _one(connection, "SELECT count(*) FROM sqlite_schema")
        finally:
            connection.close()
        if owner != APPLICATION_ID and (tables or owner):
            raise StorageError("%s is the database of another program" % self.path)
        if number > FORMAT:
            raise FormatNewer(
                "%s has format %d, this Drybag knows up to %d; it was not touched"
                % (self.path, number, FORMAT)
            )
        if owner != APPLICATION_ID and self.readonly:
            raise NoSuchTarget("%s: no hub has worked with it yet" % self.path)

    def _create(self):
        db = self._writer
        db.execute("BEGIN IMMEDIATE")
        try:
            if not _one(db, "SELECT count(*) FROM sqlite_schema"):
                for statement in ddl():
                    db.execute(statement)
                db.execute("PRAGMA application_id = %d" % APPLICATION_ID)
                db.execute("PRAGMA user_version = %d" % FORMAT)
            db.execute("COMMIT")
        except BaseException:
            self._rollback()
            raise

    # --- reading ---

    @contextlib.contextmanager
    def _reading(self):
        """A connection to read with: the batch's own, or one that sees what is durable."""
        with self._explained():
            pinned = getattr(self._pinned, "connection", None)
            if self._mine() or pinned:
                yield self._writer if self._mine() else pinned
                return
            with self._reader() as connection:
                yield connection

    @contextlib.contextmanager
    def _reader(self):
        try:
            connection = self._readers.pop()
        except IndexError:
            connection = self._connect(READER_CACHE_KIB, readonly=True)
        try:
            yield connection
        finally:
            if len(self._readers) < READERS:
                self._readers.append(connection)
            else:
                connection.close()

    @contextlib.contextmanager
    def _one_moment(self, db):
        if db.in_transaction:  # a batch's, or a snapshot's
            yield
            return
        db.execute("BEGIN")
        try:
            yield
        finally:
            db.execute("COMMIT")

    @contextlib.contextmanager
    def snapshot(self):
        with self._explained(), self._reader() as connection, self._one_moment(connection):
            _one(connection, "SELECT lsn FROM log_position")  # the moment is that of a first read
            self._pinned.connection = connection
            try:
                yield
            finally:
                self._pinned.connection = None

    def _get(self, table, keys):
        statement = "%s WHERE %s" % (sqltext.select(table), sqltext.equal(table.key, "?"))
        out = []
        with self._reading() as db:
            for key in keys:
                row = next(db.execute(statement, key), None)
                out.append(row and dict(zip(table.names, row, strict=True)))
        return out

    # --- writing ---

    def _begin(self):
        if self.readonly:
            raise StorageError("%s was opened to be read only" % self.path)
        if self._dead:
            raise self._dead
        with self._explained():
            self._writer.execute("BEGIN IMMEDIATE")
            self._lsn = self._first = _one(self._writer, "SELECT lsn FROM log_position")

    def _put(self, rows):
        lsn = self._lsn + 1
        with self._explained():
            for table, row in rows:
                row["lsn"] = lsn
                self._writer.execute(UPSERTS[table.name], tuple(row.values()))
        self._lsn = lsn
        return lsn

    def _abort(self):
        self._rollback()

    def _give_up(self):
        self._rollback()

    def _rollback(self):
        if self._writer and self._writer.in_transaction:
            with contextlib.suppress(apsw.Error):
                self._writer.execute("ROLLBACK")

    def _quota(self):
        """True after a write that a quota or a limit on file sizes refused."""
        return self._writer and disk.is_disk_full(OSError(self._writer.system_errno, ""))

    @contextlib.contextmanager
    def _explained(self):
        """SQLite's errors as ours."""
        try:
            yield
        except (apsw.BusyError, apsw.LockedError) as error:
            raise StorageBusy("%s: another process holds the database" % self.path) from error
        except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.PermissionsError) as error:
            raise HostFile(
                "%s cannot be opened for reading and writing: %s" % (self.path, error),
                disk.owner_hint(self.path) or "the file and its folder must be writable",
            ) from error
        except apsw.NotADBError as error:
            raise StorageError(
                "%s is no SQLite database" % self.path,
                "keep the file, and restore into a new folder: drybag hub restore --from DIR",
            ) from error
        except apsw.CorruptError as error:
            raise StorageError(
                "%s is damaged: %s" % (self.path, error),
                "stop the hub, keep the file, and restore: drybag hub restore --from DIR",
            ) from error
        except (apsw.FullError, apsw.IOError) as error:
            if isinstance(error, apsw.FullError) or self._quota():
                raise HostDiskFull(
                    "the disk is full while writing %s; what was acknowledged is safe" % self.path,
                    "free some space; the hub goes on by itself",
                ) from error
            self._dead = StorageError(
                "%s cannot be read or written: %s" % (self.path, error),
                "check the disk, then start the hub again: nothing is acknowledged until then",
            )
            raise self._dead from error
        except apsw.Error as error:
            raise StorageError("%s: %s" % (self.path, error)) from error


def ddl():
    """The statements that make a new database, in plain SQL."""
    # versions keep their rows in the order of writing; the others are their own index
    yield from sqltext.ddl(
        TYPES, lambda table: " STRICT" if table.append_only else " STRICT, WITHOUT ROWID"
    )
    yield "CREATE TABLE log_position (one INTEGER PRIMARY KEY, lsn INTEGER NOT NULL) STRICT"
    yield "INSERT INTO log_position VALUES (1, 0)"


def _one(connection, sql, values=()):
    return next(connection.execute(sql, values))[0]


def _path(url):
    path = url[len("sqlite:") :]
    if path.startswith("///"):
        path = path[2:]
    if not path or path.startswith("//") or "\0" in path:
        raise Usage("%r: no file is named" % url, "sqlite:PATH, for instance sqlite:hub.sqlite3")
    return os.path.expanduser(path)


def _one_hub(path):
    """Hold the file for one hub process."""
    disk.make_dirs(os.path.dirname(os.path.abspath(path)))
    busy = StorageInUse(
        "another hub process serves %s" % path,
        "stop it first, or serve another folder: --data DIR",
    )
    return disk.lock_file(path + ".lock", busy)
