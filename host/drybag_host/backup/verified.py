"""Which backup of a handset was verified last: a small file a handset, kept on this computer.

`$DRYBAG_HOME/verified/ID.json`: {"handset", "dir", "epoch", "last_seq", "verified_at"}. It says
where to look; what counts is the backup itself.
"""

import json
import os
import re

from drybag_host.backup import disk
from drybag_host.errors import HostError

_MOST_BYTES = 65536
_KEYS = {"handset": str, "dir": str, "epoch": int, "last_seq": int, "verified_at": str}


def _path(home, handset_id):
    """A handset names itself: only letters and digits of that get into a file's name."""
    name = re.sub(r"[^0-9A-Za-z_-]", "_", handset_id)[:64] or "_"
    return os.path.join(str(home), "verified", name + ".json")


def note(home, folder, manifest, out):
    """Remember a pull that was compared with the handset; a pull does not fail for it."""
    path = _path(home, manifest.handset_id)
    value = {
        "handset": manifest.handset_id,
        "dir": os.path.abspath(folder),
        "epoch": manifest.epoch,
        "last_seq": manifest.last_seq,
        "verified_at": manifest.verified_at,
    }
    try:
        disk.make_dirs(os.path.dirname(path))
        disk.replace_file(path, json.dumps(value).encode() + b"\n")
    except HostError as error:
        out.warn("doctor will not know of this backup: %s" % error)


def last(home, handset_id):
    """What `note` was told last of this handset, as a dict; None if that is not known."""
    try:
        with open(_path(home, handset_id), "rb") as file:
            value = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or value.get("handset") != handset_id:
        return None
    if any(not isinstance(value.get(key), kind) for key, kind in _KEYS.items()):
        return None
    return value
