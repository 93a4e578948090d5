"""Does the rig catch anything? Known-bad variants of journal and sync: each must be caught.

A variant is caught when a state of its workload fails (or the workload itself does, uncut) and
the journal as it is holds in the very same state: so it is the patch that was caught.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

from drybag_host.errors import Usage
from drybag_host.rig import ids
from drybag_host.rig.campaign import processors
from drybag_host.rig.device import variants
from drybag_host.rig.errors import RigFailed
from drybag_host.rig.jobs import CUTS, Job
from drybag_host.rig.process import Worker

CAUGHT, MISSED, NOT_JUDGED = 0, 1, 3
_SEED = 1
_BEFORE_ALL = "0c1"  # the state that is as the swept part found it


@dataclass
class Row:
    """One variant, of `part` "journal" or "sync". `id`: the state that caught it, after `states`;
    uncut: "" and 0."""

    variant: str
    part: str
    what: str
    workload: str
    caught: bool = False
    id: str = ""
    states: int = 0
    failure: str = ""
    not_judged: str = ""


def names(wanted=None):
    """The variants to run. Raises Usage for one that does not exist."""
    for name in wanted or ():
        if name not in variants.VARIANTS:
            raise Usage("no variant '%s'" % name, "there are " + ", ".join(variants.VARIANTS))
    return list(wanted or variants.VARIANTS)


def run_gate(wanted=None, workers=None, on_row=None):
    """Run the gate; returns its rows in the order of the variants. `on_row(row)` as they come."""

    def one(name):
        row = try_variant(name)
        if on_row:
            on_row(row)
        return row

    with ThreadPoolExecutor(workers or processors()) as pool:
        return list(pool.map(one, names(wanted)))


def exit_code(rows):
    """0 every variant was caught, 1 one was not, 3 one could not be judged."""
    if any(row.not_judged for row in rows):
        return NOT_JUDGED
    return CAUGHT if all(row.caught for row in rows) else MISSED


def try_variant(name):
    """Sweep the variant's workload until its first failure, and hold the journal against it."""
    workload, part = variants.WORKLOADS[name]
    row = Row(name, variants.part_of(name), variants.describe(name), workload)
    try:
        path, row.failure = _first_failure(row, Job(
            workload, _SEED, part=part, letters=variants.LETTERS.get(name, CUTS),
            failures=1))  # fmt: skip
        if row.failure:
            row.caught = _journal_holds(workload, path or _BEFORE_ALL)
            if path:
                row.id = ids.of_path("variant:" + name, workload, _SEED, path)
            if not row.caught:
                row.not_judged = "the journal itself fails there too"
    except RigFailed as error:
        row.not_judged = str(error)
    return row


def _first_failure(row, job):
    """(path, what) of the first state that fails, ("", what) if the uncut workload does, ("", "")
    if all holds. Counts states in `row`."""
    with Worker("variant:" + row.variant) as worker:
        found = "", ""
        for mark, value in worker.ask(job.command()):
            if mark == "@":
                row.states += 1
            elif mark == "!":
                found = value["path"], value["what"]
            elif mark == "?":
                if "without any cut" not in value["why"]:
                    raise RigFailed(value["why"])
                found = "", "wrong without any cut"
        return found


def _journal_holds(workload, path):
    """True if the journal, not patched, holds in that state of the same workload."""
    cuts = ids.decode(ids.of_path("journal", workload, _SEED, path)).cuts
    with Worker("journal") as worker:
        job = {"do": "replay", "workload": workload, "seed": _SEED, "cuts": cuts}
        for mark, value in worker.ask(job):
            if mark == "?":
                return False
            if mark == "=":
                return value["failure"] is None
    return False


def title(rows):
    """What the table says above it."""
    parts = [part for part in ("journal", "sync") if any(row.part == part for row in rows)]
    return "Known-bad variants of " + " and ".join(parts)


def table(rows):
    """(columns, rows) for a table: variant, of what, caught by, after how many states, how."""
    cells = []
    for row in rows:
        if row.caught:
            where = row.id or "workload " + row.workload
        else:
            where = row.not_judged or "NOT CAUGHT"
        cells.append((row.variant, row.part, where, "{:,}".format(row.states), row.failure))
    return ("variant", "of", "caught by", ">states", "as"), cells


def document(rows):
    """The rows as JSON."""
    return {"variants": [asdict(row) for row in rows], "exit_code": exit_code(rows)}
