"""Finding text the way people type it: case and accents do not matter, nor how a number is spaced.

Table driven, because MicroPython's lower() knows ASCII only: Latin (with Extended-A, the letters
in use of Extended-B, and Extended Additional), Greek and Cyrillic, composed or with combining
marks. The tables are checked against Unicode in tests/shared/test_search.py. What no table knows
is compared as it is.
"""

from drybag.linetext import decode

# Base letters of U+00C0-U+0233 and U+1E00-U+1EFF; "?" where there is none or more than one.
_LATIN = (
    "aaaaaa?ceeeeiiiidnooooo?ouuuuy??aaaaaa?ceeeeiiiidnooooo?ouuuuy?yaaaaaaccccccccddddeeeeeeeeee"
    "gggggggghhhhiiiiiiiiii??jjkkkllllllllllnnnnnnnnnoooooo??rrrrrrsssssssstttttt"
    "uuuuuuuuuuuuwwyyyzzzzzzs????????????????????????????????oo?????????????uu????????????????????"
    "????????aaiioouuuuuuuuuu?aaaa????ggkkoooo??j???gg??nnaa??ooaaaaeeeeiiiioooorrrruuuusstt??hh"
    "??????aaeeooooooooyy"
)
_VIET = (
    "aabbbbbbccddddddddddeeeeeeeeeeffgghhhhhhhhhhiiiikkkkkkllllllllmmmmmmnnnnnnnnoooooooopppp"
    "rrrrrrrrssssssssssttttttttuuuuuuuuuuvvvvwwwwwwwwwwxxxxyyzzzzzzhtwy?s????"
    "aaaaaaaaaaaaaaaaaaaaaaaaeeeeeeeeeeeeeeeeiiiioooooooooooooooooooooooouuuuuuuuuuuuuuyyyyyyyy??????"
)
_SEVERAL = {
    "Æ": "ae", "æ": "ae", "Ǣ": "ae", "ǣ": "ae", "Ǽ": "ae", "ǽ": "ae", "Œ": "oe", "œ": "oe",
    "Þ": "th", "þ": "th", "ß": "ss", "\u1e9e": "ss", "Ĳ": "ij", "ĳ": "ij", "Ǆ": "dz", "ǅ": "dz",
    "ǆ": "dz", "Ǳ": "dz", "ǲ": "dz", "ǳ": "dz", "Ǉ": "lj", "ǈ": "lj", "ǉ": "lj", "Ǌ": "nj",
    "ǋ": "nj", "ǌ": "nj", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"',
    "\xa0": " ", "\u202f": " ", "\u2010": "-", "\u2011": "-", "\u2013": "-", "\u2014": "-",
}  # fmt: skip
# Lower-case letters with an accent, each followed by the letter without.
_PAIRS = "άαέεήηίιόούυώωΐιΰυϊιϋυςσѐеёейиѓгїіќкѝиўуѷѵӂжӑаӓаӗеӛәӝжӟзӣиӥиӧоӫөӭэӯуӱуӳуӵчӹы"
_GREEK_CAPITALS = "Άα·?ΈεΉηΊι??Όο??ΎυΏω"
_PLAIN = {_PAIRS[i]: _PAIRS[i + 1] for i in range(0, len(_PAIRS), 2)}
_PLAIN.update(_SEVERAL)
_PHONE = "0123456789+-()./ \t\xa0"
_MIN_DIGITS = 3


def _letter(c):
    """What one character outside ASCII becomes."""
    n = ord(c)
    if n < 0xC0 or 0x234 <= n < 0x300:
        return _PLAIN.get(c, c)
    if n < 0x234:
        base = _LATIN[n - 0xC0]
        return base if base != "?" else _PLAIN.get(c, c)
    if n < 0x370:
        return ""
    if n < 0x400:
        return _greek(c, n)
    if n < 0x530:
        return _cyrillic(n)
    if 0x1E00 <= n < 0x1F00:
        base = _VIET[n - 0x1E00]
        return base if base != "?" else _PLAIN.get(c, c)
    return _PLAIN.get(c, c)


def _greek(c, n):
    if 0x386 <= n <= 0x38F:
        return _GREEK_CAPITALS[(n - 0x386) * 2 + 1] if n not in (0x387, 0x38B, 0x38D) else c
    if 0x391 <= n <= 0x3AB and n != 0x3A2:
        c = chr(n + 32)
    return _PLAIN.get(c, c)


def _cyrillic(n):
    if n < 0x410:
        n += 80
    elif n < 0x430:
        n += 32
    elif 0x4C0 <= n <= 0x4CE:
        n = 0x4CF if n == 0x4C0 else n + (n & 1)
    elif n >= 0x48A or 0x460 <= n < 0x482:
        n |= 1 if n != 0x4CF else 0
    c = chr(n)
    return _PLAIN.get(c, c)


def fold(text):
    """`text` (str, or bytes that are decoded) in the one form in which texts are compared: str."""
    if not isinstance(text, str):
        text = decode(text)
    if not text or max(text) < "\x80":
        return text.lower()
    return "".join([c.lower() if c < "\x80" else _letter(c) for c in text])


def digits(text):
    """The digits of a telephone number without leading zeros and "(0)": "030 1-2" gives "3012"."""
    return "".join([c for c in text.replace("(0)", "") if "0" <= c <= "9"]).lstrip("0")


def same_number(wanted, number):
    """True if digits `wanted` are in `number`, or are `number` with a country code before it."""
    if len(wanted) < _MIN_DIGITS:
        return False
    return wanted in number or (len(number) >= 7 and wanted.endswith(number))


class Query:
    """A search text made ready once. Every word must be found somewhere in the record."""

    __slots__ = ("words", "number")

    def __init__(self, text):
        if not isinstance(text, str):
            text = decode(text)
        self.words = fold(text).split()
        self.number = ""
        for c in text:
            if c not in _PHONE:
                break
        else:
            self.number = digits(text)

    def matches(self, kind, body):
        """True if the record of this kind with this body is meant."""
        from drybag import bodies

        words = list(self.words)
        if not words:
            return True
        for is_number, text in bodies.texts(kind, body):
            if is_number and self.number and same_number(self.number, digits(text)):
                return True
            text = fold(text)
            words = [w for w in words if w not in text]
            if not words:
                return True
        return False


def match(query, kind, body):
    """True if the record is meant by `query`: str, bytes or a Query (once for many records)."""
    if not isinstance(query, Query):
        query = Query(query)
    return query.matches(kind, body)
