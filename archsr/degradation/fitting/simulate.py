"""Degrades clean photographs by a table, and keeps the numbers that were drawn for each, beside its statistics."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from archsr.config import DegradeConfig
from archsr.degradation.apply import apply_whole
from archsr.degradation.fitting.features import TRACES, features
from archsr.degradation.fitting.fitted_table import MIDDLE_GREY
from archsr.degradation.kernels import DISC, IDENTITY
from archsr.degradation.recipe import Recipe, draw
from archsr.images.pixels import Pixels, pixels_to_tensor, tensor_to_pixels
from archsr.utils.seeds import generator

Values = NDArray[np.float64]
Advance = Callable[[float], None]

_UNCOMPRESSED = 1.0


@dataclass(frozen=True)
class Simulated:
    """Patches: `statistics` (n, COUNT or TRACES), drawn `numbers` (n, 5), JPEG `quality` (n,), photograph (n,).

    The columns of `numbers` are σ of the blur, amount of sharpening, log of the noise, the share of its size that the
    image kept, and whether noise is grey. `shown`: the first few patches.
    """

    statistics: Values
    numbers: Values
    quality: Values
    photo: NDArray[np.int64]
    shown: list[Pixels]


def to_log(sigma: Values | float) -> Values:
    """Return the logarithm of noise in levels, of which differences below half a level hardly matter."""
    return np.log(np.asarray(sigma, np.float64) + 0.5)


def from_log(value: Values) -> Values:
    """Undo `to_log`."""
    return np.maximum(0, np.exp(value) - 0.5)


def inputs(statistics: Values, quality: Values) -> Values:
    """Return what numbers are estimated from (n, f): statistics (n, COUNT) and the quality of JPEG, 0 for none."""
    known = np.where(quality > 0, quality / 100, _UNCOMPRESSED)
    return np.concatenate([statistics[:, :TRACES], known[:, None]], 1)


def simulate(
    config: DegradeConfig,
    crops: Sequence[tuple[int, Pixels]],
    count: int,
    *,
    seed: int,
    scale: int,
    advance: Advance,
    show: int = 0,
    only_traces: bool = True,
) -> Simulated:
    """Degrade `count` crops (photograph, uint8 (h, w, 3)), each by its own recipe, in turn.

    `only_traces` computes only the statistics from which numbers are estimated.
    """
    rows: list[tuple[Values, list[float], float, int]] = []
    shown: list[Pixels] = []
    for number in range(count):
        photo, clean = crops[number % len(crops)]
        recipe = draw(config, generator(seed, "fit", number), 1, scale=scale, gt_size=scale)
        lq = tensor_to_pixels(apply_whole(pixels_to_tensor(clean), recipe))
        rows.append((features(lq, only_traces=only_traces), _numbers(recipe), _quality(recipe), photo))
        if len(shown) < show:
            shown.append(lq)
        advance(1)
    statistics, numbers, quality, photos = zip(*rows, strict=True)
    return Simulated(np.stack(statistics), np.array(numbers), np.array(quality), np.array(photos), shown)


def _numbers(recipe: Recipe) -> list[float]:
    steps, first = recipe.steps, recipe.first
    blurred = "blur1" in steps and int(first.kernel.kind[0]) != IDENTITY
    strength = float(first.strength[0]) * (MIDDLE_GREY if bool(first.poisson[0]) else 255)
    width = float(first.kernel.sigma_x[0]) / (2 if int(first.kernel.kind[0]) == DISC else 1)  # of a disc: its radius
    noisy = strength if "noise1" in steps else 0.0
    return [
        width if blurred else 0.0,
        float(recipe.camera.sharpen_amount[0]) if "sharpen" in steps else 0.0,
        float(to_log(noisy)),
        float(recipe.second.factor[0]) if "resize2" in steps else 1.0,
        float(first.grey[0]) if noisy else 0.5,
    ]


def _quality(recipe: Recipe) -> float:
    compressed = "jpeg2" in recipe.steps and bool(recipe.second.compressed[0])
    return float(recipe.second.quality[0]) if compressed else 0.0


def clean_crops(photos: Sequence[Pixels], count: int, *, side: int, seed: int) -> list[tuple[int, Pixels]]:
    """Return crops (photograph, uint8 (side, side, 3)): of three places, that with the most contrast, in turn."""
    found: list[tuple[int, Pixels]] = []
    for number in range(count):
        photo = number % len(photos)
        pixels = photos[photo]
        rng = generator(seed, "fit crop", number)
        tries: list[Pixels] = []
        for _ in range(3):
            y, x = (int(torch.randint(0, length - side + 1, (), generator=rng)) for length in pixels.shape[:2])
            tries.append(pixels[y : y + side, x : x + side])
        found.append((photo, max(tries, key=lambda crop: float(crop[::8, ::8].std()))))
    return found
