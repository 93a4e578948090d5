"""Two edits of one record become one: three-way, property by property. Pure; SPEC.md "Merge".

A body is cut into *units*, each told by a key: a single-valued property by its name (N with FN;
DTSTART with DTEND, DUE and DURATION), the lines of a group together, a nested component as a
whole, and each line of a multi-valued property by itself. What one side changed in a unit is
taken; where both changed it differently the later side is shown and the unit is named.
"""

from drybag.bodies import blob_refs, line_name, lines, properties
from drybag.contentline import component
from drybag.layout import CONTACT, MAX_BLOBS, MAX_BODY

WHOLE = b"*"  # named when the records could not be merged: the later is shown whole

_TOGETHER = {b"FN": b"N", b"DTEND": b"DTSTART", b"DUE": b"DTSTART", b"DURATION": b"DTSTART"}
_CLOCKS = (b"REV", b"LAST-MODIFIED", b"DTSTAMP", b"SEQUENCE")
# At most once a component (RFC 6350: 1 and *1; RFC 5545: "MUST NOT occur more than once").
_ONE = (
    b"VERSION", b"UID", b"PRODID", b"N", b"KIND", b"BDAY", b"ANNIVERSARY", b"GENDER", b"REV",
    b"DTSTART", b"DTSTAMP", b"LAST-MODIFIED", b"SEQUENCE", b"CREATED", b"CLASS", b"SUMMARY",
    b"LOCATION", b"ORGANIZER", b"PRIORITY", b"STATUS", b"TRANSP", b"RECURRENCE-ID", b"COMPLETED",
    b"PERCENT-COMPLETE", b"CALSCALE", b"METHOD", b"IMAGE", b"MEDIATYPE",
)  # fmt: skip
# As often as one likes: two that were added side by side are both meant. Any other property
# counts as single-valued while no side has it twice.
_MANY = (
    b"TEL", b"EMAIL", b"ADR", b"LABEL", b"IMPP", b"LANG", b"RELATED", b"CATEGORIES", b"MEMBER",
    b"KEY", b"CLIENTPIDMAP", b"FBURL", b"CALADRURI", b"CALURI", b"SOURCE", b"XML", b"AGENT",
    b"ATTENDEE", b"ATTACH", b"COMMENT", b"CONTACT", b"EXDATE", b"RDATE", b"EXRULE",
    b"RELATED-TO", b"RESOURCES", b"REQUEST-STATUS", b"X-SOCIALPROFILE",
    b"X-AIM", b"X-ICQ", b"X-JABBER", b"X-MSN", b"X-YAHOO", b"X-SKYPE",
)  # fmt: skip
_IDENTITIES = (b"UID", b"TZID", b"X-WR-ALARMUID")


class Merged:
    """What a merge gives: parent, blobs (tuple of names), body, and `names`: the properties
    (upper-case bytes, or WHOLE) in which the earlier side is not shown; empty without conflict.
    """

    __slots__ = ("blobs", "body", "names", "parent")

    def __init__(self, parent, blobs, body, names=()):
        self.parent = parent
        self.blobs = tuple(blobs)
        self.body = body
        self.names = tuple(names)


def same(a, b):
    """True if two versions say the same: body, blob names and parent are equal."""
    return a.parent == b.parent and tuple(a.blobs) == tuple(b.blobs) and a.body == b.body


def merge(kind, base, later, earlier):
    """Merged of two versions that both replaced `base` (None: unknown).

    Versions are anything with parent, blobs and body (bytes). Which of two is `later` decides
    what is shown, and nothing else.
    """
    if same(later, earlier) or (base is not None and same(base, earlier)):
        return Merged(later.parent, later.blobs, later.body)
    if base is not None and same(base, later):
        return Merged(earlier.parent, earlier.blobs, earlier.body)
    whole = Merged(later.parent, later.blobs, later.body, (WHOLE,))
    if base is None:
        return whole
    body, names = merge_bodies(kind, base.body, later.body, earlier.body)
    if body is None:
        return whole
    parent = _choose(base.parent, later.parent, earlier.parent)
    if parent is None:
        parent = later.parent
        names.append(b"PARENT")
    blobs = _merge_blobs(base, later, earlier, body)
    if len(blobs) > MAX_BLOBS or len(body) > MAX_BODY:
        return whole
    return Merged(parent, blobs, body, names)


