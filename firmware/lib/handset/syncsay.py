"""What the console says of the hub: the command `sync`, and where a record is safe."""

_UNPAIRED = "No hub is paired. On a computer: drybag pair"


def do_sync(console, text):
    word = text.strip().lower()
    sync = console.app.sync
    if sync is None:
        yield _UNPAIRED
        return
    if word == "now":
        sync.now()
        yield "It begins. 'sync' says how it stands."
    elif word == "off":
        sync.turn(False)
        yield "Sync is off until you say: sync now. What you write is saved here as ever."
    elif word in ("accept", "refuse"):
        count = sync.held[0] if sync.held else 0
        if not (sync.accept() if word == "accept" else sync.refuse()):
            yield "No deletions wait for your word."
        elif word == "accept":
            yield "%d records will be deleted, as the hub asks." % count
        else:
            yield "They stay, and go back to the hub."
    elif word:
        yield "Say: sync, sync now, sync accept, sync refuse or sync off."
    else:
        for name, what in facts(console.app):
            yield "%-10s %s" % (name, what)


def facts(app):
    """(name, text) of how sync stands; one line without a hub."""
    if app.sync is None:
        return [("hub", "none is paired (on a computer: drybag pair)")]
    info = app.sync.info()
    if "saved" not in info:
        return [("hub", info["why"])]
    rows = [("hub", "%s, as %s" % (info["hub"] or "unknown", info["owner"]))]
    if not info["on"]:
        state = "off"
    elif info["running"]:
        state = "running"
    else:
        state = "again in %d s" % info["next_s"]
    rows.append(("sync", state + (": " + info["why"] if info["why"] else "")))
    rows.append(("contact", _when(app.board, info["contact"])))
    rows.append(("unsent", "%d changes" % info["unsent"] if info["unsent"] else "nothing"))
    if info["stuck"]:
        rows.append(("", "%d of them cannot be sent: damaged, or too large" % info["stuck"]))
    if info["held"]:
        rows.append(("waits", "the hub wants %d records deleted: sync accept, or sync refuse"
                     % info["held"]))  # fmt: skip
    if info["held_by_hub"]:
        rows.append(("waits", "deletions of yours wait at the hub for its owner's word"))
    return rows + watermarks(info)


def watermarks(info):
    """Up to which change everything is where."""
    offsite = info["offsite"]
    return [
        ("saved", "up to change %d, on the flash" % info["saved"]),
        ("at the hub", "up to change %d" % info["at_hub"]),
        ("off-site", "the hub has no off-site copy" if offsite is None
         else "up to change %d" % offsite),
    ]  # fmt: skip


def where_text(app, seq):
    """Of one version: ", at the hub" and so on; "" without a hub."""
    if app.sync is None:
        return ""
    hub, offsite = app.sync.places(seq)
    if offsite:
        return " It is at the hub and off-site too."
    return " It is at the hub too." if hub else " It is not at the hub yet."


def _when(board, stamp):
    if not stamp:
        return "never"
    return "%04d-%02d-%02d %02d:%02d:%02d UTC" % board.civil(stamp)
