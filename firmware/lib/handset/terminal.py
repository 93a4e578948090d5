"""A line editor on a serial terminal: echo, backspace, earlier lines, UTF-8. Pure, no waiting."""

from drybag.port import const

_MAX_LINE = const(512)
_EARLIER = const(8)
_ESC = const(27)


class Terminal:
    """`key` takes a byte and gives the line (str) when it is complete. `write(bytes)`."""

    def __init__(self, write):
        self._write = write
        self._line = bytearray()
        self.earlier = []
        self._at = 0
        self._escape = 0
        self._skip_lf = False
        self._prompt = b""
        self.hidden = False

    def say(self, text):
        """Print a line of text, its control characters left out."""
        self._write(clean(text).encode() + b"\r\n")

    def ask(self, prompt):
        """Show `prompt`; a new line begins."""
        self._prompt = prompt.encode()
        self._line = bytearray()
        self._at = len(self.earlier)
        self._write(self._prompt)

    @property
    def empty(self):
        return not self._line

    def key(self, c):
        """One byte typed. The finished line, or None."""
        if self._escape:
            self._in_escape(c)
        elif c == 10 and self._skip_lf:
            self._skip_lf = False
        elif c in (10, 13):
            self._skip_lf = c == 13
            return self._enter()
        elif c in (8, 127):
            self._rub_out(1)
        elif c == 21:
            self._replace(b"")
        elif c == 23:
            self._rub_word()
        elif c == _ESC:
            self._escape = 1
        elif c >= 32 or c == 9:
            self._add(32 if c == 9 else c)
        return None

    def remember(self, line):
        """`line` can be had again with the up key."""
        if line.strip() and (not self.earlier or self.earlier[-1] != line):
            self.earlier.append(line)
            if len(self.earlier) > _EARLIER:
                self.earlier.pop(0)

    def _enter(self):
        from drybag.linetext import decode

        line = decode(self._line)
        self._line = bytearray()
        self._write(b"\r\n")
        return line

    def _add(self, c):
        self._skip_lf = False
        if len(self._line) >= _MAX_LINE:
            self._write(b"\a")
            return
        self._line.append(c)
        if not self.hidden:
            self._write(bytes((c,)))

    def _rub_out(self, count):
        """Take `count` characters from the end, with all bytes of each."""
        line = self._line
        for _ in range(count):
            if not line:
                return
            n = 1
            while n < 4 and n < len(line) and line[-n] & 0xC0 == 0x80:
                n += 1
            self._line = line = line[:-n]
            if not self.hidden:
                self._write(b"\b \b")

    def _rub_word(self):
        text = bytes(self._line)
        kept = text.rstrip()
        kept = kept[: kept.rfind(b" ") + 1]
        self._rub_out(characters(text) - characters(kept))

    def _replace(self, new):
        self._rub_out(characters(self._line))
        self._line = bytearray(new)
        self._write(new)

    def _in_escape(self, c):
        """Keys that send ESC and more: up and down go through earlier lines, others do nothing."""
        if self._escape == 1:
            self._escape = 2 if c in b"[O" else 0
            return
        if 32 <= c < 64:
            return
        self._escape = 0
        if c in b"AB" and self.earlier:
            self._at = min(max(0, self._at + (-1 if c == 65 else 1)), len(self.earlier))
            if self._at < len(self.earlier):
                self._replace(self.earlier[self._at].encode())
            else:
                self._replace(b"")


def characters(data):
    """Characters in UTF-8 bytes, malformed ones counted somehow."""
    n = 0
    for c in data:
        if c & 0xC0 != 0x80:
            n += 1
    return n


def clean(text):
    """`text` without what would drive the terminal."""
    for c in text:
        if c < " " or "\x7f" <= c < "\xa0":
            return "".join([c if c >= " " and not "\x7f" <= c < "\xa0" else " " for c in text])
    return text


def cut(text, width):
    """At most `width` characters, with a mark where some are left out."""
    return text if len(text) <= width else text[: width - 2] + ".."


def pad(text, width):
    """Exactly `width` characters."""
    text = cut(text, width)
    return text + " " * (width - len(text))
