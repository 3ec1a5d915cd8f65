"""Training pairs by their position in the stream, for the loop, previews and replays."""

import torch
from torch import Tensor

from archsr.config import TrainConfig
from archsr.data.stream.loader import Batch, StreamOptions
from archsr.degradation.apply import Pair, apply
from archsr.degradation.recipe import Recipe, draw
from archsr.images.pixels import to_float
from archsr.training.data import Data
from archsr.utils.devices import copies_beside
from archsr.utils.seeds import generator

_BILLION = 10**9


def stream_name(subset: float) -> str:
    """Return the name of a subset's stream. Stages with the same subset share one stream."""
    return f"{subset:g}"


def options_of(config: TrainConfig, data: Data, subset: float) -> StreamOptions:
    """Return the stream options for a subset of the training split."""
    return StreamOptions(
        folder=data.folder,
        shards=data.manifest.splits["train"].shards,
        seed=config.seed,
        window=config.data.window,
        size=config.data.gt_size + (config.degrade.margin if data.manifest.degrades else 0),
        hflip=config.data.hflip,
        rot90=config.data.rot90,
        subset=subset,
        picks=data.choice.picks if data.choice else None,
        pair_scale=data.manifest.scale if data.manifest.paired else None,
        pair_size=config.data.gt_size,
    )


def recipe_at(config: TrainConfig, subset: float, position: int, batch: int) -> Recipe:
    """Return the recipe of the micro-batch at `position`, which depends on nothing else."""
    rng = generator(config.seed, "degrade", stream_name(subset), position)
    return draw(config.degrade, rng, batch, scale=config.model.scale, gt_size=config.data.gt_size)


def pair_of(config: TrainConfig, batch: Batch, subset: float, *, device: torch.device) -> tuple[Pair, Recipe | None]:
    """Return the micro-batch's pair on the device and its recipe; None if all samples are pairs from disk."""
    if all(batch.paired) and (stored := _from_disk(batch, config.data.gt_size, device)):
        return Pair(*stored, origin_of(batch, subset)), None
    recipe = recipe_at(config, subset, batch.position, len(batch.keys))
    return degraded(batch, recipe, subset, device=device), recipe


def degraded(batch: Batch, recipe: Recipe, subset: float, *, device: torch.device) -> Pair:
    """Turn uint8 crops into a degraded pair on the device, with its origin. Pairs from disk stay as they are."""
    made = apply(_moved(batch.gt, device), recipe)
    lq, gt = made.lq, made.gt
    if any(batch.paired) and (stored := _from_disk(batch, gt.shape[-1], device)):
        lq, gt = _of_rows(batch.paired, stored[0], lq), _of_rows(batch.paired, stored[1], gt)
    return Pair(lq, gt, origin_of(batch, subset))


def _from_disk(batch: Batch, side: int, device: torch.device) -> tuple[Tensor, Tensor] | None:
    """Return `lq` and `gt` from disk. In the rows of other samples they mean nothing."""
    if batch.lq is None:
        return None
    return _moved(batch.lq, device), _moved(batch.gt[:, :, :side, :side], device)


def _of_rows(which: tuple[bool, ...], these: Tensor, others: Tensor) -> Tensor:
    """Return these rows where `which` says so, and the others; without a wait for the device, unlike a mask."""
    return torch.stack([a if chosen else b for chosen, a, b in zip(which, these, others, strict=True)])


def _moved(pixels: Tensor, device: torch.device) -> Tensor:
    """Move uint8 in any memory format to the device as contiguous float32, so that results are independent of it."""
    return to_float(pixels.to(device, non_blocking=copies_beside(device)).contiguous())


def origin_of(batch: Batch, subset: float) -> Tensor:
    """Return (b, 4) int64: position and size of the micro-batch, row in it, and the subset in billionths."""
    size = len(batch.keys)
    rows = [[batch.position, size, row, round(subset * _BILLION)] for row in range(size)]
    return torch.tensor(rows, dtype=torch.int64)


def subset_of(billionths: int) -> float:
    """Convert the last column of an origin to a share."""
    return billionths / _BILLION
