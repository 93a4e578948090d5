"""`drybag hub`: the hub and everything that is done to it. Each module adds its verbs."""

import importlib
import importlib.util

from drybag.errors import NotFound
from drybag_host.errors import with_hint

ORDER = 60
WHAT_IS_THERE = "drybag hub users list, hub devices and hub at 0m list what is there"
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
    try:
        return args.hub_run(args)
    except NotFound as error:
        with_hint(error, WHAT_IS_THERE)
        raise
