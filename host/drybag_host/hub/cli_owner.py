"""`drybag hub held`, `conflicts`, `undelete`, `stats`: what an owner has to decide and know."""

import contextlib

from drybag_host.hub.cli_accounts import (
    _leaf,
    age_text,
    now_ms,
    opened,
    opened_blobs,
    when_text,
)

__all__ = ["add_parsers"]

def add_parsers(sub):
    held = sub.add_parser(
        "held",
        help="deletions that wait for a person's word: list, accept, refuse",
        description="Many deletions at once are stored and not believed until somebody says so.",
        epilog="example:\n  drybag hub held list\n  drybag hub held refuse ada\n",
    )
    verbs = held.add_subparsers(metavar="VERB", required=True)
    one = _leaf(verbs, "list", "what waits", "drybag hub held list", _held)
    one.add_argument("owner", metavar="OWNER", nargs="?")
    for name, what, run in (
        ("accept", "delete them", _accept),
        ("refuse", "keep the records; handsets get them back", _refuse),
    ):
        one = _leaf(verbs, name, what, "drybag hub held %s ada" % name, run)
        one.add_argument("owner", metavar="OWNER")
        one.add_argument("positions", metavar="POS", nargs="*", type=int, help="only these")
    _add_conflicts(sub)
    example = "drybag hub undelete ada\n"
    example += "  drybag hub undelete ada contact drybag-0123456789abcdef"
    undelete = _leaf(
        sub, "undelete", "list what was deleted, or bring a record back as it was", example,
        _undelete,
    )  # fmt: skip
    undelete.description = (
        "Bring a deleted record back as it was. Without KIND and UID: list what was deleted, and "
        "what it was called."
    )
    _add_record(undelete, "?")
    _leaf(sub, "stats", "owners, handsets, off-site copy, backups; what needs attention",
          "drybag hub stats --json", _stats)  # fmt: skip


def _add_conflicts(sub):
    conflicts = sub.add_parser(
        "conflicts",
        help="versions that are not shown, since both sides changed the same: list, resolve, "
        "restore",
        description="Where two handsets changed one property differently, the later is shown and "
        "the other version kept.",
        epilog="example:\n  drybag hub conflicts list ada\n"
        "  drybag hub conflicts restore ada contact UID 17\n",
    )
    verbs = conflicts.add_subparsers(metavar="VERB", required=True)
    what = "what nobody has looked at"
    one = _leaf(verbs, "list", what, "drybag hub conflicts list", _conflicts)
    one.add_argument("owner", metavar="OWNER", nargs="?")
    for name, what, run in (
        ("resolve", "what is shown is right: forget the conflict", _resolve),
        ("restore", "show the version at a position instead", _restore),
    ):
        one = _leaf(verbs, name, what, "drybag hub conflicts %s ada contact UID 17" % name, run)
        _add_record(one)
        one.add_argument("pos", metavar="POS", type=int, help="of the version, as listed")


def _add_record(parser, nargs=None):
    parser.add_argument("owner", metavar="OWNER")
    kinds = "contact, event, todo, note, photo, calendar"
    parser.add_argument("kind", metavar="KIND", nargs=nargs, help=kinds)
    parser.add_argument("uid", metavar="UID", nargs=nargs)


def _key(args):
    from drybag_host.hub.ownerviews import kind_number

    return args.owner, kind_number(args.kind), args.uid.encode("utf-8", "surrogateescape")


@contextlib.contextmanager
def _hinted(hint):
    """What to do next, if there is no such thing, or nothing to be done with it."""
    from drybag.errors import DrybagError
    from drybag_host.errors import with_hint

    try:
        yield
    except DrybagError as error:
        with_hint(error, hint)
        raise


def _owners(storage, name):
    from drybag.errors import NotFound
    from drybag_host.hub import accounts

    names = [row["owner"] for row in accounts.owners(storage)]
    if name and name not in names:
        raise NotFound("no owner %s" % name)
    return [name] if name else names


