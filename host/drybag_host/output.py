"""What a command may say, and where: tables and lines on stdout, messages and progress on stderr.

With --json stdout carries one JSON document and nothing else. On a terminal `rich` draws; without
one the same words come plain, one line a row. Nothing from a record reaches the terminal with its
control characters.
"""

import contextlib
import json
import os
import shutil
import sys
import textwrap
import time

from drybag_host.errors import Declined

PLAIN_EVERY_S = 5.0
PLAIN_SOFT = 40


def printable(text):
    """`text` (str or UTF-8 bytes) without control characters, escapes or direction overrides."""
    if isinstance(text, (bytes, bytearray, memoryview)):
        text = bytes(text).decode("utf-8", "replace")
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c in "\t\r\n" else "�" for c in text)


def size_text(size_bytes):
    """A size for people: 812 B, 3.4 KB, 1.2 MB (powers of 1000)."""
    if size_bytes < 1000:
        return "%d B" % size_bytes
    for unit in ("KB", "MB", "GB"):
        size_bytes /= 1000
        if size_bytes < 999.5 or unit == "GB":
            return ("%.1f %s" if size_bytes < 99.95 else "%.0f %s") % (size_bytes, unit)
    return ""


def count_text(number, word):
    """'1 record', '1,234 records'; words that end in y become ies."""
    if number == 1:
        return "1 " + word
    plural = word[:-1] + "ies" if word.endswith("y") else word + "s"
    return "{:,} {}".format(number, plural)


def duration_text(seconds):
    """'0.8 s', '42 s', '3 min 05 s'."""
    if seconds < 10:
        return "%.1f s" % seconds
    if seconds < 100:
        return "%.0f s" % seconds
    return "%d min %02d s" % divmod(int(seconds), 60)


def rate_text(per_second):
    """'152/s', '0.4/s'."""
    return ("%.0f/s" if per_second >= 10 else "%.1f/s") % per_second


