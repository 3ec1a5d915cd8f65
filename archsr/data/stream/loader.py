"""Batches for one process: worker processes that read training samples, and the fixed evaluation pairs."""

import signal
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from archsr.data import manifest as mf
from archsr.data.remote import Place, Remote
from archsr.data.stream.plan import Plan, Slice, subset_sizes
from archsr.data.stream.prefetch import Prefetcher
from archsr.data.stream.reader import ShardReader, crop, crop_pair, read_pair
from archsr.data.stream.worker_status import SharedBuffers, WorkerStatus
from archsr.errors import UserError
from archsr.utils.seeds import generator

_AHEAD = 2  # micro-batches that each worker reads in advance


@dataclass(frozen=True)
class Batch:
    """A micro-batch: `gt` uint8 (b, 3, size, size), its samples' keys, and the position of the first in the stream.

    `lq`: uint8, for a dataset of pairs, and `paired`: which of its samples have one. In the rows of these, `gt` is only
    as large as `lq` times the scale, at the top left. Both tensors may have any memory format.
    """

    gt: Tensor
    keys: tuple[str, ...]
    position: int
    lq: Tensor | None = None
    paired: tuple[bool, ...] = ()

    def clone(self) -> "Batch":
        """Return a copy, which stays valid after the stream's next batch."""
        return replace(self, gt=self.gt.clone(), lq=None if self.lq is None else self.lq.clone())


@dataclass(frozen=True)
class _Filled:
    """What a worker sends: which of its batches is now in its slot, and the samples there."""

    worker: int
    number: int
    keys: tuple[str, ...]
    paired: tuple[bool, ...]
    position: int


@dataclass(frozen=True)
class StreamOptions:
    """The parameters of a training stream. `size`: side of the crops in pixels; `subset`: share of every shard.

    `picks`: the numbers of the samples to take from each shard (see `choice.py`); all by default. `pair_scale`: the
    scale of a dataset of pairs, whose `lq` is read and cropped too. `pair_size`: side of the crops of these, by default
    `size`; a sample that will be degraded needs a margin.
    """

    folder: Place
    shards: list[mf.Shard]
    seed: int
    window: int
    size: int
    hflip: bool
    rot90: bool = False
    subset: float = 1.0
    picks: tuple[NDArray[np.int32], ...] | None = None
    pair_scale: int | None = None
    pair_size: int | None = None


def make_plan(options: StreamOptions) -> Plan:
    """Return the order of the stream that `options` describes."""
    counts = [s.samples for s in options.shards] if options.picks is None else [len(p) for p in options.picks]
    sizes = subset_sizes(counts, options.subset)
    return Plan(sizes, options.seed, options.window)


class TrainStream(IterableDataset[_Filled]):
    """Endless micro-batches of one process from its slice of the global order, written into `slots`.

    Crops and flips are drawn per position, so nothing depends on which worker reads. In DataLoader worker w of n it
    fills micro-batches w, w + n, ...; the DataLoader asks the workers in turn, so the process sees 0, 1, 2, ...
    """

    def __init__(self, options: StreamOptions, part: Slice, watch: WorkerStatus, slots: SharedBuffers) -> None:
        self.options = options
        self.part = part
        self.watch = watch
        self.slots = slots
        self._ahead: Prefetcher | None = None

    def __iter__(self) -> Iterator[_Filled]:
        """Yield micro-batches from the slice's start on."""
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        self.watch.begin(worker)
        options, plan = self.options, make_plan(self.options)
        reader = ShardReader(options.folder, options.shards)
        if isinstance(options.folder, Remote):
            self._ahead = Prefetcher(options.folder, options.shards, plan)
        try:
            for number, part in enumerate(self.part.numbers(worker=worker, workers=workers)):
                positions = self.part.positions(part)
                if self._ahead is not None:
                    self._ahead.at(positions.start)
                read = _read_batch(options, plan, reader, positions, self.watch, self.slots.at(worker, number))
                yield _Filled(worker, number, *read, positions.start)
        finally:
            reader.close()
            self.close()

    def close(self) -> None:
        """Stop prefetching in this process."""
        if self._ahead is not None:
            self._ahead.close()


def batch_at(options: StreamOptions, positions: range) -> Batch:
    """Read the single micro-batch that the stream has at `positions`."""
    reader = ShardReader(options.folder, options.shards)
    tensors = [torch.empty(shape, dtype=torch.uint8) for shape in _shapes(options, len(positions))]
    try:
        keys, paired = _read_batch(options, make_plan(options), reader, positions, WorkerStatus(0), tensors)
    finally:
        reader.close()
    return _batch(tensors, keys, paired, positions.start)


def _batch(tensors: list[Tensor], keys: tuple[str, ...], paired: tuple[bool, ...], position: int) -> Batch:
    return Batch(tensors[0], keys, position, tensors[1] if len(tensors) > 1 else None, paired)


