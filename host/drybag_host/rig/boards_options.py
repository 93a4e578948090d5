"""The options of `drybag rig run` for boards, and `drybag rig switches`; imports little."""

from drybag_host.rig import arguments

# the destinations of the options that mean a campaign on the emulated flash
FLASH_ONLY = ("mode", "soak", "depth", "workload", "app", "variant", "resume")


def is_wanted(args):
    """Does the command line speak of a board?"""
    return any(
        (args.target, args.power, args.power_config, args.cuts, args.minutes, args.keep_records,
         args.reset_is_enough)
    )  # fmt: skip


def add_arguments(parser):
    """--target, --power and what goes with them."""
    group = parser.add_argument_group("a board, real or emulated")
    group.add_argument(
        "--target", metavar="TARGET", help="cut this board's power: emu:NAME or a serial port"
    )
    group.add_argument(
        "--power", metavar="SWITCH",
        help="the switch in its supply: a table of power.toml, or 'emu' (drybag rig switches)",
    )  # fmt: skip
    group.add_argument(
        "--power-config", metavar="FILE", help="settings of the switches, instead of power.toml"
    )
    length = group.add_mutually_exclusive_group()
    length.add_argument("--cuts", type=arguments.positive, metavar="N", help="how many cuts (100)")
    length.add_argument("--minutes", type=arguments.minutes, metavar="M", help="or for how long")
    group.add_argument(
        "--boot-timeout", type=arguments.seconds, default=30.0, metavar="SECONDS",
        help="how long the board may take to boot (%(default)g)",
    )  # fmt: skip
    group.add_argument(
        "--reset-is-enough", action="store_true",
        help="accept a switch that only resets the processor: no test of the flash",
    )  # fmt: skip
    group.add_argument(
        "--keep-records", action="store_true",
        help="leave the rig's own records (uid drybag-rig-...) on the handset",
    )  # fmt: skip


def add_switches(verbs):
    """The verb `switches`."""
    parser = verbs.add_parser(
        "switches",
        help="list and explain the power switches",
        description="The kinds of power switches, their keys in power.toml, and an example each.",
        epilog="example:\n  drybag rig switches relay\n",
    )
    parser.add_argument("kind", metavar="KIND", nargs="?", help="only this one, with its keys")
    parser.set_defaults(rig_run=run_switches)


def run_switches(args):
    """List the switches, or explain one. Raises SwitchSettings for an unknown one."""
    from drybag_host import power
    from drybag_host.power_errors import SwitchSettings

    kinds = power.kinds()
    if args.kind and args.kind not in kinds:
        raise SwitchSettings(
            "no kind of switch '%s' (there are: %s)" % (args.kind, ", ".join(kinds))
        )
    modules = {kind: power.module_of(kind) for kind in kinds if args.kind in (None, kind)}
    args.out.document(
        {
            "settings": str(power.default_path()),
            "switches": {kind: _described(power, module) for kind, module in modules.items()},
        }
    )
    if not args.kind:
        rows = [(kind, module.SUMMARY) for kind, module in modules.items()]
        args.out.table("Power switches", ("kind", "what it does"), rows)
        args.out.line("Settings: %s, one [table] a switch; its name is what --power takes."
                      % power.default_path())  # fmt: skip
        args.out.line("drybag rig switches KIND explains one.")
        return
    for kind, module in modules.items():
        _explain(args.out, kind, module, _described(power, module))


def _described(power, module):
    keys = {**module.KEYS, **power.COMMON_KEYS, **getattr(module, "COMMON", {})}
    return {
        "summary": module.SUMMARY,
        "notes": module.NOTES,
        "tried": module.TRIED,
        "example": module.EXAMPLE,
        "keys": {
            name: {"type": key.kind.__name__, "default": key.default, "what": key.what}
            for name, key in keys.items()
        },
    }


def _explain(out, kind, module, described):
    out.line("%s: %s" % (kind, module.SUMMARY))
    out.line(module.NOTES)
    out.line("Tried: " + module.TRIED)
    out.line()
    rows = [
        (name, key["type"], "needed" if key["default"] is None else key["default"], key["what"])
        for name, key in described["keys"].items()
    ]
    out.table("Keys", ("key", "type", "default", "what it is"), rows)
    out.line()
    out.line("in power.toml:")
    for line in module.EXAMPLE.splitlines():
        out.line("  " + line)
