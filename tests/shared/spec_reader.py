"""A reader of raw dumps, written from firmware/SPEC.md alone: a second opinion on the code.

Pure Python without drybag. `read(image)` gives what section 2, "Reading", says a `pim` holds.
"""

import hashlib
from collections import namedtuple
from zlib import crc32

PUT, DELETE, INDEX, SEAL, PUT_BIG, COMMIT = 1, 2, 3, 4, 5, 6
BATCH, BASE, PARENT, BLOBS_HIGH, KEEP = 8, 16, 32, 128, 128
SETTING = 7

Record = namedtuple("Record", "kind uid body blobs parent seq stamp rev base")
Entry = namedtuple(
    "Entry", "op kind uid parent blobs body seq stamp rev batch units whole base keep shows"
)
Header = namedtuple("Header", "first resume copy_units copy_crc source next_seq")


def u(data, at, size):
    return int.from_bytes(data[at : at + size], "little")


def offset(position):
    return position % 16 * 256 + position // 16 * 64


def positions(start=1):
    return [p for p in range(start, 64) if p not in (15, 31, 47)]


def behind(position, units):
    """The position `units` units behind `position`, 64 at the end; None over the end."""
    rest = [*positions(position), 64]
    return rest[units] if units < len(rest) else None


def prefix(head):
    """(version, type, epoch, number) or None."""
    if u(head, 0, 2) != 0xDB53 or crc32(head[:12]) != u(head, 12, 4):
        return None
    return head[2], head[3], u(head, 4, 4), u(head, 8, 4)


def xor(parts):
    out = 0
    for part in parts:
        out ^= int.from_bytes(part, "little")
    return out.to_bytes(len(part), "little")


def sector_prefix(sector):
    found = prefix(sector[:16])
    if found or sector[3840:3856] == b"\xff" * 16 or sector[:16] == b"\xff" * 16:
        return found
    return prefix(xor([sector[at : at + 16] for at in range(256, 4096, 256)]))


def rebuilt(sector, row, columns):
    out = bytearray(sector)
    for column in range(columns):
        places = [r * 256 + column * 64 for r in range(16)]
        if out[places[15] : places[15] + 64] == b"\xff" * 64:
            break
        parts = [out[at : at + 64] for r, at in enumerate(places) if r != row]
        out[places[row] : places[row] + 64] = xor(parts)
    return bytes(out)


def header(sector):
    found = prefix(sector[:16])
    if not found or found[1] != 1 or crc32(sector[16:60]) != u(sector, 60, 4):
        return None
    return Header(u(sector, 16, 4), u(sector, 24, 4), sector[28], u(sector, 32, 4),
                  u(sector, 56, 4), u(sector, 36, 4))  # fmt: skip


def entry(sector, position, epoch):
    """The Entry at a position, `whole` or not; None where no header stands."""
    head = sector[offset(position) :][:22]
    start = crc32(head[0:2], epoch)
    if head[0] != 0xE5 or crc32(head[4:22], start) & 0xFFFF != u(head, 2, 2):
        return None
    op, length, uid_len, what = head[1], u(head, 12, 2), head[14], head[15]
    units = (22 + length + 63) // 64
    if u(head, 4, 4) == 0xFFFFFFFF and op & 7 != INDEX:
        return None
    if units > 24 or behind(position, units) is None or not op & 7:
        return None
    data = b"".join(sector[offset(p) :][:64] for p in positions(position)[:units])
    payload = data[22 : 22 + length]
    whole = crc32(payload, crc32(head[4:18], start)) == u(head, 18, 4)
    at = uid_len
    parent = 0
    if op & PARENT:
        parent, at = u(payload, at, 4), at + 4
    base = 0
    if op & BASE:
        base, at = u(payload, at, 4), at + 4
    count, delete = (what >> 5) + (8 if op & BLOBS_HIGH else 0), op & 7 == DELETE
    if delete:
        count = 0
    blobs = tuple(payload[at + 32 * i :][:32] for i in range(count))
    body = payload[at + 32 * count :]
    return Entry(op & 7, what & 7, payload[:uid_len], parent, blobs, body, u(head, 4, 4),
                 u(head, 8, 4), u(head, 16, 2), bool(op & BATCH), units, whole, base,
                 delete and bool(op & KEEP) and what & 7 != SETTING, ())  # fmt: skip


def whole_entries(sector, epoch):
    """(position, Entry) of every whole one; goes on at the next unit where there is none."""
    position = 1
    while position < 64:
        found = entry(sector, position, epoch)
        whole = found is not None and found.whole
        if whole:
            yield position, found
        position = behind(position, found.units if whole else 1)


def end_of(sector, epoch):
    """Behind the last of the whole entries."""
    end = 1
    for position, found in whole_entries(sector, epoch):
        end = behind(position, found.units)
    return end


