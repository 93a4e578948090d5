"""vCard 2.1, 3.0 and 4.0 into one another, property by property.

Sources: vCard 2.1 (IMC), RFC 2426, RFC 6350. What one version lacks is kept under its name, as
unknown properties are: a reader has to ignore those, and coming back they are still there.
"""

import re

from drybag import records
from drybag.contentline import BadLine, Line, component, is_qp, param_values, parse, split_escaped
from drybag.linetext import decode, escape, is_utf8, unescape
from drybag_host.formats.inline import decode_base64
from drybag_host.formats.source import image_type

VERSIONS = ("3.0", "4.0")
MEDIA_TYPES = {
    b"JPEG": b"image/jpeg", b"JPG": b"image/jpeg", b"GIF": b"image/gif", b"PNG": b"image/png",
    b"BMP": b"image/bmp", b"TIFF": b"image/tiff", b"WEBP": b"image/webp", b"WAVE": b"audio/wav",
    b"WAV": b"audio/wav", b"PCM": b"audio/basic", b"AIFF": b"audio/aiff", b"MP3": b"audio/mpeg",
    b"X509": b"application/x-x509-user-cert", b"PGP": b"application/pgp-keys",
}  # fmt: skip
_FORMATS: dict[bytes, bytes] = {}
for _key, _value in MEDIA_TYPES.items():
    _FORMATS.setdefault(_value, _key)

_ENCODINGS = (b"QUOTED-PRINTABLE", b"BASE64", b"8BIT", b"7BIT", b"BINARY")
_STRUCTURED = (b"N", b"ADR", b"ORG")
_LISTS = (b"CATEGORIES", b"NICKNAME")
_TEXTS = (
    b"FN", b"NOTE", b"TITLE", b"ROLE", b"LABEL", b"MAILER", b"EMAIL", b"TEL", b"PRODID", b"CLASS",
    b"NAME", b"SORT-STRING",
)  # fmt: skip
_URIS = (b"URL", b"SOURCE", b"FBURL", b"CALURI", b"CALADRURI", b"IMPP", b"MEMBER", b"RELATED")
_PREFERRED = (b"TEL", b"EMAIL", b"ADR", b"LABEL", b"URL", b"IMPP")
_MEDIA = (b"PHOTO", b"LOGO", b"SOUND", b"KEY")
_DATES = (b"BDAY", b"REV", b"ANNIVERSARY", b"DEATHDATE")
_FULL_DATE = re.compile(rb"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d):(\d\d)(Z|[+-]\d\d:?\d\d)?)?$")
_DATA_URI = re.compile(rb"data:([^,;]*)((?:;[^,;]*)*);base64,", re.IGNORECASE)
_TEL_URI = re.compile(rb"tel:([+\d().\- ]+)(?:;ext=(\d+))?$", re.IGNORECASE)
_GEO_URI = re.compile(rb"geo:(-?[\d.]+),(-?[\d.]+)$", re.IGNORECASE)
_EMPTY_AGENT = re.compile(rb"(?:[^:;]+\.)?AGENT(?:;[^:]*)?:\s*$", re.IGNORECASE)
_URI = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*:")


def other_charset(name: str, data: bytes) -> str | None:
    """Charsets of vCard 2.1 that the shared code does not know, such as SHIFT_JIS."""
    try:
        return data.decode(name)
    except (LookupError, UnicodeError):
        return None


def utf8(line: bytes) -> bytes:
    """The line as UTF-8; one that is not is taken for Windows-1252."""
    return line if is_utf8(line) else decode(line).encode()


def version_of(lines: list[bytes]) -> str:
    """VERSION of a card; without one, what its lines look like."""
    depth = 0
    for line in lines:
        mark = component(line)
        depth += mark[0] if mark else 0
        if not mark and depth == 0 and records.line_name(line) == b"VERSION" and b":" in line:
            return line.partition(b":")[2].strip().decode("latin-1")
    return "2.1" if any(is_qp(line) or b";BASE64:" in line.upper() for line in lines) else "3.0"


def convert(lines: list[bytes], version: str, uid: bytes = b"") -> list[bytes]:
    """A card's lines (no outer BEGIN and END) in another version, "3.0" or "4.0".

    A card of that version already comes back as it is, but for the charset. Cards inside AGENT
    become text. A card without UID gets `uid`, by which a later import knows it again.
    """
    if version_of(lines) == version:
        return [utf8(line) for line in lines]
    frames: list[list[bytes]] = [[]]
    agents: list[list[tuple[int, bytes]]] = [[]]
    for line in lines:
        mark = component(line)
        if mark and mark[0] > 0:
            frames.append([])
            agents.append([])
        elif mark and len(frames) > 1:
            inner, within = frames.pop(), agents.pop()
            if mark[1] != b"VCARD":
                frames[-1].extend([b"BEGIN:" + mark[1], *inner, line])
                continue
            inner = _convert_flat(inner, within, version)
            text = b"\n".join([b"BEGIN:VCARD", *inner, b"END:VCARD", b""]).decode()
            if not frames[-1] or not _EMPTY_AGENT.match(frames[-1][-1]):
                frames[-1].append(b"AGENT:")
            agents[-1].append((len(frames[-1]) - 1, escape(text).encode()))
        else:
            frames[-1].append(line)
    while len(frames) > 1:  # a nested BEGIN without its END
        lost = frames.pop()
        agents.pop()
        frames[-1].extend(lost)
    out = _convert_flat(frames[0], agents[0], version)
    if uid and not any(records.line_name(line) == b"UID" for line in out):
        out.append((b"UID;VALUE=text:" if version == "4.0" else b"UID:") + uid)
    return out


