"""What the apps of the comparison are asked to keep, and who judges them: the same for all.

Records come, are changed and go. A step that was cut short may be there whole or not at all.
"""

_LATER = 6  # so many steps after the last acknowledged one may have been cut short


def operation(n):
    """Step `n`: (uid, text) to store, or (uid, None) to delete."""
    if n % 7 == 6:
        return "r%d" % ((n * 5 + 2) % min(n, 24)), None
    uid = "r%d" % (n % 24 if n % 3 else (n // 2) % 24)
    return uid, "%d %s" % (n, "the quick brown fox jumps over it " * (1 + n % 4))


def problems(acked, found):
    """What is wrong with `found` ({uid: text}) after the steps `acked` (their numbers): texts."""
    done, may, asked = set(acked), {}, {}
    for n in range((acked[-1] if acked else -1) + 1 + _LATER):
        uid, text = operation(n)
        asked.setdefault(uid, []).append(text)
        may[uid] = [text] if n in done else may.get(uid, [None]) + [text]
    wrong = []
    for uid in sorted(set(may) | set(found)):
        allowed, text = may.get(uid, [None]), found.get(uid)
        if text not in allowed:
            wrong.append("%s: %s is %r" % (_kind(allowed, text, asked.get(uid, ())), uid, text))
    return wrong


def _kind(allowed, text, asked):
    if text is not None and text not in asked:
        return "torn record shown"
    return "deleted came back" if allowed == [None] else "record lost"
