"""Code that is not needed now leaves the heap; the next import loads it again."""

import gc
import sys

from drybag.port import MICROPYTHON


def let_go(names):
    """Forget these modules. Objects made of their classes must be gone, or they keep the code."""
    for name in names if MICROPYTHON else ():
        parent, _, child = name.rpartition(".")
        if sys.modules.pop(name, None) and hasattr(sys.modules[parent], child):
            delattr(sys.modules[parent], child)
    gc.collect()
