"""pytest plugin: the fixture `powercut`.

    def test_my_log(powercut):
        powercut.run("my_app.py")

cuts the power in MicroPython + LittleFS code at every flash command, and fails with an id for
each state in which something was lost. pytest finds it by itself once Drybag is installed.
"""

from pathlib import Path

import pytest

_SHOWN = 10


@pytest.fixture
def powercut(request):
    """Cuts the power and judges what is left; see PowerCut."""
    return PowerCut(request.path.parent)


class PowerCut:
    """What `powercut` is. `folder`: where the paths of apps begin."""

    def __init__(self, folder):
        self._folder = Path(folder)

    def run(self, app, states=1000, seed=1, workers=None, depth=1, silence_s=60):
        """Sweep a MicroPython file with `setup()`, `step(n)`, `check(acked)`.

        `app`: a path, from the test's folder on. `states`: about so many of each of its two
        workloads, 0 for all; `seed` chooses them. `depth` 2 cuts the boot after the cut as well.
        `silence_s`: a call of the app that takes longer never ends.
        Returns the Report (drybag_host.rig.results); fails the test if a state lost something or
        could not be judged.
        """
        from drybag_host.rig.campaign import Campaign, processors
        from drybag_host.rig.comparison import plan
        from drybag_host.rig.subject_files import app_subject

        campaign = Campaign(
            app_subject(self._folder / app), plan(states, seed, depth), workers or processors(),
            silence_s=silence_s,
        )  # fmt: skip
        campaign.run()
        report = campaign.snapshot()
        if report.failures or report.not_judged:
            pytest.fail(_report_text(app, report), pytrace=False)
        return report

    def sweep(self, write, check, sectors=16, states=1000, seed=1, only=None):
        """Sweep two Python functions over a block device of `sectors` blank 4096-byte sectors.

        `write(flash, acked)` uses `flash` (readblocks, writeblocks, ioctl as MicroPython has them)
        and appends to `acked` what is durable from then on. `check(flash, acked)` asserts, or
        returns a text that says what is wrong. `only`: the one state that a failure named.
        Returns how many states were judged.
        """
        from drybag_host.rig import functions, ids
        from drybag_host.rig.device.sweep import CannotTrace

        subject = functions.FunctionSubject(write, check, sectors)
        try:
            if only is None:
                judged, failures = functions.sweep(subject, states, seed, _SHOWN)
            else:
                cuts = ids.decode("r1:functions:functions:1:" + only).cuts
                problem = functions.one(subject, cuts)
                judged, failures = 1, [(only, problem)] if problem else []
        except CannotTrace as error:
            pytest.fail("powercut: %s" % error, pytrace=False)
        if failures:
            lines = ["powercut: %d of %d states lost something:" % (len(failures), judged)]
            lines += ["  %s  %s" % (state, p.found.split("\n")[0]) for state, p in failures]
            lines.append('one of them alone: powercut.sweep(..., only="%s")' % failures[0][0])
            pytest.fail("\n".join(lines), pytrace=False)
        return judged


def _report_text(app, report):
    lines = []
    if report.failures:
        lines.append(
            "powercut: %s lost something in %d of %d states:"
            % (app, len(report.failures), report.distinct)
        )
    for failure in report.failures[:_SHOWN]:
        lines.append("  %s\n    %s: %s" % (failure.id, failure.what, failure.found))
    if len(report.failures) > _SHOWN:
        lines.append("  and %d more" % (len(report.failures) - _SHOWN))
    if report.failures:
        lines.append("one of them step by step: drybag rig replay ID")
    for other in report.not_judged[:_SHOWN]:
        lines.append("powercut could not judge %s: %s\n  %s" % (
            other.id or "%s, workload '%s'" % (app, other.workload), other.why, other.hint
        ))  # fmt: skip
    return "\n".join(lines)
