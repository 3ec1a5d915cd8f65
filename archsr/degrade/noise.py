"""Gaussian and Poisson noise of a batch, each sample with its own kind, strength and greyness."""

import torch
from torch import Tensor

from archsr.degrade.canvas import Canvas

_LUMA = (0.2989, 0.587, 0.114)


def add_noise(
    canvas: Canvas, *, poisson: Tensor, strength: Tensor, grey: Tensor, rng: torch.Generator, shared_grey: bool = False
) -> Tensor:
    """Pixels (b, 3, H, W) with noise added, clamped to [0, 1].

    `poisson` bool (b,) and `grey` bool (b,) are on the CPU, so choosing costs no synchronisation; `strength` (b,) is
    σ in [0, 1] units for Gaussian and the scale of the shot noise for Poisson. `shared_grey` is the reference's quirk
    of one grey field for the whole batch. `rng` lives on the canvas's device.
    """
    pixels = canvas.pixels
    noise = torch.zeros_like(pixels)
    grey_here = grey.to(pixels.device)
    for chosen, field in ((~poisson, _gaussian), (poisson, _poisson)):
        if not chosen.any():
            continue
        index = chosen.nonzero()[:, 0].to(pixels.device)
        part = Canvas(pixels[index], canvas.height[index], canvas.width[index])
        noise[index] = field(part, grey_here[index], rng, shared_grey)
    return (pixels + noise * strength[:, None, None, None]).clamp(0, 1)


def _gaussian(canvas: Canvas, grey: Tensor, rng: torch.Generator, shared_grey: bool) -> Tensor:
    b, c, h, w = canvas.pixels.shape
    device = canvas.pixels.device
    colour = torch.randn(b, c, h, w, generator=rng, device=device)
    single = torch.randn(1 if shared_grey else b, 1, h, w, generator=rng, device=device)
    return torch.where(grey[:, None, None, None], single, colour)


def _poisson(canvas: Canvas, grey: Tensor, rng: torch.Generator, shared_grey: bool) -> Tensor:  # noqa: ARG001
    """Poisson(x·V)/V − x, V the power of two not below the number of distinct 8-bit values in the sample."""
    rounded = (canvas.pixels.clamp(0, 1) * 255).round()
    weights = torch.tensor(_LUMA, device=rounded.device).view(1, 3, 1, 1)
    luma = (canvas.pixels * weights).sum(1, keepdim=True).mul(255).round().clamp(0, 255)
    return torch.where(grey[:, None, None, None], _shot(canvas, luma, rng), _shot(canvas, rounded, rng))


def _shot(canvas: Canvas, values: Tensor, rng: torch.Generator) -> Tensor:
    """Shot noise on integer values 0-255 (b, c, H, W)."""
    x = values / 255
    levels = 2 ** torch.ceil(torch.log2(_distinct(values, canvas.alive())))[:, None, None, None]
    return torch.poisson(x * levels, generator=rng) / levels - x


def _distinct(values: Tensor, alive: Tensor) -> Tensor:
    """(b,) how many of the 256 levels occur among the living pixels of each sample."""
    seen = torch.zeros(len(values), 256, device=values.device)
    flat = values.long().flatten(1)
    counts = alive.expand_as(values).flatten(1).float()
    return seen.scatter_reduce(1, flat, counts, "amax").sum(1)
