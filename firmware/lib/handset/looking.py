"""What console and serial verbs share: the part of a record that is looked at."""

_LOOK = 16
_WHOLE_BYTES = 8192


def beginning(record):
    """A record's body as bytes; of one over 8 KiB the first piece (about 4 KiB)."""
    if record.body_size <= _WHOLE_BYTES:
        return record.body
    for piece in record.body_chunks():
        return bytes(piece)
    return b""


def matching(journal, text, kind=0):
    """(record, its beginning) of those that match; None now and then while nothing does."""
    from drybag.search import Query

    query = Query(text)
    looked = 0
    for record in journal.records(kind):
        looked += 1
        if looked % _LOOK == 0:
            yield None
        body = beginning(record)
        if query.matches(record.kind, body):
            yield record, body
