"""`drybag salvage`: records out of raw bytes, whatever is left of the flash."""

ORDER = 51


def add_parser(sub):
    parser = sub.add_parser(
        "salvage",
        help="take the records out of a dump, however damaged",
        description="Take the records out of raw bytes: an image of pim or of the whole flash, a "
        "piece of one, truncated, overwritten in parts. Finds every entry by its own CRC, takes "
        "the newest version of each record and writes a backup folder for drybag show, export "
        "and restore. What is in doubt goes into a subfolder; what is missing is named. The "
        "file is only read.",
        epilog="example:\n  drybag salvage dead-board.bin rescued\n  drybag export rescued out\n",
    )
    parser.add_argument("file", metavar="FILE", help="raw bytes of the flash")
    parser.add_argument("dir", metavar="DIR", help="a new folder for the backup")


def run(args):
    from drybag_host.image.dumpfile import read_bytes
    from drybag_host.image.salvage_write import APART, salvage_file
    from drybag_host.output import count_text

    data = read_bytes(args.file)
    with args.out.progress("searching", len(data), "bytes") as bar:
        done = salvage_file(data, args.file, args.dir, bar.advance)
    args.out.document({"file": args.file, "dir": args.dir, **done.fields()})
    rows = [
        ("records", str(done.records)),
        ("photos and attachments", str(done.blobs)),
        ("deletions", str(done.tombstones)),
        ("older versions", str(done.older_versions)),
        ("found in", "%s, %s" % (count_text(done.segments, "segment"),
                                 count_text(done.entries, "entry"))),
    ]  # fmt: skip
    if done.doubtful:
        rows.append(("in doubt", "%s, in %s/%s" % (
            count_text(done.doubtful, "version"), args.dir, APART)))  # fmt: skip
    if done.other_journals:
        rows.append(("other journals", ", ".join(done.other_journals)))
    args.out.facts("Salvaged into %s" % args.dir, rows)
    if done.missing:
        args.out.table("Missing", ("what", "which", "problem"), [_row(m) for m in done.missing])
    else:
        args.out.say("nothing is known to be missing")
    return 0


def _row(missing):
    which = ""
    if "uid" in missing:
        which = "%s %s" % (missing["kind"], missing["uid"])
    elif missing["what"] == "segments":
        which = "%d to %d" % (missing["first"], missing["last"])
        if "seqs" in missing:
            which += ", changes %d to %d" % tuple(missing["seqs"])
    elif missing["what"] == "records":
        which = str(missing["count"])
    elif missing.get("blob"):
        which = missing["blob"][:16]
    elif "offset" in missing:
        which = "byte %d" % missing["offset"]
    return missing["what"], which, missing["problem"]
