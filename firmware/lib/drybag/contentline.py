"""Content lines: the text layer under vCard and iCalendar. Bytes in, bytes out, little RAM.

Sources: RFC 6350 3.2-3.4, RFC 5545 3.1, RFC 6868, vCard 2.1 (quoted-printable, bare parameters).
Storing never decodes: unfold() takes away line ends and folding and nothing else, fold() puts
them back. parse(), Line.text() and unescape() are for showing, searching and converting.
"""

from drybag.errors import BadInput
from drybag.linetext import decode, qp_decode

MAX_LINE = 1 << 17  # octets of one unfolded line, unless the caller says otherwise
MAX_HEAD = 1 << 16  # octets of name and parameters
MAX_DEPTH = 16  # components inside components
WIDTH = 75  # octets of a folded line, line end not counted

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/= \t"


class BadLine(BadInput):
    """A line that is no content line: no colon, no name, or a head over MAX_HEAD."""


# --- reading lines ---------------------------------------------------------------------------


def _decide(chunk):
    """How lines of this chunk end: b"\\n", b"\\r", or None when it does not show yet."""
    lf = chunk.find(b"\n")
    cr = chunk.find(b"\r")
    if cr < 0 or 0 <= lf < cr:
        return b"\n" if lf >= 0 else None
    while cr < len(chunk) and chunk[cr] == 13:
        cr += 1
    if cr == len(chunk):
        return None
    return b"\n" if chunk[cr] == 10 else b"\r"


def _next_end(chunk, pos, mode):
    i = chunk.find(b"\n", pos)
    if mode == b"\r":
        j = chunk.find(b"\r", pos)
        if j >= 0 and (i < 0 or j < i):
            return j
    return i


def physical(chunks, max_line=MAX_LINE):
    """Lines as they stand in the file: (number from 1, byte offset, line, octets dropped).

    The first line end decides. LF: a line ends at LF and loses every CR before it (CR CR LF is
    seen in real files), a CR elsewhere stays. CR: a line ends at CR or LF. A line over
    max_line octets is cut there; the last field says how much is missing.
    """
    mode = None
    held = b""  # bytes not yet looked at
    part = bytearray()  # begin of a line whose end is not seen yet
    dropped = 0
    number = 1
    base = 0  # offset of held[0]
    start = 0  # offset of part[0]
    for chunk in chunks:
        held = held + bytes(chunk) if held else bytes(chunk)
        if mode is None:
            mode = _decide(held)
            if mode is None and b"\r" in held and len(held) <= MAX_LINE:
                continue
        pos = 0
        while True:
            i = _next_end(held, pos, mode)
            if i < 0:
                break
            dropped += _add(part, held, pos, i, max_line)
            yield number, start, _strip_cr(part), dropped
            part = bytearray()
            dropped = 0
            number += 1
            pos = i + 1
            start = base + pos
        dropped += _add(part, held, pos, len(held), max_line)
        base += len(held)
        held = b""
    for piece in held.split(b"\r") if held else ():
        yield number, start, bytes(part) + piece, dropped
        part = b""
        number += 1
        start += len(piece) + 1
    if part:
        yield number, start, _strip_cr(part), dropped


def _add(part, chunk, pos, end, max_line):
    """Append chunk[pos:end] to part up to max_line octets; returns what did not fit."""
    room = max_line - len(part)
    if end - pos <= room:
        part.extend(chunk[pos:end])
        return 0
    part.extend(chunk[pos : pos + room])
    return end - pos - room


def _strip_cr(part):
    return bytes(part).rstrip(b"\r")


def unfold(chunks, max_line=MAX_LINE):
    """Whole content lines: (number and byte offset of its first line, line, octets dropped).

    A line that begins with space or tab goes on the one before, without that character, also
    across blank lines (Sunbird writes such files). A quoted-printable value goes on where a
    line ends in "=". Base64 of vCard 2.1 may go on without a space until a blank line.
    """
    current = None
    number = start = dropped = 0
    blank = False
    for no, at, line, lost in physical(chunks, max_line):
        if current is not None:
            tail = _continuation(current, line, blank)
            if tail is not None:
                dropped += lost + _add(current, tail, 0, len(tail), max_line)
                blank = False
                continue
            if not line:
                blank = True
                continue
            yield number, start, bytes(current), dropped
            current = None
        if line:
            current = bytearray(line)
            number, start, dropped, blank = no, at, lost, False
    if current is not None:
        yield number, start, bytes(current), dropped


