"""Whatever power labgrid can switch, where labgrid is installed."""

import importlib

from drybag_host.power_errors import SwitchFailed

from ._switch import Key, Switch

SUMMARY = "the power driver of a labgrid environment (PDUs, hubs, relays, remote places)"
NOTES = (
    "Needs labgrid: pip install labgrid. Its environment file names resources and drivers. It "
    "brings its own build of pyserial, with which Drybag works as well."
)
KEYS = {
    "config": Key(str, None, "labgrid's environment file"),
    "place": Key(str, "main", "the target in it"),
}
TRIED = "labgrid 26.0.1 with its ExternalPowerDriver, a whole campaign; no PDU of metal."
EXAMPLE = '[labgrid]\nconfig = "bench.yaml"\nplace = "main"\n'


class LabgridPower(Switch):
    def __init__(self, config, place):
        self._what = "labgrid's power of '%s' in %s" % (place, config)
        try:
            labgrid = importlib.import_module("labgrid")
            protocol = importlib.import_module("labgrid.protocol").PowerProtocol
        except ImportError as error:
            raise SwitchFailed(
                "labgrid is not installed here: %s" % error, "pip install labgrid"
            ) from None
        try:
            found = labgrid.Environment(config).get_target(place)
            if found is None:
                raise LookupError("no such target in that file")
            self._power = found.get_driver(protocol)
        except Exception as error:  # labgrid raises what YAML and its libraries raise
            raise self._failed(error) from error

    def _failed(self, error):
        return SwitchFailed(
            "%s: %s" % (self._what, error),
            "try it alone: labgrid-client -c FILE -p PLACE power cycle",
        )

    def off(self, seed=None):
        self._do("off")

    def on(self):
        self._do("on")

    def _do(self, way):
        try:
            getattr(self._power, way)()
        except Exception as error:  # labgrid's drivers raise what their libraries raise
            raise self._failed(error) from error


def open(settings, target):
    return LabgridPower(settings["config"], settings["place"])
