"""Long random lives of a storage, step by step against the one in memory."""

import contextlib
import itertools

import pytest
from hub_servers import postgres_url
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from drybag_host.hub.memory import MemoryStorage
from drybag_host.hub.schema import TABLES
from drybag_host.hub.storage import Stale, open_storage

_VALUES = {
    "int": st.sampled_from([0, 1, 2, -5, 1 << 40, (1 << 63) - 1]),
    "text": st.sampled_from(["", "a", "A", "ä", "zz", "\U0001f98a"]),
    "octets": st.sampled_from([b"", b"\0", b"\xff", b"ab", "ü".encode()]),
    "hash": st.sampled_from([b"", b"\0" * 32, b"\xff" * 32]),
}
_TABLES = [TABLES[n] for n in ("meta", "heads", "versions", "marks", "conflicts", "local")]


@st.composite
def puts(draw):
    out, taken = [], set()
    for table in draw(st.lists(st.sampled_from(_TABLES), min_size=1, max_size=4)):
        row = {name: draw(_VALUES[kind]) for name, kind in table.columns.items()}
        key = (table.name, table.key_of(row))
        if not table.append_only or key not in taken:
            out.append((table.name, row))
        taken.add(key)
    return out


@st.composite
def scans(draw):
    table = draw(st.sampled_from(_TABLES))
    index = draw(st.sampled_from(sorted(table.indexes)))
    columns = table.indexes[index]
    cut = draw(st.integers(0, len(columns)))
    values = [draw(_VALUES[table.columns[name]]) for name in columns]
    more = draw(st.integers(0, len(columns) - cut))
    after = tuple(values[cut : cut + more]) or None
    limit = draw(st.sampled_from([None, 1, 2, 5]))
    return table.name, index, tuple(values[:cut]), after, limit, draw(st.booleans())


class Abandoned(Exception):
    pass


class StorageLife(RuleBasedStateMachine):
    """`fresh()` gives the URL of an empty storage, in a context manager."""

    fresh = None

    @initialize()
    def begin(self):
        self.exit = contextlib.ExitStack()
        self.url = self.exit.enter_context(self.fresh())
        self.real = open_storage(self.url)
        self.model = MemoryStorage()

    def _both(self, call):
        answers = []
        for storage in (self.real, self.model):
            try:
                answers.append(call(storage))
            except Stale:
                answers.append(Stale)
        assert answers[0] == answers[1]
        return answers[0]

    @rule(puts=puts(), guard=st.none() | st.tuples(st.sampled_from(["", "a"]), st.booleans()))
    def commit(self, puts, guard):
        guards = []
        if guard:
            name, right = guard
            row = self.model.get("meta", [(name,)])[0]
            expected = row and row["value"]
            guards = [("meta", (name,), "value", expected if right else "never")]
        self._both(lambda storage: storage.commit(puts, guards))

    @rule(commits=st.lists(puts(), max_size=3), fail=st.booleans())
    def batch(self, commits, fail):
        def work(storage):
            out = []
            with contextlib.suppress(Abandoned), storage.batch():
                for one in commits:
                    try:
                        out.append(storage.commit(one))
                    except Stale:
                        out.append(None)
                    out.append(storage.get(one[0][0], [TABLES[one[0][0]].key_of(one[0][1])]))
                if fail:
                    raise Abandoned
            return out

        self._both(work)

    @rule(scan=scans())
    def scan(self, scan):
        self._both(lambda storage: storage.scan(*scan))

    @rule(after=st.integers(0, 12), limit=st.sampled_from([1, 2, 4, 100]))
    def changed(self, after, limit):
        self._both(lambda storage: storage.changed(after, limit))

    @rule()
    def open_again(self):
        self.real.close()
        self.real = open_storage(self.url)

    @rule()
    def all_the_same(self):
        self._both(lambda storage: [storage.scan(name) for name in TABLES])
        self._both(lambda storage: [storage.counts(name) for name in TABLES])
        self._both(lambda storage: storage.last_lsn())

    def teardown(self):
        if hasattr(self, "real"):
            self.all_the_same()
            self.real.close()
            self.exit.close()


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
def test_lives(backend, tmp_path, request):
    numbers = itertools.count()

    @contextlib.contextmanager
    def sqlite():
        yield "sqlite:%s" % (tmp_path / ("%d.sqlite3" % next(numbers)))

    if backend == "sqlite":
        fresh = sqlite
    else:
        server = request.getfixturevalue("postgres")
        fresh = lambda: postgres_url(server)  # noqa: E731

    life = type("Life", (StorageLife,), {"fresh": staticmethod(fresh)})
    run_state_machine_as_test(
        life,
        settings=settings(
            max_examples=30 if backend == "sqlite" else 6, stateful_step_count=25, deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip
