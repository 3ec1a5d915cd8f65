"""Batches for one process: workers that read their turn of positions, and the fixed evaluation pairs."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from archsr import manifest as mf
from archsr.errors import UserError
from archsr.seeds import generator
from archsr.stream.plan import Plan, Slice, subset_sizes
from archsr.stream.reader import ShardReader, crop, crop_pair, read_pair


@dataclass(frozen=True)
class Batch:
    """A micro-batch: `gt` uint8 (b, 3, size, size), its samples' keys, and the position of the first in the stream.

    `lq`: uint8, of a dataset of pairs.
    """

    gt: Tensor
    keys: tuple[str, ...]
    position: int
    lq: Tensor | None = None

    def pin_memory(self) -> "Batch":
        """Called by the DataLoader, so that the copy to the device need not wait."""
        lq = None if self.lq is None else self.lq.pin_memory()
        return Batch(self.gt.pin_memory(), self.keys, self.position, lq)


@dataclass(frozen=True)
class StreamOptions:
    """What a training stream is made of. `size`: side of the crops in pixels; `subset`: share of every shard.

    `picks`: the numbers of the samples to take from each shard (see `choice.py`), all where there are none.
    `pair_scale`: of a dataset of pairs, whose `lq` is read and cropped too.
    """

    folder: Path
    shards: list[mf.Shard]
    seed: int
    window: int
    size: int
    hflip: bool
    subset: float = 1.0
    picks: tuple[NDArray[np.int32], ...] | None = None
    pair_scale: int | None = None


def make_plan(options: StreamOptions) -> Plan:
    """The order of the stream that `options` describes."""
    counts = [s.samples for s in options.shards] if options.picks is None else [len(p) for p in options.picks]
    sizes = subset_sizes(counts, options.subset)
    return Plan(sizes, options.seed, options.window)


class TrainStream(IterableDataset[Batch]):
    """Endless micro-batches of one process from its slice of the global order.

    Crops and flips are drawn per position, so nothing depends on which worker reads. In DataLoader worker w of n it
    yields micro-batches w, w + n, ...; the DataLoader asks the workers in turn, so the process sees 0, 1, 2, ...
    """

    def __init__(self, options: StreamOptions, part: Slice) -> None:
        self.options = options
        self.part = part

    def __iter__(self) -> Iterator[Batch]:
        """Micro-batches from the slice's start on."""
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        plan = make_plan(self.options)
        reader = ShardReader(self.options.folder, self.options.shards)
        try:
            for number in self.part.numbers(worker=worker, workers=workers):
                yield _read_batch(self.options, plan, reader, self.part.positions(number))
        finally:
            reader.close()


def batch_at(options: StreamOptions, positions: range) -> Batch:
    """The micro-batch that the stream has at `positions`, read by itself."""
    reader = ShardReader(options.folder, options.shards)
    try:
        return _read_batch(options, make_plan(options), reader, positions)
    finally:
        reader.close()


def _read_batch(options: StreamOptions, plan: Plan, reader: ShardReader, positions: range) -> Batch:
    crops: list[Tensor] = []
    small: list[Tensor] = []
    keys: list[str] = []
    for position in positions:
        place = plan.place(position)
        picks = options.picks
        sample = reader.sample(place.shard, place.index if picks is None else int(picks[place.shard][place.index]))
        picture = reader.picture(place.shard, sample, "gt")
        rng = generator(options.seed, "crop", position)
        if options.pair_scale is None:
            crops.append(crop(picture, options.size, rng, hflip=options.hflip))
        else:
            lq, scale = reader.picture(place.shard, sample, "lq"), options.pair_scale
            gt, lq = crop_pair(picture, lq, options.size, rng, scale=scale, hflip=options.hflip)
            crops.append(gt)
            small.append(lq)
        keys.append(sample.key)
    return Batch(torch.stack(crops), tuple(keys), positions.start, torch.stack(small) if small else None)


class Stream:
    """The batches of one process, read ahead by worker processes. Close it: workers hold files and memory."""

    def __init__(self, options: StreamOptions, part: Slice, *, workers: int, pin_memory: bool) -> None:
        loader = DataLoader(
            TrainStream(options, part),
            batch_size=None,
            num_workers=workers,
            pin_memory=pin_memory,
            worker_init_fn=_calm_worker if workers else None,
            generator=generator(options.seed, "loader"),  # without one, the global random state would be used
        )
        self._batches = iter(loader)

    def next(self) -> Batch:
        """The next micro-batch. A reader's `UserError` in a worker is raised here as such."""
        try:
            return next(self._batches)
        except UserError as error:  # DataLoader puts the worker's traceback into the text
            raise UserError(str(error).strip().rsplit("UserError: ", 1)[-1]) from None

    def close(self) -> None:
        """Stop the workers."""
        shutdown = getattr(self._batches, "_shutdown_workers", None)
        if shutdown is not None:
            shutdown()


def _calm_worker(worker: int) -> None:  # noqa: ARG001 - the DataLoader passes it
    """Signals are the main process's business.

    Launchers signal every process. A worker that dies of SIGTERM makes the main process raise wherever it is, also in
    the middle of writing a checkpoint; one that ignores it could outlive its parent. So it dies 20 seconds later.
    """
    torch.set_num_threads(1)
    for name in ("SIGINT", "SIGUSR1", "SIGUSR2"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGTERM, _die_later)


def _die_later(number: int, frame: object) -> None:  # noqa: ARG001 - the signature of a handler
    signal.alarm(20)


@dataclass(frozen=True)
class EvalPair:
    """One fixed pair: `number` in the split, its entry, `lq` and `gt` uint8 (3, h, w)."""

    number: int
    sample: mf.Sample
    lq: Tensor
    gt: Tensor


def eval_pairs(
    folder: Path, split: mf.Split, *, limit: int | None = None, rank: int = 0, world: int = 1
) -> Iterator[EvalPair]:
    """The fixed pairs of a split that fall to `rank`: every world-th of the first `limit`, spread over the split."""
    numbers = spread(split.samples, limit)[rank::world]
    starts = [0]
    for shard in split.shards:
        starts.append(starts[-1] + shard.samples)
    reader = ShardReader(folder, split.shards)
    try:
        for number in numbers:
            shard = next(i for i in range(len(split.shards)) if number < starts[i + 1])
            sample, lq, gt = read_pair(reader, shard, number - starts[shard])
            yield EvalPair(number, sample, lq, gt)
    finally:
        reader.close()


def spread(total: int, limit: int | None) -> list[int]:
    """At most `limit` numbers below `total`, evenly spread, always the same."""
    if limit is None or limit >= total:
        return list(range(total))
    return [i * total // limit for i in range(limit)]
