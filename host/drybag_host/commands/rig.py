"""`drybag rig`: cut the power at every flash command, boot, and see that nothing is lost."""

from drybag_host.rig import arguments

ORDER = 80


def add_parser(sub):
    parser = sub.add_parser(
        "rig",
        help="cut the power at every flash operation and judge what is left",
        description="The power-cut rig: workloads run on an emulated flash (or a board), the "
        "power is cut at every flash command in every state that a real chip can be left in, and "
        "what the firmware makes of it is compared with what was acknowledged. Exit codes: 0 all "
        "held, 1 something was lost, 2 usage, 3 the rig could not judge.",
        epilog="example:\n  drybag rig run --quick\n  drybag rig replay r1:journal:puts:1:17n2\n",
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    _add_run(verbs)
    _add_replay(verbs)
    _add_shrink(verbs)
    _add_image(verbs)
    from drybag_host.rig.boards_options import add_switches
    from drybag_host.rig.gate_verbs import add_verbs

    add_switches(verbs)
    add_verbs(verbs)


def _add_run(verbs):
    run = verbs.add_parser(
        "run",
        help="run a campaign",
        description="Run a campaign. Every state that fails prints one id.",
        epilog="example:\n  drybag rig run --full --jobs 2 --report build/rig\n"
        "  drybag rig run --app my_app.py\n"
        "  drybag rig run --target emu:demo --power emu --cuts 20\n",
    )
    run.set_defaults(rig_run=_run)
    length = run.add_mutually_exclusive_group()
    length.add_argument(
        "--quick", action="store_const", const="quick", dest="mode",
        help="some thousand states of every workload, in under a minute (the default)",
    )  # fmt: skip
    length.add_argument(
        "--full", action="store_const", const="full", dest="mode",
        help="every state of every workload",
    )  # fmt: skip
    length.add_argument(
        "--soak", type=arguments.minutes, metavar="MINUTES", help="seed after seed for so long"
    )
    run.add_argument(
        "--seed", type=arguments.number, metavar="N", help="of the long workloads (1)"
    )
    run.add_argument("--jobs", type=arguments.positive, metavar="N", help="workers (one a core)")
    run.add_argument(
        "--depth", type=arguments.depth, metavar="D",
        help="1, 2, 3: cut recovery too, and the recovery after that; or until-stable",
    )  # fmt: skip
    run.add_argument(
        "--workload", action="append", metavar="NAME", help="only this one; may be repeated"
    )
    run.add_argument("--app", metavar="FILE", help="judge this MicroPython file, not our journal")
    run.add_argument("--variant", metavar="NAME", help="a known-bad variant of journal or sync")
    run.add_argument("--failures", type=arguments.positive, metavar="N", help="stop after so many")
    run.add_argument("--report", metavar="DIR", help="write an HTML page, JSON and JUnit XML")
    run.add_argument(
        "--resume", action="store_true", help="go on with the campaign that was stopped"
    )
    from drybag_host.rig.boards_options import add_arguments

    add_arguments(run)


def _add_replay(verbs):
    replay = verbs.add_parser(
        "replay",
        help="show one state step by step",
        description="Run one state again and tell it step by step. Exit code 1 if it fails.",
        epilog="example:\n  drybag rig replay r1:journal:puts:1:17n2\n",
    )
    replay.add_argument("id", metavar="ID", help="as 'rig run' printed it")
    replay.set_defaults(rig_run=_replay)


def _add_shrink(verbs):
    shrink = verbs.add_parser(
        "shrink",
        help="find a smaller workload that still fails",
        description="Find a smaller workload and fewer cuts that still fail.",
        epilog="example:\n  drybag rig shrink r1:variant%3Ano-crc:long:1:17n2\n",
    )
    shrink.add_argument("id", metavar="ID", help="a state that fails")
    shrink.add_argument(
        "--minutes", type=arguments.minutes, default=2.0, metavar="M", help="at most (%(default)g)"
    )
    shrink.set_defaults(rig_run=_shrink)


def _add_image(verbs):
    image = verbs.add_parser(
        "image",
        help="write the flash of one state to a file",
        description="Write the flash as the cuts of an id left it: the pim partition, or with "
        "--board the whole flash of a board with the firmware, to boot or to flash.",
        epilog="example:\n  drybag rig image r1:journal:puts:1:17n2 torn.bin "
        "--board esp32-generic\n  drybag emu create torn --image torn.bin\n",
    )
    image.add_argument("id", metavar="ID", help="as 'rig run' printed it")
    image.add_argument("file", metavar="FILE", help="the image")
    image.add_argument(
        "--depth", type=arguments.positive, metavar="K",
        help="after so many of the id's cuts (all)",
    )  # fmt: skip
    image.add_argument("--board", metavar="B", help="the whole flash of this board")
    image.set_defaults(rig_run=_image)


def run(args):
    return args.rig_run(args)


def _run(args):
    from drybag_host.errors import Usage
    from drybag_host.rig import boards_options
    from drybag_host.rig.running import Runner

    if boards_options.is_wanted(args):
        from drybag_host.rig import boards

        _, code = boards.run_command(args)
        return code
    if args.app and args.variant:
        raise Usage("--app and --variant exclude each other")
    subject = "journal"
    if args.app:
        from drybag_host.rig.subject_files import app_subject

        subject = app_subject(args.app)
    elif args.variant:
        from drybag_host.rig import gate

        subject = "variant:" + gate.names([args.variant])[0]
    if args.workload:
        from drybag_host.rig.subject_files import check_workloads

        check_workloads(subject, args.workload)
    spec = {
        "subject": subject,
        "mode": "soak" if args.soak else args.mode or "quick",
        "seed": 1 if args.seed is None else args.seed,
        "depth": args.depth,
        "minutes": args.soak or 0,
        "workloads": args.workload,
        "most_failures": args.failures or 0,
    }
    return Runner(args.out, spec, args.jobs, args.report, args.resume).run()


def _replay(args):
    from drybag_host.rig import board_replay, ids, replay

    is_board = ids.decode(args.id).is_board
    steps, result = (board_replay if is_board else replay).replay(args.id)
    args.out.document({"id": args.id, "steps": steps, **result})
    last = None
    for step in steps:
        if step["kind"] != last and replay.TITLES.get(step["kind"]):
            args.out.line("%s:" % replay.TITLES[step["kind"]])
        last = step["kind"]
        args.out.line(("" if last in ("cut", "stage") else "  ") + step["text"])
    if not result["failure"]:
        args.out.line("everything held")
        return 0
    args.out.line("FAILED: %s\n  expected %s\n  found    %s" % (
        result["failure"], result["expected"], result["found"]))  # fmt: skip
    if "recorded" in result:
        args.out.warn("as it was recorded: a real board's flash of that instant is not known, so "
                      "it cannot be run again. Its partition after the recovery: %s"
                      % result["recorded"])  # fmt: skip
        return 3
    return 1


def _shrink(args):
    from drybag_host.errors import Usage
    from drybag_host.rig import ids, shrink

    if ids.decode(args.id).is_board:
        raise Usage(
            "a board's id names a flash that many cuts and writes have made: there is no workload "
            "to make smaller",
            "drybag rig replay shows it, drybag rig image writes it to a file",
        )
    best, what, tried = shrink.shrink(args.id, args.out.say, 60 * args.minutes)
    word = ids.encode(best)
    args.out.document({"id": word, "was": args.id, "failure": what, "tried": tried})
    args.out.line(word)
    return 0


def _image(args):
    from drybag_host.image import flash
    from drybag_host.rig import flashimage, ids, replay

    if ids.decode(args.id).is_board:
        return _board_image(args)
    data, result = replay.flash_image(args.id, args.depth)
    if args.board:
        data = flashimage.whole_flash(args.board, data)
    flash.write(args.file, data)
    args.out.document({"file": args.file, "bytes": len(data), **result})
    what = "the flash of " + args.board if args.board else "partition pim"
    args.out.line("%s: %d bytes, %s" % (args.file, len(data), what))
    if result["unstable"]:
        args.out.warn("cells that read differently from read to read are fixed in an image")


def _board_image(args):
    from drybag_host.errors import Usage
    from drybag_host.image import flash
    from drybag_host.rig import board_replay

    if args.board:
        raise Usage("--board is for ids of the emulated flash: this one's is a board's already")
    data, what = board_replay.flash_image(args.id, args.depth)
    flash.write(args.file, data)
    args.out.document({"file": args.file, "bytes": len(data), "what": what})
    args.out.line("%s: %d bytes, %s" % (args.file, len(data), what))
    return 0
