"""Text inside content lines: quoted-printable, charsets, backslash escapes.

Used to show, search and convert; storage keeps the bytes as received. Sources: RFC 2045 6.7,
RFC 6350 3.4, RFC 5545 3.3.11, vCard 2.1 section 2.1.
"""

# After these lead bytes a second byte in the range makes an overlong form, a surrogate, or more
# than U+10FFFF.
_NOT_AFTER = ((0xE0, 0, 0x9F), (0xED, 0xA0, 0xFF), (0xF0, 0, 0x8F), (0xF4, 0x90, 0xFF))
_HEX = b"0123456789ABCDEFabcdef"
# Windows-1252, 0x80 to 0x9F; the five bytes it leaves open stay C1 controls.
_CP1252 = (
    "\u20ac\x81\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039\u0152\x8d\u017d\x8f"
    "\x90\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122\u0161\u203a\u0153\x9d\u017e\u0178"
)


def qp_decode(value):
    """Quoted-printable undone (RFC 2045 6.7); what is no valid escape stays as it is."""
    parts = value.split(b"=")
    out = [parts[0]]
    for part in parts[1:]:
        if len(part) >= 2 and part[0] in _HEX and part[1] in _HEX:
            out.append(bytes((int(part[:2].decode(), 16),)))
            out.append(part[2:])
        else:
            out.append(b"=")
            out.append(part)
    return b"".join(out)


def is_utf8(data):
    """True for well-formed UTF-8 (MicroPython's decoder lets overlong forms pass)."""
    if not data or max(data) < 0x80:
        return True
    if max(data) > 0xF4 or b"\xc0" in data or b"\xc1" in data:
        return False
    try:
        data.decode()
    except UnicodeError:
        return False
    for lead, low, high in _NOT_AFTER:
        i = data.find(bytes((lead,)))
        while i >= 0:
            if low <= data[i + 1] <= high:
                return False
            i = data.find(bytes((lead,)), i + 1)
    return True


def decode(data, charset=b"", other=None):
    """Bytes to str. Never fails: bytes that are no UTF-8 are read as Windows-1252.

    charset: the value of CHARSET. other: callable(charset name, bytes) -> str or None for
    charsets not known here, which are all but UTF-8, Latin-1, Windows-1251 and -1252.
    """
    data = bytes(data)
    name = charset.upper()
    if name in (b"WINDOWS-1251", b"CP1251"):
        return "".join([_cp1251(c) for c in data])
    latin = name in (b"ISO-8859-1", b"LATIN1", b"WINDOWS-1252", b"CP1252")
    if not latin and other and name not in (b"", b"UTF-8", b"UTF8", b"US-ASCII"):
        text = other(name.decode() if is_utf8(name) else "", data)
        if text is not None:
            return text
    if not latin:
        return data.decode() if is_utf8(data) else _mixed(data)
    return "".join([_cp1252(c) for c in data])


def _cp1252(c):
    return _CP1252[c - 0x80] if 0x80 <= c < 0xA0 else chr(c)


def _mixed(data):
    """UTF-8 where it is, Windows-1252 byte by byte where it is not."""
    out = []
    i = 0
    while i < len(data):
        c = data[i]
        size = 1 + (c >= 0xC2) + (c >= 0xE0) + (c >= 0xF0)
        piece = data[i : i + size]
        if size > 1 and len(piece) == size and is_utf8(piece):
            out.append(piece.decode())
            i += size
        else:
            out.append(_cp1252(c))
            i += 1
    return "".join(out)


def _cp1251(c):
    if c >= 0xC0:
        return chr(c + 0x350)
    if c in (0xA8, 0xB8):
        return "\u0401" if c == 0xA8 else "\u0451"
    return chr(c)


def unescape(text, old=False):
    """Backslash escapes of a text value undone (str to str); `old`: vCard 2.1 has only \\;"""
    if "\\" not in text:
        return text.replace("\r\n", "\n")
    if old:
        return text.replace("\\;", ";").replace("\r\n", "\n")
    out = []
    i = 0
    while True:
        j = text.find("\\", i)
        if j < 0 or j + 1 >= len(text):
            out.append(text[i:])
            return "".join(out)
        out.append(text[i:j])
        c = text[j + 1]
        if c in "nN":
            out.append("\n")
        elif c in ',;:"\\':
            out.append(c)
        else:
            out.append("\\" + c)
        i = j + 2


def escape(text):
    """Text to a value of vCard 3.0, 4.0 or iCalendar: str to str."""
    text = text.replace("\\", "\\\\").replace("\r\n", "\n").replace("\r", "\n")
    return text.replace("\n", "\\n").replace(",", "\\,").replace(";", "\\;")
