"""`hub:URL` as a source: an owner's records read from a running hub, where a backup folder does.

The calls of sources.BackupSource, and those that a restore needs of a backup.
"""

import contextlib
import os

from drybag.errors import Damaged, NotFound
from drybag.layout import KIND_NAMES, Record
from drybag_host.errors import Usage
from drybag_host.hub.client import HubClient, body_of, uid_of
from drybag_host.targets import HUB_PREFIX, OWNER_ENV

__all__ = ["HubSource", "open_hub"]

_KINDS = {name: number for number, name in KIND_NAMES.items()}


@contextlib.contextmanager
def open_hub(args, text):
    """A HubSource for hub:URL, logged in. The password is asked for, or comes from
    DRYBAG_HUB_PASSWORD. Raises Usage, HubUnreachable, HubNotTrusted, HubRefused, Declined."""
    from drybag_host.hub.secrets_in import asked
    from drybag_host.hub.trust import keep, parse_url, trusted

    place = parse_url(text[len(HUB_PREFIX) :])
    owner = args.owner or os.environ.get(OWNER_ENV)
    if not owner:
        raise Usage("whose records are wanted of %s" % place.url, "--owner NAME")

    def ask(found):
        args.out.confirm("the hub at %s has the CA sha256=%s: is that it" % (place.url, found))

    der = trusted(place, args.ca, ask)
    with HubClient(place, der) as client:
        client.login(owner, asked("password of %s at the hub" % owner, "DRYBAG_HUB_PASSWORD"))
        keep(place, der)
        yield HubSource(client, owner, place.url)


class HubSource:
    """One owner's records in a hub. Raises HubRefused, HubUnreachable, NotFound, Damaged."""

    is_backup = False

    def __init__(self, client, owner, name):
        self.client = client
        self.owner = owner
        self.name = name
        self.title = owner
        self._records = None

    def records(self):
        """Every live record, by kind and uid."""
        if self._records is None:
            self._records = [_record(view) for view in self.client.records(bodies=True)]
        return self._records

    def deleted_records(self):
        """The last version of every record that was deleted."""
        out = []
        for view in self.client.records(deleted=True):
            if view["deleted"]:
                out += self.history(_KINDS[view["kind"]], uid_of(view))[:1]
        return out

    def find(self, text, kind):
        return None

    def get(self, kind, uid):
        """The live version. Raises NotFound."""
        view = self.client.record(KIND_NAMES[kind], bytes(uid))
        if view["deleted"]:
            raise NotFound("%s: no such record" % self.name)
        return _record(view)

    def history(self, kind, uid):
        """Older versions, newest first; what only repeats another is left out."""
        views = list(self.client.history(KIND_NAMES[kind], bytes(uid)))
        shown = next((v["pos"] for v in views if v["counts"]), 0)
        return [
            _record(v)
            for v in views
            if v["pos"] != shown and not v["deleted"] and v["role"] != "same"
        ]

    # --- blobs -------------------------------------------------------------------------------

    def has_blob(self, sha):
        try:
            self.client.blob_size(sha)
        except NotFound:
            return False
        return True

    def blob_size(self, sha):
        """Its bytes. Raises NotFound."""
        return self.client.blob_size(sha)

    def blob_chunks(self, sha):
        """The bytes of a blob in pieces. Raises Damaged behind the last if they are others."""
        from hashlib import sha256

        digest = sha256()
        for piece in self.client.blob(bytes(sha)):
            digest.update(piece)
            yield piece
        if digest.digest() != bytes(sha):
            raise Damaged("%s: blob %s has another hash" % (self.name, bytes(sha).hex()))

    def read_blob(self, sha):
        return b"".join(self.blob_chunks(sha))

    def damage(self):
        return []


def _record(view):
    blobs = [bytes.fromhex(name) for name in view["blobs"]]
    return Record(
        _KINDS[view["kind"]], uid_of(view), body_of(view), blobs, view["parent"], view["pos"],
        view["stamp"], view["rev"], view["deleted"],
    )  # fmt: skip
