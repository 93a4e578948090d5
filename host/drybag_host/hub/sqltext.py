"""The SQL that both databases understand, made from the schema. `mark`: their placeholder."""

from drybag_host.hub.schema import TABLES

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
