"""Where the firmware's sources and the board files are: in a checkout or in the wheel."""

from pathlib import Path

_HERE = Path(__file__).resolve().parent
_CHECKOUT = _HERE.parent.parent


def version():
    """The version of the installed package, or of the source tree it runs from."""
    from importlib import metadata

    try:
        return metadata.version("drybag")
    except metadata.PackageNotFoundError:
        return "0+source"


def _find(name, probe):
    for root in (_CHECKOUT, _HERE / "data"):
        if (root / name / probe).exists():
            return root / name
    raise FileNotFoundError("this installation lacks %s/%s: install it again" % (name, probe))


def firmware_dir():
    """The folder with boot.py, main.py and lib/."""
    return _find("firmware", "lib")


def boards_dir():
    """The folder with one TOML file a board and partitions/."""
    return _find("boards", "partitions")
