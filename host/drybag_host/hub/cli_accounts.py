"""`drybag hub users`, `hub devices`, `hub revoke`: who may speak to the hub."""

import contextlib
import os
import time

from drybag_host.hub.places import add_places, blobs_url, make_data, storage_url
from drybag_host.hub.secrets_in import asked

__all__ = ["add_parsers", "age_text", "opened", "opened_blobs", "when_text"]

PASSWORD_ENV = "DRYBAG_HUB_PASSWORD"


def add_parsers(sub):
    users = sub.add_parser(
        "users",
        help="the owners of records: add, list, remove, password",
        description="Each owner has records and devices of their own. The password is asked for, "
        "or taken from %s." % PASSWORD_ENV,
        epilog="example:\n  drybag hub users add ada\n  drybag hub users list\n",
    )
    verbs = users.add_subparsers(metavar="VERB", required=True)
    for name, what, run in (
        ("add", "a new owner", _add),
        ("password", "give an owner another password", _password),
        ("remove", "end an owner's access and devices; the records stay in the log", _remove),
    ):
        one = _leaf(verbs, name, what, "drybag hub users %s ada" % name, run)
        one.add_argument("owner", metavar="OWNER")
        if name == "remove":
            one.add_argument("--yes", action="store_true", help="do not ask")
    _leaf(verbs, "list", "all owners", "drybag hub users list", _list)
    devices = _leaf(sub, "devices", "handsets, when each was heard of last, how far each has come",
                    "drybag hub devices --owner ada", _devices)  # fmt: skip
    devices.add_argument("verb", nargs="?", choices=("list",), help="the default")
    devices.add_argument("--owner", metavar="OWNER", help="of one owner only")
    revoke = _leaf(sub, "revoke", "refuse a device from now on; its records are untouched",
                   "drybag hub revoke 0123456789abcdef", _revoke)  # fmt: skip
    revoke.add_argument("device", metavar="DEVICE", help="16 digits, see drybag hub devices")


def _leaf(sub, name, what, example, run):
    parser = sub.add_parser(
        name,
        help=what,
        description=what[0].upper() + what[1:] + ".",
        epilog="example:\n  " + example,
    )
    add_places(parser)
    parser.set_defaults(hub_run=run)
    return parser


@contextlib.contextmanager
def opened(args, readonly=False):
    """The storage that the options name; a hub may run beside. Raises NoSuchTarget."""
    from drybag_host.errors import NoSuchTarget
    from drybag_host.hub.storage import open_storage

    url = storage_url(args)
    path = url.partition(":")[2]
    if url.startswith("sqlite:") and not _is_there(path) and not _makes(args):
        raise NoSuchTarget("%s: no hub has its data there" % args.data,
                           "name the folder of `drybag hub serve`: --data DIR")  # fmt: skip
    make_data(args)
    with open_storage(url, readonly=readonly) as storage:
        yield storage


def _is_there(path):
    """Raises HostFile for a file that cannot be looked at."""
    from drybag_host.backup import disk

    with disk.explained(path):
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True


def _makes(args):
    """An owner can be added before the hub was ever started."""
    return args.hub_run is _add


def opened_blobs(args):
    from drybag_host.hub.blobstore import open_blobs

    return open_blobs(blobs_url(args))


def now_ms():
    return int(time.time() * 1000)


def when_text(ms):
    """A time for people, local."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(ms / 1000)) if ms else "never"


def age_text(ms, now):
    """'3 minutes ago'."""
    if not ms:
        return "never"
    seconds = max(0, (now - ms) // 1000)
    for size, word in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            count = seconds // size
            return "%d %s%s ago" % (count, word, "s" if count > 1 else "")
    return "just now"


def _add(args):
    from drybag_host.hub import accounts

    accounts.check_owner_name(args.owner)
    password = asked("password for %s" % args.owner, PASSWORD_ENV, twice=True)
    with opened(args) as storage:
        accounts.add_owner(storage, args.owner, password, now_ms())
    args.out.document({"owner": args.owner})
    args.out.line("added %s" % args.owner)
    return 0


def _password(args):
    from drybag_host.hub import accounts

    password = asked("new password for %s" % args.owner, PASSWORD_ENV, twice=True)
    with opened(args) as storage:
        accounts.set_password(storage, args.owner, password)
    args.out.document({"owner": args.owner})
    args.out.line("%s has a new password; handsets go on as before" % args.owner)
    return 0


def _remove(args):
    from drybag_host.hub import accounts

    with opened(args) as storage:
        args.out.confirm("end the access of %s and of all their handsets" % args.owner, args.yes)
        accounts.remove_owner(storage, args.owner, now_ms())
    args.out.document({"owner": args.owner})
    args.out.line("%s and their handsets are refused from now on" % args.owner)
    args.out.say(
        "the records stay in the log and in backups; drybag hub users password %s lets %s in again"
        % (args.owner, args.owner)
    )
    return 0


def _list(args):
    from drybag_host.hub import accounts

    with opened(args, readonly=True) as storage:
        found = [
            {
                "owner": row["owner"], "records": row["live"], "log": row["pos"],
                "created_ms": row["created_ms"], "access": bool(row["password_hash"]),
                "devices": len(accounts.devices(storage, row["owner"])),
            }
            for row in accounts.owners(storage)
        ]  # fmt: skip
    args.out.document({"owners": found})
    rows = [
        (o["owner"], "{:,}".format(o["records"]), str(o["devices"]), when_text(o["created_ms"]),
         "" if o["access"] else "removed")
        for o in found
    ]  # fmt: skip
    if not rows:
        args.out.line("no owner yet: drybag hub users add NAME")
        return 0
    args.out.table("Owners", ("owner", ">records", ">handsets", "since", ""), rows)
    return 0


def _devices(args):
    from drybag_host.hub import accounts, offsite, ownerviews

    with opened(args, readonly=True) as storage:
        shipped = offsite.status(storage) is not None
        rows = accounts.devices(storage, args.owner)
        found = [ownerviews.device_view(storage, row) for row in rows]
    args.out.document({"devices": found})
    if not found:
        args.out.line("no handset is paired: drybag pair TARGET --hub URL --wifi SSID")
        return 0
    now = now_ms()
    table = []
    for device in found:
        last = device["streams"][-1] if device["streams"] else None
        table.append((
            device["device"], device["owner"], device["name"],
            age_text(device["seen_ms"], now) if not device["revoked_ms"] else "REVOKED",
            "%d of %d" % (last["ack"], last["last_seq"]) if last else "nothing yet",
            str(last["offsite"]) if last and shipped else "",
        ))  # fmt: skip
    names = ("device", "owner", "name", "heard of", "at the hub", "off-site")
    args.out.table("Handsets", names, table)
    return 0


def _revoke(args):
    from drybag_host.hub import accounts

    with opened(args) as storage:
        row = accounts.revoke(storage, args.device, now_ms())
    args.out.document({"device": row["device"], "owner": row["owner"], "name": row["name"]})
    args.out.line("%s (%s) is refused from now on" % (row["device"], row["name"]))
    return 0
