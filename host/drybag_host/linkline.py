"""The host's end of the frame protocol on a console: sessions, requests, retries, waking a board.

`Line` sends one request at a time and gives its answer, however often frames must be sent again;
what the requests mean is `drybag_host.link`'s. SPEC.md "Frames" and "Messages".
"""

import contextlib
import secrets
import time

from drybag import errors, framehost
from drybag import protocol as p
from drybag import protocolhost as ph
from drybag.frame import MAX_FROM_BOARD, TO_BOARD, WINDOW_BYTES
from drybag_host.errors import (
    BoardRebooted,
    LinkError,
    LinkLost,
    LinkTimeout,
    NotAHandset,
    PortBusy,
)
from drybag_host.flash_errors import BootLoop, ReplTaken

PATIENCE_S = 12.0
WINDOW_CHUNKS = 8
_LEAST_CHUNK_BYTES = 128
_ECHO_BYTES = 6  # the marker, kind, ident, session: no other frame begins so
_ASK_AFTER_S = 0.3
_ASK_AT_MOST_S = 2.0
_FRAGMENT_BYTES = 100
_BOOT_S = 10.0
_BUSY_S = 60.0  # a handset that says so has a sync to end first: at most 34 s
_HELLO_WAITS_S = (0.25, 0.35, 0.6, 0.8, 1.5, 1.5)  # a first boot formats: up to 3 s
_LAST_WAITS_S = (0.5, 1.0, 1.5, 1.5, 1.5)  # in all over 10 s: at another speed till then
_BOOT_TRIES = 60
_BOOT_WORDS = (b"rst:", b"boot:", b"entry 0x", b"soft reboot", b"load:", b"opens the journal")
_LOOP_WORDS = (b"rst:0x", b"invalid header")
_LOOP_TIMES = 4
_OF_ITSELF_S = 0.5
_IN_LOADER = b"waiting for download"
_REPL = b">>> "
_PROMPT_LINE = b"\r\n>>> "
_RAW_REPL = b"raw REPL; CTRL-B"
_ACK_EVERY = 2
_GAP_S = 0.1


class Broken(Exception):
    """A stream lost a piece, or another request came in between: ask for the rest anew."""


