"""After a flash: does the board start, is it that board, and does it run what was written?"""

import contextlib
import os
import time

from drybag import layout
from drybag import protocol as p
from drybag_host.errors import (
    EmulatorError,
    LinkError,
    LinkTimeout,
    NoSuchTarget,
    NotVerified,
    PortBusy,
)
from drybag_host.flash_errors import BootLoop, ReplTaken
from drybag_host.resources import version

START_S = 60
_PAUSE_S = 0.5
_AFTER = "everything was written and verified, but "
_RESET = "press the board's RESET button once, then: drybag status TARGET"


def greet(target, mac, wait_s=START_S):
    """The handset's hello, its answer to BOARD under "board". `mac`: as esptool told it.

    Raises LinkError kinds where it does not start, NotVerified where another board or another
    version answers.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            found = _ask(_where(target, mac))
            break
        except (BootLoop, ReplTaken) as error:
            raise _after(error) from error
        except (LinkError, NoSuchTarget, EmulatorError) as error:
            if time.monotonic() > deadline:
                raise _after(error) from error
        time.sleep(_PAUSE_S)
    _check(found, target, mac)
    return found


def _after(error):
    hint = _RESET if isinstance(error, (LinkTimeout, NoSuchTarget, PortBusy)) else error.hint
    return type(error)(_AFTER + str(error), hint)


def _where(target, mac):
    """The port of the board: one with USB of its own may come back under another name."""
    if "://" in target or target.startswith("emu:") or os.path.exists(target):
        return target
    from drybag_host.targets import usb_ports

    found = usb_ports(mac)
    if len(found) != 1:
        raise NoSuchTarget("%s has not come back" % target)
    return found[0].device


def _ask(target):
    from drybag_host.board import open_console
    from drybag_host.link import HandsetLink

    link = HandsetLink(open_console(target))
    try:
        found = link.hello(allow_fault=True)
        found["board"] = link.board()
        return found
    finally:
        with contextlib.suppress(LinkError, OSError):
            link.close()


def _check(found, target, mac):
    if str(found.get("id", "")).lower() != mac.replace(":", ""):
        raise NotVerified(
            "%s%s answers at %s, which is another board" % (_AFTER, found.get("name"), target),
            "name the port of the board that was flashed: drybag status TARGET",
        )
    versions = found.get("versions", {})
    runs = (versions.get("protocol"), versions.get("format"), found["board"].get("drybag"))
    ours = (p.VERSION, layout.VERSION, version())
    if runs != ours:
        raise NotVerified(
            "%s%s runs version %s (protocol %s, format %s) instead of %s (protocol %s, format %s)"
            % (_AFTER, target, runs[2] or "unknown", runs[0], runs[1], ours[2], ours[0], ours[1]),
            "does it start another program than the one written? run it without --app-only",
        )
