"""The order of samples as arithmetic: which sample is at a position of the endless training sequence.

Position P belongs to epoch P // N of N samples. In each epoch the shards are permuted, and the samples are permuted
inside windows of consecutive shards. Both permutations are pure functions of the seed, the epoch and the window. So one
integer is the whole state of the data, any process can start anywhere at once, and the numbers of processes and workers
only decide who reads which position.
"""

import bisect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate

import torch

from archsr.utils.seeds import generator


@dataclass(frozen=True)
class SampleIndex:
    """A sample: the number of its shard in the manifest and its number within the shard."""

    shard: int
    index: int


@dataclass(frozen=True)
class Plan:
    """The endless order over shards of `sizes` samples; `window` shards are mixed at a time."""

    sizes: tuple[int, ...]
    seed: int
    window: int

    @cached_property
    def total(self) -> int:
        """Return the samples in one epoch."""
        return sum(self.sizes)

    @cached_property
    def _hash(self) -> int:
        return hash((self.sizes, self.seed, self.window))

    def __hash__(self) -> int:
        # the caches below hash it for every sample: with 50,000 sizes that took 0.46 ms, now 1 µs
        return self._hash

    def place(self, position: int) -> SampleIndex:
        """Return the sample at `position` >= 0. The cost is one window, whatever the position."""
        epoch, offset = divmod(position, self.total)
        windows, ends = _windows(self, epoch)
        number = bisect.bisect_right(ends, offset)
        shards = windows[number]
        start = ends[number - 1] if number else 0
        rank_in_window = _shuffle(self, epoch, number)[offset - start]
        for shard in shards:
            if rank_in_window < self.sizes[shard]:
                return SampleIndex(shard, rank_in_window)
            rank_in_window -= self.sizes[shard]
        raise AssertionError("a window's permutation is longer than its shards")

    def window_of(self, position: int) -> tuple[int, int]:
        """Return epoch and number of the window of `position`."""
        epoch, offset = divmod(position, self.total)
        return epoch, bisect.bisect_right(_windows(self, epoch)[1], offset)

    def upcoming(self, position: int) -> Iterator[int]:
        """Yield without end the shards whose samples come from `position` on, by their first samples in each window."""
        epoch, number = self.window_of(position)
        skip = position - epoch * self.total - self._start(epoch, number)
        while True:
            windows = _windows(self, epoch)[0]
            while number < len(windows):
                bounds = list(accumulate(self.sizes[s] for s in windows[number]))
                ranks = _shuffle(self, epoch, number)[skip:]
                yield from dict.fromkeys(windows[number][bisect.bisect_right(bounds, r)] for r in ranks)
                number, skip = number + 1, 0
            epoch, number = epoch + 1, 0

    def _start(self, epoch: int, number: int) -> int:
        return _windows(self, epoch)[1][number - 1] if number else 0


@lru_cache(maxsize=4)
def _windows(plan: Plan, epoch: int) -> tuple[list[list[int]], list[int]]:
    """Return the shards of each window of an epoch, and the offset at which each window ends."""
    order = torch.randperm(len(plan.sizes), generator=generator(plan.seed, "shards", epoch)).tolist()
    windows = [order[i : i + plan.window] for i in range(0, len(order), plan.window)]
    return windows, list(accumulate(sum(plan.sizes[s] for s in w) for w in windows))


@lru_cache(maxsize=8)
def _shuffle(plan: Plan, epoch: int, number: int) -> list[int]:
    shards = _windows(plan, epoch)[0][number]
    count = sum(plan.sizes[s] for s in shards)
    return torch.randperm(count, generator=generator(plan.seed, "samples", epoch, number)).tolist()


def subset_sizes(sizes: Sequence[int], share: float) -> tuple[int, ...]:
    """Return how many samples of each shard belong to a fixed subset: the first ⌈share·n⌉ (already shuffled)."""
    return tuple(math.ceil(share * n) for n in sizes)


@dataclass(frozen=True)
class Slice:
    """The positions of a process: global batches of `world` × `accumulation` × `micro_batch` from `start` on."""

    start: int
    micro_batch: int
    accumulation: int
    rank: int
    world: int

    @property
    def global_batch(self) -> int:
        """Return the samples of one optimiser step over all processes."""
        return self.micro_batch * self.accumulation * self.world

    def positions(self, number: int) -> range:
        """Return the positions of this process's micro-batch `number` (0, 1, ... from `start`)."""
        step, part = divmod(number, self.accumulation)
        first = self.start + step * self.global_batch + (part * self.world + self.rank) * self.micro_batch
        return range(first, first + self.micro_batch)

    def numbers(self, *, worker: int, workers: int) -> Iterator[int]:
        """Yield the micro-batches that loader worker `worker` of `workers` reads; the workers take turns."""
        number = worker
        while True:
            yield number
            number += workers
