"""File names from what people typed: no path in them, none twice, none a system stumbles over."""

import re
import unicodedata

_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\u200e\u200f\u202a-\u202e\u2066-\u2069]+')
_RESERVED = re.compile(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$")
_MAX_BYTES = 120


def safe_name(text: str, suffix: str, used: set[str], fallback: str = "unnamed") -> str:
    """A file name for `text` with `suffix` (".md"); `used` remembers names, case aside."""
    stem = unicodedata.normalize("NFC", text)
    if suffix and stem.lower().endswith(suffix.lower()):
        stem = stem[: -len(suffix)]
    stem = " ".join(_UNSAFE.sub(" ", stem).split()).strip(" .~-")
    stem = stem.encode("utf-8", "ignore")[:_MAX_BYTES].decode("utf-8", "ignore").strip(" .")
    if not stem or _RESERVED.match(stem):
        stem = (fallback + " " + stem).strip()
    name = stem + suffix
    number = 2
    while unicodedata.normalize("NFKC", name).casefold() in used:
        name = "%s %d%s" % (stem, number, suffix)
        number += 1
    used.add(unicodedata.normalize("NFKC", name).casefold())
    return name
