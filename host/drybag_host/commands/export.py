"""`drybag export`: everything as standard files."""

from drybag_host.sources import add_source
from drybag_host.targets import add_speed

ORDER = 23


def add_parser(sub):
    parser = sub.add_parser(
        "export",
        help="write .vcf, .ics, pictures, CSV, Markdown and one HTML page",
        description="Write the records of a backup or a handset as standard files: vCards, "
        "calendars, pictures, CSV, Markdown for notes, and one HTML page to look at everything "
        "without a network.",
        epilog="example:\n  drybag export ~/handset-backup ~/everything-i-have\n"
        "  drybag export auto out --vcard 4.0 --only contact,event\n",
    )
    add_source(parser)
    add_speed(parser)
    add_options(parser)


def add_options(parser):
    """OUT and how it is written; `write` reads them."""
    parser.add_argument("out_dir", metavar="OUT", help="the folder to write, new or empty")
    parser.add_argument(
        "--vcard", choices=("3.0", "4.0", "as-is"), default="3.0",
        help="vCard version of contacts.vcf (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--only", metavar="KINDS", help="with commas: contact,event,todo,note,photo (all)"
    )
    parser.add_argument(
        "--force", action="store_true", help="write into a folder that is not empty; files of the "
        "same names are replaced",
    )  # fmt: skip
    parser.add_argument(
        "--salvage", action="store_true", help="of a damaged backup export what is intact"
    )


def run(args):
    from drybag_host.sources import open_source

    with open_source(args, args.salvage) as source:
        return write(args, source)


def write(args, source):
    """Export `source` as the options say; returns the exit code."""
    from drybag.errors import Damaged
    from drybag_host.errors import BackupDamaged
    from drybag_host.formats.export import export

    chosen = _Chosen(source, _kinds(args.only))
    summary = export(chosen, args.out_dir, args.vcard, args.force, _title(source))
    damage = source.damage()
    _report(args, summary, damage)
    if chosen.lost:
        error = BackupDamaged if source.is_backup else Damaged
        raise error(
            "%d photos or attachments could not be read; everything else is in %s"
            % (len(chosen.lost), args.out_dir)
        )
    return 0


class _Chosen:
    """What is exported: the records of the kinds asked for; notes which blobs are missing."""

    def __init__(self, source, kinds):
        self.source = source
        self.kinds = kinds
        self.lost = set()

    def records(self):
        return [r for r in self.source.records() if not self.kinds or r.kind in self.kinds]

    def read_blob(self, sha):
        from drybag.errors import DrybagError
        from drybag_host.errors import LinkError

        try:
            return self.source.read_blob(sha)
        except LinkError:
            raise
        except DrybagError:
            self.lost.add(bytes(sha))
            raise


def _kinds(text):
    """The kind numbers of --only; calendars' heads go with events, to-dos and notes."""
    from drybag.layout import CALENDAR, EVENT, NOTE, TODO
    from drybag_host import listing

    if not text:
        return set()
    kinds = {listing.kind_number(word) for word in text.split(",")}
    return kinds | {CALENDAR} if kinds & {EVENT, TODO, NOTE} else kinds


def _title(source):
    if source.is_backup:
        m = source.backup.manifest
        return "%s, %s" % (m.handset_name, m.pulled_at[:10]) if m else source.name
    if hasattr(source, "title"):
        return source.title
    return source.session.info.name


def _report(args, summary, damage):
    from drybag_host.output import count_text

    args.out.document(
        {
            "dir": summary.outdir,
            "counts": summary.counts,
            "files": summary.files,
            "warnings": list(summary.warnings) + damage,
        }
    )
    for line in [*summary.warnings, *damage][:20]:
        args.out.warn(line)
    shown = [f for f in summary.files if "/" not in f]
    folders = {}
    for name in summary.files:
        if "/" in name:
            folder = name.split("/")[0] + "/"
            folders[folder] = folders.get(folder, 0) + 1
    rows = [(name, _what(name)) for name in shown]
    rows += [(name, count_text(number, "file")) for name, number in sorted(folders.items())]
    caption = ", ".join(count_text(n, kind) for kind, n in summary.counts.items() if n)
    args.out.table("Exported to %s" % summary.outdir, ("file", "what it holds"), rows, caption)


def _what(name):
    return {
        "contacts.vcf": "contacts, for phones and address books",
        "contacts.csv": "contacts, for spreadsheets",
        "events.csv": "events, for spreadsheets",
        "todos.csv": "to-dos, for spreadsheets",
        "events.ics": "events and to-dos that have no calendar of their own",
        "notes.ics": "notes, for calendar programs",
        "index.html": "everything, to look at in a browser",
    }.get(name, "")
