"""Filling a handset, pulling it, looking at the backup: steps the backup tests share."""

import os
import random

from journal_link import quiet

from drybag import layout
from drybag_host.backup.pull import Pull
from drybag_host.backup.store import Backup

CARD = b"VERSION:3.0\nFN:Person %d\nTEL:+49 30 %06d\n"


def fill(handset, count=30, photos=2):
    """Contacts with and without photos, an event, odd bytes."""
    rng = random.Random(7)
    for i in range(count):
        body, blobs = CARD % (i, i), ()
        if i < photos:
            sha = handset.put_blob(rng.randbytes(5000 + i))
            body += b"PHOTO;ENCODING=b:drybag:blob/%s\n" % sha.hex().encode()
            blobs = (sha,)
        handset.put(layout.CONTACT, b"uid-%d" % i, body, blobs)
    handset.put(
        layout.EVENT, b"ev", b"UID:ev\nSUMMARY:Caf\xc3\xa9\nDTSTART:20250131T0930\n", (), 77
    )
    handset.put(layout.NOTE, b"latin\xff", b"SUMMARY:\xe9t\xe9 \x00\x1b[2J\n")
    return handset


def pull(handset, path, **options):
    with handset.session() as session:
        return Pull(str(path), session, quiet(), **options).run()


def contents(path):
    """What a backup says, in the form of Handset.live()."""
    backup = Backup(str(path))
    return {
        (r.kind, bytes(r.uid)): (bytes(r.body), tuple(r.blobs), r.parent) for r in backup.records()
    }


def files_of(path):
    """{relative name: bytes} of every file."""
    out = {}
    for folder, _, names in os.walk(path):
        for name in names:
            full = os.path.join(folder, name)
            with open(full, "rb") as file:
                out[os.path.relpath(full, path)] = file.read()
    return out


def change(handset):
    sha = handset.put_blob(b"photo" * 700)
    handset.put(layout.CONTACT, b"uid-2", b"VERSION:3.0\nPHOTO:drybag:blob/%s\n"
                % sha.hex().encode(), (sha,))  # fmt: skip
    handset.journal.delete(layout.CONTACT, b"uid-3")
