"""Wi-Fi: join a known network, the one of the highest priority that is in reach."""

from time import ticks_diff, ticks_ms

import network

from drybag.port import const
from handset.tasks import sleep_ms

_JOIN_MS = const(15000)
_POLL_MS = const(100)
_WRONG_PASSWORD = (202, 15, 203)  # WRONG_PASSWORD of ESP-IDF, and what older ones say


class Wifi:
    """`connect` of the chip tries for ever: it is told to stop, here, when it has had its time."""

    def __init__(self):
        self._wlan = None
        self.ssid = b""

    def _station(self):
        if self._wlan is None:
            self._wlan = network.WLAN(network.STA_IF)
        return self._wlan

    def is_up(self):
        return self._wlan is not None and self._wlan.isconnected()

    async def join(self, networks, may_block):
        """"" once connected, else why not. `networks`: (priority, SSID, password), best first.

        `may_block()`: whether nobody minds a pause of some seconds, which looking for networks
        takes; it is only done where several are known.
        """
        wlan = self._station()
        if wlan.isconnected():
            return ""
        if not networks:
            return "no network is known: pair again with --wifi"
        wlan.active(True)
        if len(networks) > 1 and may_block():
            seen = [bytes(found[0]) for found in wlan.scan()]
            networks = [one for one in networks if one[1] in seen]
            if not networks:
                self.leave()
                return "no known network is in reach"
        why = ""
        for _, ssid, password in networks:
            why = await self._try(wlan, ssid, password)
            if not why:
                self.ssid = ssid
                return ""
        self.leave()
        return why

    async def _try(self, wlan, ssid, password):
        name = _text(ssid)
        try:
            wlan.disconnect()
        except OSError:
            pass
        try:
            if password:
                wlan.connect(bytes(ssid), bytes(password))
            else:
                wlan.connect(bytes(ssid))
        except (OSError, ValueError) as error:
            return "the network %s: %s" % (name, error)
        began = ticks_ms()
        while not wlan.isconnected():
            if wlan.status() in _WRONG_PASSWORD:
                wlan.disconnect()
                return "the network %s does not take the password" % name
            if ticks_diff(ticks_ms(), began) > _JOIN_MS:
                wlan.disconnect()
                return "the network %s is not in reach" % name
            await sleep_ms(_POLL_MS)
        return ""

    def leave(self):
        """Off, to save the battery."""
        if self._wlan is not None:
            try:
                self._wlan.disconnect()
                self._wlan.active(False)
            except OSError:
                pass


def _text(data):
    try:
        return data.decode()
    except UnicodeError:
        return "".join([chr(c) for c in data])
