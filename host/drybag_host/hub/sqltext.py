"""What both databases have in common: their SQL, made from the schema, and how it is used.

`mark`: the placeholder of a value, "?" or "%s".
"""

from drybag_host.hub.schema import TABLES
from drybag_host.hub.storage import Storage

SHIPPED = [table for table in TABLES.values() if table.shipped]


def ddl(types, options=lambda table: ""):
    """The statements that make all tables and indexes."""
    for table in TABLES.values():
        columns = ["%s %s NOT NULL" % (n, types[t]) for n, t in table.columns.items()]
        columns.append("lsn %s NOT NULL" % types["int"])
        columns.append("PRIMARY KEY (%s)" % ", ".join(table.key))
        yield "CREATE TABLE %s (%s)%s" % (table.name, ", ".join(columns), options(table))
        for name, index in table.indexes.items():
            if name:
                yield "CREATE UNIQUE INDEX %s_%s ON %s (%s)" % (
                    table.name, name, table.name, ", ".join(index))  # fmt: skip
        yield "CREATE INDEX %s_lsn ON %s (lsn)" % (table.name, table.name)


def upserts(mark):
    """{table name: statement that writes a whole row}."""
    out = {}
    for table in TABLES.values():
        names = [name for name in table.names if name not in table.key]
        sql = "INSERT INTO %s (%s) VALUES (%s)" % (
            table.name, ", ".join(table.names), ", ".join([mark] * len(table.names))
        )  # fmt: skip
        if not table.append_only:
            changes = ", ".join("%s = excluded.%s" % (n, n) for n in names)
            sql += " ON CONFLICT (%s) DO UPDATE SET %s" % (", ".join(table.key), changes)
        out[table.name] = sql
    return out


def select(table):
    return "SELECT %s FROM %s" % (", ".join(table.names), table.name)


def equal(columns, mark):
    """The condition that columns have given values; true without any."""
    return " AND ".join("%s = %s" % (name, mark) for name in columns) or "1 = 1"


def scan(table, columns, prefix, after, limit, descending, mark):
    """(statement, values) of Storage.scan."""
    condition, values = equal(columns[: len(prefix)], mark), list(prefix)
    if after is not None:
        rest = columns[len(prefix) : len(prefix) + len(after)]
        condition += " AND (%s) %s (%s)" % (
            ", ".join(rest), "<" if descending else ">", ", ".join([mark] * len(rest))
        )  # fmt: skip
        values += after
    order = ", ".join(name + (" DESC" if descending else "") for name in columns)
    sql = "%s WHERE %s ORDER BY %s" % (select(table), condition, order)
    return sql + ("" if limit is None else " LIMIT %d" % limit), values


def changed(execute, after_lsn, limit, mark):
    """Storage.changed, by a function that runs a statement; all of it must see one moment."""
    lsns = []
    for table in SHIPPED:
        sql = "SELECT lsn FROM %s WHERE lsn > %s ORDER BY lsn LIMIT %s" % (table.name, mark, mark)
        lsns += [lsn for (lsn,) in execute(sql, (after_lsn, limit))]
    if not lsns:
        return []
    lsns.sort()
    last = lsns[min(limit, len(lsns)) - 1]
    out = []
    for order, table in enumerate(SHIPPED):
        sql = "%s WHERE lsn > %s AND lsn <= %s ORDER BY lsn, %s" % (
            select(table), mark, mark, ", ".join(table.key)
        )  # fmt: skip
        for row in execute(sql, (after_lsn, last)):
            out.append((row[-1], order, dict(zip(table.names, row, strict=True))))
    out.sort(key=lambda entry: entry[:2])
    return [(SHIPPED[order].name, row) for _, order, row in out]


class SqlStorage(Storage):
    """Base of both. They give `_reading` (a context manager of what executes), `_one_moment` (all
    reads of a block see the same), `_explained`, `_writer`, `_give_up` (after a failed COMMIT)."""

    mark = "?"
    _writer = None
    _lsn = _first = 0

    def _query(self, statement, values=()):
        with self._reading() as db:
            return list(db.execute(statement, values))

    def last_lsn(self):
        if self._mine() and self._begun:
            return self._lsn
        return self._query("SELECT lsn FROM log_position")[0][0]

    def _scan(self, table, *span):
        rows = self._query(*scan(table, *span, self.mark))
        return [dict(zip(table.names, row, strict=True)) for row in rows]

    def _counts(self, table, prefix):
        condition = equal(table.key[: len(prefix)], self.mark)
        sql = "SELECT count(*) FROM %s WHERE %s" % (table.name, condition)
        return self._query(sql, prefix)[0][0]

    def _changed(self, after_lsn, limit):
        with self._reading() as db, self._one_moment(db):
            return changed(db.execute, after_lsn, limit, self.mark)

    def _finish(self):
        if self._lsn == self._first:
            self._abort()
            return
        try:
            with self._explained():
                update = "UPDATE log_position SET lsn = " + self.mark
                self._writer.execute(update, (self._lsn,))
                self._writer.execute("COMMIT")
        except BaseException:
            self._give_up()
            raise

    def _reading(self):
        raise NotImplementedError

    def _one_moment(self, db):
        raise NotImplementedError

    def _explained(self):
        raise NotImplementedError

    def _give_up(self):
        raise NotImplementedError
