"""What a command works on: an emulated board, a serial port, the only handset there is, a backup.

`Session` keeps a handset's link alive: after a pulled cable or a reboot it connects again and the
work goes on. The work handed to `attempt` must therefore be able to begin again.
"""

import contextlib
import os
import stat
import time

from drybag_host.errors import (
    PORT_DENIED,
    BoardRebooted,
    EmulatorError,
    LinkError,
    LinkLost,
    LinkTimeout,
    NoSuchTarget,
    NotAHandset,
    OtherHandset,
    PortBusy,
    Usage,
)
from drybag_host.virtual import is_virtual, virtual_board, virtual_boards

TARGET_HELP = (
    "emu:NAME, qemu:NAME, a serial port, rfc2217:// or socket://HOST:PORT, auto, or auto:SERIAL"
)
HUB_PREFIX = "hub:"
OWNER_ENV = "DRYBAG_HUB_OWNER"
WAIT_S = 60
MAX_FAILURES = 5
_PAUSE_S = 0.25
_BREAKS = (LinkLost, LinkTimeout, BoardRebooted)
_COMING_BACK = (LinkError, EmulatorError, NoSuchTarget, OSError)


def add_handset(parser, name="target"):
    """The TARGET argument and the options that go with a handset."""
    parser.add_argument(name, metavar="TARGET", help=TARGET_HELP)
    add_link_options(parser)


def add_source(parser, nargs=None):
    """The DIR|TARGET argument: a backup, a dump, a hub or a handset."""
    parser.add_argument(
        "source", metavar="DIR|TARGET", nargs=nargs,
        help="a backup folder, a dump file, hub:URL; or " + TARGET_HELP,
    )  # fmt: skip
    add_link_options(parser)
    add_owner(parser)


def add_kind(parser):
    """--kind, for commands that list records."""
    parser.add_argument(
        "--kind", metavar="KIND", help="only this: contact, event, todo, note, photo or calendar"
    )


def add_owner(parser):
    """--owner and --ca, for commands that may read from a hub."""
    group = parser.add_argument_group("hub")
    group.add_argument(
        "--owner", metavar="NAME", help="whose records, with hub:URL (or %s)" % OWNER_ENV
    )
    group.add_argument(
        "--ca", metavar="FILE", help="the hub's CA certificate, if it is not known here yet"
    )


def is_hub(text):
    """True if a source names a hub."""
    return text.startswith(HUB_PREFIX)


def add_link_options(parser):
    group = parser.add_argument_group("handset")
    group.add_argument(
        "--start", action="store_true", help="start the emulated board if it is stopped"
    )
    group.add_argument(
        "--wait", type=seconds, default=WAIT_S, metavar="SECONDS",
        help="how long to wait for a handset that goes away meanwhile (%(default)s)",
    )  # fmt: skip


def seconds(text):
    """For argparse: a time in seconds, 0 to a year."""
    value = float(text)
    if not 0 <= value <= 366 * 86400:
        raise ValueError(text)
    return value


def add_speed(parser):
    """--baud, for commands that move much."""
    parser.add_argument(
        "--baud", type=int, metavar="N",
        help="speed of the serial line, 115200 to 2000000 (without it: the fastest that works)",
    )  # fmt: skip


def is_folder(text):
    """True if a DIR|TARGET names a folder."""
    return not is_virtual(text) and os.path.isdir(text)


def candidates(wanted=""):
    """[(target, what it is)] of every handset that `auto` can find, or of `auto:WANTED`."""
    found = [] if wanted else virtual_boards()
    return found + [(p.device, p.description) for p in usb_ports(wanted)]


def usb_ports(wanted=""):
    """Serial ports (pyserial's) that may be a board's, by name.

    Those with the USB ids of a board file, if there are any, else all at USB. `wanted`: a serial
    number or MAC, or how it ends; colons and case do not matter.
    """
    from serial.tools import list_ports

    from drybag_host.image import board_model

    ports = [port for port in list_ports.comports() if port.vid is not None]
    if wanted:
        ports = [p for p in ports if _plain(p.serial_number or "").endswith(_plain(wanted))]
    else:
        models = map(board_model.load_file, board_model.board_files())
        ids = {(vid, pid) for model in models for vid, pid, _ in model.usb}
        ports = [port for port in ports if (port.vid, port.pid) in ids] or ports
    return sorted(ports, key=lambda port: port.device)


def _plain(text):
    return text.replace(":", "").replace("-", "").upper()


def resolve(text):
    """The target a word stands for; `auto` is looked up. Raises NoSuchTarget."""
    if text == "auto" or text.startswith("auto:"):
        found = candidates(text[5:])
        if len(found) == 1:
            return found[0][0]
        if not found:
            raise NoSuchTarget(
                "%s: no handset found" % text,
                "plug one in, or start an emulated one: drybag emu start NAME",
            )
        names = ", ".join("%s (%s)" % row for row in found)
        raise NoSuchTarget(
            "%s: %d handsets found: %s" % (text, len(found), names),
            "name one of them, or auto:SERIAL with its USB serial number",
            candidates=[name for name, _ in found],
        )
    if not is_virtual(text) and not _is_url(text):
        _check_port(text)
    return text


def _is_url(text):
    return text.startswith(("rfc2217://", "socket://"))


