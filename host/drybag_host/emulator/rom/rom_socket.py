"""`socket`: the host's own, but only while the board's station is connected.

What the board looks up for TCP leads to a port of the supervisor, which carries the connection to
the address that was meant, with the faults of `netfaults.py`.
"""
# mypy: ignore-errors
# ruff: noqa: F403

import socket as _host
from socket import *

import chip
import rom_network

_EHOSTUNREACH = 113
_NO_NAME = -202
_LOOPBACK = "127.0.0.1"


def getaddrinfo(host, port, *more):
    if not rom_network.link_is_up():
        raise OSError(_NO_NAME)
    found = _host.getaddrinfo(host, port, *more)
    if host in ("", "0.0.0.0", "::") or found[0][1] != _host.SOCK_STREAM:
        return found
    family, address, number = _host.sockaddr(found[0][4])[:3]
    return _host.getaddrinfo(_LOOPBACK, _route(_host.inet_ntop(family, address), number), *more)


def _route(address, port):
    """The port on loopback that leads to this address."""
    s = _host.socket()
    try:
        s.connect(_host.getaddrinfo(_LOOPBACK, chip.config["router"])[0][4])
        s.send(b"%s %d\n" % (address.encode(), port))
        return int(s.recv(16))
    finally:
        s.close()


def socket(*args):
    if not rom_network.link_is_up():
        raise OSError(_EHOSTUNREACH)
    return _host.socket(*args)
