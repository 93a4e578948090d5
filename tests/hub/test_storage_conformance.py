"""What every storage does, whichever database is behind it."""

import threading

import pytest
from hub_rows import bare, push, sha, version, whole

from drybag_host.errors import Usage
from drybag_host.hub.schema import TABLES, BadRow, clean_text
from drybag_host.hub.storage import Stale, hub_id, open_storage, scan_all

AWKWARD = [b"", b"\0", b"\xff\xfe", b"a", b"a\0b", b"Z", "ü".encode(), bytes(range(256))]


def test_a_row_comes_back_whole_and_with_the_type_it_had(storage):
    row = whole(
        "versions", owner="ada \U0001f98a", pos=(1 << 62), kind=3, uid=bytes(range(200)),
        stamp=(1 << 63) - 1, rev=-(1 << 63), body=bytes(range(256)) * 250, chain=b"\0" * 32,
    )  # fmt: skip
    lsn = storage.commit([("versions", row)])
    got = storage.get("versions", [("ada \U0001f98a", 1 << 62)])[0]
    assert got == row | {"lsn": lsn}
    assert [type(value) for value in got.values()] == [type(v) for v in row.values()] + [int]


def test_get_keeps_the_order_asked_for_and_says_what_is_not_there(storage):
    storage.commit([("meta", {"name": name, "value": name * 2}) for name in "abc"])
    rows = storage.get("meta", [("c",), ("nothing",), ("a",), ("c",)])
    assert [row and row["value"] for row in rows] == ["cc", None, "aa", "cc"]
    assert storage.get("meta", []) == []


def test_a_put_takes_the_whole_rows_place(storage):
    first = storage.commit([("owners", {"owner": "ada", "live": 3, "del_count": 2})])
    second = storage.commit([("owners", {"owner": "ada", "live": 4})])
    assert second == first + 1 == storage.last_lsn()
    assert storage.get("owners", [("ada",)]) == [
        whole("owners", owner="ada", live=4) | {"lsn": second}
    ]
    assert storage.counts("owners") == 1


def test_scans_go_by_bytes_and_numbers_in_every_backend_alike(storage):
    """Not by a language's sorting: PostgreSQL has one for text unless told otherwise."""
    names = ["", "A", "B", "Zoë", "a", "a b", "ab", "b", "z", "ä", "\U0001f98a", "～"]
    puts = [("heads", {"owner": name, "kind": 1, "uid": uid}) for name in names for uid in AWKWARD]
    storage.commit(puts[::-1])
    expected = [(n, 1, u) for n in sorted(names, key=str.encode) for u in sorted(AWKWARD)]
    key = ("owner", "kind", "uid")
    assert [tuple(r[n] for n in key) for r in storage.scan("heads")] == expected
    assert [tuple(r[n] for n in key) for r in storage.scan("heads", descending=True)] == (
        expected[::-1]
    )
    assert [r["uid"] for r in storage.scan("heads", "", ("ä", 1))] == sorted(AWKWARD)
    assert storage.scan("heads", "", ("ä", 2)) == []
    assert storage.counts("heads", ("Zoë",)) == len(AWKWARD)
    assert storage.counts("heads") == len(puts)