def _continuation(current, line, blank):
    """What of `line` belongs to `current`, or None. Takes a soft break's "=" off `current`."""
    if current.endswith(b"=") and not blank and is_qp(current):
        # A card cut short after "=" must not swallow its own end.
        if component(line) is None:
            current[:] = current[:-1]
            return line
        return None
    if line[:1] in (b" ", b"\t"):
        return line[1:]
    if line and not blank and b":" not in line and b";" not in line:
        if not line.strip(_BASE64) and is_base64(current):
            return line
    return None


# --- writing lines ---------------------------------------------------------------------------


def fold(line, width=WIDTH):
    """`line` folded to at most `width` octets a line, CRLF at the end.

    Never cuts inside a UTF-8 sequence, nor behind a CR, which unfolding would take for a line end.
    """
    if len(line) <= width:
        return bytes(line) + b"\r\n"
    out = []
    pos = 0
    room = width
    while len(line) - pos > room:
        end = _cut(line, pos, pos + room)
        out.append(line[pos:end])
        pos = end
        room = width - 1
    out.append(line[pos:])
    return b"\r\n ".join(out) + b"\r\n"


def _cut(line, pos, end):
    """The last place in line[pos+1:end+1] where a cut is harmless."""
    best = end
    while best > pos + 1 and best > end - 4 and (line[best] & 0xC0) == 0x80:
        best -= 1
    if (line[best] & 0xC0) == 0x80:
        best = end  # no UTF-8: any place is as good
    while best > pos + 1 and line[best - 1] == 13:
        best -= 1
    return best


def fold_qp(line, width=WIDTH):
    """A quoted-printable line with soft breaks ("=" CRLF), CRLF at the end (vCard 2.1)."""
    pos = _colon(line) + 1
    out = []
    begin = 0
    while len(line) - begin > width:
        end = begin + width - 1
        if end <= pos:  # the head is longer than the line: break behind it
            end = pos + 1
            if end >= len(line):
                break
        end = _qp_cut(line, max(begin, pos), end)
        out.append(line[begin:end])
        begin = end
    out.append(line[begin:])
    return b"=\r\n".join(out) + b"\r\n"


def _qp_cut(line, pos, end):
    """Not inside "=XX", nor behind a CR, nor before what reads like BEGIN: or END:"""
    best = end
    while best > pos + 1 and (
        line[best - 1] in b"=\r"
        or (best >= 2 and line[best - 2] == 61)
        or component(line[best : best + 6]) is not None
    ):
        best -= 1
    return best if best > pos + 1 else end


def fold_lines(lines, old=False):
    """Lines ready to write. `old`: vCard 2.1, where only quoted-printable and base64 fold."""
    after_base64 = False
    for line in lines:
        if after_base64 and b":" not in line:
            yield b"\r\n"  # else a reader takes it for more base64
        base64 = is_base64(line)
        if is_qp(line):
            yield fold_qp(line)
        elif old and not base64:
            yield bytes(line) + b"\r\n"
        else:
            yield fold(line)
            if old and len(line) > WIDTH:
                yield b"\r\n"
        after_base64 = base64


# --- one line --------------------------------------------------------------------------------


def _colon(line):
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
    i = _colon(line)
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
    out = []
    held = None
    for part in parts:
        held = part if held is None else held + separator + part
        if held.count(b'"') % 2 == 0:
            out.append(held)
            held = None
    if held is not None:
        out.append(held)
    return out


def split_escaped(value, separator=b";"):
    """`value` split at a one-byte separator, not behind a backslash. Escapes stay in."""
    parts = value.split(separator)
    if b"\\" not in value:
        return parts
    out = []
    held = None
    for part in parts:
        held = part if held is None else held + separator + part
        if (len(part) - len(part.rstrip(b"\\"))) % 2 == 0:
            out.append(held)
            held = None
    if held is not None:
        out.append(held)
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
    i = _colon(line)
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
