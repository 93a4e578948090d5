"""`drybag hub export`: an owner's records as standard files, straight from the hub's data."""

import time

from drybag_host.commands.export import add_options
from drybag_host.hub.moments import TIME_HELP, moment_ms
from drybag_host.hub.places import add_places

__all__ = ["add_parsers"]


def add_parsers(sub):
    parser = sub.add_parser(
        "export",
        help="write an owner's records as .vcf, .ics, pictures, CSV, Markdown and one HTML page",
        description="The same files as `drybag export` writes of a handset or a backup, from the "
        "hub's data, also while the hub runs or when it cannot run any more.",
        epilog="example:\n  drybag hub export ada ~/adas-records\n"
        "  drybag hub export ada out --at 2026-01-31T12:00 --only contact\n",
    )
    parser.add_argument("owner", metavar="OWNER")
    add_options(parser)
    parser.add_argument("--at", metavar="TIME", help="as it stood then: " + TIME_HELP)
    add_places(parser)
    parser.set_defaults(hub_run=_export)


def _export(args):
    from drybag.errors import NotFound
    from drybag_host.commands.export import write
    from drybag_host.hub.cli_accounts import opened, opened_blobs
    from drybag_host.hub.owner_records import OwnerRecords

    at_ms = moment_ms(args.at, time.time()) if args.at else None
    with opened(args, readonly=True) as storage, opened_blobs(args) as blobs:
        if storage.get("owners", [(args.owner,)])[0] is None:
            raise NotFound("this hub has no owner %s" % args.owner)
        return write(args, OwnerRecords(storage, blobs, args.owner, at_ms))
