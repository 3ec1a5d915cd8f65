"""Downscaling with filters widened by the factor, so that fine lines fade instead of turning into moiré.

`reduce_smoothly` computes the same as `interpolate(antialias=True)` and PIL. `bicubic` computes the same as MATLAB's
`imresize`, which mirrors the image at its borders where the others cut the filter off.
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
    """Downscale like `resize`, but with filters widened by the factor, on the canvas's device.

    The filter is a triangle for BILINEAR and AREA, and a cubic of a = -0.5 for BICUBIC. When upscaling, the filters
    keep their plain width.
    """
    if canvas.pixels.device.type == "cpu" and canvas.whole and len(canvas.pixels) == 1 and factor is None:
        name = "bicubic" if int(mode) == BICUBIC else "bilinear"
        return full(F.interpolate(canvas.pixels, size=total, mode=name, align_corners=False, antialias=True))
    columns, rows = canvas.pixels.shape[3], canvas.pixels.shape[2]
    vertical = _matrix(canvas.height, height, mode, factor, shape=(total[0], rows))
    horizontal = _matrix(canvas.width, width, mode, factor, shape=(total[1], columns))
    pixels = vertical[:, None] @ canvas.pixels.masked_fill(~canvas.valid(), 0) @ horizontal.mT[:, None]
    return Canvas(pixels, height, width)


def _matrix(source: Tensor, target: Tensor, mode: Tensor, factor: Tensor | None, *, shape: tuple[int, int]) -> Tensor:
    """Return (b, out, in) weights; rows beyond `target` and columns beyond `source` are zero."""
    ratio = (source / target if factor is None else 1 / factor).double()[:, None, None]
    wide = ratio.clamp(min=1)
    place = torch.arange(shape[0], device=source.device, dtype=torch.float64)[None, :, None]
    column = torch.arange(shape[1], device=source.device)[None, None, :]
    x = (column + 0.5 - (place + 0.5) * ratio) / wide
    weights = torch.where((mode == BICUBIC)[:, None, None], cubic(x), (1 - x.abs()).clamp(min=0))
    weights = weights * ((column < source[:, None, None]) & (place < target[:, None, None]))
    # a row far beyond the image's edge, where the factor stretches it, has no weight at all
    return (weights / weights.sum(2, keepdim=True).clamp(min=1e-12)).float()


def bicubic(image: Tensor, *, scale: int) -> Tensor:
    """Downscale (b, c, h, w) by `scale` like MATLAB's `imresize(image, 1 / scale)`; h and w are multiples of it."""
    wide = image.double()
    for axis in (2, 3):
        matrix = _mirrored_matrix(image.shape[axis], scale, image.device)
        wide = torch.movedim(torch.movedim(wide, axis, -1) @ matrix.T, -1, axis)
    return wide.float()


@lru_cache(maxsize=16)
def _mirrored_matrix(side: int, scale: int, device: torch.device) -> Tensor:
    """Return (side / scale, side) float64 weights; the image is mirrored with its edge repeated."""
    out = side // scale
    centre = (torch.arange(out, dtype=torch.float64) + 0.5) * scale - 0.5
    tap = centre.floor().long()[:, None] + torch.arange(-2 * scale, 2 * scale + 2)
    weights = cubic((centre[:, None] - tap) / scale)
    place = tap.remainder(2 * side)
    source = torch.minimum(place, 2 * side - 1 - place)
    matrix = torch.zeros(out, side, dtype=torch.float64).scatter_add_(1, source, weights)
    return (matrix / matrix.sum(1, keepdim=True)).to(device)


def cubic(x: Tensor) -> Tensor:
    """Evaluate Keys' kernel with a = -0.5, which reaches two pixels."""
    a = x.abs()
    inner = (1.5 * a - 2.5) * a * a + 1
    outer = ((-0.5 * a + 2.5) * a - 4) * a + 2
    return torch.where(a <= 1, inner, torch.where(a < 2, outer, 0.0))
