"""A sharp photograph, degraded as training does, and what models make of it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from archsr.app.file_copies import plain
from archsr.app.models import Offer, Shelf
from archsr.app.pixel_tiles import busiest
from archsr.config import DegradeConfig
from archsr.config.presets import PRESETS, Preset
from archsr.degradation.apply import Pair, apply
from archsr.degradation.recipe import draw
from archsr.degradation.words import describe
from archsr.errors import UserError
from archsr.evaluation.compared_models import bicubic
from archsr.evaluation.metrics import Metric, standard
from archsr.evaluation.selection import PERCEPTUAL, distance_for, metrics_of
from archsr.images.image_files import BadImageError
from archsr.images.pixels import Pixels, pixels_to_tensor, read_photo, tensor_to_pixels, to_float, to_uint8
from archsr.runs.folders import run_config
from archsr.utils.seeds import generator

INPUT, TRUTH = "input", "ground truth"


@dataclass(frozen=True)
class Trial:
    """Images by name, all of one size: `INPUT` (pixels repeated), "bicubic", the models, `TRUTH`; and what was done.

    `scores`: by image, but for input and truth, the value of each of `metrics`; NaN where it cannot be taken.
    `missing`: why there is no perceptual distance among them, if there is none.
    """

    images: dict[str, Pixels]
    metrics: list[Metric]
    scores: dict[str, list[float]]
    words: list[str]
    missing: str = ""


def degradations(offers: Sequence[Offer]) -> list[str]:
    """Names of what can be done to a photograph: as the runs do, and the presets."""
    return [f"as {offer.name}" for offer in offers if offer.run] + list(PRESETS)


def degradation(name: str, offers: Sequence[Offer]) -> DegradeConfig:
    """The settings behind a name of `degradations`."""
    for offer in offers:
        if offer.run and name == f"as {offer.name}":
            return run_config(offer.source).degrade
    presets: list[Preset] = [p for p in PRESETS if p == name]
    if not presets:
        raise UserError(f"{name}: no such degradation here")
    return DegradeConfig(preset=presets[0])


def run_trial(
    photo: Path,
    models: Sequence[str],
    config: DegradeConfig,
    shelf: Shelf,
    *,
    side: int,
    seed: int,
    max_pixels: int,
    on_progress: Callable[[float], None],
) -> Trial:
    """Degrade the busiest square of `side` pixels of a photograph and let the models restore it.

    Raises `BadImageError` for what is no image or too small, `UserError` for models of different scales.
    """
    scales = {name: shelf.get(name).scale for name in models}
    if len(set(scales.values())) > 1:
        raise UserError(f"models of different scales cannot be compared: {scales}")
    scale = next(iter(scales.values()))
    pixels = read_photo(photo, max_pixels=max_pixels).pixels
    pair, words = _degraded(pixels, config, side=side, seed=seed, scale=scale)
    restored = {"bicubic": bicubic(scale).restore(pair.lq)}
    for number, name in enumerate(models):
        on_progress(number / len(models))
        restored[name] = to_float(to_uint8(shelf.get(name).restore(pair.lq)))
    metrics, missing = metrics_at_hand(scale)
    scores = {name: [m.of(sr, pair.gt, pair.lq) for m in metrics] for name, sr in restored.items()}
    rough = pair.lq.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    shown: dict[str, Tensor] = {INPUT: rough, **restored, TRUTH: pair.gt}
    return Trial({n: tensor_to_pixels(p) for n, p in shown.items()}, metrics, scores, words, missing)


def metrics_at_hand(scale: int) -> tuple[list[Metric], str]:
    """PSNR, the perceptual distance that validations would take here, SSIM and NIQE; and why the second is missing."""
    plain = {m.name: m for m in standard(scale)}
    distance = distance_for("")
    try:
        seen, missing = [m for m in metrics_of(scale, distance) if m.name == distance], ""
    except UserError as error:
        seen, missing = [], str(error)
    return [plain["psnr"], *seen, plain["ssim"], plain["niqe"]], missing


def nearest(trial: Trial) -> str:
    """In Markdown, what is nearest by PSNR and by the perceptual distance, and that neither of them decides."""
    best: dict[str, list[str]] = {}
    for place, metric in enumerate(trial.metrics):
        values = {name: row[place] for name, row in trial.scores.items() if not math.isnan(row[place])}
        if values and metric.name in ("psnr", *PERCEPTUAL):
            chosen = max if metric.higher_is_better else min
            winner = chosen(values, key=lambda name: values[name])
            best.setdefault(winner, []).append(f"by {metric.title.split(',')[0]}")
    found = ", ".join(f"**{plain(name)}** {' and '.join(by)}" for name, by in best.items())
    return f"Nearest to the ground truth: {found}. No single metric decides; look at the images."


def _degraded(pixels: Pixels, config: DegradeConfig, *, side: int, seed: int, scale: int) -> tuple[Pair, list[str]]:
    gt_size, whole = sizes(pixels.shape[:2], config.margin, side=side, scale=scale)
    top, left = busiest(pixels.mean(2, dtype=np.float64), whole)
    gt = pixels_to_tensor(np.ascontiguousarray(pixels[top : top + whole, left : left + whole]))
    recipe = draw(config, generator(seed, "app"), 1, scale=scale, gt_size=gt_size)
    with torch.inference_mode():
        return apply(gt, recipe), describe(recipe, 0)


def sizes(shape: Sequence[int], margin: int, *, side: int, scale: int) -> tuple[int, int]:
    """Sides of the ground truth and of the square it is cut from, at most `side` and multiples of the scale.

    Raises `BadImageError` for an image too small for both.
    """
    step = math.lcm(scale, 4)
    room = margin - margin % step
    gt_size = (min(side, *(length - room for length in shape)) // step) * step
    if gt_size < 16 * scale:
        raise BadImageError(f"{shape[1]}×{shape[0]} is too small; expected at least {16 * scale + room} pixels a side")
    return gt_size, gt_size + room
