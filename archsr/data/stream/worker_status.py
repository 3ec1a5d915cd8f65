"""The status of a stream's workers in shared memory, so that an error names the sample at which a worker died."""

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
    """A ring of `ahead` + 1 slots for each worker, with uint8 tensors of `shapes` (b, c, h, w), channels last.

    Decoders return pixels channels last, and rows of pixels are copied three times as fast as planes. A worker that is
    asked for at most `ahead` batches in advance overwrites a batch only after the next one was taken from the same
    worker.
    """

    def __init__(self, shapes: Sequence[tuple[int, int, int, int]], *, workers: int, ahead: int) -> None:
        rows = max(1, workers)
        self._each = ahead + 1
        self._memory = [
            torch.empty(rows, self._each, b, h, w, c, dtype=torch.uint8).share_memory_() for b, c, h, w in shapes
        ]

    def at(self, worker: int, number: int) -> list[Tensor]:
        """Return the tensors of the worker's batch `number`, counted from 0, for writing there and reading here."""
        return [memory[worker, number % self._each].permute(0, 3, 1, 2) for memory in self._memory]


_PATIENCE = 1.0  # seconds: a pipe may close a moment before its process ends
_BUSY, _POSITION, _SHARD, _SAMPLE = range(4)


class WorkerStatus:
    """A row for each worker in shared memory, which can still be read after the worker was killed."""

    def __init__(self, workers: int) -> None:
        self._rows = torch.zeros(max(1, workers), 4, dtype=torch.int64).share_memory_()
        self._own = self._rows[0].numpy()

    def begin(self, worker: int) -> None:
        """Set the worker's row; called by the worker."""
        self._own = self._rows[worker].numpy()

    @contextlib.contextmanager
    def reading(self, position: int, shard: int, sample: int) -> Generator[None]:
        """Mark that the worker reads a sample. An exception is passed on with a note about the sample."""
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
        """Describe the first dead worker and its sample; return None if all live."""
        with contextlib.suppress(RuntimeError):  # the DataLoader's signal handler may raise here as well
            ended = wait([worker.sentinel for worker in workers], timeout=_PATIENCE)
            for worker in workers:
                if worker.sentinel in ended:
                    worker.join(_PATIENCE)  # its files are closed; its exit code follows
        for number, worker in enumerate(workers):
            if worker.exitcode is not None:
                how = f"data worker {number} (process {worker.pid}) {_end(worker.exitcode)}"
                return UserError(f"{how} {self._where(number, folder, shards)}; continue with --resume")
        return None

    def _where(self, number: int, folder: Place, shards: Sequence[mf.Shard]) -> str:
        busy, position, shard, sample = self._rows[number].tolist()
        if not busy:
            return f"between samples, after position {position}"
        key = mf.read_index(folder, shards[shard])[sample].key
        return f"while reading {key} of {folder / shards[shard].file} (position {position})"


def _end(code: int) -> str:
    if hasattr(signal, "SIGKILL") and code == -signal.SIGKILL:
        return "was killed (SIGKILL; if nobody did it, memory ran out: lower data.workers)"
    return f"died of {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
