"""Commands about the handset itself: help, status, where, time, restart, quit."""

import gc

from drybag import layout
from drybag import protocol as p
from drybag.dates import parse_date
from handset.console import command, commands
from handset.terminal import pad

_MORE = {
    "add": (
        "add contact                         asks for each field; Enter leaves one out",
        "add contact Ada Lovelace; +44 20 7946 0000; ada@example.org",
        "add event Dentist; 2025-01-31 09:30; 2025-01-31 10:00; Main Street 5",
        "add todo Buy stamps; 2025-02-01",
        "add note                            any number of lines, then a single dot",
        "add photo NAME                      then paste base64; from a computer: drybag import",
        "Ctrl-G leaves a form, and nothing is changed.",
    ),
    "find": (
        "find lovelace        case and accents do not matter; every word must occur",
        "find 7946            telephone numbers are compared by their digits",
    ),
    "show": (
        "show 3               number 3 of the last list",
        "show lovelace        by what it says, if that is only one",
        "show 3 raw           the lines as they are kept",
    ),
    "edit": (
        "edit 3               asks for each field: Enter keeps it, - takes it away",
        "edit 3 phone +44 20 7946 0000",
    ),
    "list": ("list                 everything", "list todos           one kind"),
    "events": (
        "events               from today, if the clock is set",
        "events 2025-01-01 2025-02-01",
    ),
    "delete": ("delete 3             'undelete' brings it back, until its space is needed",),
    "undelete": ("undelete             the one deleted last", "undelete 3           by number"),
    "scrub": ("scrub                checks every CRC and hash on the flash; q stops it",),
    "sync": (
        "sync                 how it stands",
        "sync now             at once; turns it on again",
        "sync off             until 'sync now'",
        "sync accept          the many deletions that the hub asks for may go",
        "sync refuse          they may not: the records go back to the hub",
    ),
    "time": ("time 2025-01-31 09:30      in UTC, as all times of saving are",),
}
_DOING = {
    p.CHANGES: "being read by a computer",
    p.READ_BLOB: "sending a photo to a computer",
    p.READ_FLASH: "sending the flash to a computer",
    p.READ_CHIP: "sending the flash to a computer",
    p.FIND: "searching for a computer",
    p.DIGEST: "being compared with a backup",
    p.SCRUB: "checking the flash for a computer",
    p.WRITE: "writing for a computer",
}


def do_help(console, word):
    if not word:
        for name, _, takes, does, _ in commands():
            yield "  %s %s" % (pad(name + " " + takes, 27), does)
        yield "'help COMMAND' has examples. A number is the one in the last list."
        return
    name = console.meant(word.split()[0].lower())
    if name:
        _, _, takes, does, _ = command(name)
        yield "%s %s: %s" % (name, takes, does)
        for line in _MORE.get(name, ()):
            yield "  " + line


def do_status(console, _):
    app = console.app
    board, journal = app.board, app.journal
    yield "handset    %s, %s, MicroPython %s" % (
        board.name(), board.model(), board.micropython(),
    )  # fmt: skip
    yield "started    %d min ago (%s)" % (board.uptime_s() // 60, board.reset_cause())
    yield "clock      " + clock_text(board)
    if journal is None:
        yield "journal    NOT OPEN: %s" % app.fault
        yield "           Nothing is written to it. Save an image of the partition 'pim' on a"
        yield "           computer first; or start the firmware that wrote it."
    else:
        counts = [
            "%d %ss" % (journal.count(kind), layout.KIND_NAMES[kind])
            for kind in sorted(layout.KIND_NAMES)
            if journal.count(kind)
        ]
        yield "records    " + (", ".join(counts) or "none yet")
        yield "changes    %d so far, journal %08x" % (journal.last_seq, journal.epoch)
        yield "room       %d KiB for records" % (journal.free_bytes() // 1024)
        from handset.syncsay import facts

        for name, text in facts(app):
            yield "%-10s %s" % (name, text)
    gc.collect()
    yield "memory     %d KiB free" % (board.heap_free() // 1024)
    yield "doing      " + (_DOING.get(app.doing) or "waiting for you")


def do_where(console, _):
    journal = console.app.journal
    if journal is None:
        yield "saved on the flash    not readable: %s" % console.app.fault
    else:
        yield "saved on the flash    all %d records, up to change %d" % (
            journal.count(), journal.last_seq,
        )  # fmt: skip
    sync = console.app.sync_info()
    if not sync["paired"]:
        yield "on the hub            no hub is paired"
        yield "off-site              no hub is paired"
    elif "saved" in sync:
        from handset.syncsay import watermarks

        for name, text in watermarks(sync)[1:]:
            yield "%-21s %s" % (name, text)
        if sync["unsent"]:
            yield "unsent                %d changes" % sync["unsent"]
    yield "A backup on a computer: drybag pull"


def do_time(console, text):
    board = console.app.board
    if text:
        date = parse_date(text.strip().replace(" ", "T").encode())
        if date is None or len(date) == 8:
            yield "Write the time like this: time 2025-01-31 09:30"
            return
        civil = (int(date[:4]), int(date[4:6]), int(date[6:8]),
                 int(date[9:11]), int(date[11:13]), int(date[13:15]))  # fmt: skip
        if civil[0] < 2024 or civil[0] > 2060:
            yield "The year must be from 2024 to 2060."
            return
        board.set_clock(board.seconds(civil))
    yield clock_text(board)


def do_restart(console, _):
    console.app.restart_wanted = True
    console.app.leave()
    yield "Starting again."


def do_quit(console, _):
    console.app.leave()
    yield "Bye."


def clock_text(board):
    now = board.clock()
    if not now:
        return "not set (time 2025-01-31 09:30 sets it)"
    return "%04d-%02d-%02d %02d:%02d:%02d UTC" % board.civil(now)
