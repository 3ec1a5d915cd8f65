"""Degrades a sharp photograph as training does, restores it with models, and measures the results."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from archsr.app.models import ModelCache, ModelChoice
from archsr.app.pixel_tiles import busiest_window
from archsr.app.style import escape_markdown
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

INPUT, GROUND_TRUTH = "input", "ground truth"


@dataclass(frozen=True)
class Trial:
    """The images, all of one size, by name: `INPUT` (pixels repeated), "bicubic", the models, `GROUND_TRUTH`.

    `scores` has the values of `metrics` by image, except for input and ground truth; NaN if one cannot be computed.
    `steps` describes the degradation. `missing` says why there is no perceptual distance, if there is none.
    """

    images: dict[str, Pixels]
    metrics: list[Metric]
    scores: dict[str, list[float]]
    steps: list[str]
    missing: str = ""


def degradation_names(choices: Sequence[ModelChoice]) -> list[str]:
    """Return the degradations to choose from: those of the runs, and the presets."""
    return [f"as {choice.name}" for choice in choices if choice.run] + list(PRESETS)


def degradation_config(name: str, choices: Sequence[ModelChoice]) -> DegradeConfig:
    """Return the config of a degradation in `degradation_names`. Raises `UserError` for another name."""
    for choice in choices:
        if choice.run and name == f"as {choice.name}":
            return run_config(choice.source).degrade
    presets: list[Preset] = [p for p in PRESETS if p == name]
    if not presets:
        raise UserError(f"{name}: no such degradation")
    return DegradeConfig(preset=presets[0])


def run_trial(
    photo: Path,
    models: Sequence[str],
    config: DegradeConfig,
    cache: ModelCache,
    *,
    side: int,
    seed: int,
    max_pixels: int,
    on_progress: Callable[[float], None],
) -> Trial:
    """Degrade the busiest square of `side` pixels of a photograph and restore it with the models.

    Raises `BadImageError` if the file is not an image or too small, `UserError` if the scales of the models differ.
    """
    scales = {name: cache.get(name).scale for name in models}
    if len(set(scales.values())) > 1:
        raise UserError(f"the models must have the same scale; got {scales}")
    scale = next(iter(scales.values()))
    pixels = read_photo(photo, max_pixels=max_pixels).pixels
    pair, steps = _degrade(pixels, config, side=side, seed=seed, scale=scale)
    restored = {"bicubic": bicubic(scale).restore(pair.lq)}
    for number, name in enumerate(models):
        on_progress(number / len(models))
        restored[name] = to_float(to_uint8(cache.get(name).restore(pair.lq)))
    metrics, missing = _available_metrics(scale)
    scores = {name: [m.of(sr, pair.gt, pair.lq) for m in metrics] for name, sr in restored.items()}
    repeated = pair.lq.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    images: dict[str, Tensor] = {INPUT: repeated, **restored, GROUND_TRUTH: pair.gt}
    return Trial({n: tensor_to_pixels(p) for n, p in images.items()}, metrics, scores, steps, missing)


def _available_metrics(scale: int) -> tuple[list[Metric], str]:
    """Return PSNR, the perceptual distance that validation uses, SSIM and NIQE; and why the distance is missing."""
    by_name = {m.name: m for m in standard(scale)}
    distance = distance_for("")
    try:
        distances, missing = [m for m in metrics_of(scale, distance) if m.name == distance], ""
    except UserError as error:
        distances, missing = [], str(error)
    return [by_name["psnr"], *distances, by_name["ssim"], by_name["niqe"]], missing


def summary(trial: Trial) -> str:
    """Return as Markdown which images are nearest to the ground truth by PSNR and by perceptual distance."""
    best: dict[str, list[str]] = {}
    for place, metric in enumerate(trial.metrics):
        values = {name: row[place] for name, row in trial.scores.items() if not math.isnan(row[place])}
        if values and metric.name in ("psnr", *PERCEPTUAL):
            chosen = max if metric.higher_is_better else min
            winner = chosen(values, key=lambda name: values[name])
            best.setdefault(winner, []).append(f"by {metric.title.split(',')[0]}")
    nearest = ", ".join(f"**{escape_markdown(name)}** {' and '.join(by)}" for name, by in best.items())
    return f"Nearest to the ground truth: {nearest}. No single metric decides; look at the images."


def _degrade(pixels: Pixels, config: DegradeConfig, *, side: int, seed: int, scale: int) -> tuple[Pair, list[str]]:
    gt_size, whole = crop_sizes(pixels.shape[:2], config.margin, side=side, scale=scale)
    top, left = busiest_window(pixels.mean(2, dtype=np.float64), whole)
    gt = pixels_to_tensor(np.ascontiguousarray(pixels[top : top + whole, left : left + whole]))
    recipe = draw(config, generator(seed, "app"), 1, scale=scale, gt_size=gt_size)
    with torch.inference_mode():
        return apply(gt, recipe), describe(recipe, 0)


def crop_sizes(shape: Sequence[int], margin: int, *, side: int, scale: int) -> tuple[int, int]:
    """Return the sides of the ground truth, at most `side` and a multiple of the scale, and of it with its margin.

    Raises `BadImageError` if the image is too small.
    """
    step = math.lcm(scale, 4)
    room = margin - margin % step
    gt_size = (min(side, *(length - room for length in shape)) // step) * step
    if gt_size < 16 * scale:
        raise BadImageError(f"{shape[1]}×{shape[0]} is too small; expected at least {16 * scale + room} pixels a side")
    return gt_size, gt_size + room
