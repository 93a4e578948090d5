"""Becomes a worker: MicroPython in this process, which ends when its parent does.

argv: the parent's process id, heap in bytes, then the worker's script and its arguments.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main():
    parent, heap_bytes, *script = sys.argv[1:]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        return 1
    from micropython_run import run_main

    return run_main(["micropython", "-X", "heapsize=" + heap_bytes, *script])


if __name__ == "__main__":
    sys.exit(main())
