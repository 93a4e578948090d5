"""Passwords on their way in: from the environment or the terminal, never from the command line."""

import getpass
import os
import sys

from drybag_host.errors import Declined

__all__ = ["asked"]


def asked(question, variable, twice=False):
    """A password. Raises Declined where nobody can type it."""
    found = os.environ.get(variable)
    if found is not None:
        return found
    if not sys.stdin or not sys.stdin.isatty():
        raise Declined("%s: nobody is there to type it" % question, "put it into %s" % variable)
    while True:
        first = getpass.getpass(question + ": ")
        if not twice or first == getpass.getpass("again: "):
            return first
        sys.stderr.write("these differ, once more\n")
