"""`drybag hub serve`."""

from drybag_host.hub.places import add_places

__all__ = ["add_parsers"]

RATE = 50


def add_parsers(sub):
    parser = sub.add_parser(
        "serve",
        help="run the hub",
        description="Run the hub that handsets sync with, until Ctrl-C. The first start makes its "
        "certificates and says what to do next. An acknowledgement is sent when the records are "
        "on this disk (with --ack offsite: in the off-site copy too).",
        epilog="example:\n  drybag hub serve\n  drybag hub serve --data /srv/hub "
        "--offsite /mnt/other-house/hub --ack offsite\n",
    )
    add_places(parser)
    parser.add_argument(
        "--listen", metavar="HOST:PORT", default="0.0.0.0:8443", help="where (%(default)s)"
    )
    parser.add_argument(
        "--offsite", metavar="URL", help="ship everything to a folder or s3://BUCKET/PREFIX too"
    )
    parser.add_argument(
        "--ack", choices=("hub", "offsite"), default="hub",
        help="what an acknowledgement waits for (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--rate", metavar="N", type=_rate, default=RATE,
        help="requests a second that one handset may make (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--insecure-loopback", action="store_true",
        help="plain HTTP, at 127.0.0.1 or ::1 only: for tests",
    )  # fmt: skip
    parser.set_defaults(hub_run=_serve)


def _rate(text):
    value = int(text)
    if not 1 <= value <= 1_000_000:
        raise ValueError
    return value


def _serve(args):
    from drybag_host.hub.serving import serve

    return serve(args)
