"""The person's side of the line. The console's code is loaded when somebody types.

It stays until somebody else wants the room: a sync, or a computer.
"""

from drybag.port import const
from handset.memory import let_go

_TYPED_BYTES = const(128)
_LET_GO = ("handset.console", "handset.terminal")


class Person:
    """As a handset.console.Console that may be away. `app`: handset.app.App."""

    def __init__(self, app):
        self._app = app
        self._console = None
        self._remembered = None  # what a console that was let go knew
        self._typed = bytearray()  # while there was no room for the console

    def greet(self):
        self._load()
        self._console.greet()

    def key(self, c):
        """A byte that is no part of a frame."""
        if not self._typed and self._is_here():
            self._console.key(c)
        elif len(self._typed) < _TYPED_BYTES:
            self._typed.append(c)

    def step(self):
        """Go on with the command under way; False when there is none or it waits."""
        if not self._typed:
            return self._console is not None and self._console.step()
        if self._is_here():
            typed, self._typed = self._typed, bytearray()
            for c in typed:
                if not self._app.leaving:
                    self._console.key(c)
        return True

    @property
    def at_work(self):
        """A command is under way, or waits for a word."""
        return len(self._typed) > 0 or self._console is not None and self._console.at_work

    def rest(self, wholly):
        """Let go of code that can be loaded again; `wholly`: the console's own too."""
        console = self._console
        if console is None:
            return
        console.rest()
        if wholly and console.at_rest:
            self._remembered = console.remember()
            self._console = console = None
            let_go(_LET_GO)

    def _is_here(self):
        if self._console is None and self._app.has_room_for_console():
            self._load()
        return self._console is not None

    def _load(self):
        from handset.console import Console

        self._console = Console(self._app, self._remembered)
        self._remembered = None
