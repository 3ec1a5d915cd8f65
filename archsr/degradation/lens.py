"""Sharpening as cameras do it, and lateral chromatic aberration, each sample with its own numbers."""

import torch
from torch import Tensor

from archsr.degradation.antialias import cubic
from archsr.degradation.canvas import Canvas
from archsr.degradation.kernels import GAUSSIAN, KernelParams, blur, render


def unsharp(canvas: Canvas, radius: Tensor, *, on_device: tuple[Tensor, Tensor]) -> Canvas:
    """Add the difference to a blurred copy, times an amount, and clip to [0, 1]; an amount of 0 changes nothing.

    `radius` (b,), σ in pixels, is on the CPU; `on_device` holds it and the amount (b,) on the canvas's device. Borders
    are mirrored.
    """
    sigma, amount = (value[:, None, None, None] for value in on_device)
    params = _gaussian(radius)
    size = int(params.taps.max())
    kernels = render(_gaussian(sigma.flatten()), size=size, kinds={GAUSSIAN})
    halo = canvas.pixels - blur(canvas, params, kernels).pixels
    sharpened = torch.addcmul(canvas.pixels, halo, amount).clamp_(0, 1)
    return canvas.with_pixels(torch.where(amount > 0, sharpened, canvas.pixels))


def _gaussian(sigma: Tensor) -> KernelParams:
    one = torch.ones_like(sigma)
    kind = torch.full_like(sigma, GAUSSIAN, dtype=torch.int64)
    taps = 2 * (3 * sigma).ceil().long() + 1
    return KernelParams(kind, taps, sigma, sigma, theta=one, beta=one, cutoff=one)


def aberrate(canvas: Canvas, red: Tensor, blue: Tensor, *, centre: Tensor) -> Canvas:
    """Enlarge red and blue about `centre` by a share of their size, and leave green as it is.

    `red` and `blue` (b,) are shares, negative to reduce; `centre` (b, 2) is in heights and widths of the sample.
    Everything is on the canvas's device. Values in between are bicubic (a = -0.5); borders are repeated.
    """
    times = 1 + torch.stack([red, blue], 1).double()
    rows, columns = canvas.pixels.shape[2], canvas.pixels.shape[3]
    vertical = _matrix(canvas.height, centre[:, 0], times, length=rows)
    horizontal = _matrix(canvas.width, centre[:, 1], times, length=columns)
    pixels = canvas.pixels if canvas.whole else canvas.pixels.masked_fill(~canvas.valid(), 0)
    moved = vertical @ pixels[:, ::2] @ horizontal.mT
    return canvas.with_pixels(torch.cat([moved[:, :1], pixels[:, 1:2], moved[:, 1:]], 1))


def _matrix(side: Tensor, centre: Tensor, times: Tensor, *, length: int) -> Tensor:
    """Return (b, 2, length, length) weights of both channels along one axis."""
    column = torch.arange(length, device=side.device, dtype=torch.float64)
    middle, last = (side * centre)[:, None, None], (side - 1)[:, None, None]
    at = (middle + (column + 0.5 - middle) / times[:, :, None] - 0.5).clamp(min=0).minimum(last)
    tap = at.floor()
    weights = torch.zeros(1, device=side.device, dtype=torch.float64)
    for offset in (-1, 0, 1, 2):
        index = (tap + offset).clamp(min=0).minimum(last)
        weights = weights + (column == index[..., None]) * cubic(at - tap - offset)[..., None]
    return weights.float()
