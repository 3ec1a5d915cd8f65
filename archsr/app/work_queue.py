"""One worker for everybody: visitors take turns, one piece of work each, whoever has brought how much."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_FAREWELL = 10.0  # seconds; the thread does not keep the process from ending


class JobCancelledError(Exception):
    """The visitor does not wait any more."""


class QueuedJob(Generic[T]):
    """A piece of work: `run` is called with the job itself, and calls `report` as often as it can be interrupted."""

    def __init__(self, visitor: str, run: "Callable[[QueuedJob[T]], T]") -> None:
        self.visitor = visitor
        self.future: Future[T] = Future()
        self.share = 0.0
        self._run = run
        self._given_up = threading.Event()

    def report(self, share: float) -> None:
        """So much is done. Raises `GivenUpError` where nobody waits for it any more."""
        self.share = share
        if self._given_up.is_set():
            raise JobCancelledError

    def give_up(self) -> None:
        """Nobody waits: it does not begin, or ends at its next report."""
        self._given_up.set()
        self.future.cancel()

    def perform(self) -> None:
        """Run it, unless it was given up before; the future has the outcome."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self._run(self))
        except BaseException as error:  # whatever it is, the one who waits is told
            self.future.set_exception(error)


class FairQueue:
    """Who is next: one job of each visitor in the order in which they came, then again. Not locked."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[QueuedJob[Any]]] = {}

    def put(self, job: QueuedJob[Any]) -> None:
        """At the end of its visitor's own line; a new visitor comes last."""
        self._waiting.setdefault(job.visitor, deque()).append(job)

    def take(self) -> QueuedJob[Any] | None:
        """The next job; its visitor goes to the end."""
        if not self._waiting:
            return None
        visitor = next(iter(self._waiting))
        line = self._waiting.pop(visitor)
        job = line.popleft()
        if line:
            self._waiting[visitor] = line
        return job

    def drop(self, job: QueuedJob[Any]) -> None:
        """Take a job out; nothing happens if it is not there."""
        line = self._waiting.get(job.visitor)
        if line is not None and job in line:
            line.remove(job)
            if not line:
                del self._waiting[job.visitor]

    def ahead(self, job: QueuedJob[Any]) -> int | None:
        """How many jobs come before this one if nobody else arrives; None if it does not wait."""
        line = self._waiting.get(job.visitor)
        if line is None or job not in line:
            return None
        place = line.index(job)
        count, earlier = place, True
        for visitor, others in self._waiting.items():
            if visitor == job.visitor:
                earlier = False
            else:
                count += min(len(others), place + earlier)
        return count


class Worker:
    """A thread that does one job at a time, so that memory is that of one. `close` gives up what waits."""

    def __init__(self) -> None:
        self._turns = FairQueue()
        self._change = threading.Condition()
        self._current: QueuedJob[Any] | None = None
        self._over = False
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)
        self._thread.start()

    def submit(self, visitor: str, run: Callable[[QueuedJob[T]], T]) -> QueuedJob[T]:
        """Let `run` be called when it is the visitor's turn."""
        job = QueuedJob(visitor, run)
        with self._change:
            self._turns.put(job)
            self._change.notify()
        return job

    def ahead(self, job: QueuedJob[Any]) -> int:
        """How many jobs come before this one, that which is being done included; 0 for that itself."""
        with self._change:
            before = self._turns.ahead(job)
            return 0 if before is None else before + (self._current is not None)

    def give_up(self, job: QueuedJob[Any]) -> None:
        """Nobody waits for it."""
        with self._change:
            self._turns.drop(job)
        job.give_up()

    def close(self) -> None:
        """Give up all jobs, and wait some seconds for the one that is being done to come to its next report."""
        with self._change:
            self._over = True
            if self._current is not None:
                self._current.give_up()
            while (job := self._turns.take()) is not None:
                job.give_up()
            self._change.notify()
        self._thread.join(_FAREWELL)

    def _work(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._over or self._take())
                if self._current is None:
                    return
            self._current.perform()
            with self._change:
                self._current = None

    def _take(self) -> bool:
        self._current = self._turns.take()
        return self._current is not None
