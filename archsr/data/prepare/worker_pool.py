"""Worker processes with results in order and progress."""

import contextlib
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from typing import TypeVar

import torch

from archsr.errors import UserError
from archsr.utils import console
from archsr.utils.progress import progress

A = TypeVar("A")
B = TypeVar("B")


@dataclass(frozen=True)
class WorkerPool:
    """Maps in order: `pool(work, items, title)`, with at most `ahead` results in advance."""

    pool: ProcessPoolExecutor | None
    ahead: int

    def __call__(
        self, work: Callable[[A], B], items: Sequence[A], title: str, *, sizes: Sequence[int] | None = None
    ) -> Iterator[B]:
        """Yield the results of `work` with a progress bar; `sizes` says how many files each item stands for."""
        counts = sizes or [1] * len(items)
        with progress(title, sum(counts)) as advance:
            for result, count in zip(self.each(work, items), counts, strict=True):
                advance(count)
                yield result

    def each(self, work: Callable[[A], B], items: Sequence[A]) -> Iterator[B]:
        """Yield the results of `work` without a progress bar."""
        return map(work, items) if self.pool is None else self._pooled(self.pool, work, items)

    def _pooled(self, pool: ProcessPoolExecutor, work: Callable[[A], B], items: Sequence[A]) -> Iterator[B]:
        waiting: deque[Future[B]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= self.ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@contextlib.contextmanager
def worker_pool(workers: int) -> Generator[WorkerPool]:
    """Yield a pool of worker processes (0: this process).

    They are forked from a server that has imported everything and runs no threads: forking a process with threads can
    hang, and a spawned process would load torch's 350 MB again.
    """
    if workers == 0:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield WorkerPool(None, 0)
        finally:
            torch.set_num_threads(threads)
        return
    with _ignoring_sigint():
        context = _context()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=init_worker)
    try:
        yield WorkerPool(pool, 3 * workers)
    except BrokenProcessPool:
        _end(pool)
        raise UserError(
            "a worker process died, probably because memory ran out; run the same command with fewer --workers to "
            "continue"
        ) from None
    except KeyboardInterrupt:
        console.warn("stopping; run the same command again to continue")
        _end(pool)
        raise
    except BaseException:
        _end(pool)
        raise
    pool.shutdown()


def _end(pool: ProcessPoolExecutor) -> None:
    """Stop the workers without waiting: unfinished pieces are made again."""
    with _ignoring_sigint():
        _kill_server()
        for process in list((pool._processes or {}).values()):  # pyright: ignore[reportPrivateUsage]
            process.kill()
        pool.shutdown(cancel_futures=True)


def _kill_server() -> None:
    """Kill the fork server, which might still fork requested workers after the preparation has ended.

    The next pool starts another server.
    """
    if "forkserver" in get_all_start_methods():
        from multiprocessing import forkserver

        pid: int | None = forkserver._forkserver._forkserver_pid  # pyright: ignore
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def _ignoring_sigint() -> Generator[None]:
    """Ignore Ctrl-C here and in processes started meanwhile."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _context() -> BaseContext:
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")  # Windows
    from multiprocessing import forkserver

    context = get_context("forkserver")
    context.set_forkserver_preload(["archsr.data.prepare.survey.chunks"])
    forkserver.ensure_running()
    return context


def init_worker() -> None:
    """Use one thread per worker process, because as many workers as cores share the machine.

    Ctrl-C goes to all processes of a terminal; only the main process handles it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