def merge_bodies(kind, base, later, earlier):
    """(body, list of names in conflict); (None, None) for bodies that cannot be merged."""
    if later == earlier or base == earlier:
        return later, []
    if base == later:
        return earlier, []
    if not _version(base) == _version(later) == _version(earlier):
        return None, None
    sides = [_pieces(body) for body in (base, later, earlier)]
    if None in sides:
        return None, None
    many = _many(kind, sides)
    groups = _groups(sides[0])
    for side in sides:
        _give_keys(side, many, groups)
    values = [_values(side) for side in sides]
    chosen = {}
    names = []
    for side in sides:
        for piece in side:
            if piece.key not in chosen:
                chosen[piece.key] = _take(piece, values, names)
    return _write(sides, chosen), names


def _choose(base, later, earlier):
    """The side that changed; None if both did, differently."""
    if later == earlier or earlier == base:
        return later
    return earlier if later == base else None


def _take(piece, values, names):
    """1 to show the later side's unit, 2 the earlier's. Names a conflict."""
    base, later, earlier = [v.get(piece.key) for v in values]
    if later == earlier or earlier == base:
        return 1
    if later == base:
        return 2
    if piece.name not in _CLOCKS and piece.name not in names:
        names.append(piece.name)
    return 1


# --- units -----------------------------------------------------------------------------------


class _Piece:
    """A line, or a nested component. text: without the label of its group, which means nothing."""

    __slots__ = ("key", "label", "name", "raw", "text")

    def __init__(self, raw, name, label=b"", text=None):
        self.raw = raw
        self.name = name
        self.label = label
        self.text = raw if text is None else text
        self.key = None


def _version(body):
    for line in properties(body, (b"VERSION",)):
        return line.value.strip()
    return b""


def _pieces(body):
    """The body as a list of _Piece; None if its components do not fit together."""
    out = []
    held = []  # lines of the component that is open
    open_names = []
    for line in lines(body):
        mark = component(line)
        if mark is not None and mark[0] > 0:
            open_names.append(mark[1])
            held.append(line)
        elif mark is not None:
            if not open_names or open_names.pop() != mark[1]:
                return None
            held.append(line)
            if not open_names:
                out.append(_Piece(b"\n".join(held), mark[1]))
                held = []
        elif open_names:
            held.append(line)
        else:
            out.append(_line_piece(line))
    return None if open_names else out


def _line_piece(line):
    name = line_name(line)
    name = _TOGETHER.get(name, name)
    end = _head_end(line)
    dot = line.rfind(b".", 0, end)
    if dot > 0 and name:
        return _Piece(line, name, line[:dot], line[dot:])
    return _Piece(line, name)


def _head_end(line):
    """Where the name of a line ends."""
    ends = [i for i in (line.find(b":"), line.find(b";")) if i >= 0]
    return min(ends) if ends else len(line)


def _many(kind, sides):
    """Names whose lines are units of their own."""
    many = set(_MANY)
    if kind == CONTACT:
        many.add(b"URL")
    for side in sides:
        seen = set()
        for piece in side:
            if not piece.label and piece.name not in _ONE:
                if piece.name in seen:
                    many.add(piece.name)
                seen.add(piece.name)
    many.add(b"")  # what is no property
    return many


def _groups(side):
    """Groups of a body: {label in upper case: texts, in order}."""
    found = {}
    for piece in side:
        if piece.label:
            label = piece.label.upper()
            found[label] = found.get(label, ()) + (piece.text,)
    return found


def _group_keys(side, base):
    """{label: key} for one side. A group is the base's of the same text, else of the same label.

    Labels are renumbered by some writers, and two sides may give one label to different things.
    """
    mine = _groups(side)
    keys = {}
    taken = set()
    labels = sorted(mine)  # dicts have no order on MicroPython
    for label in labels:
        if base.get(label) == mine[label]:
            keys[label] = (b"group", label)
            taken.add(label)
    for label in labels:
        if label not in keys:
            for other in sorted(base):
                if other not in taken and base[other] == mine[label]:
                    keys[label] = (b"group", other)
                    taken.add(other)
                    break
    for label in labels:
        if label not in keys and label in base and label not in taken:
            keys[label] = (b"group", label)
            taken.add(label)
    count = {}
    for label in labels:
        if label not in keys:
            nth = count.get(mine[label], 0)
            count[mine[label]] = nth + 1
            keys[label] = (b"new", mine[label], nth)
    return keys


