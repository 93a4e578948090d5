"""A board's console, wherever the board is; what else a board can do is its backend's."""

from .backends import open_console

open = open_console

__all__ = ["open", "open_console"]
