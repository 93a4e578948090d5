"""One id again: what happened, step by step; and the flash of that moment."""

from base64 import b64decode

from drybag_host.rig import ids
from drybag_host.rig.errors import BadRigId, CannotJudge
from drybag_host.rig.process import Worker

TITLES = {
    "operation": "operations", "cut": None, "command": None,
    "expected": "the oracle expects", "flash": "flash after the cut", "stage": None,
    "recovery": None, "reads": None, "recovery command": "flash commands of the recovery",
    "found": "found",
}  # fmt: skip


def ask(rig_id, do, **more):
    """Have a new worker do one thing with an id: (answers, what it said at the end).

    Raises CannotJudge, BadRigId for an id that does not fit this firmware.
    """
    job = {"do": do, "workload": rig_id.workload, "seed": rig_id.seed,
           "cuts": [list(cut) for cut in rig_id.cuts], **more}  # fmt: skip
    answers = []
    with Worker(rig_id.subject) as worker:
        for mark, value in worker.ask(job):
            if mark == "-":
                answers.append(value)
            elif mark == "?":
                if value["why"].startswith(("WrongCut", "ValueError")):
                    raise BadRigId(
                        value["why"].partition(": ")[2],
                        "run the campaign again: ids hold for the version that printed them",
                    )
                raise CannotJudge(value["why"], "does the workload run without any cut?")
            elif mark == "=":
                return answers, value
    raise CannotJudge("the worker said nothing")


def replay(word):
    """(steps: [{kind, text}], result: {"failure": what or None, "expected", "found"})."""
    return ask(ids.decode(word), "replay")


def flash_image(word, depth=None):
    """(bytes of the `pim` partition, {"sectors", "expects", "unstable"}) as the cut left it.

    `depth`: after so many of the id's cuts. Raises BadRigId, CannotJudge.
    """
    rig_id = ids.decode(word)
    if depth is not None and not 1 <= depth <= len(rig_id.cuts):
        raise BadRigId(
            "depth %d: the id has %d cuts" % (depth, len(rig_id.cuts)), "leave --depth out"
        )
    answers, result = ask(rig_id, "image", depth=depth)
    return b"".join(b64decode(answer["data"]) for answer in answers), result
