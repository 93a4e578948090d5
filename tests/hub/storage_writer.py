"""A process that writes to a storage until it is killed: storage_writer.py URL [count [batch]].

Prints the number of each commit after it has returned. A commit of number n writes three rows,
all of value n; `batch` commits become durable together.
"""

import os
import sys

from drybag_host.hub.storage import open_storage


def commit(storage, who, n):
    uid = b"%s %d" % (who.encode(), n)
    storage.commit([
        ("versions", {"owner": who, "pos": n, "uid": uid, "body": b"x" * (n * 37 % 900)}),
        ("heads", {"owner": who, "kind": 1, "uid": uid, "pos": n}),
        ("owners", {"owner": who, "pos": n}),
    ])  # fmt: skip


def main(url, count=1 << 30, batch=1, who="ada", serve=False):
    with open_storage(url, serve=serve) as storage:
        row = storage.get("owners", [(who,)])[0]
        n = row["pos"] if row else 0
        os.write(1, b"ready\n")
        while count > 0:
            with storage.batch():
                for _ in range(batch):
                    n += 1
                    commit(storage, who, n)
            os.write(1, b"%d\n" % n)
            count -= batch


if __name__ == "__main__":
    args = sys.argv[1:]
    main(args[0], *map(int, args[1:3]), *args[3:4])
