"""What must be true of a history in the end, from what people did alone.

Each edit puts a *token*, a value that occurs nowhere else, into one property of a record. So it
can be told of each edit where it is, without a word of journal or hub: in a handset's record, in
the record that the hub shows, in a conflict, in an older version. The rules:

- a token that nobody replaced or deleted knowingly (it stood in the record that the person
  changed) is in the record, or in a conflict; an edit that nobody has seen beats a deletion;
- a token that was replaced does not come back, unless what replaced it is in a conflict;
- a record of which each token was replaced or deleted knowingly is gone, and stays gone; unless
  it is merged from edits that no deletion knew all of: each was made beside one of the edits, by
  somebody who had not seen it, so an edit beats each of them;
- what was on one handset only and went down with it is nobody's fault, and is counted.
"""

import re

_TOKEN = re.compile(rb"\bt\d+x\b")


def tokens(body):
    return set(_TOKEN.findall(body))


class Event:
    """One thing that a person did and the handset acknowledged."""

    def __init__(self, number, handset, key, verb, token, seq, before=()):
        self.number = number
        self.handset = handset
        self.key = key
        self.verb = verb
        self.token = token
        self.seq = seq
        self.before = before  # tokens that stood in the record
        self.lost = False
        self.followed = []  # a deletion: what was made anew in its place, in its knowledge

    def text(self):
        what = self.token.decode() if self.token else "the record"
        return "%s of %s in %s on %s (seq %d)" % (
            self.verb, what, self.key[1].decode(), self.handset, self.seq,
        )  # fmt: skip


class Oracle:
    def __init__(self):
        self.events = []
        self._made = {}  # token: its event
        self._over = {}  # token: events that replaced or deleted it
        self._deleted = {}  # (handset, key): the last deletion there
        self._next = 1

    def new_token(self):
        self._next += 1
        return b"t%dx" % (self._next - 1)

    def edited(self, handset, key, seq, before, after):
        """The record's body (None: there was none) was changed, acknowledged as `seq`."""
        old = tokens(before) if before is not None else set()
        for token in tokens(after) - old:
            verb = "edit" if before is not None else "new"
            event = Event(len(self.events), handset, key, verb, token, seq, old)
            self.events.append(event)
            self._made[token] = event
            if before is None and (handset, key) in self._deleted:
                self._deleted[handset, key].followed.append(event)
            for gone in old - tokens(after):
                self._over.setdefault(gone, []).append(event)

    def deleted(self, handset, key, seq, before):
        old = tokens(before)
        event = Event(len(self.events), handset, key, "deletion", None, seq, old)
        self.events.append(event)
        self._deleted[handset, key] = event
        for gone in old:
            self._over.setdefault(gone, []).append(event)

    def keys(self):
        """Of all records that there ever were."""
        return {event.key for event in self.events}

    def undone(self, keys):
        """A person refused that records of these keys are deleted."""
        for event in self.events:
            if event.token is None and event.key in keys:
                event.lost = True

    # -- what may be gone ---------------------------------------------------------------------
    def destroyed(self, alive, tombstones):
        """Something was destroyed. `alive`: the tokens that are anywhere still; `tombstones`: the
        (handset, key, seq) of deletions that are. Events of which nothing is left are lost;
        returns them.
        """
        known = {}

        def counts(event):
            if event.lost:
                return False
            if event.number in known:
                return known[event.number]
            known[event.number] = False  # none is over itself
            if event.token is None:
                found = (event.handset, event.key, event.seq) in tombstones
                found = found or any(map(counts, event.followed))
            else:
                found = event.token in alive or any(map(counts, self._over.get(event.token, ())))
            known[event.number] = found
            return found

        gone = [event for event in self.events if not event.lost and not counts(event)]
        for event in gone:
            event.lost = True
        return gone

    def _came_back(self, token, kept):
        """Is it shown beside, or in place of, what replaced it?"""
        over = [event for event in self._over.get(token, ()) if not event.lost and event.token]
        return bool(over) and not any(self._is_hidden(e.token, kept) for e in over)

    def _is_hidden(self, token, kept):
        """Is it in a conflict, or what replaced it?"""
        return token in kept or any(
            event.token is None or self._is_hidden(event.token, kept)
            for event in self._over.get(token, ())
            if not event.lost
        )

    def _past(self, event):
        """The tokens that stood in the record then, and all that they had replaced."""
        past, new = set(), set(event.before)
        while new:
            past |= new
            new = set().union(*(self._made[token].before for token in new)) - past
        return past

    def _beaten(self, deletion, shown):
        """Is an edit shown that was made beside it, by one who still had what it deleted?"""
        past = self._past(deletion)
        return any(edit.token not in past and edit.before & past for edit in shown)

    def _are_beaten(self, shown):
        """Are these tokens over by deletions alone, each of which is beaten?"""
        over = {event for made in shown for event in self._over.get(made.token, ())}
        over = [event for event in over if not event.lost]
        beaten = [event for event in over if event.token is None and self._beaten(event, shown)]
        return bool(over) and beaten == over

    # -- the judgement ------------------------------------------------------------------------
    def _is_over(self, token):
        return any(not event.lost for event in self._over.get(token, ()))

    def judge(self, heads, kept):
        """What is wrong, as lines. `heads`: {key: body} that everybody shows; `kept`: {key: the
        tokens in its conflicts}.
        """
        wrong = []
        for token, event in self._made.items():
            if event.lost or self._is_over(token):
                continue
            if token in tokens(heads.get(event.key, b"")) or token in kept.get(event.key, ()):
                continue
            wrong.append("lost: %s" % event.text())
        for key, body in heads.items():
            shown = [self._made[token] for token in tokens(body) if token in self._made]
            if len(shown) < len(tokens(body)):
                wrong.append("never written: %r" % body)
            for event in shown:
                if self._came_back(event.token, kept.get(key, ())):
                    wrong.append("replaced, and there again: %s" % event.text())
            of_key = [event for event in self._made.values() if event.key == key]
            over = not any(event.lost or not self._is_over(event.token) for event in of_key)
            if over and not self._are_beaten(shown):
                wrong.append("came back: %s" % key[1].decode())
        return wrong
