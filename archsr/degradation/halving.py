"""BSRGAN's own downscaling: halving some samples before all other steps, and taking every n-th pixel.

Both follow the authors' code (github.com/cszn/BSRGAN, utils/utils_blindsr.py).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from archsr.degradation.antialias import bicubic
from archsr.degradation.canvas import Canvas
from archsr.degradation.resize import BICUBIC, resize

MATLAB = 3  # a mode of `halve`, in addition to those of `resize`
_REACH = 12  # the Gaussian has 25 taps


def halve(canvas: Canvas, halved: Tensor, mode: Tensor, *, on_device: tuple[Tensor, Tensor]) -> Canvas:
    """Halve the samples in `halved`, bool (b,), by `mode` (b,): one of `resize`'s or MATLAB. The result is in [0, 1].

    The samples fill the canvas, whose sides are even. `halved` and `mode` are on the CPU; `on_device` holds both on the
    canvas's device.
    """
    if not halved.any():
        return canvas
    smaller, modes = on_device
    sides = canvas.pixels.shape[2], canvas.pixels.shape[3]
    total = (sides[0] // 2, sides[1] // 2) if halved.all() else sides
    height, width = (torch.where(smaller, side // 2, side) for side in (canvas.height, canvas.width))
    reduced = resize(canvas, height, width, mode.clamp(max=BICUBIC), total=total)
    pixels = reduced.pixels
    if (halved & (mode == MATLAB)).any():
        smooth = bicubic(canvas.pixels, scale=2)
        smooth = F.pad(smooth, (0, total[1] - smooth.shape[3], 0, total[0] - smooth.shape[2]))
        pixels = torch.where((smaller & (modes == MATLAB))[:, None, None, None], smooth, pixels)
    reduced = reduced.with_pixels(pixels.clamp(0, 1))
    return reduced.filled() if halved.all() else reduced


def decimate(canvas: Canvas, height: Tensor, width: Tensor, sigma: Tensor, *, total: tuple[int, int]) -> Canvas:
    """Blur with a Gaussian of `sigma` (b,) pixels and keep every n-th pixel, where n is the old side over the new one.

    Linear interpolation shifts the Gaussian by (n - 1) / 2 to the middle of the n pixels. Borders are mirrored.
    Everything is on the canvas's device.
    """
    rows, columns = canvas.pixels.shape[2:]
    vertical = _matrix(canvas.height, height, sigma, shape=(total[0], rows))
    horizontal = _matrix(canvas.width, width, sigma, shape=(total[1], columns))
    pixels = vertical[:, None] @ canvas.pixels.masked_fill(~canvas.valid(), 0) @ horizontal.mT[:, None]
    return Canvas(pixels, height, width)


def _matrix(source: Tensor, target: Tensor, sigma: Tensor, *, shape: tuple[int, int]) -> Tensor:
    """Return (b, out, in) weights; rows beyond `target` and columns beyond `source` are zero."""
    step = source // target
    place = torch.arange(shape[0], device=source.device)[None]
    column = torch.arange(shape[1], device=source.device)
    last = (source - 1)[:, None]
    period = (2 * last).clamp(min=1)
    weights = torch.zeros(len(source), *shape, device=source.device)
    for offset, tap in zip(range(-_REACH, _REACH + 1), _taps(sigma, step).unbind(1), strict=True):
        bounced = (place * step[:, None] + offset).remainder(period)
        index = bounced.minimum(period - bounced).minimum(last)
        weights = weights + (column == index[:, :, None]) * tap[:, None, None]
    return weights * (place < target[:, None])[:, :, None]


def _taps(sigma: Tensor, step: Tensor) -> Tensor:
    """Return the weights (b, 25) of the pixels around every n-th one, where n is `step`; they sum to 1."""
    axis = torch.arange(-_REACH, _REACH + 1, device=sigma.device, dtype=torch.float64)[None]
    at = (axis - (step[:, None] - 1) / 2).clamp(min=-_REACH)
    left = at.floor()
    share = at - left
    width = sigma.double()[:, None].clamp(min=1e-2)
    taps = (1 - share) * torch.exp(-0.5 * (left / width) ** 2) + share * torch.exp(-0.5 * ((left + 1) / width) ** 2)
    return (taps / taps.sum(1, keepdim=True)).float()