@pytest.mark.parametrize("descending", [False, True])
def test_scans_page_by_any_index(storage, descending):
    for pos in range(1, 41):
        uid, device = b"u%d" % (pos % 7), "d%d" % (pos % 3)
        row = version("ada", pos, uid=uid, device=device, seq=pos // 3, received_ms=pos // 5)
        storage.commit([("versions", row)])
    for index, columns in TABLES["versions"].indexes.items():
        everything = storage.scan("versions", index, descending=descending)
        keys = [tuple(row[name] for name in columns) for row in everything]
        assert keys == sorted(keys, reverse=descending) and len(keys) == 40
        for cut in range(1, len(columns)):
            prefix = keys[17][:cut]
            whole_scan = [k for k in keys if k[:cut] == prefix]
            found, after = [], None
            while True:
                page = storage.scan("versions", index, prefix, after, 3, descending)
                if not page:
                    break
                found += [tuple(row[name] for name in columns) for row in page]
                after = found[-1][cut:]
            assert found == whole_scan, (index, cut)
            short = keys[17][cut : cut + 1]  # after some of the columns only
            rest = storage.scan("versions", index, prefix, short, descending=descending)
            value = columns[cut]
            assert all(
                (r[value] < short[0]) if descending else (r[value] > short[0]) for r in rest
            )
            assert len(rest) == sum(
                (k[cut] < short[0]) if descending else (k[cut] > short[0]) for k in whole_scan
            )


def test_scan_all_pages_through_everything(storage):
    storage.commit([("blobs", {"owner": "a", "sha": sha(i), "size": i}) for i in range(25)])
    for page in (1, 5, 24, 25, 26):
        rows = list(scan_all(storage, "blobs", "", ("a",), page=page))
        assert [row["sha"] for row in rows] == sorted(sha(i) for i in range(25))


def test_a_guard_that_does_not_hold_stops_the_commit(storage):
    storage.commit([("owners", {"owner": "ada", "pos": 5})])
    held = ("owners", ("ada",), "pos", 5)
    storage.commit([("owners", {"owner": "ada", "pos": 6})], [held])
    lsn = storage.last_lsn()
    for guard in (held, ("owners", ("ada",), "pos", None), ("owners", ("bob",), "pos", 0),
                  ("owners", ("ada",), "lsn", lsn + 1)):  # fmt: skip
        with pytest.raises(Stale):
            storage.commit([("owners", {"owner": "ada", "pos": 9})], [guard])
    assert storage.get("owners", [("ada",)])[0]["pos"] == 6
    assert storage.last_lsn() == lsn
    storage.commit(
        [("owners", {"owner": "bob"})],
        [("owners", ("bob",), "pos", None), ("owners", ("ada",), "lsn", lsn)],
    )


def test_versions_are_never_written_over(storage):
    storage.commit([("versions", version("ada", 1, body=b"first"))])
    with pytest.raises(Stale):
        storage.commit([("meta", {"name": "x"}), ("versions", version("ada", 1, body=b"second"))])
    with pytest.raises(BadRow):
        storage.commit([("versions", version("ada", 2)), ("versions", version("ada", 2))])
    assert storage.get("versions", [("ada", 1)])[0]["body"] == b"first"
    assert storage.get("meta", [("x",)]) == [None]
    assert storage.counts("versions") == 1


def test_a_batch_is_one_and_sees_itself(storage):
    with storage.batch():
        first = storage.commit([("meta", {"name": "a", "value": "1"})])
        assert storage.get("meta", [("a",)])[0]["value"] == "1"
        with storage.batch():
            storage.commit([("meta", {"name": "a", "value": "2"})])
        assert [row["value"] for row in storage.scan("meta")] == ["2"]
        assert storage.counts("meta") == 1
    assert storage.last_lsn() == first + 1
    assert storage.get("meta", [("a",)])[0] == {"name": "a", "value": "2", "lsn": first + 1}


def test_stale_in_a_batch_costs_only_that_commit(storage):
    with storage.batch():
        storage.commit([("meta", {"name": "a"})])
        with pytest.raises(Stale):
            storage.commit([("meta", {"name": "b"})], [("meta", ("a",), "value", "other")])
        storage.commit([("meta", {"name": "c"})])
    assert [row["name"] for row in storage.scan("meta")] == ["a", "c"]


def test_a_batch_that_fails_leaves_nothing(storage):
    storage.commit([("meta", {"name": "a", "value": "old"})])
    lsn = storage.last_lsn()
    with pytest.raises(KeyError):
        with storage.batch():
            storage.commit([("meta", {"name": "a", "value": "new"})])
            storage.commit([("versions", version("ada", 1))])
            raise KeyError
    assert storage.last_lsn() == lsn
    assert [row["value"] for row in storage.scan("meta")] == ["old"]
    assert storage.changed(lsn) == [] and storage.counts("versions") == 0
    assert storage.commit([("meta", {"name": "b"})]) == lsn + 1
    with pytest.raises(Stale):  # not caught inside: the batch did not happen
        with storage.batch():
            storage.commit([("meta", {"name": "c"})])
            storage.commit([], [("meta", ("a",), "value", "x")])
    assert storage.get("meta", [("c",)]) == [None]


def test_a_mistake_in_an_inner_batch_ends_the_outer_one(storage):
    with pytest.raises(ZeroDivisionError):
        with storage.batch():
            storage.commit([("meta", {"name": "a"})])
            try:
                with storage.batch():
                    storage.commit([("meta", {"name": "b"})])
                    raise ZeroDivisionError
            except ZeroDivisionError:
                pass
            with pytest.raises(ZeroDivisionError):
                storage.commit([("meta", {"name": "c"})])
    assert storage.scan("meta") == []


def test_changed_gives_whole_commits_in_their_order(storage):
    lsns, chain = [], b""
    for pos in range(1, 11):
        lsn, chain = push(storage, "ada", pos, chain)
        lsns.append(lsn)
    storage.commit([("local", {"name": "mark", "value": "7"}), ("offsite", {"device": "x"})])
    last = storage.last_lsn()
    everything = storage.changed(0, 1000)
    # an older state of the owner's row is nowhere: the last commit has the one that counts
    assert len(everything) == 21
    assert [row["lsn"] for _, row in everything] == sorted(row["lsn"] for _, row in everything)
    assert {name for name, _ in everything} == {"versions", "heads", "owners"}
    for name, row in everything:
        assert storage.get(name, [TABLES[name].key_of(row)]) == [row]
    for limit in (1, 2, 3, 5, 21, 22):
        found, after = [], 0
        while True:
            page = storage.changed(after, limit)
            found += page
            if len(page) < limit:
                break
            after = page[-1][1]["lsn"]
        assert found == everything, limit
    assert storage.changed(lsns[-1]) == [] and storage.last_lsn() == last


def test_what_is_no_row_is_refused_before_anything_is_written(storage):
    for row in ({"nothing": 1}, {"owner": 5}, {"pos": "5"}, {"pos": 1 << 63}, {"chain": "ab"},
                {"owner": "a\0b"}, {"owner": "\ud800"}, {"pos": None}, {"pos": 1.5}):  # fmt: skip
        with pytest.raises(BadRow):
            storage.commit([("meta", {"name": "x"}), ("owners", row)])
    with pytest.raises(BadRow):
        storage.commit([("nothing", {})])
    for call in (
        lambda: storage.get("meta", [("a", "b")]),
        lambda: storage.get("versions", [("a",)]),
        lambda: storage.scan("versions", "nothing"),
        lambda: storage.scan("meta", "", ("a", "b")),
        lambda: storage.scan("versions", "", ("a",), ()),
        lambda: storage.scan("versions", "", ("a",), ("x",)),
        lambda: storage.scan("versions", "", ("a", 1), (1,)),
        lambda: storage.counts("versions", ("a", 1, 2)),
    ):
        with pytest.raises(BadRow):
            call()
    assert storage.scan("meta") == [] and storage.last_lsn() == 0
    clean = clean_text("a\0b\ud800" + "x" * 300)
    storage.commit([("heads", {"owner": "o", "title": clean})])
    assert len(clean) == 200 and storage.scan("heads")[0]["title"] == clean


def test_a_thread_sees_another_ones_batch_only_when_it_is_durable(storage):
    seen, written = [], threading.Event()

    def look():
        written.wait(30)
        seen.append(storage.get("meta", [("a",)])[0])

    thread = threading.Thread(target=look)
    thread.start()
    with storage.batch():
        storage.commit([("meta", {"name": "a"})])
        written.set()
        if storage.url != "memory:":  # that one makes readers wait
            thread.join(30)
            assert seen == [None]
    thread.join(30)
    assert storage.get("meta", [("a",)])[0]


def test_a_snapshot_is_of_one_moment(storage):
    storage.commit([("meta", {"name": "a", "value": "1"})])

    def write():
        storage.commit([("meta", {"name": "a", "value": "2"}), ("meta", {"name": "b"})])

    thread = threading.Thread(target=write)
    with storage.snapshot():
        before = storage.last_lsn()
        thread.start()
        if storage.url != "memory:":  # that one makes writers wait
            thread.join(30)
        assert storage.get("meta", [("a",)])[0]["value"] == "1"
        assert [row["name"] for row in storage.scan("meta")] == ["a"]
        assert storage.counts("meta") == 1 and storage.last_lsn() == before
        assert [row["name"] for _, row in storage.changed(0)] == ["a"]
    thread.join(30)
    assert storage.counts("meta") == 2 and storage.last_lsn() == before + 1


def test_threads_that_count_together_lose_no_step(storage):
    storage.commit([("meta", {"name": "n", "value": "0"})])

    def count():
        for _ in range(25):
            while True:
                row = storage.get("meta", [("n",)])[0]
                guard = ("meta", ("n",), "value", row["value"])
                try:
                    step = {"name": "n", "value": str(int(row["value"]) + 1)}
                    storage.commit([("meta", step)], [guard])
                    break
                except Stale:
                    continue

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert storage.get("meta", [("n",)])[0]["value"] == "100"


def test_the_hubs_id_is_drawn_once(storage):
    ident = hub_id(storage)
    assert len(bytes.fromhex(ident)) == 8 and hub_id(storage) == ident


def test_what_was_written_is_there_after_opening_again(durable_url):
    with open_storage(durable_url) as one:
        ident = hub_id(one)
        lsn, chain = push(one, "ada", 1, body=b"\xff\0")
        state = {name: one.scan(name) for name in TABLES}
    with open_storage(durable_url, readonly=True) as again:
        assert {name: again.scan(name) for name in TABLES} == state
        assert again.last_lsn() == lsn and hub_id(again) == ident
        with pytest.raises(Exception, match="read only"):
            again.commit([("meta", {"name": "a"})])
    with open_storage(durable_url) as again:
        assert push(again, "ada", 2, chain)[0] == lsn + 1
    assert bare(state["versions"][0])["body"] == b"\xff\0"


def test_urls_of_no_known_form_are_refused():
    for url in ("", "hub.sqlite3", "mysql://x", "sqlite:", "sqlite://host/x"):
        with pytest.raises(Usage):
            open_storage(url)
