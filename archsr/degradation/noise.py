"""Gaussian and Poisson noise of a batch, each sample with its own kind, strength and greyness."""

import torch
from torch import Tensor

from archsr.degradation.canvas import Canvas, send

_LUMA = (0.2989, 0.587, 0.114)


def add_noise(
    canvas: Canvas,
    *,
    poisson: Tensor,
    strength: Tensor,
    grey: Tensor,
    rng: torch.Generator,
    shared_grey: bool = False,
    mixing: Tensor | None = None,
) -> Tensor:
    """Add noise and return pixels (b, 3, H, W), clamped to [0, 1].

    `poisson` bool (b,) and `grey` bool (b,) are on the CPU, so that choosing needs no synchronisation. `strength` (b,)
    is σ in [0, 1] units for Gaussian noise and the scale for Poisson noise. `shared_grey` is the reference's quirk of
    one grey field for the whole batch. `mixing` (b, 3, 3) correlates the channels of Gaussian colour noise. `rng` lives
    on the canvas's device.
    """
    pixels = canvas.pixels
    out = torch.empty_like(pixels)
    for kind, shot in ((~poisson, False), (poisson, True)):
        for chosen, single in ((kind & ~grey, False), (kind & grey, True)):
            if not chosen.any():
                continue
            index = send(chosen.nonzero()[:, 0], pixels.device)
            part = canvas.take(index) if len(index) < len(pixels) else canvas
            noise = _shot(part, rng, grey=single) if shot else _gaussian(part, rng, grey=single, shared=shared_grey)
            if mixing is not None and not shot and not single:
                noise = (mixing[index] @ noise.flatten(2)).view_as(noise)
            out[index] = torch.addcmul(part.pixels, noise, strength[index, None, None, None])
    return out.clamp_(0, 1)


def _gaussian(canvas: Canvas, rng: torch.Generator, *, grey: bool, shared: bool) -> Tensor:
    b, c, h, w = canvas.pixels.shape
    shape = (1 if shared else b, 1, h, w) if grey else (b, c, h, w)
    return torch.randn(shape, generator=rng, device=canvas.pixels.device)


def _shot(canvas: Canvas, rng: torch.Generator, *, grey: bool) -> Tensor:
    """Return Poisson(x·V)/V − x, where V is the power of two not below the number of distinct 8-bit values."""
    values = _grey(canvas.pixels) if grey else canvas.pixels
    values = (values * 255).round_().clamp_(0, 255)
    x = values / 255
    levels = 2 ** torch.ceil(torch.log2(_distinct(values, canvas)))[:, None, None, None]
    return torch.poisson(x * levels, generator=rng) / levels - x


def _distinct(values: Tensor, canvas: Canvas) -> Tensor:
    """Return (b,): how many of the 256 levels occur among the valid pixels of each sample."""
    if values.device.type == "cpu" and canvas.whole:  # on a CPU bincount is faster than scatter
        counts = [torch.bincount(single.flatten().to(torch.uint8), minlength=256) for single in values]
        return torch.stack(counts).count_nonzero(1).float()
    seen = torch.zeros(len(values), 257, device=values.device)  # the last column is for invalid pixels
    seen.scatter_(1, torch.where(canvas.valid(), values, 256.0).long().flatten(1), 1.0)
    return seen[:, :256].sum(1)


def _grey(pixels: Tensor) -> Tensor:
    red, green, blue = pixels.split(1, dim=1)
    return red * _LUMA[0] + green * _LUMA[1] + blue * _LUMA[2]
