"""The one worker thread and its queue, in which visitors take turns, one job each, however many jobs one has."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_CLOSE_TIMEOUT = 10.0  # seconds


class JobCancelledError(Exception):
    """The visitor no longer waits for the job."""


class QueuedJob(Generic[T]):
    """A job. `run` is called with the job itself, and calls `report` wherever it can be interrupted."""

    def __init__(self, visitor: str, run: "Callable[[QueuedJob[T]], T]") -> None:
        self.visitor = visitor
        self.future: Future[T] = Future()
        self.share = 0.0
        self._run = run
        self._cancelled = threading.Event()

    def report(self, share: float) -> None:
        """Note the share that is done. Raises `JobCancelledError` if the job was cancelled."""
        self.share = share
        if self._cancelled.is_set():
            raise JobCancelledError

    def cancel(self) -> None:
        """Keep the job from starting, or end it at its next report."""
        self._cancelled.set()
        self.future.cancel()

    def perform(self) -> None:
        """Run the job, unless it was cancelled before, and set the future."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self._run(self))
        except BaseException as error:  # the one who waits raises it again
            self.future.set_exception(error)


class FairQueue:
    """A round-robin queue: one job of each visitor in the order of arrival, then the next of each. It has no lock."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[QueuedJob[Any]]] = {}

    def put(self, job: QueuedJob[Any]) -> None:
        """Add a job at the end of its visitor's own queue. A new visitor comes last."""
        self._waiting.setdefault(job.visitor, deque()).append(job)

    def take(self) -> QueuedJob[Any] | None:
        """Remove and return the next job, or None. Its visitor moves to the end."""
        if not self._waiting:
            return None
        visitor = next(iter(self._waiting))
        own = self._waiting.pop(visitor)
        job = own.popleft()
        if own:
            self._waiting[visitor] = own
        return job

    def remove(self, job: QueuedJob[Any]) -> None:
        """Remove a job if it is in the queue."""
        own = self._waiting.get(job.visitor)
        if own is not None and job in own:
            own.remove(job)
            if not own:
                del self._waiting[job.visitor]

    def jobs_ahead(self, job: QueuedJob[Any]) -> int | None:
        """Return how many jobs come before this one if nobody else arrives; None if it is not in the queue."""
        own = self._waiting.get(job.visitor)
        if own is None or job not in own:
            return None
        place = own.index(job)
        count, earlier = place, True
        for visitor, others in self._waiting.items():
            if visitor == job.visitor:
                earlier = False
            else:
                count += min(len(others), place + earlier)
        return count


class Worker:
    """A thread that runs one job at a time, so that only one needs memory."""

    def __init__(self) -> None:
        self._queue = FairQueue()
        self._change = threading.Condition()
        self._current: QueuedJob[Any] | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)
        self._thread.start()

    def submit(self, visitor: str, run: Callable[[QueuedJob[T]], T]) -> QueuedJob[T]:
        """Queue a job that calls `run`."""
        job = QueuedJob(visitor, run)
        with self._change:
            self._queue.put(job)
            self._change.notify()
        return job

    def jobs_ahead(self, job: QueuedJob[Any]) -> int:
        """Return how many jobs come before this one, including the running one; 0 for that itself."""
        with self._change:
            ahead = self._queue.jobs_ahead(job)
            return 0 if ahead is None else ahead + (self._current is not None)

    def cancel(self, job: QueuedJob[Any]) -> None:
        """Cancel a job, whether it waits or runs."""
        with self._change:
            self._queue.remove(job)
        job.cancel()

    def close(self) -> None:
        """Cancel all jobs, and wait some seconds for the running one to reach its next report."""
        with self._change:
            self._closing = True
            if self._current is not None:
                self._current.cancel()
            while (job := self._queue.take()) is not None:
                job.cancel()
            self._change.notify()
        self._thread.join(_CLOSE_TIMEOUT)

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._closing or self._take_next())
                if self._current is None:
                    return
            self._current.perform()
            with self._change:
                self._current = None

    def _take_next(self) -> bool:
        self._current = self._queue.take()
        return self._current is not None
