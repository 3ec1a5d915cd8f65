"""Memory that the workers and their process share, written again and again.

A DataLoader moves each batch to newly shared memory, which the system must first clear and afterwards take back. For
crops of 288 pixels that took half as long as their decoding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor


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