def _title(storage, row, pos):
    from drybag_host.hub.ownerlog import title_of, version_of

    (found,) = storage.get("versions", [(row["owner"], pos)])
    return title_of(version_of(found)) if found else ""


def _uid(row):
    return row["uid"].decode("utf-8", "backslashreplace")


def _kind(row):
    from drybag.layout import KIND_NAMES

    return KIND_NAMES.get(row["kind"], str(row["kind"]))


def _held(args):
    from drybag_host.hub import owneractions

    found = []
    with opened(args, readonly=True) as storage:
        for owner in _owners(storage, args.owner):
            for row in owneractions.held(storage, owner):
                (head,) = storage.get("heads", [(owner, row["kind"], row["uid"])])
                title = head["title"] if head else ""
                found.append({"owner": owner, "pos": row["pos"], "kind": _kind(row),
                              "uid": _uid(row), "title": title})  # fmt: skip
    args.out.document({"held": found})
    rows = [(h["owner"], str(h["pos"]), h["kind"], h["title"], h["uid"]) for h in found]
    if not rows:
        args.out.line("no deletion waits")
        return 0
    args.out.table("Deletions that wait", ("owner", ">pos", "kind", "~title", "~uid"), rows)
    args.out.say("drybag hub held refuse OWNER [POS ...] keeps them, accept deletes them")
    return 0


def _accept(args):
    return _decide(args, True)


def _refuse(args):
    return _decide(args, False)


def _decide(args, accept):
    from drybag_host.hub import owneractions

    with opened(args) as storage, opened_blobs(args) as blobs:
        _owners(storage, args.owner)
        with _hinted("drybag hub held list %s" % args.owner):
            count = owneractions.decide_held(
                storage, blobs, args.owner, accept, now_ms(), args.positions or None
            )
    args.out.document({"owner": args.owner, "decided": count, "accepted": accept})
    what = "deleted" if accept else "kept; the handsets get them back"
    args.out.line("%d %s %s" % (count, "record" if count == 1 else "records", what))
    return 0


def _conflicts(args):
    from drybag_host.hub import owneractions

    found = []
    with opened(args, readonly=True) as storage:
        for owner in _owners(storage, args.owner):
            for row in owneractions.conflicts(storage, owner):
                found.append({
                    "owner": owner, "kind": _kind(row), "uid": _uid(row), "pos": row["pos"],
                    "shown_pos": row["with_pos"], "properties": row["names"].split(","),
                    "title": _title(storage, row, row["pos"]),
                })  # fmt: skip
    args.out.document({"conflicts": found})
    rows = [
        (c["owner"], c["kind"], c["title"], ", ".join(c["properties"]), str(c["pos"]), c["uid"])
        for c in found
    ]
    if not rows:
        args.out.line("no conflicts")
        return 0
    names = ("owner", "kind", "~title", "differs in", ">not shown", "~uid")
    args.out.table("Conflicts", names, rows)
    args.out.say(
        "drybag hub conflicts restore OWNER KIND UID POS shows that one instead, resolve leaves it"
    )
    return 0


def _resolve(args):
    from drybag_host.hub import owneractions

    with opened(args) as storage:
        _owners(storage, args.owner)
        with _hinted("drybag hub conflicts list %s" % args.owner):
            owneractions.resolve(storage, *_key(args), args.pos, now_ms())
    args.out.document({"resolved": args.pos})
    args.out.line("done; the version at %d stays in the history" % args.pos)
    return 0


def _restore(args):
    from drybag_host.hub import owneractions

    with opened(args) as storage, opened_blobs(args) as blobs:
        _owners(storage, args.owner)
        with _hinted("drybag hub conflicts list %s" % args.owner):
            pos = owneractions.restore(storage, blobs, *_key(args), args.pos, now_ms())
    args.out.document({"restored": args.pos, "pos": pos})
    args.out.line("the version at %d is shown again; handsets get it with their next sync"
                  % args.pos)  # fmt: skip
    return 0


