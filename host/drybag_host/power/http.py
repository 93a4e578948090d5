"""Mains plugs on the local network: Tasmota, Shelly of the first and of later generations."""

import os
import urllib.parse

from drybag_host.power_errors import SwitchFailed, SwitchSettings

from . import _web
from ._settings import choice
from ._switch import Key, Switch

SUMMARY = "a Tasmota or Shelly plug, asked over HTTP"
NOTES = (
    "The board's supply hangs on the plug; give it time to fall with settle_s. A password comes "
    "from the environment variable that password_env names, never from a file or an argument."
)
KEYS = {
    "device": Key(str, None, '"tasmota", "shelly1" (first generation) or "shelly2" (later ones)'),
    "url": Key(str, None, "the plug's address: http://192.168.1.20"),
    "channel": Key(int, 0, "which relay: from 0 at a Shelly; from 1 at a Tasmota, 0 its only one"),
    "user": Key(str, "admin", "the user, where the plug has a password"),
    "password_env": Key(str, "DRYBAG_POWER_PASSWORD", "the variable that holds the password"),
    "timeout_s": Key(float, 5.0, "seconds to wait for an answer"),
}
TRIED = "servers that speak Tasmota and Shelly, passwords too, whole campaigns; no plug of metal."
EXAMPLE = '[http]\ndevice = "tasmota"\nurl = "http://192.168.1.20"\nsettle_s = 2.0\n'


class Plug(Switch):
    def __init__(self, settings):
        self._s = settings
        self._device = choice(settings, "device", ("tasmota", "shelly1", "shelly2"))
        if not _is_address(settings["url"]):
            raise SwitchSettings("url: it must look like http://192.168.1.20, without a password")
        self._base = settings["url"].rstrip("/")
        self._password = os.environ.get(settings["password_env"], "")

    def off(self, seed=None):
        self._set(False)

    def on(self):
        self._set(True)

    def _set(self, on):
        channel, word = self._s["channel"], "on" if on else "off"
        if self._device == "tasmota":
            query = {"cmnd": "Power%s %s" % (channel or "", word)}
            if self._password:
                query.update(user=self._s["user"], password=self._password)
            answer = self._get("/cm", query)
            state = next((v for k, v in answer.items() if k.upper().startswith("POWER")), None)
            is_on = {"ON": True, "OFF": False}.get(state)
        elif self._device == "shelly1":
            is_on = self._get("/relay/%d" % channel, {"turn": word}).get("ison")
        else:
            self._get("/rpc/Switch.Set", {"id": channel, "on": "true" if on else "false"})
            is_on = self._get("/rpc/Switch.GetStatus", {"id": channel}).get("output")
        if is_on is not on:
            raise SwitchFailed("%s was told to go %s, and did not" % (self._base, word),
                               "is it the right device and channel, and not locked?")  # fmt: skip

    def _get(self, path, query):
        hint = "is it a %s, on this network, and its password in $%s?" % (
            self._device, self._s["password_env"],
        )  # fmt: skip
        return _web.get(
            self._base, path, query, self._s["user"], self._password, self._s["timeout_s"], hint
        )


def _is_address(url):
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.hostname and "@" not in parts.netloc


def open(settings, target):
    return Plug(settings)
