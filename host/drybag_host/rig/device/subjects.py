"""Subjects of the rig by name: `journal`, `variant:NAME`, `app:PATH`.

A subject has `name`, `full` (exceptions that mean "no room"), `workload(name, seed)` (a
Workload; ValueError for an unknown one), `oracle()` (with `copy`, `revision`, `mark`),
`place(memory, op, addr, data)` and `user(chip, oracle)`: `boot`, `do(op)`, `judge(deep)`,
`judge_damaged()`, `probe(rng)`, `more(rng)`, `notes()`.
"""

from drybag_host.rig.device import ops


def open_subject(name):
    """The subject of that name; a variant patches the journal in this process for good.

    Raises ValueError where there is none.
    """
    what, _, rest = name.partition(":")
    if what == "app":
        from drybag_host.rig.device.app_subject import AppSubject

        return AppSubject(rest)
    if what == "variant":
        from drybag_host.rig.device import variants

        variants.apply(rest)
    elif name != "journal":
        raise ValueError("no subject '%s'" % name)
    from drybag_host.rig.device.journal_subject import JournalSubject

    return JournalSubject(name)


def open_workload(subject, name, seed):
    """A workload by name; 'puts!0,3-7' is the workload 'puts' with these operations only.

    Raises ValueError.
    """
    base, mark, keep = name.partition("!")
    workload = subject.workload(base, seed)
    return ops.chosen(workload, keep) if mark else workload