def _shapes(options: StreamOptions, count: int) -> list[tuple[int, int, int, int]]:
    sides = [options.size]
    if options.pair_scale is not None:
        sides.append((options.pair_size or options.size) // options.pair_scale)
    return [(count, 3, side, side) for side in sides]


def _read_batch(
    options: StreamOptions, plan: Plan, reader: ShardReader, positions: range, watch: WorkerStatus, out: list[Tensor]
) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """Read a micro-batch into `out`, each image right after its decoding.

    Return its samples' keys, and which of them are pairs.
    """
    keys: list[str] = []
    paired: list[bool] = []
    for row, position in enumerate(positions):
        place = plan.place(position)
        number = place.index if options.picks is None else int(options.picks[place.shard][place.index])
        with watch.reading(position, place.shard, number):
            sample = reader.sample(place.shard, number)
            image = reader.image(place.shard, sample, "gt")
            rng = generator(options.seed, "crop", position)
            if options.pair_scale is not None and "lq" in sample.members:
                lq, scale = reader.image(place.shard, sample, "lq"), options.pair_scale
                size = options.pair_size or options.size
                to = (out[0][row, :, :size, :size], out[1][row])
                crop_pair(image, lq, size, rng, scale=scale, hflip=options.hflip, rot90=options.rot90, out=to)
            else:
                crop(image, options.size, rng, hflip=options.hflip, rot90=options.rot90, out=out[0][row])
            keys.append(sample.key)
            paired.append("lq" in sample.members)
    return tuple(keys), tuple(paired)


class Stream:
    """The batches of one process, read ahead by worker processes. Close it: workers hold files and memory."""

    def __init__(self, options: StreamOptions, part: Slice, *, workers: int, pin_memory: bool) -> None:
        self._options = options
        self._pin = pin_memory
        self._watch = WorkerStatus(workers)
        self._slots = SharedBuffers(_shapes(options, part.micro_batch), workers=workers, ahead=_AHEAD)
        self._source = TrainStream(options, part, self._watch, self._slots)
        loader = DataLoader(
            self._source,
            batch_size=None,
            num_workers=workers,
            prefetch_factor=_AHEAD if workers else None,
            worker_init_fn=_init_worker if workers else None,
            generator=generator(options.seed, "loader"),  # otherwise the global random state would be used
        )
        self._batches = iter(loader)

    def next(self) -> Batch:
        """Return the next micro-batch, valid until the next call: a worker may then overwrite it.

        With `pin_memory` it is in page-locked memory of its own, for asynchronous copies to the device. Raises
        `UserError` if a worker's reader raises one or a worker dies.
        """
        try:
            filled = next(self._batches)
        except UserError as error:  # DataLoader puts the worker's traceback into the text
            raise type(error)(str(error).strip().rsplit(f"{type(error).__name__}: ", 1)[-1]) from None
        except (RuntimeError, EOFError, OSError) as error:  # the DataLoader's error, or a broken pipe
            raise self.cause() or error from None
        tensors = self._slots.at(filled.worker, filled.number)
        if self._pin:
            tensors = [t.pin_memory() for t in tensors]
        return _batch(tensors, filled.keys, filled.paired, filled.position)

    def cause(self) -> UserError | None:
        """Return which worker died at which sample, or None if all live.

        When a worker dies, the DataLoader's signal handler raises `RuntimeError` at an arbitrary point of the process.
        """
        workers: list[BaseProcess] = getattr(self._batches, "_workers", [])
        return self._watch.cause(workers, self._options.folder, self._options.shards)

    def close(self) -> None:
        """Stop the workers."""
        self._source.close()
        shutdown = getattr(self._batches, "_shutdown_workers", None)
        if shutdown is None:
            return
        try:
            shutdown()
        except RuntimeError:  # a worker died just now; the DataLoader has ended the others all the same
            if self.cause() is None:
                raise


def _init_worker(worker: int) -> None:  # noqa: ARG001 - the DataLoader passes it
    """Ignore stop signals in a worker; the main process handles them.

    Launchers signal every process. A worker that dies of SIGTERM makes the main process raise at an arbitrary point,
    even while it writes a checkpoint. A worker that ignores SIGTERM could outlive its parent, so it exits 20 seconds
    later.
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
    """One fixed pair: `number` in the split, its entry, `lq` and `gt` uint8 (3, h, w), and its recipe if stored."""

    number: int
    sample: mf.Sample
    lq: Tensor
    gt: Tensor
    recipe: dict[str, Any] | None = None


def eval_pairs(
    folder: Place, split: mf.Split, *, limit: int | None = None, rank: int = 0, world: int = 1
) -> Iterator[EvalPair]:
    """Yield this rank's fixed pairs of a split: every world-th of the first `limit`, spread over the split."""
    return pairs_at(folder, split, spread(split.samples, limit)[rank::world])


def pairs_at(folder: Place, split: mf.Split, numbers: Sequence[int]) -> Iterator[EvalPair]:
    """Yield the fixed pairs of a split that have these numbers, in their order."""
    starts = [0, *accumulate(shard.samples for shard in split.shards)]
    reader = ShardReader(folder, split.shards)
    try:
        for number in numbers:
            shard = bisect_right(starts, number) - 1
            sample, lq, gt = read_pair(reader, shard, number - starts[shard])
            yield EvalPair(number, sample, lq, gt, reader.metadata(shard, sample).get("recipe"))
    finally:
        reader.close()


def spread(total: int, limit: int | None) -> list[int]:
    """Return at most `limit` numbers below `total`, evenly spread, always the same."""
    if limit is None or limit >= total:
        return list(range(total))
    return [i * total // limit for i in range(limit)]
