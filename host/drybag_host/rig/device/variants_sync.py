"""Known-bad variants of a handset's sync: what its state says before or without it being so.

Each function takes a Patch and changes the engine in memory. The docstring says what is wrong;
variants.py says which workloads show it.
"""

from drybag import merge, syncstate
from drybag.journal import Journal
from drybag.reading import Readings
from drybag.syncengine import SyncEngine
from drybag.syncpull import Pull
from drybag.syncpush import Push


def state_before_changes(patch):
    """The state that says a page of changes is here is committed before the page."""

    def store(engine, new, page=None):
        if page is None:
            return stored(engine, new)
        journal = engine.journal
        new.agreed = journal.last_seq + len(page) + 2
        syncstate.save(journal, new)
        journal.batch(page, from_hub=True)
        engine.state = new

    stored = patch.set(SyncEngine, "store", store)


def agreed_before_answer(patch):
    """What a request bears counts as sent before the hub has answered."""

    def request(push, buf, room):
        head, size = yield from asked(push, buf, room)
        engine = push._engine
        if head.upto > engine.state.agreed and not push.named:
            new = engine.state.copy()
            new.agreed = head.upto
            engine.store(new)
        return head, size

    asked = patch.set(Push, "request", request)


def deletions_of_a_set_back_hub_forgotten(patch):
    """After a hub was set back a boot counts only the deletions that its checkpoint has."""

    def set_agreed(journal, seq, set_back=False):
        told(journal, seq)

    told = patch.set(Journal, "set_agreed", set_agreed)


def reset_forgotten(patch):
    """A hub was set back: what it lost is sent again, but only until the power goes."""

    def store(engine, new, page=None):
        if page is None and new.agreed < engine.state.agreed:
            kept = new.copy()
            kept.agreed = engine.state.agreed
            syncstate.save(engine.journal, kept)
            engine.journal.set_agreed(new.agreed)
            engine.state = new
            return None
        return stored(engine, new, page)

    stored = patch.set(SyncEngine, "store", store)


def merge_takes_one_side(patch):
    """Of two edits of one record the later is all that stays: the other side's part is dropped."""

    def one_side(kind, base, later, earlier):
        return merge.Merged(later.parent, later.blobs, later.body)

    patch.set(merge, "merge", one_side)


def merged_taken_for_own(patch):
    """What the hub made of two edits is not written where the record is one's own edit."""

    def is_here(pull, item):
        journal = pull._engine.journal
        if item.kind == 1 and journal.find_uid(item.kind, item.uid):
            return True
        return here(pull, item)

    here = patch.set(Pull, "_is_here", is_here)


def change_over_unsent_edit(patch):
    """A page is committed though the person has edited meanwhile: the edit counts as sent."""
    answered = [False]

    def acked(engine, request, reply):
        answered[0] = True
        return told(engine, request, reply)

    def unsent_count(readings, after_seq):
        if answered[0]:
            answered[0] = False
            return 0
        return counted(readings, after_seq)

    told = patch.set(SyncEngine, "_acked", acked)
    counted = patch.set(Readings, "unsent_count", unsent_count)


def merged_after_its_state(patch):
    """The version that the hub made of two edits is committed after the state that passes it."""

    def store(engine, new, page=None):
        journal = engine.journal
        own = [op for op in page or () if op[0] == "put" and journal.find_uid(op[1], op[2])]
        if not own:
            return stored(engine, new, page)
        others = [op for op in page if op not in own]
        new.agreed = journal.last_seq + len(others) + 2 + len(own) + 1
        others.append(("put", syncstate.SETTING, syncstate.SYNC, new.pack()))
        journal.batch(others, from_hub=True)
        journal.batch(own, from_hub=True)
        journal.set_agreed(new.agreed)
        engine.state = new

    stored = patch.set(SyncEngine, "store", store)
