"""Every model on the same fixed pixels: restored once, measured, and the most changed patches kept."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from archsr import manifest as mf
from archsr.errors import UserError
from archsr.evaluate.figures import Patch, PatchKeeper
from archsr.evaluate.measures import NAN, Measure
from archsr.images import pixels_to_tensor, tensor_to_pixels, to_float
from archsr.niqe import imresize
from archsr.remote import Place
from archsr.stream.loader import eval_pairs, spread
from archsr.upscale.upscaler import Upscaler

Restore = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Contender:
    """A model under its short `name`, with a `title` for people; `restore` maps (1, 3, h, w) to (1, 3, s·h, s·w)."""

    name: str
    title: str
    restore: Restore


@dataclass(frozen=True)
class Row:
    """One picture: its key, scene and tags, and `values[model][measure]`; the model `gt` is the original photograph."""

    key: str
    scene: str
    values: dict[str, dict[str, float]]
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scores:
    """The whole evaluation, in the order of the split."""

    rows: list[Row]
    contenders: list[tuple[str, str]]
    measures: list[Measure]
    patches: list[Patch]


def bicubic(scale: int) -> Contender:
    """MATLAB's bicubic enlargement, the field's baseline."""

    def restore(lq: Tensor) -> Tensor:
        pixels = tensor_to_pixels(lq).astype(np.float64) / 255
        enlarged = np.clip(imresize(pixels, scale=scale), 0, 1)
        return pixels_to_tensor(np.round(enlarged * 255).astype(np.uint8)).to(lq.device)

    return Contender("bicubic", "bicubic", restore)


def model(name: str, title: str, upscaler: Upscaler) -> Contender:
    """A generator."""
    return Contender(name, title, upscaler.restore)


def evaluate(
    shards: Place,
    split: str,
    contenders: Sequence[Contender],
    measures: Sequence[Measure],
    *,
    limit: int | None = None,
    patches: int = 6,
) -> Scores:
    """Restore and measure every fixed pair of a split. Patches show where the last two contenders differ most."""
    manifest = mf.load(shards)
    if split not in manifest.splits or split == "train":
        raise UserError(f"{shards}: no fixed pairs in split {split!r}; choose val or test")
    here = manifest.splits[split]
    mf.check_sizes(shards, here.shards)
    keeper = PatchKeeper(patches)
    rows: list[Row] = []
    numbers = spread(here.samples, limit)
    for pair in tqdm(
        eval_pairs(shards, here, limit=limit), total=len(numbers), desc="evaluating", disable=not sys.stderr.isatty()
    ):
        lq, gt = to_float(pair.lq)[None], to_float(pair.gt)[None]
        restored = {c.name: quantised(c.restore(lq)) for c in contenders}
        values = {name: {m.name: m.of(sr, gt) for m in measures} for name, sr in restored.items()}
        values["gt"] = {m.name: NAN if m.needs_gt else m.of(gt, gt) for m in measures}
        rows.append(Row(pair.sample.key, pair.sample.scene, values, pair.sample.tags))
        keeper.offer(pair.sample.key, lq, restored, gt)
    titles = [(c.name, c.title) for c in contenders]
    return Scores(rows, titles, list(measures), keeper.patches())


def quantised(picture: Tensor) -> Tensor:
    """What a file would hold: 8 bits."""
    return (picture.clamp(0, 1) * 255).round().div(255).to(torch.float32)
