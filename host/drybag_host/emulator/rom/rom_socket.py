"""`socket`: the host's own, but only while the board's station is connected."""
# mypy: ignore-errors
# ruff: noqa: F403

import socket as _host
from socket import *

import rom_network

_EHOSTUNREACH = 113
_NO_NAME = -202


def getaddrinfo(host, port, *more):
    if not rom_network.link_is_up():
        raise OSError(_NO_NAME)
    return _host.getaddrinfo(host, port, *more)


def socket(*args):
    if not rom_network.link_is_up():
        raise OSError(_EHOSTUNREACH)
    return _host.socket(*args)
