"""Line ends and folding of content lines: taken away, and put back. Bytes in, bytes out.

Sources: RFC 6350 3.2, RFC 5545 3.1, vCard 2.1 (soft line breaks of quoted-printable). unfold()
takes away line ends and folding and nothing else, fold() puts them back.
"""

from drybag.contentline import colon, component, is_base64, is_qp

MAX_LINE = 1 << 17  # octets of one unfolded line, unless the caller says otherwise
WIDTH = 75  # octets of a folded line, line end not counted

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/= \t"

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
    pos = colon(line) + 1
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
