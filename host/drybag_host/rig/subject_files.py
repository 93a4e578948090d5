"""Subjects and workloads as the command line names them."""

from pathlib import Path

from drybag_host.errors import HostFile, Usage


def app_subject(path):
    """The subject's name for an app's file. Raises HostFile where there is none."""
    path = Path(path)
    if not path.is_file():
        raise HostFile("%s: no such file" % path, "give the path of a MicroPython file")
    return "app:%s" % path.resolve()


def check_workloads(subject, names):
    """Raises Usage for a workload that the subject does not have."""
    from drybag_host.rig.device import ops, workloads
    from drybag_host.rig.jobs import APP_WORKLOADS

    for name in names:
        base, mark, keep = name.partition("!")
        if subject.startswith("app:"):
            if base not in APP_WORKLOADS:
                raise Usage("no workload '%s'" % base, "there are " + ", ".join(APP_WORKLOADS))
            continue
        try:
            found = workloads.workload(base)
            if mark:
                ops.chosen(found, keep)
        except ValueError as error:
            raise Usage(
                "workload %s: %s" % (name, error),
                "there are %s, and sequences such as seq.put.batch.seal of %s" % (
                    ", ".join([*workloads.NAMED, *workloads.SEEDED]), ", ".join(workloads.STEPS)),
            ) from None
