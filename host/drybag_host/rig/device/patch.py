"""Attributes replaced for a while: how the known-bad variants change the journal in memory."""


class Patch:
    """Keeps what it replaces. Use `set` any number of times, then `undo` once."""

    def __init__(self):
        self._kept = []

    def set(self, owner, name, value):
        """Replace attribute `name` of a class or module; returns what was there."""
        old = getattr(owner, name)
        self._kept.append((owner, name, old))
        setattr(owner, name, value)
        return old

    def undo(self):
        """Put everything back, last replaced first."""
        while self._kept:
            setattr(*self._kept.pop())