def _give_keys(side, many, base_groups):
    keys = _group_keys(side, base_groups)
    for piece in side:
        if piece.label:
            piece.key = keys[piece.label.upper()]
        elif component(piece.raw) is not None:
            piece.key = (b"part", piece.name, _identity(piece.raw))
        elif piece.name in many:
            piece.key = (b"line", piece.raw)  # the same twice is one unit, and means two
        else:
            piece.key = (b"name", piece.name)


def _identity(raw):
    """What tells a nested component from others of its name: its UID or TZID, else all of it."""
    inner = raw[raw.find(b"\n") + 1 : raw.rfind(b"\n") + 1]
    for line in properties(inner, _IDENTITIES):
        return line.name + b":" + line.value
    return raw


def _values(side):
    """{key: texts of its pieces, in order}."""
    values = {}
    for piece in side:
        values[piece.key] = values.get(piece.key, ()) + (piece.text,)
    return values


# --- writing ---------------------------------------------------------------------------------


def _write(sides, chosen):
    """The merged body: the later side's order; what only the earlier has goes where it had it."""
    later, earlier = sides[1], sides[2]
    stands = {}  # key: where the pieces of the unit are in `later`
    for i in range(len(later)):
        stands.setdefault(later[i].key, []).append(i)
    swapped = {}  # the earlier's pieces of a unit that stands in both
    behind = {}  # index in `later`: pieces to follow it
    anchor = -1
    least = {}  # key: where the last piece of a unit that only the earlier has went
    count = {}
    for piece in earlier:
        if piece.key in stands:
            nth = count.get(piece.key, 0)
            count[piece.key] = nth + 1
            places = stands[piece.key]
            anchor = places[min(nth, len(places) - 1)]
            if chosen[piece.key] == 2:
                swapped.setdefault(piece.key, []).append(piece)
        elif chosen[piece.key] == 2:  # the lines of a unit keep their order
            at = least[piece.key] = max(anchor, least.get(piece.key, -1))
            behind.setdefault(at, []).append(piece)
    out = list(behind.get(-1, ()))
    done = set()
    for i in range(len(later)):
        piece = later[i]
        if chosen[piece.key] == 1:
            out.append(piece)
        elif piece.key not in done:
            done.add(piece.key)
            out.extend(swapped.get(piece.key, ()))
        out.extend(behind.get(i, ()))
    fresh = _fresh_labels(out, sides, chosen)
    done = []
    for piece in out:
        label = fresh.get(piece.key)
        done.append((piece.raw if label is None else label + piece.text) + b"\n")
    return b"".join(done)


def _fresh_labels(pieces, sides, chosen):
    """{key: new label} of the groups whose own label is another group's in the merged body."""
    known = set()
    for side in sides:
        for piece in side:
            known.add(piece.label.upper())
    owner = {}
    fresh = {}
    number = 1
    for side in (1, 2):
        for piece in pieces:
            label = piece.label.upper()
            if not label or chosen[piece.key] != side or piece.key in fresh:
                continue
            if owner.get(label, piece.key) == piece.key:
                owner[label] = piece.key
                continue
            while ("ITEM%d" % number).encode() in known:
                number += 1
            fresh[piece.key] = ("item%d" % number).encode()
            known.add(("ITEM%d" % number).encode())
    return fresh


def _merge_blobs(base, later, earlier, body):
    """Blob names: what the merged body refers to, and the others three-way."""
    known = list(later.blobs) + [sha for sha in earlier.blobs if sha not in later.blobs]
    used = blob_refs(body)
    loose = [_loose(version) for version in (base, later, earlier)]
    out = []
    for sha in known:
        if sha in used or _choose(*[sha in side for side in loose]):
            out.append(sha)
    return out


def _loose(version):
    """Blobs that a record names and its body does not refer to."""
    used = blob_refs(version.body)
    return [sha for sha in version.blobs if sha not in used]
