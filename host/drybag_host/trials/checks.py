"""The end of a history: everybody shows the same, and it is what people wrote."""


def final(world):
    """Lines of what is wrong; [] if nothing is."""
    hub = world.hub
    heads = hub.heads()
    wrong = hub.wrong()
    for handset in world.handsets:
        wrong += _compare(handset.name, handset.shown(), heads)
        unsent = handset.engine.unsent()
        if unsent:
            wrong.append("%s has %d unsent" % (handset.name, unsent))
        wrong += handset.wrong()
    wrong += world.oracle.judge({key: body for key, (body, _, _) in heads.items()}, hub.kept())
    first = world.handsets[0]
    before = first.shown()
    first.boot()
    if first.shown() != before:
        wrong.append("%s shows something else after a boot" % first.name)
    return wrong


def _compare(name, shown, heads):
    found = []
    for key in sorted(set(shown) | set(heads)):
        if shown.get(key) != heads.get(key):
            found.append("%s and the hub differ in %s: %r, %r" % (
                name, key[1].decode(), shown.get(key), heads.get(key),
            ))  # fmt: skip
    return found
