"""Dates of RFC 5545 as bytes that compare in time order, and the arithmetic they need.

b"20250131" is a day, b"20250131T093000" a time. Without a time zone database a local time stands
as it is; UTC is shifted by the offset given. Good enough to list a day, and the same on handset
and host.
"""

FOREVER = b"99991231T235959"


def to_days(year, month, day):
    """Days since 0000-03-01 of the Gregorian calendar."""
    if month <= 2:
        year -= 1
        month += 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * month - 457) // 5 + day - 1


def to_civil(days):
    """(year, month, day) of a number of days since 0000-03-01."""
    era = days // 146097
    doe = days % 146097
    yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    month = mp + 3 if mp < 10 else mp - 9
    return yoe + era * 400 + (1 if month <= 2 else 0), month, doy - (153 * mp + 2) // 5 + 1


def parse_date(value, utc_offset_min=0):
    """A DATE or DATE-TIME as comparable bytes, or None. Basic and extended form (RFC 5545 3.3.5).

    A value in UTC is shifted by utc_offset_min, so that it compares with local times.
    """
    value = bytes(value).strip().upper()
    utc = value.endswith(b"Z")
    if utc:
        value = value[:-1]
    value = value.replace(b"-", b"").replace(b":", b"")
    date, clock = value[:8], value[9:15]
    if len(date) != 8 or not date.isdigit() or value[8:9] not in (b"", b"T"):
        return None
    if not 1 <= int(date[4:6]) <= 12 or not 1 <= int(date[6:8]) <= 31 or date[:4] == b"0000":
        return None
    if not clock:
        return date if len(value) == 8 else None
    if len(clock) == 4:
        clock += b"00"
    if len(clock) != 6 or not clock.isdigit() or clock[:2] > b"23" or clock[2:4] > b"59":
        return None
    value = date + b"T" + clock
    return shift(value, 0, utc_offset_min * 60) if utc and utc_offset_min else value


def shift(date, days, seconds):
    """Comparable bytes moved by days and seconds; a day stays a day if seconds are whole days."""
    whole = len(date) == 8
    second = 0
    if not whole:
        second = int(date[9:11]) * 3600 + int(date[11:13]) * 60 + int(date[13:15])
    second += seconds
    n = to_days(int(date[:4]), int(date[4:6]), int(date[6:8])) + days + second // 86400
    second %= 86400
    if n < to_days(1, 1, 1):
        return b"00010101"
    if n > to_days(9999, 12, 31):
        return FOREVER
    text = "%04d%02d%02d" % to_civil(n)
    if not whole or second:
        text += "T%02d%02d%02d" % (second // 3600, second // 60 % 60, second % 60)
    return text.encode()


def parse_duration(value):
    """(days, seconds) of an RFC 5545 DURATION, or None; weeks are days."""
    value = bytes(value).strip().upper()
    sign = -1 if value[:1] == b"-" else 1
    value = value.lstrip(b"+-")
    if value[:1] != b"P" or len(value) > 40:
        return None
    units = {87: (7, 0), 68: (1, 0), 72: (0, 3600), 77: (0, 60), 83: (0, 1)}
    days = seconds = number = 0
    for c in value[1:]:
        if 48 <= c <= 57:
            number = min(number * 10 + c - 48, 99999999)
        elif c in units:
            days += units[c][0] * number
            seconds += units[c][1] * number
            number = 0
        elif c != 84:
            return None
    return sign * days, sign * seconds


def plus_span(date, start, end):
    """`date` plus the time from start to end, rounded up to days."""
    days = to_days(int(end[:4]), int(end[4:6]), int(end[6:8]))
    days -= to_days(int(start[:4]), int(start[4:6]), int(start[6:8]))
    return shift(date, days + (1 if len(end) > 8 or days == 0 else 0), 0)
