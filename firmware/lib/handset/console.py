"""A person's console: commands, their help, prompts, long lists page by page.

A command is a generator. What it yields is printed (str), asked for (Ask; the answer is what
`yield` gives back), or None while it works. So nothing it does keeps the rest waiting.
"""

import gc

from drybag.errors import DrybagError
from drybag.port import const
from handset.memory import let_go
from handset.terminal import Terminal, characters

PROMPT = "drybag> "
_PAGE_LINES = const(20)
_MORE = b"-- more: any key, q to stop --"
_SLICE_MS = const(20)
_PATIENCE_MS = const(2500)
_SHOWN = const(60)
_CTRL_D = const(4)
_CTRL_G = const(7)
_LET_GO = (
    "handset.views", "handset.forms", "handset.changes", "handset.about", "handset.photo",
    "handset.syncsay",
)  # fmt: skip

# name : module : what it takes : what it does : j if it needs the journal. One string, as each
# object more costs the heap 32 to 64 bytes.
_COMMANDS = """\
help : about : [COMMAND] : this list, or more about one command : -
add : forms : KIND [TEXT] : add a contact, event, todo, note or photo : j
list : views : [KIND] : all records, or those of one kind : j
find : views : TEXT : search names, numbers, titles, texts : j
show : views : N|TEXT : one record, by its number in the last list : j
events : views : [FROM [TO]] : what is on, from a day (2025-01-31) to another : j
edit : forms : N|TEXT : change a record, field by field : j
done : forms : N|TEXT : tick off a to-do, or the other way : j
delete : changes : N|TEXT : delete a record : j
undelete : changes : [N] : bring a deleted record back : j
history : changes : N|TEXT : the versions of a record : j
status : about :  : what the handset is and what it is doing : -
where : about :  : what is saved, and where : -
sync : syncsay : [now|off|accept|refuse] : the hub: what is there, what is unsent : j
scrub : changes :  : read everything and check it : j
time : about : [2025-01-31 09:30] : show or set the clock : -
restart : about :  : start again : -
quit : about :  : stop, for MicroPython's own prompt : -
"""


def commands():
    """(name, module, what it takes, what it does, whether it needs the journal) of each."""
    for line in _COMMANDS.split("\n"):
        if line:
            name, module, takes, does, needs = line.split(" : ")
            yield name, module, takes, does, needs == "j"


def command(name):
    """What commands() gives of the one called `name`, or None."""
    for row in commands():
        if row[0] == name:
            return row
    return None


class Ask:
    """Yielded by a command: wants a line from the person, who sees `prompt`."""

    def __init__(self, prompt, hidden=False):
        self.prompt = prompt
        self.hidden = hidden


