"""Every error that Drybag raises on purpose.

DrybagError
    BadInput          what was given cannot be used (3)
        TooLarge      a body, uid or blob over its limit
        BadBlob       blob bytes do not match their SHA-256 or size
    NotFound          no such record or blob (4)
    NoSpace           the flash is full (5); `missing_bytes` says by how much
    MissingBlob       a record names a blob that is not stored (3)
    Damaged           a CRC or hash does not match (6)
    FormatNewer       written by a newer firmware: refused, untouched (7)
    NotMountable      not ours, or damaged beyond mounting: kept, untouched (7)
    JournalClosed     used after close() or after the device failed (8)

The number is the exit code of a host command that ends with the error. Messages say what,
where and what to do next.
"""


class DrybagError(Exception):
    exit_code = 1


class BadInput(DrybagError):
    exit_code = 3


class TooLarge(BadInput):
    pass


class BadBlob(BadInput):
    pass


class MissingBlob(BadInput):
    pass


class NotFound(DrybagError):
    exit_code = 4


class NoSpace(DrybagError):
    """`missing_bytes`: how much must be freed before the same call can succeed."""

    exit_code = 5

    def __init__(self, message, missing_bytes=0):
        super().__init__(message)
        self.missing_bytes = missing_bytes


class Damaged(DrybagError):
    exit_code = 6


class FormatNewer(DrybagError):
    exit_code = 7


class NotMountable(DrybagError):
    exit_code = 7


class JournalClosed(DrybagError):
    exit_code = 8
