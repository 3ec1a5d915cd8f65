"""Two kinds of groups of images: by how much they were degraded, and by how hard they are to enlarge.

The first is of the recipe alone, the second of the photograph alone: neither says anything about the other.
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

_SIDE = 240  # pixels of the fixed image, before it is cut to a multiple of the scale
_LEAVES = 4000
_PERFECT = 100.0  # dB: what is more is said to be so much

R = TypeVar("R")

NO_RECIPE = "no recipe is stored with these pairs"


@dataclass(frozen=True)
class Strata:
    """How thirds are made of one figure: the names from its lowest to its highest, and its unit."""

    names: tuple[str, str, str]
    unit: str


STRENGTH = Strata(("mild", "middle", "strong"), "levels")
DIFFICULTY = Strata(("hard", "middle", "easy"), "dB")


def strength_of(recipe: Mapping[str, Any]) -> float:
    """How much a stored recipe degrades: RMS in levels of 255 between what it makes of one fixed image and the image
    reduced by MATLAB's bicubic. A pure function of the recipe: the image it was drawn for has no part in it.

    The image is made of dead leaves (Lee, Mumford and Huang 2001): overlapping rectangles of colours and sizes as
    scale-free as those of photographs.
    """
    drawn = from_json(dict(recipe))
    side = _SIDE // drawn.scale * drawn.scale
    leaves = dead_leaves()[:side, :side]
    made = apply(pixels_to_tensor(leaves), replace(drawn, gt_size=side)).lq
    plain = pixels_to_tensor(reduced(leaves, drawn.scale))
    return float((made.double() - plain.double()).square().mean().sqrt() * 255)


@lru_cache(maxsize=1)
def dead_leaves() -> Pixels:
    """(240, 240, 3): the fixed image. Sides from 3 to 120 pixels, the number above a size as its inverse square."""
    rng = generator(0, "dead leaves")
    image = np.full((_SIDE, _SIDE, 3), 128, dtype=np.uint8)
    for _ in range(_LEAVES):
        share, wide, top, left, *colour = torch.rand(7, generator=rng).tolist()
        height = (3**-2 - share * (3**-2 - 120**-2)) ** -0.5
        width = height * 2 ** (2 * wide - 1)
        y, x = (int(place * (_SIDE + size) - size) for place, size in ((top, height), (left, width)))
        rows, columns = slice(max(0, y), max(0, int(y + height))), slice(max(0, x), max(0, int(x + width)))
        # half of the range, and mostly grey, as photographs are
        image[rows, columns] = [round(128 + 255 * 0.5 * (0.3 * part + 0.7 * colour[0] - 0.5)) for part in colour]
    return image


def difficulty_of(gt: Tensor, scale: int) -> float:
    """PSNR in dB of MATLAB's bicubic enlargement of the clean reduction of `gt` (3, h, w) uint8: low is hard."""
    pixels = gt.permute(1, 2, 0).numpy()
    enlarged = np.clip(imresize(reduced(pixels, scale).astype(np.float64) / 255, scale=scale), 0, 1)
    error = float(((np.round(enlarged * 255) - pixels) ** 2).mean())
    return _PERFECT if error == 0 else min(_PERFECT, 10 * float(np.log10(255.0**2 / error)))


def thirds(rows: Sequence[R], of: Callable[[R], float], strata: Strata) -> dict[str, list[R]]:
    """Three groups of equal size by a figure; none where fewer than six images have it or nearly all are alike."""
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
