"""One log file: a line for each change, append and flush. What most people write."""

import json

from steps import operation, problems

FILE = "/log.txt"


def setup():
    global log
    log = open(FILE, "a")
    log.write("\n")  # whatever a cut left of the last line, the next one is whole


def step(n):
    log.write(json.dumps(operation(n)) + "\n")
    log.flush()
    return n


def check(acked):
    found = {}
    with open(FILE, "rb") as f:
        for line in f:
            try:
                uid, text = json.loads(line)
                found[uid] = text
            except (ValueError, TypeError):
                continue  # a torn line
    return problems(acked, {uid: text for uid, text in found.items() if text is not None})
