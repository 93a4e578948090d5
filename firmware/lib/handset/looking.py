"""What console and serial verbs share: the part of a record that is looked at."""

_WHOLE_BYTES = 8192


def beginning(record):
    """A record's body as bytes; of one over 8 KiB the first piece (about 4 KiB)."""
    if record.body_size <= _WHOLE_BYTES:
        return record.body
    for piece in record.body_chunks():
        return bytes(piece)
    return b""
