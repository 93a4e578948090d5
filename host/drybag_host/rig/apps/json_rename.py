"""One JSON file with everything: written to a temporary, then renamed over the old one."""

import json
import os

from steps import operation, problems

FILE = "/records.json"
TEMPORARY = "/records.tmp"


def load():
    try:
        with open(FILE) as f:
            return json.load(f)
    except (OSError, ValueError):
        return {}


def setup():
    global records
    if TEMPORARY[1:] in os.listdir("/"):
        os.remove(TEMPORARY)
    records = load()


def step(n):
    uid, text = operation(n)
    records[uid] = text
    if text is None:
        del records[uid]
    with open(TEMPORARY, "w") as f:
        json.dump(records, f)
    os.rename(TEMPORARY, FILE)
    return n


def check(acked):
    return problems(acked, load())