def _undelete(args):
    from drybag_host.errors import Usage
    from drybag_host.hub import owneractions

    if args.kind is None:
        return _deleted(args)
    if args.uid is None:
        raise Usage("which %s?" % args.kind,
                    "drybag hub undelete %s lists what was deleted" % args.owner)  # fmt: skip
    hint = "drybag hub undelete %s lists what is deleted" % args.owner
    with opened(args) as storage, opened_blobs(args) as blobs:
        _owners(storage, args.owner)
        with _hinted(hint):
            pos = owneractions.undelete(storage, blobs, *_key(args), now_ms())
    args.out.document({"pos": pos})
    args.out.line("it is back; handsets get it with their next sync")
    return 0


def _deleted(args):
    """List what was deleted, the newest first."""
    from drybag_host.hub import owneractions

    found = []
    with opened(args, readonly=True) as storage:
        _owners(storage, args.owner)
        for deletion, old in owneractions.deleted(storage, args.owner):
            found.append({
                "kind": _kind(deletion), "uid": _uid(deletion), "pos": deletion["pos"],
                "deleted_ms": deletion["received_ms"], "there": old is not None,
                "title": _title(storage, old, old["pos"]) if old else "",
            })  # fmt: skip
    args.out.document({"owner": args.owner, "deleted": found})
    rows = [(d["kind"], d["title"] if d["there"] else "(no older version is here)",
             when_text(d["deleted_ms"]), d["uid"]) for d in found]  # fmt: skip
    if not rows:
        args.out.line("nothing of %s is deleted" % args.owner)
        return 0
    args.out.table("Deleted by %s" % args.owner, ("kind", "~title", "deleted", "~uid"), rows)
    args.out.say("drybag hub undelete %s KIND UID brings one back" % args.owner)
    return 0


def _stats(args):
    from drybag_host.hub.stats import collect
    from drybag_host.output import count_text

    with opened(args, readonly=True) as storage:
        found = collect(storage, now_ms())
    args.out.document(found)
    now = now_ms()
    rows = [
        ("hub", found["hub"] or "no id yet: it gets one at its first start or backup"),
        ("owners", str(found["owners"])),
        ("records", "{:,} ({})".format(
            found["records"], count_text(found["versions"], "version"))),
        ("photos and bodies", "{:,}".format(found["blobs"])),
        ("deletions that wait", str(found["held"])),
        ("conflicts", str(found["conflicts"])),
        ("off-site copy", _offsite_text(found["offsite"], now)),
        ("last compared backup", _backup_text(found["backup"], now)),
    ]
    args.out.facts("Hub %s" % args.data, rows)
    table = [
        (d["name"] or d["device"], d["owner"], age_text(d["seen_ms"], now),
         "REVOKED" if d["revoked_ms"] else "%d of %d" % (d["ack"], d["last_seq"]))
        for d in found["devices"]
    ]  # fmt: skip
    if table:
        args.out.table("Handsets", ("handset", "owner", "heard of", "at the hub"), table)
    else:
        args.out.line("no handset is paired: drybag pair TARGET --hub URL --wifi SSID")
    for alarm in found["alarms"]:
        args.out.alarm(alarm)
    return 0


def _backup_text(backup, now):
    if not backup["at_ms"]:
        return "never"
    old = " - OLD" if backup["old"] else ""
    return "%s (%s)%s" % (age_text(backup["at_ms"], now), when_text(backup["at_ms"]), old)


def _offsite_text(offsite, now):
    if not offsite["configured"]:
        return "none"
    if not offsite["behind"]:
        return "%s has everything" % offsite["url"]
    return "%s lacks %d rows, written %s" % (
        offsite["url"], offsite["behind"], age_text(offsite["at_ms"], now)
    )  # fmt: skip
