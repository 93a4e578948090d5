"""How many states the power-cut rig judges a second: a quick campaign on every core."""

import resource

from drybag_host.rig.campaign import processors, run_campaign

TARGET_STATES_PER_SECOND = 150


def run():
    report = run_campaign("journal", "quick", 1)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = usage.ru_utime + usage.ru_stime
    seconds = max(report.run["seconds"], 0.001)
    return {
        "states_per_second": round(report.distinct / seconds, 1),
        "states_per_cpu_second": round(report.distinct / cpu_s, 1),
        "states": report.distinct,
        "boots": report.boots,
        "seconds": seconds,
        "cpu_seconds": round(cpu_s, 1),
        "cores": processors(),
        "failures": [failure.id for failure in report.failures],
        "not_judged": len(report.not_judged),
    }


def table(result):
    from rich.console import Console

    console = Console()
    console.print(
        "%(states)d states judged with %(boots)d boots in %(seconds).1f s on %(cores)d cores: "
        "%(states_per_second).0f a second" % result
    )
    console.print(
        "%.0f a second of processor time; wanted: %d a second on two cores"
        % (result["states_per_cpu_second"], TARGET_STATES_PER_SECOND)
    )
    for word in result["failures"]:
        console.print("FAILED " + word)
