"""The storage in plain dicts: for simulations, and the model that the others are tested against.

Nothing here is durable. `copy()` is what a disk holds at a moment: a hub set back to yesterday.
"""

import contextlib
from bisect import bisect_left, bisect_right, insort

from drybag_host.hub.schema import TABLES
from drybag_host.hub.storage import Storage

_ORDER = {name: number for number, name in enumerate(TABLES)}


class MemoryStorage(Storage):
    """Rows by key, and a sorted list of keys for each index."""

    url = "memory:"

    def __init__(self):
        super().__init__()
        self._rows = {name: {} for name in TABLES}
        self._sorted = {name: {i: [] for i in set(t.indexes.values())}
                        for name, t in TABLES.items()}  # fmt: skip
        self._log = []
        self._lsn = 0
        self._undo = None

    def copy(self):
        """Another storage with the same durable rows."""
        with self._lock:
            other = MemoryStorage()
            other._rows = {name: dict(rows) for name, rows in self._rows.items()}
            other._sorted = {
                name: {i: list(keys) for i, keys in indexes.items()}
                for name, indexes in self._sorted.items()
            }
            other._log = list(self._log)
            other._lsn = self._lsn
            return other

    def last_lsn(self):
        with self._lock:
            return self._lsn

    @contextlib.contextmanager
    def snapshot(self):
        with self._lock:
            yield

    def _get(self, table, keys):
        with self._lock:
            rows = self._rows[table.name]
            return [dict(rows[key]) if key in rows else None for key in keys]

    def _scan(self, table, columns, prefix, after, limit, descending):
        with self._lock:
            keys = self._sorted[table.name][columns]
            start = _left(keys, prefix)
            end = _right(keys, prefix)
            if after is not None and descending:
                end = _left(keys, prefix + after, start, end)
            elif after is not None:
                start = _right(keys, prefix + after, start, end)
            if limit is not None:
                start, end = (
                    (max(start, end - limit), end) if descending
                    else (start, min(end, start + limit))
                )  # fmt: skip
            found = keys[start:end]
            rows = self._rows[table.name]
            places = [columns.index(name) for name in table.key]
            out = [dict(rows[tuple(key[i] for i in places)]) for key in found]
            return out[::-1] if descending else out

    def _counts(self, table, prefix):
        with self._lock:
            keys = self._sorted[table.name][table.key]
            return _right(keys, prefix) - _left(keys, prefix)

    def _changed(self, after_lsn, limit):
        with self._lock:
            start = bisect_right(self._log, after_lsn, key=lambda entry: entry[0])
            found = self._log[start : start + limit]
            if len(found) == limit:
                last = found[-1][0]
                end = bisect_right(self._log, last, key=lambda entry: entry[0])
                found = self._log[start:end]
            names = list(TABLES)
            return [(names[t], dict(self._rows[names[t]][key])) for _, t, key in found]

    def _begin(self):
        self._undo = [(None, None, self._lsn)]

    def _put(self, rows):
        self._lsn += 1
        for table, row in rows:
            key = table.key_of(row)
            old = self._rows[table.name].get(key)
            row["lsn"] = self._lsn
            self._undo.append((table, key, old))
            self._set(table, key, old, row)
        return self._lsn

    def _set(self, table, key, old, new):
        rows = self._rows[table.name]
        indexes = self._sorted[table.name]
        for row, change in ((old, _remove), (new, insort)):
            if row is None:
                continue
            for columns, keys in indexes.items():
                change(keys, tuple(row[name] for name in columns))
            if table.shipped:
                change(self._log, (row["lsn"], _ORDER[table.name], key))
        if new is None:
            del rows[key]
        else:
            rows[key] = new

    def _finish(self):
        self._undo = None

    def _abort(self):
        for table, key, old in reversed(self._undo[1:]):
            self._set(table, key, self._rows[table.name][key], old)
        self._lsn = self._undo[0][2]
        self._undo = None


def _left(keys, prefix, lo=0, hi=None):
    return bisect_left(keys, prefix, lo, hi, key=lambda key: key[: len(prefix)])


def _right(keys, prefix, lo=0, hi=None):
    return bisect_right(keys, prefix, lo, hi, key=lambda key: key[: len(prefix)])


def _remove(keys, key):
    del keys[bisect_left(keys, key)]
