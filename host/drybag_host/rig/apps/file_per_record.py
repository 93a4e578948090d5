"""One file a record, in one directory."""

import os

from steps import operation, problems

FOLDER = "/records"


def setup():
    if FOLDER[1:] not in os.listdir("/"):
        os.mkdir(FOLDER)


def step(n):
    uid, text = operation(n)
    if text is None:
        if uid in os.listdir(FOLDER):
            os.remove(FOLDER + "/" + uid)
        return n
    with open(FOLDER + "/" + uid, "w") as f:
        f.write(text)
    return n


def readable(data):
    try:
        return data.decode()
    except UnicodeError:
        return repr(data)


def check(acked):
    found = {}
    for uid in os.listdir(FOLDER):
        with open(FOLDER + "/" + uid, "rb") as f:
            data = f.read()
        if data:  # an empty one was made by open() and never filled
            found[uid] = readable(data)
    return problems(acked, found)
