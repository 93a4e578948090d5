"""Moving records over a link that may break: everything at once out, batches in.

Sending is idempotent: after a break the batch that was under way is compared with what the
handset has, and what is there already is not sent again.
"""

import io
from contextlib import closing

from drybag.errors import BadInput, DrybagError, MissingBlob, NoSpace
from drybag_host.backup.lines import content_sha, key_of
from drybag_host.errors import LinkError

ABSENT, SAME, DIFFERS, DELETED = 0, 1, 2, 3
BATCH_RECORDS = 32
BATCH_BYTES = 16384
FULL_AFTER = 3
BLOB_TRIES = 10


class Item:
    """A record to send. `blobs`: [(SHA-256, size in bytes, () -> binary file)].

    `source`: where it comes from, for messages. `state`: ABSENT .. DELETED once compared.
    """

    __slots__ = ("kind", "uid", "body", "blobs", "parent", "source", "state", "done", "error")

    def __init__(self, kind, uid, body, blobs=(), parent=0, source=""):
        self.kind = kind
        self.uid = bytes(uid)
        self.body = bytes(body)
        self.blobs = list(blobs)
        self.parent = parent
        self.source = source
        self.state = ABSENT
        self.done = False
        self.error = None

    @property
    def size_bytes(self):
        return len(self.uid) + len(self.body) + sum(size for _, size, _ in self.blobs)

    def shas(self):
        return [sha for sha, _, _ in self.blobs]

    def op(self):
        return ("put", self.kind, self.uid, self.body, tuple(self.shas()), self.parent)

    def sha(self):
        return content_sha(self.kind, self.uid, self.body, self.shas(), self.parent)


def memory_blob(sha, data):
    """A blob of an Item that is in memory."""
    return bytes(sha), len(data), lambda: io.BytesIO(data)


def fetch_all(session, out, label="reading"):
    """({key: Record} live, {key: Record} deleted): everything on the handset."""
    newest = {}
    damaged = []
    cursor = 0
    total = sum(session.hello().counts.values())

    with out.progress(label, total or None, "record") as bar:

        def work(link):
            nonlocal cursor
            with closing(link.changes(0, cursor)) as stream:
                for place, record in stream:
                    _ = record.body
                    key = key_of(record)
                    if key not in newest or record.seq >= newest[key].seq:
                        newest[key] = record
                    cursor = place
                    bar.advance()
                    session.progressed()
            damaged.extend(link.damaged)

        session.attempt(work)
    if damaged:
        names = {bytes(uid).decode("utf-8", "replace") for _, uid, _ in damaged}
        out.warn("damaged on the handset, left out: " + ", ".join(sorted(names)))
    live = {key: record for key, record in newest.items() if not record.deleted}
    gone = {key: record for key, record in newest.items() if record.deleted}
    return live, gone


def compare(session, items, bar=None):
    """Set the state of each item: is it on the handset, the same, another, deleted?"""
    for start in range(0, len(items), BATCH_RECORDS):
        group = items[start : start + BATCH_RECORDS]
        wanted = [(item.kind, item.uid, item.sha()) for item in group]
        states = session.attempt(lambda link, wanted=wanted: list(link.compare(wanted)))
        for item, state in zip(group, states, strict=True):
            item.state = state
        session.progressed()
        if bar:
            bar.advance(len(group))


def batches(items):
    """Lists of items that fit one batch, in order."""
    group, size = [], 0
    for item in items:
        length = len(item.uid) + len(item.body)
        if group and (len(group) == BATCH_RECORDS or size + length > BATCH_BYTES):
            yield group
            group, size = [], 0
        group.append(item)
        size += length
    if group:
        yield group


class Sender:
    """Sends items; each ends `done`, or with its `error`. `advance(bytes)` is told of progress."""

    def __init__(self, session, advance=None):
        self.session = session
        self.advance = advance or (lambda size_bytes: None)
        self._full = 0
        self._counted = set()  # blobs told to `advance`; a restart has them sent again

    def send(self, items):
        """Raises LinkError when the handset does not come back; what is `done` is on its flash."""
        for group in batches(items):
            if self._full >= FULL_AFTER:
                for item in group:
                    item.error = NoSpace("not tried: the flash is full")
                continue
            self._send_blobs(group)
            self._send_records([item for item in group if item.error is None])

    def _send_blobs(self, group):
        wanted = {sha for item in group for sha in item.shas()}
        if not wanted:
            return
        there = set(self.session.attempt(lambda link: link.has_blobs(sorted(wanted))))
        for item in group:
            for sha, size, opener in item.blobs:
                if sha in there or item.error is not None:
                    continue
                try:
                    self._send_blob(sha, size, opener)
                    there.add(sha)
                except LinkError:
                    raise
                except DrybagError as error:
                    item.error = error

    def _send_blob(self, sha, size, opener):
        def work(link):
            with opener() as file:
                link.put_blob(sha, size, file)

        self.session.attempt(work)
        self.session.progressed()
        if sha not in self._counted:
            self._counted.add(sha)
            self.advance(size)

    def _send_records(self, group, tries=BLOB_TRIES):
        """One batch; where the handset refuses it, each record alone, so that one is named.

        A handset that restarts forgets the blobs that no record names yet: they are sent again.
        """
        try:
            self._put(group)
        except LinkError:
            raise
        except MissingBlob as error:
            todo = [item for item in group if not item.done]
            if tries == 0:
                for item in todo:
                    item.error = error
                return
            self._send_blobs(todo)
            self._send_records([item for item in todo if item.error is None], tries - 1)
        except (BadInput, NoSpace) as error:
            if len(group) == 1:
                group[0].error = error
                self._full += isinstance(error, NoSpace)
                return
            for item in group:
                if not item.done and self._full < FULL_AFTER:
                    self._send_records([item])
                elif not item.done:
                    item.error = error
        else:
            self._full = 0

    def _put(self, group):
        again = False

        def work(link):
            nonlocal again
            if again:
                self._drop_done(link, group)
            again = True
            todo = [item for item in group if not item.done]
            if not todo:
                return
            count = 0
            for ack in link.put_records([item.op() for item in todo]):
                for item in todo[count : ack.done]:
                    self._finish(item)
                count = max(count, ack.done)

        self.session.attempt(work)

    def _drop_done(self, link, group):
        """After a break: what did arrive, although its ack did not?"""
        todo = [item for item in group if not item.done]
        states = link.compare([(item.kind, item.uid, item.sha()) for item in todo])
        for item, state in zip(todo, states, strict=True):
            if state == SAME:
                self._finish(item)

    def _finish(self, item):
        item.done = True
        self.advance(len(item.uid) + len(item.body))
        self.session.progressed()
