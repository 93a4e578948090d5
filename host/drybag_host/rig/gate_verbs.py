"""The verbs `drybag rig gate` and `drybag rig compare`."""


def add_verbs(verbs):
    """Describe both; their modules are loaded when they run."""
    gate = verbs.add_parser(
        "gate",
        help="try known-bad variants of the journal: each must be caught",
        description="Patch known faults into the journal, one at a time, and sweep the workload "
        "that should show each. Exit codes: 0 every variant was caught, 1 one was not, 3 one "
        "could not be judged.",
        epilog="example:\n  drybag rig gate\n  drybag rig gate --variant no-crc\n",
    )
    gate.add_argument(
        "--variant", action="append", metavar="NAME", help="only this one; may be repeated"
    )
    gate.add_argument("--jobs", type=_positive, metavar="N", help="workers (one a core)")
    gate.set_defaults(rig_run=run_gate)


def _positive(text):
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def run_gate(args):
    from drybag_host.rig import gate

    wanted = gate.names(args.variant)
    with args.out.progress("variants", len(wanted), "variant") as progress:
        rows = gate.run_gate(wanted, args.jobs, lambda row: progress.advance())
    args.out.document(gate.document(rows))
    columns, cells = gate.table(rows)
    args.out.table("Known-bad variants of the journal", columns, cells)
    caught = sum(row.caught for row in rows)
    args.out.line("%d of %d caught" % (caught, len(rows)))
    return gate.exit_code(rows)
