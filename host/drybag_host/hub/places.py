"""Where a hub's things are: the folder, the storage, the blobs. Options that all its commands
share."""

import os

from drybag_host.backup import disk
from drybag_host.emulator.files import drybag_home

__all__ = ["add_places", "blobs_url", "make_data", "storage_url"]


def add_places(parser):
    """--data, --storage, --blobs."""
    default = os.path.join(str(drybag_home(None)), "hub")
    parser.add_argument(
        "--data", metavar="DIR", default=default, help="the hub's folder (%(default)s)"
    )
    parser.add_argument(
        "--storage", metavar="URL", help="sqlite:PATH or postgresql://... (DIR/hub.sqlite3)"
    )
    parser.add_argument(
        "--blobs", metavar="URL", help="dir:PATH or s3://BUCKET/PREFIX (DIR/blobs)"
    )


def make_data(args):
    """The hub's folder, for its own user alone."""
    with disk.explained(args.data):
        if not os.path.isdir(args.data):
            os.makedirs(args.data, mode=0o700)


def storage_url(args):
    return args.storage or "sqlite:" + os.path.join(args.data, "hub.sqlite3")


def blobs_url(args):
    return args.blobs or "dir:" + os.path.join(args.data, "blobs")
