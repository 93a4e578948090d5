"""What the hub refuses, as it stands in its answers; SPEC.md "Transport"."""

from drybag_host.errors import HostError

__all__ = ["BadBlobSent", "Busy", "Forbidden", "NotThere", "Refused", "Revoked", "TooMuch",
           "Unsound", "UpdateNeeded", "WrongOffset", "WrongSecret"]  # fmt: skip


class Refused(HostError):
    """status: of the answer. name: its class. wait_s: not before so many seconds, 0 at once."""

    exit_code = 3  # where a command meets it in this process
    status = 400
    name = "BadRequest"
    wait_s = 0

    def answer(self):
        """The body of the answer: the message is for the person at the handset."""
        text = str(self).encode("ascii", "replace").decode()[:200]
        out = {"class": self.name, "message": text, **self.details}
        if self.wait_s:
            out["wait_s"] = self.wait_s
        return out


class Unsound(Refused):
    """The request makes no sense; nothing of it was stored."""


class WrongSecret(Refused):
    status, name = 401, "WrongSecret"


class Revoked(Refused):
    status, name = 403, "Revoked"


class Forbidden(Refused):
    status, name = 403, "Forbidden"


class NotThere(Refused):
    status, name = 404, "NotFound"


class WrongOffset(Refused):
    status, name = 409, "WrongOffset"


class TooMuch(Refused):
    status, name = 413, "TooLarge"


class BadBlobSent(Refused):
    status, name = 422, "BadBlob"


class UpdateNeeded(Refused):
    status, name = 426, "VersionNewer"


class Busy(Refused):
    status, name = 503, "Busy"

    def __init__(self, message, wait_s=5, status=503):
        super().__init__(message)
        self.wait_s = wait_s
        self.status = status
