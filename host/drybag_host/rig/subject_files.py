"""Names of subjects that are files of this computer."""

from pathlib import Path

from drybag_host.errors import HostFile


def app_subject(path):
    """The subject's name for an app's file. Raises HostFile where there is none."""
    path = Path(path)
    if not path.is_file():
        raise HostFile("%s: no such file" % path, "give the path of a MicroPython file")
    return "app:%s" % path.resolve()