def _check_port(path):
    """Raises NoSuchTarget or PortBusy, with what to do, before the port is opened."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        if os.name == "nt" and path.upper().startswith("COM"):
            return
        ports = ", ".join(name for name, _ in _quiet_candidates())
        raise NoSuchTarget(
            "%s: no such port, board or folder" % path,
            "found: " + ports if ports else "emulated boards are named emu:NAME; drybag emu list",
        ) from None
    if stat.S_ISDIR(mode):
        raise NoSuchTarget("%s is a folder, not a handset" % path, "name " + TARGET_HELP)
    if not stat.S_ISCHR(mode):
        raise NoSuchTarget("%s is a file, not a serial port" % path, "name " + TARGET_HELP)
    if not os.access(path, os.R_OK | os.W_OK):
        raise PortBusy("%s: you may not open this port" % path, PORT_DENIED)


def _quiet_candidates():
    try:
        return candidates()
    except (ImportError, OSError):
        return []


def open_session(args, text=None, fault_ok=False):
    """A connected Session for the TARGET of a command line; `fault_ok`: see Session."""
    text = args.target if text is None else text
    target = resolve(text)
    if is_virtual(target) and args.start:
        start_board(target, args.out)
    if not hasattr(args, "baud"):
        return Session(lambda: _connect(target, args.out), target, args.out, args.wait, fault_ok)
    return Session(_connect_fast(target, args), target, args.out, args.wait, fault_ok)


def _connect_fast(target, args):
    """As _connect, at the speed the line stands."""
    from drybag_host.linespeed import LineSpeed

    if args.baud is not None and not 115200 <= args.baud <= 2000000:
        raise Usage("--baud %d: from 115200 to 2000000" % args.baud)
    speed = LineSpeed(args.baud)

    def connect():
        link = _connect(target, args.out)
        try:
            speed.apply(link)
            if args.baud and speed.baud != args.baud:
                args.out.warn("nothing gets through at %d baud: going on at %d"
                              % (args.baud, speed.baud))  # fmt: skip
        except BaseException:
            with contextlib.suppress(LinkError, OSError):
                link.close()
            raise
        return link

    return connect


def start_board(target, out):
    """Give an emulated board power if it has none."""
    board = virtual_board(target)
    if not board.is_running:
        out.say("starting %s" % target)
        board.start()
    elif not board.is_powered:
        out.say("power on for %s" % target)
        board.power_on()


def _connect(target, out):
    """A HandsetLink. Raises NotRunning at once where nobody could answer."""
    from drybag_host.board import open_console
    from drybag_host.link import HandsetLink

    if target.startswith("emu:"):
        board = virtual_board(target)
        if board.is_running and not board.is_powered:
            from drybag_host.board_errors import NotRunning

            raise NotRunning("%s has no power" % target)
    return HandsetLink(open_console(target, out.say))


class Info:
    """What a handset says of itself. `raw`: the whole hello as a dict."""

    def __init__(self, raw):
        self.raw = dict(raw)
        self.id = _word(raw.get("id", ""))
        self.name = _word(raw.get("name", "")) or self.id
        self.epoch = raw["epoch"]
        self.last_seq = raw["last_seq"]
        self.counts = dict(raw.get("counts") or {})
        self.free_bytes = raw.get("free", 0)


def _word(value):
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


class Session:
    """A handset behind a link that may break. Use as a context manager.

    `connect()` -> HandsetLink; `wait_s`: patience when it goes away; `fault_ok`: also of a
    handset that cannot open its journal. Raises what connecting raises, at once the first time.
    """

    def __init__(self, connect, target, out, wait_s=WAIT_S, fault_ok=False):
        self.target = target
        self.out = out
        self.wait_s = wait_s
        self.fault_ok = fault_ok
        self.reconnects = 0
        self._connect = connect
        self._failures = 0
        self.link = None
        self.info = None
        self._open()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
        return False

    def close(self):
        link, self.link = self.link, None
        if link is not None:
            with contextlib.suppress(LinkError, OSError):
                link.close()

    def _open(self):
        link = self._connect()
        try:
            info = Info(link.hello(allow_fault=self.fault_ok))
        except BaseException:
            with contextlib.suppress(LinkError, OSError):
                link.close()
            raise
        if self.info and (info.id, info.epoch) != (self.info.id, self.info.epoch):
            link.close()
            raise OtherHandset(
                "another handset answers at %s now: %s instead of %s"
                % (self.target, info.name, self.info.name),
                "connect the first one again, then run the command again",
            )
        self.link, self.info = link, info

    def hello(self):
        """Info as of now."""
        self.info = self.attempt(lambda link: Info(link.hello(allow_fault=self.fault_ok)))
        return self.info

    def progressed(self):
        """Called by work that got something done: a later failure starts counting anew."""
        self._failures = 0

    def attempt(self, work):
        """work(link), and again after the link broke. Raises LinkError when it stays broken."""
        while True:
            try:
                return work(self.link)
            except _BREAKS as error:
                self._failures += 1
                if self._failures > MAX_FAILURES or self.wait_s <= 0:
                    raise
                self._reconnect(error)

    def attempt_once(self, work, already):
        """attempt() of a change that cannot be made twice.

        `already`: what the handset raises where it is made; after a break that means the answer
        was lost, not the change.
        """
        tried = False

        def again(link):
            nonlocal tried
            repeated, tried = tried, True
            try:
                return work(link)
            except already:
                if not repeated:
                    raise
                return None

        found = self.attempt(again)
        self.progressed()
        return found

    def _reconnect(self, error):
        self.close()
        self.out.say("%s; waiting for %s to come back" % (error, self.target))
        deadline = time.monotonic() + self.wait_s
        while True:
            time.sleep(_PAUSE_S)
            try:
                self._open()
                break
            except NotAHandset:
                if time.monotonic() > deadline:
                    raise
            except _COMING_BACK:
                if time.monotonic() > deadline:
                    raise error from None
        self.reconnects += 1
        self.out.say("%s is back: going on" % self.target)
