"""The verbs that `drybag emu` and `drybag qemu` share."""

from drybag_host.errors import Usage
from drybag_host.virtual import virtual_board

COLUMNS = {  # of a list of boards; each kind has more
    "name": lambda row: row["name"],
    "board": lambda row: row["board"],
    "power": lambda row: row["power"],
    "console": lambda row: row["console"] or "",
}

_SWITCH = {"on": True, "off": False}


class Verbs:
    """The verbs of `drybag KIND`. `titles`: what its boards are called, as in a headline."""

    def __init__(self, parser, kind, titles):
        self._kind = kind
        self.titles = titles
        self.sub = parser.add_subparsers(metavar="VERB", required=True)
        parser.set_defaults(verbs=self)

    def leaf(self, name, what, run, example=None, more=""):
        """A verb for one board, NAME; `example`: its command line if it is not `VERB demo`."""
        parser = self.sub.add_parser(
            name,
            help=what,
            description=what[0].upper() + what[1:] + "." + more,
            epilog="example:\n  " + (example or "drybag %s %s demo" % (self._kind, name)),
        )
        parser.add_argument("name", metavar="NAME", help="the board")
        parser.set_defaults(verb_run=run)
        return parser

    def create(self, example, run, more=""):
        """`create` with --board and --image; its parser and the group of its contents."""
        parser = self.leaf("create", "make a board with a new flash image", run, example, more)
        parser.add_argument(
            "--board", metavar="B", default="esp32-generic", help="a board of 'drybag boards'"
        )
        content = parser.add_mutually_exclusive_group()
        content.add_argument("--image", metavar="FILE", help="run on this flash image, as it is")
        return parser, content

    def power(self, run):
        """`power NAME on|off`."""
        kind = self._kind
        return self.switch(
            "power", "cut the power at once, whatever the chip is doing, or give it back", run,
            "drybag %s power demo off && drybag %s power demo on" % (kind, kind),
        )  # fmt: skip

    def switch(self, name, what, run, example):
        """`VERB NAME on|off`; `run` gets it as `args.on`. The words may change places."""
        parser = self.leaf(name, what, _switched, example)
        parser.add_argument("switch", metavar="on|off", help="on or off")
        parser.set_defaults(switched_run=run, example=example)
        return parser

    def common(self, stop, console):
        """stop, console, rm and list; `stop`, `console`: what the first two do here."""
        self.leaf("stop", stop, _stop)
        self.leaf("console", console, _console)
        self.leaf("rm", "delete a board and its flash image", _remove).add_argument(
            "--force", action="store_true", help="stop it first if it is started"
        )
        what = "all %s and their state" % self.titles
        listing = self.sub.add_parser(
            "list", help=what, description=what[0].upper() + what[1:] + ".",
            epilog="example:\n  drybag %s list --json\n" % self._kind,
        )  # fmt: skip
        listing.set_defaults(verb_run=_list)

    def board(self, args):
        """The board that the command names. Raises UnknownBoardName."""
        return virtual_board("%s:%s" % (self._kind, args.name))

    def no_boards(self):
        return "no %s; make one: drybag %s create NAME" % (self.titles, self._kind)


def run(args):
    return args.verb_run(args)


def _switched(args):
    if args.switch not in _SWITCH and args.name in _SWITCH:
        args.name, args.switch = args.switch, args.name
    if args.switch not in _SWITCH:
        raise Usage("on or off, not %r" % args.switch, args.example)
    args.on = _SWITCH[args.switch]
    return args.switched_run(args)


def report(args, board, text):
    """What the board is like now, as JSON; `text` for a person."""
    args.out.document({"name": board.name, "board": board.settings["board"], **board.state()})
    args.out.line(text)


def made(args, board):
    args.out.document({"image": str(board.image)})
    report(args, board, "made %s (%s), flash image %s"
           % (args.name, board.settings["board"], board.image))  # fmt: skip


def _stop(args):
    board = args.verbs.board(args)
    board.stop()
    report(args, board, "%s is stopped" % args.name)


def _console(args):
    board = args.verbs.board(args)
    args.out.document({"name": args.name, "console": board.console})
    args.out.line(board.console)


def _remove(args):
    board = args.verbs.board(args)
    if args.force and board.is_running:
        board.stop()
    board.remove()
    args.out.document({"name": args.name, "removed": True})
    args.out.line("%s is removed" % args.name)


def _list(args):
    rows, columns = args.rows()
    args.out.document({"boards": rows})
    if not rows:
        args.out.line(args.verbs.no_boards())
        return
    shown = [{**row, "power": row["power"] if row["running"] else "stopped"} for row in rows]
    args.out.table(
        args.verbs.titles[0].upper() + args.verbs.titles[1:],
        tuple(columns),
        [[show(row) for show in columns.values()] for row in shown],
    )


def report_power(args, board):
    """What became of `power on|off`."""
    now = "power, console %s" % board.console if args.on else "no power"
    report(args, board, "%s has %s" % (args.name, now))
