"""The half of the rig that runs in real MicroPython (and, for its tests, in CPython)."""
