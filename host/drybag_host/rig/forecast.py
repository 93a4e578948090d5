"""How many states a campaign will boot: a guess for the progress bar that mends itself. Pure.

What each job will give is first guessed from the size of its workload; once a job was traced it is
known. Of what is given, equal states are booted once: their share is taken from what came so far.
"""

_STATES_A_COMMAND = 9
# flash commands of the larger workloads, and of a sequence by its last step, about
_COMMANDS = {
    "full": 1400, "nearly-full": 1100, "long": 750, "compaction": 500, "forgotten": 270,
    "wrap-seq": 230, "growth": 220, "wrap-segment": 200, "garbage": 190, "big": 180,
    "photos": 170, "batches": 110, "checkpoint": 110, "tombstones": 90, "recovery": 70,
}  # fmt: skip
_LAST_STEP = {"full": 620, "compaction": 170, "photo": 60, "batch": 39}
_OTHER, _OTHER_STEP = 50, 12
_ENOUGH = 50


def guess(job):
    """States that a job will give, before anything of it is known."""
    name = job.workload.partition("!")[0]
    if name.startswith("seq."):
        commands = _LAST_STEP.get(name.rsplit(".", 1)[1], _OTHER_STEP)
    else:
        commands = _COMMANDS.get(name, _OTHER)
    states = commands * _STATES_A_COMMAND / job.part[1]
    if job.budget:
        states /= max(1, states // job.budget)
    return states / job.every


class Forecast:
    """`jobs`: {number: Job} of those that are still to be done."""

    def __init__(self, jobs):
        self._guesses = {number: guess(job) for number, job in jobs.items()}
        self._known_guesses = 0.0
        self._given = 0
        self._came = 0
        self.booted = 0

    def traced(self, number, states):
        """A job turned out to give so many states, equal ones included."""
        self._known_guesses += self._guesses.pop(number, 0.0)
        self._given += states

    def over(self, number):
        """A job is over, traced or not."""
        self._guesses.pop(number, None)

    def state(self, path):
        """A state is booted; `path` as workers say it."""
        self.booted += 1
        self._came += ":" not in path  # cuts of recoveries are given by no workload

    def equal(self):
        """A state that was booted before under another name."""
        self._came += 1

    def total(self):
        """States that will have been booted at the end, those so far included."""
        unknown = sum(self._guesses.values())
        if self._known_guesses:
            unknown *= self._given / self._known_guesses
        share = self.booted / self._came if self._came >= _ENOUGH else 1.0
        return self.booted + int(share * max(0, self._given - self._came + unknown))
