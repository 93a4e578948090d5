"""Which torn states a flash command gets: pure, from numbers alone.

A cut is (number of the flash command, letter of the state, seed). The letters of damage at rest
stand for faults that happen while the power is off, before that command.
"""

from drybag_host.emulator.rom import nor

LETTERS = {
    "c": "clean", "p": "prefix", "b": "bits", "n": "neighbour", "u": "unstable",
    "e": "erase-none", "z": "erase-zeroed", "a": "erase-partial",
    "r": "rot", "g": "sector-gone", "w": "worn", "s": "worn-silent",
}  # fmt: skip
REST = "rgws"
# how many seeds each state gets where a workload is swept in full; `clean` seed 1: not begun
SEEDS = {"c": 1, "p": 2, "b": 2, "n": 3, "u": 2, "e": 1, "z": 2, "a": 2}
_PROGRAM = "cpbnu"
_ERASE = "cezau"


def letters(op):
    """The states that can tear a command ("program" or "erase"); "end": only clean."""
    if op == "end":
        return "c"
    return _ERASE if op == "erase" else _PROGRAM


def states(n, op, at_rest):
    """Every (letter, seed) of command number `n`, where `at_rest` operations begin included."""
    out = []
    for letter in letters(op):
        for seed in range(SEEDS[letter]):
            # 1 draws "not begun": what is complete is the next command's "not begun"
            out.append((letter, 1 if letter == "c" else seed + 10 * (n % 7)))
    if at_rest:
        out += [("r", n), ("r", n + 1000), ("w", n), ("s", n), ("g", n)]
    return out


def sampled(n, op, at_rest, every, offset):
    """As `states`, one in `every` of them, evenly over the commands."""
    everything = states(n, op, at_rest)
    if every <= 1:
        return everything
    return [
        state for i, state in enumerate(everything) if _mixed(n, i, offset) % every == 0
    ]


def _mixed(n, i, offset):
    """A number that spreads over commands and states alike, whatever it is divided by."""
    x = (n * 0x9E3779B1 + i * 0x85EBCA6B + offset * 0xC2B2AE35) & 0xFFFFFFFF
    x = ((x ^ (x >> 15)) * 0x2C1B3C6D) & 0xFFFFFFFF
    return x ^ (x >> 13)


def one_state(n, op):
    """A state a command, another for each, and the seed too."""
    fitting = letters(op)
    letter = fitting[n % len(fitting)]
    return [(letter, 1 if letter == "c" else n)]


def token(cuts):
    """Cuts as text: '17n2:3b1'."""
    return ":".join("%d%s%d" % cut for cut in cuts)


def fits(letter, op):
    """True if that state can be what a cut in (or a rest before) this command left."""
    return letter in LETTERS and (letter in REST or letter in letters(op))


def state_of(letter):
    """The fault model's name of a torn state."""
    name = LETTERS[letter]
    return name if name in nor.STATES else None
