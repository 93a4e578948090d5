"""What can go wrong between this computer and a chip's ROM loader, and with what is flashed.

HostError
    EsptoolMissing (36)  esptool is not installed, or of another major version
    EsptoolFailed (37)   esptool ended with an error that has no name here
    WrongChip (38)       the chip is another than the board file says
    WrongFlash (39)      the flash is smaller than the board file says
    RecordsElsewhere (41) the new partition table has the records at another place
    DumpTruncated (44)   a dump is shorter than what it is a dump of
    DiskTooNew (45)      the MicroPython to write does not mount the LittleFS of the records
LinkError
    BootLoop (42)        the board starts again and again
NotAHandset
    ReplTaken (43)       another program runs on the board and does not let go of its console
"""

from drybag_host.errors import HostError, LinkError, NotAHandset


class EsptoolMissing(HostError):
    exit_code = 36
    hint = "install it beside Drybag: pip install 'esptool>=5,<6'"


class EsptoolFailed(HostError):
    exit_code = 37
    hint = "check cable and supply and run the command again"


class WrongChip(HostError):
    exit_code = 38
    hint = "name the board that is plugged in: 'drybag boards' lists them"


class WrongFlash(HostError):
    exit_code = 39
    hint = "name a board file with the flash that is there: 'drybag boards' lists them"


class RecordsElsewhere(HostError):
    exit_code = 41


class DumpTruncated(HostError):
    exit_code = 44
    hint = "drybag dump TARGET FILE makes a new one; drybag salvage FILE DIR takes what is there"


class DiskTooNew(HostError):
    exit_code = 45


class BootLoop(LinkError):
    exit_code = 42
    hint = "write the firmware again: drybag flash TARGET --board B; the records are kept"


class ReplTaken(NotAHandset):
    exit_code = 43
    hint = (
        "is this the right port? stop that program, or write Drybag over it: drybag flash TARGET "
        "--board B"
    )
