"""The worker: one process of real MicroPython that sweeps, replays and images on command.

argv: subject, file descriptor of commands, of results, then folders for sys.path. One JSON
object a line comes in; lines go out, their first character says what follows:
    #  JSON, the workload was traced: commands, states to expect, what goes where
    @  "path place/sector/key": about to boot this state
    ~  an equal state was booted before
    !  JSON, a failure: path, what, expected, found
    ?  JSON, not to be judged: why
    -  JSON, a line of a replay or the answer of another command
    =  JSON, the command is done
"""

import sys

sys.path[:0] = sys.argv[4:]

import builtins  # noqa: E402
import json  # noqa: E402

MICROPYTHON = sys.implementation.name == "micropython"


class Lines:
    """The two pipes; what a workload prints goes elsewhere."""

    def __init__(self, commands, results):
        self._in = open(commands)
        self._out = open(results, "w")
        if MICROPYTHON:
            builtins.print = _silent

    def read(self):
        return self._in.readline()

    def say(self, mark, value):
        self.line(mark + json.dumps(value))

    def line(self, text):
        self._out.write(text + "\n")
        if not MICROPYTHON:  # there it goes out at once, and a flush would be an fsync
            self._out.flush()


def _silent(*args, **keywords):
    return None


def serve(lines, subject_name):
    """Until the other side closes the pipe."""
    from drybag_host.rig.device import tasks
    from drybag_host.rig.device.subjects import open_subject

    try:
        subject = open_subject(subject_name)
    except Exception as error:
        why = str(error) if isinstance(error, ValueError) else "%s: %r" % (subject_name, error)
        lines.say("?", {"why": why, "fatal": True})
        return
    while True:
        text = lines.read()
        if not text:
            return
        job = json.loads(text)
        try:
            done = tasks.TASKS[job["do"]](subject, job, lines)
        except MemoryError as error:
            lines.say("?", {"why": "out of memory: %s" % error, "memory": True})
            done = {}
        except Exception as error:
            lines.say("?", {"why": "%s: %s" % (type(error).__name__, error)})
            done = {}
        lines.say("=", done or {})


if __name__ == "__main__":
    serve(Lines(int(sys.argv[2]), int(sys.argv[3])), sys.argv[1])
