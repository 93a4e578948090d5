"""Errors of the host tools, on top of the shared tree of drybag.errors.

DrybagError
    Usage             the words of the command do not fit together (2)
    Partial           part of the work is done, the rest was named (9)
    LinkError         the serial link failed in a way of its own (19)
        PortBusy      another program has the port, or it may not be opened (10)
        NotAHandset   something answers there, but not Drybag (11)
        LinkTimeout   no answer in time (12)
        LinkLost      the port went away: cable pulled, board off (13)
        BoardRebooted the handset restarted in the middle (14)
    NoSuchTarget      no board, port or backup of that name (15)
    BackupDamaged     a hash in the backup does not match, or a part is missing (16)
    HostDiskFull      this computer's disk is full (17)
    EmulatorError     the emulated board cannot be made, started or found (18)
    OtherHandset      the backup belongs to another handset or journal (20)
    BackupBusy        another program writes to this backup (21)
    NotVerified       handset and backup still differ after a full pull (22)
    HostFile          a file or folder of this computer cannot be read or written (23)
    Declined          a question was answered with no, or nobody was there to ask (24)

The number is the exit code. `hint` says what to do next; `details` are further keys for --json.
"""

from drybag.errors import DrybagError

__all__ = [
    "BackupBusy",
    "BackupDamaged",
    "BoardRebooted",
    "Declined",
    "EmulatorError",
    "HostDiskFull",
    "HostError",
    "HostFile",
    "LinkError",
    "LinkLost",
    "LinkTimeout",
    "NoSuchTarget",
    "NotAHandset",
    "NotVerified",
    "OtherHandset",
    "Partial",
    "PortBusy",
    "Usage",
    "with_hint",
]


class HostError(DrybagError):
    """Base of the errors below. `hint`: one line, what to do next; `details`: more for --json."""

    hint = ""

    def __init__(self, message, hint="", **details):
        super().__init__(message)
        if hint:
            self.hint = hint
        self.details = details


class Usage(HostError):
    exit_code = 2


class Partial(HostError):
    exit_code = 9


class LinkError(HostError):
    exit_code = 19
    hint = "check the cable and run the command again: it goes on where it stopped"


PORT_DENIED = "sudo usermod -aG dialout $USER, then log in again (Arch Linux: group uucp)"


class PortBusy(LinkError):
    exit_code = 10
    hint = "close the program that uses the port (a monitor, mpremote, another drybag)"


class NotAHandset(LinkError):
    exit_code = 11
    hint = "is this the right port, and is the Drybag firmware on the board?"


class LinkTimeout(LinkError):
    exit_code = 12
    hint = "check power and cable, press the board's reset button, run the command again"


class LinkLost(LinkError):
    exit_code = 13
    hint = "plug the cable in and run the command again: it goes on where it stopped"


class BoardRebooted(LinkError):
    exit_code = 14
    hint = "run the command again: it goes on where it stopped"


class NoSuchTarget(HostError):
    exit_code = 15


class BackupDamaged(HostError):
    exit_code = 16


class HostDiskFull(HostError):
    exit_code = 17
    hint = "free some space and run the command again: it goes on where it stopped"


class EmulatorError(HostError):
    exit_code = 18


class OtherHandset(HostError):
    exit_code = 20


class BackupBusy(HostError):
    exit_code = 21


class NotVerified(HostError):
    exit_code = 22


class HostFile(HostError):
    exit_code = 23


class Declined(HostError):
    exit_code = 24


def with_hint(error, hint):
    """The error, which says what to do next if it did not yet; of drybag.errors too."""
    if not getattr(error, "hint", ""):
        error.hint = hint
    return error
