"""What the workers of a stream are at, so that of one that died it can be said with which sample in its hands."""

import contextlib
import signal
from collections.abc import Generator, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

import torch
from torch import Tensor

from archsr.data import manifest as mf
from archsr.data.remote import Place
from archsr.errors import UserError


class SharedBuffers:
    """For each worker a ring of `ahead` + 1 places for uint8 tensors of `shapes` (b, c, h, w), channels last.

    Decoders give their pixels that way, and rows of pixels are copied three times as fast as planes are picked out.

    A worker that is asked for at most `ahead` batches more than were taken from it writes over a batch only after the
    next one was taken from the same worker.
    """

    def __init__(self, shapes: Sequence[tuple[int, int, int, int]], *, workers: int, ahead: int) -> None:
        rows = max(1, workers)
        self._each = ahead + 1
        self._memory = [
            torch.empty(rows, self._each, b, h, w, c, dtype=torch.uint8).share_memory_() for b, c, h, w in shapes
        ]

    def at(self, worker: int, number: int) -> list[Tensor]:
        """The tensors of the worker's batch `number`, counted from 0: to write them there, and to read them here."""
        return [memory[worker, number % self._each].permute(0, 3, 1, 2) for memory in self._memory]


_PATIENCE = 1.0  # seconds: a pipe may end a moment before its process
_BUSY, _POSITION, _SHARD, _SAMPLE = range(4)


class WorkerStatus:
    """A row for each worker in memory that all share. A killed worker cannot say anything any more; its row can."""

    def __init__(self, workers: int) -> None:
        self._rows = torch.zeros(max(1, workers), 4, dtype=torch.int64).share_memory_()
        self._own = self._rows[0].numpy()

    def begin(self, worker: int) -> None:
        """Called by a worker: which row is its own."""
        self._own = self._rows[worker].numpy()

    @contextlib.contextmanager
    def reading(self, position: int, shard: int, sample: int) -> Generator[None]:
        """While the worker reads a sample. An exception that leaves it goes on, with words on the sample."""
        self._own[:] = (1, position, shard, sample)
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            error.add_note(f"while reading sample {sample} of shard number {shard}, position {position} of the stream")
            raise
        self._own[_BUSY] = 0

    def cause(self, workers: Sequence[BaseProcess], folder: Place, shards: Sequence[mf.Shard]) -> UserError | None:
        """What became of the first worker that is dead, and over which sample; None where all live."""
        with contextlib.suppress(RuntimeError):  # the DataLoader's signal handler may raise here as well
            ended = wait([worker.sentinel for worker in workers], timeout=_PATIENCE)
            for worker in workers:
                if worker.sentinel in ended:
                    worker.join(_PATIENCE)  # its files are closed; its exit code follows
        for number, worker in enumerate(workers):
            if worker.exitcode is not None:
                how = f"data worker {number} (process {worker.pid}) {_end(worker.exitcode)}"
                return UserError(f"{how} {self._where(number, folder, shards)}; --resume goes on")
        return None

    def _where(self, number: int, folder: Place, shards: Sequence[mf.Shard]) -> str:
        busy, position, shard, sample = self._rows[number].tolist()
        if not busy:
            return f"between samples, after position {position}"
        key = mf.read_index(folder, shards[shard])[sample].key
        return f"while reading {key} of {folder / shards[shard].file} (position {position})"


def _end(code: int) -> str:
    if code == -signal.SIGKILL:
        return "was killed (SIGKILL; if nobody did it, memory ran out: lower data.workers)"
    return f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