def _convert_flat(
    lines: list[bytes], agents: list[tuple[int, bytes]], version: str
) -> list[bytes]:
    was = version_of(lines)
    inner = dict(agents)
    out: list[bytes] = []
    for i, line in enumerate(lines):
        try:
            parsed = parse(line)
        except BadLine:
            out.append(utf8(line))
            continue
        if parsed.name == b"VERSION" and not parsed.group:
            continue
        if i in inner:
            out.append(compose(Line(parsed.group, parsed.written, [], inner[i])))
            continue
        if was == "2.1":
            parsed = _from_old(parsed)
        if version == "4.0":
            parsed = _to_4(parsed)
        elif was == "4.0":
            parsed = _to_3(parsed)
        out.append(utf8(compose(parsed)))
    return [b"VERSION:" + version.encode(), *_required(out, version), *out]


def _required(lines: list[bytes], version: str) -> list[bytes]:
    """FN, and N in 3.0, where the card has none: made from what it has."""
    body = b"".join(line + b"\n" for line in lines)
    names = {records.line_name(line) for line in lines if b":" in line}
    title = records.title(1, body)
    made = []
    if b"FN" not in names:
        made.append(records.text_line(b"FN", title).rstrip(b"\n"))
    if b"N" not in names and version == "3.0":
        made.append(b"N:;" + escape(title).encode() + b";;;")
    return made


def compose(line: Line) -> bytes:
    """A Line as bytes again."""
    head = (line.group + b"." if line.group else b"") + line.written
    return b";".join([head, *line.raw_params]) + b":" + line.value


# --- from 2.1 --------------------------------------------------------------------------------


def _from_old(line: Line) -> Line:
    """A property of vCard 2.1 as one of 3.0."""
    params = []
    for key, raw in line.params():
        word = raw.upper()
        if key in (b"ENCODING", b"CHARSET") or (not key and word in _ENCODINGS):
            continue
        if (key or word) in (b"VALUE", b"INLINE", b"URL"):
            if word in (b"URL", b"URI"):
                params.append(b"VALUE=uri")
            elif word != b"INLINE":
                params.append(b"VALUE=" + raw)
            continue
        raw = utf8(raw.replace(b"\\;", b";"))
        if b'"' not in raw and (b":" in raw or b";" in raw):
            raw = b'"' + raw + b'"'
        params.append((key or b"TYPE") + b"=" + raw)
    if line.encoding() == b"B":
        params.insert(0, b"ENCODING=b")
        return Line(line.group, line.written, params, b"".join(line.value.split()))
    value = _old_value(line, line.text(other_charset).replace("\r\n", "\n").replace("\r", "\n"))
    return Line(line.group, line.written, params, value.encode())


def _old_value(line: Line, text: str) -> str:
    """The value of 3.0 that says what `text`, quoted-printable undone, says in 2.1."""
    if line.name in _TEXTS:
        return escape(unescape(text, True))
    if line.name in _STRUCTURED:
        parts = [p.decode() for p in split_escaped(text.encode())]
        return ";".join([escape(unescape(p, True)) for p in parts])
    if line.name in _LISTS:
        return ",".join([escape(unescape(p, True)) for p in text.split(",")])
    if line.name == b"GEO" and ";" not in text:
        return text.replace(",", ";")
    if line.name in (*_URIS, *_DATES, *_MEDIA, b"GEO", b"UID", b"TZ"):
        return text.replace("\n", "\\n")
    # unknown: separators stay, whatever they separate
    return re.sub(r"\\(?!;)", r"\\\\", text).replace("\n", "\\n")


# --- between 3.0 and 4.0 ---------------------------------------------------------------------


def _types(raw: bytes) -> list[bytes]:
    return [t for value in param_values(raw) for t in value.split(b",") if t]


def _plain_value(line: Line) -> bytes:
    """The value with quoted-printable and charset undone, both unlawful here but seen."""
    if line.encoding() == b"QUOTED-PRINTABLE" or line.first(b"CHARSET"):
        return line.text(other_charset).replace("\r\n", "\n").replace("\n", "\\n").encode()
    return line.value


