"""The machine's side of the console: frames in, frames out, one request at a time.

Nothing here waits: `frame` takes what has come, `step` does a little of the work that is under
way. The answers themselves are made in handset.verbs.
"""

from drybag import protocol as p
from drybag.frame import MAX_FROM_BOARD, OVERHEAD_BYTES, pack_into
from drybag.port import const

_PAYLOAD_AT = const(11)
_SLICE_MS = const(20)
_PARTIAL_MS = const(150)
_SIGN_OF_LIFE_MS = const(400)
_FORGET_MS = const(60000)
_MAX_WINDOW = const(64)
_MIN_CHUNK = const(64)


class Link:
    """`verbs.start(request)` gives a generator of pieces of the answer; None means "still at it".
    `verbs.failed(error)` makes of what it raises what the host is told.

    `write(bytes)`; `ticks_ms()`, `since_ms(ticks)`; `boot`: a number that differs from boot to
    boot. `remembered`: what a link that is no more knew of its session.
    """

    def __init__(self, verbs, write, ticks_ms, since_ms, boot, remembered=None):
        self._verbs = verbs
        self._write = write
        self._ticks_ms = ticks_ms
        self._since_ms = since_ms
        self.boot = boot
        self._request = bytearray(p.REQUEST_BYTES)
        self._out = bytearray(MAX_FROM_BOARD + OVERHEAD_BYTES)
        self._out_view = memoryview(self._out)
        self._small = bytearray(p.CACHED_REPLY_BYTES + OVERHEAD_BYTES)
        self.session = -1
        self.window = 4
        self.chunk_bytes = MAX_FROM_BOARD
        self._job = None
        self._forget()
        self._heard = ticks_ms()
        self._spoke = self._heard
        if remembered:
            self.session, self.window, self.chunk_bytes, self._ident, self._answer = remembered
            self._answered = self._ident

    def remember(self):
        """For a later link; only while no request is at work."""
        return self.session, self.window, self.chunk_bytes, self._ident, self._answer

    def _forget(self):
        """No request is under way, none was answered."""
        self._end_job()
        self._ident = self._answered = -1
        self._fill = self._next = 0
        self._sent = self._acked = self._chunk = 0
        self._answer = None

    def _end_job(self):
        job, self._job, self._piece = self._job, None, None
        if job is not None:
            job.close()

    def _drop(self):
        """Give the request up; the host that asks for it hears that it is not known."""
        self._end_job()
        self._answered, self._answer = self._ident, None

    @property
    def busy(self):
        """The verb under way, or 0."""
        return self._request[0] if self._job is not None else 0

    @property
    def waiting(self):
        """Work is under way, but the host must acknowledge chunks first."""
        return self._job is not None and (self._sent - self._acked) & 0xFFFF >= self.window

    # -- frames from the host -----------------------------------------------------------------
    def frame(self, f):
        """Take one frame: a drybag.frame.Decoder with event FRAME."""
        self._heard = self._ticks_ms()
        if f.kind & ~p.LAST == p.REQUEST:
            if f.index == 0 and len(f.payload) and f.payload[0] == p.HELLO:
                if f.session != self.session:
                    self._forget()
                    self.session = f.session
            if f.session == self.session:
                self._fragment(f)
                return
        if f.session != self.session:
            error = p.NoSession("this handset was restarted, or another program spoke to it")
            error.boot = self.boot
            self._reply(p.ERROR, f.ident, 0, p.pack_error(error), f.session)
        elif f.kind in (p.ACK, p.ASK):
            self._acknowledged(f)
        elif f.kind == p.CANCEL and f.ident == self._ident:
            self._drop()

    def _fragment(self, f):
        ident = f.ident
        if ident == self._answered and self._answer is not None:
            self._reply(self._answer[0], ident, 0, self._answer[1])
            return
        newer = self._ident < 0 or 0 < (ident - self._ident) & 0xFF < 128
        if f.index == 0 and (newer or ident == self._answered):
            self._end_job()
            self._ident, self._answered = ident, -1
            self._fill = self._next = 0
        elif ident != self._ident:
            if newer:
                self._reply(p.GOT, ident, 0)
            return
        wanted = f.index == self._next and self._job is None and ident != self._answered
        if wanted:
            n = len(f.payload)
            if self._fill + n > len(self._request):
                self._fail(p.BadRequest("a request of more than %d bytes" % len(self._request)))
                return
            self._request[self._fill : self._fill + n] = f.payload
            self._fill += n
            self._next += 1
        self._reply(p.GOT, ident, self._next)
        if wanted and f.kind & p.LAST:
            self._begin()

    def _acknowledged(self, f):
        """ACK, or ASK which also wants to know how things stand."""
        at_work = self._job is not None and f.ident == self._ident
        if at_work and (f.index - self._acked) & 0xFFFF < 0x8000:
            self._acked = f.index
        if f.kind != p.ASK:
            return
        if f.ident == self._answered and self._answer is not None:
            self._reply(self._answer[0], f.ident, 0, self._answer[1])
        elif at_work:
            waits = (self._sent - self._acked) & 0xFFFF >= self.window
            self._reply(p.STATE, f.ident, p.LOST if waits else p.WORKING)
        elif f.ident == self._ident and f.ident != self._answered:
            self._reply(p.GOT, f.ident, self._next)
        else:
            self._reply(p.STATE, f.ident, p.UNKNOWN)

    # -- frames to the host -------------------------------------------------------------------
    def _reply(self, kind, ident, index, data=b"", session=None):
        """A frame of its own, beside the chunk that is being filled."""
        session = self.session if session is None else session
        self._small[_PAYLOAD_AT : _PAYLOAD_AT + len(data)] = data
        size = pack_into(self._small, kind, ident, session, index, len(data))
        self._write(memoryview(self._small)[:size])
        self._spoke = self._ticks_ms()

    def _send_chunk(self, kind):
        index = self._sent & 0xFFFF
        size = pack_into(self._out, kind, self._ident, self.session, index, self._chunk)
        self._write(self._out_view[:size])
        self._spoke = self._ticks_ms()
        self._sent += 1
        self._chunk = 0

    # -- the work -----------------------------------------------------------------------------
    def _begin(self):
        self._sent = self._acked = self._chunk = 0
        request = memoryview(self._request)[: self._fill]
        try:
            if request[0] == p.HELLO:
                _, _, window, chunk, _ = p.parse_hello(request)
                self.window = min(max(1, window), _MAX_WINDOW)
                self.chunk_bytes = min(max(_MIN_CHUNK, chunk), MAX_FROM_BOARD)
            self._job = self._verbs.start(request)
        except Exception as error:
            self._fail(error)

    def step(self):
        """A little of the work; False when there is none to do now."""
        if self._job is None:
            return False
        if self.waiting:
            if self._since_ms(self._heard) > _FORGET_MS:
                self._drop()
            return False
        began = self._ticks_ms()
        try:
            while self._since_ms(began) < _SLICE_MS:
                if self._fill_chunk():
                    return True
            self._sign_of_life()
        except StopIteration:
            self._finish()
        except Exception as error:
            self._fail(error)
        return True

    def _fill_chunk(self):
        """Advance the answer by one piece. True if a chunk went out. Raises StopIteration."""
        if self._piece is None:
            piece = next(self._job)
            if piece is None:
                return False
            self._piece = memoryview(piece)
        n = min(len(self._piece), self.chunk_bytes - self._chunk)
        at = _PAYLOAD_AT + self._chunk
        self._out_view[at : at + n] = self._piece[:n]
        self._chunk += n
        self._piece = self._piece[n:] if n < len(self._piece) else None
        if self._chunk < self.chunk_bytes:
            return False
        self._send_chunk(p.CHUNK)
        return True

    def _finish(self):
        self._end_job()
        self._answered = self._ident
        self._answer = None
        if self._sent == 0 and self._chunk <= p.CACHED_REPLY_BYTES and self._request[0] != p.HELLO:
            data = bytes(self._out_view[_PAYLOAD_AT : _PAYLOAD_AT + self._chunk])
            self._answer = (p.CHUNK | p.LAST, data)
        self._send_chunk(p.CHUNK | p.LAST)

    def _fail(self, error):
        """The request ends with an error; what was gathered for the host goes out before it."""
        self._end_job()
        error = self._verbs.failed(error)
        if self._chunk:
            self._send_chunk(p.CHUNK)
        data = p.pack_error(error)
        self._answered = self._ident
        self._answer = (p.ERROR, data) if not self._sent else None
        self._reply(p.ERROR, self._ident, self._sent & 0xFFFF, data)

    def _sign_of_life(self):
        """Work takes its time: send what there is, or at least say so."""
        quiet_ms = self._since_ms(self._spoke)
        if self._chunk and quiet_ms > _PARTIAL_MS:
            self._send_chunk(p.CHUNK)
        elif quiet_ms > _SIGN_OF_LIFE_MS:
            self._reply(p.STATE, self._ident, p.WORKING)
