"""Moments of the command line: `hub at TIME`, `hub export --at TIME`.

A time is local to this computer unless it says its offset from UTC.
"""

import re
from datetime import datetime, timedelta

from drybag_host.errors import Usage

__all__ = ["TIME_HELP", "moment_ms"]

TIME_HELP = (
    "2026-01-31 (its end), 2026-01-31T09:30, both of this computer's time; with Z or +02:00 "
    "behind it of that; or 90m, 6h, 3d ago"
)
_HINT = "such as 2026-01-31T09:30 (local), 2026-01-31T09:30Z (UTC), or 90m, 6h, 3d ago"
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_AGO = re.compile(r"(\d{1,6})\s*([mhd])(?: ?ago)?")
_UNITS_S = {"m": 60, "h": 3600, "d": 86400}


def moment_ms(text, now_s):
    """Unix milliseconds of a moment past; now_s: Unix seconds.

    A day alone means its end, or now while it lasts. Raises Usage, also for what is yet to come.
    """
    ago = _AGO.fullmatch(text)
    if ago:
        return int((now_s - int(ago[1]) * _UNITS_S[ago[2]]) * 1000)
    try:
        when = datetime.fromisoformat(text)
        began_ms = int(when.timestamp() * 1000)
        at_ms = began_ms
        if _DAY.fullmatch(text):
            at_ms = int((when + timedelta(days=1)).timestamp() * 1000) - 1
    except (ValueError, OverflowError, OSError) as error:
        raise Usage("%s is no time" % text, _HINT) from error
    if began_ms > now_s * 1000:
        raise Usage("%s is yet to come" % text, "name a moment past, such as 6h")
    return min(at_ms, int(now_s * 1000))
