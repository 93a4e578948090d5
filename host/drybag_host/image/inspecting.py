"""What stands on a flash, sector by sector: read from a dump, nothing is changed."""

from collections import Counter

from drybag import layout
from drybag.layout import SECTOR
from drybag_host.image import dumpfile, salvage_scan

# what a sector can be: (letter in the picture, colour, in words)
CELLS = {
    "log": ("L", "green", "records"),
    "harmed": ("D", "red", "records, with damage"),
    "blob": ("B", "blue", "photos and large texts"),
    "bad_blob": ("X", "magenta", "a damaged piece of a photo"),
    "spare": ("s", "cyan", "free container"),
    "other": ("o", "yellow", "file system, or no longer used"),
    "blank": (".", "white", "erased"),
}


class Inspection:
    """`cells`: a key of CELLS a sector; `segments`: dicts; `entries`: dicts; `journal`: dict or
    None with `problem`; `partitions`: rows or None; `offset`: of `pim` in the file."""

    def __init__(self, path):
        data, self.offset, self.partitions = dumpfile.pim_of(path)
        self.path = path
        self.size = len(data)
        found = salvage_scan.scan(data)
        self.epochs = {"%08x" % epoch: n for epoch, n in found.epochs.items()}
        self.segments = []
        self.entries = []
        self.cells = [_plain(data, at) for at in range(0, len(data), SECTOR)]
        self._mark_chunks(data, {place for place, _ in found.damaged_chunks})
        for sector in sorted(found.sectors, key=lambda s: (s.epoch, s.number, s.place)):
            self._add(sector)
        self.counts = dict(Counter(self.cells))
        self.journal, self.problem = _journal(path)

    def _mark_chunks(self, data, damaged):
        for number in range(len(self.cells)):
            at = number * SECTOR
            prefix = layout.parse_prefix(data[at : at + 16]) if at + 16 <= len(data) else None
            if prefix and prefix[1] == layout.BLOB:
                self.cells[number] = "bad_blob" if at in damaged else "blob"
            elif prefix and prefix[1] == layout.SPARE:
                self.cells[number] = "spare"

    def _add(self, sector):
        number, h = sector.place // SECTOR, sector.header
        if 0 <= number < len(self.cells):
            self.cells[number] = "harmed" if sector.damaged or h is None else "log"
        self.segments.append(
            {"epoch": "%08x" % sector.epoch, "number": sector.number, "sector": number,
             "entries": len(sector.entries), "damaged": len(sector.damaged),
             "first": h.first if h else None, "next_seq": h.next_seq if h else None,
             "checkpoint": h.ckpt >> 6 if h else None, "copy_of": h.source if h else None}
        )  # fmt: skip
        for item in sector.entries:
            self.entries.append(
                {"seq": item.seq, "op": _OPS[item.op], "segment": sector.number,
                 "offset": item.place, "kind": _kind(item.kind),
                 "uid": item.uid.decode("utf-8", "replace"), "rev": item.rev,
                 "batch": bool(item.flags & layout.F_BATCH), "bytes": len(item.body)}
            )  # fmt: skip

    def fields(self, entries=False):
        """The whole of it for --json."""
        rows = self.partitions or []
        out = {
            "file": self.path, "bytes": self.size, "offset": self.offset,
            "partitions": [row._asdict() for row in rows], "epochs": self.epochs,
            "sectors": self.counts, "segments": self.segments, "journal": self.journal,
            "problem": self.problem,
        }  # fmt: skip
        if entries:
            out["entries"] = self.entries
        return out


_OPS = {
    layout.OP_PUT: "put", layout.OP_PUT_BIG: "put, large", layout.OP_DELETE: "delete",
    layout.OP_COMMIT: "commit", layout.OP_INDEX: "checkpoint",
}  # fmt: skip


def _kind(kind):
    return "setting" if kind == layout.SETTING else layout.KIND_NAMES.get(kind, "")


def _plain(data, at):
    return "other" if data[at : at + SECTOR].strip(b"\xff") else "blank"


def _journal(path):
    """(what the journal says of itself, None), or (None, why it cannot be opened)."""
    from drybag.errors import DrybagError

    try:
        journal = dumpfile.mount(path)
    except DrybagError as error:
        return None, str(error)
    report = dict(journal.report)
    report["damaged"] = [list(place) for place in report["damaged"]]
    return {**journal.stats(), "recovery": report}, None


def svg(inspection, columns=64, cell=10):
    """The flash as an SVG picture: a square a sector, a legend below."""
    rows = -(-len(inspection.cells) // columns)
    height = rows * cell + 20 * len(CELLS) + 20
    out = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
        'font-family="sans-serif" font-size="12">' % (columns * cell, height)
    ]
    square = (
        '<rect x="%d" y="%d" width="%d" height="%d" fill="%s" stroke="#999">'
        "<title>%s</title></rect>"
    )
    for number, kind in enumerate(inspection.cells):
        x, y = number % columns * cell, number // columns * cell
        words = "sector %d: %s" % (number, CELLS[kind][2])
        out.append(square % (x, y, cell, cell, CELLS[kind][1], words))
    for i, (kind, (_, colour, words)) in enumerate(CELLS.items()):
        y = rows * cell + 10 + 20 * i
        out.append(square % (0, y, 12, 12, colour, words))
        count = inspection.counts.get(kind, 0)
        out.append('<text x="20" y="%d">%s: %d</text>' % (y + 11, words, count))
    return "\n".join([*out, "</svg>", ""])
