"""Content lines: the text layer under vCard and iCalendar. Bytes in, bytes out, little RAM.

Sources: RFC 6350 3.2-3.4, RFC 5545 3.1, RFC 6868, vCard 2.1 (quoted-printable, bare parameters).
Storing never decodes; line ends and folding are drybag.folding's. parse(), Line.text() and
unescape() are for showing, searching and converting.
"""

from drybag.errors import BadInput
from drybag.linetext import decode, qp_decode

MAX_HEAD = 1 << 16  # octets of name and parameters
MAX_DEPTH = 16  # components inside components


class BadLine(BadInput):
    """A line that is no content line: no colon, no name, or a head over MAX_HEAD."""


# --- one line --------------------------------------------------------------------------------


def colon(line):
    """Index of the colon that ends name and parameters, or -1. Quoted colons do not count."""
    i = line.find(b":")
    q = line.find(b'"')
    if i < 0 or q < 0 or q > i:
        return i if i <= MAX_HEAD else -1
    quoted = False
    for j in range(min(len(line), MAX_HEAD)):
        c = line[j]
        if c == 34:
            quoted = not quoted
        elif c == 58 and not quoted:
            return j
    return -1


def _head(line):
    i = colon(line)
    return bytes(line[:i]).upper() if i > 0 else b""


def is_qp(line):
    """True if the line's parameters say quoted-printable."""
    return b"QUOTED-PRINTABLE" in _head(line)


def is_base64(line):
    """True if the line's parameters say base64 (ENCODING=b, ENCODING=BASE64, bare BASE64)."""
    head = _head(line)
    if b"BASE64" in head:
        return True
    i = head.find(b";ENCODING=B")
    return i >= 0 and head[i + 11 : i + 12] in (b"", b";")


def component(line):
    """(1, NAME) for BEGIN:NAME, (-1, NAME) for END:NAME, None for any other line."""
    if not line or line[0] not in b"BbEe":
        return None
    i = line.find(b":")
    if not 3 <= i <= 12:
        return None
    word = bytes(line[:i]).strip().upper()
    if word == b"BEGIN":
        return 1, bytes(line[i + 1 :]).strip().upper()
    if word == b"END":
        return -1, bytes(line[i + 1 :]).strip().upper()
    return None


def split_quoted(text, separator):
    """`text` split at a one-byte separator, not inside double quotes."""
    parts = text.split(separator)
    if b'"' not in text:
        return parts
    return _joined(parts, separator, lambda part: part.count(b'"') % 2 == 1, True)


def split_escaped(value, separator=b";"):
    """`value` split at a one-byte separator, not behind a backslash. Escapes stay in."""
    parts = value.split(separator)
    if b"\\" not in value:
        return parts
    return _joined(parts, separator, lambda part: (len(part) - len(part.rstrip(b"\\"))) % 2, False)


def _joined(parts, separator, is_odd, toggles):
    """Parts put together again where the separator between them was none: behind a part that
    `is_odd`, or with `toggles` up to the next such. In time that grows with the text alone."""
    out = []
    held = []
    goes_on = False
    for part in parts:
        held.append(part)
        odd = is_odd(part)
        goes_on = goes_on != odd if toggles else odd
        if not goes_on:
            out.append(part if len(held) == 1 else separator.join(held))
            held = []
    if held:
        out.append(separator.join(held))
    return out


class Line:
    """One content line taken apart; every part as received.

    group, value: bytes. name: bytes, upper case; written: as it stands. raw_params: list of
    bytes, one a parameter, such as b'TYPE="work,voice"' or, in vCard 2.1, b"HOME".
    """

    __slots__ = ("group", "name", "raw_params", "value", "written")

    def __init__(self, group, name, raw_params, value):
        self.group = group
        self.name = name.upper()
        self.written = name
        self.raw_params = raw_params
        self.value = value

    def params(self):
        """Parameters as (NAME, raw value); a bare one has the name b""."""
        for raw in self.raw_params:
            i = raw.find(b"=")
            if i < 0:
                yield b"", raw.strip()
            else:
                yield raw[:i].strip().upper(), raw[i + 1 :].strip()

    def param(self, name, caret=True):
        """All values of a parameter, unquoted; bare ones count as TYPE."""
        out = []
        for key, raw in self.params():
            if key == name or (not key and name == b"TYPE"):
                for value in param_values(raw, caret):
                    out.extend(value.split(b",") if name == b"TYPE" else (value,))
        return out

    def first(self, name):
        """The first value of a parameter, or b""."""
        values = self.param(name)
        return values[0] if values else b""

    def encoding(self):
        """b"QUOTED-PRINTABLE", b"B" (base64) or b""."""
        for key, raw in self.params():
            word = raw.upper()
            if key in (b"", b"ENCODING"):
                if word == b"QUOTED-PRINTABLE":
                    return word
                if word == b"BASE64" or (key and word == b"B"):
                    return b"B"
        return b""

    def raw_text(self):
        """The value as bytes with quoted-printable undone; charset and escapes untouched."""
        if self.encoding() == b"QUOTED-PRINTABLE":
            return qp_decode(self.value)
        return self.value

    def text(self, other=None):
        """The value as str: quoted-printable and charset undone, escapes untouched."""
        return decode(self.raw_text(), self.first(b"CHARSET"), other)


def parse(line):
    """Take a content line apart. Raises BadLine if it is none."""
    i = colon(line)
    if i < 0:
        i = line.find(b":")  # a quote that never ends
        if not 0 <= i <= MAX_HEAD:
            raise BadLine("no colon between name and value: %s" % show(line))
    parts = split_quoted(line[:i], b";")
    name = parts[0].strip()
    dot = name.rfind(b".")
    group = name[:dot] if dot > 0 else b""
    name = name[dot + 1 :] if dot > 0 else name
    if not name:
        raise BadLine("no property name before the colon: %s" % show(line))
    return Line(bytes(group), bytes(name), parts[1:], bytes(line[i + 1 :]))


def param_values(raw, caret=True):
    """The values of one parameter: split at commas, quotes off, RFC 6868 carets undone."""
    out = []
    for value in split_quoted(raw, b","):
        if len(value) >= 2 and value[:1] == b'"' and value[-1:] == b'"':
            value = value[1:-1]
        if caret and b"^" in value:
            value = _uncaret(value)
        out.append(value)
    return out


def _uncaret(value):
    out = bytearray()
    i = 0
    while i < len(value):
        pair = value[i : i + 2]
        j = (b"^n", b"^'", b"^^").index(pair) if pair in (b"^n", b"^'", b"^^") else -1
        if j < 0:
            out.append(value[i])
            i += 1
        else:
            out.append(b'\n"^'[j])
            i += 2
    return bytes(out)


def show(line, limit=40):
    """A line for an error message: its begin, unprintable bytes as dots."""
    text = "".join([chr(c) if 32 <= c < 127 else "." for c in line[:limit]])
    return "'" + text + ("..." if len(line) > limit else "") + "'"
