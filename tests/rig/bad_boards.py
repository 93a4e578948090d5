"""Boards for campaigns: the command line's arguments, and firmware with faults of its own."""

import argparse
import io

from drybag_host.output import Output
from drybag_host.rig import boards_options

FORGETFUL = b"""\
import handset.verbs as verbs
real, held = verbs._apply, []
def late(journal, ops):
    seq = journal.last_seq + len(ops)
    if held:
        real(journal, held.pop())
        seq += 1
    held.append(ops)
    return seq
verbs._apply = late
"""


ONCE = b"""\
import gc
gc.threshold(4096)  # as main.py: the heap must not be scattered by what is loaded first
import os
import machine
import drybag.journal
from drybag.errors import NotMountable
real = drybag.journal.mount
def mount(*args):
    if "seen" in os.listdir("/") and machine.reset_cause() == machine.PWRON_RESET:
        raise NotMountable("torn to pieces")
    open("/seen", "w").close()
    return real(*args)
drybag.journal.mount = mount
"""


def parsed(*words):
    parser = argparse.ArgumentParser()
    boards_options.add_arguments(parser)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--report")
    args = parser.parse_args([*words])
    args.out = Output(stdout=io.StringIO(), stderr=io.StringIO())
    args.tool_version = lambda: "test"
    return args


def said(args):
    return args.out.stdout.getvalue() + args.out.stderr.getvalue()
