"""`drybag`: the parser, the only place that prints errors, the exit codes.

Each module in commands/ is one command of the same name (a trailing underscore dropped):
`add_parser(sub)` describes it, `run(args)` does it and returns an exit code or None.
"""

import argparse
import contextlib
import difflib
import importlib
import os
import pkgutil
import shutil
import signal
import sys
import textwrap
import threading

from drybag.errors import DrybagError
from drybag_host import commands
from drybag_host.errors import HostDiskFull, HostFile, Usage
from drybag_host.output import Output
from drybag_host.resources import version

EXIT_CODES = (
    (0, "done", "everything asked for was done, and verified where the command says so"),
    (1, "DrybagError", "an error of Drybag's own that has no number"),
    (2, "Usage", "the command line does not fit together"),
    (3, "BadInput", "a file or value cannot be used"),
    (4, "NotFound", "no such record or blob"),
    (5, "NoSpace", "the handset's flash is full"),
    (6, "Damaged", "a CRC or hash on the handset does not match"),
    (7, "NotMountable", "the journal is newer than this tool, or damaged beyond mounting"),
    (8, "JournalClosed", "the handset's journal stopped after its flash failed"),
    (9, "Partial", "part of the work is done; what is missing was named"),
    (10, "PortBusy", "another program has the port, or it may not be opened"),
    (11, "NotAHandset", "something answers there, but it is no Drybag handset"),
    (12, "LinkTimeout", "no answer in time"),
    (13, "LinkLost", "the port went away: cable pulled or power off"),
    (14, "BoardRebooted", "the handset restarted in the middle"),
    (15, "NoSuchTarget", "no board, port or backup of that name"),
    (16, "BackupDamaged", "the backup does not match its hashes, or is incomplete"),
    (17, "HostDiskFull", "this computer's disk is full"),
    (18, "EmulatorError", "the emulated board cannot be made, started or found"),
    (19, "LinkError", "the serial link failed in another way"),
    (20, "OtherHandset", "the backup belongs to another handset or journal"),
    (21, "BackupBusy", "another program writes to this backup"),
    (22, "NotVerified", "handset and copy still differ after everything was tried"),
    (23, "HostFile", "a file or folder of this computer cannot be read or written"),
    (24, "Declined", "a question was answered with no, or nobody was there to ask"),
    (30, "NameTaken", "an emulated board of that name exists"),
    (31, "AlreadyRunning", "the emulated board has power already"),
    (32, "NotRunning", "the emulated board is stopped or without power"),
    (33, "ImageProblem", "the flash image is missing, of the wrong size or cannot be made"),
    (34, "ImageInUse", "another emulated board runs on the same image"),
    (35, "BoardFileError", "a board file or partition table is wrong"),
    (36, "EsptoolMissing", "esptool is not installed, or of another major version"),
    (37, "EsptoolFailed", "esptool failed in another way; its words are shown"),
    (38, "WrongChip", "the chip is another than the board file says"),
    (39, "WrongFlash", "the flash is smaller than the board file says"),
    (40, "ForeignImage", "the firmware file is of another project"),
    (41, "RecordsElsewhere", "the board's records lie elsewhere than in the new table"),
    (42, "BootLoop", "the board starts again and again"),
    (43, "ReplTaken", "another program runs on the board and keeps its console"),
    (44, "DumpTruncated", "the dump is shorter than what it is a dump of"),
    (45, "DiskTooNew", "the records' LittleFS is too new for the MicroPython to be written"),
    (60, "StorageError", "the hub's database refused, failed or cannot be reached"),
    (61, "StorageInUse", "another hub process serves this database"),
    (62, "StorageBusy", "another process holds the hub's database for too long"),
    (63, "RemoteFailed", "the store of blobs or copies refused, or cannot be reached"),
    (64, "HubUnreachable", "no hub answers at that address"),
    (65, "HubRefused", "the hub said no: password, too often, or a request it does not take"),
    (66, "HubNotTrusted", "the hub's certificate is not of the authority that is trusted"),
    (67, "NoContact", "paired, but the handset has not reached the hub yet"),
    (68, "HubNotEmpty", "a hub's copy is restored into a hub without records only"),
    (70, "unexpected", "a bug: run again with --debug and report what it prints"),
    (130, "interrupted", "stopped with Ctrl-C; what was reported as done is done"),
    (141, "closed pipe", "the program that read the output went away"),
)

