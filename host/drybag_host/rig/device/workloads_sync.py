"""Workloads of a handset that syncs with a hub. For the data see workloads.py."""

from drybag_host.rig.device.ops import put, text

_BOOT = ("boot",)


def _paired():
    """Records that the hub has, those of another handset too, and edits on both sides."""
    ops = [_BOOT] + [put(1 + n % 4, b"old%d" % n, n, 60 + 40 * n, (), n) for n in range(7)]
    return ops + [("pair",), ("sync",)]


def _elsewhere(n, kind, uid, size, photos=()):
    return ("elsewhere", kind, uid, text(n, size), photos)


def _syncing():
    """Up and down: edits, a deletion, a photo, a body that is a blob."""
    return [
        put(2, b"old1", 20, 100), ("delete", 3, b"old2"), put(1, b"young", 21, 90),
        ("photo", b"mine.jpg", 22, 700), put(4, b"big", 23, 1800),
        ("sync",),
        _elsewhere(30, 2, b"old5", 90), _elsewhere(31, 1, b"far", 120),
        ("elsewhere", 4, b"old3", None), _elsewhere(32, 5, b"far.jpg", 20, ((33, 900),)),
        _elsewhere(34, 4, b"far big", 1700),
        put(2, b"old1", 24, 80), ("delete", 1, b"young"),
        ("sync", [put(1, b"old0", 25, 70)]),
        put(2, b"old5", 26, 60), ("sync",),
    ]  # fmt: skip


def _before_setback():
    """What the hub's last backup has not: edits, deletions, a change from elsewhere."""
    return _paired() + [
        _elsewhere(30, 1, b"far", 120), ("sync",), ("hub_kept",),
        put(2, b"old1", 20, 100), ("delete", 3, b"old2"), ("delete", 1, b"far"),
        put(1, b"young", 21, 90), _elsewhere(31, 2, b"old5", 90), ("sync",),
        ("checkpoint",), put(3, b"late", 22, 50), ("sync",), ("delete", 4, b"old3"),
    ]  # fmt: skip


def _set_back():
    return [("hub_back",), ("sync",), ("delete", 2, b"old1"), put(3, b"old2", 23, 40),
            ("sync",), ("seal",), ("sync",)]  # fmt: skip


def _card(nickname, title, role, note):
    """A contact; whoever edits it changes one of these."""
    lines = b"VERSION:3.0\nFN:Both\nNICKNAME:n%d\nTITLE:t%d\nROLE:r%d\nNOTE:o%d\n"
    return lines % (nickname, title, role, note)


def _here(n, *properties):
    return ("put", 1, b"both%d" % n, _card(*properties), (), 0)


def _there(n, *properties):
    return ("elsewhere", 1, b"both%d" % n, _card(*properties), ())


def _before_merge():
    return [_BOOT, _here(0, 0, 0, 0, 0), _here(1, 0, 0, 0, 0), put(2, b"else", 1, 60),
            ("pair",), ("sync",)]  # fmt: skip


def _merging():
    """Both sides change one contact before a sync, and while it is under way."""
    return [
        _here(0, 1, 0, 0, 0), _there(0, 0, 1, 0, 0), ("sync",),
        ("sync", [_there(0, 1, 1, 1, 0), _here(0, 1, 1, 0, 1)]),
        _there(0, 2, 1, 1, 1), _here(0, 1, 1, 1, 2), ("delete", 1, b"both1"),
        ("sync", [_there(1, 0, 0, 0, 1), _here(0, 1, 1, 2, 2)]),
        ("sync",),
    ]  # fmt: skip


NAMED = {
    "syncing": (24, _paired, _syncing),
    "sync-set-back": (24, _before_setback, _set_back),
    "sync-merge": (24, _before_merge, _merging),
}
