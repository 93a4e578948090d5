"""Known-bad variants of a handset's sync: what its state says before or without it being so.

Each function takes a Patch and changes the engine in memory. The docstring says what is wrong;
variants.py says which workloads show it.
"""

from drybag import syncstate
from drybag.journal import Journal
from drybag.syncengine import SyncEngine
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