class Console:
    """`remembered`: what an earlier one of this boot knew."""

    def __init__(self, app, remembered=None):
        self.app = app
        self.terminal = Terminal(app.board.write)
        self.last_deleted = None
        self.numbers = []
        self.first_number = 1
        if remembered:
            self.last_deleted, self.numbers, self.first_number, self.terminal.earlier = remembered
        self._task = None
        self._waiting = True
        self._answer = None
        self._lines = 0
        self._paused = False

    def remember(self):
        """For a later console; only at rest."""
        return self.last_deleted, self.numbers, self.first_number, self.terminal.earlier

    # -- numbers of the last list -------------------------------------------------------------
    def new_list(self):
        self.numbers = []
        self.first_number = 1

    def number(self, kind, uid):
        """Give the next line of a list its number; the last 60 are remembered."""
        self.numbers.append((kind, uid))
        if len(self.numbers) > _SHOWN:
            self.numbers.pop(0)
            self.first_number += 1
        return self.first_number + len(self.numbers) - 1

    # -- the loop's calls ---------------------------------------------------------------------
    def greet(self):
        app, say = self.app, self.terminal.say
        say("")
        if app.journal is None:
            say("Drybag on %s. NOTHING CAN BE SAVED:" % app.board.model())
            say(str(app.fault))
            say("'status' says more. The partition is left as it is.")
        else:
            say(
                "Drybag on %s: %d records, all saved on the flash. Type help."
                % (app.board.model(), app.journal.count())
            )
        self._prompt()

    def _prompt(self):
        self._waiting = True
        self.terminal.hidden = False
        self.terminal.ask(PROMPT)

    def key(self, c):
        """A byte that is no part of a frame."""
        if self._paused:
            self._unpause(c)
        elif c == _CTRL_G and self._task is not None:
            self._stop("left out, nothing was changed")
        elif c == _CTRL_D and self._task is None and self.terminal.empty:
            self.app.restart_wanted = True
            self.app.leave()
        elif self._waiting:
            line = self.terminal.key(c)
            if line is not None:
                self._line(line)
        elif c in b"q\x1b":
            self._stop("stopped")

    def step(self):
        """Go on with the command under way; False when there is none or it waits."""
        if self._task is None or self._waiting or self._paused:
            return False
        began = self.app.board.ticks_ms()
        while not self._waiting and not self._paused and self._task is not None:
            self._advance()
            if self.app.board.since_ms(began) > _SLICE_MS:
                break
        return True

    @property
    def at_work(self):
        """A command is under way, or waits for a word."""
        return self._task is not None

    @property
    def at_rest(self):
        """No command, and nothing of one is typed."""
        return self._task is None and self.terminal.empty

    def rest(self):
        """Nobody types: let go of the code of commands."""
        if self._task is None:
            let_go(_LET_GO)

    # -- lines and commands -------------------------------------------------------------------
    def _line(self, line):
        self._waiting = False
        if self._task is not None:
            self._answer = line
            return
        self.terminal.remember(line)
        words = line.strip().split(None, 1)
        if not words:
            self._prompt()
            return
        self._lines = 0
        self._answer = None
        name = self.meant(words[0].lower())
        if name is None:
            self._prompt()
            return
        try:
            self._task = self._start(name, words[1].strip() if len(words) > 1 else "")
        except Exception as error:
            self._failed(error)

    def _start(self, name, rest):
        _, module, _, _, needs_journal = command(name)
        if needs_journal and self.app.journal is None:
            raise self.app.fault
        return self._run("handset." + module, "do_" + name, rest)

    def _run(self, module, function, rest):
        """The command itself, once there is room for its code."""
        began, told = self.app.board.ticks_ms(), False
        while not self.app.has_room_for_command():
            if not told and self.app.board.since_ms(began) > _PATIENCE_MS:
                told = True
                yield "(one moment: the sync under way comes to a stop first)"
            yield None
        gc.collect()
        module = __import__(module, None, None, ("x",))
        yield from getattr(module, function)(self, rest)

    def meant(self, word):
        """The command meant by `word`, or None after saying what might be."""
        if word == "?":
            return "help"
        names = [row[0] for row in commands()]
        if word in names:
            return word
        near = [name for name in names if name.startswith(word)]
        if len(near) == 1 and len(word) > 1:
            return near[0]
        near = near or [name for name in names if _distance(word, name) <= 2]
        self.terminal.say(
            "There is no '%s'. %s"
            % (
                word[:20],
                "Did you mean %s?" % " or ".join(sorted(near)) if near else "Type help.",
            )
        )
        return None

    def _advance(self):
        try:
            answer, self._answer = self._answer, None
            out = next(self._task) if answer is None else self._task.send(answer)
        except StopIteration:
            self._end()
        except Exception as error:
            self._failed(error)
        else:
            if isinstance(out, str):
                self._print(out)
            elif out is not None:
                self._waiting = True
                self._lines = 0
                self.terminal.hidden = out.hidden
                self.terminal.ask(out.prompt)

    def _print(self, text):
        self.terminal.say(text)
        self._lines += 1 + max(0, len(text) - 1) // 80
        if self._lines >= _PAGE_LINES:
            self._paused = True
            self.app.board.write(_MORE)

    def _unpause(self, c):
        """A key at the end of a page."""
        self._paused = False
        self._lines = 0
        self.app.board.write(b"\r" + b" " * characters(_MORE) + b"\r")
        if c in b"qQ\x1b\x07":
            self._stop("stopped")

    def _stop(self, why):
        self._task.close()
        self.app.board.write(b"\r\n")
        self.terminal.say("(%s)" % why)
        self._end()

    def _failed(self, error):
        self._task = None
        error = self.app.failed(error)
        self.terminal.say("%s" % (error if isinstance(error, DrybagError) else repr(error)))
        self._end()

    def _end(self):
        self._task = None
        self._paused = False
        if not self.app.leaving:
            self._prompt()


def _distance(a, b):
    """Edits between two words (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i in range(len(a)):
        before, row[0] = row[0], i + 1
        for j in range(len(b)):
            now = row[j + 1]
            row[j + 1] = min(now + 1, row[j] + 1, before + (a[i] != b[j]))
            before = now
    return row[-1]