# What to do next, for errors of the shared library, which knows no command lines.
HINTS = {
    "NoSpace": "delete records or photos (drybag delete), or shrink the picture, then try again",
    "TooLarge": "split the record, or shrink the picture, and import it again",
    "NotFound": "drybag show TARGET lists what is there",
    "Damaged": "drybag scrub TARGET names what is damaged; drybag pull saves what is intact",
    "FormatNewer": "install a newer Drybag: pip install --upgrade drybag",
    "NotMountable": "do not format it: an image of the flash can still be salvaged",
    "JournalClosed": "restart the handset and run the command again",
}

DESCRIPTION = """\
Drybag keeps contacts, calendar, to-dos, notes and photos on an ESP32 handset through any loss of
power. These commands fill it, back it up, and take everything out again as standard files.

A TARGET is emu:NAME (an emulated board), a serial port such as /dev/ttyUSB0, or auto (the only
handset there is). Where DIR|TARGET stands, a backup folder does as well."""

EXAMPLE = """\
example:
  drybag emu create demo && drybag emu start demo
  drybag import emu:demo contacts.vcf calendar.ics photo.jpg
  drybag pull emu:demo ~/handset-backup
  drybag export ~/handset-backup ~/everything-i-have
"""


_FEW = 15


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Wraps paragraphs; examples and tables, which are indented, stay as they are."""

    def __init__(self, prog):
        columns = shutil.get_terminal_size().columns
        super().__init__(prog, max_help_position=26, width=min(columns, 100) - 2)

    def _fill_text(self, text, width, indent):
        return "\n\n".join(
            super(Formatter, self)._fill_text(part, width, indent)
            if "\n " in part
            else argparse.HelpFormatter._fill_text(self, part, width, indent)
            for part in text.rstrip().split("\n\n")
        )


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that raises Usage instead of printing, and says what was near.

    Options are written out: a script must not change its meaning with an option that is new.
    """

    def __init__(self, **options):
        super().__init__(**options, allow_abbrev=False)

    def error(self, message):
        raise Usage(message, "%s --help" % self.prog, usage=self.format_usage().strip())

    def parse_known_args(self, args=None, namespace=None):
        """The command refuses what it does not know, before it misses anything else."""
        if not self._subparsers:
            for word in args[: args.index("--")] if "--" in args else args:
                self._require_option(word)
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            self._require_option(rest[0])
            self.error("too many words, from %r on" % rest[0])
        return found, rest

    def _require_option(self, word):
        name = word.partition("=")[0]
        if name.startswith("--") and name not in self._option_string_actions:
            self.error("no option %s%s" % (name, _near(name, self._option_string_actions)))

    def _check_value(self, action, value):
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            kind = str(action.metavar).lower()
            self.error("no %s %r%s" % (kind, value, _near(value, action.choices)))
        super()._check_value(action, value)


def _near(word, known):
    """'; did you mean X?' for what is written nearly so, else what there is if that is little."""
    found = difflib.get_close_matches(word, known, 1)
    if found:
        return "; did you mean %s?" % found[0]
    return "; there are: %s" % ", ".join(known) if len(known) < _FEW else ""


def exit_code_table():
    """The exit codes as text, one a line, for `drybag --help`."""
    width = max(len(name) for _, name, _ in EXIT_CODES)
    columns = min(shutil.get_terminal_size().columns, 100) - 2
    rows = [
        textwrap.fill(
            what, columns, initial_indent="  %3d  %-*s  " % (code, width, name),
            subsequent_indent=" " * (width + 9),
        )
        for code, name, what in EXIT_CODES
    ]  # fmt: skip
    return "exit codes:\n" + "\n".join(rows)


class _Version(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None):
        print("drybag " + version())
        parser.exit(0)


def command_names():
    """{command: module name} of everything in commands/."""
    names = [m.name for m in pkgutil.iter_modules(commands.__path__) if m.name[0] != "_"]
    return {name.rstrip("_").replace("_", "-"): name for name in names}


