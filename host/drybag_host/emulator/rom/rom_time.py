"""`time` as an ESP32 has it: seconds count from 2000-01-01, 8-tuples, ticks and sleeps as ever."""
# mypy: ignore-errors
# ruff: noqa: F401

from time import (
    sleep,
    sleep_ms,
    sleep_us,
    ticks_add,
    ticks_cpu,
    ticks_diff,
    ticks_ms,
    ticks_us,
)

import chip

_DAYS_TO_2000 = 730425  # from 1 March of year 0


def time():
    return chip.now_us() // 1000000


def time_ns():
    return chip.now_us() * 1000


def _days(year, month, day):
    """Days since 2000-01-01; months past 12 count on."""
    year += (month - 1) // 12
    month = (month - 1) % 12 + 1
    if month <= 2:
        year -= 1
        month += 12
    leaps = year // 4 - year // 100 + year // 400
    return 365 * year + leaps + (153 * (month - 3) + 2) // 5 + day - 1 - _DAYS_TO_2000


def gmtime(secs=None):
    """(year, month, day, hour, minute, second, weekday from Monday 0, day of the year from 1)."""
    secs = time() if secs is None else int(secs)
    days, rest = divmod(secs, 86400)
    year = 2000 + days * 400 // 146097
    while _days(year + 1, 1, 1) <= days:
        year += 1
    while _days(year, 1, 1) > days:
        year -= 1
    month = 12
    while _days(year, month, 1) > days:
        month -= 1
    day = days - _days(year, month, 1) + 1
    yearday = days - _days(year, 1, 1) + 1
    return (
        year,
        month,
        day,
        rest // 3600,
        rest // 60 % 60,
        rest % 60,
        (days + 5) % 7,
        yearday,
    )


localtime = gmtime


def mktime(t):
    return _days(t[0], t[1], t[2]) * 86400 + t[3] * 3600 + t[4] * 60 + t[5]
