"""Group commit: one thread that does the hub's work, and what waits shares the next sync.

While one batch is being made durable, requests queue up; the next batch takes all of them. So the
disk is waited for once a batch, whether it holds one request or fifty.
"""

import queue
import threading

__all__ = ["Committer"]

MOST = 64  # requests in one batch


class _Job:
    __slots__ = ("after", "done", "error", "result", "work")

    def __init__(self, work, after, done):
        self.work = work
        self.after = after
        self.done = done
        self.result = self.error = None


class Committer:
    """`submit(work, after, done)`: work() runs in a batch of the storage; when that is durable,
    after(result) runs, and done(error, result) is called. All in one thread.

    An error that work raises is that job's alone; one of the batch is every job's in it.
    """

    def __init__(self, storage):
        self._storage = storage
        self._queue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="drybag-commit", daemon=True)
        self._thread.start()
        self.batches = self.jobs = 0

    def submit(self, work, after, done):
        self._queue.put(_Job(work, after, done))

    def waiting(self):
        """Jobs that have not begun."""
        return self._queue.qsize()

    def close(self):
        """What was submitted is done first."""
        self._queue.put(None)
        self._thread.join()

    def _run(self):
        while True:
            job = self._queue.get()
            jobs = []
            while job is not None:
                jobs.append(job)
                if len(jobs) == MOST or self._queue.empty():
                    break
                job = self._queue.get()
            if jobs:
                self._batch(jobs)
            if job is None:
                return

    def _batch(self, jobs):
        try:
            with self._storage.batch():
                for job in jobs:
                    _attempt(job, job.work)
        except Exception as error:  # goes to everybody who waits for it
            for job in jobs:
                job.error = job.error or error
        self.batches += 1
        self.jobs += len(jobs)
        for job in jobs:
            if job.error is None and job.after is not None:
                _attempt(job, lambda job=job: job.after(job.result))
            job.done(job.error, job.result)


def _attempt(job, work):
    try:
        job.result = work()
    except Exception as error:  # goes to whoever waits for it
        job.error = error