def build_parser(only=None):
    """The parser with every command, or with the one named, which starts faster."""
    parser = Parser(
        prog="drybag",
        description=DESCRIPTION,
        epilog=EXAMPLE + "\n" + exit_code_table(),
        formatter_class=Formatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    _add_common(parser)
    sub = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    names = command_names()
    modules = []
    for command in [only] if only in names else names:
        module = importlib.import_module("%s.%s" % (commands.__name__, names[command]))
        modules.append((getattr(module, "ORDER", 90), command, module))
    for _, _, module in sorted(modules, key=lambda item: item[:2]):
        known = set(sub.choices)
        module.add_parser(sub)
        for name in set(sub.choices) - known:
            sub.choices[name].set_defaults(run=module.run)
            _finish(sub.choices[name])
    return parser


def _finish(parser):
    """The formatter and the common options, for a command and the commands inside it."""
    parser.formatter_class = Formatter
    _add_common(parser)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in set(action.choices.values()):
                _finish(child)


def _add_common(parser):
    group = parser.add_argument_group("output")
    group.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS,
        help="print one JSON document on stdout, messages on stderr",
    )  # fmt: skip
    group.add_argument(
        "--quiet", action="store_true", default=argparse.SUPPRESS,
        help="no messages and no progress, only the result",
    )  # fmt: skip
    group.add_argument(
        "--debug", action="store_true", default=argparse.SUPPRESS,
        help="print the traceback of an error",
    )  # fmt: skip


def _describe(error):
    """(class name, message, hint, exit code, details) of what ended the command."""
    if isinstance(error, DrybagError):
        hint = getattr(error, "hint", "") or ""
        if not hint:
            hint = next(
                (HINTS[c.__name__] for c in type(error).__mro__ if c.__name__ in HINTS), ""
            )
        details = dict(getattr(error, "details", {}))
        if getattr(error, "missing_bytes", 0):
            details["missing_bytes"] = error.missing_bytes
        return type(error).__name__, str(error), hint, error.exit_code, details
    if isinstance(error, KeyboardInterrupt):
        hint = "run the same command again: it goes on where it stopped"
        return "Interrupted", "stopped", hint, 130, {}
    if isinstance(error, OSError) and error.errno is not None:
        from drybag_host.backup.disk import is_disk_full

        kind = HostDiskFull if is_disk_full(error) else HostFile
        where = "%s: " % error.filename if error.filename is not None else ""
        return kind.__name__, where + os.strerror(error.errno), kind.hint, kind.exit_code, {}
    text = "unexpected %s: %s" % (type(error).__name__, error)
    return type(error).__name__, text, "run it again with --debug and report the output", 70, {}


def _report(out, error, debug):
    """Print an error the way the output mode asks for; returns the exit code."""
    name, message, hint, code, details = _describe(error)
    if debug:
        import traceback

        traceback.print_exception(error, file=sys.stderr)
    if out.json_mode:
        fields = {"class": name, "message": message, "exit_code": code, "hint": hint, **details}
        out.document({"error": fields})
    else:
        if "usage" in details:
            out.stderr.write(details["usage"] + "\n")
        out.error(message, hint)
    return code


def _quiet_exit():
    """The reader of our output went away: say nothing more, not even when Python shuts down."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    return 141


@contextlib.contextmanager
def _stoppable():
    """SIGTERM, and the terminal that closes, are Ctrl-C: what is half made goes, locks are freed.

    Whoever ignores them (nohup) or has a way of their own keeps it.
    """
    names = [name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    taken = []
    if threading.current_thread() is threading.main_thread():
        taken = [getattr(signal, name) for name in names]
        taken = [number for number in taken if signal.getsignal(number) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _open_standard_streams():
    """Where stdin, stdout or stderr is closed it leads nowhere, and no file takes its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            with contextlib.suppress(OSError):
                os.fstat(number)
                continue
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            setattr(sys, name, open(number, mode, encoding="utf-8"))  # noqa: SIM115


def main(argv=None):
    """Run one command line; returns its exit code."""
    _open_standard_streams()
    argv = sys.argv[1:] if argv is None else list(argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    before = argv[: argv.index("--")] if "--" in argv else argv
    out = Output("--json" in before, quiet="--quiet" in before)
    debug = "--debug" in before
    try:
        try:
            with _stoppable():
                code = _run(argv, out)
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, BrokenPipeError):
                raise
            code = _report(out, error, debug)
        out.finish()
        return code
    except BrokenPipeError:
        return _quiet_exit()
    except (OSError, KeyboardInterrupt) as error:  # what was done stays done
        _quiet_exit()
        return _report(Output(), error, debug)


def _run(argv, out):
    first = next((word for word in argv if not word.startswith("-")), None)
    parser = build_parser(first)
    args = parser.parse_args(argv)
    if not getattr(args, "run", None):
        if argv:
            raise Usage("a command is missing", "drybag --help")
        parser.print_help()
        return 0
    out.json_mode = getattr(args, "json", False)
    out.quiet = getattr(args, "quiet", False)
    args.out = out
    args.build_parser = build_parser
    args.tool_version = version
    return args.run(args) or 0


if __name__ == "__main__":
    sys.exit(main())
