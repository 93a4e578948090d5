"""`network`: one access point in reach while `drybag emu wifi NAME on` holds."""
# mypy: ignore-errors

from binascii import unhexlify

import chip

STA_IF = 0
AP_IF = 1
STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010
STAT_BEACON_TIMEOUT = 200
STAT_NO_AP_FOUND = 201
STAT_WRONG_PASSWORD = 202
STAT_ASSOC_FAIL = 203
STAT_HANDSHAKE_TIMEOUT = 204
AUTH_OPEN = 0
AUTH_WPA2_PSK = 3
MODE_11B = 1
MODE_11G = 2
MODE_11N = 4

_SSID = b"drybag"
_BSSID = b"\x02dryba"
_LAN = ("192.168.4.2", "255.255.255.0", "192.168.4.1", "192.168.4.1")
_NO_LAN = ("0.0.0.0", "0.0.0.0", "0.0.0.0", "0.0.0.0")


def hostname(name=None):
    return "drybag"


def country(code=None):
    return "XX"


class WLAN:
    """Station or access point. `connect()` goes on trying for ever, as the chip does."""

    IF_STA = STA_IF
    IF_AP = AP_IF
    _interfaces = {}

    def __new__(cls, interface=STA_IF):
        self = cls._interfaces.get(interface)
        if self is None:
            if interface not in (STA_IF, AP_IF):
                raise ValueError("no such interface")
            self = object.__new__(cls)
            cls._interfaces[interface] = self
            self._interface = interface
            self._active = False
            self._wanted = None
            self._settings = {"ssid": "", "channel": 6, "txpower": 20, "reconnects": -1, "pm": 1}
        return self

    def __init__(self, interface=STA_IF):
        pass

    def active(self, is_active=None):
        if is_active is None:
            return self._active
        self._active = bool(is_active)
        if not self._active:
            self._wanted = None
        return self._active

    def connect(self, ssid=None, key=None, *, bssid=None):
        if not self._active:
            raise OSError("Wifi Not Started")
        if self._wanted is not None and not self.isconnected():
            raise OSError("Wifi Internal State Error")
        self._wanted = ssid
        self._settings["ssid"] = ssid

    def disconnect(self):
        self._wanted = None

    def isconnected(self):
        if self._interface == AP_IF:
            return False
        return self._active and self._wanted is not None and chip.air_is_on()

    def status(self, what=None):
        if what == "rssi":
            return -52 if self.isconnected() else 0
        if self.isconnected():
            return STAT_GOT_IP
        return STAT_IDLE if self._wanted is None else STAT_NO_AP_FOUND

    def scan(self):
        """List of (ssid, bssid, channel, RSSI, security, hidden)."""
        if not self._active:
            raise OSError("STA must be active")
        return [(_SSID, _BSSID, 6, -52, AUTH_WPA2_PSK, False)] if chip.air_is_on() else []

    def config(self, *names, **settings):
        if settings:
            self._settings.update(settings)
            return None
        if names[0] == "mac":
            return unhexlify(chip.config["unique_id"])
        if names[0] == "essid":
            return self._settings["ssid"]
        if names[0] not in self._settings:
            raise ValueError("unknown config param")
        return self._settings[names[0]]

    def ifconfig(self, addresses=None):
        if addresses is None:
            return _LAN if self.isconnected() else _NO_LAN

    def ipconfig(self, name=None, **settings):
        if name == "addr4":
            return self.ifconfig()[:2]
        if name == "gw4":
            return self.ifconfig()[2]


def link_is_up():
    return WLAN(STA_IF).isconnected()
