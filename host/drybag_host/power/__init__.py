"""Power switches: one small module each, found by its name.

A module has SUMMARY (a line), NOTES (what to know before using it), TRIED
(against what), KEYS (its settings: name to
Key), EXAMPLE (a table for power.toml) and `open(settings, target)`, which returns a Switch.
"""

import importlib
import pkgutil

from ._settings import default_path, read
from ._switch import COMMON_KEYS, Key, Switch

__all__ = ["COMMON_KEYS", "Key", "Switch", "default_path", "kinds", "module_of", "open_switch"]


def kinds():
    """The names of all kinds of switches, sorted."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name[0] != "_")


def module_of(kind):
    """The module of one kind."""
    return importlib.import_module("%s.%s" % (__name__, kind))


def open_switch(name, target, path=None):
    """The switch called `name`: a table of the settings file `path` (default: power.toml in
    Drybag's folder), or a kind that needs no settings. `target`: the board it feeds.

    Raises SwitchSettings, SwitchFailed.
    """
    kind, table, where = read(name, path, kinds())
    module = module_of(kind)
    settings = module_settings(module, table, where)
    switch = module.open(settings, target)
    switch.name, switch.kind = name, kind
    switch.settle_s, switch.off_s = settings["settle_s"], settings["off_s"]
    return switch


def module_settings(module, table, where):
    """Every key of the module with its value or default. Raises SwitchSettings."""
    from ._settings import check

    common = {**COMMON_KEYS, **getattr(module, "COMMON", {})}
    return check(table, {**module.KEYS, **common}, where)
