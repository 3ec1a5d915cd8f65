"""Group images by the strength of their degradation, and by their difficulty.

Strength depends only on the recipe, difficulty only on the photograph.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from archsr.degradation.apply import apply
from archsr.degradation.recipe import from_json
from archsr.evaluation.pairs import reduced
from archsr.images.pixels import Pixels, pixels_to_tensor
from archsr.metrics.niqe import imresize
from archsr.utils.seeds import generator

_SIDE = 240  # pixels of the fixed image, before cropping to a multiple of the scale
_LEAVES = 4000
_PERFECT = 100.0  # dB: the maximum that is reported

R = TypeVar("R")

NO_RECIPE = "no recipe is stored with these pairs"


@dataclass(frozen=True)
class Strata:
    """Names of the thirds from the lowest to the highest value, and the unit."""

    names: tuple[str, str, str]
    unit: str


STRENGTH = Strata(("mild", "middle", "strong"), "levels")
DIFFICULTY = Strata(("hard", "middle", "easy"), "dB")


def strength_of(recipe: Mapping[str, Any]) -> float:
    """Return how much a stored recipe degrades: RMS in levels of 255 on one fixed image.

    The degraded image is compared with one downsampled by MATLAB's bicubic. The result depends only on the recipe, not
    on the image it was drawn for. The fixed image is made of dead leaves (Lee, Mumford and Huang 2001): overlapping
    rectangles whose colours and sizes are as scale-free as those of photographs.
    """
    drawn = from_json(dict(recipe))
    side = _SIDE // drawn.scale * drawn.scale
    leaves = dead_leaves()[:side, :side]
    made = apply(pixels_to_tensor(leaves), replace(drawn, gt_size=side)).lq
    plain = pixels_to_tensor(reduced(leaves, drawn.scale))
    return float((made.double() - plain.double()).square().mean().sqrt() * 255)


@lru_cache(maxsize=1)
def dead_leaves() -> Pixels:
    """Return the fixed image, (240, 240, 3). Sides are 3 to 120 pixels, distributed by their inverse square."""
    rng = generator(0, "dead leaves")
    image = np.full((_SIDE, _SIDE, 3), 128, dtype=np.uint8)
    for _ in range(_LEAVES):
        share, wide, top, left, *colour = torch.rand(7, generator=rng).tolist()
        height = (3**-2 - share * (3**-2 - 120**-2)) ** -0.5
        width = height * 2 ** (2 * wide - 1)
        y, x = (int(place * (_SIDE + size) - size) for place, size in ((top, height), (left, width)))
        rows, columns = slice(max(0, y), max(0, int(y + height))), slice(max(0, x), max(0, int(x + width)))
        # half of the range and mostly grey, like photographs
        image[rows, columns] = [round(128 + 255 * 0.5 * (0.3 * part + 0.7 * colour[0] - 0.5)) for part in colour]
    return image


def difficulty_of(gt: Tensor, scale: int) -> float:
    """Return the PSNR in dB of bicubic upscaling of downsampled `gt` (3, h, w) uint8; low is hard."""
    pixels = gt.permute(1, 2, 0).numpy()
    enlarged = np.clip(imresize(reduced(pixels, scale).astype(np.float64) / 255, scale=scale), 0, 1)
    error = float(((np.round(enlarged * 255) - pixels) ** 2).mean())
    return _PERFECT if error == 0 else min(_PERFECT, 10 * float(np.log10(255.0**2 / error)))


def thirds(rows: Sequence[R], of: Callable[[R], float], strata: Strata) -> dict[str, list[R]]:
    """Split into three equal groups by a value; empty if fewer than six images have it or nearly all are equal."""
    known = [r for r in rows if of(r) == of(r)]
    if len(known) < 6 or len({of(r) for r in known}) < 3:
        return {}
    low, high = statistics.quantiles([of(r) for r in known], n=3)
    first, second, third = strata.names
    return {
        f"{first} (below {low:.1f} {strata.unit})": [r for r in known if of(r) < low],
        f"{second} ({low:.1f} to {high:.1f} {strata.unit})": [r for r in known if low <= of(r) < high],
        f"{third} (from {high:.1f} {strata.unit})": [r for r in known if of(r) >= high],
    }
