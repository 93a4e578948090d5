"""`drybag unpair`: a handset forgets its hub."""

from drybag_host.targets import add_handset

ORDER = 62


def add_parser(sub):
    parser = sub.add_parser(
        "unpair",
        help="let a handset forget its hub; its records stay",
        description="Let a handset forget its hub and the secret for it. Its records stay, here "
        "and there. The hub refuses it only after `drybag hub revoke`.",
        epilog="example:\n  drybag unpair auto --forget-wifi home\n",
    )
    add_handset(parser)
    parser.add_argument(
        "--forget-wifi", metavar="SSID", action="append", default=[], help="a network to forget"
    )


def run(args):
    from drybag.errors import NotFound
    from drybag_host.hub.pairing import require_sync
    from drybag_host.targets import open_session

    with open_session(args) as session:
        require_sync(session)
        session.attempt(lambda link: link.unpair())
        for ssid in args.forget_wifi:
            name = ssid.encode("utf-8", "surrogateescape")  # any bytes are a name
            session.attempt_once(lambda link, name=name: link.forget_network(name), NotFound)
    args.out.document({"target": session.target, "paired": False})
    args.out.line("%s has forgotten its hub; its records are where they were" % session.target)
    return 0
