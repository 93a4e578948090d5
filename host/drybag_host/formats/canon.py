"""What a vCard says, whatever its version: for comparing cards that were converted.

Written apart from vcard.py on purpose: one checks the other.
"""

import hashlib
import re
from binascii import Error, a2b_base64

from drybag.contentline import BadLine, Line, component, param_values, parse, split_escaped
from drybag.linetext import is_utf8, unescape
from drybag_host.formats.vcard import MEDIA_TYPES, other_charset

_STRUCTURED = (b"N", b"ADR", b"ORG")
_LISTS = (b"CATEGORIES", b"NICKNAME")
_MEDIA = (b"PHOTO", b"LOGO", b"SOUND", b"KEY")
_SILENT = (b"ENCODING", b"CHARSET", b"VALUE", b"MEDIATYPE", b"PREF")
_WORDS = (b"QUOTED-PRINTABLE", b"BASE64", b"8BIT", b"7BIT", b"INLINE", b"URL")
_DATA = re.compile(rb"data:([^,;]*)[^,]*;base64,", re.IGNORECASE)
_MADE_UID = re.compile(rb"UID(?:;VALUE=text)?:h[0-9a-f]{16}(?:~[0-9a-f]{16})?$")
_MAX_DEPTH = 20


def card_version(lines) -> bytes:
    """VERSION of a card's lines, b"" if there is none."""
    for line in lines:
        if line[:8].upper() == b"VERSION:":
            return line[8:].strip()
    return b""


def canonical_card(lines, depth: int = 0) -> tuple:
    """The properties of a card in order, each as (group, name, types, parameters, value).

    VERSION is left out, and a UID that conversion made of a hash.
    """
    old = card_version(lines) in (b"2.1", b"")
    out: list[tuple] = []
    nested: list[bytes] | None = None
    level = 0
    for line in lines:
        mark = component(line)
        if mark:
            level += mark[0]
            if level == 1 and mark[0] > 0:
                nested = []
                continue
            if level == 0 and mark[0] < 0 and nested is not None:
                inner = canonical_card(nested, depth + 1) if depth < _MAX_DEPTH else tuple(nested)
                if out and out[-1][1] == b"AGENT":
                    out.pop()
                out.append((b"", b"AGENT", frozenset(), frozenset(), inner))
                nested = None
                continue
        if nested is not None:
            nested.append(line)
            continue
        try:
            parsed = parse(line)
        except BadLine:
            out.append((b"", b"", frozenset(), frozenset(), line))
            continue
        if parsed.name != b"VERSION" and not _MADE_UID.match(line):
            out.append(_canonical(parsed, old, depth))
    return tuple(out)


def _canonical(line: Line, old: bool, depth: int) -> tuple:
    types: set[bytes] = set()
    params: set[tuple] = set()
    for key, raw in line.params():
        word = raw.upper()
        if (not key and word in _WORDS) or (key in _SILENT and (key != b"PREF" or word == b"1")):
            if key == b"PREF":
                types.add(b"pref")
            continue
        if key in (b"", b"TYPE"):
            types.update(t.lower() for v in param_values(raw) for t in v.split(b",") if t)
        else:
            params.add((key, tuple(param_values(raw))))
    value = _value(line, old, types, depth)
    return line.group.lower(), line.name, frozenset(types), frozenset(params), value


def _value(line: Line, old: bool, types: set[bytes], depth: int):
    data = _DATA.match(line.value[:1024])
    if data or line.encoding() == b"B":
        return _binary(line.value[data.end() :] if data else line.value, types)
    if line.name in _MEDIA:
        types -= {t for t in types if t.upper() in MEDIA_TYPES or b"/" in t}
    text = line.text(other_charset).replace("\r\n", "\n")
    if line.name in _STRUCTURED:
        parts = [p.decode() for p in split_escaped(text.encode())]
        if old:
            return tuple((unescape(p, True),) for p in parts)
        return tuple(
            tuple(unescape(c.decode()) for c in split_escaped(p.encode(), b",")) for p in parts
        )
    if line.name in _LISTS:
        items = (
            text.split(",") if old else [p.decode() for p in split_escaped(text.encode(), b",")]
        )
        return tuple(unescape(i, old) for i in items)
    if line.name == b"GEO":
        return tuple(re.findall(r"-?\d+(?:\.\d+)?", text))
    if line.name == b"AGENT" and "BEGIN:VCARD" in text.upper() and depth < _MAX_DEPTH:
        inner = [part.encode() for part in unescape(text).split("\n") if part]
        return canonical_card(inner[1:-1], depth + 1)
    text = unescape(text, old)
    if line.name in (b"BDAY", b"REV", b"ANNIVERSARY", b"DEATHDATE"):
        return text.replace("-", "").replace(":", "")
    if line.name == b"TEL":
        return re.sub(r"^tel:", "", text).replace(";ext=", " x")
    return text


def _binary(value: bytes, types: set[bytes]) -> tuple:
    """Hash of the data, or the text where it is no base64. The format is left out: it is told by
    the data, and versions name it differently."""
    types -= {t for t in types if t.upper() in MEDIA_TYPES or b"/" in t}
    text = b"".join(value.split())
    try:
        return "data", hashlib.sha256(a2b_base64(text)).hexdigest()
    except Error:
        return "data", text if not is_utf8(text) else text.decode()
