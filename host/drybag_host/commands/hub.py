"""`drybag hub`: the hub and everything that is done to it. Each module adds its verbs."""

import importlib
import importlib.util

ORDER = 60
MODULES = ("cli_serve", "cli_accounts", "cli_owner", "cli_store", "cli_export")


def add_parser(sub):
    parser = sub.add_parser(
        "hub",
        help="the hub that handsets sync with: run it, its owners, devices, backups",
        description="The hub keeps a second copy of what handsets hold, with every version. The "
        "other commands work on its data directly, also while it runs.",
        epilog="example:\n  drybag hub serve\n  drybag hub users add ada\n  drybag hub stats\n",
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for name in MODULES:
        full = "drybag_host.hub." + name
        if importlib.util.find_spec(full) is not None:
            importlib.import_module(full).add_parsers(verbs)


def run(args):
    return args.hub_run(args)
