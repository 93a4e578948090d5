"""power.toml: one table a switch. Its name is what --power takes; `kind` says which module.

    [bench]                  # --power bench
    kind = "relay"           # left out: the table's own name
    port = "/dev/ttyUSB1"
"""

import tomllib
from pathlib import Path

from drybag_host.emulator.files import drybag_home
from drybag_host.power_errors import SwitchSettings

_SECRETS = ("password", "secret", "token")
_KIND_NAMES = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def default_path():
    """Where the settings are when no file is named."""
    return drybag_home() / "power.toml"


def read(name, path, kinds):
    """(kind, table, where it stands) of the switch called `name`. Raises SwitchSettings."""
    file = Path(path) if path else default_path()
    tables = _tables(file, bool(path))
    if name not in tables:
        if name in kinds:
            return name, {}, "--power %s" % name
        known = sorted({*tables, *kinds})
        raise SwitchSettings("no power switch '%s' (there are: %s)" % (name, ", ".join(known)))
    table = dict(tables[name])
    where = "%s: [%s]" % (file, name)
    kind = table.pop("kind", name)
    if kind not in kinds:
        raise SwitchSettings(
            "%s: unknown kind %r (there are: %s)" % (where, kind, ", ".join(kinds)),
            "give it a line such as: kind = \"relay\"",
        )
    return kind, table, where


def _tables(file, must_exist):
    try:
        with open(file, "rb") as f:
            tables = tomllib.load(f)
    except FileNotFoundError:
        if must_exist:
            raise SwitchSettings("%s: no such file" % file) from None
        return {}
    except OSError as error:
        raise SwitchSettings("%s: %s" % (file, error.strerror)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SwitchSettings("%s: not TOML: %s" % (file, error), "see https://toml.io") from None
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise SwitchSettings("%s: '%s' stands outside a [table]" % (file, name))
    return tables


def check(table, keys, where):
    """`table` with the defaults filled in. Raises SwitchSettings."""
    values = {}
    for key, value in table.items():
        if key in _SECRETS:
            raise SwitchSettings(
                "%s: a %s does not belong into a file" % (where, key),
                "put it into the environment variable that %s_env names" % key,
            )
        if key not in keys:
            raise SwitchSettings(
                "%s: unknown key '%s' (there are: %s)" % (where, key, ", ".join(sorted(keys)))
            )
        values[key] = _value(value, keys[key], "%s: %s" % (where, key))
    for key, (_, default, what) in keys.items():
        if key not in values and default is None:
            raise SwitchSettings("%s: '%s' is missing: %s" % (where, key, what))
        values.setdefault(key, default)
    return values


def _value(value, key, where):
    if key.kind is float and type(value) is int:
        value = float(value)
    if type(value) is not key.kind:
        raise SwitchSettings("%s must be %s: %s" % (where, _KIND_NAMES[key.kind], key.what))
    if key.kind in (int, float) and not 0 <= value < 1e6:
        raise SwitchSettings("%s: %s is out of range: %s" % (where, value, key.what))
    return value


def choice(settings, key, allowed):
    """The value of `key` if it is one of `allowed`. Raises SwitchSettings."""
    value = settings[key]
    if value not in allowed:
        words = ", ".join('"%s"' % word for word in allowed)
        raise SwitchSettings("%s = %r: it is one of %s" % (key, value, words))
    return value
