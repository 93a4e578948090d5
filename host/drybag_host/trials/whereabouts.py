"""Where the newest version of each record was, moment by moment; and where it would have been
had the handsets been caches, as they were in 2009.
"""

HANDSETS = ("nowhere", "one", "more")
# In the order of the page's legend.
PLACES = (
    ("nowhere", "nowhere"),
    ("one", "on one handset only"),
    ("more", "on several handsets"),
    ("hub", "on handsets and the hub"),
    ("safe", "on handsets, hub and a copy of the hub's"),
    ("copies", "on no handset, but at the hub or a copy of it"),
    ("gone", "deleted by its owner"),
    ("none", "not made yet"),
)


class Timeline:
    """`moments`: names; `rows`: {key: [place at each moment]}, places as in PLACES."""

    def __init__(self):
        self.moments = []
        self.rows = {}
        self.cached = {}  # the same for handsets that are caches
        self._ram = {}  # member: tokens in its RAM
        self._server = set()
        self._server_backup = set()

    def sample(self, text, drill):
        """Look everywhere once."""
        newest = _newest(drill.oracle)
        holders = {member.name: member.alive() for member in drill.living()}
        hub, offsite = drill.hub_tokens(), drill.offsite_tokens()
        copies = offsite.union(*[held for _, held in drill.backups.values()])
        self._cache(drill, holders, hub)
        at = len(self.moments)
        self.moments.append(text)
        for key, event in newest.items():
            row = self.rows.setdefault(key, ["none"] * at)
            row.append(_place(event, holders, hub, copies))
            row = self.cached.setdefault(key, ["none"] * at)
            row.append(_place(event, self._ram, self._server, self._server_backup))

    def _cache(self, drill, holders, hub):
        """The other design: RAM in the handset, one durable copy at the server, its backup.

        Meant well: a handset that kept its power has what it had before the disk went.
        """
        destroyed = "Friday" not in drill.backups and any(m.gone for m in drill.everybody)
        by_name = {member.name: member for member in drill.everybody}
        for name, member in by_name.items():
            if member.gone or member.pulled:
                self._ram.pop(name, None)
            elif name in holders and not destroyed:
                self._ram[name] = holders[name]
        self._server_backup = set().union(*[held for _, held in drill.backups.values()])
        # Destroyed: what the older backup and powered handsets have is all there is.
        self._server = set(self._server_backup) if destroyed else hub

    def count(self, rows, moment=-1):
        """{place: records} at a moment."""
        found = {}
        for row in rows.values():
            found[row[moment]] = found.get(row[moment], 0) + 1
        return found

    def lost_by_cache(self):
        """Keys whose newest version would be nowhere in the end."""
        return sorted(key for key, row in self.cached.items() if row[-1] == "nowhere")


def _newest(oracle):
    """{key: the last thing that was done to it}."""
    found = {}
    for event in oracle.events:
        found[event.key] = event
    return found


def _place(event, holders, hub, copies):
    if event.token is None:
        return "gone"
    count = sum(event.token in held for held in holders.values())
    if not count:
        return "copies" if event.token in hub or event.token in copies else "nowhere"
    if event.token in hub:
        return "safe" if event.token in copies else "hub"
    return "one" if count == 1 else "more"
