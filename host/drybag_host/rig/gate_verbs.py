"""The verbs `drybag rig gate` and `drybag rig compare`."""

from drybag_host.rig import arguments


def add_verbs(verbs):
    """Describe both; their modules are loaded when they run."""
    gate = verbs.add_parser(
        "gate",
        help="try known-bad variants of journal and sync: each must be caught",
        description="Patch known faults into journal and sync, one at a time, sweep the workload "
        "that should show each. Exit codes: 0 every variant was caught, 1 one was not, 3 one "
        "could not be judged.",
        epilog="example:\n  drybag rig gate\n  drybag rig gate --variant no-crc\n",
    )
    gate.add_argument(
        "--variant", action="append", metavar="NAME", help="only this one; may be repeated"
    )
    gate.add_argument("--jobs", type=arguments.positive, metavar="N", help="workers (one a core)")
    gate.set_defaults(rig_run=run_gate)
    _add_compare(verbs)


def _add_compare(verbs):
    compare = verbs.add_parser(
        "compare",
        help="the same cuts for Drybag and for what people write instead",
        description="Cut the power in the same steps of Drybag's journal, of four usual ways to "
        "keep records on LittleFS and of your own, and count what each lost. Exit codes: 0 Drybag "
        "lost nothing, 1 it did, 3 the rig could not judge some state.",
        epilog="example:\n  drybag rig compare --app my_app.py --report build/rig\n",
    )
    compare.add_argument(
        "--app", action="append", default=[], metavar="FILE", help="compare this one too"
    )
    compare.add_argument(
        "--states", type=arguments.positive, default=2000, metavar="N",
        help="about so many states of each of the two workloads (%(default)d)",
    )  # fmt: skip
    compare.add_argument("--full", action="store_true", help="every state")
    compare.add_argument(
        "--seed", type=arguments.number, default=1, metavar="N", help="which states (1)"
    )
    compare.add_argument(
        "--jobs", type=arguments.positive, metavar="N", help="workers (one a core)"
    )
    compare.add_argument("--report", metavar="DIR", help="write an HTML page, JSON and JUnit XML")
    compare.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    compare.set_defaults(rig_run=run_compare)


def run_gate(args):
    from drybag_host.rig import gate

    wanted = gate.names(args.variant)
    with args.out.progress("variants", len(wanted), "variant") as progress:
        rows = gate.run_gate(wanted, args.jobs, lambda row: progress.advance())
    args.out.document(gate.document(rows))
    columns, cells = gate.table(rows)
    args.out.table(gate.title(rows), columns, cells)
    caught = sum(row.caught for row in rows)
    args.out.line("%d of %d caught" % (caught, len(rows)))
    return gate.exit_code(rows)


def run_compare(args):
    from drybag_host.rig import comparison
    from drybag_host.rig.subject_files import app_subject

    for path in args.app:
        app_subject(path)
    with args.out.progress("states", None, "state") as progress:

        def on_event(kind, value):
            if kind == "state":
                progress.advance()
            elif kind == "not judged":
                args.out.warn("not judged: %s: %s" % (value.id or value.workload, value.why))

        report = comparison.compare(
            args.app, 0 if args.full else args.states, args.seed, args.jobs, on_event
        )
    args.out.document(report.to_json())
    if args.markdown:
        args.out.line(comparison.markdown(report.comparison))
    else:
        args.out.table("States in which something was lost", comparison.COLUMNS,
                       comparison.cells(report.comparison))  # fmt: skip
    for failure in report.failures:
        args.out.line("%s  %s" % (failure.id, failure.what))
    if args.report:
        from drybag_host.rig.report import write_report

        args.out.line("report: %s" % write_report(report, args.report))
    return comparison.exit_code(report)
