"""`drybag sim`: thousands of made-up histories of handsets and a hub, each judged at its end."""

from drybag_host.targets import seconds

ORDER = 82
SHOWN = 5


def add_parser(sub):
    parser = sub.add_parser(
        "sim",
        help="play thousands of histories of handsets and a hub, and look for lost records",
        description="Play histories of handsets and their hub on virtual time: a network that "
        "loses, delays and repeats, power cuts, hubs that die, forget or are replaced, handsets "
        "lost or set back, wrong clocks. The code is the real one; in the end an oracle that "
        "knows only what people did looks for everything that was acknowledged. A history comes "
        "from its seed alone.",
        epilog="example:\n  drybag sim run --seconds 60\n  drybag sim replay 4711\n",
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    run_ = verbs.add_parser(
        "run",
        help="play many",
        description="Play histories one seed after another. Ends with 1 if one of them fails.",
        epilog="example:\n  drybag sim run --count 5000 --seed 1\n",
    )
    run_.add_argument("--seconds", type=seconds, metavar="S", help="for so long")
    run_.add_argument("--count", type=int, metavar="N", help="so many (1000)")
    run_.add_argument("--seed", type=int, default=1, metavar="N", help="the first (%(default)s)")
    run_.add_argument("--jobs", type=int, metavar="N", help="processes (one a processor)")
    run_.set_defaults(sim_run=_run)
    replay = verbs.add_parser(
        "replay",
        help="play one and tell what happens",
        description="Play the history of a seed and tell it step by step.",
        epilog="example:\n  drybag sim replay 4711 --shrink\n",
    )
    replay.add_argument("seed", type=int, metavar="SEED", help="which")
    replay.add_argument(
        "--shrink", action="store_true", help="leave out the steps that a failure does not need"
    )
    replay.set_defaults(sim_run=_replay)


def run(args):
    return args.sim_run(args)


def _run(args):
    from drybag_host.errors import Usage
    from drybag_host.trials import running

    if (args.count is not None and args.count < 1) or (args.jobs is not None and args.jobs < 1):
        raise Usage("--count and --jobs take 1 or more")
    count = args.count if args.count or args.seconds else 1000
    with args.out.progress("playing", count, "seed") as bar:
        result = running.run(args.seed, count, args.seconds, args.jobs, bar.advance)
    fields = result.fields()
    failures = [{"seed": seed, "wrong": wrong} for seed, wrong in result.bad]
    args.out.document({**fields, "first_seed": args.seed, "failures": failures})
    rows = [(name.replace("_", " "), "{:,}".format(value)) for name, value in fields.items()]
    args.out.facts("%d histories" % result.histories, rows)
    for seed, wrong in result.bad[:SHOWN]:
        args.out.warn("seed %d: %s" % (seed, wrong[0]))
    if result.bad:
        args.out.say("drybag sim replay %d --shrink tells how" % result.bad[0][0])
        return 1
    return 0


def _replay(args):
    from drybag_host.trials import running
    from drybag_host.trials.script import write

    script = write(args.seed)
    if args.shrink:
        script = running.shrink(script)
    told = []
    wrong, counts = running.play(script, told.append)
    document = {"seed": args.seed, "steps": [step.text().strip() for step in script.steps]}
    args.out.document({**document, "told": told, "wrong": wrong, **counts})
    for line in told:
        args.out.line(line)
    for line in wrong:
        args.out.line("WRONG: " + line)
    args.out.line("seed %d: %s" % (args.seed, "%d things are wrong" % len(wrong) if wrong
                                   else "all is there, everybody shows the same"))  # fmt: skip
    return 1 if wrong else 0