class Line:
    """One handset at the far end of `console`: read(timeout_s) -> bytes, write(bytes), name."""

    def __init__(self, console, patience_s=PATIENCE_S):
        self.console = console
        self.name = getattr(console, "name", None) or "the port"
        self._pace = getattr(console, "pace", 1.0)  # all patience is for a board of metal
        self.patience_s = patience_s * self._pace
        self.deadline = float("inf")  # for answers that come again and again, but never whole
        self.boot = None
        self.resent = 0
        self.chunk_bytes = MAX_FROM_BOARD
        self._ident = secrets.randbelow(256)
        self._decoder = None
        self._echo = bytes((TO_BOARD,))
        self._new_session()
        self._heard = time.monotonic()

    def _new_session(self):
        self.session = secrets.randbelow(0x10000)
        damaged = self._decoder.damaged if self._decoder else 0
        self._decoder = framehost.RawDecoder(self.session)
        self._decoder.damaged = damaged

    def hello(self, now=0):
        """The request HELLO, with the window and the chunks that this line stands."""
        return ph.hello(WINDOW_CHUNKS, now, self.chunk_bytes)

    def shorter_chunks(self):
        """After noise: chunks of half the length, if they are not short already. True if so."""
        if self.chunk_bytes <= _LEAST_CHUNK_BYTES:
            return False
        self.chunk_bytes //= 2
        self.deadline = time.monotonic() + self.patience_s
        try:
            with contextlib.suppress(Broken):  # what is lost is the answer
                self.request(self.hello())
        finally:
            self.deadline = float("inf")
        return True

    @property
    def damaged(self):
        """Frames whose header was sound and whose CRC was not, so far."""
        return self._decoder.damaged

    @property
    def said(self):
        """The last line of text that came from the board, for messages; "" if there is none."""
        for line in reversed(bytes(self._decoder.text).splitlines()):
            text = "".join(chr(c) if 32 <= c < 127 else " " for c in line).strip()
            if len(text) > 2:
                return text[-80:]
        return ""

    # -- bytes and frames ---------------------------------------------------------------------
    def _write(self, data):
        try:
            self.console.write(data)
        except OSError as error:
            raise LinkLost("%s: the connection is gone: %s" % (self.name, error)) from None

    def _read(self, timeout_s):
        try:
            return self.console.read(max(0.0, timeout_s)) or b""
        except OSError as error:
            raise LinkLost("%s: the connection is gone: %s" % (self.name, error)) from None

    def _frames(self, timeout_s):
        """Frames of this session that come within the time; maybe none."""
        data = self._read(timeout_s)
        if data:
            frames = self._decoder.feed(data)
        else:
            frames = self._decoder.idle() if timeout_s > _GAP_S else []
        if frames:
            self._heard = time.monotonic()
        return frames

    def _send(self, kind, ident, index, payload=b""):
        data = framehost.pack_stuffed(kind, ident, self.session, index, payload)
        self._echo = bytes(data[:_ECHO_BYTES])
        self._write(data)
        return len(data)

    def close(self):
        self.console.close()

    # -- requests -----------------------------------------------------------------------------
    def request(self, data):
        """The whole answer to a request that has one chunk. Raises the handset's own error."""
        return b"".join(self._answer(self._next_ident(), data, True))

    def stream(self, data):
        """The chunks of an answer of any length. Raises Broken where one is missing."""
        ident = self._next_ident()
        done = False
        try:
            yield from self._answer(ident, data, False)
            done = True
        except (errors.DrybagError, Broken):
            done = True
            raise
        finally:
            if not done and ident == self._ident:
                with contextlib.suppress(LinkError):
                    self._send(p.CANCEL, ident, 0)

    def _next_ident(self):
        self._ident = (self._ident + 1) & 0xFF
        return self._ident

    def _answer(self, ident, data, once):
        """Send a request and give the chunks of its answer.

        `once`: it must be carried out only once, so it is sent again under the same number, and
        the handset knows it. A stream is begun anew by the caller instead.
        """
        sender = _Sender(self, ident, data)
        self._decoder.text.clear()
        expected = 0
        asked_s = _ASK_AFTER_S
        quiet_since = self._heard = time.monotonic()
        while True:
            sender.send()
            frames = self._frames(quiet_since + asked_s - time.monotonic())
            if ident != self._ident:
                raise Broken
            for frame in frames:
                kind, number, _, index, payload = frame
                if number != ident:
                    continue
                quiet_since, asked_s = time.monotonic(), _ASK_AFTER_S
                if kind == p.GOT:
                    sender.got(index)
                elif kind == p.ERROR:
                    self._error(payload, index, expected)
                elif kind & ~p.LAST == p.CHUNK:
                    if 0 < (expected - index) & 0xFFFF < 0x8000:
                        continue
                    if index != expected & 0xFFFF:
                        raise Broken
                    sender.finish()
                    expected += 1
                    if expected % _ACK_EVERY == 0 and not kind & p.LAST:
                        self._send(p.ACK, ident, expected & 0xFFFF)
                    yield payload
                    if kind & p.LAST:
                        return
                    if ident != self._ident:
                        raise Broken
                    quiet_since = self._heard = time.monotonic()
                elif kind == p.STATE and index == p.UNKNOWN:
                    if not once or expected:
                        raise Broken
                    sender.restart()
                elif kind == p.STATE and index == p.LOST:
                    raise Broken
            if time.monotonic() - quiet_since >= asked_s:
                self._nudge(sender, ident, expected)
                quiet_since = time.monotonic()
                asked_s = min(2 * asked_s, _ASK_AT_MOST_S)

    def _nudge(self, sender, ident, expected):
        """Nothing came for a while: send again, or ask how things stand. Raises LinkTimeout."""
        silent_s = time.monotonic() - self._heard
        if _PROMPT_LINE in self._decoder.text:
            raise BoardRebooted(
                "%s: the handset's application has stopped%s" % (self.name, self._last_words())
            )
        if silent_s > self.patience_s or time.monotonic() > self.deadline:
            raise LinkTimeout(
                "%s: no answer for %d s%s" % (self.name, silent_s, self._what_it_said())
            )
        self.resent += 1
        if not sender.resend():
            self._send(p.ASK, ident, expected & 0xFFFF)

    def _last_words(self):
        """What came in front of the prompt."""
        text = self._decoder.text
        del text[text.rindex(_PROMPT_LINE) :]
        return "; it said: %s" % self.said if self.said else ""

    def _what_it_said(self):
        said = self.said if self.boot is None else ""
        return "; it said: %s" % said if said else ""

    def _error(self, payload, index, expected):
        """Raise what an ERROR frame says; Broken if a chunk before it is missing."""
        name, message, number = ph.parse_error(payload)
        if name == "NoSession":
            if self.boot is not None and number != self.boot:
                raise BoardRebooted("%s: the handset restarted" % self.name)
            raise PortBusy("%s: another program has spoken to the handset meanwhile" % self.name)
        if index != expected & 0xFFFF:
            raise Broken
        kind = getattr(errors, name, None) or getattr(p, name, None)
        if not (isinstance(kind, type) and issubclass(kind, errors.DrybagError)):
            kind = errors.DrybagError
        raise kind(message, number) if kind is errors.NoSpace else kind(message)

    # -- finding the handset ------------------------------------------------------------------
    def connect(self, now=0):
        """Begin a session; gives the raw answer to HELLO. Wakes a board that is at the REPL.

        `now`: seconds since 2000 for a handset that does not know the time. Raises NotAHandset,
        ReplTaken, BootLoop, LinkTimeout, LinkLost.
        """
        before = b""
        answer = self._try_hello(now, _HELLO_WAITS_S)
        if answer is None and (self._is_booting() or self._decoder.damaged):
            answer = self._try_hello(now, (0.5,) * _BOOT_TRIES)
        if answer is None and not self._is_looping():
            before = bytes(self._decoder.text)
            self._decoder.text.clear()
            self._knock()
            if not self._at_repl():
                answer = self._try_hello(now, _LAST_WAITS_S)
            if answer is None and self._at_repl():  # one that was slow to open ends now
                answer = self._start_application(now)
        if answer is None:
            self._explain(before)
        return answer

    def _explain(self, before):
        """Raise what no answer means; `before`: what was said before we knocked."""
        since = bytes(self._decoder.text)
        self._decoder.text = bytearray(before + b"\n" + since)
        if self._is_looping():
            raise BootLoop("%s: the board starts again and again: %s" % (self.name, self.said))
        if _IN_LOADER in self._decoder.text:
            raise NotAHandset(
                "%s: the chip waits in its ROM loader" % self.name, "press its RESET button"
            )
        if since and not self._at_repl():
            self._decoder.text.clear()
            self._listen(_OF_ITSELF_S)
            if self.said:  # nobody asked: neither a login nor a modem does that
                raise ReplTaken(
                    "%s: another program runs there and keeps the console; it said: %s"
                    % (self.name, self.said)
                )
            self._decoder.text = bytearray(before + b"\n" + since)
        if self.said:
            raise NotAHandset("%s: no handset; it said: %s" % (self.name, self.said))
        raise LinkTimeout("%s: nothing answers" % self.name)

    def _try_hello(self, now, waits_s):
        """The answer to HELLO, or None. A REPL that shows itself ends the waiting.

        `waits_s`: of a board; one that is slower gets more.
        """
        waits = list(waits_s)
        busy_until = time.monotonic() + _BUSY_S * self._pace
        while waits:
            wait_s = waits.pop(0)
            text = self._decoder.text
            self._new_session()
            self._decoder.text = text
            ident = self._next_ident()
            self._send(p.REQUEST | p.LAST, ident, 0, self.hello(now))
            answer, is_busy = self._hello_answer(ident, wait_s * self._pace)
            if answer is not None or self._at_repl() or self._is_looping():
                return answer
            if is_busy and time.monotonic() < busy_until:
                waits.insert(0, wait_s)
            if self._decoder.damaged:
                self.chunk_bytes = max(_LEAST_CHUNK_BYTES, self.chunk_bytes // 2)
        return None

    def _hello_answer(self, ident, wait_s):
        """(the answer or None, whether the handset said that it is at work)."""
        is_busy = False
        deadline = time.monotonic() + wait_s
        parts = []
        while time.monotonic() < deadline and not self._at_repl():
            for kind, number, _, index, payload in self._frames(deadline - time.monotonic()):
                if number == ident and kind == p.STATE:
                    is_busy = is_busy or index == p.WORKING
                if number != ident or index != len(parts):
                    continue
                if kind == p.ERROR:
                    self._error(payload, 0, 0)
                if kind & ~p.LAST == p.CHUNK:
                    parts.append(payload)
                    if kind & p.LAST:
                        return b"".join(parts), False
        return None, is_busy

    def _at_repl(self):
        """A prompt of MicroPython is the last that came, or it echoes our frames."""
        text = self._decoder.text
        last = bytes(text[-64:])
        return last.endswith(_REPL) or _RAW_REPL in last or self._echo in text

    def _is_booting(self):
        return any(word in self._decoder.text for word in _BOOT_WORDS)

    def _is_looping(self):
        """The ROM has started the chip, or refused to, several times while we listened."""
        return any(self._decoder.text.count(word) >= _LOOP_TIMES for word in _LOOP_WORDS)

    def _listen(self, wait_s):
        deadline = time.monotonic() + wait_s * self._pace
        while not self._at_repl() and time.monotonic() < deadline:
            self._frames(deadline - time.monotonic())

    def _knock(self):
        """Interrupt what runs and leave a raw REPL; a prompt shows where we are."""
        for keys, wait_s in ((b"\x03", 0.5), (b"\x03\x02", 1.0), (b"\r", 0.5)):
            self._forget_echo()
            self._write(keys)
            self._listen(wait_s)
            if self._at_repl():
                return

    def _forget_echo(self):
        """Keep what was said, but for the signs of a REPL."""
        text = self._decoder.text
        self._decoder.text = text.replace(self._echo, b"").replace(_RAW_REPL, b"") + b"\n"

    def _start_application(self, now):
        """From the REPL: soft reset, so that main.py runs. Raises NotAHandset if it does not."""
        self._decoder.text.clear()
        self._write(b"\x03\x02\x04")
        deadline = time.monotonic() + _BOOT_S * self._pace
        prompts = 0
        while time.monotonic() < deadline:
            self._listen(0.05)
            if self._at_repl() and self._is_booting():
                prompts += 1
                if prompts > 3:
                    raise NotAHandset(
                        "%s: MicroPython without Drybag; it said: %s" % (self.name, self.said)
                    )
                time.sleep(0.1)
            self._forget_echo()
            answer = self._try_hello(now, (0.3,))
            if answer is not None:
                return answer
        return None


class _Sender:
    """The fragments of one request on their way: at most WINDOW_BYTES unacknowledged."""

    def __init__(self, line, ident, data):
        self._line = line
        self._ident = ident
        self._frames = list(_fragments(line.session, ident, data))
        self._acked = self._next = 0
        self._rewound_at = -1

    @property
    def finished(self):
        return self._acked >= len(self._frames)

    def finish(self):
        """The answer comes, so the request is there."""
        self._acked = self._next = len(self._frames)

    def restart(self):
        """The handset does not know of the request."""
        self._acked = self._next = 0
        self._rewound_at = -1

    def send(self):
        """What the window allows."""
        flying = sum(map(len, self._frames[self._acked : self._next]))
        while self._next < len(self._frames):
            frame = self._frames[self._next]
            if flying and flying + len(frame) > WINDOW_BYTES:
                return
            self._line._write(frame)
            flying += len(frame)
            self._next += 1

    def got(self, index):
        """The handset has the fragments before `index`."""
        if index > self._acked:
            self._acked = min(index, len(self._frames))
            self._next = max(self._next, self._acked)
        elif index < self._next and not self.finished and self._rewound_at != index:
            self._rewound_at = index
            self._acked = self._next = index
            self._line.resent += 1

    def resend(self):
        """Send the unacknowledged ones again; False if there are none."""
        if self.finished:
            return False
        self._next = self._acked
        return True


def _fragments(session, ident, data):
    """The frames of a request; one if it fits the window."""
    whole = framehost.pack_stuffed(p.REQUEST | p.LAST, ident, session, 0, data)
    if len(whole) <= WINDOW_BYTES:
        yield whole
        return
    at = index = 0
    while at < len(data):
        n = framehost.fitting(data, at, _FRAGMENT_BYTES)
        kind = p.REQUEST | (p.LAST if at + n >= len(data) else 0)
        yield framehost.pack_stuffed(kind, ident, session, index, data[at : at + n])
        at += n
        index += 1
