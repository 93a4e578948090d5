"""`drybag inspect`: what stands on a flash, as tables and as a picture."""

import shutil

from drybag_host.targets import add_link_options, add_speed

ORDER = 52
COLUMNS = 64


def add_parser(sub):
    parser = sub.add_parser(
        "inspect",
        help="show what stands on a flash: partitions, segments, entries, a picture",
        description="Show what stands on the flash of a dump or a handset: partitions, journal, "
        "segments and entries, and a picture with one cell a sector. Only reads.",
        epilog="example:\n  drybag inspect pim.bin --tree\n"
        "  drybag inspect emu:NAME --svg flash.svg\n",
    )
    parser.add_argument("source", metavar="FILE|TARGET", help="a dump file, or a handset")
    parser.add_argument("--tree", action="store_true", help="every segment")
    parser.add_argument("--entries", action="store_true", help="every entry")
    parser.add_argument("--svg", metavar="FILE", help="the picture as a file")
    add_link_options(parser)
    add_speed(parser)


def run(args):
    from drybag_host.image import inspecting
    from drybag_host.sources import is_dump

    if is_dump(args.source):
        found = inspecting.Inspection(args.source)
    else:
        found = _of_target(args)
    args.out.document(found.fields(args.entries))
    if args.svg:
        from drybag_host.backup.disk import replace_file

        replace_file(args.svg, inspecting.svg(found).encode())
    _print(args, found)
    return 0


def _of_target(args):
    """Inspection of a handset: dumped into a temporary file first."""
    import os
    import tempfile

    from drybag_host.commands import dump
    from drybag_host.image import inspecting

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "pim.bin")
        dump.fetch(args, args.source, path)
        found = inspecting.Inspection(path)
    found.path = args.source
    return found


def _print(args, found):
    from drybag_host.image.inspecting import CELLS

    out = args.out
    if found.partitions:
        rows = [(r.label, "0x%x" % r.offset, "0x%x" % r.size) for r in found.partitions]
        out.table("Partitions", ("label", "from", "bytes"), rows)
    facts = [
        ("bytes of pim", str(found.size)), ("epochs", ", ".join(found.epochs) or "none"),
        ("segments", str(len(found.segments))), ("entries", str(len(found.entries))),
    ]  # fmt: skip
    if found.journal:
        j = found.journal
        counts = ", ".join("%d %s" % (n, k) for k, n in j["records"].items() if n)
        newest = max((s["checkpoint"] or 0 for s in found.segments), default=0)
        facts += [
            ("records", counts or "none"), ("file system", j["filesystem"]),
            ("checkpoint", "in segment %d" % newest if newest else "none"),
            ("health", _health(j)),
            ("last shutdown", "clean" if j["recovery"]["clean"] else "power was cut"),
        ]  # fmt: skip
    else:
        facts.append(("journal", "cannot be opened: %s" % found.problem))
    out.facts(found.path, facts)
    letters = "".join(CELLS[kind][0] for kind in found.cells)
    fits = shutil.get_terminal_size().columns >= COLUMNS + 7
    wide = COLUMNS if fits else COLUMNS // 2
    for at in range(0, len(letters), wide):
        out.line("%5d  %s" % (at, letters[at : at + wide]))
    out.line()
    for kind, (letter, _, words) in CELLS.items():
        if found.counts.get(kind):
            out.line("    %s  %5d  %s" % (letter, found.counts[kind], words))
    if args.tree:
        columns = ("epoch", "number", "sector", "entries", "damaged", "first", "next_seq")
        rows = [[str(s[c]) for c in columns] for s in found.segments]
        out.table("Segments", columns, rows)
    if args.entries:
        columns = ("seq", "op", "segment", "offset", "kind", "uid", "rev", "bytes")
        out.table("Entries", columns, [[str(e[c]) for c in columns] for e in found.entries])


def _health(journal):
    """What mounting the journal found wrong, in words."""
    from drybag_host.output import count_text

    report = journal["recovery"]
    ill = []
    if report["missing"]:
        ill.append("segments missing: %s" % ", ".join(map(str, report["missing"][:8])))
    if report["damaged"]:
        ill.append(count_text(len(report["damaged"]), "unreadable place"))
    if journal["bad_sectors"]:
        ill.append(count_text(journal["bad_sectors"], "bad sector"))
    if journal["filesystem"] != "ok":
        ill.append("file system damaged")
    return "; ".join(ill) or "good: drybag verify reads every byte"