@contextlib.contextmanager
def _named_stdout():
    """An OSError of the block is stdout's, and says so."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or "standard output"
        raise


def _json_default(value):
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, (set, frozenset, tuple)):
        return sorted(value)
    return str(value)


class Output:
    """`json_mode`: one document on stdout. Streams are handed in for the tests."""

    def __init__(self, json_mode=False, stdout=None, stderr=None, quiet=False):
        self.json_mode = json_mode
        self.quiet = quiet
        self.stdout = stdout or sys.stdout
        self.stderr = stderr or sys.stderr
        self._document = None
        self._consoles = {}
        self._bar = None

    # --- stdout ---

    def line(self, text=""):
        """One line of the result."""
        if not self.json_mode:
            with _named_stdout():
                self._console(self.stdout, text)

    def raw(self, data):
        """Bytes of the result, as they are, for a file or a pipe; control characters stay."""
        if not self.json_mode:
            with _named_stdout():
                self.stdout.flush()
                self.stdout.buffer.write(data)
                self.stdout.buffer.flush()

    def document(self, values):
        """Keys of the one JSON document; several calls add up."""
        self._document = {**(self._document or {}), **values}

    def table(self, title, columns, rows, caption=""):
        """A table. A column whose name begins with '>' is set flush right, with '~' may be cut."""
        if self.json_mode:
            return
        rows = [["" if cell is None else printable(cell) for cell in row] for row in rows]
        draw = self._rich_table if self._tty(self.stdout) else self._plain_table
        with _named_stdout():
            draw(title, columns, rows, caption)

    def facts(self, title, rows):
        """A list of (name, value): a table without a head."""
        self.table(title, (), rows)

    def finish(self):
        """Print the JSON document, if any is asked for."""
        with _named_stdout():
            if self.json_mode:
                text = json.dumps(self._document or {}, indent=2, default=_json_default)
                self.stdout.write(text + "\n")
            self.stdout.flush()

    # --- stderr ---

    def say(self, text):
        """A message beside the result."""
        if not self.quiet:
            self._console(self.stderr, text)

    def warn(self, text):
        """A message that matters: shown whatever --quiet says."""
        self._console(self.stderr, "warning: " + text, "yellow")

    def alarm(self, text):
        """A message of what somebody must look after soon: in red, where there are colours."""
        self._console(self.stderr, "warning: " + text, "bold red")

    def error(self, text, hint=""):
        """Only cli.py calls this."""
        self._console(self.stderr, "drybag: " + text, "bold red")
        if hint:
            self._console(self.stderr, "  what to do: " + hint)

    def progress(self, label, total=None, unit="record"):
        """A bar with rate and time left, as a context manager; `unit`: a word, or 'bytes'."""
        return Progress(self, label, total, unit)

    def confirm(self, question, yes=False):
        """True after a yes, from the option or from the person at the terminal.

        Raises Declined after a no, and where nobody can answer.
        """
        if yes:
            return True
        if self.json_mode or not sys.stdin or not sys.stdin.isatty():
            raise Declined("%s: nobody is there to answer" % question, "say yes with --yes")
        self.stdout.flush()
        self.stderr.write(printable(question) + "? [y/N] ")
        self.stderr.flush()
        answer = sys.stdin.readline().strip().lower()
        if answer not in ("y", "yes"):
            raise Declined("nothing was changed", "answer y to go on")
        return True

    def ask(self, question, hint):
        """What the person at the terminal types. Raises Declined where nobody can answer."""
        if self.json_mode or not sys.stdin or not sys.stdin.isatty():
            raise Declined("%s: nobody is there to answer" % question, hint)
        self.stdout.flush()
        self.stderr.write(printable(question) + ": ")
        self.stderr.flush()
        return sys.stdin.readline().strip()

    # --- how it is drawn ---

    def _tty(self, stream):
        return bool(getattr(stream, "isatty", lambda: False)())

    def _rich(self, stream):
        if stream not in self._consoles:
            from rich.console import Console

            self._consoles[stream] = Console(file=stream, highlight=False, markup=False)
        return self._consoles[stream]

    def _console(self, stream, text, style=None):
        text = "\n".join(printable(part) for part in str(text).split("\n"))
        if self._tty(stream):
            text = _wrapped(text)
        bar = self._bar
        if bar and bar.live:
            bar.live.console.print(text, style=style, markup=False, highlight=False)
        elif self._tty(stream) and style and "NO_COLOR" not in os.environ:
            codes = {"bold red": "1;31", "yellow": "33"}
            stream.write("\x1b[%sm%s\x1b[0m\n" % (codes[style], text))
        else:
            stream.write(text + "\n")

    def _rich_table(self, title, columns, rows, caption):
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD,
            caption=caption or None, caption_justify="left", pad_edge=False, show_edge=False,
            show_header=bool(columns),
        )  # fmt: skip
        console = self._rich(self.stdout)
        caps = _caps(columns, rows, console.width)
        for i, name in enumerate(columns or ("", "")):
            table.add_column(
                name.lstrip(">~"),
                justify="right" if name.startswith(">") else "left",
                no_wrap=bool(caps) or name.startswith(">"),
                overflow="ellipsis" if caps else "fold",
                width=caps[i] if caps else None,
            )
        for row in rows:
            table.add_row(*[Text(cell) for cell in row])
        console.print(table)

    def _plain_table(self, title, columns, rows, caption):
        from rich.cells import cell_len

        lines = [[name.lstrip(">~") for name in columns], *rows] if columns else rows
        columns = columns or ("", "")
        widths = [_plain_width(name, [row[i] for row in lines]) for i, name in enumerate(columns)]
        if title:
            self.stdout.write(title + "\n")
        for row in lines:
            cells = []
            for name, cell, width in zip(columns, row, widths, strict=True):
                fill = " " * (width - cell_len(cell))
                cells.append(fill + cell if name.startswith(">") else cell + fill)
            self.stdout.write("  ".join(cells).rstrip() + "\n")
        if caption:
            self.stdout.write(caption + "\n")


def _wrapped(text):
    """Lines longer than the terminal broken between words, never inside one."""
    width = shutil.get_terminal_size().columns
    lines = []
    for line in text.split("\n"):
        indent = " " * (len(line) - len(line.lstrip()))
        lines += textwrap.wrap(
            line, width, subsequent_indent=indent + "  ",
            break_long_words=False, break_on_hyphens=False,
        ) or [""]  # fmt: skip
    return "\n".join(lines)


def _caps(columns, rows, total):
    """Widths that fit `total` characters, the '~' columns cut as evenly as they can; [] if none.

    Three characters lie between columns.
    """
    from rich.cells import cell_len

    widths = [
        max([cell_len(name.lstrip(">~")), *(cell_len(row[i]) for row in rows)])
        for i, name in enumerate(columns)
    ]
    soft = [i for i, name in enumerate(columns) if name.startswith("~")]
    room = total - 3 * (len(columns) - 1) - sum(w for i, w in enumerate(widths) if i not in soft)
    for count, i in enumerate(sorted(soft, key=widths.__getitem__)):
        widths[i] = max(8, min(widths[i], room // (len(soft) - count)))
        room -= widths[i]
    return widths if soft else []


def _plain_width(name, cells):
    """The width of a column without a terminal: long cells of a '~' column stick out."""
    from rich.cells import cell_len

    widths = [cell_len(cell) for cell in cells]
    if name.startswith("~"):
        widths = [width for width in widths if width <= PLAIN_SOFT]
    return max([0, *widths])


class Progress:
    """A progress bar on a terminal, now and then a line elsewhere. `done` counts what advanced."""

    def __init__(self, out, label, total, unit):
        self.out = out
        self.label = label
        self.total = total
        self.unit = unit
        self.done = 0
        self.live = None
        self._task = None
        self._started = self._said = time.monotonic()

    def __enter__(self):
        self.out._bar = self
        if self.out._tty(self.out.stderr) and not self.out.quiet:
            self.live = self._bar()
            self._task = self.live.add_task(self.label, total=self.total)
            self.live.start()
        return self

    def __exit__(self, *exc):
        if self.live:
            self.live.stop()
            self.live = None
        self.out._bar = None
        return False

    def advance(self, n=1):
        self.done += n
        if self.live:
            self.live.update(self._task, advance=n)
        elif time.monotonic() - self._said > PLAIN_EVERY_S:
            self._said = time.monotonic()
            self.out.say(self.text())

    def set_total(self, total):
        self.total = total
        if self.live:
            self.live.update(self._task, total=total)

    def set_done(self, done):
        """Where the work stands, when it is known as a whole; may go back after a break."""
        step, self.done = done - self.done, done
        if self.live:
            self.live.update(self._task, completed=done)
        elif step:
            self.advance(0)

    def rate(self):
        """Units a second so far."""
        return self.done / max(time.monotonic() - self._started, 0.001)

    def amount(self):
        """'132 KB of 448 KB', '120 of 2,000'."""
        show = size_text if self.unit == "bytes" else "{:,}".format
        return show(self.done) + (" of " + show(self.total) if self.total else "")

    def text(self):
        """The progress as one line."""
        text = "%s: %s" % (self.label, self.amount())
        if self.unit == "bytes":
            text += ", %s/s" % size_text(self.rate())
        else:
            text += " %ss, %s" % (self.unit, rate_text(self.rate()))
        if self.total and self.total > self.done > 0:
            text += ", %s left" % duration_text((self.total - self.done) / self.rate())
        return text

    def _bar(self):
        from rich import progress

        class Rate(progress.ProgressColumn):
            def render(column, task):  # noqa: N805
                speed = task.finished_speed or task.speed
                if not speed:
                    return progress.Text("")
                if self.unit == "bytes":
                    return progress.Text(size_text(speed) + "/s")
                return progress.Text("{:,.0f}/s".format(speed))

        class Amount(progress.ProgressColumn):
            def render(column, task):  # noqa: N805
                return progress.Text(self.amount())

        return progress.Progress(
            progress.TextColumn("{task.description:<16}", markup=False),
            progress.BarColumn(),
            Amount(),
            Rate(),
            progress.TimeRemainingColumn(elapsed_when_finished=True),
            console=self.out._rich(self.out.stderr),
        )