def in_order(sector, epoch):
    position = 1
    while position < 64 and (found := entry(sector, position, epoch)) and found.whole:
        position = behind(position, found.units)
    if position == 64:
        return True
    found = entry(sector, position, epoch)
    position = behind(position, found.units if found else 1)
    return all(sector[offset(p) :][:64] == b"\xff" * 64 for p in range(position, 64))


def healed(sector, epoch):
    if header(sector) and in_order(sector, epoch):
        return sector
    best, most = sector, -1
    if header(sector):
        most = len(list(whole_entries(sector, epoch)))
    for row in range(15):
        for columns in (1, 2, 3):
            variant = rebuilt(sector, row, columns)
            count = len(list(whole_entries(variant, epoch)))
            if header(variant) and count > most:
                best, most = variant, count
    return best


def find_tail(logs, epoch):
    """(number, Header, healed sector); segments that do not count are taken out of `logs`."""
    while logs:
        number = max(logs)
        sector = healed(logs[number], epoch)
        found = header(sector)
        if not found and end_of(sector, epoch) > 1:
            below = [header(logs[n]) for n in sorted(logs, reverse=True) if n < number]
            first = next((h.first for h in below if h), min(logs))
            found = Header(first, 0, 0, 0, 0, 0)
        if found and found.copy_units and found.source in logs:
            units = [sector[offset(p) :][:64] for p in positions()[: found.copy_units]]
            if (end_of(sector, epoch) <= behind(1, found.copy_units)
                    and crc32(b"".join(units)) != found.copy_crc):  # fmt: skip
                found = None
        if found:
            logs.pop(found.source, None)
            return number, found, sector
        del logs[number]
    return None


def chosen(logs, number, tail):
    """Numbers before the tail that count, ascending."""
    floor, out = tail.resume or number, []
    for n in sorted(logs, reverse=True):
        if tail.first <= n < min(floor, number):
            found = header(logs[n]) or header(rebuilt(logs[n], 0, 1))
            floor = found.resume if found and found.resume else floor
            out.append(n)
    return out[::-1]


def unread(variants, position, found):
    """The put or delete that is seen and whole in none of these variants; None without."""
    for e in found:
        if e and e.op in (PUT, DELETE, PUT_BIG) and e.kind and 1 <= len(e.uid) <= 200:
            uids = {}
            for variant in variants:
                units = [variant[offset(p) :][:64] for p in positions(position)[: e.units]]
                uids[b"".join(units)[22 : 22 + len(e.uid)]] = True
            return e._replace(shows=tuple(uids))
    return None


def mended(sector, epoch):
    """A tail without a SEAL: the units of each entry that one rebuilt row makes whole put back."""
    position = 1
    while position < 64:
        found = entry(sector, position, epoch)
        if not (found and found.whole) and sector[offset(position) :][:64] != b"\xff" * 64:
            for row in range(15):
                variant = rebuilt(sector, row, 3)
                found = entry(variant, position, epoch)
                if found and found.whole:
                    out = bytearray(sector)
                    for p in positions(position)[: found.units]:
                        out[offset(p) : offset(p) + 64] = variant[offset(p) :][:64]
                    sector = bytes(out)
                    break
        position = behind(position, found.units if found and found.whole else 1)
    return sector


def walk(sector, epoch, next_seq, read=None):
    """Entries, whole or not, of a segment; `next_seq`: of the next header, None for the tail,
    which is `sector` healed and `read` as it was."""
    position, out, last_whole, variants = 1, [], 0, []
    ends = [e.op for _, e in whole_entries(sector, epoch)]
    sealed = next_seq is not None or SEAL in ends[-1:]
    if not sealed:
        sector = mended(sector, epoch)
    while position < 64:
        if next_seq is not None and sector[offset(position) :][:64] == b"\xff" * 64:
            break
        whole, found = entry(sector, position, epoch), []
        if not (whole and whole.whole):
            if not variants:
                rows = range(15) if sealed else ()
                variants = [sector] + [rebuilt(sector, row, 3) for row in rows]
                others = [read or sector] + [rebuilt(read or sector, row, 3) for row in rows]
            found = [entry(variant, position, epoch) for variant in variants]
            tried = [entry(variant, position, epoch) for variant in others]
            whole = next((e for e in tried if e and e.whole), None) if sealed else None
        use = whole or unread(variants, position, found)
        if use:
            out.append(use)
        if whole:
            last_whole = len(out)
        position = behind(position, whole.units if whole else 1)
    return [e for at, e in enumerate(out) if at < last_whole or e.seq < (next_seq or 0)]


def precedes(older, e):
    """True if `e`, which cannot be read, comes next after `older` of its record."""
    if older is None or older.seq >= e.seq:
        return False
    if older.op == DELETE:
        return e.op != DELETE and e.rev == 1
    return e.rev == min(older.rev + 1, 65535)