def _to_4(line: Line) -> Line:
    """A property of 3.0 as one of 4.0."""
    binary = line.encoding() == b"B"
    media = binary or line.name in _MEDIA
    params: list[bytes] = []
    types: list[bytes] = []
    for (key, raw), whole in zip(line.params(), line.raw_params, strict=True):
        word = raw.upper()
        if key in (b"ENCODING", b"CHARSET") or (not key and word in _ENCODINGS):
            continue
        if key == b"VALUE" and word == b"BINARY":
            continue
        if key not in (b"", b"TYPE"):
            params.append(whole)
            continue
        values = _types(raw)
        rest = [t for t in values if t.lower() != b"pref"]
        if media:
            types.extend(rest)
        elif rest:
            params.append(whole if key and rest == values else _type_param(rest))
        if len(rest) < len(values) and b"PREF=1" not in params:
            params.append(b"PREF=1")
    value = _plain_value(line)
    if media:
        return _media_to_4(line, params, types, value, binary)
    if line.name == b"GEO":
        value = re.sub(rb"^(-?[\d.]+)\\?[;,](-?[\d.]+)$", rb"geo:\1,\2", value.strip())
    elif line.name in _DATES:
        value = _basic_date(value)
    elif line.name == b"UID" and not _URI.match(value) and not line.first(b"VALUE"):
        params.append(b"VALUE=text")
    elif line.name in _URIS:
        value = unescape(decode(value)).encode()
    elif not line.first(b"VALUE").upper().startswith(b"URI"):
        value = _tidy_escapes(value)
    return Line(line.group, line.written, params, value)


def _type_param(types: list[bytes]) -> bytes:
    text = b",".join(types)
    return b"TYPE=" + (b'"' + text + b'"' if len(types) > 1 else text)


def _media_to_4(
    line: Line, params: list[bytes], types: list[bytes], value: bytes, binary: bool
) -> Line:
    """PHOTO and its like: base64 becomes a data: URI, the format its media type."""
    known = next((MEDIA_TYPES[t.upper()] for t in types if t.upper() in MEDIA_TYPES), b"")
    known = known or next((t for t in types if b"/" in t), b"")
    rest = [t for t in types if t.upper() not in MEDIA_TYPES and b"/" not in t]
    if binary:
        value = b"".join(value.split())
        known = known or image_type(decode_base64(value[:64]) or b"").encode()
        value = b"data:" + (known or b"application/octet-stream") + b";base64," + value
        if line.name not in _MEDIA:
            params.append(b"VALUE=uri")
    else:
        value = unescape(decode(value)).encode()
        if known:
            params.append(b"MEDIATYPE=" + known)
    params.extend(b"TYPE=" + t for t in rest)
    return Line(line.group, line.written, params, value)


def _basic_date(value: bytes) -> bytes:
    found = _FULL_DATE.match(value.strip())
    if not found:
        return value
    year, month, day, hour, minute, second, zone = found.groups()
    date = year + month + day
    if hour is None:
        return date
    return date + b"T" + hour + minute + second + (zone or b"").replace(b":", b"")


def _tidy_escapes(value: bytes) -> bytes:
    r"""Escapes that 4.0 knows: \: and \" lose their backslash, \N becomes \n."""
    if b"\\" not in value:
        return value
    return re.sub(rb"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), value, flags=re.DOTALL)


_ESCAPES = {b":": b":", b'"': b'"', b"N": b"\\n"}


def _to_3(line: Line) -> Line:
    """A property of 4.0 as one of 3.0."""
    params: list[bytes] = []
    for (key, raw), whole in zip(line.params(), line.raw_params, strict=True):
        if key == b"TYPE":
            params.append(b"TYPE=" + b",".join(_types(raw)))
        elif key == b"PREF" and raw.strip(b'"') == b"1" and line.name in _PREFERRED:
            params.append(b"TYPE=pref")
        elif key == b"VALUE" and line.name == b"UID" and raw.lower() == b"text":
            continue
        else:
            params.append(whole)
    uri = _DATA_URI.match(line.value[:1024])
    if uri:
        return _data_to_3(line, params, uri)
    value = line.value
    if line.name in _MEDIA and not line.first(b"VALUE") and _URI.match(value):
        params.insert(0, b"VALUE=uri")
    if line.name in _MEDIA:
        params = [_format_param(p) for p in params]
    if line.name == b"TEL" and (tel := _TEL_URI.match(value)):
        value = tel[1] + (b" x" + tel[2] if tel[2] else b"")
        params = [p for p in params if p.upper() != b"VALUE=URI"]
    elif line.name == b"GEO" and (geo := _GEO_URI.match(value)):
        value = geo[1] + b";" + geo[2]
        params = [p for p in params if p.upper() != b"VALUE=URI"]
    return Line(line.group, line.written, params, value)


def _format_param(param: bytes) -> bytes:
    """MEDIATYPE=image/jpeg as TYPE=JPEG, where 3.0 has a word for it."""
    key, _, value = param.partition(b"=")
    if key.upper() == b"MEDIATYPE" and value.lower() in _FORMATS:
        return b"TYPE=" + _FORMATS[value.lower()]
    return param


def _data_to_3(line: Line, params: list[bytes], uri) -> Line:
    """A data: URI as inline base64."""
    media = uri[1].lower()
    kind = _FORMATS.get(media, uri[1])
    params = [p for p in params if p.upper() not in (b"VALUE=URI", b"MEDIATYPE=" + media.upper())]
    head = [b"ENCODING=b"]
    if kind and media != b"application/octet-stream":
        head.append(b"TYPE=" + kind)
    return Line(line.group, line.written, head + params, line.value[uri.end() :])
