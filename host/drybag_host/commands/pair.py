"""`drybag pair`: from now on a handset syncs with a hub."""

from drybag import syncsettings
from drybag_host.targets import add_handset

ORDER = 61
WIFI_ENV = "DRYBAG_WIFI_PASSWORD"
CONTACT_S = 120


def add_parser(sub):
    parser = sub.add_parser(
        "pair",
        help="connect a handset with a hub, over the cable",
        description="Enrol a handset at a hub and give it, over the cable, the hub's certificate, "
        "a secret of its own and a Wi-Fi network. Then it syncs by itself whenever it can. "
        "Passwords are asked for, or taken from DRYBAG_HUB_PASSWORD and %s." % WIFI_ENV,
        epilog="example:\n  drybag pair auto --hub https://192.168.1.20:8443/#sha256=... "
        "--wifi home --owner ada\n",
    )
    add_handset(parser)
    parser.add_argument(
        "--hub", metavar="URL", required=True,
        help="where the hub is, as `drybag hub serve` prints it; the fingerprint behind # says "
        "which certificate authority is right",
    )  # fmt: skip
    parser.add_argument(
        "--wifi", metavar="SSID", help="the Wi-Fi network; without it those the handset knows"
    )
    parser.add_argument("--owner", metavar="NAME", help="whose handset it is (your user name)")
    parser.add_argument("--name", metavar="NAME", help="what the hub calls it (its own name)")
    parser.add_argument("--ca", metavar="FILE", help="the hub's CA certificate, in PEM form")
    parser.add_argument(
        "--contact", type=float, default=CONTACT_S, metavar="SECONDS",
        help="how long to wait for its first sync; 0: do not wait (%(default)s)",
    )  # fmt: skip


def run(args):
    import getpass

    from drybag_host.hub import pairing, trust
    from drybag_host.hub.client import HubClient
    from drybag_host.hub.secrets_in import asked
    from drybag_host.targets import open_session

    network = None
    if args.wifi is not None:
        network = _network(args.wifi, "")
    place = trust.parse_url(args.hub)
    ca_der = trust.trusted(place, args.ca, lambda found: _confirm(args, place, found))
    owner = args.owner or getpass.getuser()
    with HubClient(place, ca_der) as client:
        client.login(owner, asked("password of %s at the hub" % owner, "DRYBAG_HUB_PASSWORD"))
        trust.keep(place, ca_der)
        if network:
            question = "password of the Wi-Fi network %s (empty: an open one)" % args.wifi
            network = _network(args.wifi, asked(question, WIFI_ENV))
        with open_session(args) as session:
            name = args.name or session.info.name
            device = pairing.pair(session, client, place, name, network)
            args.out.say("%s is paired with %s, as device %s" % (name, place.url, device))
            info = {}
            if args.contact:
                info = pairing.first_contact(session, args.out, args.contact)
    args.out.document({"device": device, "owner": owner, "hub": place.url, "sync": info})
    if info:
        args.out.line("%s has reached the hub" % name)
        if info.get("unsent"):
            args.out.say("%d changes are on their way; the handset goes on by itself"
                         % info["unsent"])  # fmt: skip
    return 0


def _network(*words):
    """(SSID, password) as bytes: any bytes are a name, in the terminal too. Raises BadInput."""
    network = tuple(word.encode("utf-8", "surrogateescape") for word in words)
    syncsettings.check_network(*network)
    return network


def _confirm(args, place, found):
    args.out.say("the hub at %s shows a CA with the fingerprint" % place.url)
    args.out.say("  sha256=%s" % found)
    args.out.confirm("is that what `drybag hub serve` printed on the hub's own screen")