def apply(entries):
    """{(kind, uid): Entry} of the live versions, and the same of the tombstones to keep."""
    live, graves, aside = {}, {}, []

    def count(e):
        key = e.kind, e.uid
        if not e.whole:
            both = {**graves, **live}
            keys = [k for k in ((e.kind, uid) for uid in e.shows) if precedes(both.get(k), e)]
            if len(keys) != 1:
                return
            key = keys[0]
        live.pop(key, None)
        graves.pop(key, None)
        if e.op != DELETE:
            live[key] = e
        elif e.keep:
            graves[key] = e

    for e in entries:
        if e.op == COMMIT:
            for waiting in aside:
                if waiting.seq >= u(e.body, 0, 4):
                    count(waiting)
            aside = []
        elif e.op in (PUT, PUT_BIG, DELETE):
            if e.batch:
                aside.append(e)
                continue
            if aside and e.seq > aside[-1].seq:
                for waiting in aside if e.seq == aside[-1].seq + 2 else ():
                    count(waiting)
                aside = []
            count(e)
    return live, graves


def blob(chunks, sha):
    """The bytes of a blob, from whichever copy of each chunk is intact; None without it."""
    out, size, at = b"", None, 0
    while size is None or len(out) < size:
        found = None
        for number, sector in chunks:
            if number & 0xFFF != at or sector[16:48] != sha:
                continue
            length, data_crc = u(sector, 52, 2), u(sector, 56, 4)
            if crc32(sector[16:60]) == u(sector, 60, 4):
                if crc32(sector[64 : 64 + length]) == data_crc:
                    found, size = sector[64 : 64 + length], u(sector, 48, 4)
        if found is None:
            return None
        out, at = out + found, at + 1
    return out if hashlib.sha256(out).digest() == sha else None


def read(image):
    """({(kind, uid): Record} of PIM records, {SHA-256: bytes} of the blobs they name).

    Raises ValueError.
    """
    live, _, chunks = read_all(image)
    return _records({key: e for key, e in live.items() if key[0] != SETTING}, chunks)


def read_all(image):
    """({(kind, uid): Entry} of live versions, settings too; of the tombstones that the hub had
    not; chunks of blobs). Raises ValueError."""
    sectors = [bytes(image[at : at + 4096]) for at in range(0, len(image), 4096)]
    logs, chunks, epochs = {}, [], set()
    for sector in sectors:
        found = sector_prefix(sector)
        if found is None:
            continue
        if found[0] > 1:
            raise ValueError("a newer version")
        epochs.add(found[2])
        if found[1] == 1:
            twin = logs.get(found[3])
            if twin is None or twin[256:320] == b"\xff" * 64:
                logs[found[3]] = sector
        elif found[1] == 2:
            chunks.append((found[3], sector))
    if len(epochs) > 1:
        raise ValueError("two journals")
    if not logs:
        return {}, {}, chunks
    epoch = epochs.pop()
    tail = find_tail(logs, epoch)
    if tail is None:
        return {}, {}, chunks
    number, head, sector = tail
    read = logs[number]
    entries, counted = [], chosen(logs, number, head)
    for at, n in enumerate(counted):
        behind_it = logs[counted[at + 1]] if at + 1 < len(counted) else sector
        following = header(behind_it) or header(rebuilt(behind_it, 0, 1))
        next_seq = following.next_seq if following else 0
        entries += walk(logs[n], epoch, next_seq)
    return *apply(entries + walk(sector, epoch, None, read)), chunks


def _records(live, chunks):
    records, blobs = {}, {}
    for key, e in live.items():
        body, names = e.body, e.blobs
        if e.op == PUT_BIG:
            body, names = blob(chunks, names[0]), names[1:]
        if e.whole:
            records[key] = Record(e.kind, e.uid, body, names, e.parent, e.seq, e.stamp, e.rev,
                                  e.base)  # fmt: skip
            blobs.update({sha: blob(chunks, sha) for sha in names})
    return records, blobs


def content_id(parent, blobs, body):
    """As SPEC.md "Bases"."""
    return crc32(parent.to_bytes(4, "little") + b"".join(blobs) + body) or 1


def digest(records):
    """(count, 32 bytes) as SPEC.md "Digest"."""
    acc = bytes(32)
    for r in records.values():
        form = bytes([r.kind, len(r.uid)]) + r.uid
        for number, size in ((r.parent, 4), (r.seq, 4), (r.stamp, 4), (r.rev, 2)):
            form += number.to_bytes(size, "little")
        form += bytes([len(r.blobs)]) + b"".join(r.blobs) + r.body
        acc = xor([acc, hashlib.sha256(form).digest()])
    return len(records), acc
