"""Which hub this computer speaks with: its address, and the certificate authority it must have.

A URL may bear the fingerprint of the CA, as `drybag hub serve` prints it:
https://HOST:PORT/#sha256=HEX. What was trusted once is kept in `hubs/` of Drybag's folder.
"""

import ipaddress
import os
import re
import socket
import ssl
from urllib.parse import urlsplit

from drybag_host.backup import disk
from drybag_host.emulator.files import drybag_home
from drybag_host.errors import HostError, Usage
from drybag_host.hub.fingerprints import SERVER_NAME, fingerprint

__all__ = ["HubNotTrusted", "HubUnreachable", "Place", "parse_url", "tls_context", "trusted"]

PORT = 8443
FETCH_S = 15
MOST_BYTES = 20_000


class HubUnreachable(HostError):
    exit_code = 64
    hint = "is the hub running there (drybag hub serve), and may this computer reach the port?"


class HubNotTrusted(HostError):
    exit_code = 66


class Place:
    """scheme, host, port of a hub; wanted: the fingerprint its CA must have, "" if not said."""

    def __init__(self, scheme, host, port, wanted=""):
        self.scheme, self.host, self.port, self.wanted = scheme, host, port, wanted

    @property
    def url(self):
        host = "[%s]" % self.host if ":" in self.host else self.host
        return "%s://%s:%d" % (self.scheme, host, self.port)

    @property
    def plain(self):
        return self.scheme == "http"

    def kept(self):
        """The file in which this hub's CA is kept once it was trusted."""
        name = re.sub(r"[^A-Za-z0-9.-]", "_", self.host)
        return os.path.join(str(drybag_home(None)), "hubs", "%s_%d.pem" % (name, self.port))


def parse_url(text):
    """A Place. Raises Usage for what is no address of a hub."""
    example = "https://HOST:8443/#sha256=..., as `drybag hub serve` prints it"
    try:
        parts = urlsplit(text if "://" in text else "https://" + text)
        port = parts.port or PORT
    except ValueError as error:
        raise Usage("%s is no address of a hub" % text, example) from error
    host = parts.hostname
    if parts.scheme not in ("https", "http") or not host or parts.path not in ("", "/"):
        raise Usage("%s is no address of a hub" % text, example)
    if parts.query or parts.username or parts.password is not None:
        raise Usage("the address of a hub holds no question and no password", example)
    if parts.scheme == "http" and not _is_loopback(host):
        raise Usage("plain HTTP is for this computer alone: %s is another" % host, example)
    wanted = ""
    if parts.fragment:
        wanted = parts.fragment.removeprefix("sha256=").replace(":", "").lower()
        if not re.fullmatch(r"[0-9a-f]{64}", wanted):
            raise Usage("a fingerprint is sha256= and 64 digits", example)
    return Place(parts.scheme, host, port, wanted)


def _is_loopback(host):
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def trusted(place, ca_file=None, ask=None):
    """The DER bytes of the CA to trust at `place`, b"" for plain HTTP on loopback.

    From a file, by the fingerprint in the URL, kept from before, or else as `ask` says, which is
    called with the fingerprint and raises to refuse. Raises HubNotTrusted, HubUnreachable.
    """
    if place.plain:
        return b""
    if ca_file:
        return _read_pem(ca_file)
    if os.path.exists(place.kept()):
        der = _read_pem(place.kept())
        if place.wanted in ("", fingerprint(der)):
            return der
    der = _fetch(place)
    found = fingerprint(der)
    if place.wanted:
        if found != place.wanted:
            raise HubNotTrusted(
                "the hub at %s has another CA than the address says: sha256=%s"
                % (place.url, found),
                "compare with what `drybag hub serve` prints on the hub's own screen",
            )
    elif ask is None:
        raise HubNotTrusted(
            "the hub at %s is not known here" % place.url,
            "add #sha256=... to its address, as `drybag hub serve` prints it, or --ca FILE",
        )
    else:
        ask(found)
    return der


def keep(place, der):
    """Remember the CA of a hub that answered as it should."""
    if place.plain:
        return
    disk.make_dirs(os.path.dirname(place.kept()))
    disk.replace_file(place.kept(), ssl.DER_cert_to_PEM_cert(der).encode())


def _read_pem(path):
    data = disk.read_file(path, MOST_BYTES)
    try:
        return ssl.PEM_cert_to_DER_cert((data or b"").decode("ascii").strip() + "\n")
    except ValueError as error:
        raise HubNotTrusted("%s is no certificate in PEM form" % path) from error


def _fetch(place):
    """The CA that the hub itself shows: not to be trusted before it was compared."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    request = b"GET /v1/ca.pem HTTP/1.1\r\nHost: drybag-hub\r\nConnection: close\r\n\r\n"
    data = b""
    try:
        with socket.create_connection((place.host, place.port), FETCH_S) as plain:
            with context.wrap_socket(plain, server_hostname=SERVER_NAME) as tls:
                tls.sendall(request)
                while len(data) < MOST_BYTES and (piece := tls.recv(4096)):
                    data += piece
    except OSError as error:
        raise HubUnreachable(
            "no hub answers at %s: %s" % (place.url, error.strerror or error)
        ) from error
    try:
        return ssl.PEM_cert_to_DER_cert(data.partition(b"\r\n\r\n")[2].decode("ascii"))
    except ValueError as error:
        raise HubNotTrusted("what answers at %s is no Drybag hub" % place.url) from error


def tls_context(der):
    """An SSLContext that trusts this CA and nothing else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=der)
    return context
