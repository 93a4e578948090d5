"""The hub's end of drybag.syncwire: requests as it reads them, replies as it writes them. Pure."""

import hashlib
import struct

from drybag import syncwire as w


def parse_request(data):
    """(Request, list of its Items). Raises BadMessage, SyncNewer: then nothing of it counts."""
    w.check_start(data, w.REQUEST_MAGIC, w.REQUEST_BYTES)
    r = w.Request()
    (_, _, r.nonce, r.epoch, r.life, r.last_seq, r.acked, r.ack_check, r.upto, r.cursor,
     r.cursor_check, r.time, r.room, r.n) = struct.unpack_from(w._REQUEST, data, 0)  # fmt: skip
    items = list(w.parse_items(data, w.REQUEST_BYTES, r.n))
    if items and not items[-1].number <= r.upto:
        raise w.BadMessage("an item behind the seq that the request goes up to")
    if r.upto > r.last_seq:
        raise w.BadMessage("it goes up to a seq behind the last one of the journal")
    return r, items


def pack_request(request, items):
    """A whole request, for tests, tools and simulations; the handset builds its own in place."""
    packer, buf = packed(items, w.REQUEST_BYTES, w.REQUEST_BYTES + w.ITEMS_BYTES)
    request.n = packer.n
    request.pack_into(buf)
    return bytes(buf[: packer.at])


def pack_reply(reply, items=(), room=0):
    """The bytes of a Reply with as many of `items` as fit into `room` bytes: (bytes, how many).

    `reply.wanted`: at most 255 (name, bytes there). Flags and cursor are the caller's: it packs
    again when not all of them fitted.
    """
    start = w.REPLY_BYTES + w.BLOB_BYTES * len(reply.wanted) + 2
    packer, buf = packed(items, start, start + room)
    struct.pack_into(
        w._REPLY, buf, 0, w.REPLY_MAGIC, w.VERSION, reply.flags, reply.nonce, reply.hub,
        reply.ack, reply.ack_check, reply.offsite, reply.time, reply.cursor, reply.cursor_check,
        reply.wait_s, len(reply.wanted),
    )  # fmt: skip
    for i, (name, have) in enumerate(reply.wanted):
        struct.pack_into(w._BLOB, buf, w.REPLY_BYTES + w.BLOB_BYTES * i, name, have)
    struct.pack_into("<H", buf, start - 2, packer.n)
    return bytes(buf[: packer.at]), packer.n


def packed(items, start, end):
    """(Packer, buffer) after as many of `items` as fit between `start` and `end`."""
    buf = bytearray(end)
    packer = w.Packer(buf, start, end)
    for item in items:
        if not packer.add(item):
            break
    return packer, buf


def fit(items, room):
    """How many of `items` fit into a reply with so much room."""
    return packed(items, 0, room)[0].n


def item_sha(item):
    """SHA-256 of all that an item says, the flag RESEND left aside."""
    h = hashlib.sha256(
        struct.pack(
            "<BBBIIHBII", item.kind, item.deleted, item.no_time, item.number, item.stamp, item.rev,
            len(item.uid), item.base, item.parent,
        )  # fmt: skip
    )
    h.update(item.uid)
    h.update(bytes((len(item.blobs), 1 if item.big else 0)))
    for sha in item.blobs:
        h.update(sha)
    if item.big:
        h.update(item.big[0] + struct.pack("<I", item.big[1]))
    elif not item.deleted:
        h.update(item.body)
    return h.digest()
