"""One JSON file with everything, written anew in place for each change."""

import json

from steps import operation, problems

FILE = "/records.json"


def load():
    try:
        with open(FILE) as f:
            return json.load(f)
    except (OSError, ValueError):
        return {}


def setup():
    global records
    records = load()


def step(n):
    uid, text = operation(n)
    records[uid] = text
    if text is None:
        del records[uid]
    with open(FILE, "w") as f:
        json.dump(records, f)
    return n


def check(acked):
    return problems(acked, load())
