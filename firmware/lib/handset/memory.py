"""Code that is not needed now leaves the heap; the next import loads it again."""

import gc
import sys

from drybag.port import MICROPYTHON

_WORD_BYTES = 8 if sys.maxsize > 0x7FFFFFFF else 4


def code_bytes(words):
    """Heap that code takes, which is almost all words of the processor: 4 bytes each, or 8."""
    return words * _WORD_BYTES


def let_go(names):
    """Forget these modules. Objects made of their classes must be gone, or they keep the code."""
    for name in names if MICROPYTHON else ():
        parent, _, child = name.rpartition(".")
        if sys.modules.pop(name, None) and hasattr(sys.modules[parent], child):
            delattr(sys.modules[parent], child)
    gc.collect()
