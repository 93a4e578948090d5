"""The same records in Drybag's journal, on the bare partition."""

from steps import operation, problems

from drybag import journal, layout
from drybag.errors import NotFound

RAW = True


def setup(flash):
    global j
    j = journal.mount(flash)


def step(n):
    uid, text = operation(n)
    if text is not None:
        j.put(layout.NOTE, uid.encode(), text.encode())
        return n
    try:
        j.delete(layout.NOTE, uid.encode())
    except NotFound:
        pass  # it was deleted before
    return n


def check(acked):
    return problems(acked, {r.uid.decode(): r.body.decode("utf-8") for r in j.records()})
