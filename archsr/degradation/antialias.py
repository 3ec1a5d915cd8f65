"""Reductions with filters widened by the factor, so that fine lines fade instead of turning into others (moiré).

`reduce_smoothly` computes what `interpolate(antialias=True)` and PIL do; `bicubic` what MATLAB's `imresize` does, which
mirrors the image at its borders where the others cut the filter off.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from archsr.degradation.canvas import Canvas, full
from archsr.degradation.resize import BICUBIC


def reduce_smoothly(
    canvas: Canvas, height: Tensor, width: Tensor, mode: Tensor, *, total: tuple[int, int], factor: Tensor | None = None
) -> Canvas:
    """As `resize`, with a triangle for BILINEAR (and AREA) and a cubic of a = -0.5 for BICUBIC, widened by the factor.

    All on the canvas's device. Meant for reductions: enlarging, the filters have their plain width.
    """
    if canvas.pixels.device.type == "cpu" and canvas.whole and len(canvas.pixels) == 1 and factor is None:
        name = "bicubic" if int(mode) == BICUBIC else "bilinear"
        return full(F.interpolate(canvas.pixels, size=total, mode=name, align_corners=False, antialias=True))
    columns, rows = canvas.pixels.shape[3], canvas.pixels.shape[2]
    vertical = _matrix(canvas.height, height, mode, factor, shape=(total[0], rows))
    horizontal = _matrix(canvas.width, width, mode, factor, shape=(total[1], columns))
    pixels = vertical[:, None] @ canvas.pixels.masked_fill(~canvas.alive(), 0) @ horizontal.mT[:, None]
    return Canvas(pixels, height, width)


def _matrix(source: Tensor, target: Tensor, mode: Tensor, factor: Tensor | None, *, shape: tuple[int, int]) -> Tensor:
    """(b, out, in) weights; rows beyond `target` and columns beyond `source` are zero."""
    ratio = (source / target if factor is None else 1 / factor).double()[:, None, None]
    wide = ratio.clamp(min=1)
    place = torch.arange(shape[0], device=source.device, dtype=torch.float64)[None, :, None]
    column = torch.arange(shape[1], device=source.device)[None, None, :]
    x = (column + 0.5 - (place + 0.5) * ratio) / wide
    weights = torch.where((mode == BICUBIC)[:, None, None], _cubic(x), (1 - x.abs()).clamp(min=0))
    weights = weights * ((column < source[:, None, None]) & (place < target[:, None, None]))
    # a row far beyond the image's edge, where the factor stretches it, has no weight at all
    return (weights / weights.sum(2, keepdim=True).clamp(min=1e-12)).float()


def bicubic(image: Tensor, *, scale: int) -> Tensor:
    """(b, c, h, w) reduced by `scale` as MATLAB's `imresize(image, 1 / scale)`; h and w multiples of the scale."""
    wide = image.double()
    for axis in (2, 3):
        matrix = _mirrored_matrix(image.shape[axis], scale, image.device)
        wide = torch.movedim(torch.movedim(wide, axis, -1) @ matrix.T, -1, axis)
    return wide.float()


@lru_cache(maxsize=16)
def _mirrored_matrix(side: int, scale: int, device: torch.device) -> Tensor:
    """(side / scale, side) float64; the image is mirrored with its edge repeated, as often as needed."""
    out = side // scale
    centre = (torch.arange(out, dtype=torch.float64) + 0.5) * scale - 0.5
    tap = centre.floor().long()[:, None] + torch.arange(-2 * scale, 2 * scale + 2)
    weights = _cubic((centre[:, None] - tap) / scale)
    place = tap.remainder(2 * side)
    source = torch.minimum(place, 2 * side - 1 - place)
    matrix = torch.zeros(out, side, dtype=torch.float64).scatter_add_(1, source, weights)
    return (matrix / matrix.sum(1, keepdim=True)).to(device)


def _cubic(x: Tensor) -> Tensor:
    """Keys' kernel with a = -0.5, of two pixels' reach."""
    a = x.abs()
    inner = (1.5 * a - 2.5) * a * a + 1
    outer = ((-0.5 * a + 2.5) * a - 4) * a + 2
    return torch.where(a <= 1, inner, torch.where(a < 2, outer, 0.0))
