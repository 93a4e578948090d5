"""A handset and a hub are made known to each other: over the cable here, over HTTPS there."""

import base64
import contextlib
import time
from shlex import quote

from drybag import protocol
from drybag.errors import DrybagError
from drybag_host.errors import HostError, LinkError, NotAHandset

__all__ = ["NoContact", "first_contact", "pair", "require_sync"]

POLL_S = 1.0
SAME_S = 40  # a reason that stands so long will not go away by itself


class NoContact(HostError):
    """The pairing stands; the handset has not reached the hub yet, and says why."""

    exit_code = 67


def require_sync(session):
    """Raises NotAHandset for a handset whose firmware knows of no hub."""
    if session.info.raw.get("sync") is None:
        raise NotAHandset(
            "the firmware of %s is too old for a hub" % session.info.name,
            "put the newest on it: drybag flash %s --app-only" % quote(session.target),
        )


def pair(session, client, place, name, network=None):
    """Enrol the handset of a session, give it secret, certificate and network; its device id.

    network: (SSID, password), as bytes. A device that was enrolled and not told is revoked again.
    """
    require_sync(session)
    told = client.enrol(name, session.info.id)
    device = told["device"]
    try:
        if network:
            session.attempt(lambda link: link.know_network(*network, 1))
        ca = base64.b64decode(told["ca"])
        session.attempt(
            lambda link: link.pair(
                place.host, place.port, told["owner"], device, told["secret"], ca
            )
        )
    except BaseException:
        with contextlib.suppress(DrybagError):
            client.revoke(device)
        raise
    return device


def first_contact(session, out, wait_s):
    """Let the handset sync now; how sync stands (a dict) once the hub has answered it.

    Raises NoContact with the handset's own reason.
    """
    session.attempt(lambda link: link.sync(protocol.SYNC_NOW))
    since = time.monotonic()
    end = since + wait_s
    info = {}
    why = ""
    with out.progress("first sync", None, "change") as bar:
        while time.monotonic() < min(end, since + SAME_S if why else end):
            with contextlib.suppress(LinkError):
                info = session.attempt(lambda link: link.sync())
            if info.get("contact"):
                return info
            bar.set_done(info.get("at_hub", 0))
            if info.get("why") != why:
                why, since = info.get("why") or "", time.monotonic()
                if why and not why.startswith("not yet"):
                    out.say("so far: %s" % why)
            time.sleep(POLL_S)
    why = why or "it does not say why"
    raise NoContact(
        "paired, but the handset has not reached the hub: %s" % why, hint_for(why), sync=info
    )


HINTS = (
    ("password", "give it the right one: drybag pair again, with --wifi"),
    ("network", "is the Wi-Fi in reach, and its name right? drybag pair again, with --wifi"),
    ("certificate", "the address leads to another hub than the one that was paired"),
    ("refuse", "look at the hub: drybag hub devices"),
)


def hint_for(why):
    """What a person can do about the handset's reason."""
    for word, hint in HINTS:
        if word in why.lower():
            return hint
    return (
        "can a device in that Wi-Fi reach the hub's address and port? the handset goes on trying; "
        "`sync` at its console says how it stands"
    )
